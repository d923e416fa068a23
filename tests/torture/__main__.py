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

from tests.torture.cells import Tally, cells, each, torture, waits
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
    tallies: dict[str, Tally] = {}
    print(_HEAD)
    for number, cell in enumerate(cells()):
        if options.only and not all(word in str(cell) for word in options.only):
            continue
        began = time.monotonic()

        def tell(found: Found) -> None:
            faulthandler.dump_traceback_later(STUCK, exit=True)

        faulthandler.dump_traceback_later(STUCK, exit=True)
        tally = tallies[str(cell)] = torture(cell, each(options.every, number), tell)
        print(
            f"{cell.driver:14} {cell.era:11} {cell.backend:8} {tally.points:7} {tally.runs:6} "
            f"{tally.elsewhere:9} {len(tally.failures):7} {time.monotonic() - began:6.1f}",
            flush=True,
        )
        for failure in tally.failures[: options.show]:
            print(f"    {failure}", flush=True)
    faulthandler.cancel_dump_traceback_later()
    _conclude(tallies, Path(options.report))
    return any(tally.failures for tally in tallies.values())


def _options() -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("only", nargs="*", help="words of the rows to run, such as: http trio")
    parser.add_argument("--every", type=int, default=1, help="of so many points, run one")
    parser.add_argument("--show", type=int, default=10, help="failures of a row to print")
    parser.add_argument("--report", default=str(REPORT), help="where the JSON report goes")
    return parser.parse_args()


def _conclude(tallies: dict[str, Tally], report: Path) -> None:
    found = waits(list(tallies.values()))
    points = sum(tally.points for tally in tallies.values())
    runs = sum(tally.runs for tally in tallies.values())
    failures = sum(len(tally.failures) for tally in tallies.values())
    kinds: Counter[str] = Counter()
    for tally in tallies.values():
        kinds.update(tally.kinds)
    print(f"\n{points} points, {runs} runs, {failures} failed")
    print(", ".join(f"{name}: {count}" for name, count in sorted(kinds.items())))
    print(f"awaits in transports/: {len(found.known)}, waited at: {len(found.reached)}")
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
    awaits = {"known": len(found.known), "reached": len(found.reached), "missed": found.missed}
    whole = {"points": points, "runs": runs, "failures": failures, "kinds": kinds, "awaits": awaits}
    report.write_bytes(json.format(json.encode({**whole, "rows": rows}), indent=1))


if __name__ == "__main__":
    sys.exit(main())
