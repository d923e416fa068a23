"""Points: the places of a run at which something can be made to fail, and the one that does.

A run is watched.  Whenever it comes to a place that could fail (it waits, it calls the system, it
calls a function of the user's), the watch counts how often it was there; at the visit that is the
run's target, it fails.  A run without a target fails nowhere: it shows what points there are.
"""

import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from types import FrameType
from typing import ClassVar, TypeVar

from msgspec import Struct

import mcpcore_transports

_T = TypeVar("_T")
DRIVERS = str(Path(mcpcore_transports.__file__).parent) + "/"
_ROOT = len(str(Path(mcpcore_transports.__file__).parents[1])) + 1


class Point(Struct, frozen=True, order=True):
    """One thing that fails, once."""

    family: str
    """``wait``, ``call`` or ``user``."""
    site: str
    """Where: a line of ``transports``, with what is called there; or the name of a function."""
    visit: int
    """Which time that the run comes there."""
    kind: str
    """How it fails."""

    def __str__(self) -> str:
        return f"{self.family} {self.site} #{self.visit} {self.kind}"


class Watch:
    """Counts visits, and says which of them is to fail; one at a time is :attr:`current`."""

    current: ClassVar["Watch | None"] = None

    def __init__(self, target: Point | None = None) -> None:
        self.target = target
        self.failed = False
        """The target was reached."""
        self.on = True
        """What is done while it is off, to see how things stand, has no points."""
        self.room: int | None = None
        """The most bytes that the system takes in one write, and in every second one it takes none,
        as where buffers are full; None: it takes what it likes."""
        self.found: list[Point] = []
        """Without a target: every point there is, in the order in which it came."""
        self._visits: Counter[tuple[str, str]] = Counter()
        self._roomy: set[int] = set()

    def visit(
        self, family: str, site: str, kinds: tuple[str, ...], *, most: int = sys.maxsize
    ) -> str | None:
        """Be somewhere; the way in which it has to fail now, or None.

        Only the first ``most`` visits are points.  What comes at a visit depends on timing where
        there are threads: it fails at the first one, from the target's on, that can fail so.
        """
        if not self.on:
            return None
        self._visits[family, site] += 1
        visit, target = self._visits[family, site], self.target
        if visit > most:
            return None
        if target is None:
            self.found += [Point(family, site, visit, kind) for kind in kinds]
            return None
        if self.failed or (family, site) != (target.family, target.site):
            return None
        if visit < target.visit or target.kind not in kinds:
            return None
        self.failed = True
        return target.kind

    def taken(self, descriptor: int, size: int) -> int:
        """How many of so many bytes the system takes that are written now."""
        if not self.on or self.room is None:
            return size
        if descriptor not in self._roomy:
            self._roomy.add(descriptor)
            return 0
        self._roomy.remove(descriptor)
        return min(size, self.room)

    @contextmanager
    def watching(self) -> Iterator["Watch"]:
        """Be the current one."""
        before, Watch.current = Watch.current, self
        try:
            yield self
        finally:
            Watch.current = before


@contextmanager
def unwatched() -> Iterator[None]:
    """Do something that is no part of a run: nothing fails there, and no visit is counted."""
    watch = Watch.current
    on = watch is not None and watch.on
    if watch is not None:
        watch.on = False
    try:
        yield
    finally:
        if watch is not None:
            watch.on = on


@asynccontextmanager
async def unwatched_entry(context: AbstractAsyncContextManager[_T]) -> AsyncIterator[_T]:
    """Enter a context without which there is no story, :func:`unwatched`."""
    async with AsyncExitStack() as stack:
        with unwatched():
            entered = await stack.enter_async_context(context)
        yield entered


def ours(frame: FrameType | None) -> str | None:
    """The innermost line of ``transports`` on the stack of a call; None: there is none."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(DRIVERS):
            return line(frame)
        frame = frame.f_back
    return None


def line(frame: FrameType) -> str:
    """A line of ours, in words."""
    path = frame.f_code.co_filename[_ROOT:]
    return f"{path}:{frame.f_lineno} {frame.f_code.co_name}"


def caller(depth: int = 1) -> FrameType:
    """The frame of who has called the function that asks."""
    return sys._getframe(depth + 1)
