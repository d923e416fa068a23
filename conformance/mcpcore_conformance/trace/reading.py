"""Reading a trace: its header, and its records with the lines on which they stand."""

import os
import stat
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct

from mcpcore.errors import BadTrace
from mcpcore.trace.format import FORMAT, Header, Record, decode_line

_LONGEST = 1 << 28
"""Maximum bytes of a line of a file that is followed."""


class Entry(NamedTuple):
    """A record, and the line of the file on which it stands, from 1."""

    line: int
    record: Record


class TraceFile(Struct, frozen=True):
    """A trace as it was read."""

    header: Header
    entries: list[Entry]
    complete: bool = True
    """Its last line is whole; it is not where the recording was cut off."""


def read(path: "str | os.PathLike[str]") -> TraceFile:
    """Read a file.  Raises BadTrace, which names the line, and OSError."""
    with open(path, "rb") as file:  # line by line: it may be large
        return parse(file)


def parse(lines: Iterable[bytes]) -> TraceFile:
    """Read the lines of a trace.  Raises BadTrace, which names the line."""
    parser, entries = LineParser(), list[Entry]()
    for line in lines:
        try:
            entry = parser.take(line)
        except BadTrace:
            if parser.header is not None and not line.endswith(b"\n"):
                return TraceFile(parser.header, entries, complete=False)
            raise
        if entry is not None:
            entries.append(entry)
    if parser.header is None:
        raise BadTrace("line 1: a trace begins with its header, and this file is empty")
    return TraceFile(parser.header, entries)


class LineParser:
    """Parser of the lines of a trace, one after another."""

    def __init__(self) -> None:
        self.header: Header | None = None
        self._number = 0

    def take(self, line: bytes) -> Entry | None:
        """Return the record of a line, None if it has none.  Raises BadTrace."""
        self._number += 1
        if not line.strip():
            return None
        try:
            item = decode_line(line)
        except BadTrace as error:
            raise BadTrace(f"line {self._number}: {error}") from None
        if isinstance(item, Record):
            if self.header is None:
                text = f"line {self._number}: a trace begins with its header, trace: {FORMAT}"
                raise BadTrace(text)
            return Entry(self._number, item)
        if self.header is not None:
            raise BadTrace(f"line {self._number}: a second header")
        self.header = item
        return None


def follow(path: "str | os.PathLike[str]", *, pause: float = 0.2) -> Iterator[bytes]:
    """Yield the lines of a file for ever, each when it is whole; look for more each ``pause``.

    A pipe has an end.  Raises BadTrace for a file that gets shorter or is replaced, and OSError.
    """
    held, size = b"", 0
    with open(path, "rb") as file:
        opened = os.fstat(file.fileno())
        grows = stat.S_ISREG(opened.st_mode)
        while True:
            piece = file.readline(_LONGEST)
            held, size = held + piece, size + len(piece)
            if held.endswith(b"\n"):
                yield held
                held = b""
            elif len(held) >= _LONGEST:
                raise BadTrace(f"a line has more than {_LONGEST >> 20} MiB")
            elif not grows and not piece:
                return
            elif grows:
                _check_same(path, opened, size)
                time.sleep(pause)


def _check_same(path: "str | os.PathLike[str]", opened: os.stat_result, size: int) -> None:
    """Raise BadTrace if a file is another one now, or shorter than what was read of it."""
    now = os.stat(path)
    if not os.path.samestat(now, opened):
        raise BadTrace("another file has taken its place")
    if now.st_size < size:
        raise BadTrace("it got shorter: it was written anew")
