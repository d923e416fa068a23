"""How long tests wait, and time that passes because a test says so.

A test that has to see a deadline expire says when it does: it gives the deadline a length that no
slow machine reaches by itself, waits until everything is in place, and skips the time::

    async with server(HttpServerSettings(head_time=HOUR)) as running:
        client = await running.connect()
        await client.send(b"POST /mcp HTTP/1.1")
        await arrived(client.stream)
        await clock.skip(HOUR)
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio
import trio
from anyio.abc import AnyByteStream, SocketAttribute

from mcpcore.engine.config import Limits
from transports.link import clock as real_clock

PATIENCE = 120.0
"""Seconds until what a test waits for is taken for lost: many, as other work goes on beside it."""
HOUR = 3600.0
"""Longer than any test lasts."""
UNHURRIED = Limits(request_timeout=None, max_timeout=None, probe_timeout=1000 * HOUR)
"""For a client that waits for every answer, however much time is skipped."""
TURNS = 50
"""Of the event loop, in which everything is read that has arrived."""

_SIOCOUTQ = 0x5411
_waiting: set[anyio.CancelScope] = set()


@contextmanager
def patience(seconds: float = PATIENCE) -> Iterator[None]:
    """Fail what takes so long that it must hang; time that is skipped does not count."""
    with anyio.fail_after(seconds) as scope:
        _waiting.add(scope)
        try:
            yield
        finally:
            _waiting.discard(scope)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something of which nobody tells."""
    with patience():
        while not condition():
            await anyio.lowlevel.checkpoint()


async def turns(count: int = TURNS) -> None:
    """Let the event loop go round, so that all it knows of is done."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def arrived(stream: AnyByteStream) -> None:
    """Wait until the other side, which runs in this event loop, has read all that was sent."""
    raw = stream.extra(SocketAttribute.raw_socket)
    if sys.platform == "linux":
        from fcntl import ioctl

        def on_its_way() -> bool:
            return any(ioctl(raw.fileno(), _SIOCOUTQ, bytes(4)))

        await until(lambda: not on_its_way())
    await turns()


async def send_on(send: Callable[[bytes], Awaitable[None]]) -> None:
    """Send until that fails: until the other side takes no more."""
    with patience():
        while True:
            await send(bytes(65536))


class Clock:
    """That of the drivers and of the event loop: the real one, and what was skipped."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._loops: list[Any] = []

    def __call__(self) -> float:
        return real_clock() + self._ahead

    async def skip(self, seconds: float) -> None:
        """Let so much time pass at once, when all that is known of is done; do what is due then."""
        await turns()
        for scope in _waiting:
            scope.deadline += seconds
        self._ahead += seconds
        if sniffio.current_async_library() == "trio":
            own = trio.lowlevel.current_clock()
            object.__setattr__(own, "offset", own.offset + seconds)  # type: ignore[attr-defined]
        else:
            loop: Any = asyncio.get_running_loop()
            if hasattr(loop, "skip"):
                loop.skip(seconds)
            else:
                loop.time = self
                self._loops.append(loop)
        await turns()

    async def skip_until(self, condition: Callable[[], object], seconds: float = HOUR) -> None:
        """Skip time, as often as something goes on that makes a deadline a later one."""
        with patience():
            while not condition():
                await self.skip(seconds)

    def restore(self) -> None:
        """Leave the event loops with the real time."""
        for loop in self._loops:
            vars(loop).pop("time", None)


@contextmanager
def skipped_time() -> Iterator[Clock]:
    """A clock that can be moved, in the place of that of all modules."""
    made = Clock()
    _replace(real_clock, made)
    try:
        yield made
    finally:
        made.restore()
        _replace(made, real_clock)  # in those, too, that were imported meanwhile


def _replace(old: Callable[[], float], new: Callable[[], float]) -> None:
    for module in tuple(sys.modules.values()):
        if getattr(module, "__dict__", {}).get("clock") is old:
            vars(module)["clock"] = new


def new_uvloop() -> asyncio.AbstractEventLoop:
    """An event loop of uvloop whose time can be skipped: it keeps that of its timers to itself."""
    uvloop = pytest.importorskip("uvloop")  # not on Windows

    class Skipping(uvloop.Loop):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.ahead = 0.0
            self.timers: dict[object, tuple[float, Any, Callable[[], None]]] = {}

        def time(self) -> float:
            return float(super().time() + self.ahead)

        def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
            key = object()

            def fire() -> None:
                if self.timers.pop(key, None):
                    callback(*args)

            handle = super().call_later(delay, fire, context=context)
            self.timers[key] = (self.time() + delay, handle, fire)
            return handle

        def skip(self, seconds: float) -> None:
            self.ahead += seconds
            for key, (when, handle, fire) in tuple(self.timers.items()):
                if handle.cancelled():
                    del self.timers[key]
                elif when <= self.time():
                    handle.cancel()
                    self.call_soon(fire)

    loop: asyncio.AbstractEventLoop = Skipping()
    return loop
