"""A trace file for each finding or each case, as ``mcpcore trace`` reads them."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import structs

from mcpcore.trace.format import FORMAT, Header, Record, encode_line
from mcpcore_conformance.kit.model import Binding, Side
from mcpcore_conformance.reports.report import Entry, Report, clock_of

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


Said = Callable[[int], Sequence[Record]]
"""What was said in the case of an entry, by its number; nothing: there is no trace of it."""


def write_traces(
    report: Report, folder: str, said: Said | None = None, *, redacted: bool = True
) -> dict[int, str]:
    """Write what was said in each finding; returns the file names by number of the entry.

    ``said``: what is written in the place of what the report holds; ``redacted``: whether it is
    without secrets.  Files are for their owner alone to read.  Raises OSError.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    written: dict[int, str] = {}
    for number, entry in enumerate(report.entries):
        records = entry.records if said is None else said(number)
        if not records:
            continue
        name = _UNFIT.sub(".", f"{entry.case.id}.{entry.binding}.{entry.revision}") + ".jsonl"
        with open(path / name, "wb", opener=_for_the_owner) as file:
            file.writelines(lines_of(report, entry, records, redacted=redacted))
        written[number] = str(path / name)
    return written


def lines_of(
    report: Report, entry: Entry, records: Sequence[Record], *, redacted: bool = True
) -> list[bytes]:
    """The lines of a trace, which begins at 0: with what opened a connection that was kept."""
    first = min(0.0, records[0].time)
    header = Header(
        trace=FORMAT,
        started=clock_of(entry.started + first) if entry.started else report.started,
        side="client" if report.side is Side.SERVER else "server",
        binding="websocket" if entry.binding is Binding.WS else entry.binding,
        program=report.program,
        target=report.target,
        redacted=redacted,
    )
    moved = [structs.replace(each, time=each.time - first) for each in records]
    return [encode_line(header), *map(encode_line, moved)]


def _for_the_owner(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
