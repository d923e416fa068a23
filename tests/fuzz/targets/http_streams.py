"""Raw bytes to the real HTTP servers: both drivers with both parsers say the same, in any pieces.

The same stream goes whole to one driver and in pieces to another, on either event loop.  Nothing
may end in 5xx but what asks for it (501, 505), no error may be logged, and good requests are
answered for as long as nothing odd has come before them.
"""

import json
import re
from functools import cache

from mcpcore.http.messages import HttpHead, HttpRequest
from tests.fuzz import messages, sockets
from tests.fuzz.choices import Choices
from tests.fuzz.sockets import WAYS, Answer, answers, converse
from tests.http.support import LEGACY, initialize

_STATUSES = {200, 202, 204, *(400, 403, 404, 405, 406, 409, 413, 414, 415, 417, 421, 431)}
_EARNED = {
    # A proxy is asked for, a coding that is not "chunked", or codings in several lines.
    501: re.compile(
        rb"CONNECT |\ntransfer-encoding:(?![ \t]*chunked[ \t]*\r)"
        rb"|\ntransfer-encoding:(?:(?!\r\n\r\n).)*\ntransfer-encoding:",
        re.IGNORECASE | re.DOTALL,
    ),
    505: re.compile(rb"HTTP/(?!1\.[01])[0-9]\.[0-9]"),
}
"""What must stand in a stream that is answered with 5xx."""
_HOST = b"Host: localhost"
_USUAL = (
    *(_HOST, b"Content-Type: application/json", b"Accept: application/json, text/event-stream"),
    *(b"MCP-Protocol-Version: 2026-07-28", b"Mcp-Method: tools/call", b"Mcp-Name: echo"),
)


@cache
def _session() -> str:
    """The id of the first session of each of these servers."""
    machine = sockets.make_machine()
    body = json.dumps(initialize(LEGACY)).encode()
    lines = [line.lower().split(b": ", 1) for line in _USUAL[:3]]
    fields = [(name, value) for name, value in lines]
    fields.append((b"content-length", b"%d" % len(body)))
    machine.open(1, HttpRequest(method="POST", path="/mcp", headers=fields), now=0.0)
    machine.body(1, body, end=True, now=0.0)
    while machine.next_event() is not None:
        pass
    head = machine.data_to_send(1, 1000)[0]
    assert isinstance(head, HttpHead)
    return dict(head.headers)[b"mcp-session-id"].decode()


TOKENS = (
    *messages.TOKENS,
    *(
        b"\r\n\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"0\r\n\r\n",
        b"5\r\n",
        b"GET /health HTTP/1.1\r\n",
        b"\x00",
    ),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"\t"),
    *(
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        b"HTTP/1.0",
        b" ",
    ),
    *(b"Expect: 100-continue\r\n", b"HEAD ", b"OPTIONS * HTTP/1.1\r\n", _HOST + b"\r\n", b"\x80"),
    b"Mcp-Session-Id: " + _session().encode() + b"\r\n",
)


def _call(c: Choices, id: int) -> bytes:
    """A request that must be answered, written in one of many ways."""
    params = {
        "name": "echo",
        "arguments": {"a": "x" * c.below(16)},
        "_meta": {messages.VERSION_KEY: messages.MODERN, messages.CAPABILITIES_KEY: {}},
    }
    message = {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}
    body = json.dumps(message).encode()
    lines = [b"POST /mcp HTTP/1.1", *_USUAL]
    if c.flag():
        lines.append(b"Transfer-Encoding: chunked")
        chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in c.cuts(body, 3) if piece]
        body = b"".join((*chunks, b"0\r\n\r\n"))
    else:
        lines.append(b"Content-Length: %d" % len(body))
    if c.flag(8):
        lines.append(b"Expect: 100-continue")
    return b"\r\n" * c.flag(8) + b"\r\n".join((*lines, b"", body))


def _odd(c: Choices) -> bytes:
    """Something else: other requests, right ones among them, or what is none."""
    session = b"Mcp-Session-Id: " + _session().encode()
    match c.below(7):
        case 0:
            body = json.dumps(initialize(c.pick((LEGACY, "2025-03-26")))).encode()
            lines = [b"POST /mcp HTTP/1.1", *_USUAL[:3], b"Content-Length: %d" % len(body)]
            return b"\r\n".join((*lines, b"", body))
        case 1:
            body = messages.any_message(c, modern=False)
            lines = [b"POST /mcp HTTP/1.1", *_USUAL[:3], session, b"Content-Length: %d" % len(body)]
            return b"\r\n".join((*lines, b"", body))
        case 2:
            method = c.pick((b"GET", b"DELETE", b"HEAD", b"PUT", b"OPTIONS"))
            target = c.pick((b"/mcp", b"/health", b"/nowhere", b"*", b"http://localhost/health"))
            lines = [method + b" " + target + b" HTTP/1.1", _HOST, b"Accept: text/event-stream"]
            return b"\r\n".join((*lines, *([session] if c.flag() else []), b"", b""))
        case 3:
            whole = _call(c, 77)
            at = c.below(len(whole))
            return whole[:at] + c.pick(TOKENS) + whole[at + c.below(4) :]
        case 4:
            return c.blob(32)
        case _:
            whole = _call(c, 78)
            return whole[: c.below(len(whole))]


def _stream(c: Choices) -> tuple[bytes, list[int]]:
    """A stream, and the ids of the calls in it that must be answered."""
    if c.flag(4):
        return c.rest(), []
    parts, ids, good = [], [], True
    for id in range(1, 2 + c.below(4)):
        if good and c.below(3):
            parts.append(_call(c, id))
            ids.append(id)
        else:
            parts.append(_odd(c))
            good = False
    return b"".join(parts), ids


def _ids(found: list[Answer]) -> list[object]:
    bodies = [answer.body for answer in found if answer.status == 200 and answer.body[:1] == b"{"]
    return [json.loads(body).get("id") for body in bodies]


def _agree(first: list[Answer], second: list[Answer]) -> bool:
    """Both are the same, up to a refusal after which one of them closes.

    Whether it does depends on how much of the refused body has come by then.
    """
    for one, other in zip(first, second, strict=False):
        if (one.status, one.body, one.whole) != (other.status, other.body, other.whole):
            return False
        if one.headers != other.headers:
            closing = ("connection", "close")
            rest = [[each for each in answer.headers if each != closing] for answer in (one, other)]
            return one.status >= 400 and rest[0] == rest[1]
    return len(first) == len(second)


def allowed(status: int, stream: bytes) -> bool:
    """Whether a request in the stream may be answered with a status."""
    earned = _EARNED.get(status)
    return status in _STATUSES if earned is None else earned.search(stream) is not None


def TARGET(data: bytes) -> None:
    sockets.scheduled_by(data)
    c = Choices(data)
    one, other = c.pair(WAYS)
    cuts = Choices(c.take(6))
    stream, ids = _stream(c)
    first = answers(converse(one, [stream]))
    second = answers(converse(other, cuts.cuts(stream)))
    assert _agree(first, second), (one, other)
    assert _ids(first)[: len(ids)] == ids
    for answer in first:
        assert allowed(answer.status, stream), answer
        assert messages.SECRET.encode() not in answer.body
    closing = [dict(answer.headers).get("connection") == "close" for answer in first]
    assert True not in closing[:-1], "nothing follows on what closes the connection"
