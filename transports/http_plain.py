"""The usual head of a request, read line by line: where no two parsers could differ.

Most heads that clients send differ from one another in the length of the body, in an id or in what
a proxy has added, so that one that has come before seldom comes again byte for byte.  Their other
lines do: each that decides anything is read once.  Anything in a head that is not plain leaves it
to the parser.
"""

import re
from typing import TypeVar

from mcpcore.http.headers import CONTENT_LENGTH, SESSION_ID, HeaderLines, decides
from transports.http_parsers import RequestLines

__all__ = ["Kind", "LineReader", "NoReader", "usual"]

_FIRST = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/(1\.1)")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_FIELD = re.compile(rb"(" + _TOKEN + rb"++):[ \t]*+([!-~]*+(?:[ \t]++[!-~]++)*+)[ \t]*+")
"""A line as RFC 9110 section 5.5 has it, of ASCII; what fails to match does so in linear time."""
_CONNECTION = b"connection"
_FRAMING = frozenset((b"transfer-encoding", b"upgrade", b"expect"))
"""With these the end of the message, or what follows it, is not what it usually is."""
_KNOWN = 1024
"""So many lines are remembered, each of ``_SHORT`` bytes at most."""
_SHORT = 256


T = TypeVar("T")

Kind = tuple[bytes, ...]
"""First line, the lines that decide anything, and the names of the others: heads that have all this
in common are read alike."""


class LineReader:
    """Reads heads by their lines."""

    __slots__ = ("_known", "_lengths")

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[bytes, bytes]] = {}
        """Lines that decide something, as they have come: name in lower case, value."""
        self._lengths: dict[bytes, tuple[tuple[bytes, bytes], int]] = {}
        """Those of Content-Length, and what they say."""

    def read(self, head: bytes) -> tuple[HeaderLines, Kind] | None:
        """Read a complete head; None if a line is not ASCII as it should be, or the length none.

        ``head`` ends with its first empty line.  Whether it is a usual one is not known yet.
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
            lines[at] = name  # which no line is: those have a colon
        return headers, tuple(lines)


class NoReader(LineReader):
    """Reads none, and so leaves every head to the parser."""

    __slots__ = ()

    def read(self, head: bytes) -> None:
        """None, whatever the head is."""


def _keep(known: dict[bytes, T], line: bytes, what: T) -> None:
    if len(line) <= _SHORT:
        if len(known) >= _KNOWN:
            known.clear()
        known[line] = what


def usual(headers: HeaderLines, kind: Kind) -> RequestLines | None:
    """All that was read, or None if it is not a usual head.

    That is the head of a request of HTTP/1.1 for a path, with one Host, no field twice, and nothing
    about framing but Content-Length.
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
