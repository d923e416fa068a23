"""Base of the links of HTTP machines: the pump of events, and the timer."""

import logging
import math
from abc import ABC, abstractmethod
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from mcpcore.engine.events import Fault, RequestReceived
from mcpcore.spec.errors import INTERNAL_ERROR, ErrorData, LocalProtocolError
from mcpcore_transports.link import App, clock
from mcpcore_transports.running.functions import context_of_callbacks
from mcpcore_transports.server.settings import error_id

if TYPE_CHECKING:  # a client needs no server, and the other way round
    from mcpcore.http.client.client import HttpClient
    from mcpcore.http.server.server import HttpServer

logger = logging.getLogger("mcpcore.http")

_TICK = 0.001
"""Minimum seconds that the timer sleeps."""


class HttpLink(ABC):
    """Link of an HTTP machine: pump of its events, and the one timer of all its connections.

    ``sweep`` is the period, in seconds, in which the deadlines of the connections are checked:
    setting such a deadline then costs no more than an assignment.
    """

    # Python finds attributes quickly in an instance with fewer than 30; subclasses have more.
    __slots__ = (
        "_ahead",
        "_alarm",
        "_closing",
        "_context",
        "_ended",
        "_pumped",
        "_pumping",
        "_sleep",
        "_sweep",
        "_sweep_at",
        "_tasks",
        "app",
    )

    unprovoked, final = False, False  # only links of a single connection change these
    fault: Fault | None = None

    def __init__(self, machine: "HttpServer | HttpClient", app: App, sweep: float) -> None:
        self.app = app
        self._pumped = machine
        self._context: Context | None = None  # in which the events are handled
        self._pumping = False
        self._sleep: anyio.CancelScope | None = None
        self._ahead = 0.0  # seconds by which the clock of the event loop is ahead of ours
        self._alarm = math.inf
        self._sweep = sweep
        self._sweep_at = math.inf
        self._tasks: TaskGroup | None = None  # while it runs, and after
        self._closing = anyio.Event()
        self._ended = anyio.Event()

    async def aclose(self) -> None:
        """Let what is running end, for a bounded time, and begin nothing else; then close."""
        self._closing.set()
        if self._tasks is not None:
            await self._ended.wait()

    # To be overridden

    def write_now(self) -> None:
        """Implement :meth:`~mcpcore_transports.link.Link.write_now`."""
        return

    @abstractmethod
    def _move_output(self) -> bool:
        """Pass on the output of the machine; return True if that caused events."""

    @abstractmethod
    def _expire(self, now: float) -> float:
        """Act on expired deadlines of connections; return when the next can pass, if it is known.

        It is 0 if it is not known, and infinite if there are no connections.
        """

    def _deadline(self) -> float | None:
        """Return the time at which :meth:`_handle_deadline` is due, if any."""
        return self._pumped.deadline()

    def _handle_deadline(self, now: float) -> None:
        """Handle the deadlines of the machine and of the link itself up to ``now``."""
        self._pumped.handle_timeout(now)

    # Events

    def flush_soon(self) -> None:
        """Handle the events, pass on the output, and set the timer.

        The events have been handled when this returns, in the context of the link, not in the
        caller's.
        """
        if self._pumping:
            return  # called from within handle(): the loop goes on anyway
        self.handle_events()
        while self._move_output():
            self.handle_events()
        self.keep_time()

    def handle_events(self) -> None:
        """Do the first part of :meth:`flush_soon`, for callers that write their own output."""
        if self._pumping:
            return
        if self._context is None:
            self._context = context_of_callbacks()
        self._pumping = True
        try:
            self._context.run(self._dispatch)
        finally:
            self._pumping = False

    def keep_time(self) -> None:
        """Do the last part of :meth:`flush_soon`: set the timer for the next deadline."""
        deadline = self._deadline()
        if deadline is not None and deadline < self._alarm:
            self._set_alarm(deadline)

    def _dispatch(self) -> None:
        next_event, handle = self._pumped.next_event, self.app.handle
        while (event := next_event()) is not None:
            try:
                handle(event)
            except Exception:
                # One broken handler must not end the sessions of all other clients.
                made, kind = error_id(), type(event).__name__
                logger.exception("the application failed to handle %s (error id %s)", kind, made)
                if isinstance(event, RequestReceived):
                    with suppress(LocalProtocolError):  # it has answered, or the client has gone
                        text = f"Internal error (error id {made})"
                        self._pumped.fail(event.key, ErrorData(INTERNAL_ERROR, text))

    # Timer

    def watch(self) -> None:
        """Schedule :meth:`_expire` once per sweep from now on."""
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

    async def _keep_alarm(self) -> None:
        """Run the timer for as long as the link lives."""
        self._context = context_of_callbacks()
        while True:
            self._ahead = anyio.current_time() - clock()
            with anyio.CancelScope() as self._sleep:
                deadline = self._deadline()
                due = self._sweep_at if deadline is None else min(deadline, self._sweep_at)
                self._set_alarm(due)
                await anyio.Event().wait()  # asyncio would keep a timer for sleep_forever()
            now = clock()
            if now >= self._sweep_at:
                self._sweep_at = max(now + self._sweep, self._expire(now))
            deadline = self._deadline()
            if deadline is not None and deadline <= now:
                self._handle_deadline(now)
                self.flush_soon()
