"""The usual head of a request, read in one pass: where no two parsers could differ.

Most heads that clients send differ from one another in the length of the body and in an id or a
name alone, so that one that has come before seldom comes again byte for byte.  Such a head is read
here, at a tenth of what h11 takes; anything in it that is not plain leaves it to the parser.  And
where it differs from the one before on its connection in length and session alone, nothing else of
it is read again.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from mcpcore.http.headers import CONTENT_LENGTH, VARYING, Headers
from transports.http_parsers import RequestLines

__all__ = ["Shape", "shape_of", "usual_lines"]

_FIRST = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/(1\.1)\r\n")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_FIELD = re.compile(rb"(?<=\n)(" + _TOKEN + rb"++):[ \t]*+([!-~]*+(?:[ \t]++[!-~]++)*+)[ \t]*+\r\n")
"""A line as RFC 9110 section 5.5 has it, of ASCII; what fails to match does so in linear time."""
_FRAMING = frozenset((b"transfer-encoding", b"upgrade", b"expect"))
"""With these the end of the message, or what follows it, is not what it usually is."""


def usual_lines(head: bytes) -> RequestLines | None:
    """Read a complete head, or return None if it is not a usual one.

    ``head`` ends with the empty line, and has CR and LF nowhere but at the ends of lines, as
    :func:`transports.http_heads.find_head` makes sure.  A usual one is of a request of HTTP/1.1
    for a path, with one Host, no field twice, ASCII without control characters in all values, and
    nothing about framing but Content-Length.
    """
    first = _FIRST.match(head)
    if first is None:
        return None
    found = _FIELD.findall(head, first.end() - 1)
    headers = [(name.lower(), value) for name, value in found]
    fields = dict(headers)
    if (
        len(fields) != head.count(b"\n") - 2
        or b"host" not in fields
        or not _FRAMING.isdisjoint(fields)
    ):
        return None
    method, target, version = first.groups()
    return RequestLines(method, target, version, headers)


_VALUES = {
    name: re.compile(rb"\r\n" + name + rb":[ \t]*+([!-~]++)\r\n", re.IGNORECASE) for name in VARYING
}
_VISIBLE = re.compile(rb"[!-~]++")
_LENGTH = re.compile(rb"[0-9]{1,18}+")


class Shape(NamedTuple):
    """A usual head without the values that may differ in the next one."""

    begin: bytes
    """All in front of the first value."""
    values: Sequence[tuple[int, re.Pattern[bytes], bytes]]
    """Of each value its line, what it may be, and what stands between it and the next."""

    def match(self, data: bytes) -> tuple[list[tuple[int, bytes]], int] | None:
        """Find lines and values of a head of this shape in front of ``data``, and its length.

        None if it has another, or is not complete.
        """
        if not data.startswith(self.begin):
            return None
        at = len(self.begin)
        found: list[tuple[int, bytes]] = []
        for line, form, between in self.values:
            value = form.match(data, at)
            if value is None or not data.startswith(between, at := value.end()):
                return None
            found.append((line, value[0]))
            at += len(between)
        return found, at


def shape_of(head: bytes, headers: Headers) -> Shape | None:
    """The shape of a usual head; None if nothing in it may differ."""
    names = [name for name, _ in headers]
    spans = sorted(
        (*value.span(1), names.index(name))
        for name, form in _VALUES.items()
        if (value := form.search(head)) is not None
    )
    if not spans:
        return None
    ends = [start for start, _, _ in spans[1:]] + [len(head)]
    return Shape(
        head[: spans[0][0]],
        [
            (line, _LENGTH if names[line] == CONTENT_LENGTH else _VISIBLE, head[end:until])
            for (_, end, line), until in zip(spans, ends, strict=True)
        ],
    )
