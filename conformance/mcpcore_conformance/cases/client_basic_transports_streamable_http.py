"""Cases of the page basic/transports/streamable-http for clients."""

import base64
import re
import signal
from collections.abc import Callable, Iterable
from typing import Any

from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore.spec.types.base import META_PROTOCOL_VERSION, META_SUBSCRIPTION_ID
from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_serving import completed, text, tool
from mcpcore_conformance.kit.client_steps import (
    call,
    complete,
    listen,
    listing,
    prompt,
    read,
    scripted,
    texts,
)
from mcpcore_conformance.kit.client_talk import Call, CalledLink, ClientTalk, ReadyLink
from mcpcore_conformance.kit.heard import header
from mcpcore_conformance.kit.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    UNSUPPORTED_VERSION,
    Message,
    encode,
    error,
    result,
)
from mcpcore_conformance.kit.model import (
    LEGACY_SINCE_2025_03_26,
    MODERN,
    SINCE_2025_03_26,
    SINCE_2025_06_18,
    STREAMABLE,
    Page,
)
from mcpcore_conformance.kit.usable import members
from mcpcore_conformance.kit.verdicts import BATCH, MISMADE, Broken, check, need

page = Page("basic/transports/streamable-http")

case = page.client(SINCE_2025_03_26, bindings=STREAMABLE)
receiving_messages = case.at("receiving-messages")
streamed = page.client(SINCE_2025_03_26, bindings=STREAMABLE, **scripted(call(timeout=5)))
BIG = 400_000
JSON = ("content-type", "application/json")


def _types(value: str | None) -> list[str]:
    parts = (value or "").split(",")
    return [each.partition(";")[0].strip().lower() for each in parts]


# Sending


@case.must("sending-messages", "Accept lists application/json and text/event-stream.")
async def accept(talk: ClientTalk, link: ReadyLink) -> None:
    """Every POST says that both kinds of answers are understood."""
    await talk.finished()
    for message in link.seen:
        found = _types(link.header(message, "accept"))
        for wanted in ("application/json", "text/event-stream"):
            what = message.method or "an answer"
            check(wanted in found, f"{what} came with Accept: {link.header(message, 'accept')}")


@case.may("sending-messages", "application/json.")
async def content_type(talk: ClientTalk, link: ReadyLink) -> None:
    """Every POST says what its body is."""
    await talk.finished()
    for message in link.seen:
        found = link.header(message, "content-type")
        check(_types(found) == ["application/json"], f"{message.method} came with {found!r}")


@case.must("sending-messages", "A POST to the endpoint for each message.")
async def post(talk: ClientTalk, link: ReadyLink) -> None:
    """Every message is a POST of its own to the one endpoint."""
    await talk.finished()
    exchanges = [each.source.exchange for each in link.seen]
    apart = talk.revision.batches or len(set(exchanges)) == len(exchanges)
    check(apart, "several messages came in one POST")
    for each in link.posts("POST"):
        check(each.target == "/mcp", f"a message was posted to {each.target}")
    others = {each.method for each in link.asked} - {"POST", "GET", "DELETE", "HEAD", "OPTIONS"}
    check(not others, f"the client sent {', '.join(sorted(others))}")


@case.must("sending-messages", "One JSON object.", SINCE_2025_06_18, bare=True)
async def single_message(talk: ClientTalk) -> None:
    """The body of a POST is a single message, not an array."""
    talk.forgives = MISMADE - {BATCH}
    link = await talk.open()
    await talk.finished()
    arrays = [each for each in link.seen if each.source.data.lstrip()[:1] != b"{"]
    check(not arrays, "a message came in an array")


# Receiving


@case.must("sending-messages", "The call succeeds.")
async def takes_json(talk: ClientTalk) -> None:
    """An answer may be JSON, where that to the request before was a stream."""
    talk.serving.answer_by = "sse"
    link, message = await talk.expect("tools/call")
    talk.serving.answer_by = "json"
    await link.serve_one(message)
    await talk.succeeded()


@case.must("sending-messages", "The call succeeds.")
async def takes_stream(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """An answer may be a stream, where that to the request before was JSON."""
    talk.serving.answer_by = "sse"
    await link.serve_one(message)
    await talk.succeeded()


@case.should("sending-messages", "All calls succeed.", **scripted(call(), call(), call()))
async def takes_any_framing(talk: ClientTalk, link: ReadyLink) -> None:
    """A response may have a length, come in chunks, or end with the connection."""
    # what comes on a connection that is kept and closed after all is nobody's fault
    start = (
        b"HTTP/1.1 200 OK\r\ncontent-TYPE:application/JSON ; charset=UTF-8\r\nConnection: close\r\n"
    )
    heads: list[Callable[[bytes], bytes]] = [
        lambda body: b"%sContent-Length: %d\r\n\r\n%s" % (start, len(body), body),
        lambda body: (
            b"%sTransfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%s\r\n%x\r\n%s\r\n0\r\nx: y\r\n\r\n"
            % (start, 10, body[:10], len(body) - 10, body[10:])
        ),
        lambda body: b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n%s\r\n%s" % (start, body),
    ]
    for head in heads:
        message = await link.expect("tools/call")
        body = _answer(link, message)
        await talk.http(link).raw(message.source.exchange, head(body))
    report = await talk.report()
    bad = [f"{n}: {each}" for n, each in enumerate(report.steps) if not each.good]
    check(not bad and len(report.steps) == 3, f"of three calls failed {bad}")


def _answer(link: ClientLink, message: Message, words: str = "8") -> bytes:
    made = completed(message.method, text(words), link.revision, link.serving.info)
    return encode(result(message.id, made))


@receiving_messages.should(
    "The call fails at once: such a stream cannot be resumed.", MODERN, **scripted(call(), call())
)
async def stream_without_answer(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """A stream that ends without the answer ends the call."""
    await talk.http(link).stream(message.source.exchange)
    await talk.http(link).event(message.source.exchange, comment="that was all")
    await talk.http(link).end(message.source.exchange)
    started = talk.host.now()
    talk.serving.hold.discard("tools/call")
    report = await talk.report()
    check(len(report.steps) == 2, f"{len(report.steps)} steps of two were reported")
    check(not report.steps[0].good, "a call without an answer succeeded")
    check(
        report.steps[0].failure != "timeout",
        f"the call waited {talk.host.now() - started:.1f} s for what cannot come",
    )


@receiving_messages.should("The caller gets the error of the body.", **scripted(call(), call()))
async def error_status(talk: ClientTalk, link: ReadyLink) -> None:
    """A JSON-RPC error under a status of 400 or 404 is the answer to the request."""
    wanted = [(400, INVALID_PARAMS)]
    if talk.revision.modern:
        wanted.append((404, METHOD_NOT_FOUND))
    for status, code in wanted:
        message = await link.expect("tools/call")
        await link.fail(message, code, "refused by the kit", status=status)
    talk.serving.hold.discard("tools/call")
    report = await talk.report()
    for (status, code), step in zip(wanted, report.steps, strict=False):
        check(step.error, f"{code} with the status {status} came to the caller as {step}")
        check(step.error["code"] == code, f"{code} came as {step}")  # type: ignore[index]


@receiving_messages.may(
    "The calls fail, and do not wait.", **scripted(*[call(timeout=5) for _ in range(3)])
)
async def empty_status(talk: ClientTalk, link: ReadyLink) -> None:
    """A request that gets a status and nothing else fails at once."""
    for status in (500, 202, 403):
        message = await link.expect("tools/call")
        await talk.http(link).reply(message.source.exchange, status)
    report = await talk.report()
    check(len(report.steps) == 3, f"{len(report.steps)} steps of three were reported")
    for status, step in zip((500, 202, 403), report.steps, strict=True):
        check(not step.good, f"a request that got {status} and nothing else succeeded")
        check(step.failure != "timeout", f"a request that got {status} waited for more")


# Event streams


async def _by_stream(
    talk: ClientTalk,
    chunks: Callable[[bytes], Iterable[bytes]],
    words: str = "said in a stream: é☃\U0001f600",
) -> None:
    """Answer a call by these bytes of a stream, and see that its text comes to the caller."""
    link, message = await talk.expect("tools/call")
    http, exchange = talk.http(link), message.source.exchange
    await http.stream(exchange)
    for chunk in chunks(_answer(link, message, words)):
        await http.write(exchange, chunk)
    await http.end(exchange)
    step = await talk.good_step()
    check(texts(step.result) == [words], f"the text came as {str(step.result)[:200]}")


@streamed.must("receiving-messages", "Lines may end with CR.")
async def sse_cr(talk: ClientTalk) -> None:
    """Lines of a stream may end with CR alone."""
    await _by_stream(talk, lambda body: [b"event: message\rdata: " + body + b"\r\r"])


@streamed.must("receiving-messages", "Lines may end with CR LF, also between two packets.")
async def sse_crlf(talk: ClientTalk) -> None:
    """Lines of a stream may end with CR LF, and a packet between the two."""
    await _by_stream(
        talk, lambda body: [b"event: message\r", b"\ndata: " + body + b"\r", b"\n\r", b"\n"]
    )


@streamed.must("receiving-messages", "One byte order mark at the beginning is passed over.")
async def sse_bom(talk: ClientTalk) -> None:
    """A stream may begin with a byte order mark."""
    await _by_stream(talk, lambda body: [b"\xef\xbb", b"\xbfdata: " + body + b"\n\n"])


@streamed.must("receiving-messages", "Comments carry nothing.")
async def sse_comments(talk: ClientTalk) -> None:
    """Comments, between events and within them, are passed over."""
    await _by_stream(
        talk,
        lambda body: [b":\r\n\r\n", b": keep-alive\n\n:\ndata: " + body + b"\n: more\n", b"\n"],
    )


@streamed.must("receiving-messages", "Fields that are not known are passed over.")
async def sse_fields(talk: ClientTalk) -> None:
    """Unknown fields and events of unknown names are passed over; a blank is optional."""
    await _by_stream(
        talk,
        lambda body: [
            b"odd: field\nwithout\nevent: odd\ndata: {not json\n\n",
            b"retry: soon\nretry:10\nid\nevent:message\ndata:" + body + b"\n\n",
        ],
    )


@streamed.must("receiving-messages", "The lines of the data are joined by LF.")
async def sse_lines(talk: ClientTalk) -> None:
    """Data may have several lines."""

    def chunks(body: bytes) -> Iterable[bytes]:
        middle = body.index(b'"result"')
        return [b"data: " + body[:middle] + b"\ndata: " + body[middle:] + b"\ndata\n\n"]

    await _by_stream(talk, chunks)


_CRUMBS = re.compile(rb"[\n\x80-\xff]|[^\n\x80-\xff]{1,4}")
"""Line ends and the bytes of long characters one by one: a busy kit takes its time for each."""


@streamed.must("receiving-messages", "Characters of several bytes may be cut.")
async def sse_pieces(talk: ClientTalk) -> None:
    """A stream may come in pieces of a few bytes, and of one."""
    await _by_stream(talk, lambda body: _CRUMBS.findall(b"id: 1\ndata: " + body + b"\n\n"))


@streamed.must("receiving-messages", "The whole text.")
async def sse_long(talk: ClientTalk) -> None:
    """An event may have several hundred thousand bytes."""
    await _by_stream(talk, lambda body: [b"data: " + body + b"\n\n"], "ø☃" * (BIG // 5))


@streamed.must("receiving-messages", "Several events of one packet are taken one by one.")
async def sse_joined(talk: ClientTalk) -> None:
    """Several events may come at once."""
    odd = encode({"jsonrpc": "2.0", "method": "notifications/com.example/odd"})
    await _by_stream(
        talk, lambda body: [(b"data: " + odd + b"\n\n") * 30 + b"data: " + body + b"\n\n"]
    )


@receiving_messages.should(
    "The first call succeeds, the second ends when its time is over.",
    **scripted(call(), call(timeout=1)),
)
async def keep_alive(talk: ClientTalk, link: ReadyLink) -> None:
    """Comments keep a stream open, and are no answer: a call with nothing else times out."""
    http = talk.http(link)
    message = await link.expect("tools/call")
    exchange = message.source.exchange
    await http.stream(exchange)
    for _ in range(5):
        await http.event(exchange, comment="keep-alive")
        await talk.advance(0.1)
    await http.write(exchange, b"data: " + _answer(link, message) + b"\n\n")
    await http.end(exchange)
    message = await link.expect("tools/call")
    exchange = message.source.exchange
    await http.stream(exchange)
    for _ in range(30):
        if not http.open(exchange):
            break
        await http.event(exchange, comment="keep-alive")
        await talk.advance(0.1)
    if http.open(exchange):
        await http.write(exchange, b"data: " + _answer(link, message) + b"\n\n")
        await http.end(exchange)
    report = await talk.report()
    check(len(report.steps) == 2, f"{len(report.steps)} steps of two were reported")
    check(report.steps[0].good, f"a call whose stream was kept alive ended with {report.steps[0]}")
    failure = report.steps[1].failure
    check(failure == "timeout", f"a call with comments alone ended with {report.steps[1]}")


@receiving_messages.may(
    "The next call succeeds, whatever became of the first.", **scripted(call(timeout=5), call())
)
async def sse_garbage(talk: ClientTalk, link: CalledLink, message: Call) -> None:
    """An event that is no JSON does no harm beyond its stream."""
    http, exchange = talk.http(link), message.source.exchange
    await http.stream(exchange)
    await http.write(exchange, b"data: {oops\n\ndata: " + _answer(link, message) + b"\n\n")
    await http.end(exchange)
    await link.serve_one(await link.expect("tools/call"))
    await talk.good_step("the next call", 1)


# Servers of the older era

case = page.client(MODERN, bindings=STREAMABLE)
negotiating = page.client(MODERN, bindings=STREAMABLE, **scripted(listing(), negotiate=True))

OLD = "httpsse-transport-2024-11-05"
AS_JSON = [("content-type", "application/json")]
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


@negotiating.should("backward-compatibility", "initialize.")
async def falls_back(talk: ClientTalk) -> None:
    """A 400 without an error of the newer era means a server of the older one."""
    talk.revision = LATEST_LEGACY
    refusals: Iterable[Refusal] = (
        (400, [], b""),
        (400, HTML, b"<h1>Bad Request: no session</h1>"),
        (400, AS_JSON, encode(error(None, INVALID_REQUEST, "Bad Request: no session"))),
        (400, AS_JSON, encode({"jsonrpc": "2.0", "id": "server-error", "error": {"code": -32000}})),
        (400, AS_JSON, b'{"error": "bad request"}'),
    )
    for refusal in refusals:
        link, _ = await _refused(talk, refusal)
        link.revision = LATEST_LEGACY
        talk.serving.hold.add("initialize")
        opening = await link.wait_for("initialize")
        check(opening, f"after {refusal[0]} with {refusal[2]!r} the client did not initialize")
        talk.stop(signal.SIGKILL)
        await talk.until(lambda: talk.ended)


@negotiating.should("backward-compatibility", "No initialize.")
async def stays_modern(talk: ClientTalk) -> None:
    """A 400 with an error of the newer era is no reason to initialize."""
    data = {"supported": [LATEST.name], "requested": LATEST.name, "requiredCapabilities": {}}
    for code in (UNSUPPORTED_VERSION, MISSING_CAPABILITY, HEADER_MISMATCH):
        talk.serving.hold -= {"server/discover", "tools/list"}
        await talk.launch()
        talk.serving.hold |= {"server/discover", "tools/list"}
        link = talk.links[0] if talk.links else await talk.accept()
        first = await link.expect(lambda each: "id" in each.value, talk.timing.start)
        need(first.method != "initialize", "the client does not try the newer era first")
        await link.fail(first, code, "refused by the kit", data, status=400)
        await talk.finished()
        check(not link.requests("initialize"), f"after the error {code} the client initialized")


@negotiating.may("backward-compatibility", "No initialize: they say nothing of the era.")
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


@negotiating.may(OLD, "GET, and after the endpoint event initialize to the address that it names.")
async def falls_back_from_modern(talk: ClientTalk) -> None:
    """A client of both eras finds a server of HTTP+SSE too."""
    talk.revision = LATEST_LEGACY
    link = await _old_server(talk, talk.random.choice([404, 405]), "/messages?of=1")
    opening = await link.expect("initialize")
    target = link.heads[opening.source.exchange].target
    check(target == "/messages?of=1", f"initialize was posted to {target}")


# Headers that mirror

PREFIX, SUFFIX = "=?base64?", "?="
custom = page.client(MODERN, bindings=STREAMABLE, scenario="http-custom-headers")
custom_client_behavior = custom.at("client-behavior")
"""The official scenario: list the tools, then make the calls of the context."""


def _decoded(value: str) -> str:
    """What a header means; Broken if it is in the sentinel form and cannot be read."""
    if not (value.startswith(PREFIX) and value.endswith(SUFFIX)):
        return value
    try:
        inner = value[len(PREFIX) : -len(SUFFIX)]
        return base64.b64decode(inner, validate=True).decode()
    except ValueError as error:
        raise Broken(f"{value!r} cannot be decoded: {error}") from error


def _asked(link: ClientLink) -> list[Message]:
    """The requests of this era, without an initialize that was tried first, as the other has it."""
    return [each for each in link.requests() if each.method != "initialize"]


def _check_plain(value: str) -> None:
    check(all(" " <= each <= "~" for each in value), f"{value!r} has characters that are not plain")


@case.must(
    "protocol-version-header/client",
    "MCP-Protocol-Version equals the version of _meta, on every POST.",
)
async def version_header(talk: ClientTalk, link: ReadyLink) -> None:
    """Every POST names the version of the protocol."""
    await talk.finished()
    for message in _asked(link):
        wanted = members(message.params.get("_meta")).get(META_PROTOCOL_VERSION)
        found = link.header(message, "mcp-protocol-version")
        check(wanted is not None, f"{message.method} came without a version in _meta")
        check(found == wanted, f"{message.method} of {wanted} came with the version {found!r}")


@case.must("standard-request-headers/client-method", "Mcp-Method equals the method, on every POST.")
async def method_header(talk: ClientTalk, link: ReadyLink) -> None:
    """Every POST names the method."""
    await talk.finished()
    for message in _asked(link):
        found = link.header(message, "mcp-method")
        check(found == message.method, f"{message.method} came with Mcp-Method {found!r}")


@case.must("standard-request-headers/client-name", "Mcp-Name equals the tool's name.")
async def name_header(link: CalledLink, message: Call) -> None:
    """A call names the tool."""
    found = link.header(message, "mcp-name")
    wanted = message.params.get("name")
    check(wanted is not None, "tools/call came without a name")
    check(found == wanted, f"{wanted!r} came with Mcp-Name {found!r}")


@case.must(
    "standard-request-headers",
    "Mcp-Name for tools/call, resources/read and prompts/get; Mcp-Method always.",
    **scripted(
        call("echo"), read("test://kit/a%20b?c=d"), prompt("greet"), complete(), listing("prompts")
    ),
)
async def all_methods(talk: ClientTalk, link: ReadyLink) -> None:
    """Requests of all methods have the headers of their method."""
    await talk.finished()
    for message in _asked(link):
        found = link.header(message, "mcp-method")
        check(found == message.method, f"{message.method} came with Mcp-Method {found!r}")
        named = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
        member = named.get(message.method)
        if member is not None:
            name, wanted = link.header(message, "mcp-name"), message.params.get(member)
            check(wanted is not None, f"{message.method} came without {member}")
            check(name == wanted, f"{message.method} of {wanted!r} came with Mcp-Name {name!r}")


NAMES = ("naïve ☃", " padded ", "line\nbreak", "=?base64?bGl0ZXJhbA==?=")


@case.must(
    "value-encoding/client-name",
    "The sentinel form of base64, which decodes to the name.",
    **scripted(*[prompt(name) for name in NAMES], read("test://kit/ø☃")),
)
async def name_encoded(talk: ClientTalk) -> None:
    """Names that are not plain, or look encoded, are encoded in Mcp-Name."""
    talk.serving.prompts = [{"name": name} for name in NAMES]
    link = await talk.open()
    for wanted in (*NAMES, "test://kit/ø☃"):
        message = await link.expect(lambda each: each.method in ("prompts/get", "resources/read"))
        found = link.header(message, "mcp-name")
        if found is None:
            raise Broken(f"{message.method} of {wanted!r} came without Mcp-Name")
        _check_plain(found)
        check(found.startswith(PREFIX), f"{wanted!r} came as {found!r}, not encoded")
        check(_decoded(found) == wanted, f"{wanted!r} came as {found!r}")
        await link.serve_one(message)


def _mirroring(name: str = "mirror", **properties: dict[str, Any]) -> dict[str, Any]:
    """A tool whose parameters ask to be mirrored."""
    return tool(name, inputSchema={"type": "object", "properties": properties})


def _of(kind: str, wanted: str) -> dict[str, Any]:
    return {"type": kind, "x-mcp-header": wanted}


def _calls(*arguments: dict[str, Any], name: str = "mirror") -> dict[str, Any]:
    return {"toolCalls": [{"name": name, "arguments": each} for each in arguments]}


async def _next_call(talk: ClientTalk, link: ClientLink) -> Message:
    message = await link.expect("tools/call")
    await link.serve_one(message)
    return message


@custom.must(
    "custom-headers-from-tool-parameters",
    "Mcp-Param headers with the values, and none for other parameters.",
    context=_calls({"region": "us west 1", "count": -7, "dry": False, "empty": "", "query": "q"}),
)
async def mirrors(talk: ClientTalk) -> None:
    """Parameters that ask for it are mirrored, and no others."""
    talk.serving.tools = [
        _mirroring(
            region=_of("string", "Region"),
            count=_of("integer", "Count"),
            dry=_of("boolean", "dRY"),
            empty=_of("string", "Empty"),
            query={"type": "string"},
        )
    ]
    link, message = await talk.expect("tools/call")
    found = {name: value for name, value in link.headers(message) if name.startswith("mcp-param-")}
    wanted = {
        "mcp-param-region": "us west 1",
        "mcp-param-count": "-7",
        "mcp-param-dry": "false",
        "mcp-param-empty": "",
    }
    check(found == wanted, f"the parameters came as {found}")


HOSTILE = ("Hello, 世界", " padded ", "line1\r\nX-Injected: yes", "=?base64?literal?=", "nul\0l")


@custom.must(
    "value-encoding/client-base64",
    "The sentinel form of base64, which decodes to the value.",
    context=_calls(*[{"text": each} for each in HOSTILE]),
)
async def value_encoded(talk: ClientTalk) -> None:
    """Values that are not plain, are padded, or look encoded, are encoded."""
    talk.serving.tools = [_mirroring(text=_of("string", "Text"))]
    link = await talk.open()
    for wanted in HOSTILE:
        message = await _next_call(talk, link)
        found = link.header(message, "mcp-param-text")
        if found is None:
            raise Broken(f"{wanted!r} was not mirrored")
        _check_plain(found)
        check(
            found.startswith(PREFIX) and found.endswith(SUFFIX),
            f"{wanted!r} came as {found!r}, not encoded",
        )
        check(_decoded(found) == wanted, f"{wanted!r} came as {found!r}")


@custom.must(
    "value-encoding",
    "No header that the client did not mean to send.",
    context=_calls({"text": "a\r\nX-Injected: yes"}, {"text": "a\nX-Injected: yes"}),
)
async def no_injection(talk: ClientTalk) -> None:
    """Line breaks in values do not become headers."""
    talk.serving.tools = [_mirroring(text=_of("string", "Text"))]
    link = await talk.open()
    await talk.finished()
    for message in link.seen:
        found = header(link.headers(message), "x-injected")
        check(found is None, f"a value became the header X-Injected: {found}")
    check(len(link.requests("tools/call")) >= 2, "the calls were not made")


@custom.must(
    "schema-extension",
    "The value at the path of the property; no header where there is none.",
    context=_calls({"place": {"region": "north", "more": {"n": 3}}}, {"place": {}}),
)
async def nested(talk: ClientTalk) -> None:
    """Properties of properties are mirrored too."""
    more = {"type": "object", "properties": {"n": _of("integer", "N")}}
    inner = {"region": _of("string", "Region"), "more": more}
    talk.serving.tools = [_mirroring(place={"type": "object", "properties": inner})]
    link = await talk.open()
    message = await _next_call(talk, link)
    found = [link.header(message, f"mcp-param-{name}") for name in ("region", "n")]
    check(found == ["north", "3"], f"the nested values north and 3 came as {found}")
    message = await _next_call(talk, link)
    found = [link.header(message, f"mcp-param-{name}") for name in ("region", "n")]
    check(found == [None, None], f"values that are not there came as {found}")


@custom.must(
    "server-behavior-for-custom-headers",
    "No header.",
    context=_calls({"a": None, "b": "x"}, {"b": "x"}),
)
async def omits(talk: ClientTalk) -> None:
    """A parameter that is null or absent has no header."""
    nullable = {"type": "string", "x-mcp-header": "A"}
    talk.serving.tools = [_mirroring(a=nullable, b=_of("string", "B"))]
    link = await talk.open()
    for _ in range(2):
        message = await _next_call(talk, link)
        found = link.header(message, "mcp-param-a")
        check(found is None, f"{message.params.get('arguments')} came with Mcp-Param-A {found!r}")
        check(link.header(message, "mcp-param-b") == "x", "Mcp-Param-B is missing")


BAD: dict[str, dict[str, Any]] = {
    "empty": {"a": _of("string", "")},
    "blank": {"a": _of("string", "My Header")},
    "colon": {"a": _of("string", "My:Header")},
    "foreign": {"a": _of("string", "Région")},
    "control": {"a": _of("string", "A\r\nB")},
    "number": {"a": _of("number", "A")},
    "array": {"a": _of("array", "A")},
    "object": {"a": _of("object", "A")},
    "twice": {"a": _of("string", "A"), "b": _of("string", "a")},
    "items": {"a": {"type": "array", "items": _of("string", "A")}},
    "options": {"a": {"anyOf": [_of("string", "A"), {"type": "null"}]}},
    "no_string": {"a": {"type": "string", "x-mcp-header": 7}},
}


@case.must(
    "schema-extension",
    "Only the tool whose annotations are right is called.",
    scenario="http-invalid-tool-headers",
)
async def leaves_out(talk: ClientTalk) -> None:
    """Tools with annotations that break the rules are not offered, the others are."""
    talk.serving.tools = [
        *[_mirroring(f"bad_{name}", **properties) for name, properties in BAD.items()],
        _mirroring("valid_tool", a=_of("string", "A")),
    ]
    link = await talk.open()
    await talk.finished()
    called = {each.params.get("name") for each in link.requests("tools/call")}
    bad = sorted(str(each) for each in called - {"valid_tool"})
    check(not bad, f"tools with broken annotations were called: {', '.join(bad)}")
    check("valid_tool" in called, "the tool whose annotations are right was not called")


@custom_client_behavior.should(
    "tools/list, then the call once more with the header.", context=_calls({"region": "north"})
)
async def refreshes(talk: ClientTalk) -> None:
    """A call whose headers are refused is made again after a look at the tools."""
    talk.serving.tools = [_mirroring(region={"type": "string"})]
    link, message = await talk.expect("tools/call")
    lists = len(link.requests("tools/list"))
    talk.serving.tools = [_mirroring(region=_of("string", "Region"))]
    await link.fail(message, HEADER_MISMATCH, "Mcp-Param-Region is missing", status=400)
    again = await link.expect("tools/call")
    check(len(link.requests("tools/list")) > lists, "the tools were not listed again")
    found = link.header(again, "mcp-param-region")
    check(found == "north", f"the call was made again with Mcp-Param-Region {found!r}")


@custom_client_behavior.may(
    "The call is given up after a few attempts.", context=_calls({"region": "north"})
)
async def refreshes_once(talk: ClientTalk) -> None:
    """A server that always refuses the headers is not asked for ever."""
    talk.serving.tools = [_mirroring(region=_of("string", "Region"))]
    link = await talk.open()
    for _ in range(6):
        message = await link.wait_for("tools/call")
        if message is None:
            return
        await link.fail(message, HEADER_MISMATCH, "Mcp-Param-Region is wrong", status=400)
    raise Broken("the call was made six times")


# Streams with nothing on them

CHANGED = "notifications/tools/list_changed"
PATIENCE = 0.5
"""Seconds after which the client gives up a request that is not answered."""
COMMENTS = 15
"""Of them there is one every tenth of a second: three times as long."""


@page.client(
    MODERN, bindings=STREAMABLE, **scripted(listen(tools=True, changes=1), timeout=PATIENCE)
).must(
    "receiving-messages",
    "They are passed over, and the stream stays open; the change that comes then is heard.",
)
async def listens_on(talk: ClientTalk) -> None:
    """A listen stream on which only comments come for a while is listened to all the same."""
    link, stream = await talk.expect("subscriptions/listen")
    await link.acknowledge(stream)
    http, exchange = talk.http(link), stream.source.exchange
    for number in range(COMMENTS):
        check(http.open(exchange), f"the client closed the stream after {number} comments")
        await http.event(exchange, comment="keep-alive" if number % 2 else "")
        await talk.advance(0.1)
    meta = {META_SUBSCRIPTION_ID: stream.id}
    change = {"jsonrpc": "2.0", "method": CHANGED, "params": {"_meta": meta}}
    await http.write(exchange, b"data: " + encode(change) + b"\n\n")
    step = await talk.good_step("the stream")
    found = [each["method"] for each in step.result["changes"]]
    check(found == [CHANGED], f"the client heard {found}")
