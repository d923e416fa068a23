"""Server side of the WebSocket binding: listeners, connections, and upgrades from HTTP."""

import logging
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener, TaskStatus

from mcpcore.engine.peer import Peer
from mcpcore.errors import LinkError
from mcpcore.http.certificates import ClientCertificate
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Refusal, address_of, quota_key
from mcpcore_transports.http.server.host import peer_name
from mcpcore_transports.http.server.lingering import linger
from mcpcore_transports.http1.format import format_response
from mcpcore_transports.http1.heads import BadHead, RequestParser, find_head
from mcpcore_transports.link import App, Handshake, LinkFactory
from mcpcore_transports.link_errors import STREAM_ERRORS, cannot_listen
from mcpcore_transports.stream.channels import SecureStream
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.stream.plain import PendingConnections, accept
from mcpcore_transports.tls import client_certificate
from mcpcore_transports.websocket.link import Opened, WebSocketLink
from mcpcore_transports.websocket.settings import WebSocketSettings
from mcpcore_transports.websocket.upgrade import UpgradeRefused, UpgradeRules, refused

if TYPE_CHECKING:
    from mcpcore_transports.tracing.tracing import Trace

logger = logging.getLogger("mcpcore.websocket")

Serve = Callable[[LinkFactory, Handshake], Awaitable[None]]
"""Server of one connection: makes Peer, App and the link, and awaits ``link.run()``."""

_PAUSE = 0.1
_RETRY = ("Retry-After", "1")


class ConnectionCount:
    """Count of the open connections, in total and per client."""

    def __init__(self, settings: WebSocketSettings) -> None:
        self.closing = False
        """True if no further connections are accepted."""
        self._settings = settings
        self._all = 0
        self._clients: Counter[str] = Counter()

    def check_open(self) -> None:
        """Raise UpgradeRefused if no further connections are accepted."""
        if self.closing:
            raise refused(503, "the server is shutting down", _RETRY)

    @contextmanager
    def another(self, peer: str | None) -> Iterator[None]:
        """Count a connection.  Raises UpgradeRefused if there are too many."""
        client = quota_key(address_of(peer))
        self.check_open()
        if self._all >= self._settings.max_connections:
            raise refused(503, "too many connections", _RETRY)
        if self._clients[client] >= self._settings.max_connections_per_client:
            raise refused(503, "too many connections from your address", _RETRY)
        self._all += 1
        self._clients[client] += 1
        try:
            yield
        finally:
            self._all -= 1
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]


class WebSocketServer:
    """Server of WebSocket connections from any listener.

    ``serve`` is called with each accepted connection.
    """

    def __init__(self, serve: Serve, rules: UpgradeRules, trace: "Trace | None" = None) -> None:
        self._trace = trace
        self.count = ConnectionCount(rules.settings)
        self._serve = serve
        self._rules = rules
        self._settings = rules.settings
        self._turned_away = 0

    async def upgrade(self, stream: ByteStream, request: HttpRequest, rest: bytes) -> bool:
        """Take over a connection of an HTTP server: see ``Upgrade``."""
        if not self._rules.concerns(request):
            return False
        refusal: Refusal | None = None
        try:
            with self.count.another(request.peer):
                await self._converse(stream, request, rest)
        except UpgradeRefused as error:
            refusal = error.refusal
        if refusal is not None:
            await self._refuse(stream, refusal)
        return True

    async def connection(
        self, stream: ByteStream, peer: str | None, context: ssl.SSLContext | None
    ) -> None:
        """Serve one connection to its end; raises nothing but cancellation."""
        refusal: Refusal | None = None
        secured = stream
        try:
            try:
                with self.count.another(peer):
                    with anyio.move_on_after(self._settings.handshake_timeout) as opening:
                        certificate: ClientCertificate | None = None
                        if context is not None:
                            secured = await SecureStream.wrap(
                                stream,
                                server_side=True,
                                ssl_context=context,
                                standard_compatible=False,
                            )
                            certificate = client_certificate(secured)
                        request, rest = await self._read(secured, peer, certificate)
                    if opening.cancelled_caught:
                        raise BadHead(408, "the request took too long")
                    await self._converse(secured, request, rest)
            except UpgradeRefused as error:
                refusal = error.refusal
            except BadHead as error:
                refusal = Refusal(status=error.status, message=error.message)
            except (OSError, *STREAM_ERRORS):
                pass  # it is gone before it was a WebSocket
            except Exception:
                logger.exception("a WebSocket connection was ended by an error of this server")
            # A connection refused for lack of room has no TLS yet.
            if refusal is not None and (context is None or secured is not stream):
                await self._turn_away(secured, refusal)
        finally:
            with anyio.CancelScope(shield=True), suppress(OSError, *STREAM_ERRORS):
                with anyio.move_on_after(self._settings.close_timeout):
                    await secured.aclose()

    async def _read(
        self, stream: ByteStream, peer: str | None, certificate: ClientCertificate | None
    ) -> tuple[HttpRequest, bytes]:
        """Read the head of a request, and the data that came with it.  Raises BadHead."""
        limits = self._settings.head_limits
        buffer = bytearray()
        while not (size := find_head(buffer, limits)):
            buffer += await stream.receive(4096)
        head = RequestParser().parse(
            bytes(buffer[:size]),
            peer,
            scheme="https" if isinstance(stream, SecureStream) else "http",
            certificate=certificate,
        )
        if head.http_1_0:
            raise BadHead(505, "HTTP/1.1 is needed")
        return head.request, bytes(buffer[size:])

    async def _converse(self, stream: ByteStream, request: HttpRequest, rest: bytes) -> None:
        """Agree on a WebSocket and serve it.  Raises UpgradeRefused."""
        trace = None if self._trace is None else self._trace.connection("server")
        if trace is not None:
            trace.asked(request)
        try:
            agreement = await self._rules.agree(request)
            self.count.check_open()  # the shutdown may have begun meanwhile
        except UpgradeRefused as error:
            if trace is not None:
                trace.response_head(error.refusal.status, list(error.refusal.lines()))
            raise
        if trace is not None:
            trace.response_head(101, list(agreement.headers))
        with anyio.move_on_after(self._settings.handshake_timeout) as opening:
            await stream.send(format_response(101, agreement.headers))
        if opening.cancelled_caught or self.count.closing:  # nothing would close it any more
            return

        async def opened(trace: object) -> Opened:
            return Opened(stream, agreement.bounds, rest, agreement.handshake.principal)

        def make_link(peer: Peer, app: App) -> StreamConnection:
            link = WebSocketLink(peer, app, opened, settings=self._settings)
            link.trace = trace
            return link

        await self._serve(make_link, agreement.handshake)

    async def _turn_away(self, stream: ByteStream, refusal: Refusal) -> None:
        if self._turned_away >= self._settings.turned_away:
            return
        self._turned_away += 1
        try:
            await self._refuse(stream, refusal)
        finally:
            self._turned_away -= 1

    async def _refuse(self, stream: ByteStream, refusal: Refusal) -> None:
        with anyio.move_on_after(self._settings.close_timeout):
            try:
                await stream.send(refusal_response(refusal))
            except (OSError, *STREAM_ERRORS):
                return
            await linger(stream)


def refusal_response(refusal: Refusal) -> bytes:
    """Return the response to a request that is refused; the connection ends with it."""
    body = f"{refusal.message}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close, upgrade" if refusal.status == 426 else b"close"),
        *refusal.lines(),
    ]
    return format_response(refusal.status, headers) + body


async def serve_websocket(
    host: str,
    port: int,
    serve: Serve,
    *,
    settings: WebSocketSettings | None = None,
    rules: UpgradeRules | None = None,
    ssl_context: ssl.SSLContext | None = None,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections until cancelled, each served by ``serve`` in a task of its own.

    ``rules`` decide who may connect, those of ``settings`` by default.
    ``task_status.started(port)`` reports the bound port once connections are accepted.  On
    cancellation every connection is closed with 1001.  Raises LinkError if the address cannot be
    used.
    """
    rules = rules or UpgradeRules(settings or WebSocketSettings())
    server = WebSocketServer(serve, rules)
    await listen_websocket(host, port, server, ssl_context=ssl_context, task_status=task_status)


async def listen_websocket(
    host: str,
    port: int,
    server: WebSocketServer,
    *,
    ssl_context: ssl.SSLContext | None = None,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections for ``server`` until cancelled; see :func:`serve_websocket`."""
    try:
        bound = await anyio.create_tcp_listener(local_host=host, local_port=port)
    except (OSError, UnicodeError) as error:
        raise LinkError(cannot_listen(host, port, error)) from error
    async with bound, PendingConnections() as pending, anyio.create_task_group() as tasks:

        async def accept_from(listener: SocketListener) -> None:
            while True:
                try:
                    stream, address = await accept(listener)
                except (OSError, anyio.BrokenResourceError) as error:
                    # Out of descriptors, or the client was gone before it was accepted.
                    logger.warning("cannot accept a connection: %s", error.__cause__ or error)
                    await anyio.sleep(_PAUSE)
                else:
                    peer = peer_name(address)
                    work = partial(server.connection, stream, peer, ssl_context)
                    pending.begin(tasks, stream, work, "connection")

        for listener in bound.listeners:
            assert isinstance(listener, SocketListener)  # noqa: S101 - made above
            tasks.start_soon(accept_from, listener)
        task_status.started(bound.extra(SocketAttribute.local_port))  # noqa: S610 - anyio's
