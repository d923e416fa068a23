"""WebSocket connection without I/O (RFC 6455), of either role: one message per text frame.

Received bytes go in and messages come out (:meth:`WebSocketConnection.messages`); messages go in
and frames come out (``encode``), with the pings and pongs that are due.  Either side may end it:
``state`` says which one has, and ``goodbye`` makes the close, or the answer to that of the peer.
Times are seconds of any monotonic clock.

Most messages are one plain text frame that comes in one piece.  These are parsed here in a fraction
of the time that wsproto takes.  wsproto parses everything else, malformed heads included, frame by
frame, so that one can go on with the other at every boundary.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

from wsproto.connection import Connection as WsProtocol
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import FrameProtocol

from mcpcore.engine.config import Role
from mcpcore.engine.lifecycle import State, Table
from mcpcore.engine.transmit import Transmit
from mcpcore.spec import closes
from mcpcore.spec.closes import CloseRow
from mcpcore_transports.websocket.deflate import Bounds
from mcpcore_transports.websocket.settings import WebSocketSettings

if TYPE_CHECKING:  # the recorder is not loaded where nothing is traced
    from mcpcore_transports.tracing.tracing import ConnectionTrace


class WebSocketState(State):
    """States of a connection after its opening handshake."""

    OPEN = "open"
    REFUSED = "refused"
    """This side fails the connection (section 7.1.7): no more is read, its close is to be sent."""
    ANSWERING = "answering"
    """The peer has closed: no more is read, the answer is to be sent."""
    CLOSING = "closing"
    """The close of this side is sent, and that of the peer awaited."""
    FAILED = "failed"
    """The close of a refusal is sent; nothing of the peer is awaited."""
    LINGERING = "lingering"
    """Both sides have closed, and the peer may still be sending."""
    CLOSED = "closed"
    """The peer has answered the close of this side."""


class WebSocketSignal(State):
    """Signals that move a connection."""

    FAULT = "fault of the peer found"
    CLOSE = "close received"
    GOODBYE = "close made"


_S, _G = WebSocketState, WebSocketSignal

WEBSOCKET: Table[WebSocketState, WebSocketSignal] = {
    (_S.OPEN, _G.FAULT): _S.REFUSED,
    (_S.OPEN, _G.CLOSE): _S.ANSWERING,
    (_S.OPEN, _G.GOODBYE): _S.CLOSING,
    (_S.REFUSED, _G.GOODBYE): _S.FAILED,
    (_S.ANSWERING, _G.GOODBYE): _S.LINGERING,
    (_S.CLOSING, _G.FAULT): _S.LINGERING,
    (_S.CLOSING, _G.CLOSE): _S.CLOSED,
}

DIAGRAMS = (("WebSocket", "One WebSocket connection, after its opening handshake.", WEBSOCKET),)
"""Title, text and table of the diagram."""

_OPEN, _CLOSING = WebSocketState.OPEN, WebSocketState.CLOSING

_BUDGET = 128
"""Number of frames processed before other connections have their turn."""
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


class WebSocketConnection:
    """State of one connection: its frames, its keep-alive, and its end.

    ``limit``: maximum bytes of a message.  ``on_latency``: called with the seconds that the answer
    to a ping took.
    """

    def __init__(
        self,
        role: Role,
        settings: WebSocketSettings,
        bounds: Bounds,
        *,
        limit: int,
        now: float,
        on_latency: Callable[[float], None] | None = None,
        trace: "ConnectionTrace | None" = None,
    ) -> None:
        self.state = WebSocketState.OPEN
        self.close = closes.GOING_AWAY if role is Role.SERVER else closes.DONE
        """The close of this side; of a refusal, why."""
        self.close_code: int | None = None
        """Close code of either side; None before that, and if the connection was cut off."""
        self.close_reason = ""
        """Reason in the close of the peer, which is safe for a log."""
        self.unread = b""
        """Input that waits for the next turn: ``messages(b"")`` goes on with it."""
        self.excused = 0.0
        """Time at which much of a long message, in or out, had been transferred."""
        self._settings = settings
        self._limit = limit
        self._on_latency = on_latency
        self._trace = trace
        self._masked = role is Role.SERVER  # received frames
        self._bounds = bounds
        bounds.limit = limit
        kind = ConnectionType.SERVER if self._masked else ConnectionType.CLIENT
        self._ws = WsProtocol(kind, extensions=[bounds])  # the parser of most kinds of frames
        # The encoder, also after the peer's close, when wsproto would send nothing.
        self._out = FrameProtocol(kind is ConnectionType.CLIENT, [bounds])
        self._boundaries = Boundaries()
        self._message = BytesIO()  # the data of an incomplete message
        self._fragments = self._progress = 0
        self._pongs: deque[bytes] = deque()
        self._pings = bytearray()  # pings that wait to be written
        self._next_ping = now + (settings.ping_interval or 0.0)
        self._pinged: float | None = None  # when the unanswered ping was sent
        self._asked = 0  # pings sent
        self._answer: CloseConnection | None = None  # to the peer's close

    def _move(self, signal: WebSocketSignal) -> None:
        self.state = WEBSOCKET[self.state, signal]

    # Input

    def messages(self, data: bytes, now: float) -> Iterator[bytes]:
        """Process input while open; yield its messages.

        Of very many frames some are left ``unread``, so that others have their turn.
        """
        if self.unread:
            data, self.unread = self.unread, b""
        at, frames, size, ws = 0, 0, len(data), self._ws
        while at < size:
            if self.state is not _OPEN:
                return
            if frames == _BUDGET:
                self.unread = data[at:]
                break
            frames += 1
            # A trace needs more details of a frame than are found at sight.
            if self._boundaries.between and not self._fragments and self._trace is None:
                whole = whole_text(data, at, masked=self._masked, limit=self._limit)
                if whole is not None:
                    text, at = whole
                    yield text
                    continue
            end = self._boundaries.advance(data, at)
            ws.receive_data(data[at:end])
            for event in ws.events():
                if isinstance(event, TextMessage):
                    self._see(event)
                    message = self._text(event)
                    if message is not None:
                        yield message
                elif _is_error(event, ws):
                    self.refuse(self._bounds.failed or _fault_of(event))
                else:
                    self._see(event)
                    self._control(event, now)
                if self.state is not _OPEN:
                    if self._trace is not None and _is_error(event, ws):
                        self._trace.websocket_refused(event, data[at:], self.close.reason)
                    return
            at = end
        if self._message.tell():
            self._progress += size
            if self._progress >= _PROGRESS:
                self.excused, self._progress = now, 0

    def _see(self, event: Event, *, incoming: bool = True) -> None:
        if self._trace is not None:
            self._trace.websocket_frame(event, incoming=incoming)

    def _text(self, event: TextMessage) -> bytes | None:
        """Take a part of a message; return the message with its last part."""
        data = event.data.encode()
        if event.frame_finished:
            self._fragments += 1
        if not event.message_finished:
            self._message.write(data)
            if self._fragments >= self._settings.fragments:
                self.refuse(closes.TOO_MANY_FRAMES.filled(limit=self._settings.fragments))
            return None
        if self._message.tell():
            self._message.write(data)
            data = self._message.getvalue()
            self._message = BytesIO()
        self._fragments = 0
        if self._trace is not None:
            self._trace.message(data, incoming=True)
        return data

    def _control(self, event: Event, now: float) -> None:
        if isinstance(event, Ping):
            if len(self._pongs) == _PONGS:
                self._pongs.popleft()
            self._pongs.append(bytes(self._out.pong(event.payload)))
            self._see(Pong(event.payload), incoming=False)
        elif isinstance(event, Pong):
            self._ponged(bytes(event.payload), now)
        elif isinstance(event, BytesMessage):
            self.refuse(closes.NOT_TEXT)
        elif isinstance(event, CloseConnection):
            self.close_code = code = self._bounds.bad_gateway or int(event.code)
            self.close_reason = _as_line(event.reason)
            self._answer = CloseConnection(code=code, reason=event.reason)
            self._move(WebSocketSignal.CLOSE)

    def refuse(self, close: CloseRow) -> None:
        """Fail the connection (RFC 6455 section 7.1.7)."""
        self.close = close
        self._move(WebSocketSignal.FAULT)

    # Output

    def encode(self, messages: Iterable[Transmit], now: float) -> bytes:
        """Return messages as frames, behind the pings and pongs that are due."""
        out: list[bytes] = []
        if self._pongs:
            out += self._pongs
            self._pongs.clear()
        if self._pings:
            out.append(bytes(self._pings))
            self._pings.clear()
            self._pinged = now  # the time it waited here does not count for the peer
        at_sight = self._masked and type(self._bounds) is Bounds  # neither mask nor compress
        for message in messages:
            if not message.data:
                continue
            if self._trace is not None:
                self._trace.message(b"".join(message.data), incoming=False)
            if at_sight:
                out += (text_head(message.size), *message.data)
            else:
                out.append(bytes(self._out.send_data(b"".join(message.data).decode())))
        return b"".join(out)

    # Keep-alive

    def _ponged(self, payload: bytes, now: float) -> None:
        if self._pinged is None or payload != b"%d" % self._asked:
            return  # unsolicited (section 5.5.3)
        took, self._pinged = now - self._pinged, None
        self._next_ping = now + (self._settings.ping_interval or 0.0)
        if self._on_latency is not None:
            self._on_latency(took)

    @property
    def deadline(self) -> float | None:
        """Time of the next ping, or at which the answer to the last one has taken too long.

        No pong can come within another frame, and none before the peer has read all earlier output.
        """
        if self.state is not _OPEN:
            return None
        if self._pinged is not None:
            return max(self._pinged, self.excused) + self._settings.ping_timeout
        return None if self._settings.ping_interval is None else self._next_ping

    def handle_timeout(self, now: float, *, reading: bool) -> None:
        """Handle a deadline, if it has passed; ``reading``: False if input had to wait."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return
        if self._pinged is None:
            self._asked += 1
            self._pings += self._out.ping(b"%d" % self._asked)
            self._see(Ping(b"%d" % self._asked), incoming=False)
            self._pinged = now
        elif reading:
            self.refuse(closes.NO_PONG.filled(seconds=f"{self._settings.ping_timeout:g}"))
        else:
            self.excused = now

    # Closing

    def goodbye(self, close: CloseRow) -> bytes:
        """Return the last frames: pongs, and a close, or the answer to that of the peer."""
        last = self._answer or CloseConnection(code=close.code, reason=close.reason)
        self.close_code = self.close_code or close.code
        self._see(last, incoming=False)
        self._move(WebSocketSignal.GOODBYE)
        self.await_close(self.unread)
        return b"".join(self._pongs) + self._out.close(last.code, last.reason)

    def await_close(self, data: bytes) -> None:
        """Process input after :meth:`goodbye`: nothing but the answer to it matters."""
        if self.state is not _CLOSING or not data:
            return
        self._ws.receive_data(data)
        for event in self._ws.events():
            self._see(event)
            if isinstance(event, CloseConnection) and self.state is _CLOSING:
                wrong = _is_error(event, self._ws)
                self._move(WebSocketSignal.FAULT if wrong else WebSocketSignal.CLOSE)


def _is_error(event: Event, ws: WsProtocol) -> bool:
    """Return True if the event reports input that is no valid WebSocket frame."""
    return isinstance(event, CloseConnection) and ws.state is ConnectionState.OPEN


def _fault_of(event: Event) -> CloseRow:
    """Return the close for a fault that wsproto has found, without the content of the frame."""
    assert isinstance(event, CloseConnection)  # noqa: S101 - an error
    if event.code == closes.NOT_UTF_8.code:
        return closes.NOT_UTF_8
    return closes.INVALID_FRAME.filled(fault=event.reason or "protocol error")


def _as_line(reason: str | None) -> str:
    """Return the peer's reason as one line that is safe for a log."""
    return "".join(char if char.isprintable() else "?" for char in reason or "")[:_REASON]


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
