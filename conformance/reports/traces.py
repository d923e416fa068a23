"""A trace file for each finding, as ``mcpcore trace`` reads them."""

import re
from pathlib import Path

from conformance.kit.model import Binding, Side
from conformance.reports.report import Report
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
        header = Header(
            trace=FORMAT,
            started=report.started,
            side="client" if report.side is Side.SERVER else "server",
            binding="websocket" if entry.binding is Binding.WS else entry.binding,
            program=report.program,
            target=report.target,
        )
        data = b"".join([encode_line(header), *map(encode_line, entry.records)])
        (path / name).write_bytes(data)
        written[number] = str(path / name)
    return written
