"""Cases of the page basic/authorization of 2025-03-26 for clients: the server's own origin."""

from typing import Annotated

from mcpcore_conformance.kit.client_sign_in import (
    AttendedSite,
    attend,
    metadata_asked,
    protect,
    signing_in,
)
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.model import ONLY_2025_03_26, Page
from mcpcore_conformance.kit.protected import OAUTH_PLACE, ProtectedSite
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/authorization")

case = signing_in(page, ONLY_2025_03_26)
FALLBACKS = "fallbacks-for-servers-without-metadata-discovery"
DEFAULTS = {"authorize": "/authorize", "token": "/token", "register": "/register"}


def _unpublished(talk: ClientTalk) -> ProtectedSite:
    """Make a site without metadata, in which nobody could be told that responses have an iss."""
    site = protect(talk)
    site.server.places, site.server.endpoints = ("/nowhere",), DEFAULTS
    site.server.document = {"authorization_response_iss_parameter_supported": None}
    return site


UnpublishedSite = Annotated[ProtectedSite, _unpublished]


@case.must(
    "authorization-base-url", "Metadata are asked for at the root of the server's origin, and used."
)
async def metadata_at_root(talk: ClientTalk, site: AttendedSite) -> None:
    """The authorization base URL is that of the server without its path."""
    found = [each.path for each in metadata_asked(site)]
    check(OAUTH_PLACE in found, f"the client asked for {found or 'no metadata'}")
    check(site.let_in, f"the client did not sign in: {talk.state()}")


@case.must(FALLBACKS, "/register, /authorize and /token of the server's origin.")
async def default_paths(talk: ClientTalk, site: UnpublishedSite) -> None:
    """Without metadata the client uses the default paths."""
    await attend(talk, site)
    for each, path in DEFAULTS.items():
        check(site.of(each), f"{path} was not used: {talk.state()}")
    check(site.let_in, f"the client did not sign in: {talk.state()}")


@case.must(FALLBACKS, "The metadata are asked for before any default path.")
async def metadata_first(talk: ClientTalk, site: UnpublishedSite) -> None:
    """Metadata are looked for before the default paths are used."""
    await attend(talk, site)
    paths = [each.path for each in site.elsewhere]
    check(OAUTH_PLACE in paths, "the client asked for no metadata")
    used = [paths.index(each) for each in DEFAULTS.values() if each in paths]
    check(used, f"no default path was used: {talk.state()}")
    check(paths.index(OAUTH_PLACE) < min(used), f"the client asked for {', '.join(paths)}")


@case.should(
    "server-metadata-discovery-headers", "MCP-Protocol-Version with the request for metadata."
)
async def version_header(site: AttendedSite) -> None:
    """The request for metadata names the protocol version."""
    found = [each for each in metadata_asked(site) if each.path == OAUTH_PLACE]
    check(found, "the client asked for no metadata at the root")
    check(found[0].header("mcp-protocol-version"), "the request has no MCP-Protocol-Version")
