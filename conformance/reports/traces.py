"""A trace file for each finding, as ``mcpcore trace`` reads them."""

import re
from pathlib import Path

from msgspec import structs

from conformance.kit.model import Binding, Side
from conformance.reports.report import Report, clock_of
from mcpcore.wire.trace import FORMAT, Header, encode_line

_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")


def write_traces(report: Report, folder: str) -> dict[int, str]:
    """Write what was said in each finding; returns the file names by number of the entry."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    written: dict[int, str] = {}
    for number, entry in enumerate(report.entries):
        if not entry.records:
            continue
        name = _UNFIT.sub(".", f"{entry.case.id}.{entry.binding}.{entry.revision}") + ".jsonl"
        # a trace begins at 0, with what opened a connection that the case went on with
        first = min(0.0, entry.records[0].time)
        records = [structs.replace(each, time=each.time - first) for each in entry.records]
        header = Header(
            trace=FORMAT,
            started=clock_of(entry.started + first) if entry.started else report.started,
            side="client" if report.side is Side.SERVER else "server",
            binding="websocket" if entry.binding is Binding.WS else entry.binding,
            program=report.program,
            target=report.target,
        )
        data = b"".join([encode_line(header), *map(encode_line, records)])
        (path / name).write_bytes(data)
        written[number] = str(path / name)
    return written
