"""Cases of the page basic/transports/streamable-http for clients: servers of the older era."""

import signal
from collections.abc import Iterable

from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_steps import listing, scripted
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.messages import (
    HEADER_MISMATCH,
    INVALID_REQUEST,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    Message,
    encode,
    error,
)
from mcpcore_conformance.kit.model import LEGACY_SINCE_2025_03_26, MODERN, STREAMABLE, Page
from mcpcore_conformance.kit.verdicts import check

page = Page("basic/transports/streamable-http")
case = page.client(MODERN, bindings=STREAMABLE)

OLD = "httpsse-transport-2024-11-05"
JSON = [("content-type", "application/json")]
HTML = [("content-type", "text/html")]

Refusal = tuple[int, list[tuple[str, str]], bytes]


async def _refused(talk: ClientTalk, refusal: Refusal) -> tuple[ClientLink, Message]:
    """Start the client and refuse its first request, whatever it is."""
    await talk.launch()
    talk.serving.hold |= {"server/discover", "tools/list"}
    link = talk.links[0] if talk.links else await talk.accept()
    first = await link.wait_for(
        lambda each: "id" in each.value and each.method != "initialize", talk.timing.start
    )
    if first is None:
        talk.skip("the client does not try the newer era first")
    status, headers, body = refusal
    await talk.http(link).reply(first.source.exchange, status, headers, body)
    return link, first


@case.should(
    "backward-compatibility/client-falls-back", "initialize.", **scripted(listing(), negotiate=True)
)
async def falls_back(talk: ClientTalk) -> None:
    """A 400 without an error of the newer era means a server of the older one."""
    talk.revision = LATEST_LEGACY
    refusals: Iterable[Refusal] = (
        (400, [], b""),
        (400, HTML, b"<h1>Bad Request: no session</h1>"),
        (400, JSON, encode(error(None, INVALID_REQUEST, "Bad Request: no session"))),
        (400, JSON, encode({"jsonrpc": "2.0", "id": "server-error", "error": {"code": -32000}})),
        (400, JSON, b'{"error": "bad request"}'),
    )
    for refusal in refusals:
        link, _ = await _refused(talk, refusal)
        link.revision = LATEST_LEGACY
        talk.serving.hold.add("initialize")
        opening = await link.wait_for("initialize")
        check(opening, f"after {refusal[0]} with {refusal[2]!r} the client did not initialize")
        talk.stop(signal.SIGKILL)
        await talk.until(lambda: talk.ended)


@case.should(
    "backward-compatibility/client-stays-modern",
    "No initialize.",
    **scripted(listing(), negotiate=True),
)
async def stays_modern(talk: ClientTalk) -> None:
    """A 400 with an error of the newer era is no reason to initialize."""
    data = {"supported": [LATEST.name], "requested": LATEST.name, "requiredCapabilities": {}}
    for code in (UNSUPPORTED_VERSION, MISSING_CAPABILITY, HEADER_MISMATCH):
        talk.serving.hold -= {"server/discover", "tools/list"}
        await talk.launch()
        talk.serving.hold |= {"server/discover", "tools/list"}
        link = talk.links[0] if talk.links else await talk.accept()
        first = await link.expect(lambda each: "id" in each.value, talk.timing.start)
        if first.method == "initialize":
            talk.skip("the client does not try the newer era first")
        await link.fail(first, code, "refused by the kit", data, status=400)
        await talk.finished()
        check(not link.requests("initialize"), f"after the error {code} the client initialized")


@case.may(
    "backward-compatibility/client-other-statuses",
    "No initialize: they say nothing of the era.",
    **scripted(listing(), negotiate=True),
)
async def other_statuses(talk: ClientTalk) -> None:
    """401, 403, 429 and 5xx are no reason to initialize."""
    for status in (401, 403, 429, 500, 503):
        link, _ = await _refused(talk, (status, [("retry-after", "0")], b""))
        talk.serving.by["initialize"] = lambda message: None
        await link.until(lambda: talk.ended, within=2.0)
        initialized = link.requests("initialize")
        talk.stop(signal.SIGKILL)
        await talk.until(lambda: talk.ended)
        check(not initialized, f"after the status {status} the client initialized")


# HTTP+SSE


async def _old_server(talk: ClientTalk, status: int, endpoint: str) -> ClientLink:
    """Be a server of HTTP+SSE at the same address: POST is refused, GET opens the stream."""
    talk.serving.hold |= {"GET", "initialize", "server/discover", "tools/list"}
    link = await talk.accept()
    http = talk.http(link)
    for _ in range(4):
        heard = await link.until(
            lambda: link.inbox or any(each.method == "GET" for each in link.asked)
        )
        check(heard, f"the client sent neither POST nor GET: {talk.state(link)}")
        if any(each.method == "GET" for each in link.asked):
            break
        message = link.inbox.pop(0)
        await http.reply(message.source.exchange, status, HTML, b"no")
    stream = await link.expect_http("GET")
    accepts = dict(stream.headers).get("accept", "")
    check("text/event-stream" in accepts, f"the GET accepts {accepts!r}")
    await http.stream(stream.exchange)
    await http.event(stream.exchange, endpoint.encode(), name="endpoint")
    link.inbox.clear()
    return link


@case.may(
    f"{OLD}/client-falls-back",
    "GET, and after the endpoint event initialize to the address that it names.",
    LEGACY_SINCE_2025_03_26,
    scenario="initialize",
)
async def falls_back_to_sse(talk: ClientTalk) -> None:
    """A server that refuses the POST with 400, 404 or 405 is tried as one of HTTP+SSE."""
    status = talk.random.choice([400, 404, 405])
    link = await _old_server(talk, status, "/messages?of=1")
    opening = await link.expect("initialize")
    target = link.heads[opening.source.exchange].target
    check(target == "/messages?of=1", f"initialize was posted to {target}")
    check(link.posts("GET"), "there was no GET")


@case.may(
    f"{OLD}/client-falls-back-from-modern",
    "GET, and after the endpoint event initialize to the address that it names.",
    **scripted(listing(), negotiate=True),
)
async def falls_back_from_modern(talk: ClientTalk) -> None:
    """A client of both eras finds a server of HTTP+SSE too."""
    talk.revision = LATEST_LEGACY
    link = await _old_server(talk, talk.random.choice([404, 405]), "/messages?of=1")
    opening = await link.expect("initialize")
    target = link.heads[opening.source.exchange].target
    check(target == "/messages?of=1", f"initialize was posted to {target}")
