"""WebSocket under an ASGI server, beside Streamable HTTP: admission, and one connection.

The ASGI server handles frames, pings, fragments and compression.  Admission and messages are
handled as with every other driver.  Source: ASGI "HTTP & WebSocket Message Format" 2.5.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import anyio

from mcpcore.engine.peer import Peer
from mcpcore.errors import LifespanError, StoreUnavailableError
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal
from mcpcore.spec import closes
from mcpcore.spec.closes import CloseRow
from mcpcore_transports.http.server.call import head_refusal
from mcpcore_transports.http.server.endpoint import HttpEndpoint, unready
from mcpcore_transports.link import App, clock
from mcpcore_transports.serve.settings import websocket_rules
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.websocket.server import ConnectionCount
from mcpcore_transports.websocket.settings import WebSocketSettings
from mcpcore_transports.websocket.upgrade import UpgradeRefused, refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ARRIVED = b"\0"
"""Placeholder for a received message, which may be empty."""
_REASON = 120
"""Maximum bytes of a reason: a close frame has room for 123 (RFC 6455 section 5.5)."""


class AsgiWebSockets:
    """Server of the WebSocket connections of an endpoint; one for an application."""

    def __init__(self, endpoint: HttpEndpoint) -> None:
        self._endpoint = endpoint
        self._rules = websocket_rules(endpoint.settings)
        self._settings = self._rules.settings
        self._count = ConnectionCount(self._settings)

    async def serve(
        self,
        scope: Scope,
        request: HttpRequest,
        principal: str | None,
        receive: Receive,
        send: Send,
    ) -> None:
        """Serve one scope; ``principal`` is the one that middleware has authenticated."""
        if (await receive())["type"] != "websocket.connect":
            return  # it has left again
        refusal: Refusal | None = None
        try:
            with self._count.another(request.peer):
                await self._converse(scope, request, principal, receive, send)
        except UpgradeRefused as error:
            refusal = error.refusal
        if refusal is not None:
            await refuse_websocket(scope, send, refusal)

    async def _converse(
        self,
        scope: Scope,
        request: HttpRequest,
        principal: str | None,
        receive: Receive,
        send: Send,
    ) -> None:
        if self._endpoint.closing:
            raise refused(503, "the server is shutting down", ("Retry-After", "1"))
        self._rules.check_place(request)
        over = head_refusal(request, self._settings.head_limits)
        if over is not None:
            raise refused(*over)
        offer = self._rules.choose(scope.get("subprotocols") or ())
        handshake = await self._rules.admit(request, offer, principal)
        try:
            await self._endpoint.prepare()
        except (StoreUnavailableError, LifespanError) as error:
            raise refused(503, unready(error)) from error
        to = self._endpoint.settings.trace
        trace = None if to is None else to.connection("server")
        if trace is not None:
            trace.asked(request)
            trace.response_head(101, [])
        await send({"type": "websocket.accept", "subprotocol": offer.selected, "headers": []})

        def make_link(peer: Peer, app: App) -> StreamConnection:
            link = AsgiWebSocketLink(
                peer, app, receive, send, principal=handshake.principal, settings=self._settings
            )
            link.trace = trace
            return link

        if not await self._endpoint.serve_connection(make_link, handshake):
            await send(_close(closes.GOING_AWAY))


class AsgiWebSocketLink(StreamConnection):
    """Link of a Peer on a WebSocket that an ASGI server carries."""

    binding = "websocket"
    _half_close = False

    def __init__(
        self,
        peer: Peer,
        app: App,
        receive: Receive,
        send: Send,
        *,
        principal: Principal | None,
        settings: WebSocketSettings,
    ) -> None:
        super().__init__(peer, app, settings=settings.pump)
        self.close_code: int | None = None
        """Close code of either side; None before that."""
        self._from, self._to = receive, send
        self._principal = principal
        self._limit = peer.config.limits.message_size
        self._close_timeout = settings.close_timeout
        self._arrived: bytes | None = None
        self._left = False
        self._close_row = closes.GOING_AWAY

    async def _receive(self) -> bytes:
        message = await self._from()
        if message["type"] == "websocket.disconnect":
            self._left = True
            self.close_code = message.get("code")
            if self.trace is not None:
                self.trace.frame("close", incoming=True, status=self.close_code)
            return b""
        text = message.get("text")
        self._arrived = None
        if text is None:
            if self.trace is not None:
                self.trace.frame("binary", message.get("bytes"), incoming=True)
            self._refuse(closes.NOT_TEXT)
            return _ARRIVED
        try:
            data = text.encode()
        except UnicodeEncodeError:
            self._refuse(closes.NOT_UTF_8)
            return _ARRIVED
        if len(data) > self._limit:
            self._refuse(closes.TOO_LONG.filled(limit=self._limit))
        else:
            self._arrived = data
        return _ARRIVED

    def _feed(self, data: bytes) -> None:
        if self._arrived is not None:
            self._record(self._arrived, incoming=True)
            self.peer.receive(self._arrived, now=clock(), principal=self._principal)
            self._arrived = None

    async def _end_of_input(self) -> str:
        return f"closed by the other side with {self.close_code}"

    def _refuse(self, close: CloseRow) -> None:
        self._close_row = close
        self._stop(f"closed by this side with {close.code}: {close.reason}", hard=True)

    async def _send(self, data: memoryview) -> int:
        for line in bytes(data).split(b"\n"):
            if line:
                try:
                    await self._to({"type": "websocket.send", "text": line.decode()})
                except Exception as error:  # servers differ in the exception
                    raise OSError("the client is gone") from error
                self._moved = clock()
        return len(data)

    async def _close(self) -> None:
        if self._left:
            return
        close = self._close_row
        if self._crashed:
            close = closes.FAILED.filled(reason=close.reason or self._reason)
        self.close_code = close.code
        message = _close(close)
        if self.trace is not None:
            reason = message["reason"].encode()
            self.trace.frame("close", reason, incoming=False, status=close.code)
        with anyio.move_on_after(self._close_timeout), suppress(Exception):
            await self._to(message)


def _close(close: CloseRow) -> Message:
    reason = close.reason.encode()[:_REASON].decode(errors="ignore")
    return {"type": "websocket.close", "code": close.code, "reason": reason}


async def refuse_websocket(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Refuse before the handshake; with a status where the ASGI server can send one."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send(_close(closes.NOT_ADMITTED))
        return
    body = f"{refusal.message}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        *refusal.lines(),
    ]
    start = {"type": "websocket.http.response.start", "status": refusal.status, "headers": headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": body})
