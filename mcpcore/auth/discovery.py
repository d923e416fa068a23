"""Discovery: the protected resource, its authorization server, and the fallback of 2025-03-26.

Sources: RFC 9728 sections 3 and 7, RFC 8414 section 3, OpenID Connect Discovery section 4; the
authorization pages since 2025-03-26, "Authorization Server Discovery".
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from mcpcore.auth.challenges import parse_scopes
from mcpcore.auth.endpoints import JSON, Endpoints, Unreachable
from mcpcore.auth.grants import ClientAuth
from mcpcore.auth.metadata import ResourceMetadata, ServerMetadata, printable
from mcpcore.auth.needs import Steps
from mcpcore.auth.urls import (
    covers,
    parse_url,
    resource_metadata_urls,
    same_issuer,
    server_metadata_urls,
)
from mcpcore.errors import AuthorizationError, DocumentRefused, UrlRefused

_FALLBACK_HEADERS = {**JSON, "mcp-protocol-version": "2025-03-26"}
"""Headers of the request for metadata where 2025-03-26 alone has the way to find them."""


_ISSUERS = 3
"""Authorization servers of one resource that are tried."""

GIVE_YOURS = "give a key or token that you have, as BearerToken or in the header Authorization"
"""Part of a sentence: what helps at a server that gives no tokens."""


class Discovered(Struct, frozen=True, kw_only=True):
    """Result of discovery: the resource, its scopes, and its authorization server."""

    resource: str
    scopes: frozenset[str]
    metadata: ServerMetadata
    published: bool = True
    """False: the issuer has no metadata, and the default paths of 2025-03-26 are used."""


def find_resource(
    endpoints: Endpoints, server: str, named: str | None
) -> Steps[ResourceMetadata | None]:
    """Return the metadata of the protected resource, None if the server has none.

    ``named``: its URL, as a challenge names it.
    """
    usual = resource_metadata_urls(server)
    places = usual if named is None else (named,)
    what = "the metadata of the server"
    elsewhere = parse_url(places[0], what).origin != parse_url(server, what).origin
    if elsewhere and not endpoints.settings.foreign_metadata:
        raise DocumentRefused(what, "it is at another origin, which the settings do not allow")
    found = yield from endpoints.document(places, ResourceMetadata, what)
    if found is None:
        if named is not None or not endpoints.settings.fallbacks:
            raise DocumentRefused(what, "there is none")
        return None
    document, place = found
    if not covers(document.resource, server, root=place == usual[-1]):
        about = printable(document.resource)
        raise DocumentRefused(what, f"it is about another resource, {about}")
    return document


def find_authority(
    endpoints: Endpoints,
    server: str,
    resource: ResourceMetadata | None,
    *,
    wanted: str | None = None,
    before: str | None = None,
) -> Steps[Discovered]:
    """Return the authorization server of a resource (RFC 9728 section 7.6).

    ``wanted``: credential that the server asks for by a name of its own, such as API keys.
    ``before``: issuer of the last token, which goes before others.  One without usable metadata is
    passed over, unless the settings hold what belongs to one issuer.
    """
    if resource is None:
        return (yield from _fallback(endpoints, server, wanted))
    issuers = resource.authorization_servers
    if not issuers:
        raise DocumentRefused("the metadata of the server", "it names no authorization server")
    settings = endpoints.settings
    if settings.issuer is not None:
        if not any(same_issuer(settings.issuer, each) for each in issuers):
            raise AuthorizationError(
                "the server does not name the issuer that this client is registered with"
            )
        issuers = (settings.issuer,)
    elif before is not None:
        issuers = tuple(sorted(issuers, key=lambda each: not same_issuer(before, each)))
    scopes = parse_scopes(" ".join(resource.scopes_supported or ())) or frozenset()
    failure: AuthorizationError | None = None
    bound = settings.trusting or settings.client is not None  # it belongs to one of them
    for issuer in issuers[: 1 if bound else _ISSUERS]:
        try:
            found = yield from find_metadata(endpoints, issuer, server_metadata_urls(issuer))
            if found is None:
                raise DocumentRefused("the authorization server", "it has no metadata")
        except (DocumentRefused, Unreachable, UrlRefused) as error:
            failure = failure or error
            continue
        if failure is not None:
            endpoints.notes.append(f"another authorization server is used: {failure}")
        return Discovered(resource=resource.resource, scopes=scopes, metadata=found)
    assert failure is not None  # noqa: S101 - one issuer at least was tried
    raise failure


def find_metadata(
    endpoints: Endpoints, issuer: str, places: Sequence[str], headers: Mapping[str, str] = JSON
) -> Steps[ServerMetadata | None]:
    """Return the metadata of an issuer, None if there is none; the first found is final."""
    what = "the metadata of the authorization server"
    found = yield from endpoints.document(places, ServerMetadata, what, headers)
    if found is None:
        return None
    if not same_issuer(found[0].issuer, issuer):
        raise DocumentRefused(what, "it is of another issuer")
    return found[0]


def _fallback(endpoints: Endpoints, server: str, wanted: str | None) -> Steps[Discovered]:
    """Return what 2025-03-26 takes for granted: the server's origin is its issuer.

    The default endpoints are not tried at a server that asks for something else by name, unless
    the settings say that it is the issuer.
    """
    origin = parse_url(server, "the URL of the server").origin
    issuer = endpoints.settings.issuer
    if issuer is not None and not same_issuer(issuer, origin):
        raise AuthorizationError(
            f"the server has no metadata, and is not the issuer {printable(issuer)} itself"
        )
    places = server_metadata_urls(origin)[:1]
    metadata = yield from find_metadata(endpoints, origin, places, _FALLBACK_HEADERS)
    if metadata is None and wanted is not None and issuer is None:
        raise AuthorizationError(
            f"the server asks for {wanted} and names no authorization server: {GIVE_YOURS}; if "
            f"{origin} is its issuer, name that in the settings"
        )
    default = ServerMetadata(
        issuer=origin,
        authorization_endpoint=f"{origin}/authorize",
        token_endpoint=f"{origin}/token",
        registration_endpoint=f"{origin}/register",
        token_endpoint_auth_methods_supported=(ClientAuth.NONE, ClientAuth.BASIC, ClientAuth.POST),
    )
    return Discovered(
        # Without its query, which may hold a key: the person's browser shows this.
        resource=server.partition("?")[0],
        scopes=frozenset(),
        metadata=metadata or default,
        published=metadata is not None,
    )
