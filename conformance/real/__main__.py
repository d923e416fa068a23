"""``python -m conformance.real``: programs of npm and PyPI against ours, one table.

Servers meet our client, our command and the conformance kit; clients and proxies meet our server.
What a program is known to do wrong stands with its reason in ``known.toml``, what the kit finds in
``checked.toml``; 1 is returned if a cell is red: if something else is wrong, or what is known is
not wrong any more.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from time import monotonic

import anyio

from conformance.peers.checked import drafts
from conformance.peers.findings import gather
from conformance.real.groups import Group
from conformance.real.install import install
from conformance.real.judge import Judged, Verdict, play_rows
from conformance.real.kit import FOREIGN, Checks
from conformance.real.processes import NotStarted
from conformance.real.report import page_of, summary, table_of_cells
from conformance.real.table import COLUMNS, HERE, read_table
from mcpcore_conformance.run.registry import all_cases

EXAMPLES = """\
exit status:
  0 no cell is red; 1 one is; 2 wrong usage; 3 our server does not start; 130 interrupted

examples:
  python -m conformance.real --install              only install, what is not there yet
  python -m conformance.real
  python -m conformance.real --only supergateway --only 'mcp-*'
  python -m conformance.real --only time --cell kit --draft
  python -m conformance.real --without kit
  python -m conformance.real --gateway --without kit
  python -m conformance.real --write conformance/real/report.md
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the rows that are chosen, by default all, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance.real",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--install", action="store_true", help="install the programs, and do nothing else")
    add("--only", action="append", default=[], metavar="NAME", help="this program; repeatable")
    add("--cell", action="append", default=[], choices=COLUMNS, help="and what is tried with it")
    add("--without", action="append", default=[], choices=COLUMNS, help="all but this")
    add("--gateway", action="store_true", help="with mcpcore gateway between ours and theirs")
    add("--jobs", type=int, default=4, metavar="N", help="programs at a time (%(default)s)")
    add("--tables", type=Path, default=HERE, metavar="DIR", help="other tables than ours")
    add("--draft", action="store_true", help="print what is not read, as entries to be completed")
    add("--write", type=Path, metavar="FILE", help="write the page there")
    chosen = parser.parse_args(arguments)
    try:
        table = read_table(chosen.tables)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if chosen.install:
        install(table.packages.values(), lambda line: sys.stdout.write(f"{line}\n"))
        return 0
    rows = [
        row
        for row in table.rows
        if not chosen.only or any(fnmatchcase(row.program.name, each) for each in chosen.only)
    ]
    if not rows:
        names = dict.fromkeys(row.program.name for row in table.rows)
        parser.error(f"there are {', '.join(names)}")
    if chosen.write and (chosen.only or chosen.cell or chosen.without or chosen.gateway):
        parser.error("a page is of everything: choose nothing")
    cells = [each for each in chosen.cell or COLUMNS if each not in chosen.without]
    cases = [case for case in all_cases() if case.page != FOREIGN]
    checks = Checks(cases, table.checked, table.packages)
    began = monotonic()
    try:
        play = partial(play_rows, gateway=chosen.gateway)
        found = anyio.run(play, table, dict.fromkeys(rows, cells), checks, chosen.jobs, _tell)
    except NotStarted as error:
        parser.exit(3, f"our server does not start: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted\n")
    place = {row: number for number, row in enumerate(table.rows)}
    found.sort(key=lambda each: place[each.row])
    print(f"\n{table_of_cells(found)}\n")
    if chosen.draft:
        sys.stdout.writelines(drafts(gather(checks.results), table.checked))
    for each in (red := [each for each in found if each.verdict.red]):
        print(f"FAIL: {each.row}: {each.cell}: {each.note}")
    print(f"{summary(found)}; {monotonic() - began:.0f} s")
    if chosen.write:
        date = datetime.now(UTC).date().isoformat()
        chosen.write.write_text(page_of(table, found, checks.results, date), encoding="utf-8")
    return 1 if red else 0


def _tell(group: Group, cells: list[Judged]) -> None:
    """Say how a group went, as soon as it is over."""
    skipped = all(each.verdict is Verdict.SKIPPED for each in cells)
    how = f"skipped: {cells[0].note}" if skipped else f"{len(cells)} cells"
    red = "".join(f"\n  FAIL: {each.cell}: {each.note}" for each in cells if each.verdict.red)
    sys.stderr.write(f"{group}: {how}{red}\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
