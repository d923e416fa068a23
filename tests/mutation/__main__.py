"""Change the code without I/O in one place at a time, and see whether a test notices."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.mutation.campaign import PACKAGES, TESTS, Outcome, Scope, draw, find, measured, run
from tests.mutation.judged import FILE, SURVIVORS, judged, reasons
from tests.mutation.mutants import Key
from tests.mutation.reach import Reach, known
from tests.mutation.report import failures, line, save, shown, survived, table
from tests.tools import INTERRUPTED, Parser, positive

FOLDER = Path("build/mutation")


def _options() -> argparse.Namespace:
    parser = Parser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--count", type=positive, default=400, help="mutants of the sample")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="of modules with it in their path"
    )
    parser.add_argument("--budget", type=float, default=Scope().budget, help="CPU seconds a mutant")
    parser.add_argument("--packages", nargs="+", default=PACKAGES, help="folders to mutate")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="folders of tests")
    parser.add_argument("--judged", type=Path, default=FILE, help="list of those that may survive")
    parser.add_argument(
        "--survivors", type=Path, default=SURVIVORS, help="list of those that were killed since"
    )
    parser.add_argument("--again", type=_saved, metavar="REPORT", help="try its survivors again")
    parser.add_argument("--report", type=Path, default=FOLDER / "report.json")
    options = parser.parse_args()
    # What is wrong is said at once, not after minutes of measuring.
    folders = [Path(folder) for folder in (*options.packages, *options.tests)]
    if missing := [folder.as_posix() for folder in folders if not folder.is_dir()]:
        parser.error(f"there is no folder {', '.join(missing)}")
    if not any(
        options.only in file.as_posix()
        for package in options.packages
        for file in Path(package).rglob("*.py")
    ):
        parser.error(f"--only {options.only}: no module of {', '.join(options.packages)} has it")
    return options


def _saved(text: str) -> list[Key]:
    """The survivors of a report."""
    try:
        return survived(Path(text))
    except OSError as error:
        wrong = f"{text} cannot be read ({error.strerror})"
    except (msgspec.DecodeError, LookupError, TypeError):
        wrong = f"{text} is no report"
    default = FOLDER / "report.json"
    raise argparse.ArgumentTypeError(f"{wrong}; a campaign writes one, by default to {default}")


def _reach(scope: Scope) -> Reach:
    def measure(tests: Sequence[str]) -> Reach:
        print(f"finding out what {len(tests)} files of tests reach (minutes for all)", flush=True)
        return measured(scope, tests)

    return known(FOLDER / "reach.json", scope.packages, scope.tests, measure)


def main() -> int:
    """Run the campaign; returns the exit status.

    It is 1 if the verdicts are worth nothing, too few mutants are killed, or one survives that is
    not in the judged list; 130 after an interrupt, which ends the campaign early.
    """
    options = _options()
    accepted = reasons(judged(options.judged) + judged(options.survivors))
    scope = Scope(options.packages, options.tests, options.budget)
    possible, chosen = draw(scope, options.count, options.seed, options.only)
    if options.again is not None:
        chosen = find(options.again)
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        print(line(len(outcomes), len(chosen), outcome), flush=True)
        if outcome.verdict.outcome == "survived":
            print(shown(outcome, accepted), flush=True)

    began = time.monotonic()
    wrong: list[str] = []
    status = 0
    try:
        test = run(scope, chosen, _reach(scope), tell)
        if test is not None:
            wrong.append(f"these verdicts are worth nothing: {test} fails without any change")
        wrong += failures(outcomes, accepted, sampled=options.again is None)
        status = 1 if wrong else 0
    except KeyboardInterrupt:
        status = INTERRUPTED
    print("\n" + table(possible, outcomes, accepted))
    print(f"{time.monotonic() - began:.0f} s, seed {options.seed}, report in {options.report}")
    save(options.report, options.seed, possible, outcomes, accepted)
    for each in wrong:
        print(f"WRONG: {each}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
