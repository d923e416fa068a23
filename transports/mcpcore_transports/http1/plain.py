"""Usual heads of requests, on which all parsers agree, read line by line.

Most heads of a client differ in the length of the body, in an id or in headers added by a proxy, so
that few come again byte for byte.  Their other lines do come again.  Of these, each line that
decides on the admission or meaning of the request is parsed once and cached.  A head with anything
unusual is left to the parser.
"""

import re
from typing import TypeVar

from mcpcore.http.headers import CONTENT_LENGTH, SESSION_ID, HeaderLines, decides
from mcpcore_transports.http1.parsers import RequestLines

__all__ = ["Kind", "LineReader", "NoReader", "usual"]

_FIRST = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/(1\.1)")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_FIELD = re.compile(rb"(" + _TOKEN + rb"++):[ \t]*+([!-~]*+(?:[ \t]++[!-~]++)*+)[ \t]*+")
"""Header line as in RFC 9110 section 5.5, in ASCII; a failing match takes linear time."""
_CONNECTION = b"connection"
_FRAMING = frozenset((b"transfer-encoding", b"upgrade", b"expect"))
"""Names of headers that change the end of the message or the steps after it."""
_KNOWN = 1024
"""Maximum number of cached lines."""
_SHORT = 256
"""Maximum bytes of a cached line."""


T = TypeVar("T")

Kind = tuple[bytes, ...]
"""Key of similar heads: first line, deciding lines, and the names of the other lines.

Heads with the same key are read alike."""


class LineReader:
    """Reader of heads, line by line, with a cache of lines."""

    __slots__ = ("_known", "_lengths")

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[bytes, bytes]] = {}
        """Deciding lines as received, each with its name in lower case and its value."""
        self._lengths: dict[bytes, tuple[tuple[bytes, bytes], int]] = {}
        """Lines of Content-Length as received, each with its name and value, and the length."""

    def read(self, head: bytes) -> tuple[HeaderLines, Kind] | None:
        """Read a complete head; None for a line that is not valid ASCII, or an invalid length.

        ``head`` ends with its first empty line.  The result need not be a usual head: that is for
        :func:`usual` to decide.
        """
        lines = head[:-4].split(b"\r\n")
        headers = HeaderLines(map(self._known.get, lines))  # type: ignore[arg-type]  # filled below
        del headers[0]
        headers.length, headers.session = 0, None
        at = 0
        for known in headers:
            at += 1
            if known is not None:
                continue
            said = self._lengths.get(lines[at])  # type: ignore[unreachable]
            if said is not None:
                headers[at - 1], headers.length = said
                lines[at] = CONTENT_LENGTH
                continue
            line = _FIELD.fullmatch(lines[at])
            if line is None:
                return None
            name, value = line.groups()
            name = name.lower()
            headers[at - 1] = (name, value)
            if name == CONTENT_LENGTH:
                if not value.isdigit() or len(value) > 18:
                    return None
                headers.length = int(value)
                _keep(self._lengths, lines[at], (headers[at - 1], headers.length))
            elif name == SESSION_ID:
                headers.session = value.decode("ascii")
            elif decides(name) or name == _CONNECTION:
                _keep(self._known, lines[at], headers[at - 1])
                continue
            lines[at] = name  # no line equals a name, as lines have a colon
        return headers, tuple(lines)


class NoReader(LineReader):
    """Reader that reads no head, and so leaves every head to the parser."""

    __slots__ = ()

    def read(self, head: bytes) -> None:
        """Return None for every head."""


def _keep(known: dict[bytes, T], line: bytes, what: T) -> None:
    if len(line) <= _SHORT:
        if len(known) >= _KNOWN:
            known.clear()
        known[line] = what


def usual(headers: HeaderLines, kind: Kind) -> RequestLines | None:
    """Return the lines of a usual head, or None for any other head.

    A usual head is that of a request of HTTP/1.1 for a path, with one Host, no field twice, and
    no framing but Content-Length.
    """
    first = _FIRST.fullmatch(kind[0])
    names = {name for name, _ in headers}
    if (
        first is None
        or len(names) != len(headers)
        or b"host" not in names
        or not _FRAMING.isdisjoint(names)
    ):
        return None
    method, target, version = first.groups()
    return RequestLines(method, target, version, headers)
