"""``python -m tests.torture``: make every point of every driver fail, and say what came of it.

Prints one line for each driver, era and event loop, and writes ``build/reports/torture.json``.
"""

import argparse
import faulthandler
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from msgspec import json

from tests.tools import INTERRUPTED, interrupted
from tests.torture.cells import Cell, Tally, cells, each, torture
from tests.torture.reach import Place, places, table
from tests.torture.run import Found

REPORT = Path("build/reports/torture.json")
STUCK = 400.0
"""Seconds after which one run that nothing can end shows where it is, and ends the program."""
_HEAD = (
    f"{'driver':14} {'era':11} {'loop':8} "
    f"{'points':>7} {'runs':>6} {'elsewhere':>9} {'failed':>7} {'s':>6}"
)


def main() -> int:
    """Run what was asked for; returns the exit status."""
    options = _options()
    chosen = [
        (number, cell)
        for number, cell in enumerate(cells())
        if all(word in str(cell) for word in options.only)
    ]
    if not chosen:
        names = ", ".join(dict.fromkeys(cell.driver for cell in cells()))
        print(f"no row has all of: {' '.join(options.only)}; there are: {names}", file=sys.stderr)
        return 2
    tallies: dict[str, Tally] = {}
    stopped = False
    try:
        _run(chosen, options, tallies)
    except BaseException as error:
        if not interrupted(error):
            raise
        stopped = True
        print("\ninterrupted; so far:")
    faulthandler.cancel_dump_traceback_later()
    _conclude(tallies, Path(options.report), complete=not options.only and not stopped)
    if stopped:
        return INTERRUPTED
    return any(tally.failures for tally in tallies.values())


def _run(chosen: list[tuple[int, Cell]], options: Any, tallies: dict[str, Tally]) -> None:
    print(_HEAD)
    for number, cell in chosen:
        began = time.monotonic()

        def tell(found: Found) -> None:
            faulthandler.dump_traceback_later(STUCK, exit=True)

        faulthandler.dump_traceback_later(STUCK, exit=True)
        tally = tallies[str(cell)] = torture(cell, each(options.every, number), tell, look=True)
        print(
            f"{cell.driver:14} {cell.era:11} {cell.backend:8} {tally.points:7} {tally.runs:6} "
            f"{tally.elsewhere:9} {len(tally.failures):7} {time.monotonic() - began:6.1f}",
            flush=True,
        )
        for failure in tally.failures[: options.show]:
            print(f"    {failure}", flush=True)


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("has to be 1 or more")
    return number


def _options() -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("only", nargs="*", help="words of the rows to run, such as: http trio")
    parser.add_argument("--every", type=_positive, default=1, help="of so many points, run one")
    parser.add_argument("--show", type=int, default=10, help="failures of a row to print")
    parser.add_argument("--report", default=str(REPORT), help="where the JSON report goes")
    return parser.parse_args()


def _conclude(tallies: dict[str, Tally], report: Path, *, complete: bool) -> None:
    points = sum(tally.points for tally in tallies.values())
    runs = sum(tally.runs for tally in tallies.values())
    failures = sum(len(tally.failures) for tally in tallies.values())
    kinds: Counter[str] = Counter()
    for tally in tallies.values():
        kinds.update(tally.kinds)
    print(f"\n{points} points, {runs} runs, {failures} failed")
    print(", ".join(f"{name}: {count}" for name, count in sorted(kinds.items())))
    by_stories = set[Place]().union(*(tally.reached for tally in tallies.values()))
    by_failures = set[Place]().union(*(tally.failing for tally in tallies.values()))
    users = set[str]().union(*(tally.users for tally in tallies.values()))
    print(f"functions of users: {len(users)}\n")
    print("\n".join(table(by_stories, by_failures)))
    never = sorted(places() - by_stories - by_failures)
    if complete:
        print("\nnever come to:", *(f"    {each}" for each in never), sep="\n")
    report.parent.mkdir(parents=True, exist_ok=True)
    rows = {
        name: {
            "points": tally.points,
            "runs": tally.runs,
            "elsewhere": tally.elsewhere,
            "kinds": tally.kinds,
            "failures": tally.failures,
        }
        for name, tally in tallies.items()
    }
    awaits = {
        "known": len(places()),
        "by_stories": len(by_stories),
        "by_failures": len(by_failures - by_stories),
        "missed": [str(each) for each in never],
    }
    whole = {"points": points, "runs": runs, "failures": failures, "kinds": kinds, "awaits": awaits}
    report.write_bytes(json.format(json.encode({**whole, "rows": rows}), indent=1))


if __name__ == "__main__":
    sys.exit(main())
