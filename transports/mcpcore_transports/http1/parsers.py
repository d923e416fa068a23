"""Parsers of request heads: h11, or httptools if the extra ``speed`` is installed.

Both get heads that :func:`mcpcore_transports.http1.heads.find_head` has found, without control
characters and folded lines.  From httptools only the division into header lines is used, and only
where it is unambiguous: the first line is parsed here in the way of h11, there must be one header
for each line, and h11 must have no objection to Host and Transfer-Encoding.  In all other cases h11
decides. So both parsers accept the same heads, with the same meaning and the same answers.
"""

import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import h11
from msgspec import Struct

from mcpcore.spec.errors import LocalError
from mcpcore_transports.http.settings import ParserName

Headers = list[tuple[bytes, bytes]]

_SENT = r": (?=b['\"]|bytearray)"
_FIRST = rb"([-!#$%&'*+.^_`|~0-9a-zA-Z]+) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n"


class BadHead(Exception):
    """Head that is refused; ``status`` is the status of the server's response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestLines(Struct):
    """Parsed head of a request; names in lower case, values without the space around them."""

    method: bytes
    target: bytes
    version: bytes
    headers: Headers


Reader = Callable[[bytes], RequestLines]
"""Parser of a complete head.  Raises :class:`BadHead`."""


def chosen(name: ParserName) -> Literal["h11", "httptools"]:
    """Return the name of the parser to use; ``auto`` is httptools where it is installed.

    Raises LocalError for a parser that is not installed.
    """
    if name == "h11":
        return "h11"
    if find_spec("httptools") is not None:
        return "httptools"
    if name == "httptools":
        raise LocalError("the parser httptools is not installed: pip install 'mcpcore[speed]'")
    return "h11"


def reader(name: ParserName) -> Reader:
    """Return the parser of heads.  Raises LocalError, as :func:`chosen`."""
    return read_by_h11 if chosen(name) == "h11" else _by_httptools()


def read_by_h11(head: bytes) -> RequestLines:
    """Parse the head of a request with h11."""
    event = h11_event(h11.Connection(h11.SERVER, max_incomplete_event_size=len(head)), head)
    if not isinstance(event, h11.Request):  # pragma: no cover - servers get no other
        raise BadHead(400, "malformed request")
    return RequestLines(event.method, event.target, event.http_version, list(event.headers))


def h11_event(connection: h11.Connection, head: bytes) -> object:
    """Return the h11 event for a head.  Raises :class:`BadHead`."""
    connection.receive_data(head)
    try:
        return connection.next_event()
    except h11.RemoteProtocolError as error:
        raise BadHead(error.error_status_hint, _reason(error)) from error


def _reason(error: Exception) -> str:
    """Return the message of h11 without the received data, which it quotes as a Python literal."""
    return re.split(_SENT, str(error))[0].replace("b'", "'")


class _Lines:
    """Callbacks of httptools that collect the header lines."""

    __slots__ = ("headers",)

    def __init__(self) -> None:
        self.headers: Headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))


def _by_httptools() -> Reader:
    """Return a parser of request heads that uses httptools."""
    from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

    first_line = re.compile(_FIRST).match

    def read(head: bytes) -> RequestLines:
        first = first_line(head)
        if first is None:
            return read_by_h11(head)
        method, target, version = first.groups()
        lines = _Lines()
        try:
            HttpRequestParser(lines).feed_data(head)
        except HttpParserUpgrade:
            pass  # another protocol is requested behind the head, which is complete
        except HttpParserError:
            return read_by_h11(head)
        headers = lines.headers
        hosts = codings = 0
        for name, value in headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                codings += 1 if value == b"chunked" else 2
        if (
            len(headers) != head.count(b"\n") - 2
            or hosts > 1
            or (not hosts and version == b"1.1")
            or codings > 1
        ):
            return read_by_h11(head)
        return RequestLines(method, target, version, headers)

    return read
