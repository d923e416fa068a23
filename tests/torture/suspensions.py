"""Moments at which a task of ours waits, on both event loops, to cancel something.

On asyncio the coroutine of every task is wrapped, on trio an instrument looks on.  What is
cancelled is a scope that the scene has offered, with everything that waits inside of it, or on
asyncio the task itself, as ``asyncio.timeout`` does it.
"""

import asyncio
import gc
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import sniffio
import trio

from tests.torture.points import DRIVERS, Watch, line


class Cancelling:
    """What can be cancelled at present, by name."""

    def __init__(self) -> None:
        self._ways: defaultdict[str, list[Callable[[], object]]] = defaultdict(list)

    @contextmanager
    def offering(self, name: str, cancel: Callable[[], object]) -> Iterator[None]:
        """Let this be cancelled for as long as the context lasts; the last of a name goes first."""
        self._ways[name].append(cancel)
        try:
            yield
        finally:
            self._ways[name].remove(cancel)

    def seen(self, coroutine: Any) -> None:
        """A task waits."""
        watch = Watch.current
        if watch is None or not watch.on or (watch.target is not None and watch.failed):
            return
        if watch.target is not None and watch.target.family != "wait":
            return
        inner: FrameType | None = None
        for frame in _frames(coroutine):
            if frame.f_code.co_filename.startswith(DRIVERS):
                inner = frame
        if inner is None:
            return
        kind = watch.visit(
            "wait", line(inner), tuple(name for name, ways in self._ways.items() if ways)
        )
        if kind is not None and self._ways[kind]:
            self._ways[kind][-1]()


def _frames(coroutine: Any) -> Iterator[FrameType]:
    """The frames of what waits, the outermost first."""
    while coroutine is not None:
        for prefix in ("cr", "ag", "gi"):
            frame = getattr(coroutine, f"{prefix}_frame", None)
            if frame is not None:
                yield frame
                waits_for = "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await"
                coroutine = getattr(coroutine, waits_for)
                break
        else:
            if isinstance(coroutine, Watched):
                coroutine = coroutine.coroutine
            elif type(coroutine).__name__ in ("async_generator_asend", "async_generator_athrow"):
                held = gc.get_referents(coroutine)
                coroutine = next((each for each in held if hasattr(each, "ag_frame")), None)
            else:
                return


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine of a task of asyncio, and who is told of each of its waits."""

    def __init__(self, coroutine: Any, seen: Callable[[Any], None]) -> None:
        self.coroutine = coroutine
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self.coroutine, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        waits: Generator[Any, Any, Any] = self.coroutine.__await__()
        return waits

    def send(self, value: Any) -> Any:
        found = self.coroutine.send(value)
        self._seen(self.coroutine)
        return found

    def throw(self, *args: Any) -> Any:
        found = self.coroutine.throw(*args)
        self._seen(self.coroutine)
        return found

    def close(self) -> None:
        self.coroutine.close()


class _Onlooker(trio.abc.Instrument):
    def __init__(self, seen: Callable[[Any], None]) -> None:
        self._seen = seen

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.coro.cr_frame is not None:
            self._seen(task.coro)


@contextmanager
def observed(cancelling: Cancelling) -> Iterator[None]:
    """Watch every task that is begun inside, on whichever event loop runs."""
    if sniffio.current_async_library() == "trio":
        onlooker = _Onlooker(cancelling.seen)
        trio.lowlevel.add_instrument(onlooker)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(onlooker)
        return
    loop = asyncio.get_running_loop()

    def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any) -> asyncio.Task[Any]:
        return asyncio.Task(Watched(coroutine, cancelling.seen), loop=loop, **how)

    loop.set_task_factory(make)
    try:
        yield
    finally:
        loop.set_task_factory(None)
