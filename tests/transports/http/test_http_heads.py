"""Heads: what is found in a buffer, what is understood, what is refused and with which status."""

from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpcore.spec.refusals import HEAD_TOO_LARGE
from mcpcore_transports.http1.body import BadHead
from mcpcore_transports.http1.format import (
    date_header,
    error_reply,
    format_request,
    format_response,
    with_agent,
)
from mcpcore_transports.http1.heads import RequestParser, ResponseParser, find_head, parse_response
from mcpcore_transports.http1.settings import HeadLimits, HttpServerSettings
from tests.http1.parsing import parsed

LIMITS = HttpServerSettings().head_limits


def head(*lines: str, first: str = "POST /mcp HTTP/1.1", host: str | None = "localhost") -> bytes:
    names = [first, *([] if host is None else [f"Host: {host}"]), *lines, "", ""]
    return "\r\n".join(names).encode("latin-1")


BAD_REQUESTS: dict[str, tuple[bytes, int]] = {
    "no host": (head(host=None), 400),
    "two hosts": (head("Host: localhost"), 400),
    "two content lengths": (head("Content-Length: 1", "Content-Length: 2"), 400),
    "the same content length twice": (head("Content-Length: 1", "Content-Length: 1"), 400),
    "a list of content lengths": (head("Content-Length: 1, 1"), 400),
    "a negative content length": (head("Content-Length: -1"), 400),
    "a signed content length": (head("Content-Length: +1"), 400),
    "a hexadecimal content length": (head("Content-Length: 0x1"), 400),
    "a content length with an underscore": (head("Content-Length: 1_0"), 400),
    "an endless content length": (head("Content-Length: " + "9" * 40), 400),
    "an empty content length": (head("Content-Length:"), 400),
    "length and encoding": (head("Content-Length: 1", "Transfer-Encoding: chunked"), 400),
    "encoding and length": (head("Transfer-Encoding: chunked", "Content-Length: 1"), 400),
    "an unknown transfer encoding": (head("Transfer-Encoding: gzip"), 501),
    "two transfer encodings": (head("Transfer-Encoding: gzip, chunked"), 501),
    "an encoding twice": (head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 501),
    "an encoding in HTTP/1.0": (
        head("Transfer-Encoding: chunked", first="POST /mcp HTTP/1.0"),
        400,
    ),
    "a folded line": (head("X-A: 1", " 2"), 400),
    "a folded line with a tab": (head("X-A: 1", "\t2"), 400),
    "a folded first header": (head(first="POST /mcp HTTP/1.1\r\n X: 1"), 400),
    "white space before the colon": (head("X-A : 1"), 400),
    "a header without a colon": (head("X-A"), 400),
    "an empty header name": (head(": 1"), 400),
    "a NUL in a value": (head("X-A: a\x00b"), 400),
    "a NUL in a name": (head("X\x00A: a"), 400),
    "a name beyond ASCII": (head("X-\xe9: a"), 400),
    "HTTP/2.0": (head(first="POST /mcp HTTP/2.0"), 505),
    "HTTP/0.9": (head(first="POST /mcp HTTP/0.9"), 505),
    "HTTP/1.2": (head(first="POST /mcp HTTP/1.2"), 505),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\n", 505),
    "no version": (head(first="GET /mcp"), 400),
    "a version in lower case": (head(first="GET /mcp http/1.1"), 400),
    "two spaces": (head(first="GET  /mcp HTTP/1.1"), 400),
    "a tab for a space": (head(first="GET\t/mcp HTTP/1.1"), 400),
    "a space in the target": (head(first="GET /a b HTTP/1.1"), 400),
    "a target beyond ASCII": (head(first="GET /\xe9 HTTP/1.1"), 400),
    "a fragment": (head(first="GET /mcp#a HTTP/1.1"), 400),
    "another host in the target": (head(first="POST http://evil/mcp HTTP/1.1"), 400),
    "an unknown expectation": (head("Expect: 200-ok"), 417),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_request_head_is_refused(name: str) -> None:
    data, status = BAD_REQUESTS[name]
    assert find_head(bytearray(data), LIMITS) == len(data)
    with pytest.raises(BadHead) as raised:
        parsed(data)
    assert raised.value.row.status == status
    assert raised.value.message


UNFINDABLE: dict[str, tuple[bytes, int]] = {
    "LF only": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "LF for one line": (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    "LF in the first line": (b"GET / HTTP/1.1\nHost: a", 400),
    "a CR alone": (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", 400),
    "a NUL": (b"\x00", 400),
    "a space in front": (head(first=" GET /mcp HTTP/1.1"), 400),
    "a long first line": (b"GET /" + b"a" * 8192, 414),
    "a complete long first line": (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n\r\n", 414),
    "a long header": (b"GET / HTTP/1.1\r\nX: " + b"a" * 32768, 431),
    "a complete long header": (b"GET / HTTP/1.1\r\nX: " + b"a" * 32768 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 101 + b"\r\n", 431),
}


@pytest.mark.parametrize("name", UNFINDABLE)
def test_unacceptable_head_is_refused_before_it_is_parsed(name: str) -> None:
    data, status = UNFINDABLE[name]
    with pytest.raises(BadHead) as raised:
        find_head(bytearray(data), LIMITS)
    assert raised.value.row.status == status


def test_limits_are_inclusive() -> None:
    data = b"GET /" + b"a" * 10 + b" HTTP/1.1\r\n" + b"X: 1\r\n" * 3 + b"\r\n"
    exact = HeadLimits(data.index(b"\r\n"), len(data), 3)
    assert find_head(bytearray(data), exact) == len(data)
    for tighter in (
        HeadLimits(exact.first_line - 1, exact.size, exact.count),
        HeadLimits(exact.first_line, exact.size - 1, exact.count),
        HeadLimits(exact.first_line, exact.size, exact.count - 1),
    ):
        with pytest.raises(BadHead):
            find_head(bytearray(data), tighter)


def test_a_first_line_at_the_limit_may_come_in_any_pieces() -> None:
    data = b"GET /" + b"a" * 10 + b" HTTP/1.1\r\n\r\n"
    exact = HeadLimits(data.index(b"\r\n"), len(data), 3)
    assert [find_head(bytearray(data[:size]), exact) for size in range(len(data))] == [0] * len(
        data
    )


@pytest.mark.parametrize("size", range(len(head("X: 1"))))
def test_no_prefix_of_a_good_head_is_complete_or_refused(size: int) -> None:
    assert find_head(bytearray(head("X: 1")[:size]), LIMITS) == 0


def test_what_follows_a_head_is_left_alone() -> None:
    good = head("X: 1")
    assert find_head(bytearray(good + b"\n\n\x00 anything"), LIMITS) == len(good)


def test_request_is_understood() -> None:
    lines = head("Content-Length: 12", "X-Padded:  \t a b \t ", first="POST /mcp?a=b?c HTTP/1.1")
    found = parsed(lines, "1.2.3.4:5")
    request = found.request
    assert (request.method, request.path, request.query) == ("POST", "/mcp", "a=b?c")
    assert request.peer == "1.2.3.4:5"
    assert list(request.headers) == [
        (b"host", b"localhost"),
        (b"content-length", b"12"),
        (b"x-padded", b"a b"),
    ]
    assert found.length == 12
    assert found.keep_alive
    assert not found.http_1_0
    assert not found.upgrade


@pytest.mark.parametrize(
    ("lines", "first", "keep_alive"),
    [
        ((), "GET / HTTP/1.1", True),
        (("Connection: close",), "GET / HTTP/1.1", False),
        (("Connection: X, Close",), "GET / HTTP/1.1", False),
        (("Connection: x", "Connection: close"), "GET / HTTP/1.1", False),
        (("Connection: keep-alive",), "GET / HTTP/1.0", False),
        ((), "GET / HTTP/1.0", False),
    ],
)
def test_keep_alive(lines: tuple[str, ...], first: str, keep_alive: bool) -> None:
    assert parsed(head(*lines, first=first)).keep_alive is keep_alive


def test_body_and_expectation() -> None:
    assert parsed(head()).length == 0
    chunked = parsed(head("Transfer-Encoding: Chunked", "Expect: 100-Continue"))
    assert (chunked.length, chunked.expects_continue) == (None, True)
    assert not parsed(head("Expect: 100-continue")).expects_continue  # no body to wait for
    old = parsed(head("Content-Length: 1", "Expect: any", first="POST /mcp HTTP/1.0"))
    assert not old.expects_continue  # RFC 9110 section 10.1.1: ignored


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("http://LOCALHOST/mcp?x=1", "/mcp", "x=1"),
        ("http://localhost", "/", ""),
        ("HTTPS://localhost?x", "/", "x"),
        ("//a/b", "//a/b", ""),
    ],
)
def test_forms_of_the_target(target: str, path: str, query: str) -> None:
    given = head(first=f"GET {target} HTTP/1.1")
    request = parsed(given, scheme="https").request
    assert (request.path, request.query, request.scheme) == (path, query, "https")


def test_the_server_as_a_whole_is_asked_for_options_alone() -> None:
    assert parsed(head(first="OPTIONS * HTTP/1.1")).request.path == "*"
    with pytest.raises(BadHead, match="no path"):
        parsed(head(first="GET * HTTP/1.1"))


@pytest.mark.parametrize("peer", [None, "192.0.2.1:5000"])
def test_an_https_target_needs_tls(peer: str | None) -> None:
    parser, given = RequestParser(), head(first="GET https://localhost/ HTTP/1.1")
    for _ in range(2):  # the second time it is known
        with pytest.raises(BadHead) as caught:
            parsed(given, peer, parser=parser)
        assert caught.value.row.status == 421
        assert parsed(given, peer, scheme="https", parser=parser).request.scheme == "https"


def test_upgrade_must_be_named_by_connection() -> None:
    assert parsed(head("Upgrade: websocket", "Connection: keep-alive, Upgrade")).upgrade
    assert not parsed(head("Upgrade: websocket")).upgrade
    assert not parsed(
        head("Upgrade: websocket", "Connection: Upgrade", first="GET / HTTP/1.0")
    ).upgrade


def test_another_head_is_not_taken_for_the_one_before() -> None:
    parser = RequestParser()
    first = parser.take(bytearray(head("X: 1")), "1.2.3.4:5")
    other = parser.take(bytearray(head("X: 2")), "1.2.3.4:5")
    assert other is not None
    assert (b"x", b"2") in other.request.headers
    again = parser.take(bytearray(head("X: 1")), "6.7.8.9:0")
    assert again is not None
    assert first is not None
    assert (again.request.peer, again.request.headers) == ("6.7.8.9:0", first.request.headers)


@given(st.binary(max_size=200))
def test_garbage_never_raises_anything_else(data: bytes) -> None:
    statuses: set[int] = set()
    for prefix in (b"", b"POST /mcp HTTP/1.1\r\nHost: a\r\n"):
        buffer = bytearray(prefix + data + b"\r\n\r\n")
        try:
            if size := find_head(buffer, LIMITS):
                RequestParser().take(bytearray(buffer[:size]))
        except BadHead as error:
            statuses.add(error.row.status)
    assert statuses <= {400, 414, 417, 431, 501, 505}


BAD_RESPONSES: dict[str, bytes] = {
    "no status": b"HTTP/1.1\r\n\r\n",
    "a word for the status": b"HTTP/1.1 abc OK\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/3 without a minor version": b"HTTP/3 200 OK\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "length and encoding": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n",
    "an unknown encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: br\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_RESPONSES)
def test_bad_response_head_is_refused(name: str) -> None:
    with pytest.raises(BadHead):
        parse_response(BAD_RESPONSES[name])


@pytest.mark.parametrize(
    ("data", "length", "chunked", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 3, False, True),
        (b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", None, True, True),
        (b"HTTP/1.1 200 OK\r\n\r\n", None, False, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", 3, False, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: x, Close\r\n\r\n", 3, False, False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 0, False, True),
    ],
)
def test_framing_of_responses(
    data: bytes, length: int | None, chunked: bool, keep_alive: bool
) -> None:
    parsed = parse_response(data)
    assert (parsed.length, parsed.chunked, parsed.keep_alive) == (length, chunked, keep_alive)


@pytest.mark.parametrize("own", [(), ((b"user-agent", b"mine/1"),)])
def test_a_request_has_one_user_agent(own: tuple[tuple[bytes, bytes], ...]) -> None:
    sent = with_agent([(b"host", b"a"), *own])
    assert [value for name, value in sent if name == b"user-agent"] == [
        own[0][1] if own else b"mcpcore"
    ]


def test_response_head_has_a_date_of_the_current_second(monkeypatch: pytest.MonkeyPatch) -> None:
    for second, date in ((0, b"00:00:00"), (59, b"00:00:59")):
        monkeypatch.setattr("time.time", lambda now=second: now + 0.9)
        made = format_response(200, [(b"a", b"b")])
        assert made == (
            b"HTTP/1.1 200 OK\r\na: b\r\ndate: Thu, 01 Jan 1970 " + date + b" GMT\r\n\r\n"
        )
    assert format_response(299, []).startswith(b"HTTP/1.1 299 \r\n")


def test_error_response_is_complete() -> None:
    headers, body = error_reply(HEAD_TOO_LARGE, "too much")
    assert dict(headers)[b"content-length"] == b"%d" % len(body)
    assert b'"too much"' in body
    assert b'"id"' not in body


def test_request_head_is_formatted() -> None:
    made = format_request("POST", "/mcp?x", [(b"host", b"a"), (b"content-length", b"0")])
    assert made == b"POST /mcp?x HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "target", "value"),
    [
        ("POST", "/mcp", b"a\r\nx: 1"),
        ("POST", "/mcp", b"a\nx: 1"),
        ("POST", "/mcp", b"a\rx: 1"),
        ("POST", "/mcp", b"a\x00"),
        ("POST", "/mcp HTTP/1.1\r\nx: 1", b"a"),
        ("POST", "/mcp x", b"a"),
        ("PO ST", "/mcp", b"a"),
        ("POST", "/\u00e9", b"a"),
    ],
)
def test_request_head_cannot_be_split(method: str, target: str, value: bytes) -> None:
    with pytest.raises(ValueError):
        format_request(method, target, [(b"host", b"localhost"), (b"x", value)])


@given(second=st.integers(min_value=0, max_value=253_402_300_799))
@example(second=784_111_777)  # the one of RFC 9110 section 5.6.7
def test_the_date_is_that_of_the_standard_library(second: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mcpcore_transports.http1.format.time.time", lambda: float(second))
        assert date_header() == f"date: {formatdate(second, usegmt=True)}\r\n".encode("ascii")


def test_what_is_remembered_of_responses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[bytes, object] = {}
    written: dict[object, bytes] = {}
    for module, table, limit in (("heads", "_RESPONSES", "_FEW"), ("format", "_HEADS", "_MANY")):
        monkeypatch.setattr(f"mcpcore_transports.http1.{module}.{limit}", 3)
        monkeypatch.setattr(
            f"mcpcore_transports.http1.{module}.{table}", read if module == "heads" else written
        )
    for number in range(10):
        data = format_response(200, [(b"content-length", b"0"), (b"x", b"%d" % number)])
        first = ResponseParser(LIMITS).take(bytearray(data))
        assert first is not None
        assert (b"x", b"%d" % number) in first.headers
        assert ResponseParser(LIMITS).take(bytearray(data)) is first
        assert 0 < len(read) <= 3
        assert 0 < len(written) <= 3
    before = dict(read)
    assert ResponseParser(LIMITS).take(bytearray(format_response(200, [(b"x", b"y" * 3000)])))
    assert read == before


def test_heads_of_one_connection_are_told_apart() -> None:
    """One that is kept may begin like the next; one that holds a session id is never kept."""
    usual = format_response(200, [(b"content-length", b"0")])
    secret = format_response(200, [(b"content-length", b"0"), (b"mcp-session-id", b"s")])
    parser, heads = ResponseParser(LIMITS), []
    buffer = bytearray(usual * 2 + secret * 2 + usual + usual[:-2])
    while (head := parser.take(buffer)) is not None:
        heads.append(head)
    assert [head.values(b"mcp-session-id") for head in heads] == [[], [], [b"s"], [b"s"], []]
    assert heads[0] is heads[1]
    assert heads[2] is not heads[3]
    assert buffer == usual[:-2]
