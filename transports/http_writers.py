"""Tasks that write what came late: as many as are held up, and a few more."""

from collections import deque
from collections.abc import Callable

import anyio

from transports.http_host import Work, guarded

_KEPT = 16
"""So many wait for the next work: a task of its own for each stream would take 4 kB of it."""

AtOnce = Callable[[], bool]
"""Does a piece of work as far as it goes without waiting; whether that was all.  Never raises."""


class Writers:
    """Runs pieces of work in tasks that are used again; ``start`` makes such a task.

    Whoever takes a piece calls another task if there is more: so work that is held up by its
    client never holds up other work, and a thousand short pieces do not become a thousand tasks.
    """

    def __init__(self, start: Callable[[Work], None]) -> None:
        self._start = start
        self._queue: deque[tuple[Work, AtOnce | None]] = deque()
        self._resting: list[anyio.Event] = []
        self._called = False

    def run(self, work: Work, at_once: AtOnce | None = None) -> None:
        """Have ``work`` done soon; or all of it by ``at_once``, if somebody asks for that first."""
        self._queue.append((work, at_once))
        self._call()

    def write_now(self) -> None:
        """Do what need not wait; what must keeps its task, which is on its way."""
        for _ in range(len(self._queue)):
            work, at_once = self._queue.popleft()
            if at_once is None or not at_once():
                self._queue.append((work, at_once))

    def _call(self) -> None:
        if self._called:
            return  # somebody is coming
        self._called = True  # first: a task may begin at once
        try:
            if self._resting:
                self._resting.pop().set()
            else:
                self._start(self._write)
        except BaseException:
            self._called = False  # nobody comes: whoever is next calls again
            raise

    async def _write(self) -> None:
        while True:
            self._called = False
            while self._queue:
                piece = self._queue.popleft()
                if self._queue:
                    self._call()
                await guarded(piece[0])
                del piece  # who rests keeps nothing of a connection that may end meanwhile
            if len(self._resting) >= _KEPT:
                return
            woken = anyio.Event()
            self._resting.append(woken)
            await woken.wait()
