"""The server's end of the WebSocket binding: who may connect, and what is spoken.

Everything that is refused is refused before the upgrade, with an HTTP status and one line of text
that says why (RFC 6455 section 4.2.2).
"""

import binascii
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import h11
from anyio.abc import ByteStream, Listener, SocketAttribute, TaskStatus
from anyio.streams.tls import TLSListener
from wsproto.connection import Connection as WsProtocol
from wsproto.connection import ConnectionType
from wsproto.utilities import generate_accept_token

from mcpcore.engine.peer import Peer
from mcpcore.http.origin import OriginPolicy
from transports.link import App
from transports.link_errors import STREAM_ERRORS, LinkError
from transports.pump import Connection
from transports.websocket import (
    Handshake,
    Refusal,
    WebSocketLink,
    WebSocketSettings,
    read_offers,
)

_log = logging.getLogger(__name__)

HEAD_LIMIT = 16 * 1024
"""Longest head of an upgrade request, in bytes."""

LinkFactory = Callable[[Peer, App], Connection]
Serve = Callable[[LinkFactory, Handshake], Awaitable[None]]
"""Serves one connection: makes Peer, App and with them the link, and awaits ``link.run()``."""


class _Head:
    """The headers of a request, by name."""

    def __init__(self, request: h11.Request) -> None:
        self.items = tuple((bytes(name), bytes(value)) for name, value in request.headers)

    def one(self, name: bytes, status: int = 400) -> str | None:
        values = [value for key, value in self.items if key == name]
        if len(values) > 1:
            raise Refusal(status, f"the header {name.decode()} occurs {len(values)} times")
        return values[0].decode("latin-1").strip() if values else None

    def list(self, name: bytes) -> list[str]:
        joined = b",".join(value for key, value in self.items if key == name)
        return [item.strip() for item in joined.decode("latin-1").split(",") if item.strip()]


class _Server:
    def __init__(self, serve: Serve, settings: WebSocketSettings) -> None:
        self._serve = serve
        self._settings = settings
        self._policy = OriginPolicy(settings.allowed_hosts, settings.allowed_origins)
        self._count = 0

    async def connection(self, stream: ByteStream) -> None:
        """Serve one connection to its end; nothing comes out but cancellation."""
        self._count += 1
        try:
            upgraded = await self._upgrade(stream)
            if upgraded is not None:
                await self._run(stream, *upgraded)
        except (OSError, *STREAM_ERRORS):
            pass  # it is gone before it was a WebSocket
        except Exception:
            _log.exception("a WebSocket connection was ended by an error of this server")
        finally:
            self._count -= 1
            with anyio.CancelScope(shield=True), suppress(OSError, *STREAM_ERRORS):
                with anyio.move_on_after(self._settings.close_timeout):
                    await stream.aclose()

    async def _run(self, stream: ByteStream, handshake: Handshake, protocol: WsProtocol) -> None:
        def make_link(peer: Peer, app: App) -> Connection:
            return _ServerLink(peer, app, stream, protocol, settings=self._settings)

        await self._serve(make_link, handshake)

    async def _upgrade(self, stream: ByteStream) -> tuple[Handshake, WsProtocol] | None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        refusal: Refusal | None = None
        with anyio.move_on_after(self._settings.handshake_timeout):
            try:
                if self._count > self._settings.max_connections:
                    raise Refusal(503, "too many connections", ("Retry-After", "1"))
                request = await _read_request(http, stream)
                if request is None:
                    return None
                handshake, answer = self._judge(request, _peer_name(stream))
            except Refusal as error:
                refusal = error
            except h11.RemoteProtocolError as error:
                refusal = Refusal(error.error_status_hint, f"bad request: {error}")
            if refusal is None:
                await stream.send(http.send(answer) or b"")
                trailing = http.trailing_data[0]
                return handshake, WsProtocol(ConnectionType.SERVER, trailing_data=trailing)
            await stream.send(_refuse(http, refusal))
            with anyio.move_on_after(self._settings.close_timeout):
                await _linger(stream)
        return None

    def _judge(
        self, request: h11.Request, peer: str | None
    ) -> tuple[Handshake, h11.InformationalResponse]:
        """Accept an upgrade request, or raise Refusal."""
        head = _Head(request)
        path = request.target.split(b"?", 1)[0].decode("latin-1")
        if path != self._settings.path:
            raise Refusal(
                404, f"nothing is served at {path}; the endpoint is {self._settings.path}"
            )
        refused = self._policy.check(head.one(b"host"), head.one(b"origin", 403))
        if refused is not None:
            raise Refusal(403, refused)
        if request.method != b"GET":
            raise Refusal(405, "a WebSocket is opened with GET", ("Allow", "GET"))
        if head.one(b"content-length") not in (None, "0") or head.one(b"transfer-encoding"):
            raise Refusal(400, "a request for a WebSocket has no body")
        upgrades = [item.lower() for item in head.list(b"upgrade")]
        tokens = [item.lower() for item in head.list(b"connection")]
        if "websocket" not in upgrades or "upgrade" not in tokens:
            raise Refusal(426, "this endpoint speaks WebSocket only", ("Upgrade", "websocket"))
        if head.one(b"sec-websocket-version") != "13":
            raise Refusal(426, "WebSocket version 13 is needed", ("Sec-WebSocket-Version", "13"))
        key = head.one(b"sec-websocket-key") or ""
        try:
            nonce = binascii.a2b_base64(key, strict_mode=True)
        except ValueError:
            nonce = b""
        if len(nonce) != 16:
            raise Refusal(400, "Sec-WebSocket-Key must be 16 bytes in base64")
        offer = read_offers(head.list(b"sec-websocket-protocol"))
        handshake = Handshake(
            path=path,
            headers=tuple(item for item in head.items if item[0] != b"sec-websocket-protocol"),
            peer=peer,
            revision=offer.revision,
            token=offer.token,
        )
        authorize = self._settings.authorize
        if authorize is not None and not authorize(handshake):
            raise Refusal(401, "not authorized")
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", generate_accept_token(key.encode()).decode()),
        ]
        if offer.selected is not None:
            headers.append(("Sec-WebSocket-Protocol", offer.selected))
        return handshake, h11.InformationalResponse(status_code=101, headers=headers)


class _ServerLink(WebSocketLink):
    def __init__(
        self,
        peer: Peer,
        app: App,
        stream: ByteStream,
        protocol: WsProtocol,
        *,
        settings: WebSocketSettings,
    ) -> None:
        super().__init__(peer, app, stream, settings=settings)
        self._ws = protocol

    async def _open(self) -> None:
        self._feed(b"")  # frames that came in one piece with the request


async def serve_websocket(
    host: str,
    port: int,
    serve: Serve,
    *,
    settings: WebSocketSettings | None = None,
    ssl_context: ssl.SSLContext | None = None,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections until cancelled, each served by ``serve`` in a task of its own.

    ``task_status.started(port)`` tells the bound port once connections are accepted.  On
    cancellation every connection is closed with 1001.  Raises LinkError if the address cannot be
    used.
    """
    settings = settings or WebSocketSettings()
    server = _Server(serve, settings)
    try:
        bound = await anyio.create_tcp_listener(local_host=host, local_port=port)
    except OSError as error:
        raise LinkError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    number = bound.extra(SocketAttribute.local_port)  # noqa: S610
    listener: Listener[ByteStream] = bound
    if ssl_context is not None:
        listener = TLSListener(
            bound,
            ssl_context,
            standard_compatible=False,
            handshake_timeout=settings.handshake_timeout,
        )
    async with listener:
        task_status.started(number)
        await listener.serve(server.connection)


async def _read_request(http: h11.Connection, stream: ByteStream) -> h11.Request | None:
    """Read the head of a request; None if the client left before there was one."""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            http.next_event()  # its end, if it has no body: the protocol may be switched there
            return event
        if event is not h11.NEED_DATA:
            return None
        try:
            http.receive_data(await stream.receive(4096))
        except anyio.EndOfStream:
            http.receive_data(b"")


def _refuse(http: h11.Connection, refusal: Refusal) -> bytes:
    body = f"{refusal}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close, upgrade" if refusal.status == 426 else "close"),
        *refusal.headers,
    ]
    parts = (
        http.send(h11.Response(status_code=refusal.status, headers=headers)),
        http.send(h11.Data(data=body)),
        http.send(h11.EndOfMessage()),
    )
    return b"".join(part or b"" for part in parts)


async def _linger(stream: ByteStream) -> None:
    """Let the client read the answer before the connection is torn down."""
    with suppress(OSError, NotImplementedError, *STREAM_ERRORS):
        await stream.send_eof()
        for _ in range(16):
            await stream.receive()


def _peer_name(stream: ByteStream) -> str | None:
    address = stream.extra(SocketAttribute.remote_address, None)  # noqa: S610
    return None if address is None else f"{address[0]}:{address[1]}"
