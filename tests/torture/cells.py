"""Which runs are made: drivers, eras and event loops, and a share of the points of each."""

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct, field

from tests.torture.points import DRIVERS, Point
from tests.torture.run import Found, collect_points, no_peer_left, play, rack
from tests.torture.stages import ROWS

BACKENDS = ("asyncio", "trio")


class Cell(Struct, frozen=True):
    """A driver in one era on one event loop."""

    driver: str
    era: str
    backend: str

    def __str__(self) -> str:
        return f"{self.driver} {self.era} {self.backend}"


def cells() -> Iterator[Cell]:
    """All of them."""
    for row in ROWS.values():
        for era in row.eras:
            for backend in row.backends:
                yield Cell(row.name, era, backend)


class Tally(Struct):
    """What came of the runs of a cell."""

    points: int = 0
    """All there are."""
    runs: int = 0
    elsewhere: int = 0
    """Runs that went another way and never came to their point."""
    kinds: dict[str, int] = field(default_factory=dict)
    """Points of each family and kind."""
    failures: list[str] = field(default_factory=list)
    lines: set[tuple[str, int]] = field(default_factory=set)


Choice = Callable[[list[Point]], list[Point]]


def each(step: int, start: int = 0) -> Choice:
    """Every point, every second, and so on."""
    return lambda points: points[start % step :: step]


def about(family: str, words: str, kind: str) -> Choice:
    """Points of one kind whose site has these words."""
    return lambda points: [
        point
        for point in points
        if point.family == family and words in point.site and point.kind == kind
    ]


def torture(
    cell: Cell, choose: Choice, tell: Callable[[Found], object] = lambda found: None
) -> Tally:
    """Count the points of a cell, and let those that are chosen fail, one after the other."""
    tally = Tally()
    with rack():
        watch = collect_points(ROWS[cell.driver], cell.era, cell.backend)
        points = watch.found
        tally.points, tally.lines = len(points), watch.lines
        tally.kinds = dict(Counter(f"{point.family} {point.kind}" for point in points))
        for point in choose(points):
            found = play(ROWS[cell.driver], cell.era, point, cell.backend)
            tally.runs += 1
            tally.elsewhere += not found.reached
            if found.problems:
                tally.failures.append(f"{point}: {'; '.join(found.problems)}")
            tell(found)
        del watch
        left = no_peer_left()
        if left:
            tally.failures.append(f"{len(left)} peers are left: {left[0]}")
    return tally


class Waits(Struct):
    """The places in ``transports`` that wait."""

    known: set[tuple[str, int]]
    reached: set[tuple[str, int]]

    @property
    def missed(self) -> list[str]:
        """Those at which nothing was waited for, as ``file:line``."""
        return [
            f"transports/{file[len(DRIVERS) :]}:{at}"
            for file, at in sorted(self.known - self.reached)
        ]


def waits(tallies: list[Tally]) -> Waits:
    """Which of the places that wait have been points."""
    known: set[tuple[str, int]] = set()
    spans: dict[tuple[str, int], tuple[str, int]] = {}
    for path in Path(DRIVERS).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Await):
                place = (str(path), node.lineno)
                known.add(place)
                for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                    spans[str(path), number] = place
    lines = set[tuple[str, int]]().union(*(tally.lines for tally in tallies))
    return Waits(known, {spans[line] for line in lines if line in spans})
