"""Tokens of a server for the servers that it calls itself: its own, or in the name of a person.

The token that came in is for this server alone, and is never passed on.  Pure steps, carried out as
those of an authorization are.

Sources: the authorization pages, "Access Token Privilege Restriction"; RFC 6749 section 4.4 (client
credentials), RFC 8693 section 2 (token exchange), RFC 8707 section 2.
"""

from collections.abc import Mapping

from msgspec import Struct, structs

from mcpcore.auth.challenges import format_scopes, parse_scopes
from mcpcore.auth.discovery import find_metadata
from mcpcore.auth.endpoints import Endpoints, told
from mcpcore.auth.grants import (
    ACCESS_TOKEN,
    ClientIdentity,
    choose_method,
    client_credentials_grant,
    exchange_grant,
)
from mcpcore.auth.metadata import ErrorResponse
from mcpcore.auth.needs import Steps
from mcpcore.auth.urls import check_url, server_metadata_urls
from mcpcore.errors import AuthorizationError, DocumentRefused
from mcpcore.spec.bounds import check_kinds
from mcpcore.wire.redaction import HIDDEN, Discreet, Secret

_SHORTEST = 1.0
_LONGEST = 2.0**40


class Upstream(Struct, frozen=True, kw_only=True):
    """Server that is called, and the credentials for its tokens.

    Raises ValueError for scopes that cannot be sent.
    """

    resource: str
    """Resource identifier of the server that is called."""
    issuer: str
    """Authorization server that gives its tokens."""
    client: ClientIdentity
    """Credentials of this server there."""
    scopes: frozenset[str] = frozenset()
    """Scopes to ask for; empty: the issuer decides."""
    audience: str | None = None
    """Logical name of the server that is called, where its issuer wants one (RFC 8693)."""

    def __post_init__(self) -> None:
        check_kinds(self)
        structs.force_setattr(self, "scopes", frozenset(self.scopes))  # read for each token
        format_scopes(self.scopes)


class Subject(Discreet, frozen=True, kw_only=True):
    """Token of the person in whose name a call is made; it comes from the application."""

    token: str
    kind: str = ACCESS_TOKEN
    """Type of the token, as RFC 8693 section 3 names it."""

    def __shown__(self) -> Mapping[str, object]:
        return {"token": HIDDEN}


class UpstreamToken(Struct, frozen=True, kw_only=True):
    """Token for calls to an upstream server."""

    token: Secret
    scopes: frozenset[str] | None
    """Granted scopes; None: not told."""
    expires_at: float | None
    """Seconds since 1970; None: not told."""


def upstream_token(
    endpoints: Endpoints, upstream: Upstream, subject: Subject | None
) -> Steps[UpstreamToken]:
    """Get a token: by an exchange if there is a ``subject``, else for this server itself.

    Raises AuthorizationError.
    """
    issuer = upstream.issuer
    private = endpoints.settings.private
    check_url(upstream.resource, "the resource", loopback=True, private=private)
    metadata = yield from find_metadata(endpoints, issuer, server_metadata_urls(issuer))
    if metadata is None:
        raise DocumentRefused("the authorization server", "it has no metadata")
    place = metadata.endpoint("token_endpoint", certificate=upstream.client.certificate)
    url = endpoints.url(place, "the token endpoint")
    method = choose_method(upstream.client, metadata)
    response = yield from endpoints.token(
        url,
        _grant(upstream, subject),
        upstream.client,
        method,
        audience=metadata.issuer,
        bound=False,
    )
    what = "the token response"
    if isinstance(response, ErrorResponse):
        raise AuthorizationError(told("the authorization server gave no token", response))
    if response.token_type.lower() != "bearer":
        raise DocumentRefused(what, "its type is not Bearer")
    if subject is not None and response.issued_token_type != ACCESS_TOKEN:
        raise DocumentRefused(what, "it is no access token")
    token, lasts = response.access_token, response.expires_in
    if not (text := str.__str__(token)) or not all("!" <= char <= "~" for char in text):
        raise DocumentRefused(what, "its token cannot be sent")
    sound = lasts is not None and _SHORTEST <= lasts < _LONGEST
    return UpstreamToken(
        token=Secret(token),
        scopes=parse_scopes(response.scope),
        expires_at=endpoints.wall + lasts if sound and lasts is not None else None,
    )


def _grant(upstream: Upstream, subject: Subject | None) -> Mapping[str, str | None]:
    scope = format_scopes(upstream.scopes) or None
    if subject is None:
        return client_credentials_grant(scope, upstream.resource)
    return exchange_grant(
        subject.token,
        subject.kind,
        audience=upstream.audience,
        resource=upstream.resource,
        scope=scope,
        requested=ACCESS_TOKEN,
    )
