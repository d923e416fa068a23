"""Reconnection of a client: one conversation after the other, each on a connection of its own."""

import logging
import math
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskStatus

from mcpcore.engine.events import ConnectionEnded, Fault, NegotiationFailed, Ready
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import (
    Attempt,
    ConnectionEvent,
    ConnectionLost,
    Reconnected,
    Reconnecting,
    ReconnectingGivenUp,
    Reconnection,
    ReconnectSettings,
    breaks_for_good,
    fails_for_good,
    refuses_for_good,
)
from mcpcore.errors import LinkError
from mcpcore.http.client.client import HttpClient
from mcpcore_transports.link import Link, clock
from mcpcore_transports.running.audit import LONGEST_REASON, printable
from mcpcore_transports.stream.connection import StreamConnection

if TYPE_CHECKING:  # a type alone: the core makes use of this module
    from mcpcore_transports.client.core import ClientCore

logger = logging.getLogger("mcpcore.client")


class StandingStill:
    """Limits of time that stand still while a flow of authorization may wait for a person."""

    def __init__(self) -> None:
        self._limits: dict[anyio.CancelScope, float] = {}
        """Limits, each with the seconds that it has left while it stands still."""
        self._flows = 0
        self.since = 0.0
        """Time at which the first of the flows under way has begun."""

    def __bool__(self) -> bool:
        """Return True while there is a flow."""
        return self._flows > 0

    def add(self, limit: anyio.CancelScope) -> None:
        """Let a limit stand still while there is a flow, until it is removed."""
        self._limits[limit] = 0.0
        if self._flows:
            self._stop(limit)

    def remove(self, limit: anyio.CancelScope) -> None:
        """Let a limit run as it does without flows."""
        if self._flows:
            self._go_on(limit)
        del self._limits[limit]

    @contextmanager
    def within(self, limit: anyio.CancelScope) -> Iterator[None]:
        """Let a limit stand still in this block while there is a flow."""
        self.add(limit)
        try:
            yield
        finally:
            self.remove(limit)

    @contextmanager
    def flow(self) -> Iterator[None]:
        """Let all limits stand still in this block: a flow."""
        self._flows += 1
        if self._flows == 1:
            self.since = clock()
            for limit in self._limits:
                self._stop(limit)
        try:
            yield
        finally:
            self._flows -= 1
            if not self._flows:
                for limit in self._limits:
                    self._go_on(limit)

    def _stop(self, limit: anyio.CancelScope) -> None:
        left, limit.deadline = limit.deadline - anyio.current_time(), math.inf
        self._limits[limit] = left

    def _go_on(self, limit: anyio.CancelScope) -> None:
        limit.deadline = anyio.current_time() + self._limits[limit]


class Reconnector(ABC):
    """Continuation of an ended conversation by another one, as Reconnection decides.

    ``attempts``: maximum number of attempts in a row; the first connection is not retried.
    ``unmarked``: as of Reconnection.
    """

    def __init__(
        self, core: "ClientCore", settings: ReconnectSettings, attempts: int, *, unmarked: bool
    ) -> None:
        self.settings = settings
        self.attempts = attempts
        self.loss = anyio.Event()
        """Event that is set when the current connection is lost and there is to be another."""
        self.begun = False
        """True if there has been a conversation."""
        self.open = False
        """True if there is a conversation now."""
        self._core = core
        seed = secrets.token_bytes(16)
        self._plan = Reconnection(settings, attempts, seed=seed, unmarked=unmarked)
        self._attempt: Attempt | None = None
        """The attempt under way."""
        self._limit: anyio.CancelScope | None = None
        """Scope of the attempt under way, until it has succeeded or failed."""
        self._still = StandingStill()
        self._refusal: NegotiationFailed | None = None
        self._replacing: anyio.Event | None = None
        """Event for the end of a connection that is to be replaced by another."""

    # Parts that depend on who makes the connections

    @property
    @abstractmethod
    def closing(self) -> bool:
        """True if this side ends the connection for good."""

    @abstractmethod
    def _follow(self, attempt: Attempt) -> None:
        """Let the next conversation take over the state of the last one; schedule it."""

    @abstractmethod
    def _leave(self, reason: str) -> None:
        """Begin to end a conversation whose negotiation has failed."""

    @abstractmethod
    def _judge(self, reason: str) -> tuple[str, bool, Fault | None]:
        """Return the reason of an end, True if the next attempt would fail alike, and the fault."""

    @property
    def away(self) -> bool:
        """True if there has been a conversation, and there is none now."""
        return self.begun and not self.open

    @property
    def pace(self) -> tuple[int, float, float]:
        """Pace of retries: their number, and the minimum and maximum delay in seconds."""
        return self.attempts, self.settings.first_delay, self.settings.max_delay

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stop the time of attempts, and of what waits for them, in this block: a flow."""
        with self._still.flow():
            yield

    def _time(self, scope: anyio.CancelScope) -> None:
        """Begin the time of an attempt."""
        scope.deadline = anyio.current_time() + self.settings.opening
        self._limit = scope
        self._still.add(scope)

    def _settle(self) -> None:
        """Record that the attempt under way has succeeded or failed: its time is over."""
        if self._limit is not None:
            self._still.remove(self._limit)
            self._limit.deadline = math.inf
            self._limit = None

    def opened(self, ready: Ready) -> None:
        """Record that negotiation has succeeded."""
        self._settle()
        self.open = self.begun = True
        self.loss = anyio.Event()
        self._plan.opened(clock(), expires_in=self._core.expires_in)
        if self.attempts and not self.closing:
            machine = self._core.machine
            keeps = isinstance(machine, Peer) or machine.uses_sse
            machine.reconnects = self.settings if keeps else None
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            logger.info("connected again, in %s", ready.revision.name)
            self._tell(Reconnected(ready=ready, attempt=attempt.number))

    def refused(self, event: NegotiationFailed) -> None:
        """Record that negotiation has failed on a later connection."""
        self._refusal = event
        self._leave(event.message)

    def ended(self, event: ConnectionEnded) -> str | None:
        """Handle the end of a connection; return None if another follows, else the final reason."""
        self._settle()
        was_open, self.open = self.open, False
        reason, final, fault = self._judge(event.reason)
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            reason, fault = refusal.message, refusal.fault
            final = refuses_for_good(refusal.error) or fails_for_good(fault)
        again = None
        silent = self.closing or not self.begun
        replacing, self._replacing = self._replacing, None
        if replacing is not None:
            replacing.set()
        if not silent:
            if replacing is not None:
                again = self._plan.replaced()
            else:
                again = self._plan.lost(clock(), final=final, fault=fault)
        if again is None or self._core.machine.reconnects is None:
            return self._give_up(reason, silently=silent)
        self._follow(again)
        self._attempt = again
        if was_open:
            level = logging.WARNING if replacing is None else logging.INFO
            logger.log(level, "the connection is lost: %s", printable(reason, LONGEST_REASON))
            self._tell(ConnectionLost(reason=reason))
        number, delay, most = again.number, again.delay, self.attempts
        logger.info("attempt %d of %d to come back in %.1f s", number, most, delay)
        self._tell(Reconnecting(attempt=number, attempts=most, delay=delay, reason=reason))
        self.loss.set()
        return None

    def _give_up(self, reason: str, *, silently: bool) -> str:
        made = self._plan.made
        text = reason
        if made and not silently:
            times = "one attempt" if made == 1 else f"{made} attempts"
            text = f"{reason} (given up after {times} to come back)"
        self._core.machine.renounce(text)
        if not silently:
            logger.warning("the connection is over: %s", printable(reason, LONGEST_REASON))
            self._tell(ReconnectingGivenUp(reason=reason, attempts=made))
        return text

    def _tell(self, event: ConnectionEvent) -> None:
        self._core.report(self._core.callbacks.connection, event)

    def _too_late(self) -> str:
        return f"there was no conversation within {self.settings.opening:g} s"


class ReconnectingLink(Reconnector):
    """Maker of one connection after the other, each with a Peer and a link, which ``make`` makes.

    ``core.link`` is the link of the current connection, or this object between two connections.
    """

    def __init__(
        self,
        core: "ClientCore",
        peer: Peer,
        make: Callable[[Peer], StreamConnection],
        settings: ReconnectSettings,
        attempts: int,
    ) -> None:
        super().__init__(core, settings, attempts, unmarked=False)
        self.link = make(peer)
        """Link of the current connection, or of the last one."""
        self._peer = peer
        self._make = make
        self._tending = False
        self._left = False
        self._next: Attempt | None = None
        self._scope = anyio.CancelScope()
        """Scope of the current attempt, with the wait before it."""
        self._flushed = anyio.Event()
        self._lost_at = 0.0
        self._running = False
        self._done = anyio.Event()
        core.link = self.link

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Stop the time of attempts, and of the requests that wait for them, in this block."""
        try:
            with super().standing_still():
                yield
        finally:
            if self.away and not self._still:
                self._peer.postpone(max(self._still.since, self._lost_at), clock())
                self._flushed.set()

    def flush_soon(self) -> None:
        """Implement :meth:`Link.flush_soon`, between two connections."""
        self._flushed.set()

    async def aclose(self) -> None:
        """Close the session gracefully, or abort the current attempt."""
        self._left = True
        self._peer.reconnects = None
        if self.away:
            self._scope.cancel()
        await self.link.aclose()
        if self._running:
            await self._done.wait()

    async def replace(self, machine: Peer | HttpClient) -> bool:
        """Replace the connection of ``machine`` by one with the token of now, if it still is there.

        No other request is lost: it waits until none is under way on that connection, at most for
        ``settings.opening``.  Return False if that time was too short.
        """
        with anyio.move_on_after(self.settings.opening):
            await self._core.idle()
            if self._peer is not machine or self.closing or not self.open:
                return True  # the caller finds the next connection, or the end of all
            self._replacing = replacing = self._replacing or anyio.Event()
            self.link.leave("another token is needed")
            await replacing.wait()
            return True
        return False

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run link after link; return when the last has ended."""
        self._running = True
        try:
            await self.link.run(task_status=task_status)
            while self._next is not None and not self._left:
                await self._come_back(self._next)
        finally:
            if self._core.closed is None and self.begun:  # no link has ended the Peer
                self._left = True
                self._peer.reconnects = None
                self._peer.receive_eof(now=clock(), reason="closed by this side")
            self._drain()  # cancelled requests between two connections have ended, too
            self._done.set()

    async def _come_back(self, attempt: Attempt) -> None:
        self._next = None
        with anyio.CancelScope() as self._scope:
            await anyio.sleep(attempt.delay)
            self._time(self._scope)
            self.link = self._make(self._peer)
            try:
                await self.link.run(task_status=self)
            except LinkError:
                return  # its end was reported as that of any other connection

    def started(self, value: Any = None) -> None:
        """Start the Peer once the link of an attempt is open; called by the link."""
        self._core.link = self.link
        self._peer.start(now=clock())
        self.link.flush_soon()

    async def _tend(self) -> None:
        """Run the Peer while no link does: its waiting requests have deadlines."""
        while self._core.closed is None:
            due: float | None = None
            if self._core.link is self and not self._still:
                self._peer.handle_timeout(clock())
                self._drain()
                due = self._peer.deadline()
            patience = math.inf if due is None else max(0.0, due - clock())
            with anyio.move_on_after(patience):
                await self._flushed.wait()
            self._flushed = anyio.Event()

    def _drain(self) -> None:
        while (event := self._peer.next_event()) is not None:
            self._core.handle(event)

    @property
    def _expired(self) -> bool:
        """True if the attempt took too long and was not ended otherwise."""
        return self._scope.cancel_called and not self._left

    @property
    def closing(self) -> bool:
        """Implement :attr:`Reconnector.closing`."""
        return self._left or self._core.closing or (self.link.abandoned and not self._expired)

    def _follow(self, attempt: Attempt) -> None:
        self._lost_at = clock()
        self._peer = self._peer.succeed()
        self._core.succeed(self._peer)
        self._core.link = self
        self._next = attempt
        if not self._tending:
            self._tending = True
            self._core.group.start_soon(self._tend)
        self._flushed.set()

    def _leave(self, reason: str) -> None:
        self.link.leave(reason)

    def _judge(self, reason: str) -> tuple[str, bool, Fault | None]:
        if self._expired:
            return self._too_late(), False, None
        return reason, self.link.final, self.link.fault


class ReconnectingStream(Reconnector):
    """Reconnection over HTTP+SSE: another event stream, on the same link and machine."""

    def __init__(
        self, core: "ClientCore", machine: HttpClient, link: Link, settings: ReconnectSettings
    ) -> None:
        super().__init__(core, settings, settings.attempts, unmarked=True)
        self._machine = machine
        self._link = link
        self._settled = anyio.Event()

    async def _come_back(self, attempt: Attempt) -> None:
        await anyio.sleep(attempt.delay)
        if self.closing:
            return
        self._settled = settled = anyio.Event()
        self._machine.start(now=clock())
        self._link.flush_soon()
        with anyio.CancelScope() as scope:
            self._time(scope)
            await settled.wait()
        if not settled.is_set() and not self.closing:
            self._machine.end(now=clock(), reason=self._too_late())
            self._link.flush_soon()

    @property
    def closing(self) -> bool:
        """Implement :attr:`Reconnector.closing`."""
        return self._core.closing or self._core.closed is not None

    def _settle(self) -> None:
        super()._settle()
        self._settled.set()

    def _follow(self, attempt: Attempt) -> None:
        self._machine.succeed()
        self._core.group.start_soon(self._come_back, attempt)

    def _leave(self, reason: str) -> None:
        self._machine.end(now=clock(), reason=reason)

    def _judge(self, reason: str) -> tuple[str, bool, Fault | None]:
        fault = self._machine.stream_fault
        return reason, breaks_for_good(fault), fault
