"""Cases of the page basic/authorization/index for clients: which scopes are asked for, and when."""

from mcpcore_conformance.kit.client_sign_in import (
    FEW,
    attend,
    authorization,
    protect,
    scopes,
    sign_in,
    signing_in,
)
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.model import MODERN, SINCE_2025_11_25, Page
from mcpcore_conformance.kit.protected import ProtectedSite
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("basic/authorization/index")
case = signing_in(page, SINCE_2025_11_25)

SELECTION = "scope-selection-strategy"
STEP_UP = "step-up-authorization-flow"
TOOLS = "tools/call"


@case.should(
    f"{SELECTION}/client-challenged-scopes",
    "The scopes of the challenge, and not those of scopes_supported besides.",
)
async def challenged_scopes(talk: ClientTalk) -> None:
    """The scopes of the challenge are asked for, and no others."""
    site = protect(talk)
    site.scope = "kit:read kit:list"
    site.resource = {"scopes_supported": ["kit:read", "kit:write", "kit:admin"]}
    await sign_in(talk, site)
    found = scopes(authorization(site))
    check(found == {"kit:read", "kit:list"}, f"the client asked for {sorted(found)}")


@case.must(
    f"{SELECTION}/client-challenge-decides",
    "Scopes of the challenge are asked for whether they are in scopes_supported or not.",
)
async def challenge_decides(talk: ClientTalk) -> None:
    """Nothing is assumed of how challenged scopes relate to those that are listed."""
    site = protect(talk)
    site.scope = "kit:unlisted"
    site.resource = {"scopes_supported": ["kit:read", "kit:write"]}
    site.server.document = {"scopes_supported": ["kit:read", "kit:write"]}
    await sign_in(talk, site)
    found = scopes(authorization(site))
    check("kit:unlisted" in found, f"the client asked for {sorted(found)}")


@case.should(f"{SELECTION}/client-supported-scopes", "All of scopes_supported.")
async def supported_scopes(talk: ClientTalk) -> None:
    """Without scopes in the challenge those that the server's metadata list are asked for."""
    site = protect(talk)
    site.resource = {"scopes_supported": ["kit:read", "kit:write"]}
    await sign_in(talk, site)
    found = scopes(authorization(site))
    check(found == {"kit:read", "kit:write"}, f"the client asked for {sorted(found)}")


@case.should(f"{SELECTION}/client-no-scopes", "The authorization request has no scope.")
async def no_scopes(talk: ClientTalk) -> None:
    """Where nobody names scopes the parameter is left out."""
    site = protect(talk)
    await sign_in(talk, site)
    found = authorization(site)
    check("scope" not in found, f"the client asked for {found.get('scope')!r}")


@case.should(
    "refresh-tokens/client-offline-where-listed", "offline_access is not asked for.", MODERN
)
async def offline_where_listed(talk: ClientTalk) -> None:
    """Offline access is not asked for where the authorization server does not list it."""
    site = protect(talk)
    site.scope = "kit:read"
    site.server.document = {"scopes_supported": ["kit:read", "kit:write"]}
    await sign_in(talk, site)
    found = scopes(authorization(site))
    check("offline_access" not in found, f"the client asked for {sorted(found)}")


async def _stepped_up(talk: ClientTalk) -> ProtectedSite:
    """Sign in for less than a call needs, and let the client get more."""
    site = protect(talk)
    site.scope, site.demands[TOOLS] = "kit:read", "kit:write"
    await attend(talk, site)
    if not any(each.status == 403 for each in site.visits):
        raise Broken(f"the client has made no call with its token: {talk.state()}")
    return site


@case.should(
    f"{STEP_UP}/client-asks-for-more",
    "A new authorization with the scopes of the 403, and the call once more.",
    scenario="auth/scope-step-up",
)
async def asks_for_more(talk: ClientTalk) -> None:
    """A call that lacks scopes leads to an authorization for them, and is sent again."""
    site = await _stepped_up(talk)
    check(len(site.of("authorize")) > 1, f"the client asked for no more scopes: {talk.state()}")
    found = scopes(authorization(site, 1))
    check("kit:write" in found, f"the client asked for {sorted(found)}")
    called = [each for each in site.let_in if each.value.get("method") == TOOLS]
    check(called, f"the call was not sent again: {talk.state()}")


@case.should(
    f"{STEP_UP}/client-keeps-scopes",
    "The scopes asked for before, and those of the 403.",
    MODERN,
    scenario="auth/scope-step-up",
)
async def keeps_scopes(talk: ClientTalk) -> None:
    """An authorization for more scopes asks for those granted before as well."""
    site = await _stepped_up(talk)
    if len(site.of("authorize")) < 2:
        talk.skip("the client asks for no more scopes")
    found = scopes(authorization(site, 1))
    check(found >= {"kit:read", "kit:write"}, f"the client asked for {sorted(found)}")


@case.should(
    f"{STEP_UP}/client-bounded",
    f"At most {FEW} authorizations, then an error.",
    scenario="auth/scope-retry-limit",
)
async def bounded(talk: ClientTalk) -> None:
    """A call that is refused whatever its scopes is given up."""
    site = protect(talk)
    site.scope, site.demands[TOOLS], site.forbids = "kit:read", "kit:write", True
    await attend(talk, site)
    for method in ("add_numbers", "echo"):
        refused = [
            each
            for each in site.visits
            if each.status == 403 and each.value.get("params", {}).get("name") == method
        ]
        check(len(refused) <= FEW + 1, f"the call of {method} was sent {len(refused)} times")
    count = len(site.of("authorize"))
    check(count <= 2 * FEW + 1, f"there were {count} authorization requests for two calls")
