"""What the drivers and the runtime agree on: an application that takes events, and a link."""

import time
from abc import ABC, abstractmethod
from typing import Protocol

from mcpcore.engine.events import Event

clock = time.monotonic
"""The one clock of the drivers, in seconds."""


class App(Protocol):
    """The owner of a machine: the server runtime, the client, or an embedder's own code."""

    def handle(self, event: Event) -> None:
        """Take one event: never block or await; call the machine or start a task."""


class Link(ABC):
    """The I/O beneath one machine: a connection, an HTTP endpoint or an HTTP client."""

    @abstractmethod
    def flush_soon(self) -> None:
        """Drain the machine's events and write what it has to send, soon.

        To be called whenever the machine was used outside of :meth:`App.handle`.  Safe from any
        task of the event loop, never blocks.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close the I/O; safe from any task, and more than once."""
