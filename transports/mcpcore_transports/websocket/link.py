"""WebSocket link of either side: the conversation of a Peer over a WebSocket connection.

Source: RFC 6455.  The rules are those of stdio: the connection is the session of the legacy era,
and carries self-contained requests in the modern one.  The subprotocol is ``mcp``.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream
from msgspec import Struct

from mcpcore.engine.config import Role
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import closes_for_good, fault_of_close
from mcpcore.http.principals import OUTLIVED, Principal
from mcpcore.spec import closes
from mcpcore_transports.link import STREAM_ERRORS, App, clock
from mcpcore_transports.running.functions import failure_of
from mcpcore_transports.stream.channels import open_channel
from mcpcore_transports.stream.connection import Channel, StreamConnection, WritingHalf
from mcpcore_transports.websocket.connection import WebSocketConnection, WebSocketState
from mcpcore_transports.websocket.deflate import Bounds
from mcpcore_transports.websocket.settings import WebSocketSettings

if TYPE_CHECKING:  # the recorder is not loaded where nothing is traced
    from mcpcore_transports.tracing.tracing import ConnectionTrace

logger = logging.getLogger("mcpcore.websocket")

_MORE = b"\0"
"""Placeholder for input that was received before, and is not processed yet."""
_OPEN = WebSocketState.OPEN
_PARTING = (WebSocketState.REFUSED, WebSocketState.ANSWERING)


class Opened(Struct):
    """Connection that was upgraded."""

    stream: ByteStream
    bounds: Bounds
    rest: bytes
    """Input that came in one piece with the head."""
    principal: Principal | None = None
    """Authenticated client of a server's connection."""
    authorized: bool = False
    """True for a client's connection that was opened with a token."""


Opening = Callable[["ConnectionTrace | None"], Awaitable[Opened]]
"""Function that opens the connection.  Raises LinkError."""


class WebSocketLink(StreamConnection):
    """Link of a Peer, of either role, to a WebSocket connection that ``opening`` opens."""

    binding = "websocket"
    _half_close = False
    _ws: WebSocketConnection | None = None
    """Set with ``stream`` once the connection is upgraded."""

    def __init__(
        self, peer: Peer, app: App, opening: Opening, *, settings: WebSocketSettings
    ) -> None:
        super().__init__(peer, app, settings=settings.connection)
        self.stream: ByteStream | None = None
        self.latency: float | None = None
        """Seconds from the last ping to its answer; None before the first."""
        self._opening = opening
        self._ws_settings = settings
        self._authorized = False
        self._sending = False  # if cut off then, it is within a frame

    @property
    def close_code(self) -> int | None:
        """Close code of either side; None before that, and if the connection was cut off."""
        return None if self._ws is None else self._ws.close_code

    async def _open(self) -> None:
        self._begin(await self._opening(self.trace))

    def _begin(self, opened: Opened) -> None:
        """Start to read frames."""
        self.stream, self.peer.principal = opened.stream, opened.principal
        self._authorized = opened.authorized
        self._ws = WebSocketConnection(
            self.peer.role,
            self._ws_settings,
            opened.bounds,
            limit=self.peer.config.limits.message_size,
            now=clock(),
            on_latency=self._measured,
            trace=self.trace,
        )
        self._channel = open_channel(opened.stream, self.settings.read_size, self._take_in)
        self._feed(opened.rest + self._channel.early)

    def _measured(self, latency: float) -> None:
        self.latency = latency
        logger.debug("the answer to a ping took %.6f s", latency)
        if self._ws_settings.on_latency is not None:
            try:
                self._ws_settings.on_latency(latency)
            except BaseException as error:  # no message depends on it
                logger.error("on_latency failed", exc_info=failure_of(error))

    # Input

    def _take_in(self, data: bytes) -> bytes | None:
        if self._parting():
            return data
        left = super()._take_in(data)
        return _MORE if not left and self._unread() else left

    async def _receive(self) -> bytes:
        if self._parting():
            await anyio.sleep_forever()
        if self._unread():
            await anyio.lowlevel.checkpoint()
            return _MORE
        data = await super()._receive()
        if not data and self._parting():  # ended after its close; there is still time for output
            await anyio.sleep_forever()
        return data

    def _unread(self) -> bool:
        return self._ws is not None and bool(self._ws.unread)

    def _feed(self, data: bytes) -> None:
        ws, peer = self._ws, self.peer
        if ws is None or ws.state is not _OPEN:
            return
        for text in ws.messages(data, now := clock()):
            peer.receive(text, now=now)
        if ws.state is not _OPEN:
            self._part(ws)

    def _part(self, ws: WebSocketConnection) -> None:
        """Begin to end, as a frame or the lack of one was the last."""
        if ws.state is WebSocketState.ANSWERING:
            code = ws.close_code or 0
            self.fault = fault_of_close(code, authorized=self._authorized)
            self.final = closes_for_good(code, self.fault)
            reason = f": {ws.close_reason}" if ws.close_reason else ""
            self._stop(f"closed by the other side with {code}{reason}")
        else:
            self.final = closes_for_good(ws.close.code)
            self._stop(f"closed by this side with {ws.close.code}: {ws.close.reason}")

    # Output

    def _take(self) -> bytes:
        frames = self.peer.data_to_send()
        return b"" if self._ws is None else self._ws.encode(frames, clock())

    async def _send(self, data: memoryview) -> int:
        self._sending = True
        count = await super()._send(data)
        self._sending = False
        if count < len(data) and self._ws is not None:
            self._ws.excused = clock()
        return count

    def _parting(self) -> bool:
        return self._ws is not None and self._ws.state in _PARTING

    def _idle(self) -> bool:
        if self._parting():  # running requests are cancelled, and ready output is sent
            return self._writing is not WritingHalf.BLOCKED and not self.peer.output_size
        return super()._idle()

    # Time

    def _deadline(self) -> float | None:
        due, ping = self.peer.deadline(), None if self._ws is None else self._ws.deadline
        if due is None or ping is None:
            return due if ping is None else ping
        return min(due, ping)

    def _timeout(self, now: float) -> None:
        self.peer.handle_timeout(now)
        ws = self._ws
        if ws is not None and ws.state is _OPEN:
            ws.handle_timeout(now, reading=not self._full())
            if ws.state is not _OPEN:
                self._part(ws)
                self.final = False  # the network failed, or the peer's machine

    # Closing

    async def _close(self) -> None:
        if self._channel is None or self.stream is None:
            return
        self._channel.unwatch()
        limit = self._ws_settings.close_timeout
        with anyio.move_on_after(limit), suppress(OSError, *STREAM_ERRORS):
            await self._say_goodbye(self.stream, self._channel)
        with anyio.move_on_after(self.settings.drain), suppress(OSError, *STREAM_ERRORS):
            await self.stream.aclose()

    async def _say_goodbye(self, stream: ByteStream, channel: Channel) -> None:
        """Carry out the closing handshake, unless output was cut off inside a frame."""
        ws = self._ws
        if ws is None or self._sending or self._writing is WritingHalf.BROKEN:
            return
        close, refused = ws.close, ws.state is WebSocketState.REFUSED
        if self._reason == OUTLIVED and not refused:
            close = closes.OUTLIVED
        if self._crashed:
            close = closes.FAILED.filled(reason=close.reason or self._reason)
        self._rest = self._rest[await channel.settle() :]
        # Answers to requests before the peer's close are sent, if they are ready.
        await stream.send(bytes(self._rest) + ws.goodbye(close))
        while ws.state is WebSocketState.CLOSING:
            ws.await_close(await stream.receive())
        client = self.peer.role is Role.CLIENT
        if refused or (ws.state is WebSocketState.LINGERING and not client):
            try:
                await stream.send_eof()
            except NotImplementedError:  # TLS ends only in both directions
                if not refused:
                    return
            await self._read_to_the_end(stream)
        if client:  # the server has to close first (section 7.1.1)
            await self._read_to_the_end(stream)

    async def _read_to_the_end(self, stream: ByteStream) -> None:
        """Drop input: to close with unread input would discard the output."""
        left = self._ws_settings.linger_bytes
        while left > 0:
            left -= len(await stream.receive())
