"""What can still be done for a link whose event loop is held up: another thread writes for it.

A handler that does not return lets nothing of the loop run, and when the process has to go all the
same, answers that were ready before would be lost.  The thread that ends the process seizes the
output then: it waits until the loop is not about to write, keeps it from writing ever again, and
writes what it has found.
"""

import os
import select
import threading
import time
from contextlib import suppress
from typing import Protocol

from mcpcore.engine.peer import Peer
from transports.descriptors import DescriptorLink
from transports.link import App, clock
from transports.pump import PumpSettings

_TICK = 0.001

CLOSED: int = getattr(select, "POLLRDHUP", 0)
"""What to ask :func:`polling` for, of an input: of a socket one half alone may be closed."""


class Polling(Protocol):
    """What ``select.poll()`` returns."""

    def register(self, fd: int, eventmask: int = ..., /) -> None:
        """Look at this one, too."""

    def poll(self, timeout: float | None = ..., /) -> list[tuple[int, int]]:
        """Wait so many milliseconds."""


def polling(*descriptors: tuple[int, int]) -> Polling | None:
    """Watch descriptors for the end of their other sides, which needs no asking, and for more.

    It comes though there is unread data.  None where the platform cannot.
    """
    if not hasattr(select, "poll"):
        return None
    poll = select.poll()
    for fd, events in descriptors:
        poll.register(fd, events)
    return poll


class SeizableLink(DescriptorLink):
    """A link whose unsent output another thread can write in its last moments."""

    def __init__(self, peer: Peer, app: App, *, settings: PumpSettings | None = None) -> None:
        super().__init__(peer, app, settings=settings)
        self._touching = False  # the event loop has the output in its hands
        self._seized = False
        self._unnoted = 0  # so much of the rest is written, and the writer task does not know yet

    def seize(self, patience: float) -> None:
        """Write what is ready, from another thread, for ``patience`` seconds at most.

        The process must end afterwards: the event loop stands still as soon as it would write.
        """
        # Whoever sets its flag first and looks at the other's then cannot overlook it.
        self._seized = True
        deadline = clock() + patience
        while self._touching and clock() < deadline:
            time.sleep(_TICK)
        if self._touching or self._broken or not self._direct or self._output < 0:
            return
        last = self._outbox.lines()
        if self.trace is not None:
            self.trace.sent(last)
        with suppress(OSError):
            _write(self._output, bytes(self._rest[self._unnoted :]) + last, deadline)

    def _touch(self) -> None:
        self._touching = True
        if self._seized:
            self._touching = False
            threading.Event().wait()  # for the end of the process

    def _flush(self) -> None:
        self._touching = True  # as in _touch(), which is for those that come seldom
        if self._seized:
            self._touch()
        try:
            super()._flush()
        finally:
            self._touching = False

    def _send_ready(self, data: memoryview) -> int:
        self._touch()
        try:
            self._unnoted = self._send_nowait(data)
        finally:
            self._touching = False
        return self._unnoted

    async def _send(self, data: memoryview) -> int:
        count = await super()._send(data)
        self._touch()  # let go of in _wrote(), once it is no longer in the rest
        return count

    def _wrote(self) -> None:
        super()._wrote()
        self._unnoted = 0
        self._touching = False

    def _detach(self) -> None:
        self._touch()
        self._output = -1
        self._touching = False
        super()._detach()


def _write(fd: int, data: bytes, deadline: float) -> None:
    poll = polling((fd, select.POLLOUT))
    rest = memoryview(data)
    while rest and poll is not None and poll.poll(max(0.0, deadline - clock()) * 1000):
        with suppress(BlockingIOError):
            rest = rest[os.write(fd, rest) :]
