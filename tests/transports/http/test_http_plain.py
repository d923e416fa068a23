"""Usual heads, and what is remembered of them: read as the parser reads them, or not at all."""

from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpcore import HttpRequest, HttpServer
from mcpcore.http.headers import HeaderLines
from mcpcore_transports.http1.body import BadHead
from mcpcore_transports.http1.heads import (
    RequestHead,
    RequestLines,
    RequestParser,
    find_head,
    read_by_h11,
    usual,
)
from mcpcore_transports.http1.settings import HeadLimits, HttpServerSettings, ParserName
from tests.http.server.test_head_again import BODY, GOOD, SETTINGS, VARIANTS, outcome
from tests.http.support import make_server
from tests.http1.parsing import parsed
from tests.transports.http.test_http_heads import UNFINDABLE
from tests.transports.http.test_http_parsers import USUAL, heads
from tests.transports.http.test_http_server_attacks import ROWS

LIMITS = HttpServerSettings().head_limits
KNOWN = [*(data for data, _ in UNFINDABLE.values()), *(row.data for row in ROWS.values())]


def seen(found: RequestHead) -> tuple[object, ...]:
    """All of a head that matters to anybody."""
    request: HttpRequest = found.request
    return (
        (request.method, request.path, request.query, request.scheme, request.peer),
        (list(request.headers), found.text, found.keep_alive, found.http_1_0),
        (found.length, found.expects_continue, found.upgrade, found.plain, found.revision),
    )


def usual_lines(head: bytes) -> RequestLines | None:
    found = RequestParser().read_lines(head)
    return None if found is None else usual(*found)


def as_h11(head: bytes) -> RequestLines | None:
    try:
        return read_by_h11(head)
    except BadHead:
        return None


@given(heads())
@example(USUAL + b"X:\r\n\r\n")
@example(USUAL + b"X: \t a \t b \t \r\n\r\n")
def test_what_is_usual_reads_as_h11_reads_it(data: bytes) -> None:
    try:
        size = find_head(bytearray(data), LIMITS)
    except BadHead:
        return
    found = usual_lines(data[:size]) if size else None
    assert found is None or found == as_h11(data[:size])


@pytest.mark.parametrize(
    "lines",
    [
        b"X: 1\r\n",
        b"X:\r\nY: \t \r\n",
        b"Content-Length: 5\r\nMCP-Session-Id: a-b\r\n",
        b"Connection: keep-alive, close\r\n",
    ],
)
def test_the_usual_is_usual(lines: bytes) -> None:
    head = USUAL + lines + b"\r\n"
    assert usual_lines(head) == read_by_h11(head)


@pytest.mark.parametrize(
    "head",
    [
        b"post /mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST http://a/mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nX: a\r\n\r\n",
        *(
            USUAL + line + b"\r\n\r\n"
            for line in (
                *(b"Host: localhost", b"HOST: b", b"Transfer-Encoding: chunked", b"Upgrade: x"),
                *(
                    b"Expect: 100-continue",
                    b"X: \xe9",
                    b"X: a\x00b",
                    b"X : a",
                    b": a",
                    b"X",
                    b" X: a",
                ),
            )
        ),
    ],
)
def test_the_rest_is_left_to_the_parser(head: bytes) -> None:
    assert usual_lines(head) is None


# One that is like others

LENGTHS = st.sampled_from(
    [b"5", b"0", b"05", b"1" * 18, b"1" * 19, b"+5", b"5,5", b"5 5", b"", b"x"]
)
SESSIONS = st.sampled_from(
    [b"a", b"b" * 40, b"", b" a", b"a ", b"a b", b"a\tb", b"\xe9", b"a\x00", b"a\r\nX: b", b"a:"]
)
OTHERS = st.sampled_from(
    [
        *(b"X: 1", b"X: 2", b"X:  b ", b"X:", b"x: 1", b"X: \xe9", b"X: a\x00", b"X : 1", b"X"),
        *(b"X: a\nb", b"X: a\rb", b"X: 1\r\n 2", b"Y: 1", b"Y: 1\r\nX: 1", b"y" * 300 + b": 1"),
        *(b"Accept: a", b"ACCEPT: a", b"Accept: b", b"Accept: a, " + b"b" * 300, b"Accept: \xe9"),
        *(b"Connection: close", b"connection: keep-alive", b"Connection: Upgrade"),
        *(b"Host: localhost", b"content-length: 5", b"Expect: x", b"Upgrade: x"),
        *(b"Transfer-Encoding: chunked", b"Mcp-Name: a", b"Mcp-Name: b", b"Mcp-Name: \xe9"),
    ]
)
FIRST = st.sampled_from(
    [USUAL] * 5
    + [
        USUAL.replace(*each)
        for each in (
            (b"POST", b"GET"),
            (b"/mcp", b"/other"),
            (b"/mcp", b"/mcp?a=b"),
            (b"/mcp", b"http://localhost/mcp"),
            (b"/mcp", b"https://localhost/mcp"),
            (b"1.1", b"1.0"),
            (b"localhost", b"b"),
        )
    ]
)


@st.composite
def slightly_different(draw: st.DrawFn) -> bytes:
    lines = [
        b"%b: %b" % (draw(st.sampled_from([b"Content-Length", b"CONTENT-LENGTH"])), value)
        for value in draw(st.lists(LENGTHS, max_size=1))
    ]
    lines += [
        b"Mcp-Session-Id:%b%b" % (draw(st.sampled_from([b" ", b""])), value)
        for value in draw(st.lists(SESSIONS, max_size=1))
    ]
    lines += draw(st.lists(OTHERS, max_size=2))
    return draw(FIRST) + b"".join(line + b"\r\n" for line in draw(st.permutations(lines))) + b"\r\n"


def again(parser: RequestParser, buffer: bytearray, last: RequestHead | None) -> RequestHead | None:
    """The head of a connection on which ``last`` came before."""
    found = None if last is None else parser.with_length(buffer, last)
    return parser.take(buffer, "1.2.3.4:5") if found is None else found


def taken(
    parser: RequestParser, data: bytes, last: RequestHead | None = None
) -> tuple[object, object]:
    buffer = bytearray(data)
    try:
        found = again(parser, buffer, last)
    except BadHead as error:
        return (error.row.status, error.message)
    return (None if found is None else seen(found), bytes(buffer))


@pytest.mark.parametrize("name", ["h11", "auto"])
@given(several=st.lists(slightly_different(), min_size=2, max_size=6))
def test_a_head_is_read_as_if_no_other_had_come_before(
    name: ParserName, several: list[bytes]
) -> None:
    parser = RequestParser(name, LIMITS)
    last: RequestHead | None = None
    for data in several:
        alone = taken(RequestParser("h11", LIMITS), data + b"behind")
        assert taken(parser, data + b"behind", last) == alone
        if alone[1] == b"behind":
            last = again(parser, bytearray(data), last)


def test_what_decides_is_not_read_again() -> None:
    parser = RequestParser("h11", LIMITS)
    first = parser.take(bytearray(USUAL + b"Content-Length: 1\r\nX-Id: 0\r\n\r\n"))
    assert first is not None
    kind = first.request.headers
    for number in range(2, 5):
        data = USUAL + b"Content-Length: %d\r\nX-Id: %d\r\n\r\n" % (number, number)
        found = parser.take(bytearray(data))
        assert found is not None
        lines = found.request.headers
        assert isinstance(kind, HeaderLines)
        assert isinstance(lines, HeaderLines)
        assert lines.alike is kind.alike
        assert lines[0] is kind[0]
        assert lines[1:] == [(b"content-length", b"%d" % number), (b"x-id", b"%d" % number)]
        assert (found.length, lines.length, lines.session) == (number, number, None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"Accept: a", b"Accept: b"),
        (b"Mcp-Name: a", b"Mcp-Name: b"),
        (b"Connection: a", b"Connection: b"),
        (b"X-A: 1", b"X-B: 1"),
        (b"X-A: 1", b"X-A: 1\r\nX-B: 1"),
    ],
)
def test_what_decides_tells_heads_apart(one: bytes, other: bytes) -> None:
    parser = RequestParser("h11", LIMITS)
    first = parser.take(bytearray(USUAL + one + b"\r\n\r\n"))
    again = parser.take(bytearray(USUAL + one + b"\r\n\r\n"))
    another = parser.take(bytearray(USUAL + other + b"\r\n\r\n"))
    assert first is not None and again is not None and another is not None  # noqa: PT018
    alike = [cast("HeaderLines", each.request.headers).alike for each in (first, again, another)]
    assert alike[0] is alike[1] is not alike[2]
    assert parser.take(bytearray(USUAL + one + b"\r\n")) is None


def test_a_head_that_is_like_another_comes_from_where_it_came() -> None:
    parser = RequestParser("h11", LIMITS)
    lines = USUAL + b"X-Id: %d\r\n\r\n"
    parser.take(bytearray(lines % 2), "6.7.8.9:0")
    for number in (2, 3, 2, 3, 3):
        found = parser.take(bytearray(lines % number), "1.2.3.4:5", scheme="https")
        assert found is not None
        assert (found.request.peer, found.request.scheme) == ("1.2.3.4:5", "https")
        assert (b"x-id", b"%d" % number) in found.request.headers
        assert parsed(lines % number, parser=parser).request.peer is None


def test_the_session_is_found() -> None:
    parser = RequestParser("h11", LIMITS)
    for value in (b"a", b"b", b"a b", b""):
        found = parser.take(bytearray(USUAL + b"MCP-Session-ID: %b\r\n\r\n" % value))
        assert found is not None
        lines = found.request.headers
        assert isinstance(lines, HeaderLines)
        assert lines.session == value.decode()


def test_limits_hold_for_it_too() -> None:
    data = USUAL + b"Mcp-Session-Id: a\r\nContent-Length: 9\r\n\r\n"
    parser = RequestParser("h11", HeadLimits(first_line=100, size=len(data), count=9))
    last = parser.take(bytearray(data))
    assert last is not None
    assert parser.take(bytearray(data.replace(b": a", b": b"))) is not None
    for longer in (data.replace(b": a", b": bb"), data.replace(b"9", b"10")):
        with pytest.raises(BadHead, match="larger than"):
            again(parser, bytearray(longer), last)


def test_nothing_is_expected_of_an_empty_body() -> None:
    parser, data = RequestParser(), USUAL + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    last: RequestHead | None = None
    for length in (5, 0, 5):
        last = again(parser, bytearray(data % length), last)
        assert last is not None
        assert (last.length, last.expects_continue) == (length, length > 0)


@pytest.mark.parametrize("data", KNOWN)
def test_attacks_are_the_same_behind_a_good_one(data: bytes) -> None:
    parser = RequestParser("h11", LIMITS)
    good = parser.take(bytearray(USUAL + b"Content-Length: 5\r\n\r\n"))
    alone = taken(RequestParser("h11", LIMITS), data)
    for _ in range(3):
        assert taken(parser, data, good) == alone


def test_what_is_remembered_of_lines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpcore_transports.http1.heads._KNOWN", 3)
    parser = RequestParser("h11", LIMITS)
    for number in range(10):
        lines = b"Accept: %d\r\nX: %d\r\nContent-Length: %d\r\n" % (number, number, number)
        assert taken(parser, USUAL + lines + b"\r\n")
        assert len(parser._known) <= 3
        assert 0 < len(parser._lengths) <= 3
        assert len(parser._kinds) <= 3
    assert not any(name == b"x" for name, _ in parser._known.values())
    before = dict(parser._known)
    taken(parser, USUAL + b"Accept: %b\r\n\r\n" % (b"a" * 5000))
    assert parser._known == before


# What a server makes of it

REQUEST_ID = b"X-Request-Id: %d\r\n"


def written(head: HttpRequest, number: int) -> bytes:
    lines = b"".join(b"%b: %b\r\n" % line for line in head.headers)
    first = f"{head.method} {head.path} HTTP/1.1\r\n".encode()
    return first + lines + REQUEST_ID % number + b"\r\n"


def answered(parser: RequestParser, server: HttpServer, number: int, data: bytes) -> object:
    try:
        found = parser.take(bytearray(data))
    except BadHead as error:
        return error.row.status
    assert found is not None
    return outcome(server, number, found.request)


@pytest.mark.parametrize("name", [name for name in VARIANTS if VARIANTS[name].scheme == "http"])
def test_a_request_is_answered_as_if_nothing_like_it_had_come_before(name: str) -> None:
    odd = VARIANTS[name]
    fresh = answered(RequestParser("h11", LIMITS), make_server(SETTINGS), 1, written(odd, 0))
    parser, server = RequestParser("h11", LIMITS), make_server(SETTINGS)
    for number in range(1, 20, 2):
        usual = answered(parser, server, number, written(GOOD, number))
        assert isinstance(usual, tuple)
        assert usual[0] == len(BODY)
        assert answered(parser, server, number + 1, written(odd, number)) == fresh
