"""Cases of the page basic/authorization: a server that lets in only who has a token.

They apply where a request without credentials gets the status 401.  Some need credentials, which
the kit is given as headers of the target, or brings itself (``--protected``).
"""

import time
from collections.abc import Iterable, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from mcpcore_conformance.kit.challenges import Challenge, challenges, find_challenge
from mcpcore_conformance.kit.endpoint import Answer, Endpoint, check_served, endpoint
from mcpcore_conformance.kit.exchanges import (
    Response,
    any_notification,
    fetch,
    first_message,
    post,
    response,
    visit,
)
from mcpcore_conformance.kit.headers import ACCEPT, for_message
from mcpcore_conformance.kit.heard import Headers, header
from mcpcore_conformance.kit.link import Link
from mcpcore_conformance.kit.messages import encode
from mcpcore_conformance.kit.model import (
    LEGACY_SSE,
    MODERN,
    ONLY_2025_06_18,
    PROTECTED,
    SINCE_2025_03_26,
    SINCE_2025_06_18,
    SINCE_2025_11_25,
    STREAMABLE,
    WEBSOCKET,
    Page,
)
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.tokens import (
    SCOPE,
    SCOPED_TOOL,
    TOOL_SCOPE,
    Tokens,
    encoded,
    jwt,
    mac,
    read,
)
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, check, need
from mcpcore_conformance.kit.wire import Refused

page = Page("basic/authorization")

case = page.server(SINCE_2025_03_26, bindings=STREAMABLE)
authorization_server_location = case.at("authorization-server-location")
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


StrangerLink = Annotated[Link, stranger]
Refusal = Annotated[Response, stranger]


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


@case.must("token-handling", "WWW-Authenticate with the scheme Bearer.")
async def challenge(_: StrangerLink, found: Refusal) -> None:
    """A request without a token is challenged."""
    value = found.header("www-authenticate")
    bearer = find_challenge(value, "bearer")
    check(bearer is not None, f"the challenge of the 401 is {value!r}")


@case.must(
    "token-requirements",
    "401 for what has no token; GET and DELETE are refused, one way or the other.",
)
async def every_request(link: StrangerLink, _: Refusal) -> None:
    """Every request needs a token: notifications, GET and DELETE as well."""
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


@case.must("token-handling", "401.")
async def invalid_token(talk: ServerTalk) -> None:
    """A token that the server does not know is refused with 401."""
    header = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJraXQifQ."
    await _refused(talk, [f"Bearer {NO_TOKEN}", f"Bearer {header}"], UNAUTHORIZED)


@case.should("token-handling", 'error="invalid_token" in the challenge, as RFC 6750 has it.')
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


MetadataUrl = Annotated[str, metadata_of]
Metadata = Annotated[Response, metadata_of]


@case.must(
    "protected-resource-metadata-discovery-requirements/found",
    "resource_metadata in the challenge, or metadata at a well-known place.",
    SINCE_2025_06_18,
)
async def metadata_found(_: MetadataUrl, there: Metadata) -> None:
    """The metadata of the protected resource can be found."""
    check(isinstance(there.json(), dict), f"the metadata is {there.body[:60]!r}")


@authorization_server_location.must(
    "resource_metadata in the challenge; this revision knows no other way.", ONLY_2025_06_18
)
async def metadata_in_challenge(_: StrangerLink, found: Refusal) -> None:
    """The challenge of a 401 names the URL of the metadata."""
    named = parameter(found, "resource_metadata")
    check(named is not None, "the challenge of the 401 has no resource_metadata")


@authorization_server_location.must("authorization_servers with at least one.", SINCE_2025_06_18)
async def authorization_servers(_: MetadataUrl, there: Metadata) -> None:
    """The metadata names an authorization server."""
    found = there.json()
    servers = found.get("authorization_servers") if isinstance(found, dict) else None
    check(isinstance(servers, list) and servers, f"authorization_servers is {servers!r}")
    for each in servers or []:
        good = isinstance(each, str) and urlsplit(each).scheme in ("https", "http")
        check(good, f"an authorization server is {each!r}")


@authorization_server_location.should(
    "resource is the URL of the server, or one that it lies under.", SINCE_2025_06_18
)
async def resource(talk: ServerTalk, _: MetadataUrl, there: Metadata) -> None:
    """The metadata is that of the server that points to it."""
    found = there.json()
    named = found.get("resource") if isinstance(found, dict) else None
    own = talk.http(await talk.anonymous()).url
    origin, path = "://".join(urlsplit(own)[:2]), own.partition("?")[0]
    good = isinstance(named, str) and (
        named == own
        or (named.startswith(origin) and f"{path}/".startswith(f"{named.rstrip('/')}/"))
    )
    check(good, f"resource is {named!r}, not {own!r}")


# Which tokens a server takes
#
# The kit starts an authorization server, of which the server under test was told, and makes tokens
# that differ from a good one in one point.

NEEDS = (PROTECTED,)
case = page.server(SINCE_2025_03_26, bindings=STREAMABLE, needs=NEEDS)
token_handling = case.at("token-handling")
HOUR = 3600
"""Seconds by which times are wrong: more than any leeway."""


async def bearing(talk: ServerTalk, token: str, scheme: str = "Bearer") -> Response:
    """The response to the first message of a client that has a token."""
    link = await talk.anonymous()
    return await post(link, first_message(link), [("authorization", f"{scheme} {token}")])


async def check_refused(talk: ServerTalk, tokens: Iterable[tuple[str, str]]) -> None:
    """Check that tokens get 401, and ``invalid_token`` if the challenge says why."""
    for what, token in tokens:
        found = await bearing(talk, token)
        check(found.status == UNAUTHORIZED, f"a token {what} got {found.status}, not 401")
        challenge = find_challenge(found.header("www-authenticate"), "bearer")
        error = None if challenge is None else challenge.get("error")
        talk.should(error == "invalid_token", f"of a token {what} the challenge says {error!r}")


@token_handling.must("401.")
async def expired(talk: ServerTalk) -> None:
    """A token that has expired is refused."""
    then = int(time.time()) - HOUR
    token = talk.tokens.changed(iat=then - HOUR, exp=then)
    await check_refused(talk, [("that has expired", token)])


@token_handling.must("401.")
async def not_yet_valid(talk: ServerTalk) -> None:
    """A token whose time has not come is refused."""
    token = talk.tokens.changed(nbf=int(time.time()) + HOUR)
    await check_refused(talk, [("that is not valid yet", token)])


@token_handling.must(
    "401 for another server, another path, another port, somebody else's list, nothing.",
    SINCE_2025_06_18,
)
async def audience(talk: ServerTalk) -> None:
    """A token that was issued for another resource is refused."""
    own = talk.tokens.resource
    parts = urlsplit(own)
    others = {
        "for another server": "https://mcp.example.com/mcp",
        "for another path of the server": f"{own}-of-others",
        "for another port of the host": f"{parts.scheme}://{parts.hostname}:1{parts.path}",
        "for several others": ["https://one.example.com/mcp", "https://two.example.com/mcp"],
        "for a client": "conformance-kit",
        "for nobody": None,
    }
    made = [(what, talk.tokens.changed(aud=aud)) for what, aud in others.items()]
    await check_refused(talk, made)


@token_handling.must("401, though the signature holds.")
async def issuer(talk: ServerTalk) -> None:
    """A token of another issuer is refused."""
    others = {
        "of another issuer": "https://auth.example.com",
        "of an issuer that is longer by a path": f"{talk.tokens.issuer}/tenant",
        "of no issuer": None,
    }
    await check_refused(
        talk, [(what, talk.tokens.changed(iss=iss)) for what, iss in others.items()]
    )


@token_handling.must("401 for another key, for other claims than were signed, for no signature.")
async def signature(talk: ServerTalk) -> None:
    """A token whose signature does not hold is refused."""
    tokens = talk.tokens
    head, claims, signed = tokens.good.split(".")
    _, longer = tokens.changed(sub="somebody-else").split(".")[:2]
    made = [
        ("that another key has signed", tokens.changed(signer=tokens.stranger)),
        ("whose claims were changed", f"{head}.{longer}.{signed}"),
        ("whose signature is missing", f"{head}.{claims}."),
        ("whose signature is cut off", f"{head}.{claims}.{signed[:-8]}"),
    ]
    await check_refused(talk, made)


def _of_other_algorithms(tokens: Tokens) -> list[tuple[str, str]]:
    header, claims = read(tokens.good)
    public = repr(dict(tokens.key.public)).encode()
    return [
        *(
            (f"of the algorithm {name}", jwt({**header, "alg": name}, claims, lambda _: b""))
            for name in ("none", "None")
        ),
        (
            "that is signed with the public key as a secret",
            jwt({**header, "alg": "HS256"}, claims, mac(public)),
        ),
        (
            "that brings its own key",
            jwt(
                {**header, "kid": "kit", "jwk": dict(tokens.stranger.public)},
                claims,
                tokens.stranger.sign,
            ),
        ),
    ]


@token_handling.must(
    "401 for the algorithms none and HS256, and for a key in the header of the token."
)
async def algorithm(talk: ServerTalk) -> None:
    """A token does not choose how it is verified."""
    await check_refused(talk, _of_other_algorithms(talk.tokens))


@case.must("token-handling/malformed", "401, never a status of 500 or more.")
async def no_token(talk: ServerTalk) -> None:
    """What is no JWT is refused as any invalid token is."""
    header, claims = read(talk.tokens.good)
    array = encoded(b"[]")
    made = [
        ("of one word", "kit"),
        ("of two parts", talk.tokens.good.rpartition(".")[0]),
        ("of five parts", f"{talk.tokens.good}.e30.e30"),
        ("whose header is an array", f"{array}.{array}.{array}"),
        ("whose header is no JSON", f"e3.{encoded(b'{}')}.AA"),
        ("without an algorithm", jwt({"typ": header.get("typ")}, claims, talk.tokens.key.sign)),
    ]
    await check_refused(talk, made)


# Connections that are opened by one HTTP request
#
# Over WebSocket and HTTP+SSE it is the opening that needs a token; without a good one the server
# refuses it as any other request, before there is a connection.

OPENED = WEBSOCKET | LEGACY_SSE
case = page.server(SINCE_2025_03_26, bindings=OPENED, needs=NEEDS)


async def _unauthorized(
    talk: ServerTalk, what: str, headers: Headers | None = None, path: str | None = None
) -> Refused:
    """Check that an opening without the kit's credentials gets 401; return the refusal."""
    try:
        wire = await talk.wire(anonymous=True, headers=headers, path=path)
    except Refused as error:
        check(error.status == UNAUTHORIZED, f"an opening {what} got {error.status}, not 401")
        return error
    await wire.close()
    raise Broken(f"an opening {what} was accepted")


@case.must("token-handling/opening-challenged", "401, and WWW-Authenticate with the scheme Bearer.")
async def challenged(talk: ServerTalk) -> None:
    """An opening without a token is challenged."""
    error = await _unauthorized(talk, "without a token")
    value = header(error.headers, "www-authenticate")
    bearer = find_challenge(value, "bearer")
    check(bearer is not None, f"the challenge of the 401 is {value!r}")


@case.must("token-requirements", "401: a token in the query counts for nothing.")
async def opening_not_by_the_query(talk: ServerTalk) -> None:
    """A good token in the query opens nothing."""
    path = urlsplit(talk.stage.target).path or "/"
    for name in ("access_token", "token"):
        query = f"{path}?{name}={token_of(talk)}"
        await _unauthorized(talk, f"with a token in the query, as {name},", path=query)


@case.must("token-handling/opening-expired", "401.")
async def opened_expired(talk: ServerTalk) -> None:
    """A token that has expired opens nothing."""
    then = int(time.time()) - HOUR
    token = talk.tokens.changed(iat=then - HOUR, exp=then)
    bearer = [("authorization", f"Bearer {token}")]
    await _unauthorized(talk, "with a token that has expired", bearer)


@case.must(
    "token-handling", "401 for a token of another server, and for one of none.", SINCE_2025_06_18
)
async def opening_audience(talk: ServerTalk) -> None:
    """A token for another server opens nothing."""
    for what, value in (("another server", "https://mcp.example.com/mcp"), ("no server", None)):
        bearer = [("authorization", f"Bearer {talk.tokens.changed(aud=value)}")]
        await _unauthorized(talk, f"with a token for {what}", bearer)


# Scopes that a request needs

OK, FORBIDDEN = 200, 403
OFFLINE = "offline_access"
STATUS = "basic/authorization/error-handling/insufficient-scope"
"""The case about the status where a scope is missing."""
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
    "scope-selection-strategy", "scope in the challenge of a server that needs scopes.", needs=()
)
async def scope_in_challenge(talk: ServerTalk, _: StrangerLink, found: Refusal) -> None:
    """The challenge of a 401 says which scopes are needed."""
    scopes = scopes_of(find_challenge(found.header("www-authenticate"), "bearer"))
    if not scopes and not await supported(talk):
        talk.skip("the server has no scopes")
    check(scopes, "the challenge of the 401 names no scope")


@case.should(
    "refresh-tokens",
    f"No {OFFLINE} in the challenge, and none in scopes_supported.",
    MODERN,
    needs=(),
)
async def no_offline_access(talk: ServerTalk, _: StrangerLink, found: Refusal) -> None:
    """A server does not ask for refresh tokens, which it never sees."""
    scopes = scopes_of(find_challenge(found.header("www-authenticate"), "bearer"))
    check(OFFLINE not in scopes, f"the challenge asks for {OFFLINE}")
    check(OFFLINE not in await supported(talk), f"scopes_supported has {OFFLINE}")


async def lacking(talk: ServerTalk) -> Response:
    """The response to a good token without a scope, of a server that needs one."""
    found = await bearing(talk, talk.tokens.bare)
    need(found.status != OK, "the server needs no scope")
    return found


@case.must(
    "error-handling", "403: the token is good, and does not suffice.", SINCE_2025_03_26, needs=NEEDS
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
    "runtime-insufficient-scope-errors",
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
    "runtime-insufficient-scope-errors", "All scopes that the call needs, in one challenge.", MODERN
)
async def one_challenge(talk: ServerTalk) -> None:
    """A challenge names all scopes that an operation needs, so that one new token will do."""
    answer = await calling(talk, talk.tokens.used)
    need(answer.status == FORBIDDEN, f"a call without the scope of the tool got {answer}")
    found = scopes_of(find_challenge(answer.header("www-authenticate"), "bearer"))
    check({SCOPE, TOOL_SCOPE} <= found, f"the challenge names {' '.join(sorted(found)) or 'none'}")


@case.must(
    "step-up-authorization-flow",
    "A result: the broader scope implies the one that is needed.",
    MODERN,
)
async def hierarchies(talk: ServerTalk) -> None:
    """A broader scope suffices where a narrower one is needed."""
    answer = await calling(talk, talk.tokens.broad)
    check(answer.result is not None, f"a call with a broader scope got {answer}")


# Each request is authorized by itself


@page.server(SINCE_2025_03_26, bindings=STREAMABLE).must(
    "token-requirements",
    "401 for requests and notifications, a refusal of GET and DELETE; then it goes on.",
)
async def each_by_itself(talk: ServerTalk) -> None:
    """In an open conversation each request needs its token: a session id is none."""
    token_of(talk)
    link, _ = await stranger(talk)
    point = await endpoint(talk)
    payload, session = encode(point.message(*talk.any_request())), point.wire.session
    made = for_message(payload, talk.revision, True)
    own: Headers = [] if session is None else [("mcp-session-id", session)]
    own += [pair for pair in made.items() if pair[0] == "mcp-protocol-version"]
    for what, extra in (
        ("without a token", []),
        ("with an unknown token", [("authorization", f"Bearer {NO_TOKEN}")]),
    ):
        for kind, data in (("a request", payload), ("a notification", any_notification())):
            found = await post(link, data, [*own, *extra])
            check(found.status == UNAUTHORIZED, f"{kind} {what} got {found.status}, not 401")
        for method in ("GET", "DELETE"):
            headers: Headers = [("accept", ACCEPT), *own, *extra]
            exchange = await talk.http(link).fetch(method, headers=headers)
            found = await response(link, exchange)
            refused = BAD_REQUEST <= found.status < 500
            check(refused, f"{method} {what} got {found.status}")
    check_served(await point.post(point.message()), "a request with its token, after all this,")
