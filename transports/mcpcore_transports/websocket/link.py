"""WebSocket connection of either side: one JSON-RPC message per text frame.

Source: RFC 6455.  The rules are those of stdio: the connection is the session of the legacy era,
and carries self-contained requests in the modern one.  The subprotocol is ``mcp``.

Most messages are one plain text frame that comes in one piece.  These are parsed here in a fraction
of the time that wsproto takes.  wsproto parses everything else, malformed heads included, frame by
frame, so that one can go on with the other at every boundary.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream
from msgspec import Struct
from wsproto.connection import Connection as WsProtocol
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import FrameProtocol

from mcpcore.engine.config import Role
from mcpcore.engine.peer import Peer
from mcpcore.engine.reconnection import closes_for_good, fault_of_close
from mcpcore.http.principals import OUTLIVED, Principal
from mcpcore.spec import closes
from mcpcore.spec.closes import CloseRow
from mcpcore_transports.link import STREAM_ERRORS, App, clock
from mcpcore_transports.running.functions import failure_of
from mcpcore_transports.stream.channels import open_channel
from mcpcore_transports.stream.connection import Channel, StreamConnection, WritingHalf
from mcpcore_transports.websocket.deflate import Bounds
from mcpcore_transports.websocket.settings import WebSocketSettings

if TYPE_CHECKING:  # the recorder is not loaded where nothing is traced
    from mcpcore_transports.tracing.tracing import ConnectionTrace

logger = logging.getLogger("mcpcore.websocket")

_BUDGET = 128
"""Number of frames processed before other connections have their turn."""
_MORE = b"\0"
"""Placeholder for input that was received before, and is not processed yet."""
_PONGS = 2 * _BUDGET
"""Maximum number of pongs that wait to be written; the oldest are dropped (section 5.5.3)."""
_PROGRESS = 16 * 1024
"""Bytes of a message in transit that postpone the deadline of a ping."""
_REASON = 120
"""Maximum characters of the peer's reason that are passed on."""


_WHOLE_TEXT = 0x81
"""FIN and the opcode of text; no reserved bit."""
_MASKED, _LENGTH = 0x80, 0x7F
_TWO, _EIGHT = 126, 127
_LONGEST_HEAD = 14
_SHORT = 512
"""Maximum bytes for which unmasking as one number is the fastest."""


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
    _ws: WsProtocol | None = None
    """Parser of most kinds of frames; set with ``stream`` once the connection is upgraded."""
    _out: FrameProtocol
    """Encoder of frames, also after the peer's close, when wsproto would send nothing."""

    def __init__(
        self, peer: Peer, app: App, opening: Opening, *, settings: WebSocketSettings
    ) -> None:
        super().__init__(peer, app, settings=settings.connection)
        self.stream: ByteStream | None = None
        self._opening = opening
        self.latency: float | None = None
        """Seconds from the last ping to its answer; None before the first."""
        self.close_code: int | None = None
        """Close code of either side; None before that, and if the connection was cut off."""
        self._ws_settings = settings
        self._limit = peer.config.limits.message_size
        self._masked = peer.role is Role.SERVER  # received frames
        self._bounds = Bounds()
        self._authorized = False
        self._message = BytesIO()  # the data of an incomplete message
        self._fragments = self._progress = 0
        self._boundaries = Boundaries()
        self._unread = b""  # received, and not processed yet
        self._pongs: deque[bytes] = deque()
        self._pings = bytearray()  # pings that wait to be written
        self._next_ping = clock() + (settings.ping_interval or 0.0)
        self._pinged: float | None = None  # when the unanswered ping was sent
        self._excused = 0.0  # when much of a long message, in or out, had been transferred
        self._asked = 0  # pings sent
        self._close_row = closes.GOING_AWAY if self._server else closes.DONE
        self._refused = False
        self._sending = False  # if cut off then, it is within a frame
        self._goodbye: CloseConnection | None = None  # the answer to the peer's close

    async def _open(self) -> None:
        self._begin(await self._opening(self.trace))

    def _begin(self, opened: Opened) -> None:
        """Start to read frames."""
        self.stream, self.peer.principal = opened.stream, opened.principal
        self._authorized = opened.authorized
        self._bounds = bounds = opened.bounds
        bounds.limit = self._limit
        role = ConnectionType.SERVER if self._masked else ConnectionType.CLIENT
        self._ws = WsProtocol(role, extensions=[bounds])
        self._out = FrameProtocol(role is ConnectionType.CLIENT, [bounds])
        self._channel = open_channel(opened.stream, self.settings.read_size, self._take_in)
        self._feed(opened.rest + self._channel.early)

    # Input

    def _take_in(self, data: bytes) -> bytes | None:
        if self._refused or self._goodbye is not None:
            return data
        left = super()._take_in(data)
        return _MORE if not left and self._unread else left

    async def _receive(self) -> bytes:
        if self._parting():
            await anyio.sleep_forever()
        if self._unread:
            await anyio.lowlevel.checkpoint()
            return _MORE
        data = await super()._receive()
        if not data and self._parting():  # ended after its close; there is still time for output
            await anyio.sleep_forever()
        return data

    def _feed(self, data: bytes) -> None:
        ws = self._ws
        if self._unread:
            data, self._unread = self._unread, b""
        if ws is None:
            return
        at, frames = 0, 0
        while at < len(data):
            if ws.state is not ConnectionState.OPEN or self._refused:
                return
            if frames == _BUDGET:
                self._unread = data[at:]
                break
            frames += 1
            # A trace needs more details of a frame than are found at sight.
            if self._boundaries.between and not self._fragments and self.trace is None:
                whole = whole_text(data, at, masked=self._masked, limit=self._limit)
                if whole is not None:
                    text, at = whole
                    self.peer.receive(text, now=clock(), principal=self.peer.principal)
                    continue
            end = self._boundaries.advance(data, at)
            ws.receive_data(data[at:end])
            for event in ws.events():
                if not self._frame(event, ws):
                    if self.trace is not None and _is_error(event, ws):
                        self.trace.websocket_refused(event, data[at:], self._close_row.reason)
                    return
            at = end
        if self._message.tell():
            self._progress += len(data)
            if self._progress >= _PROGRESS:
                self._excused, self._progress = clock(), 0

    def _frame(self, event: Event, ws: WsProtocol) -> bool:
        """Process an event of wsproto; return True to go on."""
        if self.trace is not None and not _is_error(event, ws):
            self.trace.websocket_frame(event)
        if isinstance(event, TextMessage):
            self._text(event)
        elif isinstance(event, Ping):
            if len(self._pongs) == _PONGS:
                self._pongs.popleft()
            self._pongs.append(bytes(self._out.pong(event.payload)))
            if self.trace is not None:
                self.trace.websocket_frame(Pong(event.payload), incoming=False)
        elif isinstance(event, Pong):
            self._ponged(bytes(event.payload))
        elif isinstance(event, BytesMessage):
            self._refuse(closes.NOT_TEXT)
        elif isinstance(event, CloseConnection):
            if _is_error(event, ws):
                self._refuse(self._bounds.failed or _fault_of(event))
            else:
                self.close_code = code = self._bounds.bad_gateway or int(event.code)
                self._goodbye = CloseConnection(code=code, reason=event.reason)
                self.fault = fault_of_close(code, authorized=self._authorized)
                self.final = closes_for_good(code, self.fault)
                self._stop(f"closed by the other side with {_as_line(code, event.reason)}")
        return not self._refused

    def _text(self, event: TextMessage) -> None:
        data = event.data.encode()
        if event.frame_finished:
            self._fragments += 1
        if not event.message_finished:
            self._message.write(data)
            if self._fragments >= self._ws_settings.fragments:
                self._refuse(closes.TOO_MANY_FRAMES.filled(limit=self._ws_settings.fragments))
            return
        if self._message.tell():
            self._message.write(data)
            data = self._message.getvalue()
            self._message = BytesIO()
        self._fragments = 0
        self._record(data, incoming=True)
        self.peer.receive(data, now=clock(), principal=self.peer.principal)

    def _refuse(self, close: CloseRow) -> None:
        """Fail the connection (RFC 6455 section 7.1.7)."""
        self._refused = True
        self._close_row = close
        self.final = closes_for_good(close.code)
        self._stop(f"closed by this side with {close.code}: {close.reason}")

    # Output

    def _take(self) -> bytes:
        frames = self.peer.data_to_send()
        if self._ws is None:
            return b""
        out: list[bytes] = []
        if self._pongs:
            out += self._pongs
            self._pongs.clear()
        if self._pings:
            out.append(bytes(self._pings))
            self._pings.clear()
            self._pinged = clock()  # the time it waited here does not count for the peer
        at_sight = self._masked and type(self._bounds) is Bounds  # neither mask nor compress
        for frame in frames:
            if not frame.data:
                continue
            if self.trace is not None:
                self.trace.message(b"".join(frame.data), incoming=False)
            if at_sight:
                out += (text_head(frame.size), *frame.data)
            else:
                out.append(bytes(self._out.send_data(b"".join(frame.data).decode())))
        return b"".join(out)

    async def _send(self, data: memoryview) -> int:
        self._sending = True
        count = await super()._send(data)
        self._sending = False
        if count < len(data):
            self._excused = clock()
        return count

    def _parting(self) -> bool:
        return self._refused or self._goodbye is not None

    def _idle(self) -> bool:
        if self._parting():  # running requests are cancelled, and ready output is sent
            return self._writing is not WritingHalf.BLOCKED and not self.peer.output_size
        return super()._idle()

    # Keep-alive

    def _ponged(self, payload: bytes) -> None:
        if self._pinged is None or payload != b"%d" % self._asked:
            return  # unsolicited (section 5.5.3)
        now = clock()
        self.latency = took = now - self._pinged
        self._pinged = None
        self._next_ping = now + (self._ws_settings.ping_interval or 0.0)
        logger.debug("the answer to a ping took %.6f s", took)
        if self._ws_settings.on_latency is not None:
            try:
                self._ws_settings.on_latency(took)
            except BaseException as error:  # no message depends on it
                logger.error("on_latency failed", exc_info=failure_of(error))

    def _overdue(self) -> float:
        """Return the time at which the answer to the ping has taken too long.

        No pong can come within another frame, and none before the peer has read all earlier output.
        """
        assert self._pinged is not None  # noqa: S101 - called only then
        return max(self._pinged, self._excused) + self._ws_settings.ping_timeout

    def _deadline(self) -> float | None:
        due = self.peer.deadline()
        if self._pinged is not None:
            ping = self._overdue()
        elif self._ws_settings.ping_interval is not None:
            ping = self._next_ping
        else:
            return due
        return ping if due is None else min(due, ping)

    def _timeout(self, now: float) -> None:
        self.peer.handle_timeout(now)
        settings, ws = self._ws_settings, self._ws
        if self._pinged is not None:
            if now < self._overdue():
                return
            if self._full():  # we have not been reading
                self._excused = now
                return
            self._refuse(closes.NO_PONG.filled(seconds=f"{settings.ping_timeout:g}"))
            self.final = False  # the network failed, or the peer's machine
        elif settings.ping_interval is None or ws is None or ws.state is not ConnectionState.OPEN:
            return
        elif now >= self._next_ping:
            self._asked += 1
            self._pings += self._out.ping(b"%d" % self._asked)
            if self.trace is not None:
                self.trace.websocket_frame(Ping(b"%d" % self._asked), incoming=False)
            self._pinged = now

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
        outlived = self._reason == OUTLIVED and not self._refused
        close = closes.OUTLIVED if outlived else self._close_row
        if self._crashed:
            close = closes.FAILED.filled(reason=close.reason or self._reason)
        goodbye = self._goodbye or CloseConnection(code=close.code, reason=close.reason)
        self.close_code = self.close_code or close.code
        self._rest = self._rest[await channel.settle() :]
        # Answers to requests before the peer's close are sent, if they are ready.
        last = bytes(self._rest) + b"".join(self._pongs)
        if self.trace is not None:
            self.trace.websocket_frame(goodbye, incoming=False)
        await stream.send(last + self._out.close(goodbye.code, goodbye.reason))
        client, answered = self.peer.role is Role.CLIENT, self._goodbye is not None
        unread = self._unread
        while not (answered or self._refused):
            data, unread = unread or await stream.receive(), b""
            ws.receive_data(data)
            for event in ws.events():
                answered = answered or isinstance(event, CloseConnection)
                if self.trace is not None:
                    self.trace.websocket_frame(event)
        # The peer may still be sending, also if its answer was invalid: the state is unchanged.
        if (not client and (self._goodbye or ws.state is ConnectionState.OPEN)) or self._refused:
            await self._let_it_read(stream)
        if client:  # the server has to close first (section 7.1.1)
            await self._read_to_the_end(stream)

    async def _let_it_read(self, stream: ByteStream) -> None:
        """Read to the end: closing with unread input would discard the output."""
        try:
            await stream.send_eof()
        except NotImplementedError:  # TLS ends only in both directions
            if not self._refused:
                return
        await self._read_to_the_end(stream)

    async def _read_to_the_end(self, stream: ByteStream) -> None:
        left = self._ws_settings.linger_bytes
        while left > 0:
            left -= len(await stream.receive())


def _is_error(event: Event, ws: WsProtocol) -> bool:
    """Return True if the event reports input that is no valid WebSocket frame."""
    return isinstance(event, CloseConnection) and ws.state is ConnectionState.OPEN


def _fault_of(event: CloseConnection) -> CloseRow:
    """Return the close for a fault that wsproto has found, without the content of the frame."""
    if event.code == closes.NOT_UTF_8.code:
        return closes.NOT_UTF_8
    return closes.INVALID_FRAME.filled(fault=event.reason or "protocol error")


def _as_line(code: int, reason: str | None) -> str:
    """Return the peer's close as one line that is safe for a log."""
    text = "".join(char if char.isprintable() else "?" for char in reason or "")
    return f"{code}: {text[:_REASON]}" if text else f"{code}"


# The simplest frames (RFC 6455 section 5)


def whole_text(data: bytes, at: int, *, masked: bool, limit: int) -> tuple[bytes, int] | None:
    """Return the text of the frame that begins at ``at``, and the end of the frame.

    None if it is not a whole message of at most ``limit`` bytes in UTF-8.
    """
    head = data[at : at + _LONGEST_HEAD]
    if len(head) < 2 or head[0] != _WHOLE_TEXT:
        return None
    start = _head_size(head[1])
    size = 0 if len(head) < start else _payload_size(head)
    # The length must be written in the shortest form; there must be a mask, or none.
    if len(head) < start or size > limit or start != len(text_head(size)) + (4 if masked else 0):
        return None
    start += at
    end = start + size
    if end > len(data):
        return None
    text = data[start:end]
    if masked:
        text = _unmask(text, data[start - 4 : start])
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            return None
    return text, end


def text_head(size: int) -> bytes:
    """Return the head for ``size`` bytes of text in a whole frame of a server."""
    if size < _TWO:
        return bytes((_WHOLE_TEXT, size))
    if size < 1 << 16:
        return bytes((_WHOLE_TEXT, _TWO)) + size.to_bytes(2, "big")
    return bytes((_WHOLE_TEXT, _EIGHT)) + size.to_bytes(8, "big")


class Boundaries:
    """Tracker of frame boundaries in the input, for frames of every kind."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""  # the data of an incomplete head
        self._left = 0  # bytes of a payload that are to come

    @property
    def between(self) -> bool:
        """True between two frames: the last one is complete and none of the next is received."""
        return not self._left and not self._head

    def advance(self, data: bytes, at: int) -> int:
        """Advance to the end of the current frame, or of ``data``; return that position."""
        if not self._left:
            head = self._head + data[at : at + _LONGEST_HEAD - len(self._head)]
            if len(head) < 2 or len(head) < (size := _head_size(head[1])):
                self._head = head
                return len(data)
            at += size - len(self._head)
            self._head, self._left = b"", _payload_size(head)
        end = min(at + self._left, len(data))
        self._left -= end - at
        return end


def _head_size(second: int) -> int:
    size = second & _LENGTH
    extended = 8 if size == _EIGHT else 2 if size == _TWO else 0
    return 2 + extended + (4 if second & _MASKED else 0)


def _payload_size(head: bytes) -> int:
    size = head[1] & _LENGTH
    if size < _TWO:
        return size
    return int.from_bytes(head[2 : 4 if size == _TWO else 10], "big")


def _unmask(data: bytes, key: bytes) -> bytes:
    size = len(data)
    if size <= _SHORT:
        whole = int.from_bytes((key * (size // 4 + 1))[:size], "little")
        return (int.from_bytes(data, "little") ^ whole).to_bytes(size, "little")
    clear = bytearray(data)
    for offset, byte in enumerate(key):
        clear[offset::4] = clear[offset::4].translate(_xor(byte))
    return bytes(clear)


@cache
def _xor(byte: int) -> bytes:
    return bytes(byte ^ other for other in range(256))
