"""Streamable HTTP client: carries out what an HttpClient plans, over a pool of connections.

HTTP/1.1 with keep-alive and TLS; asyncio and trio.  Redirects are not followed: the machine sees
the status.  What responses mean is its affair (:mod:`mcpcore.http.client`).
"""

import ssl
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count

import anyio
from anyio.abc import TaskGroup, TaskStatus

from mcpcore.engine.events import Route
from mcpcore.http.client import HttpClient
from mcpcore.http.messages import HttpAbort, HttpSend
from transports.http_link import HttpLink
from transports.http_origin import Origin
from transports.http_pool import PooledConnection
from transports.http_settings import HttpClientLinkSettings
from transports.link import App, clock

__all__ = ["HttpClientLink", "HttpClientLinkSettings"]

_CLOSED = "this side is closed"


class HttpClientLink(HttpLink):
    """The connections of one client machine.

    ``url`` is where the machine's server is; https without ``ssl_context`` verifies against the
    system's certificates.  Raises ValueError for a URL that is neither http nor https.

    Run :meth:`run` in a task.  It connects when there is something to send, so that starting
    never fails: what goes wrong is an outcome of the request concerned.  Cancelling that task
    closes at once.
    """

    def __init__(
        self,
        machine: HttpClient,
        app: App,
        *,
        url: str,
        settings: HttpClientLinkSettings | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.machine = machine
        self.settings = settings or HttpClientLinkSettings()
        self.origin = Origin.of(url, ssl_context)
        times = self.settings
        shortest = min(times.idle_time, times.write_time, times.body_time)
        super().__init__(machine, app, sweep=min(1.0, shortest / 4))
        self._tasks: TaskGroup | None = None
        self._connections: set[PooledConnection] = set()
        self._idle: list[PooledConnection] = []
        self._exchanges: dict[Route, PooledConnection] = {}
        self._waiting: deque[HttpSend] = deque()
        self._delayed: list[tuple[float, int, HttpSend]] = []
        self._sequence = count()
        self._stopped = False
        self._closing = anyio.Event()
        self._quiet = anyio.Event()
        self._ended = anyio.Event()

    @property
    def connections(self) -> int:
        """Open connections, those being opened included."""
        return len(self._connections)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Carry out what the machine plans until :meth:`aclose`."""
        if self._tasks is not None:
            raise RuntimeError("a link runs once")
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._keep_time)
                waiting, self._waiting = self._waiting, deque()
                for send in waiting:
                    self._send(send)
                self.flush_soon()
                task_status.started()
                try:
                    await self._closing.wait()
                    self.machine.close(now=clock())
                    self.flush_soon()
                    with anyio.move_on_after(self.settings.close_time):
                        while self._exchanges or self._waiting:
                            self._quiet = anyio.Event()
                            await self._quiet.wait()
                finally:
                    self._stop()
                self._tasks.cancel_scope.cancel()
        finally:
            self._stop()
            self._ended.set()

    def _stop(self) -> None:
        """Nothing is sent from now on; what is planned has failed."""
        if self._stopped:
            return
        self._stopped = True
        if not self._closing.is_set():
            self.machine.close(now=clock())
        for send in [*self._waiting, *(send for _, _, send in self._delayed)]:
            self.machine.response_end(send.exchange, error=_CLOSED, now=clock())
        self._waiting.clear()
        self._delayed.clear()
        self.flush_soon()

    async def aclose(self) -> None:
        """Close the machine, let its last requests go, close the connections."""
        self._closing.set()
        if self._tasks is not None:
            await self._ended.wait()

    # What connections need

    def finish(self, connection: PooledConnection, exchange: Route, error: str | None) -> None:
        """The response of ``exchange`` is complete, or with ``error`` never will be."""
        if self._exchanges.pop(exchange, None) is None:
            return  # aborted
        self.machine.response_end(exchange, error=error, now=clock())
        if connection.usable:
            if self._waiting:
                self._assign(connection, self._waiting.popleft())
            else:
                self._idle.append(connection)
        self.flush_soon()
        self._check_quiet()

    def discard(self, connection: PooledConnection) -> None:
        """The connection is gone."""
        self._connections.discard(connection)
        self._forget_idle(connection)
        if self._waiting:
            self._send(self._waiting.popleft())

    # Plans of the machine

    def _move_output(self) -> bool:
        refused = False
        for plan in self.machine.requests_to_send():
            if isinstance(plan, HttpAbort):
                self._abort(plan.exchange)
            elif self._stopped:
                self.machine.response_end(plan.exchange, error=_CLOSED, now=clock())
                refused = True
            elif plan.after:
                heappush(self._delayed, (clock() + plan.after, next(self._sequence), plan))
            else:
                self._send(plan)
        return refused

    def _send(self, send: HttpSend) -> None:
        if self._idle:
            self._assign(self._idle.pop(), send)
        elif self._tasks is None or len(self._connections) >= self.settings.connections:
            self._waiting.append(send)
        else:
            connection = PooledConnection(self, send)
            self._exchanges[send.exchange] = connection
            self._connections.add(connection)
            self._watch()
            self._tasks.start_soon(connection.run)

    def _assign(self, connection: PooledConnection, send: HttpSend) -> None:
        self._exchanges[send.exchange] = connection
        connection.resume(send)

    def _abort(self, exchange: Route) -> None:
        connection = self._exchanges.pop(exchange, None)
        if connection is not None:
            connection.stop()
        else:
            self._waiting = deque(send for send in self._waiting if send.exchange != exchange)
            self._delayed = [entry for entry in self._delayed if entry[2].exchange != exchange]
            heapify(self._delayed)
        self._check_quiet()

    def _check_quiet(self) -> None:
        if not self._exchanges and not self._waiting:
            self._quiet.set()

    def _forget_idle(self, connection: PooledConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    # Time

    def _deadline(self) -> float | None:
        deadline = self.machine.deadline()
        if self._delayed and (deadline is None or self._delayed[0][0] < deadline):
            return self._delayed[0][0]
        return deadline

    def _on_deadline(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            self._send(heappop(self._delayed)[2])
        self.machine.handle_timeout(now)

    def _expire(self, now: float) -> bool:
        for connection in tuple(self._connections):
            if connection.deadline <= now:
                self._forget_idle(connection)
                connection.expire()
        return bool(self._connections)
