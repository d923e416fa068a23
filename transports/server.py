"""Serving: one server on standard input and output, HTTP, WebSocket and sockets, all at once.

::

    anyio.run(partial(serve, server, http="127.0.0.1:8000"))     # in a program of your own
    run(server, stdio=True)                                      # as the whole program
"""

import hmac
import secrets
import signal
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus
from msgspec import UNSET, Struct, field, structs

from mcpcore.engine.config import ASKABLE, Config, Role
from mcpcore.engine.peer import Peer
from mcpcore.http.origin import LOOPBACK_HOSTS, OriginPolicy
from mcpcore.http.server import HttpServer
from mcpcore.http.settings import HttpSettings
from mcpcore.http.stored import StoredHttpServer
from mcpcore.http.storing import StoreBinding
from mcpcore.service import Server
from mcpcore.spec.revisions import parse_revisions
from transports.client_core import ClientCore
from transports.http_host import HttpHost
from transports.http_server import HttpServerLink
from transports.http_settings import HttpServerSettings
from transports.link import App, Link
from transports.memory import memory_links
from transports.pump import Connection
from transports.runtime import RuntimeSettings, ServerRuntime
from transports.seal import SealKey, SealSettings, make_seal
from transports.socket_server import SocketServer
from transports.socket_settings import SocketSettings
from transports.stdio import StdioServerLink, StdioSettings
from transports.store_link import StoreLinkSettings, binding
from transports.stores.base import Store
from transports.targets import BadTarget, authority, parse_address
from transports.tasks_host import TaskHost
from transports.websocket_server import LinkFactory, WebSocketServer, listen_websocket
from transports.websocket_settings import WebSocketSettings
from transports.websocket_upgrade import Handshake, UpgradeRules

S = TypeVar("S", HttpSettings, WebSocketSettings)
H = TypeVar("H", bound=HttpHost)

STDIO_URL = "stdio"
"""What is announced for standard input and output."""


class ServeSettings(Struct, frozen=True, kw_only=True):
    """How a server is offered. Hosts and origins concern HTTP and WebSocket alike."""

    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    allowed_hosts: tuple[str, ...] | None = None
    """Names by which we may be reached; None: loopback names, and each host that is bound."""
    allowed_origins: tuple[str, ...] | None = None
    """Origins of web pages that may call; None: the server's own pages."""
    http: HttpSettings = field(default_factory=HttpSettings)
    http_link: HttpServerSettings = field(default_factory=HttpServerSettings)
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    stdio: StdioSettings = field(default_factory=lambda: StdioSettings(signals=False))
    socket: SocketSettings = field(default_factory=SocketSettings)
    """Of TCP and Unix sockets."""
    shared: bool = False
    """Serve WebSocket at the addresses of HTTP too, at ``websocket.path`` of them: the header
    Upgrade decides."""
    ssl_context: ssl.SSLContext | None = None
    store: Store | None = None
    """Where the sessions of HTTP and their events are kept; None: in memory, in this process."""
    store_link: StoreLinkSettings = field(default_factory=StoreLinkSettings)


async def serve(
    server: Server,
    *,
    stdio: bool = False,
    http: str | Sequence[str] = (),
    ws: str | Sequence[str] = (),
    tcp: str | Sequence[str] = (),
    unix: str | Sequence[str] = (),
    settings: ServeSettings | None = None,
    revisions: Sequence[str] | None = None,
    on_listening: Callable[[str], None] | None = None,
    on_ready: Callable[[], None] | None = None,
    stop: anyio.Event | None = None,
) -> None:
    """Serve on every binding named, until all of them have ended or ``stop`` is set.

    ``http``, ``ws`` and ``tcp`` are addresses, ``HOST:PORT``, port 0 for a free one; ``unix`` are
    paths of socket files; ``stdio`` ends with standard input.  ``revisions`` names those that are
    spoken, in the place of what ``settings`` say.  ``on_listening`` gets the URL of each binding
    once it accepts connections, ``on_ready`` is called once all of them do.
    Setting ``stop`` lets running requests finish, for a bounded time.  Raises BadTarget, LinkError
    or OSError if a binding cannot be opened.
    """
    settings = settings or ServeSettings()
    if revisions is not None:
        runtime = structs.replace(settings.runtime, revisions=parse_revisions(revisions))
        settings = structs.replace(settings, runtime=runtime)
    bindings = _Bindings(server, settings, on_listening or (lambda url: None))
    with ungrouped():
        async with anyio.create_task_group() as watching:
            bindings.begin(watching)
            async with anyio.create_task_group() as bindings.group:
                for address in _listed(http):
                    await bindings.open_http(*parse_address(address))
                for address in _listed(ws):
                    await bindings.open_websocket(*parse_address(address))
                for address in _listed(tcp):
                    await bindings.open_tcp(*parse_address(address))
                for path in _listed(unix):
                    await bindings.open_unix(path)
                if stdio:
                    bindings.open_stdio()
                if on_ready is not None:
                    on_ready()
                if stop is not None:
                    watching.start_soon(bindings.close_after, stop)
            watching.cancel_scope.cancel()


def run(
    server: Server,
    *,
    stdio: bool = False,
    http: str | Sequence[str] = (),
    ws: str | Sequence[str] = (),
    tcp: str | Sequence[str] = (),
    unix: str | Sequence[str] = (),
    settings: ServeSettings | None = None,
    revisions: Sequence[str] | None = None,
    on_listening: Callable[[str], None] | None = None,
    on_ready: Callable[[], None] | None = None,
    until: Callable[[], Awaitable[None]] | None = None,
    backend: str = "asyncio",
) -> None:
    """Serve as a whole program: SIGINT and SIGTERM end it in good order.

    Without any binding it serves on standard input and output.  It also ends when ``until``
    returns.
    """
    if not (http or ws or tcp or unix):
        stdio = True
    serving = partial(
        serve,
        server,
        stdio=stdio,
        http=http,
        ws=ws,
        tcp=tcp,
        unix=unix,
        settings=settings,
        revisions=revisions,
        on_listening=on_listening,
        on_ready=on_ready,
    )
    anyio.run(_until_signalled, serving, until, backend=backend)


async def _until_signalled(
    serving: Callable[..., Awaitable[None]], until: Callable[[], Awaitable[None]] | None
) -> None:
    stop = anyio.Event()
    with ungrouped():
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                with (
                    suppress(NotImplementedError),  # Windows: KeyboardInterrupt is all there is
                    anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
                ):
                    async for _ in signals:
                        if stop.is_set():  # the second one has no patience
                            group.cancel_scope.cancel()
                        stop.set()

            async def wait() -> None:
                if until is not None:
                    await until()
                    stop.set()

            group.start_soon(watch)
            group.start_soon(wait)
            await serving(stop=stop)
            group.cancel_scope.cancel()


@contextmanager
def ungrouped() -> Iterator[None]:
    """Let a single exception come out of task groups as it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        only: BaseException = group
        while isinstance(only, BaseExceptionGroup) and len(only.exceptions) == 1:
            only = only.exceptions[0]
        raise only from None


async def serve_connection(
    server: Server,
    make_link: LinkFactory,
    handshake: Handshake,
    *,
    config: Config | None = None,
    settings: RuntimeSettings | None = None,
    links: set[Link] | None = None,
    tasks: TaskHost | None = None,
) -> None:
    """Serve one connection, made by ``make_link``, to its end.

    ``links`` holds the link for as long as it lives; ``tasks`` the tasks, if they outlive it.
    """
    settings = settings or RuntimeSettings()
    peer = Peer(Role.SERVER, config or server_config(server, settings))
    runtime = ServerRuntime(server, peer, settings, tasks=tasks)
    link = runtime.link = make_link(peer, runtime)
    links = set() if links is None else links
    links.add(link)
    try:
        await runtime.run(link.run)
    finally:
        links.discard(link)


async def join_in_memory(
    client: Peer,
    app: ClientCore,
    server: Server,
    group: TaskGroup,
    settings: RuntimeSettings | None = None,
    *,
    wire: bool = False,
) -> Link:
    """Serve a client of this process in ``group``; returns the client's link, yet to be run.

    ``wire``: through bytes, see :mod:`transports.memory`.
    """
    settings = settings or RuntimeSettings()
    peer = Peer(Role.SERVER, server_config(server, settings))
    runtime = ServerRuntime(server, peer, settings)
    ours, theirs = memory_links((client, app), (peer, runtime), wire=wire)
    runtime.link = theirs
    group.start_soon(runtime.run, theirs.run)
    return ours


def server_config(server: Server, settings: RuntimeSettings) -> Config:
    """Say to the engine who the server is and what it offers."""
    return Config(
        info=server.info,
        capabilities=server.capabilities(),
        instructions=server.instructions,
        revisions=settings.revisions,
        limits=settings.limits,
        header_params=server.header_params,
        extension_methods=server.extension_methods,
        asked_first=ASKABLE if settings.middleware else frozenset(),
    )


def assemble_http(
    server: Server,
    make_host: Callable[[HttpServer, App], H],
    *,
    settings: ServeSettings,
    tasks: TaskHost | None = None,
    shared: StoreBinding | None = None,
) -> tuple[H, ServerRuntime]:
    """Put a server, its runtime and a host of HTTP together; yet to be run.

    ``settings.http`` is taken as it is.  ``tasks`` holds the tasks, if they outlive the endpoint.
    ``shared`` is how we take part in the store that the settings name; without it the store is
    asked, which may block.  Raises StoreUnavailableError if it cannot be reached.
    """
    config = server_config(server, settings.runtime)
    secret = secrets.token_bytes(32)
    if settings.store is None:
        machine = HttpServer(config, secret=secret, settings=settings.http)
        runtime = ServerRuntime(server, machine, settings.runtime, tasks=tasks)
        host = runtime.link = make_host(machine, runtime)
        return host, runtime
    shared = shared or binding(settings.store)
    stored = StoredHttpServer(config, secret=secret, store=shared, settings=settings.http)
    runtime_settings = settings.runtime
    if runtime_settings.seal is None:
        # A request of the modern era may come back to another worker than the one that asked.
        keys = SealSettings(keys=(SealKey(hmac.digest(shared.secret, b"mcpcore seal", "sha256")),))
        runtime_settings = structs.replace(runtime_settings, seal=make_seal(keys))
    runtime = ServerRuntime(server, stored, runtime_settings, tasks=tasks)
    host = runtime.link = make_host(stored, runtime)
    host.use_store(settings.store, stored, shared.worker, settings.store_link)
    return host, runtime


class _Bindings:
    group: TaskGroup

    def __init__(
        self, server: Server, settings: ServeSettings, on_listening: Callable[[str], None]
    ) -> None:
        self._server = server
        self._settings = settings
        self._on_listening = on_listening
        self._config = server_config(server, settings.runtime)
        self._links: set[Link] = set()
        self._scopes: list[anyio.CancelScope] = []
        self._sockets: list[SocketServer] = []
        self._websockets: list[WebSocketServer] = []
        self._runtime = sealing(settings.runtime)
        self._tasks: TaskHost | None = None

    def begin(self, group: TaskGroup) -> None:
        """Let tasks live as long as ``group``, beyond the connections that asked for them."""
        if self._server.capabilities().tasks is not UNSET:
            self._tasks = TaskHost(self._settings.runtime.tasks)
            self._tasks.begin(group)

    async def open_http(self, host: str, port: int) -> None:
        """Accept HTTP connections."""
        settings = self._settings
        upgrade = self._websocket_server(host).upgrade if settings.shared else None
        link, runtime = assemble_http(
            self._server,
            partial(
                HttpServerLink,
                settings=settings.http_link,
                ssl_context=settings.ssl_context,
                upgrade=upgrade,
            ),
            settings=structs.replace(settings, http=guard(settings, settings.http, host)),
            tasks=self._tasks,
        )
        self._links.add(link)

        async def serve_http(*, task_status: TaskStatus[list[tuple[str, int]]]) -> None:
            await runtime.run(partial(link.serve, host, port, task_status=task_status))

        await self.group.start(serve_http)
        scheme = "https" if settings.ssl_context else "http"
        for address in link.addresses:
            self._on_listening(f"{scheme}://{authority(*address)}{settings.http.path}")
            if upgrade is not None:
                self._announce_websocket(*address)

    async def open_websocket(self, host: str, port: int) -> None:
        """Accept WebSocket connections."""
        settings = self._settings
        server = self._websocket_server(host)
        scope = anyio.CancelScope()
        self._scopes.append(scope)

        async def serve_ws(*, task_status: TaskStatus[int]) -> None:
            with scope:
                await listen_websocket(
                    host,
                    port,
                    server,
                    ssl_context=settings.ssl_context,
                    task_status=task_status,
                )

        bound = await self.group.start(serve_ws)
        self._announce_websocket(host, bound)

    def _announce_websocket(self, host: str, port: int) -> None:
        scheme = "wss" if self._settings.ssl_context else "ws"
        self._on_listening(f"{scheme}://{authority(host, port)}{self._settings.websocket.path}")

    def _websocket_server(self, host: str) -> WebSocketServer:
        rules = websocket_rules(self._settings, host)
        server = WebSocketServer(self._serve_one, rules)
        self._websockets.append(server)
        return server

    async def open_tcp(self, host: str, port: int) -> None:
        """Accept TCP connections, over TLS if there is a context for it."""
        settings = self._settings
        if settings.http_link.authenticate and not settings.socket.authenticate:
            # Whoever asks this of HTTP does not mean to let others in beside it.
            raise BadTarget(
                "authenticate= of HTTP is not asked on TCP: set SocketSettings.authenticate"
            )
        tls = settings.ssl_context
        await self._open_sockets(
            await SocketServer.on_tcp(host, port, self._serve_socket, settings.socket, tls)
        )

    async def open_unix(self, path: str) -> None:
        """Accept connections on a Unix socket."""
        await self._open_sockets(
            await SocketServer.on_unix(path, self._serve_socket, self._settings.socket)
        )

    async def _open_sockets(self, server: SocketServer) -> None:
        self._sockets.append(server)
        scope = anyio.CancelScope()
        self._scopes.append(scope)

        async def serve_sockets(*, task_status: TaskStatus[None]) -> None:
            with scope:
                await server.run(task_status=task_status)

        await self.group.start(serve_sockets)
        for url in server.urls:
            self._on_listening(url)

    async def _serve_socket(self, make_link: LinkFactory) -> None:
        await self._serve_one(make_link, Handshake())

    def open_stdio(self) -> None:
        """Serve the program that started us."""

        def make_link(peer: Peer, app: App) -> Connection:
            return StdioServerLink(peer, app, settings=self._settings.stdio)

        self.group.start_soon(self._serve_one, make_link, Handshake())
        self._on_listening(STDIO_URL)

    async def close_after(self, stop: anyio.Event) -> None:
        """Then let what runs finish, for a bounded time, and end every binding."""
        await stop.wait()
        for server in self._sockets:
            server.stop()
        for websocket in self._websockets:
            websocket.count.closing = True
        async with anyio.create_task_group() as closing:
            for link in tuple(self._links):
                closing.start_soon(link.aclose)
        for scope in self._scopes:
            scope.cancel()

    async def _serve_one(self, make_link: LinkFactory, handshake: Handshake) -> None:
        await serve_connection(
            self._server,
            make_link,
            handshake,
            config=self._config,
            settings=self._runtime,
            links=self._links,
            tasks=self._tasks,
        )


def guard(settings: ServeSettings, binding: S, host: str | None = None) -> S:
    """Apply the policy for Host and Origin that all bindings share to the settings of one.

    ``host`` is what it is bound to, if we know.  Raises BadTarget for a policy that is none.
    """
    hosts, origins = settings.allowed_hosts, settings.allowed_origins
    try:
        OriginPolicy(hosts or binding.allowed_hosts, origins or binding.allowed_origins)
    except ValueError as error:
        raise BadTarget(str(error)) from None
    if host is not None and hosts is None:
        name = authority(host)
        if name not in (*LOOPBACK_HOSTS, "0.0.0.0", "[::]"):  # noqa: S104 - compared
            hosts = (*LOOPBACK_HOSTS, name)
    return structs.replace(
        binding,
        allowed_hosts=hosts or binding.allowed_hosts,
        allowed_origins=origins or binding.allowed_origins,
    )


def websocket_rules(settings: ServeSettings, host: str | None = None) -> UpgradeRules:
    """Make the rules by which WebSockets are let in: those of HTTP, its authentication included.

    ``host`` is what is bound, if we know.  Raises BadTarget for a policy that is none.
    """
    return UpgradeRules(
        guard(settings, settings.websocket, host),
        authenticate=settings.http_link.authenticate,
        authenticate_time=settings.http_link.authenticate_time,
        revisions=settings.runtime.revisions,
    )


def sealing(settings: RuntimeSettings) -> RuntimeSettings:
    """Have the runtimes of several connections open what any of them has sealed."""
    if settings.seal is not None:
        return settings
    return structs.replace(settings, seal=make_seal())


def _listed(addresses: str | Sequence[str]) -> Sequence[str]:
    return [addresses] if isinstance(addresses, str) else addresses
