"""Commands `mcpcore auth login`, `status` and `logout`: tokens of servers, kept for this user."""

import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
from msgspec.structs import replace

from mcpcore.auth.authorization import Authorization, Refused
from mcpcore.auth.challenges import parse_scopes
from mcpcore.auth.endpoints import Endpoints
from mcpcore.auth.grants import ClientIdentity
from mcpcore.auth.metadata import printable
from mcpcore.auth.needs import Fetch, Fetched, NeedFailed
from mcpcore.auth.records import TokenRecord, read_record
from mcpcore.auth.revocation import SignedOut, sign_out
from mcpcore.auth.settings import AuthorizationSettings, ClientCredentialsGrant, CodeGrant
from mcpcore.auth.urls import parse_url
from mcpcore.errors import AuthorizationError, BadProxy, BadTarget, BadTls, UrlRefused
from mcpcore_transports.auth.authorizer import Authorizer, http_url
from mcpcore_transports.auth.browser import PastedSignIn, chosen_sign_in
from mcpcore_transports.auth.carrying import FlowCarrier
from mcpcore_transports.auth.fetching import Fetcher
from mcpcore_transports.auth.file_store import FileTokens
from mcpcore_transports.commands.options import AuthOptions, LoginOptions
from mcpcore_transports.commands.output import (
    Exit,
    Failure,
    print_facts,
    print_json,
    print_table,
    print_warning,
)
from mcpcore_transports.commands.target import WEB, named
from mcpcore_transports.http.client.proxies import ENVIRONMENT
from mcpcore_transports.targets import named as shown
from mcpcore_transports.targets import parse_target
from mcpcore_transports.tls import client_tls

T = TypeVar("T")

_PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
_HEADERS = {
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
}
_TIMEOUT = 10.0
_PREFIX = "token "
"""Beginning of the keys of tokens in the store."""


def login(url: str, options: LoginOptions) -> int:
    """Sign in at a server; return the exit status."""
    url, settings = _server(url, options)
    settings = _settings(options, settings)
    _checked(url, settings)
    record = _carried(lambda: _login(url, settings, options))
    facts = _facts(record, time.time())
    if options.as_json:
        print_json(facts)
    else:
        print_facts([(name, _shown(value)) for name, value in facts.items()])
    return Exit.OK


async def _login(url: str, settings: AuthorizationSettings, options: LoginOptions) -> TokenRecord:
    store, access = FileTokens(), _access(options)
    sign_in = chosen_sign_in(options.browser)
    key = Authorization(url, settings, seed=os.urandom(32)).key
    async with store.lock(f"login {key}"):
        kept = read_record((await store.load(key)).record, TokenRecord)
        wanted = kept is not None and _fits(kept, settings)
        if kept is not None and wanted and not options.again and not kept.is_over(time.time()):
            return kept
        if kept is not None and (options.again or not wanted):
            # What is there would be refreshed, with the scopes and for the client that it has.
            await store.save(key, None, (await store.load(key)).version)
        lines, asked = await _challenge(url, settings.private, access)
        if not asked:  # whoever asks for nothing must at least say who would give a token
            settings = replace(settings, fallbacks=False)
        authorizer = Authorizer(url, settings, store=store, sign_in=sign_in, **access)
        await authorizer.token()
        refused = Refused(
            status=401, lines=lines, generation=authorizer.machine.generation, operation="login"
        )
        await authorizer.refused(refused)
        found = read_record((await store.load(key)).record, TokenRecord)
    if found is None:
        raise AuthorizationError("the token was not kept")
    return found


def _fits(kept: TokenRecord, settings: AuthorizationSettings) -> bool:
    """Return True if a token is for the grant, the client and the scopes that are asked for."""
    client = settings.client
    same = client is None or client.client_id == kept.client.client_id
    return (
        same
        and kept.grant == settings.grant.kind
        and settings.scopes <= frozenset(kept.scopes or ())
    )


async def _challenge(
    url: str, private: bool, access: dict[str, Any]
) -> tuple[tuple[str, ...], bool]:
    """Return what the server says to a request without a token, and if it asks for one."""
    need = Fetch(method="POST", url=url, headers=_HEADERS, body=_PING, timeout=_TIMEOUT)
    local = parse_url(url, "the URL").loopback
    found = await Fetcher(local=local, private=private, **access).fetch(need)
    if isinstance(found, NeedFailed):
        raise Failure(f"{printable(url)}: {found.reason}")
    return _lines(found), found.status == 401


def _lines(found: Fetched) -> tuple[str, ...]:
    return tuple(value for name, value in found.headers if name == "www-authenticate")


def status(url: str | None, options: AuthOptions) -> int:
    """List the tokens that are kept; return the exit status."""
    now = time.time()
    records = _carried(lambda: _records(url, options))
    facts = [_facts(record, now) for record in records]
    if options.as_json:
        print_json({"folder": str(FileTokens().folder), "tokens": facts})
    else:
        columns = ("resource", "issuer", "scopes", "expires", "refreshable")
        rows = [tuple(_shown(fact[name]) for name in columns) for fact in facts]
        print_table(f"tokens in {FileTokens().folder} ({len(rows)})", columns, rows)
    return Exit.OK if records or url is None else Exit.REFUSED


async def _records(url: str | None, options: AuthOptions) -> list[TokenRecord]:
    key = None if url is None else _key(*_server(url, options))
    records = []
    for name, stored in (await FileTokens().entries()).items():
        if name.startswith(_PREFIX) and key in (None, name):
            record = read_record(stored.record, TokenRecord)
            if record is None:
                print_warning(f"the {printable(name)} cannot be read")
            else:
                records.append(record)
    return records


def logout(url: str, options: AuthOptions) -> int:
    """Forget the token of a server, and revoke it; return the exit status."""
    outcome = _carried(lambda: _logout(url, options))
    if options.as_json:
        print_json(outcome)
    elif not outcome.found:
        print_warning("there is no token of this server")
    elif outcome.revoked:
        print_facts([("token", "forgotten and revoked")])
    else:
        print_facts([("token", "forgotten")])
        print_warning(f"it is not revoked, and is valid until it expires: {outcome.reason}")
    return Exit.OK if outcome.found else Exit.REFUSED


async def _logout(url: str, options: AuthOptions) -> SignedOut:
    url, settings = _server(url, options)
    key, local = _key(url, settings), parse_url(url, "the URL of the server").loopback
    endpoints = Endpoints(settings, local=local, seed=os.urandom(32))
    endpoints.wall = time.time()
    fetcher = Fetcher(local=local, private=settings.private, **_access(options))
    carrier = FlowCarrier(fetcher, FileTokens(), PastedSignIn(), {}, None)
    return await carrier.run(sign_out(endpoints, key))


# Settings


def _server(text: str, options: AuthOptions) -> tuple[str, AuthorizationSettings]:
    """Return the URL of a server over HTTP, and its settings in the file that names it.

    Raises BadTarget.
    """
    target = parse_target(text) if "://" in text else named(text, options.config).target()
    if not isinstance(target, WEB):
        raise BadTarget(f"tokens are for URLs of http, ws and sse, not for {shown(target)}")
    kept = target.auth
    settings = kept if isinstance(kept, AuthorizationSettings) else AuthorizationSettings()
    return http_url(target.url), replace(
        settings,
        account=settings.account if options.account is None else options.account,
        private=settings.private or options.auth_private,
    )


def _settings(options: LoginOptions, kept: AuthorizationSettings) -> AuthorizationSettings:
    """Return the settings of a server with the options of a sign-in.  Raises Failure."""
    scopes = parse_scopes(" ".join(options.scope)) if options.scope else frozenset()
    if scopes is None:
        raise Failure("--scope: a scope holds visible ASCII characters", Exit.USAGE)
    try:
        grant = kept.grant
        if options.client_credentials:
            grant = ClientCredentialsGrant()
        elif options.redirect_uri is not None:
            grant = CodeGrant(redirect_uri=options.redirect_uri)
        return replace(
            kept,
            grant=grant,
            client=_client(options) or kept.client,
            issuer=options.issuer or kept.issuer,
            metadata_url=options.metadata_url or kept.metadata_url,
            scopes=scopes | kept.scopes,
        )
    except UrlRefused as error:
        raise Failure(str(error), Exit.USAGE) from None


def _client(options: LoginOptions) -> ClientIdentity | None:
    name = options.client_secret_env
    if options.client_id is None:
        for given, flag in (
            (name, "--client-secret-env"),
            (options.client_credentials, "--client-credentials"),
        ):
            if given:
                raise Failure(f"{flag} needs --client-id", Exit.USAGE)
        return None
    # Taken out, so that no browser inherits it.
    secret = None if name is None else os.environ.pop(name, None)
    if name is not None and not secret:
        raise Failure(f"--client-secret-env: the variable {name} is not set", Exit.USAGE)
    return ClientIdentity(client_id=options.client_id, client_secret=secret)


def _access(options: AuthOptions) -> dict[str, Any]:
    """Return the TLS context and the proxy of all requests.  Raises Failure."""
    if options.key is not None and options.cert is None:
        raise Failure("--key is the key of --cert, which is not given", Exit.USAGE)
    tls = None
    if options.ca or options.cert:
        tls = client_tls(ca=options.ca, cert=options.cert, key=options.key)
    proxy = {None: ENVIRONMENT, "none": None}.get(options.proxy, options.proxy)
    return {"ssl_context": tls, "proxy": proxy}


def _key(url: str, settings: AuthorizationSettings) -> str:
    return Authorization(url, settings, seed=bytes(32)).key


def _checked(url: str, settings: AuthorizationSettings) -> None:
    try:
        _key(url, settings)
    except UrlRefused as error:
        raise Failure(str(error), Exit.USAGE) from None


def _carried(work: Callable[[], Awaitable[T]]) -> T:
    """Run ``work``; raise Failure with the exit status that fits."""
    try:
        return anyio.run(work)
    except UrlRefused as error:
        raise Failure(str(error), Exit.USAGE) from error
    except (BadTls, BadProxy) as error:
        raise Failure(str(error), Exit.USAGE) from error
    except AuthorizationError as error:
        raise Failure(str(error), Exit.REFUSED) from error


# Facts


def _facts(record: TokenRecord, now: float) -> dict[str, Any]:
    """Return what may be told of a token."""
    left = None if record.expires_at is None else round(record.expires_at - now)
    return {
        "resource": record.resource,
        "issuer": record.issuer,
        "clientId": record.client.client_id,
        "scopes": None if record.scopes is None else list(record.scopes),
        "expires": None if record.expires_at is None else _time(record.expires_at),
        "expiresIn": left,
        "refreshable": record.refresh_token is not None,
        "scheme": record.scheme,
    }


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(seconds, 2.0**37)))


def _shown(value: object) -> str:
    if value is None:
        return "not told"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return printable(value if isinstance(value, str) else json.dumps(value))
