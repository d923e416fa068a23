"""Deadlines without timers: a queue for those in order, a heap for the others.

Most requests have the same timeout, so their deadlines arrive in order and a queue costs nothing;
the rest goes to a heap.  An entry is dead once its request moved its deadline or ended; dead
entries are skipped, and the heap is compacted when most of it is dead.
"""

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """An item with a deadline; None when it has none (any more)."""

    deadline: float | None


T = TypeVar("T", bound=Timed)


class Deadlines(Generic[T]):
    """Collection of items with deadlines, in the order in which they are due."""

    __slots__ = ("_count", "_heap", "_queue", "live")

    def __init__(self) -> None:
        self._queue: deque[tuple[float, T]] = deque()
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0
        self.live = 0
        """Number of items that have a deadline."""

    def set(self, item: T, when: float | None) -> None:
        """Set, move or (with None) remove the deadline of ``item``."""
        if item.deadline == when:
            return
        if item.deadline is not None:
            self.live -= 1
        item.deadline = when
        if when is None:
            if self._queue and self._queue[0][1] is item:  # the case of one request at a time
                self._queue.popleft()
            return
        self.live += 1
        if not self._queue or when >= self._queue[-1][0]:
            self._queue.append((when, item))
        else:
            self._count += 1
            heappush(self._heap, (when, self._count, item))
        if len(self._queue) + len(self._heap) > 64 + 4 * self.live:
            self._compact()

    def next(self) -> float | None:
        """Return the earliest deadline, or None."""
        queue, heap = self._queue, self._heap
        if not queue and not heap:
            return None
        while queue and queue[0][1].deadline != queue[0][0]:
            queue.popleft()
        while heap and heap[0][2].deadline != heap[0][0]:
            heappop(heap)
        if queue and heap:
            return min(queue[0][0], heap[0][0])
        if queue:
            return queue[0][0]
        return heap[0][0] if heap else None

    def due(self, now: float) -> list[T]:
        """Take out every item whose deadline has passed, earliest first."""
        expired: list[T] = []
        while (when := self.next()) is not None and when <= now:
            if self._queue and self._queue[0][0] == when:
                item = self._queue.popleft()[1]
            else:
                item = heappop(self._heap)[2]
            if item.deadline == when:
                item.deadline = None
                self.live -= 1
                expired.append(item)
        return expired

    def _compact(self) -> None:
        kept: set[int] = set()

        def wanted(when: float, item: T) -> bool:
            # A deadline that was moved away and back has two entries: keep one.
            if item.deadline != when or id(item) in kept:
                return False
            kept.add(id(item))
            return True

        self._queue = deque(entry for entry in self._queue if wanted(*entry))
        self._heap = [entry for entry in self._heap if wanted(entry[0], entry[2])]
        heapify(self._heap)
