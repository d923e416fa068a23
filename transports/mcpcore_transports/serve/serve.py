"""Serving: one server on standard input and output, HTTP, WebSocket and sockets, all at once.

::

    anyio.run(partial(serve, server, http="127.0.0.1:8000"))     # in a program of your own
    run(server, stdio=True)                                      # as the whole program

Drivers are imported when they are needed, so that an unused binding costs nothing.
"""

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus
from msgspec import structs

from mcpcore.engine.config import Config
from mcpcore.engine.peer import Peer
from mcpcore.errors import BadTarget, ExtraMissingError, LifespanError
from mcpcore.http.settings import HttpSettings, SsePaths
from mcpcore.spec.errors import LocalError
from mcpcore.spec.revisions import legacy_of, parse_revisions
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.link import App, Handshake, Link, clock
from mcpcore_transports.running.functions import current_loop
from mcpcore_transports.serve.assembling import (
    Application,
    LinkFactory,
    Served,
    assemble_http,
    check_served,
    make_task_host,
    routes_of,
    serve_connection,
    server_config,
)
from mcpcore_transports.serve.settings import ServeSettings, guard, sealing, websocket_rules
from mcpcore_transports.server.failures import warn_if_revealing
from mcpcore_transports.server.settings import Runtime
from mcpcore_transports.stream.settings import StdioSettings, authority, parse_address

if TYPE_CHECKING:  # each is imported with the binding that needs it
    from mcpcore_transports.http.server.host import HttpHost
    from mcpcore_transports.running.tasks import TaskHost
    from mcpcore_transports.sockets.server import SocketServer
    from mcpcore_transports.stdio.server import StdioServerLink
    from mcpcore_transports.stream.connection import StreamConnection
    from mcpcore_transports.tracing.tracing import TraceTo
    from mcpcore_transports.websocket.server import WebSocketServer

__all__ = [
    "STDIO_URL",
    "Accept",
    "Listener",
    "ServeSettings",
    "run",
    "serve",
    "server_config",
    "ungrouped",
]

logger = logging.getLogger("mcpcore.serve")

STDIO_URL = "stdio"
"""URL that is announced for standard input and output."""

LoopName = Literal["auto", "asyncio", "uvloop"]

H = TypeVar("H", bound="HttpHost")

_NO_HANDSHAKE = Handshake()

Accept = Callable[[LinkFactory], Awaitable[None]]
"""Function that serves the connection made by a ``(peer, app) -> StreamConnection``, to its end."""


class Listener(Protocol):
    """Custom binding of an application; ``docs/how-to/embedding.md`` shows one."""

    async def __call__(self, accept: Accept, *, task_status: TaskStatus[str]) -> None:
        """Accept connections until cancelled.

        Call ``task_status.started(url)`` once clients can connect.  For each connection ``await
        accept(make_link)``, in a task of its own.  An exception of a link is logged and ends that
        connection only.
        """


class Bindings:
    """Bindings of one server: opened one by one, closed together."""

    group: TaskGroup

    def __init__(
        self, server: Served, settings: ServeSettings, on_listening: Callable[[str], None]
    ) -> None:
        warn_if_revealing(settings.runtime)
        if isinstance(server, Application):
            hook = server.authenticate(settings.http_link.authenticate)
            http_link = structs.replace(settings.http_link, authenticate=hook)
            settings = structs.replace(settings, http_link=http_link)
        self._server = server
        self._routes = routes_of(server)
        self._settings = settings
        self._on_listening = on_listening
        self._configs: dict[str | None, Config] = {}
        self._links: set[Link] = set()
        self._scopes: list[anyio.CancelScope] = []
        self._sockets: list[SocketServer] = []
        self._websockets: list[WebSocketServer] = []
        self._runtimes = dict.fromkeys(self._routes, sealing(settings.runtime))
        self._tasks: TaskHost | None = None
        self._stopped: float | None = None
        """Time at which they were told to close."""

    @property
    def time_left(self) -> float:
        """Seconds that are left of the time for running work to finish."""
        link = self._settings.http_link
        passed = 0.0 if self._stopped is None else clock() - self._stopped
        return link.notice_time + link.drain_time - passed

    def begin(self, group: TaskGroup) -> None:
        """Let tasks live as long as ``group``, beyond the connections that asked for them."""
        for path, each in self._routes.items():
            self._configs[path] = server_config(each, self._settings.runtime)
        if isinstance(self._server, Application):
            return
        if self._server.capabilities().tasks is not None:
            self._tasks = make_task_host(self._settings)
            self._tasks.begin(group)

    async def open_http(
        self, host: str, port: int, *, streamable: bool = True, sse: bool = False
    ) -> None:
        """Accept HTTP connections: for Streamable HTTP, for HTTP+SSE, or for both."""
        from mcpcore_transports.http.server.host import HttpHost  # late, as below: for HTTP alone
        from mcpcore_transports.http.server.listening import HttpServerLink

        settings = self._settings
        rules = {
            path: _http_rules(settings, host, path, streamable=streamable, sse=sse)
            for path in self._routes
        }
        paths = [path for each in rules.values() for path in each.endpoint_paths]
        if twice := [path for path in paths if paths.count(path) > 1]:
            raise BadTarget(f"{twice[0]!r} would be a path of two routes")
        shared = settings.shared and streamable
        upgrade = self._websocket_server(host).upgrade if shared else None
        listening = partial(HttpServerLink, ssl_context=settings.ssl_context, upgrade=upgrade)
        first, *others = rules
        front, runtime = self._assemble(first, listening, rules[first])
        front.beside = beside = dict[str, HttpHost]()
        for path in others:
            link, around = self._assemble(path, HttpHost, rules[path])
            beside |= dict.fromkeys(rules[path].endpoint_paths, link)
            await self.group.start(_run, around, link.run)
        await self.group.start(_run, runtime, partial(front.serve, host, port))
        scheme = "https" if settings.ssl_context else "http"
        for address in front.addresses:
            origin = f"{scheme}://{authority(*address)}"
            for rule in rules.values():
                if rule.path is not None:
                    self._on_listening(f"{origin}{rule.path}")
                if rule.sse is not None:
                    self._on_listening(f"sse+{origin}{rule.sse.stream}")
            if upgrade is not None:
                self._announce_websocket(*address)

    def _assemble(
        self, path: str | None, make: "Callable[..., H]", rules: HttpSettings
    ) -> "tuple[H, Runtime]":
        """Assemble the endpoint of a route over HTTP."""
        link, runtime = assemble_http(
            self._routes[path],
            partial(make, settings=self._settings.http_link),
            settings=structs.replace(self._settings, http=rules),
            tasks=self._tasks,
            path=path,
        )
        self._links.add(link)
        if runtime.settings.seal is not None:
            self._runtimes[path] = runtime.settings  # the seal is the store's, of all workers
        return link, runtime

    async def open_websocket(self, host: str, port: int) -> None:
        """Accept WebSocket connections."""
        from mcpcore_transports.websocket.server import listen_websocket  # late: for this alone

        server = self._websocket_server(host)
        tls = self._settings.ssl_context
        bound = await self._open(partial(listen_websocket, host, port, server, ssl_context=tls))
        self._announce_websocket(host, bound)

    def _announce_websocket(self, host: str, port: int) -> None:
        scheme = "wss" if self._settings.ssl_context else "ws"
        for path in self._websocket_paths:
            self._on_listening(f"{scheme}://{authority(host, port)}{path}")

    @property
    def _websocket_paths(self) -> list[str]:
        return [path or self._settings.websocket.path for path in self._routes]

    def _websocket_server(self, host: str) -> "WebSocketServer":
        from mcpcore_transports.websocket.server import WebSocketServer  # late: for WebSocket alone

        rules = websocket_rules(self._settings, host, self._websocket_paths)
        server = WebSocketServer(self._serve_one, rules, self._settings.trace)
        self._websockets.append(server)
        return server

    async def open_tcp(self, host: str, port: int) -> None:
        """Accept TCP connections, over TLS if there is a context for it."""
        from mcpcore_transports.sockets.server import SocketServer  # late: for sockets alone

        settings = self._settings
        if settings.http_link.authenticate is not None and settings.socket.authenticate is None:
            # Authentication of HTTP alone would leave TCP beside it open to everybody.
            raise BadTarget(
                "authenticate= of HTTP is not asked on TCP: set SocketSettings.authenticate"
            )
        tls = settings.ssl_context
        await self._open_sockets(
            await SocketServer.on_tcp(host, port, self._serve_one, settings.socket, tls)
        )

    async def open_unix(self, path: str) -> None:
        """Accept connections on a Unix socket."""
        from mcpcore_transports.sockets.server import SocketServer  # late: for sockets alone

        await self._open_sockets(
            await SocketServer.on_unix(path, self._serve_one, self._settings.socket)
        )

    async def _open_sockets(self, server: "SocketServer") -> None:
        self._sockets.append(server)
        try:
            await self._open(server.run)
        except BaseException:
            server.stop()
            raise
        for url in server.urls:
            self._on_listening(url)

    async def open_custom(self, listener: Listener) -> None:
        """Accept connections of an application's own binding."""

        async def accept(make_link: LinkFactory) -> None:
            try:
                await self._serve_one(make_link)
            except Exception:  # a fault in a link ends one connection, not all of them
                logger.exception("a connection failed")

        self._on_listening(await self._open(partial(listener, accept)))

    def open_stdio(
        self,
        on_begin: "Callable[[StdioServerLink], None] | None",
        on_end: Callable[[], None] | None,
    ) -> None:
        """Serve the program that started this process, over standard input and output."""
        from mcpcore_transports.stdio.server import StdioServerLink  # late: for stdio alone

        if len(sys.argv) > 1:
            from mcpcore_transports.auth.environment import argv_warning  # late: few authorize

            warning = argv_warning(sys.argv)
            if warning is not None:
                logging.getLogger("mcpcore.stdio").warning(warning)

        def make_link(peer: Peer, app: App) -> "StreamConnection":
            settings = self._settings.stdio
            return StdioServerLink(peer, app, settings=settings, on_begin=on_begin, on_end=on_end)

        self.group.start_soon(self._serve_one, make_link)
        self._on_listening(STDIO_URL)

    async def close_after(self, stop: anyio.Event) -> None:
        """Wait for ``stop``; let running work finish, for a bounded time; end every binding."""
        await stop.wait()
        self._stopped = clock()
        for server in self._sockets:
            server.stop()
        for websocket in self._websockets:
            websocket.count.closing = True
        async with anyio.create_task_group() as closing:
            for link in tuple(self._links):
                closing.start_soon(link.aclose)
        for scope in self._scopes:
            scope.cancel()

    async def _open(self, listen: Callable[..., Awaitable[None]]) -> Any:
        """Run ``listen`` until the bindings close; return what it says once it listens."""
        scope = anyio.CancelScope()
        self._scopes.append(scope)

        async def serve(*, task_status: TaskStatus[Any]) -> None:
            with scope:
                await listen(task_status=task_status)

        return await self.group.start(serve)

    async def _serve_one(
        self, make_link: LinkFactory, handshake: Handshake = _NO_HANDSHAKE
    ) -> None:
        path = handshake.path if handshake.path in self._routes else next(iter(self._routes))
        await serve_connection(
            self._routes[path],
            make_link,
            handshake,
            config=self._configs[path],
            settings=self._runtimes[path],
            links=self._links,
            tasks=self._tasks,
            trace=self._settings.trace,
        )


async def _run(
    runtime: Runtime, run: Callable[..., Awaitable[None]], *, task_status: TaskStatus[Any]
) -> None:
    await runtime.run(partial(run, task_status=task_status))


def _http_rules(
    settings: ServeSettings, host: str, path: str | None, *, streamable: bool, sse: bool
) -> HttpSettings:
    """Return the HTTP settings of a route at one address.  Raises BadTarget."""
    rules = guard(settings, settings.http, host)
    sse = sse or rules.sse is not None
    try:
        if path is not None:
            base = path.rstrip("/")
            paths = SsePaths(stream=f"{base}/sse", messages=f"{base}/messages") if sse else None
            rules = structs.replace(rules, path=path, sse=paths)
        elif sse and rules.sse is None:
            rules = structs.replace(rules, sse=SsePaths())
        if not streamable:
            rules = structs.replace(rules, path=None)
    except ValueError as error:
        raise BadTarget(str(error)) from None
    if rules.sse is not None and not legacy_of(settings.runtime.revisions):
        raise BadTarget("HTTP+SSE needs a revision with a handshake: allow a legacy one")
    return rules


async def serve(
    server: Served,
    *,
    stdio: bool = False,
    http: str | Sequence[str] = (),
    ws: str | Sequence[str] = (),
    sse: str | Sequence[str] = (),
    tcp: str | Sequence[str] = (),
    unix: str | Sequence[str] = (),
    custom: Sequence[Listener] = (),
    settings: ServeSettings | None = None,
    revisions: Sequence[str] | None = None,
    on_listening: Callable[[str], None] | None = None,
    on_ready: Callable[[], None] | None = None,
    on_stdio_begin: "Callable[[StdioServerLink], None] | None" = None,
    on_stdio_end: Callable[[], None] | None = None,
    stop: anyio.Event | None = None,
    trace: "TraceTo | None" = None,
) -> None:
    """Serve on every binding named, until all of them have ended or ``stop`` is set.

    ``http``, ``ws``, ``sse`` and ``tcp`` are addresses, ``HOST:PORT``, port 0 for a free one; an
    address in both ``http`` and ``sse`` serves both at one port.  ``unix`` are paths of socket
    files; ``stdio`` ends with standard input; ``custom`` are bindings of the application.
    ``revisions`` names the revisions to speak, in place of those in ``settings``.  ``on_listening``
    is called with the URL of each binding once it accepts connections, ``on_ready`` once all of
    them do, ``on_stdio_begin`` when standard input and output are taken, ``on_stdio_end`` when they
    are released.
    ``trace`` records the traffic of all bindings: the name of a file, or a
    :class:`~mcpcore_transports.tracing.tracing.Trace`.
    Setting ``stop`` lets running requests finish, for a bounded time.  Everything happens within
    the lifespan of the server.  Raises BadTarget, LinkError or OSError if a binding cannot be
    opened, LifespanError if the lifespan does not start or does not end well.
    """
    check_served(server)
    wanted = (http, ws, sse, tcp, unix, custom)
    if not stdio and not any(each or isinstance(each, str) for each in wanted):
        raise BadTarget("there is nothing to serve on: name a binding, such as http= or stdio=True")
    settings = settings or ServeSettings()
    if revisions is not None:
        runtime = structs.replace(settings.runtime, revisions=parse_revisions(revisions))
        settings = structs.replace(settings, runtime=runtime)
    to = settings.trace if trace is None else trace
    with ungrouped(), ExitStack() as recording:
        if to is not None:
            from mcpcore_transports.tracing.tracing import tracing  # late: few record a trace

            recorder = recording.enter_context(tracing(to))
            if recorder is not None:
                recorder.begin("server", target=server.info.name)
            settings = structs.replace(settings, trace=recorder)
        bindings = Bindings(server, settings, on_listening or (lambda url: None))

        streamable, streams, websockets, sockets = (
            [parse_address(address) for address in _listed(each)] for each in (http, sse, ws, tcp)
        )

        pathless = {"stdio": stdio, "tcp": tcp, "unix": unix, "custom": custom}
        routes = list(routes_of(server))
        if len(routes) > 1 and (given := [name for name, each in pathless.items() if each]):
            raise BadTarget(f"{given[0]} has no path, and so one route: there are {routes}")

        async def offer(lifespan: object = None) -> None:
            async with anyio.create_task_group() as watching:
                bindings.begin(watching)
                async with anyio.create_task_group() as bindings.group:
                    for place in streamable:
                        await bindings.open_http(*place, sse=place in streams)
                    for place in streams:
                        if place not in streamable:
                            await bindings.open_http(*place, streamable=False, sse=True)
                    for place in websockets:
                        await bindings.open_websocket(*place)
                    for place in sockets:
                        await bindings.open_tcp(*place)
                    for path in _listed(unix):
                        await bindings.open_unix(path)
                    for listener in custom:
                        await bindings.open_custom(listener)
                    if stdio:
                        bindings.open_stdio(on_stdio_begin, on_stdio_end)
                    if on_ready is not None:
                        on_ready()
                    if stop is not None:
                        watching.start_soon(bindings.close_after, stop)
                watching.cancel_scope.cancel()

        async def offer_all() -> float:
            await offer()
            return bindings.time_left

        if isinstance(server, Application):
            await server.run(offer_all, settings.runtime)
        elif server.lifespan is None:
            await offer()
        else:
            from mcpcore_transports.server.lifespan import within  # late: few have a lifespan

            await within(server, settings.runtime, offer, stop=stop)


@contextmanager
def _ending_the_program() -> Iterator[None]:
    """Turn a failed lifespan into one line on stderr; a traceback would not help."""
    try:
        yield
    except LifespanError as error:
        raise SystemExit(str(error)) from error


@_ending_the_program()
def run(
    server: Served,
    *,
    stdio: bool = False,
    http: str | Sequence[str] = (),
    ws: str | Sequence[str] = (),
    sse: str | Sequence[str] = (),
    tcp: str | Sequence[str] = (),
    unix: str | Sequence[str] = (),
    custom: Sequence[Listener] = (),
    settings: ServeSettings | None = None,
    revisions: Sequence[str] | None = None,
    on_listening: Callable[[str], None] | None = None,
    on_ready: Callable[[], None] | None = None,
    until: Callable[[], Awaitable[None]] | None = None,
    backend: str = "asyncio",
    loop: LoopName = "auto",
    trace: "TraceTo | None" = None,
) -> None:
    """Serve as a whole program, which SIGINT and SIGTERM end gracefully.

    Without any binding it serves on standard input and output.  On any other, without
    ``on_listening``, a line on standard error gives each address.  ``loop`` is that of asyncio,
    where there is another binding: its own or uvloop, or ``auto`` for the faster one.  It also ends
    when ``until`` returns.  A program that serves standard input and output alone ends promptly,
    with the programs that its handlers have started, according to ``settings.stdio`` (``linger``,
    ``end_children``).  A lifespan that fails ends the program with one line on standard error and
    status 1 (SystemExit).
    Raises LocalError within a running event loop, where :func:`serve` is awaited.
    """
    check_served(server)
    with suppress(RuntimeError):
        current_loop()
        raise LocalError("an event loop runs here already: await serve(server, ...) in it")
    elsewhere = bool(http or ws or sse or tcp or unix or custom)
    stdio = stdio or not elsewhere
    if elsewhere and on_listening is None:
        on_listening = _tell_address
    serving = partial(
        serve,
        server,
        stdio=stdio,
        http=http,
        ws=ws,
        sse=sse,
        tcp=tcp,
        unix=unix,
        custom=custom,
        settings=settings,
        revisions=revisions,
        on_listening=on_listening,
        on_ready=on_ready,
        trace=trace,
    )
    if elsewhere:
        link = (settings or ServeSettings()).http_link if http or sse else None
        options = backend_options(loop, backend, link)
        anyio.run(_until_signalled, serving, until, backend=backend, backend_options=options)
        return
    from mcpcore_transports.stdio.server import ProgramExit  # late: for stdio alone

    at_end = settings.stdio if settings is not None else StdioSettings()
    exiting = ProgramExit(at_end.linger, end_children=at_end.end_children)
    if not isinstance(server, Application) and server.lifespan is not None:
        from mcpcore_transports.server.lifespan import seconds_left  # late: few have a lifespan

        exiting.more_time = seconds_left
    serving = partial(serving, on_stdio_begin=exiting.watch, on_stdio_end=exiting.over)
    with exiting.signals(at_end.connection.drain) as signals, exiting:
        anyio.run(_until_signalled, serving, until, signals, backend=backend)


def _tell_address(address: str) -> None:
    if sys.stderr is not None:  # a program without a console
        print(f"listening on {address}", file=sys.stderr, flush=True)


def backend_options(
    loop: LoopName, backend: str, settings: HttpServerSettings | None
) -> dict[str, Any]:
    """Return the backend options for ``anyio.run`` that select the event loop.

    ``settings`` are those of HTTP, None if it is not served.  ``auto`` is uvloop if it is installed
    and HTTP is served on asyncio with httptools: with h11 it would not be faster.  Where a standard
    stream is closed it is asyncio: libuv aborts a process whose socket has got the number.  Raises
    ExtraMissingError for uvloop if it is not installed, LocalError for it on trio.
    """
    there = find_spec("uvloop") is not None
    if loop == "auto":
        loop = "asyncio"
        fast = settings is not None and settings.driver != "anyio" and backend == "asyncio"
        if there and settings and fast and _standard_streams_are_open():
            from mcpcore_transports.http1.heads import chosen  # late: for HTTP alone

            loop = "uvloop" if chosen(settings.parser) == "httptools" else "asyncio"
    if loop != "uvloop":
        return {}
    if backend != "asyncio":
        raise LocalError("uvloop is a loop of asyncio")
    if not there:
        raise ExtraMissingError("uvloop is not installed: pip install 'mcpcore[speed]'")
    from uvloop import new_event_loop

    return {"loop_factory": new_event_loop}


def _standard_streams_are_open() -> bool:
    try:
        for number in range(3):
            os.fstat(number)
    except OSError:
        return False
    return True


async def _until_signalled(
    serving: Callable[..., Awaitable[None]],
    until: Callable[[], Awaitable[None]] | None,
    received: AsyncIterator[object] | None = None,
) -> None:
    stop = anyio.Event()
    # Until all has ended: what is being cancelled must not meet a KeyboardInterrupt.
    listening = anyio.CancelScope(shield=True)
    with ungrouped():
        async with anyio.create_task_group() as group:

            async def obey() -> None:
                caught: AbstractContextManager[AsyncIterator[object]]
                if received is None:
                    caught = anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM)
                else:
                    caught = nullcontext(received)
                # on Windows there is nothing but KeyboardInterrupt
                with listening, suppress(NotImplementedError), caught as signals:
                    async for _ in signals:
                        if stop.is_set():  # the second signal ends it at once
                            group.cancel_scope.cancel()
                        stop.set()

            async def wait() -> None:
                if until is not None:
                    await until()
                    stop.set()

            group.start_soon(obey)
            group.start_soon(wait)
            try:
                await serving(stop=stop)
            finally:
                listening.cancel()
            group.cancel_scope.cancel()


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raise a single exception from task groups without its groups."""
    try:
        yield
    except BaseExceptionGroup as group:
        only: BaseException = group
        while isinstance(only, BaseExceptionGroup) and len(only.exceptions) == 1:
            only = only.exceptions[0]
        raise only from only.__cause__


def _listed(addresses: str | Sequence[str]) -> Sequence[str]:
    if not isinstance(addresses, Iterable):  # a mistake that a type checker finds
        raise TypeError(f"an address is text, such as '127.0.0.1:8000', not {addresses!r}")
    return [addresses] if isinstance(addresses, str) else addresses
