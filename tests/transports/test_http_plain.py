"""Usual heads, read in one pass or as the one before: as the parser reads them, or not at all."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpcore.http.messages import HttpRequest
from tests.transports.test_http_heads import BAD_REQUESTS, UNFINDABLE
from tests.transports.test_http_parsers import USUAL, heads
from tests.transports.test_http_server_attacks import ROWS
from transports.http_heads import BadHead, RequestHead, RequestParser, find_head
from transports.http_parsers import RequestLines, read_by_h11
from transports.http_plain import shape_of, usual_lines
from transports.http_settings import HeadLimits, HttpServerSettings

LIMITS = HttpServerSettings().head_limits
KNOWN = [
    *(data for data, _ in (BAD_REQUESTS | UNFINDABLE).values()),
    *(row.data for row in ROWS.values()),
]


def seen(found: RequestHead) -> tuple[object, ...]:
    """All of a head that matters to anybody."""
    request: HttpRequest = found.request
    return (
        (request.method, request.path, request.query, request.scheme, request.peer),
        (list(request.headers), found.text, found.keep_alive, found.http_1_0),
        (found.length, found.expects_continue, found.upgrade, found.plain, found.revision),
    )


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
        b"POST /mcp HTTP/1.0\r\nHost: a\r\n\r\n",
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


# The one that is like the one before

LENGTHS = st.sampled_from(
    [b"5", b"0", b"05", b"1" * 18, b"1" * 19, b"+5", b"5,5", b"5 5", b"", b"x"]
)
SESSIONS = st.sampled_from(
    [b"a", b"b" * 40, b"", b" a", b"a ", b"a b", b"a\tb", b"\xe9", b"a\x00", b"a\r\nX: b", b"a:"]
)
OTHERS = st.sampled_from(
    [b"", b"X: 1\r\n", b"X: 2\r\n", b"content-length: 5\r\n", b"Expect: x\r\n"]
)


@st.composite
def slightly_different(draw: st.DrawFn) -> bytes:
    lines = draw(
        st.permutations(
            [
                b"%b: %b\r\n"
                % (draw(st.sampled_from([b"Content-Length", b"CONTENT-LENGTH"])), value)
                for value in draw(st.lists(LENGTHS, min_size=1, max_size=1))
            ]
            + [
                b"Mcp-Session-Id:%b%b\r\n" % (draw(st.sampled_from([b" ", b""])), value)
                for value in draw(st.lists(SESSIONS, max_size=1))
            ]
        )
    )
    return USUAL + b"".join(lines) + draw(OTHERS) + b"\r\n"


def taken(parser: RequestParser, data: bytes, last: RequestHead | None) -> object:
    buffer = bytearray(data)
    try:
        found = parser.take(buffer, "1.2.3.4:5", last=last)
    except BadHead as error:
        return (error.status, error.message)
    return (None if found is None else seen(found), bytes(buffer))


@given(st.lists(slightly_different(), min_size=2, max_size=6))
def test_a_head_like_the_one_before_is_read_as_if_it_were_the_first(several: list[bytes]) -> None:
    parser = RequestParser("h11", LIMITS)
    last = None
    for data in several:
        alone = taken(RequestParser("h11", LIMITS), data + b"behind", None)
        assert taken(parser, data + b"behind", last) == alone
        if isinstance(alone, tuple) and alone[1] == b"behind":
            last = parser.take(bytearray(data), "1.2.3.4:5", last=last)


def test_nothing_else_of_it_is_read_again() -> None:
    parser = RequestParser("h11", LIMITS)
    last = None
    lines = []
    for number in range(3):
        data = USUAL + b"Content-Length: %d\r\nMcp-Session-Id: s%d\r\n\r\n" % (number + 9, number)
        last = parser.take(bytearray(data), last=last)
        assert last is not None
        lines.append(last.request.headers)
        assert last.length == number + 9
    assert lines[0][0] is lines[1][0] is lines[2][0]
    assert [each[2] for each in lines] == [(b"mcp-session-id", b"s%d" % n) for n in range(3)]


def test_limits_hold_for_it_too() -> None:
    data = USUAL + b"Mcp-Session-Id: a\r\n\r\n"
    parser = RequestParser("h11", HeadLimits(first_line=100, size=len(data), count=9))
    last = parser.take(bytearray(data))
    assert parser.take(bytearray(data.replace(b": a", b": b")), last=last) is not None
    with pytest.raises(BadHead, match="larger than"):
        parser.take(bytearray(data.replace(b": a", b": bb")), last=last)


@pytest.mark.parametrize("data", KNOWN)
def test_attacks_are_the_same_behind_a_good_one(data: bytes) -> None:
    good = RequestParser("h11", LIMITS).take(bytearray(USUAL + b"Content-Length: 5\r\n\r\n"))
    alone = taken(RequestParser("h11", LIMITS), data, None)
    assert taken(RequestParser("h11", LIMITS), data, good) == alone


def test_what_may_not_differ_has_no_shape() -> None:
    assert shape_of(USUAL + b"\r\n", [(b"host", b"localhost")]) is None
