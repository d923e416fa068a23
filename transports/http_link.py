"""What the two HTTP links share: the pump of events, and the one timer of an endpoint."""

import logging
import math
from abc import abstractmethod
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Protocol

import anyio

from mcpcore.engine.events import Event, Key, RequestReceived
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData, LocalProtocolError
from transports.error_ids import error_id
from transports.link import App, Link, clock

logger = logging.getLogger(__name__)

_TICK = 0.001
"""The timer never sleeps less than this (seconds)."""


class HttpMachine(Protocol):
    """What a machine must offer to be pumped and timed."""

    def next_event(self) -> Event | None:
        """Return the next event, or None."""

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer a request with an error."""

    def deadline(self) -> float | None:
        """When ``handle_timeout`` is due."""

    def handle_timeout(self, now: float) -> None:
        """Let time pass."""

    def close(self, *, now: float) -> None:
        """Begin the graceful end."""


class HttpLink(Link):
    """Base of both links: one pump and one timer for all connections of an endpoint.

    ``sweep`` is the period, in seconds, in which the deadlines of the connections are looked at:
    setting such a deadline then costs no more than an assignment.
    """

    def __init__(self, machine: HttpMachine, app: App, sweep: float) -> None:
        self._endpoint = machine
        self._app = app
        self._context: Context | None = None
        self._pumping = False
        self._sleep: anyio.CancelScope | None = None
        self._ahead = 0.0  # of our clock is that of the event loop
        self._alarm = math.inf
        self._sweep = sweep
        self._sweep_at = math.inf

    def flush_soon(self) -> None:
        """See :class:`~transports.link.Link`; events have been handled when this returns.

        They are handled in the context (``contextvars``) of the link, not in the caller's.
        """
        if self._pumping:
            return  # called from within handle(): the loop goes on anyway
        if self._context is None:
            self._context = copy_context()
        self._pumping = True
        try:
            self._context.run(self._dispatch)
            while self._move_output():
                self._context.run(self._dispatch)
        finally:
            self._pumping = False
        self.keep_time()

    def handle_events(self) -> None:
        """The first part of :meth:`flush_soon`, for who sees to the output of its own exchange."""
        if self._pumping:
            return
        if self._context is None:
            self._context = copy_context()
        self._pumping = True
        try:
            self._context.run(self._dispatch)
        finally:
            self._pumping = False

    def keep_time(self) -> None:
        """The last part of it: see to it that no deadline is missed."""
        deadline = self._deadline()
        if deadline is not None and deadline < self._alarm:
            self._set_alarm(deadline)

    def _dispatch(self) -> None:
        next_event, handle = self._endpoint.next_event, self._app.handle
        while (event := next_event()) is not None:
            try:
                handle(event)
            except Exception:
                # One broken handler must not take down the conversations of everybody else.
                made, kind = error_id(), type(event).__name__
                logger.exception("the application failed to handle %s (error id %s)", kind, made)
                self._answer_for(event, made)

    def _answer_for(self, event: Event, made: str) -> None:
        """Let nobody wait for an answer that the application can no longer give."""
        if isinstance(event, RequestReceived):
            with suppress(LocalProtocolError):  # it has answered, or the client has gone
                text = f"Internal error (error id {made})"
                self._endpoint.fail(event.key, ErrorData(INTERNAL_ERROR, text))

    @abstractmethod
    def _move_output(self) -> bool:
        """See to it that what the machine has to send is sent; True if that made events."""

    def _deadline(self) -> float | None:
        """When :meth:`_on_deadline` is due."""
        return self._endpoint.deadline()

    def _on_deadline(self, now: float) -> None:
        self._endpoint.handle_timeout(now)

    @abstractmethod
    def _expire(self, now: float) -> bool:
        """Act on what is overdue; return whether anything is left to watch."""

    def _quiet_until(self) -> float:
        """Until when no deadline can pass, as nothing happens."""
        return 0.0

    def _watch(self) -> None:
        """Make sure that :meth:`_expire` is called once per sweep from now on."""
        soon = clock() + self._sweep
        if self._sweep_at > soon:
            self._sweep_at = soon
            if self._sweep_at < self._alarm:
                self._set_alarm(self._sweep_at)

    def _set_alarm(self, when: float) -> None:
        self._alarm = when
        if self._sleep is not None:
            # A callback of the event loop, which has no task, may not ask anyio for the time.
            self._sleep.deadline = self._ahead + max(when, clock() + _TICK)

    async def _keep_time(self) -> None:
        """Sleep until something is due, for as long as the link lives."""
        self._context = copy_context()
        while True:
            self._ahead = anyio.current_time() - clock()
            with anyio.CancelScope() as self._sleep:
                deadline = self._deadline()
                due = self._sweep_at if deadline is None else min(deadline, self._sweep_at)
                self._set_alarm(due)
                await anyio.Event().wait()  # asyncio would keep a timer for sleep_forever()
            now = clock()
            if now >= self._sweep_at:
                more = self._expire(now)
                self._sweep_at = max(now + self._sweep, self._quiet_until()) if more else math.inf
            deadline = self._deadline()
            if deadline is not None and deadline <= now:
                self._on_deadline(now)
                self.flush_soon()
