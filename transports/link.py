"""What the drivers and the runtime agree on: an application that takes events, and a link."""

import time
from abc import ABC, abstractmethod
from typing import Protocol

from mcpcore.engine.events import Event
from mcpcore.engine.faults import Fault

clock = time.monotonic
"""The one clock of the drivers, in seconds."""


class App(Protocol):
    """The owner of a machine: the server runtime, the client, or an embedder's own code."""

    def handle(self, event: Event) -> None:
        """Take one event: never block or await; call the machine or start a task."""


class Link(ABC):
    """The I/O beneath one machine: a connection, an HTTP endpoint or an HTTP client."""

    unprovoked = False
    """It ended for a reason that has nothing to do with what was sent on it."""
    final = False
    """Once it has ended: another connection to the same server would come to the same end, or the
    server does not want one."""
    fault: Fault | None = None
    """What kept it from being opened, where that is known."""

    @abstractmethod
    def flush_soon(self) -> None:
        """Drain the machine's events and write what it has to send, soon.

        To be called whenever the machine was used outside of :meth:`App.handle`.  Safe from any
        task of the event loop, never blocks.
        """

    def write_now(self) -> None:
        """Write what can be written without waiting for the next turn of the event loop.

        For a task that is going to wait until it has left; never from within :meth:`App.handle`.
        Links for which that is not possible leave it to :meth:`flush_soon`, which was called.
        """
        return

    @abstractmethod
    async def aclose(self) -> None:
        """Close the I/O; safe from any task, and more than once."""
