"""``python -m tests.torture``: make every point of every driver fail, and say what came of it.

Prints one line for each driver, era and event loop as soon as it is done, and keeps it in
``build/reports/torture.jsonl``, from which ``--resume`` goes on.  In the end ``torture.json``
beside it has everything, and ``torture.md`` the table.
"""

import signal
import sys
from argparse import ArgumentTypeError, Namespace
from collections import Counter
from pathlib import Path

from msgspec import json

from tests.tools import INTERRUPTED, Parser, interrupted, positive
from tests.torture.campaign import HEAD, Result, Task, keep, kept, line, markdown, run
from tests.torture.cells import Cell, cells
from tests.torture.reach import Place, places, table

REPORT = Path("build/reports/torture.json")


def main() -> int:
    """Run what was asked for; returns the exit status."""
    parser = _command_line()
    options = parser.parse_args()
    every = list(cells())
    chosen = [cell for cell in every if all(word in str(cell) for word in options.only)]
    if options.cells is not None:
        chosen = [cell for cell in options.cells if cell in chosen]
    if not chosen:
        names = ", ".join(dict.fromkeys(cell.driver for cell in every))
        parser.error(f"no row has all of: {' '.join(options.only)}; there are: {names}")
    if options.list:
        print(*chosen, sep="\n")
        return 0
    tasks = [_task(cell, every.index(cell), options) for cell in chosen]
    return _campaign(tasks, options, complete=len(chosen) == len(every))


def _task(cell: Cell, number: int, options: Namespace) -> Task:
    return Task(cell, options.every, number % options.every, options.reach)


def _campaign(tasks: list[Task], options: Namespace, *, complete: bool) -> int:
    report = Path(options.report)
    lines = report.with_suffix(".jsonl")
    before = kept(lines) if options.resume else {}
    results = {task: before[task] for task in tasks if task in before}
    fell: list[Task] = []

    def done(result: Result) -> None:
        keep(lines, result)
        results[result.task] = result
        _show(result, options.show)

    def failed(task: Task, status: int) -> None:
        fell.append(task)
        print(f"{task.cell}: it ended with status {status}, and is not kept", flush=True)

    # Who ends the command otherwise would leave processes behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(HEAD)
    for result in results.values():
        _show(result, options.show)
    stopped = False
    try:
        run([task for task in tasks if task not in results], options.jobs, done, failed)
    except BaseException as error:
        if not interrupted(error):
            raise
        stopped = True
        print("\ninterrupted; so far:")
    ordered = [results[task] for task in tasks if task in results]
    conclude(ordered, report, complete=complete and len(ordered) == len(tasks))
    if stopped:
        return INTERRUPTED
    return bool(fell) or any(each.tally.failures for each in ordered)


def _show(result: Result, most: int) -> None:
    print(line(result), *(f"    {each}" for each in result.tally.failures[:most]), sep="\n")
    sys.stdout.flush()


def _listed(name: str) -> list[Cell]:
    """The cells that a file names, one on each line; ``-`` is the standard input."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text()
    except OSError as error:
        raise ArgumentTypeError(str(error)) from error
    known = {str(cell): cell for cell in cells()}
    named = [" ".join(each.split()) for each in text.splitlines() if each.strip()]
    if unknown := [each for each in named if each not in known]:
        raise ArgumentTypeError(f"there is no cell {unknown[0]!r}; --list names them")
    return [known[each] for each in named]


def _command_line() -> Parser:
    parser = Parser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("only", nargs="*", help="words of the rows to run, such as: http trio")
    parser.add_argument("--cells", type=_listed, metavar="FILE", help="these, in their order")
    parser.add_argument("--every", type=positive, default=1, help="of so many points, run one")
    parser.add_argument("--jobs", type=positive, default=1, help="cells at a time")
    parser.add_argument("--resume", action="store_true", help="leave out what was done before")
    parser.add_argument(
        "--reach", action="store_true", help="see where failing runs wait: three times as slow"
    )
    parser.add_argument("--list", action="store_true", help="name the cells, and run none")
    parser.add_argument("--show", type=int, default=10, help="failures of a row to print")
    parser.add_argument("--report", default=str(REPORT), help="where the JSON report goes")
    return parser


def conclude(results: list[Result], report: Path, *, complete: bool) -> None:
    """Say what came of all of them, and keep it in ``report`` and beside it."""
    tallies = [each.tally for each in results]
    points = sum(tally.points for tally in tallies)
    runs = sum(tally.runs for tally in tallies)
    failures = sum(len(tally.failures) for tally in tallies)
    kinds: Counter[str] = Counter()
    for tally in tallies:
        kinds.update(tally.kinds)
    cpu = sum(each.cpu for each in results)
    print(
        f"\n{len(results)} cells, {points} points, {runs} runs, {failures} failed, {cpu:.0f} s CPU"
    )
    print(", ".join(f"{name}: {count}" for name, count in sorted(kinds.items())))
    by_stories = set[Place]().union(*(tally.reached for tally in tallies))
    by_failures = set[Place]().union(*(tally.failing for tally in tallies))
    users = set[str]().union(*(tally.users for tally in tallies))
    print(f"functions of users: {len(users)}\n")
    print("\n".join(table(by_stories, by_failures)))
    never = sorted(places() - by_stories - by_failures)
    missed = [f"{each.task.cell}: {point}" for each in results for point in each.tally.missed]
    if missed:
        print("\nno run came to these points:", *(f"    {each}" for each in missed), sep="\n")
    if complete:
        print("\nnever come to:", *(f"    {each}" for each in never), sep="\n")
    report.parent.mkdir(parents=True, exist_ok=True)
    rows = {
        str(each.task.cell): {
            "points": each.tally.points,
            "runs": each.tally.runs,
            "elsewhere": each.tally.missed,
            "kinds": each.tally.kinds,
            "failures": each.tally.failures,
            "seconds": each.seconds,
            "cpu": each.cpu,
        }
        for each in results
    }
    awaits = {
        "known": len(places()),
        "by_stories": len(by_stories),
        "by_failures": len(by_failures - by_stories),
        "missed": [str(each) for each in never],
    }
    whole = {"points": points, "runs": runs, "failures": failures, "kinds": kinds, "awaits": awaits}
    report.write_bytes(json.format(json.encode({**whole, "rows": rows}), indent=1))
    report.with_suffix(".md").write_text("\n".join([*markdown(results), ""]))


if __name__ == "__main__":
    sys.exit(main())
