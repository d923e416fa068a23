"""What every driver of a server's HTTP endpoint shares, however its requests arrive.

A host owns one :class:`~mcpcore.http.server.HttpServer`: the pump of its events, its timer, the
numbers of its exchanges and the graceful end.  The exchanges' replies are brought to the clients
by *carriers*: a connection of the h11 driver carries one exchange after the other, a request of a
framework carries one.
"""

import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from mcpcore.engine.events import Route
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Verdict
from mcpcore.http.server import HttpServer
from transports.background import known_in_callbacks
from transports.http_link import HttpLink
from transports.http_settings import HttpServerSettings
from transports.link import App, clock
from transports.store_settings import StoreLinkSettings

if TYPE_CHECKING:
    from mcpcore.http.stored import StoredHttpServer
    from transports.store_link import StoreLink
    from transports.stores.base import Store
    from transports.tracing_http import HttpTrace

logger = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]


class Carrier(Protocol):
    """Brings replies to a client.  None of its methods blocks."""

    deadline: float
    """When it has lasted too long at what it is doing; of the drivers' clock."""
    client: str | None
    """Whose share it counts for; None: nobody's."""

    @property
    def idle(self) -> bool:
        """Whether it carries no exchange, so that a host which ends may stop it."""

    def wake(self) -> None:
        """The machine has something to send for the exchange that is carried."""

    def expire(self) -> None:
        """The deadline has passed."""

    def stop(self) -> None:
        """Close at once."""


class HttpHost(HttpLink):
    """One endpoint; run :meth:`run` in a task, whose cancellation closes without draining."""

    def __init__(
        self, machine: HttpServer, app: App, *, settings: HttpServerSettings | None = None
    ) -> None:
        self.machine = machine
        self.settings = times = settings or HttpServerSettings()
        shortest = min(times.head_time, times.body_time, times.idle_time, times.write_time)
        if times.log:
            from transports.http_log import HttpLog  # here and not above: many do not log

            machine.reports = True
            app = HttpLog(app)
        super().__init__(machine, app, sweep=min(1.0, shortest / 4))
        self.draining = False
        """The end has begun: replies are the last of their connections."""
        self.trace: HttpTrace | None = None
        """Records what goes through it; to be set before it is run."""
        self.carriers: set[Carrier] = set()
        """Those there are."""
        self._clients: Counter[str] = Counter()
        self._store: StoreLink | None = None
        self._tasks: TaskGroup | None = None
        self._last_exchange: Route = 0
        self._exchanges: dict[Route, Carrier] = {}
        self._closing = anyio.Event()
        self._changed = anyio.Event()
        self._ended = anyio.Event()

    def use_store(
        self, store: "Store", machine: "StoredHttpServer", worker: str, settings: StoreLinkSettings
    ) -> None:
        """Have the machine's steps carried out by ``store``; before :meth:`run`."""
        from transports.store_link import StoreLink  # here and not above: few have a store

        self._app = self._store = StoreLink(
            store, worker, machine, self._app, self.flush_soon, settings=settings
        )

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until :meth:`aclose`; started when exchanges can be registered."""
        with known_in_callbacks():
            await self._run(task_status.started)

    async def aclose(self) -> None:
        """Take nothing new, close the machine, let running requests end, close what is left."""
        self._closing.set()
        if self._tasks is not None:
            await self._ended.wait()

    def abandon(self) -> None:
        """Close at once: nobody runs the host, any more or at all."""
        self._begin_end()
        self.flush_soon()
        for carrier in tuple(self.carriers):
            carrier.stop()

    async def _run(self, started: Callable[[], None]) -> None:
        self._once()
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._keep_time)
                if self._store is not None:
                    self._tasks.start_soon(self._store.run)
                started()
                self.flush_soon()
                await self._closing.wait()
                self.machine.ready = False
                if self.settings.notice_time:
                    await anyio.sleep(self.settings.notice_time)
                await self._stop_accepting()
                self._begin_end()
                with anyio.move_on_after(self.settings.drain_time):
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
        """See :class:`~transports.link.Link`; before :meth:`run` it is remembered."""
        if self._tasks is not None:
            super().flush_soon()
            if self.draining:
                self._changed.set()

    def _once(self) -> None:
        if self._tasks is not None:
            raise RuntimeError("a link serves once")

    async def _stop_accepting(self) -> None:
        """Let no new carriers in; called more than once."""

    # What carriers need

    async def identify(self, request: HttpRequest) -> Verdict | None:
        """Find out who sends ``request``, if it matters and the application can tell."""
        authenticate = self.settings.authenticate
        if authenticate is None or not self.machine.asks_who(request):
            return None
        from transports.http_identity import identify  # here and not above: many ask nobody

        return await identify(authenticate, request, self.settings.authenticate_time)

    def start(self, work: Work) -> None:
        """Run ``work`` in a task of the host."""
        assert self._tasks is not None  # noqa: S101 - carriers exist while serving only
        self._tasks.start_soon(guarded, work)

    def full_for(self, client: str | None) -> str | None:
        """Where there are too many carriers for a client to have one more, if so."""
        if len(self.carriers) >= self.settings.connections:
            return ""
        if client is not None and self._clients[client] >= self.settings.connections_per_client:
            return " from your address"
        return None

    def add(self, carrier: Carrier) -> None:
        """Watch the deadline of ``carrier``, and wait for its end when closing."""
        self.carriers.add(carrier)
        if carrier.client is not None:
            self._clients[carrier.client] += 1
        self._watch()

    def discard(self, carrier: Carrier) -> None:
        """The carrier is gone; may be repeated."""
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

    def register(self, carrier: Carrier) -> Route:
        """Begin an exchange on ``carrier``."""
        self._last_exchange += 1
        self._exchanges[self._last_exchange] = carrier
        return self._last_exchange

    def unregister(self, exchange: Route) -> None:
        """The exchange is over."""
        del self._exchanges[exchange]

    # For the pump

    def _begin_end(self) -> None:
        if not self.draining:
            self.draining = True
            self.machine.close(now=clock())
            self.flush_soon()
            for carrier in tuple(self.carriers):
                if carrier.idle:
                    carrier.stop()

    def keep_time(self) -> None:
        """See :class:`~transports.http_link.HttpLink`."""
        if self.machine.timed:
            super().keep_time()

    def _move_output(self) -> bool:
        for exchange in self.machine.writable():
            carrier = self._exchanges.get(exchange)
            if carrier is not None:
                carrier.wake()
        return False

    def _expire(self, now: float) -> bool:
        for carrier in tuple(self.carriers):
            if carrier.deadline <= now:
                carrier.expire()
        return bool(self.carriers)


async def guarded(work: Work) -> None:
    """A mistake of ours ends one connection, not all of them."""
    try:
        await work()
    except Exception:
        logger.exception("a connection failed")


def peer_name(address: object) -> str | None:
    """Write the address of a client, as sockets and frameworks have it, for the logs."""
    if isinstance(address, (tuple, list)) and len(address) >= 2:
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return address if isinstance(address, str) and address else None
