"""Bindings of one server: opened one by one, closed together."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus
from msgspec import structs

from mcpcore.engine.peer import Peer
from mcpcore.errors import BadTarget
from mcpcore.http.settings import HttpSettings, SsePaths
from mcpcore.service import Server
from mcpcore.spec.revisions import legacy_of
from mcpcore_transports.link import App, Handshake, Link, LinkFactory
from mcpcore_transports.serve.assembling import (
    assemble_http,
    serve_connection,
    server_config,
)
from mcpcore_transports.serve.settings import ServeSettings, guard, sealing, websocket_rules
from mcpcore_transports.server.failures import warn_if_revealing
from mcpcore_transports.sockets.settings import authority

if TYPE_CHECKING:  # each is imported with the binding that needs it
    from mcpcore_transports.running.tasks import TaskHost
    from mcpcore_transports.sockets.server import SocketServer
    from mcpcore_transports.stdio.server import StdioServerLink
    from mcpcore_transports.stream.connection import StreamConnection
    from mcpcore_transports.websocket.server import WebSocketServer

logger = logging.getLogger("mcpcore.serve")

STDIO_URL = "stdio"
"""URL that is announced for standard input and output."""

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
    """Bindings that :func:`~mcpcore_transports.serve.serve.serve` has opened.

    Drivers are imported when they are needed, so that an unused binding costs nothing.
    """

    group: TaskGroup

    def __init__(
        self, server: Server, settings: ServeSettings, on_listening: Callable[[str], None]
    ) -> None:
        warn_if_revealing(settings.runtime)
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
        if self._server.capabilities().tasks is not None:
            from mcpcore_transports.running.tasks import TaskHost

            self._tasks = TaskHost(self._settings.runtime.tasks)
            self._tasks.begin(group)

    async def open_http(
        self, host: str, port: int, *, streamable: bool = True, sse: bool = False
    ) -> None:
        """Accept HTTP connections: for Streamable HTTP, for HTTP+SSE, or for both."""
        from mcpcore_transports.http.server.listening import HttpServerLink

        settings = self._settings
        rules = _http_rules(settings, host, streamable=streamable, sse=sse)
        shared = settings.shared and streamable
        upgrade = self._websocket_server(host).upgrade if shared else None
        link, runtime = assemble_http(
            self._server,
            partial(
                HttpServerLink,
                settings=settings.http_link,
                ssl_context=settings.ssl_context,
                upgrade=upgrade,
            ),
            settings=structs.replace(settings, http=rules),
            tasks=self._tasks,
        )
        self._links.add(link)
        if runtime.settings.seal is not None:
            self._runtime = runtime.settings  # the seal is the store's, shared by all workers

        async def serve_http(*, task_status: TaskStatus[list[tuple[str, int]]]) -> None:
            await runtime.run(partial(link.serve, host, port, task_status=task_status))

        await self.group.start(serve_http)
        scheme = "https" if settings.ssl_context else "http"
        for address in link.addresses:
            origin = f"{scheme}://{authority(*address)}"
            if rules.path is not None:
                self._on_listening(f"{origin}{rules.path}")
            if rules.sse is not None:
                self._on_listening(f"sse+{origin}{rules.sse.stream}")
            if upgrade is not None:
                self._announce_websocket(*address)

    async def open_websocket(self, host: str, port: int) -> None:
        """Accept WebSocket connections."""
        from mcpcore_transports.websocket.server import listen_websocket

        server = self._websocket_server(host)
        tls = self._settings.ssl_context
        bound = await self._open(partial(listen_websocket, host, port, server, ssl_context=tls))
        self._announce_websocket(host, bound)

    def _announce_websocket(self, host: str, port: int) -> None:
        scheme = "wss" if self._settings.ssl_context else "ws"
        self._on_listening(f"{scheme}://{authority(host, port)}{self._settings.websocket.path}")

    def _websocket_server(self, host: str) -> "WebSocketServer":
        from mcpcore_transports.websocket.server import WebSocketServer

        rules = websocket_rules(self._settings, host)
        server = WebSocketServer(self._serve_one, rules, self._settings.trace)
        self._websockets.append(server)
        return server

    async def open_tcp(self, host: str, port: int) -> None:
        """Accept TCP connections, over TLS if there is a context for it."""
        from mcpcore_transports.sockets.server import SocketServer

        settings = self._settings
        if settings.http_link.authenticate and not settings.socket.authenticate:
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
        from mcpcore_transports.sockets.server import SocketServer

        await self._open_sockets(
            await SocketServer.on_unix(path, self._serve_one, self._settings.socket)
        )

    async def _open_sockets(self, server: "SocketServer") -> None:
        self._sockets.append(server)
        try:
            await self._open(server.run)
        except BaseException:
            server.close()
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
        from mcpcore_transports.stdio.server import StdioServerLink

        def make_link(peer: Peer, app: App) -> "StreamConnection":
            settings = self._settings.stdio
            return StdioServerLink(peer, app, settings=settings, on_begin=on_begin, on_end=on_end)

        self.group.start_soon(self._serve_one, make_link)
        self._on_listening(STDIO_URL)

    async def close_after(self, stop: anyio.Event) -> None:
        """Wait for ``stop``; let running work finish, for a bounded time; end every binding."""
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
        await serve_connection(
            self._server,
            make_link,
            handshake,
            config=self._config,
            settings=self._runtime,
            links=self._links,
            tasks=self._tasks,
            trace=self._settings.trace,
        )


def _http_rules(settings: ServeSettings, host: str, *, streamable: bool, sse: bool) -> HttpSettings:
    """Return the HTTP settings of one address.  Raises BadTarget for an invalid combination."""
    rules = guard(settings, settings.http, host)
    try:
        if sse and rules.sse is None:
            rules = structs.replace(rules, sse=SsePaths())
        if not streamable:
            rules = structs.replace(rules, path=None)
    except ValueError as error:
        raise BadTarget(str(error)) from None
    if rules.sse is not None and not legacy_of(settings.runtime.revisions):
        raise BadTarget("HTTP+SSE needs a revision with a handshake: allow a legacy one")
    return rules
