"""Cases of the page basic/authorization: scopes that a request needs."""

from urllib.parse import urlsplit

from mcpcore_conformance.cases.basic_authorization import metadata_of, stranger
from mcpcore_conformance.cases.basic_authorization_tokens import bearing
from mcpcore_conformance.kit.challenges import Challenge, find_challenge
from mcpcore_conformance.kit.endpoint import Answer, Endpoint
from mcpcore_conformance.kit.exchanges import Response
from mcpcore_conformance.kit.model import (
    MODERN,
    PROTECTED,
    SINCE_2025_03_26,
    SINCE_2025_11_25,
    STREAMABLE,
    Page,
)
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tokens import SCOPE, SCOPED_TOOL, TOOL_SCOPE
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check

page = Page("basic/authorization")

OK, FORBIDDEN = 200, 403
OFFLINE = "offline_access"
STATUS = "basic/authorization/error-handling/insufficient-scope"
"""The case about the status where a scope is missing."""
NEEDS = (PROTECTED,)
WITH_TOOL = (PROTECTED, f"tool:{SCOPED_TOOL}")
case = page.server(SINCE_2025_11_25, bindings=STREAMABLE, needs=WITH_TOOL)


def scopes_of(challenge: Challenge | None) -> set[str]:
    """The scopes that a challenge names."""
    return set(((challenge and challenge.get("scope")) or "").split())


async def supported(talk: ServerTalk) -> set[str]:
    """The scopes that the metadata lists."""
    _, there = await metadata_of(talk)
    found = there.json()
    listed = found.get("scopes_supported") if isinstance(found, dict) else None
    return {each for each in listed or () if isinstance(each, str)}


@case.should(
    "scope-selection-strategy/scope-in-challenge",
    "scope in the challenge of a server that needs scopes.",
    needs=(),
)
async def scope_in_challenge(talk: ServerTalk) -> None:
    """The challenge of a 401 says which scopes are needed."""
    _, found = await stranger(talk)
    scopes = scopes_of(find_challenge(found.header("www-authenticate"), "bearer"))
    if not scopes and not await supported(talk):
        talk.skip("the server has no scopes")
    check(scopes, "the challenge of the 401 names no scope")


@case.should(
    "refresh-tokens/no-offline-access",
    f"No {OFFLINE} in the challenge, and none in scopes_supported.",
    MODERN,
    needs=(),
)
async def no_offline_access(talk: ServerTalk) -> None:
    """A server does not ask for refresh tokens, which it never sees."""
    _, found = await stranger(talk)
    scopes = scopes_of(find_challenge(found.header("www-authenticate"), "bearer"))
    check(OFFLINE not in scopes, f"the challenge asks for {OFFLINE}")
    check(OFFLINE not in await supported(talk), f"scopes_supported has {OFFLINE}")


async def lacking(talk: ServerTalk) -> Response:
    """The response to a good token without a scope, of a server that needs one."""
    found = await bearing(talk, talk.tokens.bare)
    if found.status == OK:
        talk.skip("the server needs no scope")
    return found


@case.must(
    "error-handling/insufficient-scope",
    "403: the token is good, and does not suffice.",
    SINCE_2025_03_26,
    needs=NEEDS,
)
async def insufficient_scope(talk: ServerTalk) -> None:
    """A token without the scope that is needed is answered with 403."""
    found = await lacking(talk)
    check(found.status == FORBIDDEN, f"a token without the scope got {found.status}, not 403")


def check_challenge(challenge: Challenge | None, endpoint: str) -> None:
    """Check what is in the challenge of a 403, but for its scopes."""
    if challenge is None:
        raise Broken("the 403 has no challenge of Bearer")
    error, named = challenge.get("error"), challenge.get("resource_metadata")
    check(error == "insufficient_scope", f"the error of the challenge is {error!r}")
    origin = urlsplit(endpoint).netloc
    check(named is not None, "the challenge of the 403 has no resource_metadata")
    check(urlsplit(named or "").netloc == origin, f"resource_metadata is {named!r}")


@case.should(
    "runtime-insufficient-scope-errors/challenge",
    'error="insufficient_scope", the scopes that are needed, and resource_metadata.',
    needs=NEEDS,
)
async def challenge_of_403(talk: ServerTalk) -> None:
    """The challenge of a 403 says what would help."""
    found = await lacking(talk)
    if found.status != FORBIDDEN:
        raise Inconclusive(f"a token without the scope got {found.status}: see {STATUS}")
    challenge = find_challenge(found.header("www-authenticate"), "bearer")
    check_challenge(challenge, talk.tokens.resource)
    check(SCOPE in scopes_of(challenge), f"the challenge of the 403 does not name {SCOPE}")


async def calling(talk: ServerTalk, token: str) -> Answer:
    """The response to a call of the tool that needs a scope, by who has a token."""
    link = await talk.connect(anonymous=True, headers=[("authorization", f"Bearer {token}")])
    if link.revision.handshake:
        await link.initialize()
    point = Endpoint(talk, link)
    return await point.post(point.message("tools/call", {"name": SCOPED_TOOL, "arguments": {}}))


@case.should(
    "runtime-insufficient-scope-errors/of-a-tool",
    "403 with a challenge that names the scope of the tool; a token with it is served.",
)
async def of_a_tool(talk: ServerTalk) -> None:
    """A call for which the token does not suffice is refused, and told which scope it needs."""
    answer = await calling(talk, talk.tokens.used)
    check(answer.status == FORBIDDEN, f"a call without the scope of the tool got {answer}, not 403")
    challenge = find_challenge(answer.header("www-authenticate"), "bearer")
    check_challenge(challenge, talk.tokens.resource)
    found = scopes_of(challenge)
    check(TOOL_SCOPE in found, f"the challenge of the 403 does not name {TOOL_SCOPE}")
    answer = await calling(talk, talk.tokens.good)
    check(answer.result is not None, f"a call with the scope of the tool got {answer}")


@case.should(
    "runtime-insufficient-scope-errors/one-challenge",
    "All scopes that the call needs, in one challenge.",
    MODERN,
)
async def one_challenge(talk: ServerTalk) -> None:
    """A challenge names all scopes that an operation needs, so that one new token will do."""
    answer = await calling(talk, talk.tokens.used)
    if answer.status != FORBIDDEN:
        talk.skip(f"a call without the scope of the tool got {answer}")
    found = scopes_of(find_challenge(answer.header("www-authenticate"), "bearer"))
    check({SCOPE, TOOL_SCOPE} <= found, f"the challenge names {' '.join(sorted(found)) or 'none'}")


@case.must(
    "step-up-authorization-flow/hierarchies",
    "A result: the broader scope implies the one that is needed.",
    MODERN,
)
async def hierarchies(talk: ServerTalk) -> None:
    """A broader scope suffices where a narrower one is needed."""
    answer = await calling(talk, talk.tokens.broad)
    check(answer.result is not None, f"a call with a broader scope got {answer}")
