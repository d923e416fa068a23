"""Heads of HTTP/1.x messages as bytes, and the refusals that a driver makes itself."""

import re
import time
from collections.abc import Iterable
from functools import cache

from mcpcore.http.headers import RETRY_AFTER, HeaderList
from mcpcore.http.messages import HttpReply
from mcpcore.spec.errors import ErrorData
from mcpcore.spec.refusals import RefusalRow
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import encode_error
from mcpcore.wire.redaction import is_secret_header

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"

_AGENT = (b"user-agent", b"mcpcore")
_ILLEGAL_IN_LINE = re.compile(rb"[\r\n\x00]")

_date: tuple[int, bytes] = (-1, b"")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _date_line(second: int) -> bytes:
    """Render a Date header line, in English whatever the locale.

    ``email.utils`` would leave a string for each date in the method cache of the interpreter.
    """
    year, month, day, hour, minute, sec, weekday, _, _ = time.gmtime(second)
    return (
        f"date: {_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} "
        f"{hour:02}:{minute:02}:{sec:02} GMT\r\n"
    ).encode("ascii")


def date_header() -> bytes:
    """Return the Date header line (RFC 9110 section 6.6.1), rendered once a second."""
    global _date
    second = int(time.time())
    if second != _date[0]:
        _date = (second, _date_line(second))
    return _date[1]


@cache
def status_line(status: int) -> bytes:
    """Format the first line of a response."""
    from http import HTTPStatus  # imported late: a hundred phrases, of which few are used

    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")


_HEADS: dict[tuple[int, tuple[tuple[bytes, bytes], ...]], bytes] = {}
"""Heads without Date, without those that may hold a credential or a session id."""
_MANY = 256


def _head(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    head = b"".join([status_line(status), *(b"%b: %b\r\n" % pair for pair in headers)])
    if not any(is_secret_header(name) for name, _ in headers):
        if len(_HEADS) >= _MANY:
            _HEADS.clear()
        _HEADS[status, headers] = head
    return head


def format_response(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the bytes of a response head, with Date."""
    key = status, tuple(headers)
    return b"%b%b\r\n" % (_HEADS.get(key) or _head(*key), date_header())


def format_reply(reply: HttpReply) -> bytes:
    """Return the bytes of a whole response, with Date and Content-Length."""
    key, body = (reply.status, reply.headers), reply.body
    head = _HEADS.get(key) or _head(*key)
    return b"%b%bcontent-length: %d\r\n\r\n%b" % (head, date_header(), len(body), body)


def with_agent(headers: HeaderList) -> HeaderList:
    """Return the headers of a request with a User-Agent: the one that is there, or ours.

    Firewalls refuse requests without one (RFC 9110 section 10.1.5: a client should send it).
    """
    return headers if b"user-agent" in dict(headers) else [*headers, _AGENT]


def format_request(method: str, target: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the bytes of a request head; ``headers`` are complete.

    Raises ValueError for a method, target or header that would break the head.
    """
    first = f"{method} {target} HTTP/1.1".encode("ascii")
    lines = [first, *map(b": ".join, headers)]
    head = b"\r\n".join((*lines, b"", b""))
    ends = len(lines) + 1
    if b"\0" in head or head.count(b"\n") != ends or head.count(b"\r") != ends:
        line = next(line for line in lines if _ILLEGAL_IN_LINE.search(line))
        raise ValueError(f"a line break or NUL in the HTTP header {line[:60]!r}")
    if first.count(b" ") != 2:
        raise ValueError(f"white space in the request line {first[:60]!r}")
    return head


def error_reply(
    row: RefusalRow,
    message: str,
    revision: Revision | None = None,
    extra: Iterable[tuple[bytes, bytes]] = (),
) -> tuple[HeaderList, bytes]:
    """Return headers and body of a response to a request that is refused before the core.

    ``revision`` is the one that the request names, if it is known; ``extra``: further headers.
    """
    body = encode_error(None, ErrorData(row.code_in(revision), message))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if row.retry:
        headers.append((RETRY_AFTER, b"1"))
    return [*headers, *extra], body
