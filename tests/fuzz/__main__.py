"""Fuzz everything that reads what others have written: ``python -m tests.fuzz --help``."""

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import Budget, best_engine, run, table
from tests.fuzz.faults import Watch
from tests.fuzz.registry import SLOW, load, names
from tests.fuzz.worker import Tally
from tests.tools import INTERRUPTED, Parser, positive, time_in

FOLDER = Path("build/fuzz")
MINUTES = 10
OTHERS = 10
"""Inputs of another target for each of one that is slow."""


def command_line() -> argparse.ArgumentParser:
    """What can be said to the command."""
    parser = Parser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=names(), metavar="NAME")
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        "--seconds", type=time_in("seconds"), help="of all targets together; default 600"
    )
    amount.add_argument("--executions", type=positive, help="inputs of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=positive, default=1, help="targets at a time")
    parser.add_argument("--engine", choices=["guided", "plain"], default=best_engine())
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input")
    parser.add_argument("--list", action="store_true", help="name the targets")
    return parser


def shared(options: argparse.Namespace, targets: list[str]) -> dict[str, Budget]:
    """What each of the targets gets of what all of them together may take.

    Seconds are shared evenly; of inputs, those that are many messages each are a tenth of others.
    """
    if options.executions is None:
        seconds = 60.0 * MINUTES if options.seconds is None else options.seconds
        at_a_time = min(options.jobs, len(targets))
        each = Budget(options.seed, seconds=seconds * at_a_time / len(targets))
        return dict.fromkeys(targets, each)
    weights = {name: 1 if name in SLOW else OTHERS for name in targets}
    total = sum(weights.values())
    return {
        name: Budget(options.seed, executions=-(-options.executions * weight // total))
        for name, weight in weights.items()
    }


def _chosen(parser: argparse.ArgumentParser, file: Path, targets: list[str] | None) -> str:
    """The target for an input: by default the one that its folder is called after."""
    if not file.is_file():
        parser.error(f"--replay {file}: there is no such file; faults are kept below {FOLDER}")
    if targets:
        return targets[0]
    if (name := file.absolute().parent.name) not in names():
        parser.error(
            f"--replay {file}: its folder {name!r} is called after no target; "
            f"name one with --target: {', '.join(names())}"
        )
    return name


def _replay(file: Path, name: str) -> int:
    with Watch(load(name).run) as watch:
        fault = watch.fault(file.read_bytes())
    print("nothing is wrong" if fault is None else fault.report)
    return 0 if fault is None else 1


def _tell(tally: Tally) -> None:
    # In one piece: another thread may tell as well.
    said = f"{tally.target}: {tally.executions:,} inputs, {len(tally.faults)} faults\n"
    print(said, end="", flush=True)
    for fault in tally.faults:
        print(fault.report)
        print(f"  {fault.what}")
        print(f"  replay: {sys.executable} -m tests.fuzz --replay {fault.file}", flush=True)


def main() -> int:
    """Fuzz, print the table, and say whether anything was wrong; 130 after an interrupt."""
    parser = command_line()
    options = parser.parse_args()
    if options.list:
        print("\n".join(names()))
        return 0
    if options.replay is not None:
        return _replay(options.replay, _chosen(parser, options.replay, options.target))
    if best_engine() == "plain":
        if options.engine == "guided":
            parser.error("--engine guided: atheris is not installed, make fuzz installs it")
        print("without atheris (make fuzz installs it): mutations of the corpus by chance")
    targets = [*dict.fromkeys(options.target or names())]
    budgets = shared(options, targets)
    # Who ends the command otherwise would leave processes behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    tallies: list[Tally] = []

    def tell(tally: Tally) -> None:
        tallies.append(tally)
        _tell(tally)

    interrupted = False
    try:
        tallies = run(
            budgets,
            engine=options.engine,
            folder=FOLDER,
            jobs=options.jobs,
            told=tell,
        )
    except KeyboardInterrupt:
        interrupted = True
    print(table(tallies))
    print(f"{time.monotonic() - began:.0f} s, seed {options.seed}")
    if interrupted:
        print(f"interrupted: {len(tallies)} of {len(targets)} targets had begun")
        return INTERRUPTED
    return 1 if any(tally.faults for tally in tallies) else 0


if __name__ == "__main__":
    raise SystemExit(main())
