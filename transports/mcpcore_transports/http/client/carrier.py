"""Base of the HTTP clients: delayed requests, deadlines and the graceful end."""

import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup, TaskStatus

from mcpcore.engine.events import Fault, FaultKind, Route
from mcpcore.http.client.client import HttpClient
from mcpcore.http.client.plan import own_header
from mcpcore.http.messages import HttpAbort, HttpSend
from mcpcore_transports.http.client.origin import Failure
from mcpcore_transports.http.pump import EventPump
from mcpcore_transports.http.settings import HttpClientLinkSettings
from mcpcore_transports.link import App, Link, clock
from mcpcore_transports.running.functions import called, failure_of, without_messages

if TYPE_CHECKING:
    from mcpcore_transports.tracing.tracing import HttpTrace

logger = logging.getLogger("mcpcore.http")

RequestHeaders = Callable[[HttpSend], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""Hook that returns the application's headers for a request about to be sent.

It is a function or a coroutine function.  Its headers replace those of the same name.  An exception
from it ends that request.
"""

_CLOSED = "this side is closed"
_SWEEP = 0.4
"""Maximum seconds between two checks of the deadlines of connections."""


class HttpCarrier(Link):
    """Base of the links that carry out the plans of a client machine, until :meth:`aclose`.

    Run :meth:`run` in a task.  The link connects when there is something to send, so that starting
    never fails: a failure is an outcome of the request concerned.  Cancelling that task closes the
    link at once.
    """

    def __init__(
        self,
        machine: HttpClient,
        app: App,
        settings: HttpClientLinkSettings | None,
        headers: RequestHeaders | None,
    ) -> None:
        self.machine = machine
        self.settings = settings or HttpClientLinkSettings()
        times = self.settings
        shortest = min(times.idle_time or _SWEEP, times.write_time, times.body_time)
        self._pump = EventPump(self, machine, app, sweep=min(_SWEEP, shortest / 4))
        self._headers = headers
        self._tasks: TaskGroup | None = None
        self._waiting: deque[HttpSend] = deque()
        """Requests that wait for the end of another exchange."""
        self._delayed: list[tuple[float, int, HttpSend]] = []
        self._sequence = count()
        self._stopped = False
        self.trace: HttpTrace | None = None
        """Trace that records the requests and responses; set it before run()."""
        self._closing = anyio.Event()
        self._quiet = anyio.Event()
        self._ended = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Carry out the plans of the machine until :meth:`aclose`."""
        if self._tasks is not None:
            raise RuntimeError("a link runs once")
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._pump.run)
                for send in self._take_waiting():
                    self._send(send)
                self.flush_soon()
                task_status.started()
                try:
                    await self._closing.wait()
                    self.machine.close(now=clock())
                    self.flush_soon()
                    with anyio.move_on_after(self.settings.close_time):
                        while self._busy():
                            self._quiet = anyio.Event()
                            await self._quiet.wait()
                finally:
                    self._stop()
                self._tasks.cancel_scope.cancel()
        finally:
            self._stop()
            self._ended.set()

    def flush_soon(self) -> None:
        """Implement :meth:`Link.flush_soon <mcpcore_transports.link.Link.flush_soon>`.

        The events have been handled when this returns.
        """
        self._pump.flush()

    async def aclose(self) -> None:
        """Close the machine, let its last requests leave, close the connections."""
        self._closing.set()
        if self._tasks is not None:
            await self._ended.wait()

    def _stop(self) -> None:
        """Stop sending and fail the planned requests."""
        if self._stopped:
            return
        self._stopped = True
        self.machine.close(now=clock())  # aclose() may have come when this task was cancelled
        for send in [*self._take_waiting(), *(send for _, _, send in self._delayed)]:
            self.machine.response_end(send.exchange, error=_CLOSED, now=clock())
        self._delayed.clear()
        self.flush_soon()

    # Methods of the subclasses

    @abstractmethod
    def _send(self, send: HttpSend) -> None:
        """Carry out one request, or queue it."""

    @abstractmethod
    def _stop_running(self, exchange: Route) -> bool:
        """Stop an exchange that the machine has aborted; return False if it is not carried out."""

    @abstractmethod
    def _runs(self) -> bool:
        """Return True if any exchange is being carried out."""

    def _take_waiting(self) -> list[HttpSend]:
        """Remove and return the requests that wait."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def _busy(self) -> bool:
        return self._runs() or bool(self._waiting)

    async def headers_of(self, send: HttpSend) -> list[tuple[bytes, bytes]]:
        """Return all headers of a request, the application's too.  Raises :class:`Failure`."""
        if self._headers is None:
            return send.headers
        try:
            given = await called(self._headers, send)
            pairs = [*given.items()]
        except BaseException as raised:
            error = failure_of(raised)
            logger.debug("the function for headers failed\n%s", without_messages(error))
            text = f"its headers could not be made: {type(error).__name__}"
            raise Failure(text, Fault(FaultKind.HEADERS)) from error
        try:
            own = [own_header(pair) for pair in pairs]
        except Exception as error:
            text = f"its headers could not be made: {type(error).__name__}: {error}"
            raise Failure(text, Fault(FaultKind.HEADERS)) from error
        names = {name for name, _ in own}
        return [*(pair for pair in send.headers if pair[0] not in names), *own]

    def ended(self, exchange: Route, failure: Failure | None) -> None:
        """Tell the machine that a response is complete, or that it failed with ``failure``."""
        error = None if failure is None else str(failure)
        fault = None if failure is None else failure.fault
        if self.trace is not None:
            self.trace.over(exchange, error or "")
        self.machine.response_end(exchange, error=error, fault=fault, now=clock())

    # Plans of the machine

    def move_output(self) -> bool:
        """Implement :meth:`~mcpcore_transports.http.pump.Pumped.move_output`."""
        news = False
        for plan in self.machine.requests_to_send():
            if isinstance(plan, HttpAbort):
                self._abort(plan.exchange)
                news = True
            elif self._stopped:
                self.machine.response_end(plan.exchange, error=_CLOSED, now=clock())
                news = True
            elif plan.after:
                heappush(self._delayed, (clock() + plan.after, next(self._sequence), plan))
            else:
                self._send(plan)
        return news

    def _abort(self, exchange: Route) -> None:
        if self.trace is not None:
            self.trace.given_up(exchange)
        self._delayed = [entry for entry in self._delayed if entry[2].exchange != exchange]
        heapify(self._delayed)
        if not self._stop_running(exchange):
            self._waiting = deque(send for send in self._waiting if send.exchange != exchange)
        self._check_quiet()

    def _check_quiet(self) -> None:
        if not self._busy():
            self._quiet.set()

    # Timer

    def keep_time(self) -> None:
        """Implement :meth:`~mcpcore_transports.http.pump.Pumped.keep_time`."""
        self._pump.keep_time()

    def deadline(self) -> float | None:
        """Implement :meth:`~mcpcore_transports.http.pump.Pumped.deadline`."""
        deadline = self.machine.deadline()
        if self._delayed and (deadline is None or self._delayed[0][0] < deadline):
            return self._delayed[0][0]
        return deadline

    def quiet_until(self) -> float:
        """Implement :meth:`~mcpcore_transports.http.pump.Pumped.quiet_until`."""
        return 0.0

    @abstractmethod
    def expire(self, now: float) -> bool:
        """Implement :meth:`~mcpcore_transports.http.pump.Pumped.expire`."""

    def handle_deadline(self, now: float) -> None:
        """Implement :meth:`~mcpcore_transports.http.pump.Pumped.handle_deadline`."""
        while self._delayed and self._delayed[0][0] <= now:
            self._send(heappop(self._delayed)[2])
        self.machine.handle_timeout(now)
