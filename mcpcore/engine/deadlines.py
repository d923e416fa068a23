"""Deadlines without timers, in a heap.

An entry is dead once its request moved its deadline or ended; dead entries are skipped, and the
heap is compacted when most of it is dead.
"""

from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """An item with a deadline; None when it has none (any more)."""

    deadline: float | None


T = TypeVar("T", bound=Timed)


class Deadlines(Generic[T]):
    """Collection of items with deadlines, in the order in which they are due."""

    __slots__ = ("_count", "_heap", "live")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0
        self.live = 0
        """Number of items that have a deadline."""

    def set(self, item: T, when: float | None) -> None:
        """Set, move or (with None) remove the deadline of ``item``."""
        if item.deadline == when:
            return
        heap = self._heap
        if item.deadline is not None:
            self.live -= 1
        item.deadline = when
        if when is None:
            if heap and heap[0][2] is item:  # the case of one request at a time
                heappop(heap)
            return
        self.live += 1
        self._count += 1
        heappush(heap, (when, self._count, item))
        if len(heap) > 64 + 4 * self.live:
            self._compact()

    def next(self) -> float | None:
        """Return the earliest deadline, or None."""
        heap = self._heap
        while heap:
            when, _, item = heap[0]
            if item.deadline == when:
                return when
            heappop(heap)
        return None

    def due(self, now: float) -> list[T]:
        """Take out every item whose deadline has passed, earliest first."""
        expired: list[T] = []
        while (when := self.next()) is not None and when <= now:
            item = heappop(self._heap)[2]
            item.deadline = None
            self.live -= 1
            expired.append(item)
        return expired

    def _compact(self) -> None:
        # A deadline that was moved away and back has two entries: one is kept.
        kept = {id(entry[2]): entry for entry in self._heap if entry[2].deadline == entry[0]}
        self._heap = list(kept.values())
        heapify(self._heap)
