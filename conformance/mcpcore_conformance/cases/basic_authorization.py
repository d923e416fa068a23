"""Cases of the page basic/authorization: a server that lets in only who has a token.

They apply where a request without credentials gets the status 401.  Some need credentials, which
the kit is given as headers of the target, or brings itself (``--protected``).
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from mcpcore_conformance.kit.challenges import challenges, find_challenge
from mcpcore_conformance.kit.exchanges import (
    Response,
    any_notification,
    fetch,
    first_message,
    post,
    visit,
)
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.model import (
    ONLY_2025_06_18,
    SINCE_2025_03_26,
    SINCE_2025_06_18,
    STREAMABLE,
    Page,
)
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, check

page = Page("basic/authorization")

case = page.server(SINCE_2025_03_26, bindings=STREAMABLE)
BAD_REQUEST, UNAUTHORIZED = 400, 401
WELL_KNOWN = "/.well-known/oauth-protected-resource"
NO_TOKEN = "mcpcore-conformance-no-such-token"  # noqa: S105 - it opens nothing


async def stranger(talk: ServerTalk) -> tuple[Link, Response]:
    """Somebody without credentials, and what his first request got: 401."""
    link = await talk.anonymous()
    found = await post(link, first_message(link))
    if found.status != UNAUTHORIZED:
        talk.skip(f"the server asks for no credentials (status {found.status})")
    return link, found


def parameter(found: Response, name: str) -> str | None:
    """A parameter of the challenges of a response."""
    for each in challenges(found.header("www-authenticate")) or ():
        if (value := each.get(name)) is not None:
            return value
    return None


def token_of(talk: ServerTalk) -> str:
    """The bearer token that the kit was given."""
    given = talk.credentials.get("authorization", "")
    scheme, _, token = given.partition(" ")
    return token if scheme.lower() == "bearer" and token else talk.skip("the kit has no token")


@case.must("token-handling/challenge", "WWW-Authenticate with the scheme Bearer.")
async def challenge(talk: ServerTalk) -> None:
    """A request without a token is challenged."""
    _, found = await stranger(talk)
    value = found.header("www-authenticate")
    bearer = find_challenge(value, "bearer")
    check(bearer is not None, f"the challenge of the 401 is {value!r}")


@case.must(
    "token-requirements/every-request",
    "401 for what has no token; GET and DELETE are refused, one way or the other.",
)
async def every_request(talk: ServerTalk) -> None:
    """Every request needs a token: notifications, GET and DELETE as well."""
    link, _ = await stranger(talk)
    found = await post(link, any_notification())
    check(found.status == UNAUTHORIZED, f"a notification without a token got {found.status}")
    for method in ("GET", "DELETE"):
        found = await fetch(link, method)
        refused = BAD_REQUEST <= found.status < 500
        check(refused, f"{method} without a token got {found.status}")


async def _refused(talk: ServerTalk, values: Sequence[str], *statuses: int) -> list[Response]:
    link, _ = await stranger(talk)
    made = []
    for value in values:
        found = await post(link, first_message(link), [("authorization", value)])
        check(found.status in statuses, f"Authorization: {value[:40]!r} got {found.status}")
        made.append(found)
    return made


@case.must("token-handling/invalid-token", "401.")
async def invalid_token(talk: ServerTalk) -> None:
    """A token that the server does not know is refused with 401."""
    header = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJraXQifQ."
    await _refused(talk, [f"Bearer {NO_TOKEN}", f"Bearer {header}"], UNAUTHORIZED)


@case.should(
    "token-handling/invalid-token-error",
    'error="invalid_token" in the challenge, as RFC 6750 has it.',
)
async def invalid_token_error(talk: ServerTalk) -> None:
    """The challenge says that the token is invalid."""
    (found,) = await _refused(talk, [f"Bearer {NO_TOKEN}"], UNAUTHORIZED)
    error = parameter(found, "error")
    check(error == "invalid_token", f"the error of the challenge is {error!r}")


@case.must("error-handling/malformed-credentials", "401, or 400.")
async def malformed(talk: ServerTalk) -> None:
    """Credentials that are no bearer token are refused."""
    values = ("Bearer", "Bearer a b", "Basic a2l0OmtpdA==", NO_TOKEN, "bearer=x")
    await _refused(talk, values, UNAUTHORIZED, BAD_REQUEST)


@case.must("token-requirements/not-in-the-query", "401: a token in the query counts for nothing.")
async def in_query(talk: ServerTalk) -> None:
    """A good token in the query of the URL lets nobody in."""
    token = token_of(talk)
    link, _ = await stranger(talk)
    path = urlsplit(talk.http(link).url).path or "/"
    for name in ("access_token", "token"):
        found = await post(link, first_message(link), target=f"{path}?{name}={token}")
        refused = BAD_REQUEST <= found.status < 500
        check(refused, f"a token in the query, as {name}, got {found.status}")


@case.must("token-requirements/in-the-header", "A good answer, whatever the case of the scheme.")
async def in_header(talk: ServerTalk) -> None:
    """A good token in the header Authorization lets in."""
    token = token_of(talk)
    link, _ = await stranger(talk)
    for scheme in ("Bearer", "bearer"):
        credentials = [("authorization", f"{scheme} {token}")]
        found = await post(link, first_message(link), credentials)
        check(found.status == 200, f"{scheme} with the kit's own token got {found.status}")


async def metadata_of(talk: ServerTalk) -> tuple[str, Response]:
    """Where the metadata of the resource is, and what is there."""
    link, found = await stranger(talk)
    named = parameter(found, "resource_metadata")
    parts = urlsplit(talk.http(link).url)
    origin = f"{parts.scheme}://{parts.netloc}"
    places = [f"{origin}{WELL_KNOWN}{parts.path}", f"{origin}{WELL_KNOWN}"]
    for url in [named] if named else places:
        there = await visit(link, url)
        if there.status == 200:
            return url, there
    raise Broken(f"there is no metadata at {named or ' or '.join(places)}")


@case.must(
    "protected-resource-metadata-discovery-requirements/found",
    "resource_metadata in the challenge, or metadata at a well-known place.",
    SINCE_2025_06_18,
)
async def metadata_found(talk: ServerTalk) -> None:
    """The metadata of the protected resource can be found."""
    _, there = await metadata_of(talk)
    check(isinstance(there.json(), dict), f"the metadata is {there.body[:60]!r}")


@case.must(
    "authorization-server-location/metadata-in-challenge",
    "resource_metadata in the challenge; this revision knows no other way.",
    ONLY_2025_06_18,
)
async def metadata_in_challenge(talk: ServerTalk) -> None:
    """The challenge of a 401 names the URL of the metadata."""
    _, found = await stranger(talk)
    named = parameter(found, "resource_metadata")
    check(named is not None, "the challenge of the 401 has no resource_metadata")


@case.must(
    "authorization-server-location/authorization-servers",
    "authorization_servers with at least one.",
    SINCE_2025_06_18,
)
async def authorization_servers(talk: ServerTalk) -> None:
    """The metadata names an authorization server."""
    _, there = await metadata_of(talk)
    found = there.json()
    servers = found.get("authorization_servers") if isinstance(found, dict) else None
    check(isinstance(servers, list) and servers, f"authorization_servers is {servers!r}")
    for each in servers or []:
        good = isinstance(each, str) and urlsplit(each).scheme in ("https", "http")
        check(good, f"an authorization server is {each!r}")


@case.should(
    "authorization-server-location/resource",
    "resource is the URL of the server, or one that it lies under.",
    SINCE_2025_06_18,
)
async def resource(talk: ServerTalk) -> None:
    """The metadata is that of the server that points to it."""
    _, there = await metadata_of(talk)
    found = there.json()
    named = found.get("resource") if isinstance(found, dict) else None
    own = talk.http(await talk.anonymous()).url
    origin, path = "://".join(urlsplit(own)[:2]), own.partition("?")[0]
    good = isinstance(named, str) and (
        named == own
        or (named.startswith(origin) and f"{path}/".startswith(f"{named.rstrip('/')}/"))
    )
    check(good, f"resource is {named!r}, not {own!r}")
