"""Bodies of HTTP/1.x: any split gives the same content, and so does the plainest reader."""

import re

from mcpcore_transports.http1.body import BadBody, ChunkedBody, IncomingBody, LengthBody, StreamBody
from tests.fuzz.choices import Choices

TOKENS = (
    *(b"0\r\n\r\n", b"\r\n", b"5\r\nhello\r\n", b"a;x=y\r\n", b"0\r\nX: y\r\n\r\n", b"\n", b"\r"),
    *(
        b"ffffffffffffffff\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b" 5\r\n",
        b"5 \r\n",
        b';a="b;c"',
        b"1_0\r\n",
    ),
    *(b"+5\r\n", b"\xd9\xa3\r\n", b"POST / HTTP/1.1\r\n"),
)
_WORD = rb'[^\x00-\x20"(),/:;<=>?@[\\\]{}\x7f-\xff]+'
_QUOTED = rb'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"'
_EXTENSION = re.compile(
    rb"(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*" % (_WORD, _WORD, _QUOTED)
)
_MOST = 2**60

Outcome = tuple[bytes, bool | None, bytes]
"""Content, whether it is complete, what is left over; None and the reason where it is refused."""


def _read(body: IncomingBody, pieces: list[bytes]) -> Outcome:
    buffer = bytearray()
    content = b""
    for piece in pieces:
        buffer += piece
        try:
            content += body.take(buffer)
        except BadBody as error:
            assert error.row.status in (400, 431)
            return content + error.content, None, str(error).encode()
        assert body.announced >= 0
    return content, body.done, bytes(buffer)


def _chunked(c: Choices, data: bytes) -> bytes:
    """The content in chunks, as a right sender writes them."""
    written = b""
    for piece in c.cuts(data):
        if piece:
            form = c.pick((b"%x", b"%X", b"0%x"))
            written += (
                form % len(piece) + c.pick((b"", b";a=b", b" ; q")) + b"\r\n" + piece + b"\r\n"
            )
    return written + c.pick((b"0", b"000")) + b"\r\n"


def _plainly(stream: bytes) -> Outcome | None:
    """RFC 9112 section 7.1 on a whole stream; None also for what a strict reader refuses."""
    content, at = b"", 0
    while True:
        end = stream.find(b"\r\n", at)
        if end < 0:
            return content, False, b""
        line = stream[at:end]
        size = re.match(rb"[0-9A-Fa-f]+", line)
        if size is None or not _EXTENSION.fullmatch(line, size.end()) or int(size[0], 16) >= _MOST:
            return None
        count, at = int(size[0], 16), end + 2
        if not count:
            break
        content += stream[at : at + count]
        at += count
        if at > len(stream) or len(stream) - at < 2:
            ok = stream[at:] in (b"", b"\r")
            return (content, False, b"") if ok else None
        if stream[at : at + 2] != b"\r\n":
            return None
        at += 2
    while True:
        end = stream.find(b"\r\n", at)
        if end < 0:
            return content, False, b""
        if end == at:
            return content, True, stream[end + 2 :]
        at = end + 2


def _pieces(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


def _sizes(c: Choices, stream: bytes) -> None:
    size = c.below(len(stream) + 5)
    expected = (stream[:size], len(stream) >= size, stream[size:])
    for pieces in ([stream], c.cuts(stream), _pieces(stream)):
        found = _read(LengthBody(size), pieces)
        assert found == expected
        assert _read(StreamBody(), pieces) == (stream, False, b"")


def TARGET(data: bytes) -> None:
    c = Choices(data)
    how = c.below(4)
    cuts = Choices(c.take(6))
    if how == 0:
        _sizes(cuts, c.rest())
        return
    trailers = how != 1
    if how == 2:
        content, rest = c.blob(64), c.blob(8)
        stream = _chunked(c, content) + b"\r\n" + rest
        assert _read(ChunkedBody(trailers=trailers), [stream]) == (content, True, rest)
    else:
        stream = c.rest()
    whole = _read(ChunkedBody(trailers=trailers), [stream])
    for pieces in (cuts.cuts(stream), _pieces(stream)):
        split = _read(ChunkedBody(trailers=trailers), pieces)
        assert split[:2] == whole[:2]
        assert split == whole or whole[1] is not None, "refused for another reason"
    plain = _plainly(stream)
    if whole[1]:
        assert whole == plain
    elif whole[1] is False and plain is not None:
        assert whole[:2] == plain[:2]
