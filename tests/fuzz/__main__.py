"""Fuzz everything that reads what others have written: ``python -m tests.fuzz --help``."""

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import Budget, best_engine, run, table
from tests.fuzz.faults import Watch
from tests.fuzz.registry import load, names
from tests.fuzz.worker import Tally

FOLDER = Path("build/fuzz")
MINUTES = 10


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=names(), metavar="NAME")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--seconds", type=float, help="of all targets together; default 600")
    amount.add_argument("--executions", type=int, help="inputs of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--engine", choices=["guided", "plain"], default=best_engine())
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input")
    parser.add_argument("--list", action="store_true", help="name the targets")
    return parser.parse_args()


def _replay(file: Path, name: str) -> int:
    with Watch(load(name).run) as watch:
        fault = watch.fault(file.read_bytes())
    print("nothing is wrong" if fault is None else fault.report)
    return 0 if fault is None else 1


def _tell(tally: Tally) -> None:
    print(f"{tally.target}: {tally.executions:,} inputs, {len(tally.faults)} faults", flush=True)
    for fault in tally.faults:
        print(fault.report)
        print(f"  {fault.what}")
        print(f"  replay: {sys.executable} -m tests.fuzz --replay {fault.file}", flush=True)


def main() -> int:
    """Fuzz, print the table, and say whether anything was wrong."""
    options = _options()
    if options.list:
        print("\n".join(names()))
        return 0
    if options.replay is not None:
        chosen = options.target[0] if options.target else options.replay.parent.name
        return _replay(options.replay, chosen)
    targets = options.target or names()
    if options.executions is not None:
        budget = Budget(options.seed, executions=-(-options.executions // len(targets)))
    else:
        seconds = 60.0 * MINUTES if options.seconds is None else options.seconds
        budget = Budget(options.seed, seconds=seconds * options.jobs / len(targets))
    began = time.monotonic()
    if best_engine() == "plain":
        print("without atheris (make fuzz installs it): mutations of the corpus by chance")
    tallies = run(
        targets,
        budget,
        engine=options.engine,
        folder=FOLDER,
        jobs=options.jobs,
        told=_tell,
    )
    print(table(tallies))
    print(f"{time.monotonic() - began:.0f} s, seed {options.seed}")
    return 1 if any(tally.faults for tally in tallies) else 0


if __name__ == "__main__":
    raise SystemExit(main())
