"""Coroutines without an event loop: they wait for bells and for virtual time, and for nothing else.

A strand runs until it waits, as soon as it is started; what it waits for makes it ready again, and
:meth:`Strands.run` lets those go on that are.  So a program of many strands takes no time but what
it computes, and does the same each time.
"""

import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from itertools import count
from typing import Any

Work = Callable[[], Awaitable[None]]


class Cancelled(BaseException):
    """Thrown into a strand that is no longer wanted."""


class Bell:
    """Is rung once; whoever waits for it goes on then, and who comes later does not wait."""

    def __init__(self) -> None:
        self._rung = False
        self._waiting: list[Strand] = []

    def set(self) -> None:
        """Ring."""
        self._rung = True
        for strand in self._waiting:
            strand.wake()
        self._waiting.clear()

    async def wait(self) -> None:
        """Wait until it is rung."""
        await self

    def __await__(self) -> Generator["Bell", None, None]:
        if not self._rung:
            yield self

    def keep(self, strand: "Strand") -> None:
        """A strand waits."""
        self._waiting.append(strand)

    def forget(self, strand: "Strand") -> None:
        """A strand does not wait any more."""
        if strand in self._waiting:
            self._waiting.remove(strand)


class Strand:
    """One coroutine at work."""

    def __init__(self, work: Coroutine[Any, Any, None], ready: "deque[Strand]") -> None:
        self.over = Bell()
        """Rung when it has ended, however."""
        self.error: BaseException | None = None
        """What it has failed with."""
        self.cancelled = False
        """Whether it has ended because it was cancelled."""
        self._work = work
        self._ready = ready
        self._bell: Bell | None = None
        self._queued = self._unwanted = self._ended = False

    def cancel(self) -> None:
        """Throw :class:`Cancelled` where it waits, unless it has ended."""
        if self._ended or self._unwanted:
            return
        self._unwanted = True
        if self._bell is not None:
            self._bell.forget(self)
        self.wake()

    def wake(self) -> None:
        """Let it go on, in its turn."""
        if not self._queued:
            self._queued = True
            self._ready.append(self)

    def go_on(self) -> None:
        """Run until it waits or ends."""
        self._queued = False
        if self._ended:
            return
        try:
            if self._unwanted:
                self._unwanted = False
                bell: Bell = self._work.throw(Cancelled())
            else:
                bell = self._work.send(None)
        except StopIteration:
            pass
        except Cancelled:
            self.cancelled = True
        except Exception as error:
            self.error = error
        else:
            self._bell = bell
            bell.keep(self)
            return
        self._ended = True
        self.over.set()

    def close(self) -> None:
        """End it where it is; nobody hears of it."""
        self._ended = True
        self._work.close()


class Strands:
    """All strands of one program, and what they wait for; ``clock`` gives the virtual time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ready: deque[Strand] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._all: list[Strand] = []

    @property
    def now(self) -> float:
        """Seconds of virtual time."""
        return self._clock()

    def start(self, work: Coroutine[Any, Any, None]) -> Strand:
        """Begin with something; it runs as far as it can."""
        strand = Strand(work, self._ready)
        self._all.append(strand)
        strand.go_on()
        return strand

    def run(self) -> bool:
        """Let all go on that can; whether there were any."""
        busy = bool(self._ready)
        while self._ready:
            self._ready.popleft().go_on()
        return busy

    def deadline(self) -> float | None:
        """When :meth:`pass_time` is next needed."""
        return self._timers[0][0] if self._timers else None

    def pass_time(self) -> None:
        """Make ready what has waited for this time."""
        while self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2]()

    def close(self) -> None:
        """End everything where it is."""
        for strand in self._all:
            strand.close()
        self._ready.clear()
        self._timers.clear()

    # What strands wait for

    def event(self) -> Bell:
        """Make something to wait for."""
        return Bell()

    async def sleep(self, seconds: float) -> None:
        """Wait for time to pass."""
        if seconds <= 0:
            return
        bell = self.event()
        self._at(seconds, bell.set)
        await bell

    async def within(self, seconds: float | None, work: Work) -> bool:
        """Do something, for so many seconds at most; whether it came to its end."""
        strand = self.start(_done(work))
        if seconds is not None:
            self._at(seconds, strand.cancel)
        await self._ends(strand)
        return not strand.cancelled

    async def together(self, works: Sequence[Work]) -> None:
        """Do several things at the same time; the failure of one is that of all."""
        strands = [self.start(_done(work)) for work in works]
        try:
            for strand in strands:
                await self._ends(strand)
        finally:
            for strand in strands:
                strand.cancel()

    async def _ends(self, strand: Strand) -> None:
        """Wait for the end of another strand, which ends with this one."""
        try:
            await strand.over
        except Cancelled:
            strand.cancel()
            await strand.over
            raise
        if strand.error is not None:
            raise strand.error

    def _at(self, seconds: float, action: Callable[[], None]) -> None:
        entry = (self.now + seconds, next(self._order), action)
        heapq.heappush(self._timers, entry)


async def _done(work: Work) -> None:
    await work()
