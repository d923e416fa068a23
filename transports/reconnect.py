"""A client's connection that comes back: one link after the other, each with a Peer of its own.

Whether and when there is another is decided by :class:`mcpcore.engine.reconnecting.Reconnection`,
what the next conversation takes over by :mod:`mcpcore.engine.succession`; here links are made and
run, one at a time, in one task.
"""

import logging
import math
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskStatus

from mcpcore.engine.events import ConnectionEnded, NegotiationFailed, Ready
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnecting import (
    Attempt,
    ConnectionEvent,
    ConnectionLost,
    Reconnected,
    Reconnecting,
    ReconnectingGivenUp,
    Reconnection,
    ReconnectSettings,
    refuses_for_good,
)
from transports.link import Link, clock
from transports.link_errors import LinkError
from transports.pump import Connection

if TYPE_CHECKING:
    from transports.client_conversation import ClientConversation

logger = logging.getLogger("mcpcore.client")

MakeLink = Callable[[Peer], Connection]


class ReturningLink(Link):
    """The link of a client whose connections may follow each other.

    ``make`` makes the link of one connection for a Peer.  ``attempts``: how many in a row to come
    back.  The first connection is not repeated: what keeps it from being opened comes out of
    ``run()``.  All later ones are, until the conversation is closed, an end is final, or the
    attempts are used up; then ``core`` hears of the end.
    """

    def __init__(
        self,
        core: "ClientConversation",
        peer: Peer,
        make: MakeLink,
        settings: ReconnectSettings,
        attempts: int,
    ) -> None:
        self.settings = settings
        self.attempts = attempts
        self._core = core
        self._peer = peer
        self._make = make
        self._plan = Reconnection(settings, attempts, seed=secrets.token_bytes(16))
        self._link = make(peer)
        self._begun = False
        """There was a conversation."""
        self._open = False
        """There is one."""
        self._linked = True
        """A link looks after the Peer; while it does not, we do."""
        self._tending = False
        self._closing = False
        self._next: Attempt | None = None
        self._attempt: Attempt | None = None
        self._refusal: NegotiationFailed | None = None
        self._scope = anyio.CancelScope()
        """Of the attempt that is being made, with the wait before it."""
        self._news = anyio.Event()
        self.loss = anyio.Event()
        """Set when the present connection is lost and there is to be another."""
        self._running = False
        self._done = anyio.Event()

    @property
    def link(self) -> Connection:
        """The link of the present connection, or of the last one."""
        return self._link

    @property
    def pace(self) -> tuple[int, float, float]:
        """How often, and with which delays at least and at most, something is tried again."""
        return self.attempts, self.settings.first_delay, self.settings.max_delay

    @property
    def away(self) -> bool:
        """There was a conversation, and there is none now."""
        return self._begun and not self._open

    # Link

    def flush_soon(self) -> None:
        """See :meth:`Link.flush_soon`."""
        if self._linked:
            self._link.flush_soon()
        else:
            self._news.set()

    async def aclose(self) -> None:
        """End the conversation in good order, or the attempt to come back at once."""
        self._closing = True
        self._peer.reconnects = None
        if not self._open and self._begun:
            self._scope.cancel()
        await self._link.aclose()
        if self._running:
            await self._done.wait()

    # The life of the connections

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run link after link; returns when the last has ended."""
        self._running = True
        try:
            await self._link.run(task_status=task_status)
            while self._next is not None and not self._closing:
                await self._come_back(self._next)
        finally:
            self._conclude()
            self._done.set()

    async def _come_back(self, attempt: Attempt) -> None:
        self._next, self._attempt = None, attempt
        with anyio.CancelScope() as self._scope:
            await anyio.sleep(attempt.delay)
            self._scope.deadline = anyio.current_time() + self.settings.opening
            self._link = self._make(self._peer)
            try:
                await self._link.run(task_status=self)
            except LinkError:
                return  # its end was told as that of any other connection

    def started(self, value: Any = None) -> None:
        """The link of an attempt is open (it calls this): begin the conversation."""
        self._linked = True
        self._peer.start(now=clock())
        self._link.flush_soon()

    @property
    def _expired(self) -> bool:
        """The attempt took too long; nobody else has ended it."""
        return self._scope.cancel_called and not self._closing

    def _conclude(self) -> None:
        """Nothing follows: end what is left, if the end of a link has not done so."""
        if self._core.closed is not None or not self._begun:
            return
        self._closing = True
        peer = self._peer
        peer.reconnects = None
        peer.receive_eof(now=clock(), reason="closed by this side")
        self._drain()

    async def _tend(self) -> None:
        """Look after the Peer while no link does: requests that wait have deadlines."""
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

    # What the core tells

    def opened(self, ready: Ready) -> None:
        """Negotiation has succeeded."""
        self._open = self._begun = True
        self.loss = anyio.Event()
        self._plan.opened(clock())
        if self.attempts and not self._closing:
            self._peer.reconnects = self.settings
        self._scope.deadline = math.inf
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            self._tell(Reconnected(ready=ready, attempt=attempt.number))

    def refused(self, event: NegotiationFailed) -> None:
        """Negotiation has failed on a later connection."""
        self._refusal = event
        self._link.leave(event.message)

    def ended(self, event: ConnectionEnded) -> str | None:
        """A connection has ended; None: there will be another one, else why all is over."""
        was_open, self._open = self._open, False
        fault = self._link.fault
        wanted = None if fault is None else fault.retry_after
        reason, final = self._judge(event.reason)
        abandoned = self._link.abandoned and not self._expired
        closing = self._closing or self._core.closing or abandoned
        again = None
        if self._begun and not closing:
            again = self._plan.lost(clock(), final=final, wanted=wanted)
        if again is None or self._peer.reconnects is None:
            return self._give_up(reason, silently=closing or not self._begun)
        if was_open:
            self._tell(ConnectionLost(reason=reason))
        self._peer = self._peer.succeed()
        self._core.succeed(self._peer)
        self._linked = False
        self._next = again
        self.loss.set()
        self._tell(
            Reconnecting(
                attempt=again.number, attempts=self.attempts, delay=again.delay, reason=reason
            )
        )
        if not self._tending:
            self._tending = True
            self._core.group.start_soon(self._tend)
        self._news.set()
        return None

    def _judge(self, reason: str) -> tuple[str, bool]:
        """Say why a connection has ended, and whether another one would come to the same end."""
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            return refusal.message, refuses_for_good(refusal.error)
        if self._expired:
            return f"there was no conversation within {self.settings.opening:g} s", False
        return reason, self._link.final

    def _give_up(self, reason: str, *, silently: bool) -> str:
        made = self._plan.made
        self._linked = True  # nothing is left to look after
        text = reason
        if made and not silently:
            times = "one attempt" if made == 1 else f"{made} attempts"
            text = f"{reason} (given up after {times} to come back)"
        self._peer.renounce(text)
        if not silently:
            self._tell(ReconnectingGivenUp(reason=reason, attempts=made))
        return text

    def _tell(self, event: ConnectionEvent) -> None:
        _LOG[type(event)](event)
        self._core.tell(event)


def _log_lost(event: ConnectionLost) -> None:
    logger.warning("the connection is lost: %s", event.reason)


def _log_again(event: Reconnecting) -> None:
    number, delay = event.attempt, event.delay
    logger.info("attempt %d of %d to come back in %.1f s", number, event.attempts, delay)


def _log_back(event: Reconnected) -> None:
    logger.info("connected again, in %s", event.ready.revision.name)


def _log_over(event: ReconnectingGivenUp) -> None:
    logger.warning("the connection is over: %s", event.reason)


_LOG: dict[type[Any], Callable[[Any], None]] = {
    ConnectionLost: _log_lost,
    Reconnecting: _log_again,
    Reconnected: _log_back,
    ReconnectingGivenUp: _log_over,
}
