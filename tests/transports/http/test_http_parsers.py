"""Both parsers of heads: whatever one of them refuses the other refuses, and they read the same."""

import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from mcpcore import HttpSettings, LocalError
from mcpcore_transports.http.server.listening import HttpServerLink
from mcpcore_transports.http1 import heads as http_heads
from mcpcore_transports.http1.body import BadHead
from mcpcore_transports.http1.heads import RequestHead, RequestParser
from mcpcore_transports.http1.settings import HttpServerSettings, ParserName
from tests.http.support import make_server
from tests.http1.parsing import parsed
from tests.transports.http.test_http_heads import UNFINDABLE
from tests.transports.http.test_http_server_attacks import ROWS

pytest.importorskip("httptools")

LIMITS = HttpServerSettings().head_limits
USUAL = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n"

TOKEN = b"!#$%&'*+-.^_`|~09azAZ"
METHODS = st.sampled_from(
    [b"GET", b"POST", b"OPTIONS", b"CONNECT", b"PRI", b"post", b"M-SEARCH", b"SOURCE", b"G@T", b""]
) | st.binary(max_size=4)
TARGETS = st.sampled_from(
    [b"/mcp", b"*", b"/a?b#c", b"http://localhost/", b"rtsp://localhost/", b"localhost:80", b"a b"]
) | st.binary(max_size=6)
VERSIONS = st.sampled_from(
    [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"http/1.1", b"RTSP/1.0", b"ICE/1.0"]
) | st.binary(max_size=9)
BLANK = st.sampled_from([b" ", b" ", b" ", b"  ", b"\t", b""])
NAMES = st.sampled_from(
    [
        *(b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect"),
        *(b"Proxy-Connection", b"X", b"content-LENGTH", b"Transfer_Encoding", b"Content-Length "),
    ]
) | st.binary(max_size=5)
VALUES = st.sampled_from(
    [
        *(b"localhost", b"0", b"5", b"05", b"+5", b"5 5", b"5, 5", b"18446744073709551621", b""),
        *(b"chunked", b"Chunked", b"chunked\t", b"gzip, chunked", b"chunked;q=1", b"identity"),
        *(b"close", b"keep-alive", b"Upgrade", b"close, upgrade", b"websocket", b"h2c"),
        *(b"100-continue", b"\xe9\xff", b"a\tb", b" a ", b"a\x0bb", b"a\x00", b'"a\\"b"'),
    ]
) | st.binary(max_size=8)
LINES = st.builds(
    lambda name, colon, value: name + colon + value,
    NAMES,
    st.sampled_from([b": ", b": ", b":", b":\t ", b" : ", b""]),
    VALUES,
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads that are nearly right, and somewhere perhaps not at all."""
    first = draw(METHODS) + draw(BLANK) + draw(TARGETS) + draw(BLANK) + draw(VERSIONS)
    lines = [draw(st.sampled_from([first, b"POST /mcp HTTP/1.1", b"GET / HTTP/1.0"]))]
    lines += draw(st.sampled_from([[b"Host: localhost"], []]))
    lines += draw(st.lists(LINES, max_size=4))
    head = b"\r\n".join([*lines, b"", b""])
    if draw(st.booleans()):
        return head
    at = draw(st.integers(0, len(head)))
    return head[:at] + draw(st.binary(max_size=3)) + head[at + draw(st.integers(0, 3)) :]


def outcome(name: ParserName, data: bytes) -> tuple[object, bytes]:
    """What comes of the head at the front of some bytes, and what is left of them."""
    buffer = bytearray(data)
    try:
        found: object = RequestParser(name, LIMITS).take(buffer)
    except BadHead as error:
        found = (error.row.status, error.message)
    return found, bytes(buffer)


@given(heads())
@example(USUAL + b"X:\r\n\r\n")
@example(USUAL + b"X: \t \r\n\r\n")
@example(USUAL + b"X: a \t\r\nY:b\r\n\r\n")
@example(USUAL + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc")
@example(USUAL + b"Content-Length: 5\r\ncontent-length: 5\r\n\r\n")
@example(USUAL + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n")
@example(b"DESCRIBE rtsp://localhost/ RTSP/1.0\r\nHost: localhost\r\n\r\n")
@example(b"SOURCE /mcp ICE/1.0\r\nHost: localhost\r\n\r\n")
@example(b"GET /mcp HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")
@example(b"GET / HTTP/1.0\r\n\r\n")
@example(b"GET / HTTP/1.1\r\n\r\n")
def test_either_both_refuse_a_head_or_both_read_the_same(data: bytes) -> None:
    assert outcome("httptools", data) == outcome("h11", data)


KNOWN = {
    **{name: data for name, (data, _) in UNFINDABLE.items()},
    **{f"attack: {name}": row.data for name, row in ROWS.items()},
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_attacks_are_the_same_to_both(name: str) -> None:
    assert outcome("httptools", KNOWN[name]) == outcome("h11", KNOWN[name])


@pytest.mark.parametrize("name", ["h11", "httptools"])
def test_a_head_is_understood(name: ParserName) -> None:
    data = USUAL + b"X-Padded:  \t a b \t \r\nUPGRADE: x\r\nConnection: upgrade\r\n\r\n"
    parsed, rest = outcome(name, b"\r\n" + data + b"behind")
    assert isinstance(parsed, RequestHead)
    assert list(parsed.request.headers) == [
        (b"host", b"localhost"),
        (b"x-padded", b"a b"),
        (b"upgrade", b"x"),
        (b"connection", b"upgrade"),
    ]
    assert (parsed.upgrade, parsed.keep_alive, rest) == (True, True, b"behind")


def test_httptools_reads_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """And h11 only what is odd: or else all of these tests would hold h11 against itself."""
    seen: list[bytes] = []
    by_h11 = http_heads.read_by_h11

    def spy(head: bytes) -> http_heads.RequestLines:
        seen.append(head)
        return by_h11(head)

    monkeypatch.setattr(http_heads, "read_by_h11", spy)
    for data in (USUAL + b"Content-Length: 3\r\nX: \xe9\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        assert isinstance(outcome("httptools", data)[0], RequestHead)
    assert seen == []
    odd = USUAL.replace(b"POST", b"post") + b"\r\n"
    assert isinstance(outcome("httptools", odd)[0], RequestHead)
    assert seen == [odd]


class Deaf:
    """An owner that is told nothing."""

    def handle(self, event: object) -> None:
        """See App."""


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["h11", "httptools"])
async def test_the_parser_reads_usual_heads_where_it_is_told_to(
    name: ParserName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is for the behaviours of every binding: or else the plain reader answered for it."""
    seen: list[bytes] = []
    head = USUAL + b"\r\n"
    for settings, heads in (
        (HttpServerSettings(parser=name), []),
        (HttpServerSettings(parser=name, usual_heads="parsed"), [head]),
    ):
        link = HttpServerLink(make_server(HttpSettings()), Deaf(), settings=settings)
        read = link.parser._read

        def spy(head: bytes, read: http_heads.Reader = read) -> http_heads.RequestLines:
            seen.append(head)
            return read(head)

        monkeypatch.setattr(link.parser, "_read", spy)
        assert parsed(head, parser=link.parser).request.path == "/mcp"
        assert seen == heads


def test_a_known_head_is_taken_within_the_same_limits() -> None:
    narrow = structs.replace(LIMITS, count=1)
    parser = RequestParser("auto", narrow)
    assert parser.take(bytearray(USUAL + b"\r\n")) is not None
    for _ in range(2):
        with pytest.raises(BadHead, match="more than 1 header lines"):
            parser.take(bytearray(USUAL + b"X: 1\r\n\r\n"))


def test_a_parser_that_is_not_there_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_heads, "find_spec", lambda name: None)
    assert http_heads.chosen("auto") == "h11"
    with pytest.raises(LocalError, match=r"mcpcore\[speed\]"):
        http_heads.chosen("httptools")
    monkeypatch.undo()
    assert http_heads.chosen("auto") == "httptools"
    assert "h11" in sys.modules
