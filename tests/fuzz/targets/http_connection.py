"""Both ends of an HTTP/1.1 connection: any split of a stream tells the same."""

from tests.fuzz.choices import Choices
from tests.http1.ends import Event, read, told

_HEAD = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"
TOKENS = (
    _HEAD + b"Content-Length: 5\r\n\r\nhello",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    *(b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", _HEAD),
    *(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 102 Processing\r\n\r\n"),
    *(b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Content-Length: 5\r\n", b"\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"\0", b"\n"),
    *(b"Content-Encoding: deflate\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"),
)


def _alike(one: list[Event], other: list[Event]) -> bool:
    """True for the same, but for the reason of a refusal, which may be found earlier."""
    return [each for each in one if each[0] != "refused"] == [
        each for each in other if each[0] != "refused"
    ] and (one[-1:] and one[-1][0]) == (other[-1:] and other[-1][0])


def TARGET(data: bytes) -> None:
    c = Choices(data)
    ended = c.flag()
    cuts = Choices(c.take(6))
    stream = c.rest()
    tell = read if stream.startswith(b"HTTP/") else told
    whole = tell([stream], ended=ended)
    for pieces in (cuts.cuts(stream), [bytes([byte]) for byte in stream]):
        assert _alike(tell(pieces, ended=ended), whole)
    if tell is told:
        assert _alike(told([stream], ended=ended, whole=False), whole)
