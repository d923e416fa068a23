"""Authorization of `mcpcore serve`, and the command `mcpcore auth key`."""

import os
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from mcpcore.errors import ExtraMissingError, UrlRefused
from mcpcore_transports.commands.output import Exit, say, wrong
from mcpcore_transports.http.server.log import log_judgement

if TYPE_CHECKING:  # late: few authorize
    from mcpcore.http.principals import Authenticate
    from mcpcore_transports.auth.schemes import Audit, Scheme
    from mcpcore_transports.commands.options import ServeOptions

_OF_ONE = ("auth_audience", "auth_type", "auth_roles", "auth_jwks", "auth_introspection")
_OF_ISSUERS = ("auth_issuer", *_OF_ONE, "auth_private")
AUTH_OPTIONS = (*_OF_ISSUERS, "auth_scope", "auth_resource", "auth_keys")
"""Options of a server that authorizes its requests."""
_CREDENTIALS = ("MCPCORE_AUTH_CLIENT_ID", "MCPCORE_AUTH_CLIENT_SECRET")
_VARIABLES = (
    "MCPCORE_AUTH_RESOURCE",
    "MCPCORE_AUTH_ISSUER",
    "MCPCORE_AUTH_SCOPES",
    "MCPCORE_AUTH_AUDIENCES",
    "MCPCORE_AUTH_TYPES",
    "MCPCORE_AUTH_ROLES",
    "MCPCORE_AUTH_JWKS_URL",
    "MCPCORE_AUTH_INTROSPECTION_URL",
    "MCPCORE_AUTH_PRIVATE",
    "MCPCORE_AUTH_KEYS",
    "MCPCORE_AUTH_MAX_FAILURES",
    *_CREDENTIALS,
)
"""Variables of the settings; the command line takes empty ones for unset."""


def authenticating(options: "ServeOptions") -> "Authenticate | None":
    """Return the hook that the options ask for, None without any.  Raises Failure."""
    _check_filled(options)
    if not any(getattr(options, name) for name in AUTH_OPTIONS):
        if options.auth_max_failures is not None:
            text = "--auth-max-failures needs --auth-resource or --auth-keys"
            raise wrong(text)
        return None
    try:
        schemes = _schemes(options)
    except (ValueError, OSError, UrlRefused, ExtraMissingError) as error:
        raise wrong(f"authorization: {error}") from error
    if len(schemes) == 1:
        return schemes[0]
    from mcpcore_transports.auth.schemes import AnyOf  # late: few authorize

    return AnyOf(*schemes, audit=_audit(options))


def metadata_warning(options: "ServeOptions") -> str | None:
    """Return a warning that clients cannot sign in at some of the addresses, or None."""
    kinds = [name for name in ("http", "ws", "sse") if getattr(options, name)]
    if options.auth_resource is None or len(kinds) < 2:
        return None
    named = ", ".join(f"--{name}" for name in kinds)
    return (
        f"{named} are different URLs, and tokens are for {options.auth_resource} alone: clients "
        "cannot sign in at the others (serve WebSocket at the same URL by --websocket)"
    )


def forget_credentials() -> None:
    """Take the client's credentials out of the environment of handlers and their children.

    Both: a child that serves as well would refuse one without the other.
    """
    for variable in _CREDENTIALS:
        os.environ.pop(variable, None)


def _check_filled(options: "ServeOptions") -> None:
    """Refuse an empty setting, or half of one: it is so by mistake, and all or none are let in."""
    for name in AUTH_OPTIONS:
        value = getattr(options, name)
        if value == "" or (isinstance(value, tuple) and "" in value):
            raise wrong(f"--{name.replace('_', '-')} is empty")
    for variable in _VARIABLES:
        if os.environ.get(variable, "set").strip() == "":
            raise wrong(f"{variable} is set and empty")
    for given, other in (_CREDENTIALS, _CREDENTIALS[::-1]):
        if given in os.environ and other not in os.environ:
            raise wrong(f"{given} needs {other}")


def _schemes(options: "ServeOptions") -> "list[Scheme]":
    from mcpcore_transports.auth.schemes import ApiKeyScheme, read_keys_file  # late: few authorize

    schemes: list[Scheme] = []
    rules: dict[str, Any] = {"required": options.auth_scope or (), "audit": _audit(options)}
    if options.auth_max_failures is not None:
        rules["max_failures"] = options.auth_max_failures or None
    if options.auth_keys is not None:
        try:
            keys = read_keys_file(options.auth_keys)
        except OSError as error:
            raise wrong(f"--auth-keys: {options.auth_keys}: {error.strerror}") from error
        schemes.append(ApiKeyScheme(keys, **rules))
    if options.auth_resource is None:
        given = next((name for name in _OF_ISSUERS if getattr(options, name)), None)
        if given is not None:
            raise ValueError(f"--{given.replace('_', '-')} needs --auth-resource")
        if not schemes:
            raise ValueError("--auth-scope needs --auth-resource or --auth-keys")
        return schemes
    if not options.auth_issuer:
        raise ValueError("--auth-resource needs --auth-issuer")
    given = next((name for name in _OF_ONE if getattr(options, name)), None)
    if len(options.auth_issuer) > 1 and given is not None:
        raise ValueError(f"--{given.replace('_', '-')} is for one issuer")
    from mcpcore.auth.grants import ClientIdentity  # late: few authorize
    from mcpcore.auth.resource_server import Issuer
    from mcpcore.auth.tokens import TYPES
    from mcpcore_transports.auth.resource_server import ResourceServer

    client = None
    if _CREDENTIALS[0] in os.environ and options.auth_introspection:
        client_id, secret = map(os.environ.__getitem__, _CREDENTIALS)
        client = ClientIdentity(client_id=client_id, client_secret=secret)
    issuers = [
        Issuer(
            issuer=issuer,
            jwks_url=options.auth_jwks,
            introspection_url=options.auth_introspection,
            client=client,
            audiences=frozenset(options.auth_audience),
            types=frozenset(options.auth_type) or TYPES,
            roles=options.auth_roles,
            private=options.auth_private,
        )
        for issuer in options.auth_issuer
    ]
    rules["certificate_bound"] = options.tls_client_ca is not None
    schemes.append(ResourceServer(options.auth_resource, issuers, **rules))
    return schemes


def _audit(options: "ServeOptions") -> "Audit | None":
    return log_judgement if options.log_http or options.log_audit else None


def make_api_key(
    principal: str, scopes: tuple[str, ...], roles: tuple[str, ...], days: float | None
) -> int:
    """Make an API key: print its record on standard output, and the key once on standard error."""
    from mcpcore.auth.api_keys import ApiKey, digest_of, make_key  # late: few authorize
    from mcpcore.auth.challenges import format_scopes
    from mcpcore.http.principals import Principal

    try:
        format_scopes(scopes)
        Principal(principal)
    except ValueError as error:
        raise wrong(str(error)) from error
    try:
        end = None if days is None else datetime.now(UTC) + timedelta(days=days)
    except (OverflowError, ValueError) as error:  # beyond the year 9999, or no number
        raise wrong(f"--days: there is no date {days} days from now") from error
    id, text = make_key(secrets.token_bytes(40))
    record = ApiKey(
        id=id,
        digest=digest_of(text),
        principal=principal,
        scopes=scopes,
        roles=roles,
        expires_at=None if end is None else end.timestamp(),
    )
    print(msgspec.json.encode(record).decode(), flush=True)
    say(f"the key, which is shown only now: {text}")
    return Exit.OK
