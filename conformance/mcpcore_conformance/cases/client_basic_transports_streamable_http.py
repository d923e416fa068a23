"""Cases of the page basic/transports/streamable-http for clients: sending, receiving, SSE."""

import re
from collections.abc import Callable, Iterable

from mcpcore_conformance.kit.client_link import ClientLink
from mcpcore_conformance.kit.client_serving import completed, text
from mcpcore_conformance.kit.client_steps import call, scripted, texts
from mcpcore_conformance.kit.client_talk import ClientTalk
from mcpcore_conformance.kit.messages import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Message,
    encode,
    result,
)
from mcpcore_conformance.kit.model import (
    MODERN,
    SINCE_2025_03_26,
    SINCE_2025_06_18,
    STREAMABLE,
    Page,
)
from mcpcore_conformance.kit.verdicts import BATCH, MISMADE, check

page = Page("basic/transports/streamable-http")

case = page.client(SINCE_2025_03_26, bindings=STREAMABLE)
streamed = page.client(SINCE_2025_03_26, bindings=STREAMABLE, **scripted(call(timeout=5)))
BIG = 400_000
JSON = ("content-type", "application/json")


def _types(value: str | None) -> list[str]:
    parts = (value or "").split(",")
    return [each.partition(";")[0].strip().lower() for each in parts]


# Sending


@case.must("sending-messages/client-accept", "Accept lists application/json and text/event-stream.")
async def accept(talk: ClientTalk) -> None:
    """Every POST says that both kinds of answers are understood."""
    link = await talk.open()
    await talk.finished()
    for message in link.seen:
        found = _types(link.header(message, "accept"))
        for wanted in ("application/json", "text/event-stream"):
            what = message.method or "an answer"
            check(wanted in found, f"{what} came with Accept: {link.header(message, 'accept')}")


@case.may("sending-messages/client-content-type", "application/json.")
async def content_type(talk: ClientTalk) -> None:
    """Every POST says what its body is."""
    link = await talk.open()
    await talk.finished()
    for message in link.seen:
        found = link.header(message, "content-type")
        check(_types(found) == ["application/json"], f"{message.method} came with {found!r}")


@case.must("sending-messages/client-post", "A POST to the endpoint for each message.")
async def post(talk: ClientTalk) -> None:
    """Every message is a POST of its own to the one endpoint."""
    link = await talk.open()
    await talk.finished()
    exchanges = [each.source.exchange for each in link.seen]
    apart = talk.revision.batches or len(set(exchanges)) == len(exchanges)
    check(apart, "several messages came in one POST")
    for each in link.posts("POST"):
        check(each.target == "/mcp", f"a message was posted to {each.target}")
    others = {each.method for each in link.asked} - {"POST", "GET", "DELETE", "HEAD", "OPTIONS"}
    check(not others, f"the client sent {', '.join(sorted(others))}")


@case.must(
    "sending-messages/client-single-message", "One JSON object.", SINCE_2025_06_18, bare=True
)
async def single_message(talk: ClientTalk) -> None:
    """The body of a POST is a single message, not an array."""
    talk.forgives = MISMADE - {BATCH}
    link = await talk.open()
    await talk.finished()
    arrays = [each for each in link.seen if each.source.data.lstrip()[:1] != b"{"]
    check(not arrays, "a message came in an array")


# Receiving


@case.must("sending-messages/client-takes-json", "The call succeeds.")
async def takes_json(talk: ClientTalk) -> None:
    """An answer may be JSON, where that to the request before was a stream."""
    talk.serving.answer_by = "sse"
    link = await talk.open()
    message = await link.expect("tools/call")
    talk.serving.answer_by = "json"
    await link.serve_one(message)
    await talk.succeeded()


@case.must("sending-messages/client-takes-stream", "The call succeeds.")
async def takes_stream(talk: ClientTalk) -> None:
    """An answer may be a stream, where that to the request before was JSON."""
    link = await talk.open()
    message = await link.expect("tools/call")
    talk.serving.answer_by = "sse"
    await link.serve_one(message)
    await talk.succeeded()


@case.should(
    "sending-messages/client-takes-any-framing",
    "All calls succeed.",
    **scripted(call(), call(), call()),
)
async def takes_any_framing(talk: ClientTalk) -> None:
    """A response may have a length, come in chunks, or end with the connection."""
    link = await talk.open()
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


@case.should(
    "receiving-messages/client-stream-without-answer",
    "The call fails at once: such a stream cannot be resumed.",
    MODERN,
    **scripted(call(), call()),
)
async def stream_without_answer(talk: ClientTalk) -> None:
    """A stream that ends without the answer ends the call."""
    link = await talk.open()
    message = await link.expect("tools/call")
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


@case.should(
    "receiving-messages/client-error-status",
    "The caller gets the error of the body.",
    **scripted(call(), call()),
)
async def error_status(talk: ClientTalk) -> None:
    """A JSON-RPC error under a status of 400 or 404 is the answer to the request."""
    link = await talk.open()
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


@case.may(
    "receiving-messages/client-empty-status",
    "The calls fail, and do not wait.",
    **scripted(*[call(timeout=5) for _ in range(3)]),
)
async def empty_status(talk: ClientTalk) -> None:
    """A request that gets a status and nothing else fails at once."""
    link = await talk.open()
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
    link = await talk.open()
    message = await link.expect("tools/call")
    http, exchange = talk.http(link), message.source.exchange
    await http.stream(exchange)
    for chunk in chunks(_answer(link, message, words)):
        await http.write(exchange, chunk)
    await http.end(exchange)
    step = await talk.step()
    check(step.good, f"the call ended with {step}")
    check(texts(step.result) == [words], f"the text came as {str(step.result)[:200]}")


@streamed.must("receiving-messages/client-sse-cr", "Lines may end with CR.")
async def sse_cr(talk: ClientTalk) -> None:
    """Lines of a stream may end with CR alone."""
    await _by_stream(talk, lambda body: [b"event: message\rdata: " + body + b"\r\r"])


@streamed.must(
    "receiving-messages/client-sse-crlf", "Lines may end with CR LF, also between two packets."
)
async def sse_crlf(talk: ClientTalk) -> None:
    """Lines of a stream may end with CR LF, and a packet between the two."""
    await _by_stream(
        talk, lambda body: [b"event: message\r", b"\ndata: " + body + b"\r", b"\n\r", b"\n"]
    )


@streamed.must(
    "receiving-messages/client-sse-bom", "One byte order mark at the beginning is passed over."
)
async def sse_bom(talk: ClientTalk) -> None:
    """A stream may begin with a byte order mark."""
    await _by_stream(talk, lambda body: [b"\xef\xbb", b"\xbfdata: " + body + b"\n\n"])


@streamed.must("receiving-messages/client-sse-comments", "Comments carry nothing.")
async def sse_comments(talk: ClientTalk) -> None:
    """Comments, between events and within them, are passed over."""
    await _by_stream(
        talk,
        lambda body: [b":\r\n\r\n", b": keep-alive\n\n:\ndata: " + body + b"\n: more\n", b"\n"],
    )


@streamed.must("receiving-messages/client-sse-fields", "Fields that are not known are passed over.")
async def sse_fields(talk: ClientTalk) -> None:
    """Unknown fields and events of unknown names are passed over; a blank is optional."""
    await _by_stream(
        talk,
        lambda body: [
            b"odd: field\nwithout\nevent: odd\ndata: {not json\n\n",
            b"retry: soon\nretry:10\nid\nevent:message\ndata:" + body + b"\n\n",
        ],
    )


@streamed.must("receiving-messages/client-sse-lines", "The lines of the data are joined by LF.")
async def sse_lines(talk: ClientTalk) -> None:
    """Data may have several lines."""

    def chunks(body: bytes) -> Iterable[bytes]:
        middle = body.index(b'"result"')
        return [b"data: " + body[:middle] + b"\ndata: " + body[middle:] + b"\ndata\n\n"]

    await _by_stream(talk, chunks)


_CRUMBS = re.compile(rb"[\n\x80-\xff]|[^\n\x80-\xff]{1,4}")
"""Line ends and the bytes of long characters one by one: a busy kit takes its time for each."""


@streamed.must("receiving-messages/client-sse-pieces", "Characters of several bytes may be cut.")
async def sse_pieces(talk: ClientTalk) -> None:
    """A stream may come in pieces of a few bytes, and of one."""
    await _by_stream(talk, lambda body: _CRUMBS.findall(b"id: 1\ndata: " + body + b"\n\n"))


@streamed.must("receiving-messages/client-sse-long", "The whole text.")
async def sse_long(talk: ClientTalk) -> None:
    """An event may have several hundred thousand bytes."""
    await _by_stream(talk, lambda body: [b"data: " + body + b"\n\n"], "ø☃" * (BIG // 5))


@streamed.must(
    "receiving-messages/client-sse-joined", "Several events of one packet are taken one by one."
)
async def sse_joined(talk: ClientTalk) -> None:
    """Several events may come at once."""
    odd = encode({"jsonrpc": "2.0", "method": "notifications/com.example/odd"})
    await _by_stream(
        talk, lambda body: [(b"data: " + odd + b"\n\n") * 30 + b"data: " + body + b"\n\n"]
    )


@case.should(
    "receiving-messages/client-keep-alive",
    "The first call succeeds, the second ends when its time is over.",
    **scripted(call(), call(timeout=1)),
)
async def keep_alive(talk: ClientTalk) -> None:
    """Comments keep a stream open, and are no answer: a call with nothing else times out."""
    link = await talk.open()
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


@case.may(
    "receiving-messages/client-sse-garbage",
    "The next call succeeds, whatever became of the first.",
    **scripted(call(timeout=5), call()),
)
async def sse_garbage(talk: ClientTalk) -> None:
    """An event that is no JSON does no harm beyond its stream."""
    link = await talk.open()
    message = await link.expect("tools/call")
    http, exchange = talk.http(link), message.source.exchange
    await http.stream(exchange)
    await http.write(exchange, b"data: {oops\n\ndata: " + _answer(link, message) + b"\n\n")
    await http.end(exchange)
    await link.serve_one(await link.expect("tools/call"))
    step = await talk.step(1)
    check(step.good, f"the next call ended with {step}")
