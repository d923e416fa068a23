"""Reading a trace: its header, and its records with the lines on which they stand."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from mcpcore.errors import BadTrace
from mcpcore.trace.format import FORMAT, Header, Record, decode_line

__all__ = ["BadTrace", "Entry", "TraceFile", "parse", "read"]


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
    return parse(Path(path).read_bytes().splitlines(keepends=True))


def parse(lines: Iterable[bytes]) -> TraceFile:
    """Read the lines of a trace.  Raises BadTrace, which names the line."""
    header: Header | None = None
    entries: list[Entry] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = decode_line(line)
        except BadTrace as error:
            if header is not None and not line.endswith(b"\n"):
                return TraceFile(header, entries, complete=False)
            raise BadTrace(f"line {number}: {error}") from None
        if isinstance(item, Header):
            if header is not None:
                raise BadTrace(f"line {number}: a second header")
            header = item
        elif header is None:
            raise BadTrace(f"line {number}: a trace begins with its header, trace: {FORMAT}")
        else:
            entries.append(Entry(number, item))
    if header is None:
        raise BadTrace("line 1: a trace begins with its header, and this file is empty")
    return TraceFile(header, entries)
