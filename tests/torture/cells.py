"""Cells: a driver in one era on one event loop, and a share of the points of each."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext

from msgspec import Struct, field

from tests.torture.points import Point
from tests.torture.reach import Place, Reached
from tests.torture.rows import ROWS
from tests.torture.run import Found, collect_points, no_peer_left, play, rack

BACKENDS = ("asyncio", "trio")
TRIES = 4
"""How often a point is tried to which a run does not come, as timing differs."""


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
    """Points to which no run came, each time another way ..."""
    missed: list[str] = field(default_factory=list)
    """... and which they are."""
    kinds: dict[str, int] = field(default_factory=dict)
    """Points of each family and kind."""
    failures: list[str] = field(default_factory=list)
    reached: set[Place] = field(default_factory=set)
    """Places that wait which the story comes to ..."""
    failing: set[Place] = field(default_factory=set)
    """... and those that runs with failures came to."""
    users: set[str] = field(default_factory=set)
    """Functions of the user's that were points."""


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


def until_reached(run: Callable[[], Found]) -> Found:
    """Run until it comes to its point, or something is wrong, or that was tried often enough."""
    found = run()
    for _ in range(TRIES - 1):
        if found.reached or found.problems:
            break
        found = run()
    return found


def torture(
    cell: Cell,
    choose: Choice,
    tell: Callable[[Found], object] = lambda found: None,
    *,
    look: bool = False,
) -> Tally:
    """Count the points of a cell, and let those that are chosen fail, one after the other.

    ``look``: see where they wait then, which takes its time.
    """
    tally, reached = Tally(), Reached()
    with rack():
        watch, seen = collect_points(ROWS[cell.driver], cell.era, cell.backend)
        points = watch.found
        tally.points, tally.reached = len(points), seen.places()
        tally.users = {point.site for point in points if point.family == "user"}
        tally.kinds = dict(Counter(f"{point.family} {point.kind}" for point in points))
        for point in choose(points):
            with reached.looking() if look else nullcontext():
                found = until_reached(
                    lambda: play(ROWS[cell.driver], cell.era, point, cell.backend)  # noqa: B023
                )
            tally.runs += 1
            if not found.reached:
                tally.elsewhere += 1
                tally.missed.append(str(point))
            if found.problems:
                tally.failures.append(f"{point}: {'; '.join(found.problems)}")
            tell(found)
        tally.failing = reached.places()
        del watch
        left = no_peer_left()
        if left:
            tally.failures.append(f"{len(left)} peers are left: {left[0]}")
    return tally
