"""Reconnecting client connections: one link after the other, each with a Peer of its own.

:class:`mcpcore.engine.reconnection.Reconnection` decides if and when there is another connection,
:class:`mcpcore.engine.reconnection.Succession` which state the next one takes over.  Here links are
made and run, one at a time, in one task (:class:`ReconnectingLink`).  :class:`ReturningStream` does
the same for HTTP+SSE, whose connections belong to its driver.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskStatus

from mcpcore.engine.events import ConnectionEnded, Fault, Ready
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import Attempt, ReconnectSettings, breaks_for_good
from mcpcore.errors import LinkError
from mcpcore.http import HttpClient
from mcpcore_transports.client.reconnector import Reconnector
from mcpcore_transports.link import Link, clock
from mcpcore_transports.stream.connection import StreamConnection

if TYPE_CHECKING:
    from mcpcore_transports.client.core import ClientCore

MakeLink = Callable[[Peer], StreamConnection]


class ReconnectingLink(Link, Reconnector):
    """Link of a client that makes one connection after the other.

    ``make`` makes the link of one connection for a Peer.  ``attempts``: maximum number of attempts
    in a row to reconnect.  The first connection is not retried: its failure is raised by ``run()``.
    All later ones are, until the conversation is closed, an end is final, or the attempts are used
    up; then ``core`` is told of the end.
    """

    def __init__(
        self,
        core: "ClientCore",
        peer: Peer,
        make: MakeLink,
        settings: ReconnectSettings,
        attempts: int,
    ) -> None:
        super().__init__(core, settings, attempts)
        self._peer = peer
        self._make = make
        self._link = make(peer)
        self._linked = True
        """True while a link runs the Peer; otherwise this object does."""
        self._tending = False
        self._left = False
        self._next: Attempt | None = None
        self._scope = anyio.CancelScope()
        """Scope of the current attempt, with the wait before it."""
        self._news = anyio.Event()
        self._running = False
        self._done = anyio.Event()

    @property
    def link(self) -> StreamConnection:
        """Link of the current connection, or of the last one."""
        return self._link

    # Link

    def flush_soon(self) -> None:
        """Implement :meth:`Link.flush_soon`."""
        if self._linked:
            self._link.flush_soon()
        else:
            self._news.set()

    async def aclose(self) -> None:
        """Close the session gracefully, or abort the current attempt."""
        self._left = True
        self._peer.reconnects = None
        if not self._open and self._begun:
            self._scope.cancel()
        await self._link.aclose()
        if self._running:
            await self._done.wait()

    # Sequence of connections

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run link after link; return when the last has ended."""
        self._running = True
        try:
            await self._link.run(task_status=task_status)
            while self._next is not None and not self._left:
                await self._come_back(self._next)
        finally:
            self._conclude()
            self._done.set()

    async def _come_back(self, attempt: Attempt) -> None:
        self._next = None
        with anyio.CancelScope() as self._scope:
            await anyio.sleep(attempt.delay)
            self._scope.deadline = anyio.current_time() + self.settings.opening
            self._link = self._make(self._peer)
            try:
                await self._link.run(task_status=self)
            except LinkError:
                return  # its end was reported as that of any other connection

    def started(self, value: Any = None) -> None:
        """Start the Peer once the link of an attempt is open; called by the link."""
        self._linked = True
        self._peer.start(now=clock())
        self._link.flush_soon()

    @property
    def _expired(self) -> bool:
        """True if the attempt took too long and was not ended otherwise."""
        return self._scope.cancel_called and not self._left

    def _conclude(self) -> None:
        """End the Peer after the last link, if the end of a link has not done so."""
        if self._core.closed is not None or not self._begun:
            self._drain()  # cancelled requests between two connections have ended, too
            return
        self._left = True
        peer = self._peer
        peer.reconnects = None
        peer.receive_eof(now=clock(), reason="closed by this side")
        self._drain()

    async def _tend(self) -> None:
        """Run the Peer while no link does: its waiting requests have deadlines."""
        while True:
            due: float | None = None
            if not self._linked:
                self._peer.handle_timeout(clock())
                self._drain()
                due = self._peer.deadline()
            patience = math.inf if due is None else max(0.0, due - clock())
            with anyio.move_on_after(patience):
                await self._news.wait()
            self._news = anyio.Event()

    def _drain(self) -> None:
        while (event := self._peer.next_event()) is not None:
            self._core.handle(event)

    # Reconnector interface

    def opened(self, ready: Ready) -> None:
        """Implement :meth:`Reconnector.opened`; the attempt has no time limit from now on."""
        self._scope.deadline = math.inf
        super().opened(ready)

    @property
    def _closing(self) -> bool:
        abandoned = self._link.abandoned and not self._expired
        return self._left or self._core.closing or abandoned

    def _keep(self, settings: ReconnectSettings) -> None:
        self._peer.reconnects = settings

    def _go_on(self, attempt: Attempt) -> bool:
        if self._peer.reconnects is None:
            return False
        self._peer = self._peer.succeed()
        self._core.succeed(self._peer)
        self._linked = False
        self._next = attempt
        if not self._tending:
            self._tending = True
            self._core.group.start_soon(self._tend)
        self._news.set()
        return True

    def _renounce(self, reason: str) -> None:
        self._linked = True  # there is no Peer left to run
        self._peer.renounce(reason)

    def _leave(self, reason: str) -> None:
        self._link.leave(reason)

    def _judge(self, reason: str) -> tuple[str, bool, Fault | None]:
        if self._expired:
            return f"there was no conversation within {self.settings.opening:g} s", False, None
        return reason, self._link.final, self._link.fault


class ReturningStream(Reconnector):
    """Reconnection over HTTP+SSE: another event stream, on the same link and machine."""

    def __init__(
        self,
        core: "ClientCore",
        machine: HttpClient,
        link: Link,
        settings: ReconnectSettings,
        attempts: int,
    ) -> None:
        super().__init__(core, settings, attempts)
        self._machine = machine
        self._link = link
        self._settled = anyio.Event()
        """Event that is set once an attempt has succeeded or failed."""

    async def _come_back(self, attempt: Attempt) -> None:
        await anyio.sleep(attempt.delay)
        if self._closing:
            return
        self._settled = settled = anyio.Event()
        self._machine.start(now=clock())
        self._link.flush_soon()
        with anyio.move_on_after(self.settings.opening):
            await settled.wait()
        if not settled.is_set() and not self._closing:
            text = f"there was no conversation within {self.settings.opening:g} s"
            self._machine.end(now=clock(), reason=text)
            self._link.flush_soon()

    def opened(self, ready: Ready) -> None:
        """Implement :meth:`Reconnector.opened`."""
        self._settled.set()
        super().opened(ready)

    def ended(self, event: ConnectionEnded) -> str | None:
        """Implement :meth:`Reconnector.ended`."""
        self._settled.set()
        return super().ended(event)

    @property
    def _closing(self) -> bool:
        return self._core.closing or self._core.closed is not None

    def _keep(self, settings: ReconnectSettings) -> None:
        self._machine.reconnects = settings if self._machine.uses_sse else None

    def _go_on(self, attempt: Attempt) -> bool:
        if self._machine.reconnects is None:
            return False
        self._machine.succeed()
        self._core.group.start_soon(self._come_back, attempt)
        return True

    def _renounce(self, reason: str) -> None:
        self._machine.renounce(reason)

    def _leave(self, reason: str) -> None:
        self._machine.end(now=clock(), reason=reason)

    def _judge(self, reason: str) -> tuple[str, bool, Fault | None]:
        fault = self._machine.stream_fault
        return reason, breaks_for_good(fault), fault
