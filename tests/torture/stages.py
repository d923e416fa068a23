"""The drivers, each as a row: how a server is offered on it, and where a client finds it."""

import os
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import httpx
from anyio.abc import TaskGroup
from msgspec import Struct, structs

from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnecting import ReconnectSettings
from mcpcore.service import Server
from tests.bindings.places import ERAS, LEGACY, MODERN, launcher
from tests.bindings.stories import hasty
from tests.torture.bridge import Bridge
from tests.torture.functions import FallibleStore
from tests.torture.server import authenticate, make_server, runtime
from tests.torture.story import headers
from tests.torture.suspensions import Cancelling
from tests.transports.certificates import papers
from tests.transports.redis_server import PROGRAM, redis_server
from transports.asgi import asgi_app
from transports.assembling import serve_connection
from transports.handshake import Handshake
from transports.http_settings import HttpServerSettings
from transports.link import App
from transports.link_errors import LinkError
from transports.pump import Connection, PumpSettings
from transports.runtime import RuntimeSettings
from transports.serve_settings import ServeSettings
from transports.server import serve, ungrouped
from transports.socket_settings import SocketSettings
from transports.stdio import StdioServerLink, StdioSettings
from transports.store_link import StoreLinkSettings
from transports.stores.base import StoreUnavailableError
from transports.stores.memory import MemoryStore
from transports.stores.open import open_store
from transports.targets import HttpTarget, MemoryTarget, StdioTarget, WebSocketTarget, parse_target
from transports.tasks_follower import TaskOptions
from transports.tls import client_tls, server_tls
from transports.websocket_settings import WebSocketSettings

ANY_PORT = "127.0.0.1:0"


INPUT = 2.0
"""Seconds after which a server gives up to be answered."""
DEADLINE = 10.0
"""The same of a client."""


class Stage:
    """A server that is being served, for one run; all have ``patience`` times the usual time."""

    def __init__(self, cancelling: Cancelling, *, waits: bool, patience: float = 1.0) -> None:
        self.cancelling = cancelling
        self.patience = patience
        self.waits = waits
        """Its middleware awaits."""
        self.released = anyio.Event()
        self.server: Server = make_server(self.released)
        self.target: Any = None
        self.http_client: Any = None
        self.client = hasty(DEADLINE * patience)
        """How clients connect."""
        self.driver: dict[str, str] = {}
        """Which driver of HTTP, as settings say it."""
        self.stop = anyio.Event()
        self.up = anyio.Event()
        self.ended = anyio.Event()
        self.failure: BaseException | None = None
        """What has come out of serving."""
        self.cancelled = False

    def settings(self, **more: Any) -> ServeSettings:
        soon = 0.2 * self.patience
        link = HttpServerSettings(
            authenticate=authenticate,
            drain_time=0.5 * self.patience,
            linger_time=soon,
            tidy_after=None,
        )
        pump = self.pump()
        return ServeSettings(
            runtime=self.runtime(),
            http_link=structs.replace(link, **self.driver),
            websocket=WebSocketSettings(close_timeout=soon, pump=pump),
            socket=SocketSettings(authenticate=authenticate, pump=pump, linger_time=soon),
            **more,
        )

    def runtime(self) -> RuntimeSettings:
        return runtime(waits=self.waits, input_timeout=INPUT * self.patience)

    def pump(self) -> PumpSettings:
        return PumpSettings(drain=0.2 * self.patience)

    def store_link(self) -> StoreLinkSettings:
        return StoreLinkSettings(listen=0.02, pause=0.01, farewell=1.0 * self.patience)

    async def run(self, serving: Callable[[], Any]) -> None:
        """Serve until ``stop``, or until that is cancelled."""
        try:
            with (
                anyio.CancelScope() as scope,
                self.cancelling.offering("server", scope.cancel),
            ):
                await serving()
            self.cancelled = scope.cancelled_caught
        except Exception as error:
            self.failure = error
        finally:
            self.ended.set()
            self.up.set()


class Row(Struct, frozen=True):
    """A driver."""

    name: str
    open: Callable[[Stage], AbstractAsyncContextManager[Any]]
    eras: tuple[str, ...] = ERAS
    backends: tuple[str, ...] = ("asyncio", "trio")
    stored: bool = False
    """What a server had begun that was cancelled is its store's to keep."""


@asynccontextmanager
async def _served(stage: Stage, serving: Callable[[], Any]) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(stage.run, serving)
        await stage.up.wait()
        yield
        stage.stop.set()
        await stage.ended.wait()


def network(
    binding: str,
    make_target: Callable[[str], Any] = parse_target,
    *,
    tls: bool = False,
    **more: Any,
) -> Callable[[Stage], AbstractAsyncContextManager[None]]:
    """Serve on a binding of the network."""

    @asynccontextmanager
    async def open_it(stage: Stage) -> AsyncIterator[None]:
        if tls:
            more["ssl_context"], context = _contexts()
            stage.client = structs.replace(stage.client, ssl_context=context)
        with tempfile.TemporaryDirectory(prefix="mcp-") as room:
            address = str(Path(room, "socket")) if binding == "unix" else ANY_PORT

            def listening(url: str) -> None:
                stage.target = stage.target or make_target(url)

            async def serving() -> None:
                await serve(
                    stage.server,
                    **{binding: address},  # type: ignore[arg-type]
                    settings=stage.settings(**more),
                    on_listening=listening,
                    on_ready=stage.up.set,
                    stop=stage.stop,
                )

            async with _served(stage, serving):
                yield

    return open_it


@cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server and its clients."""
    made = papers()
    return server_tls(made.server), client_tls(ca=made.trusted.file)


@asynccontextmanager
async def _tasks(stage: Stage) -> AsyncIterator[None]:
    stage.server = make_server(stage.released, "optional")
    options = TaskOptions(poll=0.01, min_poll=0.01)
    stage.client = structs.replace(stage.client, tasks=options)
    async with network("tcp")(stage):
        yield


@asynccontextmanager
async def _returning(stage: Stage) -> AsyncIterator[None]:
    """A client that comes back where its connection is lost."""
    again = ReconnectSettings(attempts=4, max_restarts=4, first_delay=0.01, jitter=0.0)
    stage.client = structs.replace(stage.client, reconnect=again)
    async with network("ws", _websocket)(stage):
        yield


def _http(url: str) -> HttpTarget:
    return HttpTarget(url, headers)


def _websocket(url: str) -> WebSocketTarget:
    return WebSocketTarget(url, headers)


def _shared(url: str) -> WebSocketTarget | None:
    """Where WebSocket is served beside HTTP."""
    return _websocket(url) if url.startswith("ws:") else None


@asynccontextmanager
async def _adapted(stage: Stage) -> AsyncIterator[None]:
    async with network("http", _http)(stage), httpx.AsyncClient(trust_env=False) as client:
        stage.http_client = client
        yield


@asynccontextmanager
async def _asgi(stage: Stage) -> AsyncIterator[None]:
    app = asgi_app(stage.server, settings=stage.settings())
    async with anyio.create_task_group() as group:
        stage.http_client = Bridge(app, group, stage.cancelling)
        stage.target = HttpTarget("http://localhost/mcp", headers)
        yield
        await app.aclose()


def _memory(*, wire: bool) -> Callable[[Stage], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def open_it(stage: Stage) -> AsyncIterator[None]:
        stage.target = MemoryTarget(stage.server, stage.runtime(), wire=wire)
        yield

    return open_it


@asynccontextmanager
async def _process(stage: Stage) -> AsyncIterator[None]:
    """A client that spawns a process, whose standard streams are served by us."""
    with tempfile.TemporaryDirectory(prefix="mcp-") as room, socket.socket(socket.AF_UNIX) as ear:
        path = Path(room, "socket")
        ear.bind(str(path))
        ear.listen(8)
        ear.setblocking(False)
        stage.target = StdioTarget(launcher(path))

        async def serving(group: TaskGroup) -> None:
            with ear:  # who connects later is refused
                stage.up.set()
                while True:
                    await anyio.wait_readable(ear)
                    link, _ = ear.accept()
                    group.start_soon(_hold, stage, link)

        async def until_stopped() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(serving, group)
                await stage.stop.wait()
                group.cancel_scope.cancel()

        async with _served(stage, until_stopped):
            yield


async def _hold(stage: Stage, link: socket.socket) -> None:
    """Serve on the streams of the process at the other end; it exits when that is over."""
    with link:
        _, streams, _, _ = socket.recv_fds(link, 1, 3)
        stdin, stdout, _ = streams

        def make_link(peer: Peer, app: App) -> Connection:
            settings = StdioSettings(pump=stage.pump(), redirect=False, signals=False)
            return StdioServerLink(peer, app, settings=settings, stdin=stdin, stdout=stdout)

        try:
            with (
                suppress(OSError, LinkError),
                ungrouped(),
            ):  # the streams cannot be used: it is over
                await serve_connection(
                    stage.server, make_link, Handshake(), settings=stage.runtime()
                )
        finally:
            for fd in streams:
                os.close(fd)
            with suppress(OSError):
                link.send(b"\0")


def _driven(
    inner: Callable[[Stage], AbstractAsyncContextManager[None]],
    driver: str = "anyio",
    parser: str = "h11",
) -> Callable[[Stage], AbstractAsyncContextManager[None]]:
    """The same on one of the drivers of HTTP, whichever is usual on the event loop."""

    @asynccontextmanager
    async def open_it(stage: Stage) -> AsyncIterator[None]:
        stage.driver = {"driver": driver, "parser": parser}
        async with inner(stage):
            yield

    return open_it


@asynccontextmanager
async def _stored_in_memory(stage: Stage) -> AsyncIterator[None]:
    store: Any = FallibleStore(MemoryStore())
    async with network("http", store=store, store_link=stage.store_link())(stage):
        yield


@asynccontextmanager
async def _stored_in_sqlite(stage: Stage) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory(prefix="mcp-") as room:
        try:
            store = open_store(f"sqlite:{room}/store.db")
        except StoreUnavailableError as error:
            stage.failure = error
            yield
            return
        try:
            async with network("http", store=store, store_link=stage.store_link())(stage):
                yield
        finally:
            store.close()


@asynccontextmanager
async def _stored_in_redis(stage: Stage) -> AsyncIterator[None]:
    with redis_server() as redis, closing(open_store(redis.url)) as store:
        async with network("http", store=store, store_link=stage.store_link())(stage):
            yield


ROWS = {
    row.name: row
    for row in (
        Row("memory", _memory(wire=False)),
        Row("memory-wire", _memory(wire=True)),
        Row("process", _process),
        Row("tcp", network("tcp")),
        Row("unix", network("unix")),
        Row("ws", network("ws", _websocket)),
        Row("http", _driven(network("http", _http))),
        *[
            Row(name, _driven(made, "asyncio", parser), eras, ("asyncio",))
            for name, made, parser, eras in (
                ("http-asyncio", network("http", _http), "h11", ERAS),
                ("http-speed", network("http", _http), "httptools", ERAS),
                ("sse-asyncio", network("sse"), "h11", (LEGACY,)),
                ("ws-shared", network("http", _shared, shared=True), "h11", ERAS),
            )
        ],
        Row("httpx", _adapted),
        Row("asgi", _asgi),
        Row("https", _driven(network("http", _http, tls=True)), eras=(MODERN,)),
        Row("https-asyncio", network("http", _http, tls=True), (MODERN,), ("asyncio",)),
        Row("wss", network("ws", _websocket, tls=True), eras=(MODERN,)),
        Row("tls", network("tcp", tls=True), eras=(LEGACY,)),
        Row("tasks", _tasks),
        Row("returning", _returning),
        Row("sse", _driven(network("sse")), eras=(LEGACY,)),
        Row("store-memory", _stored_in_memory, eras=(LEGACY,), stored=True),
        Row("store-sqlite", _stored_in_sqlite, eras=(LEGACY,), stored=True),
    )
}
if PROGRAM is not None:
    ROWS["store-redis"] = Row("store-redis", _stored_in_redis, eras=(LEGACY,), stored=True)
