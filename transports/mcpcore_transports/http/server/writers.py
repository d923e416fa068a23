"""Pool of tasks for delayed writes, with few tasks beyond those that are held up."""

from collections import deque
from collections.abc import Callable

import anyio

from mcpcore_transports.http.server.host import Work, guarded

_KEPT = 16
"""Maximum idle tasks of the pool, where a task for each stream would take 4 kB per stream."""

AtOnce = Callable[[], bool]
"""Function that does as much work as possible without waiting; True if all.  Never raises."""


class Writers:
    """Runner of pieces of work in tasks that are reused; ``start`` starts such a task.

    A task that takes a piece calls another task if there are more pieces.  So work that is held up
    by its client never holds up other work, and a thousand short pieces do not need a thousand
    tasks.
    """

    def __init__(self, start: Callable[[Work], None]) -> None:
        self._start = start
        self._queue: deque[tuple[Work, AtOnce | None]] = deque()
        self._resting: list[anyio.Event] = []
        self._called = False

    def run(self, work: Work, at_once: AtOnce | None = None) -> None:
        """Schedule ``work``, done soon or by ``at_once`` if :meth:`write_now` is called before."""
        self._queue.append((work, at_once))
        self._call()

    def write_now(self) -> None:
        """Do the work that need not wait; the rest is left to the task that was called for it."""
        for _ in range(len(self._queue)):
            work, at_once = self._queue.popleft()
            if at_once is None or not at_once():
                self._queue.append((work, at_once))

    def _call(self) -> None:
        if self._called:
            return  # a task is about to begin
        self._called = True  # set before, as a task may begin at once
        try:
            if self._resting:
                self._resting.pop().set()
            else:
                self._start(self._write)
        except BaseException:
            self._called = False  # no task comes: the next piece calls again
            raise

    async def _write(self) -> None:
        while True:
            self._called = False
            while self._queue:
                piece = self._queue.popleft()
                if self._queue:
                    self._call()
                await guarded(piece[0])
                del piece  # an idle task must not keep a connection alive
            if len(self._resting) >= _KEPT:
                return
            woken = anyio.Event()
            self._resting.append(woken)
            await woken.wait()
