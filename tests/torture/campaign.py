"""Many cells, unattended: each in a process of its own, and what came of it kept at once.

What is kept is a file of lines, one for each cell that was done to its end.  Who is interrupted
goes on from there: nothing of a cell that was under way is kept.
"""

import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct, json

from tests.faults.processes import Workers
from tests.torture.cells import Cell, Tally, cells

GRACE = 10.0
"""Seconds that a process has to end what it has started, when all is interrupted."""


class Task(Struct, frozen=True):
    """A cell, and how much of it is run."""

    cell: Cell
    every: int = 1
    """Of so many points, one."""
    start: int = 0
    """The first of them."""
    reach: bool = False
    """See where runs with failures wait."""


class Result(Struct):
    """What came of a task."""

    task: Task
    tally: Tally
    seconds: float
    cpu: float
    """Seconds of it, those of processes that were started included."""


def kept(file: Path) -> dict[Task, Result]:
    """What a file has; of what was done twice, the last."""
    if not file.exists():
        return {}
    with file.open("rb") as lines:
        results = [json.decode(line, type=Result) for line in lines]
    return {each.task: each for each in results}


def keep(file: Path, result: Result) -> None:
    """Add a line, which is there whatever happens afterwards."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as lines:
        lines.write(json.encode(result) + b"\n")


def run(
    tasks: Iterable[Task],
    jobs: int,
    done: Callable[[Result], object],
    failed: Callable[[Task, int], object],
) -> None:
    """Do tasks, so many at a time; ``failed`` is told of one whose process gave no result."""
    workers = Workers(GRACE)

    def one(task: Task) -> None:
        # A place of its own for what it leaves when it is killed.
        with tempfile.TemporaryDirectory(prefix="mcp-", ignore_cleanup_errors=True) as room:
            file = Path(room, "result")
            words = json.encode(task).decode(), str(file)
            command = [sys.executable, "-m", "tests.torture.alone", *words]
            status = workers.run(command, env={**os.environ, "TMPDIR": room}).returncode
            if not status:
                done(json.decode(file.read_bytes(), type=Result))
            elif not workers.interrupted:
                failed(task, status)

    workers.each(one, tasks, jobs)


# Tables

HEAD = (
    f"{'driver':18} {'era':11} {'loop':8} "
    f"{'points':>7} {'runs':>6} {'elsewhere':>9} {'failed':>7} {'s':>6} {'cpu':>6}"
)


def line(result: Result) -> str:
    """A row of the table that is printed."""
    cell, tally = result.task.cell, result.tally
    return (
        f"{cell.driver:18} {cell.era:11} {cell.backend:8} {tally.points:7} {tally.runs:6} "
        f"{tally.elsewhere:9} {len(tally.failures):7} {result.seconds:6.1f} {result.cpu:6.1f}"
    )


def markdown(results: Iterable[Result]) -> Iterator[str]:
    """The same as Markdown, the cells of a driver together."""
    rows: defaultdict[str, list[Result]] = defaultdict(list)
    for each in results:
        rows[each.task.cell.driver].append(each)
    there = Counter(cell.driver for cell in cells())
    yield "| row | cells | points | runs | elsewhere | failed | seconds | of CPU |"
    yield "|---|---|---|---|---|---|---|---|"
    for driver in (name for name in there if name in rows):
        yield _row(f"`{driver}`", rows[driver], there[driver])
    yield _row("all", [each for row in rows.values() for each in row], there.total())


def _row(name: str, results: list[Result], there: int) -> str:
    tallies = [each.tally for each in results]
    sums = [
        sum(tally.points for tally in tallies),
        sum(tally.runs for tally in tallies),
        sum(tally.elsewhere for tally in tallies),
        sum(len(tally.failures) for tally in tallies),
        round(sum(each.seconds for each in results)),
        round(sum(each.cpu for each in results)),
    ]
    numbers = " | ".join(f"{each:,}" for each in sums)
    return f"| {name} | {len(results)} of {there} | {numbers} |"
