"""Base of all drivers of a server's HTTP endpoint, however its requests arrive.

*Carriers* bring the replies of the exchanges to the clients: a connection carries one exchange
after the other, a request of a framework carries one.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio.abc import TaskStatus

from mcpcore.engine.events import Route
from mcpcore.http.messages import HttpRequest
from mcpcore.http.server.server import HttpServer
from mcpcore_transports.http.link import HttpLink
from mcpcore_transports.http1.settings import HttpServerSettings, StoreLinkSettings
from mcpcore_transports.link import App, clock
from mcpcore_transports.running.audit import log_foreign
from mcpcore_transports.running.functions import Work, known_in_callbacks

if TYPE_CHECKING:  # late: few have a store or record a trace
    from mcpcore_transports.http.server.store_link import StoreLink
    from mcpcore_transports.stores.base import Store
    from mcpcore_transports.tracing.tracing import HttpTrace

logger = logging.getLogger("mcpcore.http")


class Carrier(Protocol):
    """Transport of replies to a client.  None of its methods blocks."""

    @property
    def deadline(self) -> float:
        """Time, of the drivers' clock, by which its current step must be done."""

    @property
    def client(self) -> str | None:
        """Client whose quota of carriers it counts for; None: no client's."""

    @property
    def idle(self) -> bool:
        """True if it carries no exchange, so that a host may stop it when closing."""

    def wake(self) -> None:
        """Send the output that the machine has for the carried exchange."""

    def expire(self) -> None:
        """Handle a deadline that has passed."""

    def stop(self) -> None:
        """Close at once."""


class HttpHost(HttpLink):
    """Driver of one endpoint; run :meth:`run` in a task, whose cancellation skips draining."""

    def __init__(
        self, machine: HttpServer, app: App, *, settings: HttpServerSettings | None = None
    ) -> None:
        self.machine = machine
        self.settings = times = settings or HttpServerSettings()
        shortest = min(times.head_time, times.body_time, times.idle_time, times.write_time)
        if times.log:
            from mcpcore_transports.http.server.log import HttpLog  # imported late: not all log

            machine.reports = True
            app = HttpLog(app)
        machine.tell_refused(log_foreign)
        super().__init__(machine, app, sweep=min(1.0, shortest / 4))
        self.ending = False
        """True once it was told to end: the reply to a new request closes its connection."""
        self.draining = False
        """True once what runs is the last, after the time of notice."""
        self.trace: HttpTrace | None = None
        """Trace of the host's traffic; set it before :meth:`run`."""
        self.carriers: set[Carrier] = set()
        """Open carriers."""
        self.turned_away = 0
        """Number of carriers beyond the limit, which are being refused."""
        self._clients: Counter[str] = Counter()
        self._store: StoreLink | None = None
        self._last_exchange: Route = 0
        self._exchanges: dict[Route, Carrier] = {}
        self._changed = anyio.Event()

    def use_store(
        self, store: "Store", machine: HttpServer, worker: str, settings: StoreLinkSettings
    ) -> None:
        """Use ``store`` to carry out the machine's steps; call it before :meth:`run`."""
        from mcpcore_transports.http.server.store_link import StoreLink  # imported late: for few

        self.app = self._store = StoreLink(
            store, worker, machine, self.app, self.flush_soon, settings=settings
        )

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until :meth:`aclose`; ``task_status`` is started when exchanges can register."""
        with known_in_callbacks():
            await self._run(task_status.started)

    def abandon(self) -> None:
        """Close at once, after the end of :meth:`run` or instead of it."""
        self._begin_end()
        self.flush_soon()
        for carrier in tuple(self.carriers):
            carrier.stop()

    async def _run(self, started: Callable[[], None]) -> None:
        self._check_unused()
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._keep_alarm)
                if self._store is not None:
                    self._tasks.start_soon(self._store.run)
                started()
                self.flush_soon()
                await self._closing.wait()
                self.machine.ready, self.ending = False, True
                settings = self.settings
                if settings.notice_time:
                    await anyio.sleep(settings.notice_time)
                await self._stop_accepting()
                with anyio.move_on_after(settings.drain_time):
                    if settings.notice_time:  # requests may be under way on idle connections
                        await anyio.sleep(min(settings.linger_time, settings.drain_time / 10))
                    self._begin_end()
                    while self.carriers or not self.machine.finished:
                        self._changed = anyio.Event()
                        await self._changed.wait()
                if self._store is not None:
                    await self._store.leave()
                self._tasks.cancel_scope.cancel()
        finally:
            self.abandon()
            await self._stop_accepting()
            self._ended.set()

    def flush_soon(self) -> None:
        """Implement :meth:`Link.flush_soon`; before :meth:`run` it takes effect later."""
        if self._tasks is not None:
            super().flush_soon()
            if self.draining:
                self._changed.set()

    def _check_unused(self) -> None:
        if self._tasks is not None:
            raise RuntimeError("a link serves once")

    async def _stop_accepting(self) -> None:
        """Stop accepting new carriers; called more than once."""

    # What carriers need

    def start(self, work: Work) -> None:
        """Run ``work`` in a task of the host."""
        assert self._tasks is not None  # noqa: S101 - carriers exist while serving only
        with known_in_callbacks():  # changes may come from callbacks of other code, and threads
            self._tasks.start_soon(guarded, work)

    def full_for(self, client: str | None) -> str | None:
        """Return None if ``client`` may have one more carrier.

        Otherwise return the end of a message, empty if the limit of all connections is reached.
        """
        if len(self.carriers) - self.turned_away >= self.settings.connections:
            return ""
        if client is not None and self._clients[client] >= self.settings.connections_per_client:
            return " from your address"
        return None

    def add(self, carrier: Carrier) -> None:
        """Add a carrier: its deadline is watched, and closing waits for its end."""
        self.carriers.add(carrier)
        if carrier.client is not None:
            self._clients[carrier.client] += 1
        self.watch()

    def discard(self, carrier: Carrier) -> None:
        """Remove a carrier that has ended; repeated calls do nothing."""
        if carrier not in self.carriers:
            return
        self.carriers.remove(carrier)
        client = carrier.client
        if client is not None:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
        if not self.carriers:
            self._changed.set()

    def register(self, carrier: Carrier, request: HttpRequest) -> Route:
        """Begin an exchange on ``carrier``; return its number."""
        self._last_exchange += 1
        self._exchanges[self._last_exchange] = carrier
        if self.trace is not None:
            self.trace.asked(self._last_exchange, request)
        return self._last_exchange

    def unregister(self, exchange: Route) -> None:
        """Remove an exchange that has ended."""
        del self._exchanges[exchange]

    def disconnect(self, exchange: Route) -> None:
        """Leave an exchange whose reply is not complete, as its client has left."""
        self.unregister(exchange)
        if self.trace is not None:
            self.trace.left(exchange)
        self.machine.disconnect(exchange, now=clock())
        self.flush_soon()

    # For the pump

    def _begin_end(self) -> None:
        if not self.draining:
            self.ending = self.draining = True
            self.machine.close(now=clock())
            self.flush_soon()
            for carrier in tuple(self.carriers):
                if carrier.idle:
                    carrier.stop()

    def keep_time(self) -> None:
        """Implement :meth:`~mcpcore_transports.http.link.HttpLink.keep_time`."""
        if self.machine.timed:
            super().keep_time()

    def _move_output(self) -> bool:
        for exchange in self.machine.writable():
            carrier = self._exchanges.get(exchange)
            if carrier is not None:
                carrier.wake()
        return False

    def _expire(self, now: float) -> float:
        for carrier in tuple(self.carriers):
            if carrier.deadline <= now:
                carrier.expire()
        return 0.0 if self.carriers else math.inf


async def guarded(work: Work) -> None:
    """Run ``work``; log an exception, so that a bug ends one connection and not all of them."""
    try:
        await work()
    except Exception:
        logger.exception("a connection failed")


def peer_name(address: object) -> str | None:
    """Format the address of a client, as sockets and frameworks give it; None if it is unknown."""
    if isinstance(address, (tuple, list)) and len(address) >= 2:
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return address if isinstance(address, str) and address else None
