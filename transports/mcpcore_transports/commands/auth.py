"""Commands `mcpcore auth login`, `status` and `logout`: tokens of servers, kept for this user."""

import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from msgspec.structs import replace

from mcpcore.auth.authorization import Authorization, Refused
from mcpcore.auth.endpoints import Endpoints
from mcpcore.auth.grants import ClientIdentity
from mcpcore.auth.metadata import printable
from mcpcore.auth.needs import NeedFailed, Stored
from mcpcore.auth.records import TokenKey, TokenRecord, read_record, token_key
from mcpcore.auth.registration import client_key
from mcpcore.auth.revocation import SignedOut, sign_out
from mcpcore.auth.settings import AuthorizationSettings, ClientCredentialsGrant, CodeGrant
from mcpcore.auth.urls import canonical_resource, parse_url
from mcpcore.errors import (
    AuthorizationError,
    BadProxy,
    BadTarget,
    BadTls,
    DocumentRefused,
    UrlRefused,
)
from mcpcore.wire.redaction import shown_url
from mcpcore_transports.auth.authorizer import Authorizer, http_url
from mcpcore_transports.auth.browser import PastedSignIn, chosen_sign_in
from mcpcore_transports.auth.carrying import FlowCarrier
from mcpcore_transports.auth.fetching import Fetcher, challenges_in, first_request
from mcpcore_transports.auth.file_store import FileTokens
from mcpcore_transports.auth.stores import TokenStore
from mcpcore_transports.commands import output
from mcpcore_transports.commands.options import AuthOptions, LoginOptions, scopes_of
from mcpcore_transports.commands.target import WEB, access, configured, interruptible
from mcpcore_transports.commands.tokens import KeptTokens, kept_tokens
from mcpcore_transports.targets import named as shown
from mcpcore_transports.targets import parse_target

T = TypeVar("T")

_OF_ANY_TOKEN = ("account", "private")
"""Members of ``oauth`` that say which tokens are meant, and how their issuer is reached."""


def login(url: str, options: LoginOptions) -> int:
    """Sign in at a server; return the exit status."""
    url, settings = _server(url, options)
    settings = _settings(options, settings)
    _checked(url, settings)
    record = _carried(lambda: _login(url, settings, options))
    facts = _facts(_key(url, settings), record, time.time())
    if options.as_json:
        output.print_json(facts)
    else:
        output.print_facts([(name, _shown(value)) for name, value in facts.items()])
    return output.Exit.OK


async def _login(url: str, settings: AuthorizationSettings, options: LoginOptions) -> TokenRecord:
    store, reached = FileTokens(), access(options)
    sign_in = chosen_sign_in(options.browser)
    key = _key(url, settings).text
    async with store.lock(f"login {key}"):
        kept = read_record((await store.load(key)).record, TokenRecord)
        wanted = kept is not None and _fits(kept, settings)
        if kept is not None and wanted and not options.again and not kept.is_over(time.time()):
            if not await _refuses(url, kept, settings.private, reached):
                return kept
            wanted = False
        lines, asked = await _challenge(url, settings.private, reached)
        if not asked:  # whoever asks for nothing must at least say who would give a token
            settings = replace(settings, fallbacks=False)
        hidden: tuple[str, ...] = ()
        if options.again or not wanted:
            # What is there would be refreshed, with the scopes and for the client that it has.
            registered = client_key("", settings.grant.kind)
            hidden = (key, registered) if options.again else (key,)
        anew = _Anew(store, hidden)
        authorizer = Authorizer(url, settings, store=anew, sign_in=sign_in, **reached)
        refused = Refused(
            status=401, lines=lines, generation=authorizer.machine.generation, operation="login"
        )
        try:
            token = await authorizer.refused(refused)
        except DocumentRefused as error:
            if asked:
                raise
            raise AuthorizationError(f"the server asks for no token, and {error}") from None
        found = read_record((await store.load(key)).record, TokenRecord)
    if found is None or found.access_token != token.secret:
        raise AuthorizationError("the token was not kept")
    return found


class _Anew:
    """Store in which records are not found, though replaced, whose keys begin with some texts.

    What a sign-in would replace stays until it has succeeded.
    """

    def __init__(self, store: TokenStore, hidden: tuple[str, ...]) -> None:
        self._store = store
        self._hidden = hidden
        self.save = store.save
        self.lock = store.lock

    async def load(self, key: str) -> Stored:
        """Implement :meth:`TokenStore.load`."""
        found = await self._store.load(key)
        return Stored(version=found.version) if key.startswith(self._hidden) else found


def _fits(kept: TokenRecord, settings: AuthorizationSettings) -> bool:
    """Return True if a token has the scopes that are asked for, and none that are not allowed."""
    return settings.scopes.issubset(kept.scopes or ()) and settings.allows(kept.scopes)


async def _refuses(url: str, kept: TokenRecord, private: bool, reached: dict[str, Any]) -> bool:
    """Return True if the server refuses a token; one that needs a proof of DPoP is not tried."""
    if kept.scheme != "Bearer":
        return False
    line = {"authorization": f"Bearer {kept.access_token}"}
    return (await _challenge(url, private, reached, line))[1]


async def _challenge(
    url: str, private: bool, reached: dict[str, Any], line: Mapping[str, str] | None = None
) -> tuple[tuple[str, ...], bool]:
    """Return what the server says to a request without a token, and if it asks for one.

    ``line``: with that header, which has one.
    """
    local = parse_url(url, "the URL").loopback
    fetcher = Fetcher(local=local, private=private, **reached)
    found = await fetcher.fetch(first_request(url, line))
    if isinstance(found, NeedFailed):
        raise output.Failure(f"{shown_url(url)}: {found.reason}")
    return challenges_in(found), found.status == 401


def status(url: str | None, options: AuthOptions) -> int:
    """List the tokens that are kept; return the exit status."""
    now = time.time()
    kept = _carried(lambda: _kept(url, options))
    facts = [_facts(key, record, now) for key, record in kept.items() if record is not None]
    for key, record in kept.items():
        if record is None:
            output.print_warning(f"the {printable(key.text)} cannot be read")
    if options.as_json:
        output.print_json({"folder": str(FileTokens().folder), "tokens": facts})
    else:
        columns = ("resource", "account", "grant", "issuer", "scopes", "expires", "refreshable")
        rows = [tuple(_shown(fact[name]) for name in columns) for fact in facts]
        output.print_table(f"tokens in {FileTokens().folder} ({len(rows)})", columns, rows)
    return output.Exit.OK if facts or url is None else output.Exit.REFUSED


async def _kept(url: str | None, options: AuthOptions) -> KeptTokens:
    """Return the tokens of a server and an account, or of all servers."""
    account = options.account
    if url is not None:
        url, settings = _server(url, options)
        account = settings.account or account  # of all where none is named
    return (await kept_tokens(url, account))[0]


def logout(url: str, options: AuthOptions) -> int:
    """Forget the tokens of a server, and revoke them; return the exit status."""
    outcome = _carried(lambda: _logout(url, options))
    if options.as_json:
        output.print_json(outcome)
    elif not outcome.found:
        text = "there is no token of this server"
        output.print_warning(text if outcome.reason is None else f"{text}; {outcome.reason}")
    elif outcome.revoked:
        output.print_facts([("token", "forgotten and revoked")])
    else:
        output.print_facts([("token", "forgotten")])
        output.print_warning(f"it is not revoked, and is valid until it expires: {outcome.reason}")
    return output.Exit.OK if outcome.found else output.Exit.REFUSED


async def _logout(url: str, options: AuthOptions) -> SignedOut:
    url, settings = _server(url, options)
    local = parse_url(url, "the URL of the server").loopback
    endpoints = Endpoints(settings, local=local, seed=os.urandom(32))
    endpoints.wall = time.time()
    fetcher = Fetcher(local=local, private=settings.private, **access(options))
    carrier = FlowCarrier(fetcher, FileTokens(), PastedSignIn(), {}, None)
    found, revoked, reasons = False, True, []
    kept, wrong = await kept_tokens(url, settings.account or options.account)
    for key in kept:
        end = await carrier.run(sign_out(endpoints, key))
        found, revoked = found or end.found, revoked and end.revoked
        reasons += [end.reason] if end.reason is not None else []
    if not found:
        reasons = wrong  # there may be one in them
    return SignedOut(found=found, revoked=found and revoked, reason="; ".join(reasons) or None)


# Settings


def _server(text: str, options: AuthOptions) -> tuple[str, AuthorizationSettings]:
    """Return the URL of a server over HTTP, and its settings in the file that names it.

    Secrets that the file refers to are read for a sign-in alone.  Raises BadTarget.
    """
    if "://" in text:
        target = parse_target(text)
    else:
        server = configured(text, options.config)
        if not isinstance(options, LoginOptions):
            written = server.oauth or {}
            oauth = {name: written[name] for name in _OF_ANY_TOKEN if name in written}
            server = replace(server, headers={}, oauth=oauth or None)
        target = server.target()
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
    scopes = scopes_of("--scope", options.scope)
    ceiling = scopes_of("--ceiling", options.ceiling) if options.ceiling else kept.ceiling
    try:
        grant = kept.grant
        if options.client_credentials:
            grant = ClientCredentialsGrant()
        elif options.redirect_uri is not None:
            grant = CodeGrant(redirect_uri=options.redirect_uri)
        found = replace(
            kept,
            grant=grant,
            client=_client(options) or kept.client,
            issuer=options.issuer or kept.issuer,
            metadata_url=options.metadata_url or kept.metadata_url,
            scopes=scopes | kept.scopes,
            ceiling=ceiling,
        )
    except UrlRefused as error:
        raise output.wrong(str(error)) from None
    if found.trusting:
        raise output.wrong(
            "credentials go to one authorization server alone: name it with --issuer URL, or as "
            "oauth.issuer in the file"
        )
    return found


def _client(options: LoginOptions) -> ClientIdentity | None:
    name = options.client_secret_env
    if options.client_id is None:
        for given, flag in (
            (name, "--client-secret-env"),
            (options.client_credentials, "--client-credentials"),
        ):
            if given:
                raise output.wrong(f"{flag} needs --client-id")
        return None
    # Taken out, so that no browser inherits it.
    secret = None if name is None else os.environ.pop(name, None)
    if name is not None and not secret:
        raise output.wrong(f"--client-secret-env: the variable {name} is not set")
    return ClientIdentity(client_id=options.client_id, client_secret=secret)


def _key(url: str, settings: AuthorizationSettings) -> TokenKey:
    return token_key(canonical_resource(url), settings)


def _checked(url: str, settings: AuthorizationSettings) -> None:
    try:
        Authorization(url, settings, seed=bytes(32))
    except UrlRefused as error:
        raise output.wrong(str(error)) from None


def _carried(work: Callable[[], Awaitable[T]]) -> T:
    """Run ``work``; raise Failure with the exit status that fits."""
    try:
        return interruptible(work)
    except (UrlRefused, BadTls, BadProxy) as error:
        raise output.wrong(str(error)) from error
    except AuthorizationError as error:
        raise output.Failure(str(error), output.Exit.REFUSED) from error


# Facts


def _facts(key: TokenKey, record: TokenRecord, now: float) -> dict[str, Any]:
    """Return what may be told of a token."""
    left = None if record.expires_at is None else round(record.expires_at - now)
    return {
        "resource": shown_url(key.resource),  # without the digest of its query
        "account": key.account,
        "grant": key.grant,
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
    return printable(value if isinstance(value, str) else json.dumps(value)) or "none"
