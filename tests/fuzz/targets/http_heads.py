"""Heads of HTTP/1.x: any split finds the same, both parsers and a strict reader agree."""

import re
from importlib.util import find_spec
from itertools import accumulate

from mcpcore_transports.http1.body import BadHead
from mcpcore_transports.http1.heads import RequestHead, RequestParser, find_head, parse_response
from mcpcore_transports.http1.settings import HeadLimits, ParserName
from tests.fuzz.choices import Choices
from tests.http1.parsing import parsed

TOKENS = (
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b": ",
        b":",
        b" ",
        b"\t",
        b"\0",
        b"\x0b",
        b"\x80",
        b"\r\n ",
    ),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: localhost\r\n"),
    *(b"Connection: close\r\n", b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n"),
    *(
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"GET ",
        b"POST ",
        b"CONNECT ",
        b"OPTIONS * ",
        b"/mcp",
    ),
    *(b"http://localhost/", b"https://localhost", b"#", b"?", b"%00", b"Content-Length: 5, 5\r\n"),
    *(b"MCP-Protocol-Version: 2026-07-28\r\n", b"\x16\x03\x01"),
)
_LIMITS = HeadLimits(first_line=200, size=800, count=20)
_REFUSALS = {400, 414, 417, 421, 431, 501, 505}
_NAMES = (
    b"Host",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Connection",
    b"Expect",
    b"Upgrade",
    b"X",
)
_VALUES = (
    b"localhost",
    b"5",
    b"chunked",
    b"close, upgrade",
    b"100-continue",
    b"websocket",
    b"",
    b"a b",
)
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/(1\.[01])" % _TOKEN)
_STATUS = re.compile(rb"HTTP/(1\.[01]) ([0-9]{3})(?: [^\r\n\0]*)?")
_FIELD = re.compile(rb"(%b):[ \t]*([^\r\n\0]*?)[ \t]*" % _TOKEN)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Refused in requests; a client bears it in what a server sends."""


def _built(c: Choices) -> bytes:
    method = c.pick((b"POST", b"GET", b"DELETE", b"OPTIONS", b"CONNECT", b"p()"))
    target = c.pick((b"/mcp", b"/", b"*", b"/a?b=c", b"http://localhost/mcp", b"mcp", b"/#x"))
    lines = [b" ".join((method, target, c.pick((b"HTTP/1.1", b"HTTP/1.0", b"HTTP/3.0"))))]
    lines += [b"Host: localhost"] if not c.flag(8) else []
    for _ in range(c.below(5)):
        name = c.pick(_NAMES)
        lines.append(name + c.pick((b": ", b":", b":\t", b" :")) + (c.pick(_VALUES) or c.blob(8)))
    return c.pick((b"\r\n", b"\r\n", b"\r\n", b"\n")).join((*lines, b"", b""))


def _find(buffer: bytes) -> int:
    """The size of a head, 0 while it is not complete, or minus a status."""
    try:
        return find_head(bytearray(buffer), _LIMITS)
    except BadHead as error:
        assert error.row.status in _REFUSALS
        return -error.row.status


def _splits(c: Choices, data: bytes) -> int:
    """The same comes of a head whether it arrives whole or in parts."""
    whole = _find(data)
    for pieces in (c.cuts(data), [bytes([byte]) for byte in data]):
        found = 0
        for size in accumulate(map(len, pieces)):
            found = _find(data[:size])
            if found:
                break
        if whole > 0 or found > 0:
            assert found == whole
        elif whole:
            assert found < 0, "what is refused whole is refused in parts"
        else:
            assert found == 0, "what can still become a head is not refused"
    return whole


def _lines(head: bytes) -> list[bytes]:
    return head.removesuffix(b"\r\n\r\n").split(b"\r\n")


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    found = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        assert field is not None, f"a strict reader refuses {line!r}"
        name, value = field[1].lower(), field[2]
        # the one value that parsers put into a form of their own, RFC 9112 section 6.1
        found.append((name, value.lower() if name == b"transfer-encoding" else value))
    return found


def _lengths(fields: list[tuple[bytes, bytes]]) -> tuple[int | None, bool]:
    lengths = [value for name, value in fields if name == b"content-length"]
    chunked = [value for name, value in fields if name == b"transfer-encoding"]
    assert len(lengths) <= 1
    assert not (lengths and chunked), "two ways to tell where the body ends"
    assert all(re.fullmatch(rb"[0-9]{1,18}", value) for value in lengths)
    assert not chunked or (len(chunked) == 1 and chunked[0] == b"chunked")
    return (int(lengths[0]) if lengths else None), bool(chunked)


_LIBRARIES: tuple[ParserName, ...] = (
    ("h11", "httptools") if find_spec("httptools") is not None else ("h11",)
)


def _parsers() -> list[RequestParser]:
    return [RequestParser(name, plain=plain) for name in _LIBRARIES for plain in (True, False)]


def _outcome(parser: RequestParser, data: bytes) -> str:
    try:
        return repr(parsed(data, parser=parser))
    except BadHead as error:
        return f"{error.row.status} {error.message}"


def _request(data: bytes) -> None:
    while data.startswith(b"\r\n"):  # skipped before a head, RFC 9112 section 2.2
        data = data[2:]
    if not data:
        return
    parsers = _parsers()
    parser = parsers[0]
    outcomes = {_outcome(each, data) for each in parsers}
    assert len(outcomes) == 1, "parsers differ"
    try:
        head = parsed(data, "127.0.0.1:1", parser=parser)
    except BadHead as error:
        assert error.row.status in _REFUSALS
        assert re.fullmatch(r"[\x20-\x7e]+", error.message)
        assert "b'" not in error.message
        return
    assert parsed(data, "127.0.0.1:1", parser=parser) == head, "what is remembered is the same"
    _check(head, data)


def _check(head: RequestHead, data: bytes) -> None:
    first, *rest = _lines(data)
    line = _REQUEST.fullmatch(first)
    assert line is not None, f"a strict reader refuses {first!r}"
    fields = _fields(rest)
    assert not any(_CONTROL.search(value) for _, value in fields)
    length, chunked = _lengths(fields)
    request = head.request
    assert list(request.headers) == fields
    assert request.method == line[1].decode()
    assert head.http_1_0 is (line[3] == b"1.0")
    assert head.length == (None if chunked else length or 0)
    assert not (chunked and head.http_1_0)
    hosts = [value for name, value in fields if name == b"host"]
    assert len(hosts) == 1 or (head.http_1_0 and not hosts)
    target = line[2].decode()
    shown = request.path + ("?" + request.query if "?" in target else "")
    assert target == shown or (
        re.match("https?:", target, re.IGNORECASE) and target.endswith(shown.lstrip("/"))
    )
    words = b",".join(value for name, value in fields if name == b"connection").lower().split(b",")
    assert head.keep_alive is (
        not head.http_1_0 and b"close" not in [word.strip() for word in words]
    )


def _response(data: bytes) -> None:
    try:
        head = parse_response(data)
    except BadHead as error:
        assert error.row.status in _REFUSALS
        return
    first, *rest = _lines(data)
    line = _STATUS.fullmatch(first)
    assert line is not None, f"a strict reader refuses {first!r}"
    fields = _fields(rest)
    assert list(head.headers) == fields
    assert head.status == int(line[2])
    if head.status in (204, 304):
        assert (head.length, head.chunked) == (0, False)
    else:
        assert (head.length, head.chunked) == _lengths(fields)


def TARGET(data: bytes) -> None:
    c = Choices(data)
    how = c.below(4)
    cuts = Choices(c.take(6))
    raw = _built(c) if how == 0 else c.rest()
    if how == 1:
        raw = raw.replace(b"\n", b"\r\n")
    size = _splits(cuts, raw)
    if size <= 0:
        return
    if raw[:5] == b"HTTP/":
        _response(raw[:size])
    else:
        _request(raw[:size])
