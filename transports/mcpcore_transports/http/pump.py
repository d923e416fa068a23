"""Pump of the events of an HTTP machine, and the one timer of its connections."""

import logging
import math
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Protocol

import anyio

from mcpcore.engine.events import Event, Key, RequestReceived
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData, LocalProtocolError
from mcpcore_transports.link import App, clock
from mcpcore_transports.server.settings import error_id

logger = logging.getLogger("mcpcore.http")

_TICK = 0.001
"""Minimum seconds that the timer sleeps."""


class HttpMachine(Protocol):
    """Interface of a machine that can be pumped and timed."""

    def next_event(self) -> Event | None:
        """Return the next event, or None."""

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer a request with an error."""

    def close(self, *, now: float) -> None:
        """Begin the graceful end."""


class Pumped(Protocol):
    """Link that owns an :class:`EventPump`."""

    def flush_soon(self) -> None:
        """Call :meth:`EventPump.flush`, unless the link is not at work."""

    def keep_time(self) -> None:
        """Call :meth:`EventPump.keep_time`, if a deadline may have come nearer."""

    def move_output(self) -> bool:
        """Pass on the output of the machine; return True if that caused events."""

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_deadline` is due, if any."""

    def handle_deadline(self, now: float) -> None:
        """Handle the deadlines of the machine and of the link itself up to ``now``."""

    def expire(self, now: float) -> bool:
        """Act on expired deadlines of connections; return True if any are left to watch."""

    def quiet_until(self) -> float:
        """Return the time before which no such deadline can pass without further activity."""


class EventPump:
    """Pump and timer of a link, for all connections of an endpoint.

    ``sweep`` is the period, in seconds, in which the deadlines of the connections are checked:
    setting such a deadline then costs no more than an assignment.
    """

    def __init__(self, link: Pumped, machine: HttpMachine, app: App, sweep: float) -> None:
        self._link = link
        self._endpoint = machine
        self.app = app
        self.context: Context | None = None
        """Context (``contextvars``) in which the events are handled."""
        self._pumping = False
        self._sleep: anyio.CancelScope | None = None
        self._ahead = 0.0  # seconds by which the clock of the event loop is ahead of ours
        self._alarm = math.inf
        self._sweep = sweep
        self._sweep_at = math.inf

    def flush(self) -> None:
        """Handle the events, pass on the output, and set the timer.

        The events have been handled when this returns, in the context of the link, not in the
        caller's.
        """
        if self._pumping:
            return  # called from within handle(): the loop goes on anyway
        if self.context is None:
            self.context = copy_context()
        self._pumping = True
        try:
            self.context.run(self._dispatch)
            while self._link.move_output():
                self.context.run(self._dispatch)
        finally:
            self._pumping = False
        self._link.keep_time()

    def handle_events(self) -> None:
        """Do the first part of :meth:`flush`, for callers that write their own output."""
        if self._pumping:
            return
        if self.context is None:
            self.context = copy_context()
        self._pumping = True
        try:
            self.context.run(self._dispatch)
        finally:
            self._pumping = False

    def keep_time(self) -> None:
        """Do the last part of :meth:`flush`: set the timer for the next deadline."""
        deadline = self._link.deadline()
        if deadline is not None and deadline < self._alarm:
            self._set_alarm(deadline)

    def _dispatch(self) -> None:
        next_event, handle = self._endpoint.next_event, self.app.handle
        while (event := next_event()) is not None:
            try:
                handle(event)
            except Exception:
                # One broken handler must not end the sessions of all other clients.
                made, kind = error_id(), type(event).__name__
                logger.exception("the application failed to handle %s (error id %s)", kind, made)
                self._answer_for(event, made)

    def _answer_for(self, event: Event, made: str) -> None:
        """Answer a request with an error after the application failed to handle it."""
        if isinstance(event, RequestReceived):
            with suppress(LocalProtocolError):  # it has answered, or the client has gone
                text = f"Internal error (error id {made})"
                self._endpoint.fail(event.key, ErrorData(INTERNAL_ERROR, text))

    def watch(self) -> None:
        """Schedule :meth:`Pumped.expire` once per sweep from now on."""
        soon = clock() + self._sweep
        if self._sweep_at > soon:
            self._sweep_at = soon
            if self._sweep_at < self._alarm:
                self._set_alarm(self._sweep_at)

    def _set_alarm(self, when: float) -> None:
        self._alarm = when
        if self._sleep is not None:
            # In a callback of the event loop, which has no task, anyio cannot tell the time.
            self._sleep.deadline = self._ahead + max(when, clock() + _TICK)

    async def run(self) -> None:
        """Run the timer for as long as the link lives."""
        self.context = copy_context()
        while True:
            self._ahead = anyio.current_time() - clock()
            with anyio.CancelScope() as self._sleep:
                deadline = self._link.deadline()
                due = self._sweep_at if deadline is None else min(deadline, self._sweep_at)
                self._set_alarm(due)
                await anyio.Event().wait()  # asyncio would keep a timer for sleep_forever()
            now = clock()
            if now >= self._sweep_at:
                more = self._link.expire(now)
                quiet = max(now + self._sweep, self._link.quiet_until())
                self._sweep_at = quiet if more else math.inf
            deadline = self._link.deadline()
            if deadline is not None and deadline <= now:
                self._link.handle_deadline(now)
                self._link.flush_soon()
