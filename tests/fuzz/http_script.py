"""Responses of an HTTP server to a client: right ones in many forms, and all others.

Each is made from the request that it answers and from bytes of its own, so that the same request
gets the same response whenever it comes.
"""

import gzip
import json
import zlib
from typing import Any

from msgspec import Struct

from mcpcore.wire.sse import encode_comment, encode_event
from tests.fuzz import messages
from tests.fuzz.choices import Choices
from tests.fuzz.conversation import helpful

HEAD = 2048
"""Bytes that the head of a response may have ..."""
LINES = 20
"""... and lines."""
BODY = 1500
"""Bytes that a body or an event may have."""
_INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
_SURPLUS = (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"x", b"\r\n", b"0\r\n\r\n")
_BODIES = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
    b"HTTP/1.1 400 No\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1;",
)
_ENDLESS = (
    (b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"),
    (b"HTTP/1.1 200 OK\r\nX-More: ", b"and more "),
    (b"HTTP", b"/1.1"),
    (b"", _INTERIM),
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    (_BODIES[0], b"5\r\n    \n\r\n"),
    (_BODIES[0], b"1;a=bcdefghijklmnopqrstuvwxyz\r\n \r\n"),
    (_BODIES[0] + b"0\r\n", b"X-More: and more\r\n"),
    (_BODIES[1], b"and more "),
    (_BODIES[2], b" "),
    (_BODIES[3], b"no and no "),
    (_BODIES[4], b"aaaaaaaaaa"),
)
"""What begins, and what then never ends."""
_REFUSALS = (
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 307 Elsewhere\r\nLocation: /x\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'1a\r\n{"error":{"message":"no"}}\r\n0\r\n\r\n',
    b"HTTP/1.1 200 OK\r\n\r\nhello",
    b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 407 Proxy\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: br\r\n\r\nx",
    b"",
)
TOKENS = (
    *messages.TOKENS,
    *(b"\r\n\r\n", b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\x80", b"HTTP/1.0", b"HTTP/2.0"),
    *(b"Connection: close\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"0\r\n\r\n", b"5\r\n"),
    *(b"Content-Encoding: gzip\r\n", b"Content-Encoding: deflate\r\n", b"fffffffffffffff\r\n"),
    *(b"Mcp-Session-Id: x\r\n", b"HTTP/1.1 100 x\r\n\r\n", b"HTTP/1.1 204 x\r\n\r\n", b"data: "),
    *(b"id: 1\n", b"retry: 0\n", b"\n\n", b"event: endpoint\n", b": \n\n", b";a=b", b"-1\r\n"),
)


class Saying(Struct):
    """What a server says to one request."""

    data: bytes
    surplus: bytes = b""
    """What nobody has asked for, in one piece with the last byte of that."""
    ends: bool = True
    """It says no more on this connection."""
    endless: bytes = b""
    """What comes behind that, again and again, until the client leaves."""
    early: bool = False
    """It comes before the body of the request was read."""
    result: dict[str, Any] | None = None
    """The result that this is, written rightly."""
    broken: bool = False
    """What would be a result is not whole."""


class _Written(Struct):
    head: bytes
    body: bytes
    lasts: bool
    """Something else can follow on the connection."""


def right(asked: dict[str, Any]) -> Saying:
    """What a good server says that makes no fuss."""
    if "id" not in asked or "method" not in asked:
        return Saying(_joined(b"HTTP/1.1 202 Accepted", b"Content-Length: 0"), ends=False)
    text = helpful(asked)
    lines = (b"Content-Type: application/json", b"Content-Length: %d" % len(text))
    return Saying(_joined(b"HTTP/1.1 200 OK", *lines) + text, ends=False)


def said(c: Choices, asked: dict[str, Any]) -> Saying:
    """What a server says that may be a bad one."""
    how = c.below(14)
    if how == 11:
        start, more = c.pick(_ENDLESS)
        return Saying(start, endless=more, ends=False)
    if how == 10:
        return Saying(c.pick(_REFUSALS))
    if how == 9:
        return Saying(c.blob(40))
    if how == 8:
        text = messages.any_message(c, modern=c.flag(), ids=[asked["id"]])
        written = _written(c, text, streams=c.flag())
        return Saying(written.head + written.body)
    way = c.below(8)
    found: dict[str, Any] = json.loads(helpful(asked))
    found["result"]["note"] = c.text(8) * (1 + c.below(20))
    text = messages.text(c, found)
    streams = c.flag()
    written = _written(c, text, streams=streams)
    whole = written.head + written.body
    if how in (7, 12, 13):
        at = c.below(len(whole))
        return Saying(whole[:at] + c.pick(TOKENS) + whole[at + c.below(4) :])
    if how == 6:  # on a stream all may be there that matters
        left = 1 + c.below(8 if c.flag() else len(whole))
        return Saying(whole[:-left], broken=not streams)
    return Saying(
        whole,
        c.pick(_SURPLUS) if way == 6 and written.lasts else b"",
        ends=not written.lasts,
        early=way == 7,
        result=found["result"],
    )


def _joined(*lines: bytes) -> bytes:
    return b"\r\n".join((*lines, b"", b""))


def _before(c: Choices) -> bytes:
    """What may stand on a stream before an answer."""
    note = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
    some = (
        encode_comment("x"),
        encode_event(b"", id="1"),
        encode_event(b"", retry=c.byte()),
        encode_event(note),
        b"event: x\r\ndata: y\r\n\r\n",
    )
    mark = b"\xef\xbb\xbf" * c.flag(8)
    return mark + b"".join(c.pick(some) for _ in range(c.below(4)))


def _written(c: Choices, text: bytes, *, streams: bool) -> _Written:
    """A message as the response of a good server, written in one of many ways."""
    if streams:
        body = _before(c) + encode_event(text, id="2" if c.flag() else None)
        kind = c.pick((b"text/event-stream", b"text/event-stream; charset=utf-8"))
    else:
        body = text
        kind = c.pick((b"application/json", b"Application/JSON; charset=utf-8"))
    version = b"HTTP/1.0" if c.flag(8) else b"HTTP/1.1"
    lines = [version + c.pick((b" 200 OK", b" 200 ", b" 201 Made")), b"Content-Type: " + kind]
    match c.below(6):
        case 4:
            body = gzip.compress(body, mtime=0)
            lines.append(b"content-encoding: gzip")
        case 5:
            body = zlib.compress(body)
            lines.append(b"Content-Encoding: deflate")
    framing = c.below(3)
    if framing == 0 or (framing == 1 and version == b"HTTP/1.0"):
        lines.append(c.pick((b"Content-Length: %d", b"content-length:%d ")) % len(body))
    elif framing == 1:
        lines.append(c.pick((b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED")))
        size = c.pick((b"%x\r\n%b\r\n", b"%X;a=b\r\n%b\r\n", b'00%x ; a="b"\r\n%b\r\n'))
        chunks = [size % (len(piece), piece) for piece in c.cuts(body) if piece]
        body = b"".join((*chunks, b"0\r\n", c.pick((b"", b"X-Trailer: x\r\n")), b"\r\n"))
    lasts = framing < 2 and version == b"HTTP/1.1"
    if c.flag(8):
        lines.append(b"Connection: close")
        lasts = False
    head = _INTERIM * c.below(3) + _joined(*lines)
    return _Written(head, body, lasts)
