"""``python -m conformance.interop.authorization``: who signs in where, one table.

Exits with 1 if a step fails, with 2 if nothing is installed for any row.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from conformance.interop.authorization.report import markdown, table_of
from conformance.interop.authorization.table import CLIENTS, MEETINGS, SERVERS, Meeting, run
from conformance.interop.drivers.features import Cell


def main(arguments: Sequence[str] | None = None) -> int:
    """Have the meetings that are chosen, by default all, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance.interop.authorization",
        description="Interoperation of authorization with the official SDK and fastmcp.",
    )
    parser.add_argument("--client", action="append", choices=CLIENTS)
    parser.add_argument("--server", action="append", choices=SERVERS)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report there")
    chosen = parser.parse_args(arguments)
    wanted = [
        meeting
        for meeting in MEETINGS
        if (not chosen.client or meeting.client in chosen.client)
        and (not chosen.server or meeting.server in chosen.server)
    ]
    there = [meeting for meeting in wanted if meeting.missing is None]
    for missing in sorted({meeting.missing or "" for meeting in wanted} - {""}):
        print(f"some rows are left out: {missing}", file=sys.stderr)
    if not there:
        return 2
    if chosen.write and len(there) < len(MEETINGS):
        parser.error("a report is of everything: choose nothing, and install all")
    cells: dict[tuple[Meeting, str], Cell] = {}

    def told(meeting: Meeting, cell: Cell) -> None:
        cells[meeting, cell.feature] = cell
        if len([step for step in meeting.steps if (meeting, step) in cells]) == len(meeting.steps):
            print(f"{meeting}: done", file=sys.stderr)

    run(there, told)
    print(table_of(cells))
    failed = [(meeting, cell) for (meeting, _), cell in cells.items() if cell.outcome != "ok"]
    for meeting, cell in failed:
        print(f"FAIL: {meeting}: {cell.feature}: {cell.detail}")
    print(f"{len(cells)} steps taken, {len(failed)} failed")
    if chosen.write:
        chosen.write.write_text(markdown(cells), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
