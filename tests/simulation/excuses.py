"""Exceptions of rules: from a fault on until what it has disturbed is over."""

from collections.abc import Iterable

from tests.simulation.schedule import Fault

_SLOWEST = 1.5
"""A step takes up to so many times as long as a store is slow, be it begun in the last moment."""
_AFTER = 5.0
"""Seconds until what has failed was tried again (after one), and what has lapsed was found (within
three), both with an ordinary step behind them."""


class Excuses:
    """The times in which something was wrong with a store or a wall clock, by the true time."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._store: list[tuple[float, float]] = []
        self._walls: list[tuple[float, float, float]] = []
        for fault in faults:
            over = fault.at + fault.length
            if fault.kind.startswith("store_"):
                slow = _SLOWEST * fault.amount if fault.kind == "store_slow" else 0.0
                self._store.append((fault.at, over + slow + _AFTER))
            elif fault.kind == "wall":
                self._walls.append((fault.at, over, fault.amount))

    def store(self, since: float, until: float) -> bool:
        """A store has failed, was slow or cut off at some time between these."""
        return any(begin <= until and since <= end for begin, end in self._store)

    def wrong(self, since: float, until: float) -> float:
        """So many seconds may two wall clocks differ that were looked at between these.

        Something may be judged by one that is ahead, and was written down by one that is behind.
        """
        at_work = [ahead for begin, end, ahead in self._walls if begin <= until and since <= end]
        return sum(map(abs, at_work))

    @property
    def walls_right(self) -> float:
        """From then on no wall clock is wrong, and no record that one dated is of the future."""
        return max((end + max(ahead, 0.0) for _, end, ahead in self._walls), default=0.0)
