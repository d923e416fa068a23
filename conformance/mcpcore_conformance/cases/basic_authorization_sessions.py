"""Cases of the page basic/authorization: each request is authorized by itself."""

from mcpcore_conformance.cases.basic_authorization import (
    BAD_REQUEST,
    NO_TOKEN,
    UNAUTHORIZED,
    stranger,
    token_of,
)
from mcpcore_conformance.kit.endpoint import check_served, endpoint
from mcpcore_conformance.kit.exchanges import any_notification, post, response
from mcpcore_conformance.kit.headers import ACCEPT, for_message
from mcpcore_conformance.kit.heard import Headers
from mcpcore_conformance.kit.messages import encode
from mcpcore_conformance.kit.model import SINCE_2025_03_26, STREAMABLE, Page
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/authorization")


@page.server(SINCE_2025_03_26, bindings=STREAMABLE).must(
    "token-requirements/each-by-itself",
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
