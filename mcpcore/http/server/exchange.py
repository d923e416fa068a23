"""Exchange of an HTTP server: a request, and the response that is built for it.

If the first frame is the answer, it goes as JSON, else the response becomes an event stream.
Source: the Streamable HTTP pages, "Sending Messages" and "Receiving Messages".
"""

import math
from collections import deque
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, cast

import msgspec
from msgspec import UNSET, Struct
from msgspec.json import encode as json_encode

from mcpcore.engine.bodies import read_skim
from mcpcore.engine.events import Event, Route
from mcpcore.engine.lifecycle import State, Table
from mcpcore.engine.mirror import Mirror
from mcpcore.engine.negotiation import is_modern
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http import headers
from mcpcore.http.headers import Fields, HeaderError, Headers, Packing
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpReply
from mcpcore.http.server.event_log import NOTHING, EventStream
from mcpcore.spec.errors import BUSY, ERRORS, FORBIDDEN, METHOD_NOT_FOUND, ErrorData
from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore.spec.refusals import NO_MESSAGE, RefusalRow
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore.wire.message import Frame, Kind, Message, Reject, RequestId, encode_error
from mcpcore.wire.sse import encode_comment, encode_event, encode_events

if TYPE_CHECKING:  # a type alone: it has exchanges; and few servers have a store
    from mcpcore.http.server.sessions import Session
    from mcpcore.http.server.stored.streams import StreamReader, StreamWriter


_JSON_LINES: tuple[tuple[bytes, bytes], ...] = ((headers.CONTENT_TYPE, headers.JSON.encode()),)
_STREAM_HEADERS = (
    (headers.CONTENT_TYPE, headers.EVENT_STREAM.encode()),
    (headers.CACHE_CONTROL, b"no-store"),
    # Reverse proxies must pass events on at once (2026-07-28, "Receiving Messages").
    (b"x-accel-buffering", b"no"),
)
# Bound once: members of an Enum are slow to look up, and these are needed for every message.
_ACCEPTED, _ERROR, _RESULT = FrameKind.ACCEPTED, FrameKind.ERROR, FrameKind.RESULT
_COMMENT = encode_comment()
_NO_BODY = 204
HARD_FACTOR = 2
"""Factor for ``max_queued``: a stream with this many times its bytes waiting is closed at once."""
_BUSY, _FORBIDDEN = ERRORS[BUSY].status, ERRORS[FORBIDDEN].status
_RETRY = ((headers.RETRY_AFTER, b"1"),)


def is_modern_body(frame: Frame, body: bytes) -> bool:
    """Return True if a body is modern by what it holds; one without a method is not."""
    if not isinstance(frame, Message) or frame.method is UNSET:
        return False
    meta = None
    # The search saves the decoding of nearly all legacy messages; escapes could hide the names.
    telling = b"protocolVersion" in body or b"clientCapabilities" in body or b"\\u" in body
    if telling and frame.params is not UNSET:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            meta = read_skim(frame.params, lambda meta: True).meta
    return is_modern(meta, None, frame.method)


def opens_session(frame: Frame) -> bool:
    """Return True if a legacy body is the request that opens a session."""
    return (
        isinstance(frame, Message) and frame.kind is Kind.REQUEST and frame.method == "initialize"
    )


def is_handshake(frame: Frame) -> bool:
    """Return True if a body only completes the handshake."""
    return isinstance(frame, Message) and frame.method == "notifications/initialized"


class Terms(Struct, frozen=True, eq=False):
    """Version of a request, and the forms of the reply that its client accepts."""

    version: str | None = None
    accepts_json: bool = True
    accepts_stream: bool = True
    accepts_gzip: bool = False


_ANY_TERMS = Terms()


class RequestFields(Fields):
    """Header fields of a request, and the values parsed from them, once for equal heads."""

    __slots__ = ("_mirror", "session_id", "terms")

    def __init__(self, lines: Headers) -> None:
        super().__init__(lines)
        self.terms = _ANY_TERMS
        self.session_id: str | None = None
        self._mirror: Mirror | None = None

    def read(self) -> None:
        """Parse version, session id and accepted types.  Raises HeaderError for the version."""
        version, accept = self.one(headers.PROTOCOL_VERSION), self.all(headers.ACCEPT)
        self.read_session()
        self.terms = Terms(
            version,
            headers.quality(accept, headers.JSON) > 0,
            headers.quality(accept, headers.EVENT_STREAM) > 0,
            headers.takes_gzip(self.all(headers.ACCEPT_ENCODING)),
        )

    def read_session(self) -> None:
        """Parse the session id."""
        try:
            self.session_id = self.one(headers.SESSION_ID)
        except HeaderError:
            # No session has such an id; in the modern era the header is ignored.
            self.session_id = ""

    def deciding(self, lines: Headers) -> "RequestFields":
        """Return a copy without the fields that may vary between otherwise equal requests."""
        fields = RequestFields([line for line in lines if headers.decides(line[0].lower())])
        fields.terms = self.terms
        return fields

    def mirror(self) -> Mirror:
        """Return the headers that mirror the body, parsed.  Raises HeaderError."""
        if self._mirror is None:
            params, unreadable = self.mirrored()
            self._mirror = Mirror(
                version=self.terms.version,
                method=self.one(headers.MCP_METHOD),
                name=self.name(),
                params=params,
                unreadable=unreadable,
            )
        return self._mirror


class Report(Struct):
    """Facts noted of an exchange while it lasts."""

    method: str
    path: str
    peer: str | None
    began: float
    status: int | None = None
    sent: int = 0
    rpc_method: str | None = None
    session: str | None = None
    """Id of the session that was found, also if it has ended meanwhile."""


class ExchangeEnded(Event, frozen=True, kw_only=True):
    """End of an exchange."""

    exchange: Route
    method: str
    path: str
    peer: str | None
    status: int | None
    """HTTP status; None if the client left before there was one."""
    complete: bool
    sent: int
    began: float
    """Time at which the head came, by the clock of the machine's ``now``."""
    principal: str | None
    session: str | None
    """Session id, which lets its holder use the session: do not log it unchanged."""
    stream: int | None
    """Number, within the session, of the event stream that the exchange carried."""
    rpc_method: str | None
    request: RequestId | None
    revision: str | None
    """Revision that the client has named."""


class ExchangeState(State):
    """States of an exchange."""

    READING = "reading"
    WAITING = "waiting"
    """The form of the response is still open."""
    STREAMING = "streaming"
    """The response is an event stream."""
    DONE = "done"
    """The response is complete, though parts of it may still wait to be taken."""


class ExchangeSignal(State):
    """Signals that move an exchange."""

    READ = "request complete"
    STREAM = "event stream begun"
    FINISH = "response complete"


EXCHANGE: Table[ExchangeState, ExchangeSignal] = {
    (ExchangeState.READING, ExchangeSignal.READ): ExchangeState.WAITING,
    (ExchangeState.READING, ExchangeSignal.STREAM): ExchangeState.STREAMING,
    (ExchangeState.WAITING, ExchangeSignal.STREAM): ExchangeState.STREAMING,
    # A response that is complete may still be replaced, or cut off, before it is taken.
    **{(state, ExchangeSignal.FINISH): ExchangeState.DONE for state in ExchangeState},
}
DIAGRAMS = (("Exchange", "One HTTP request at a server, and its response.", EXCHANGE),)


def taken_over(frame: Transmit) -> None:
    """Tell the engine that a frame has been sent, or never will be."""
    if frame.key is not None:
        frame.peer.taken(frame)


_READING, _WAITING = ExchangeState.READING, ExchangeState.WAITING
_STREAMING, _DONE = ExchangeState.STREAMING, ExchangeState.DONE
_READ, _STREAM = ExchangeSignal.READ, ExchangeSignal.STREAM
NO_FIELDS = RequestFields(())
"""Fields of a head that is no longer needed."""


class Exchange:
    """Request and its response, which waits until the driver takes it."""

    # Not a Struct, whose attributes take ten times as long to set.
    __slots__ = (
        "_close",
        "_head",
        "_holds",
        "_out",
        "_waits",
        "_whole",
        "batch",
        "deadline",
        "extends",
        "extra",
        "fields",
        "modern",
        "moved",
        "news",
        "opens",
        "over_since",
        "over_sse",
        "packing",
        "parts",
        "peer",
        "principal",
        "received",
        "rejected",
        "report",
        "request_id",
        "route",
        "session",
        "session_id",
        "silent",
        "size",
        "slow_at",
        "sound",
        "source",
        "state",
        "stream",
        "terms",
    )

    def __init__(
        self,
        route: Route,
        fields: RequestFields,
        principal: str | None,
        news: "dict[Route, Exchange]",
        peer: str | None,
        session_id: str | None,
        extra: tuple[tuple[bytes, bytes], ...],
    ) -> None:
        self.route = route
        self.fields = fields
        self.principal = principal
        self.news = news
        """Exchanges with output, by route; the exchange adds itself here."""
        self.peer = peer
        self.terms = fields.terms
        self.session_id = session_id
        self.report: Report | None = None
        self.parts: BytesIO | None = None
        """Parts of the body that have come, in one piece."""
        self.received = 0
        self.request_id: RequestId | None = None
        self.batch: tuple[RequestId, ...] = ()
        """Ids of the requests, if the body is a batch."""
        self.sound = False
        """True if the body is one well-formed message."""
        self.rejected = False
        """True if the body is not a valid message."""
        self.extends = False
        """True if no revision has the method, so that the application may not know it either."""
        self.modern = False
        self.over_sse = False
        """True if it brings a message of HTTP+SSE, for the session whose id was in the query."""
        self.state: ExchangeState = _READING
        self.session: Session | None = None
        self.stream: EventStream | None = None
        self.source: StreamWriter | StreamReader | None = None
        self.opens = False
        """True if the body is the ``initialize`` that opens ``session``."""
        self.extra = extra
        self.size = 0
        self.deadline: float | None = None
        self.slow_at: float = math.inf
        """Time at which a missing answer makes the response an event stream."""
        self.silent = True
        """True if nothing was sent since the last check."""
        self.moved = False
        """True if some output was taken since the last check."""
        self.over_since: float | None = None
        self._head: HttpHead | None = None
        """Head of an event stream or a compressed body, until it is taken."""
        self._whole: HttpReply | None = None
        """Whole response, until part of it is taken."""
        self._out: deque[Transmit | bytes | memoryview] = NOTHING
        self._close = False
        self._waits = False
        self._holds = 0
        """Number of holds; output is given out at zero."""
        self.packing: Packing | None = None

    # The request

    @property
    def claimed(self) -> Revision | None:
        """Revision that the version header names; None if there is no such revision."""
        return None if self.terms.version is None else BY_NAME.get(self.terms.version)

    def look_at_body(self, frame: Frame) -> None:
        """Note the facts of the body that the response depends on."""
        if isinstance(frame, Message):
            self.sound = True
            if frame.method is not UNSET:
                if frame.method not in KNOWN_METHODS:
                    self.extends = True
                if self.report is not None:
                    self.report.rpc_method = frame.method
                if frame.id is not UNSET:
                    self.request_id = frame.id
        elif isinstance(frame, Reject):
            self.rejected = True
            self.request_id = frame.id if frame.owed else None
        else:
            requests = (each for each in frame if isinstance(each, Message))
            self.batch = tuple(
                cast(RequestId, each.id) for each in requests if each.kind is Kind.REQUEST
            )

    @property
    def asked(self) -> bytes:
        """Ids of the requests in the body, as JSON: one id, or a list of them for a batch."""
        return json_encode(self.request_id if self.request_id is not None else self.batch)

    def read(self) -> None:
        """Note that the request is complete."""
        self.state = EXCHANGE[self.state, _READ]

    # The response

    def reply(
        self,
        status: int,
        body: bytes = b"",
        more: tuple[tuple[bytes, bytes], ...] = (),
        *,
        close: bool = False,
    ) -> None:
        """Build the whole response; a body is JSON unless ``more`` names another type."""
        lines = more + self.extra
        if body and not (more and any(name == headers.CONTENT_TYPE for name, _ in more)):
            lines += _JSON_LINES
        self._whole = HttpReply(self.route, status, lines, body)
        self.size = len(body)
        self.finish(close=close)

    def refuse(
        self,
        row: RefusalRow,
        message: str = "",
        more: tuple[tuple[bytes, bytes], ...] = (),
        *,
        status: int | None = None,
        code: int | None = None,
    ) -> None:
        """Answer with status and JSON-RPC error of a row, unless others are given."""
        error = ErrorData(code or row.code_in(self.claimed), message or row.message)
        if row.retry:
            more = (*more, *_RETRY)
        body = encode_error(self.request_id, error)
        self.reply(status or row.status, body, more, close=row.close)

    def open_stream(self) -> None:
        """Make the response an event stream."""
        if self.session is not None and self.stream is None and self.source is None:
            self.session.begin(self, self.route)
        self.state = EXCHANGE[self.state, _STREAM]
        extra = [line for line in self.extra if line[0] != headers.CACHE_CONTROL]
        self._head = HttpHead(self.route, 200, [*_STREAM_HEADERS, *extra])
        self._announce()

    def push(self, frame: Transmit) -> bool:
        """Send a frame in the form of the response; return False if that cannot carry it."""
        state = self.state
        if state is not _STREAMING:
            if state is _DONE:
                return False
            if state is _WAITING:
                if self.answer(frame):
                    return True
                if not self.terms.accepts_stream:
                    return False
                self.open_stream()
        size = frame.size
        if size:
            self._append(frame, size)
        if frame.ends:
            self.finish()
            if self.stream is not None:
                self.stream.log.end(self.stream)
        return True

    def write(self, event: bytes) -> None:
        """Send an encoded event."""
        self._append(event, len(event))

    def settle(self) -> None:
        """Encode all waiting frames, which gives each its position in the log of the stream."""
        items, self._out, self.size = self._out, NOTHING, 0
        for item in items:
            self.write(self._encoded(item) if isinstance(item, Transmit) else bytes(item))

    def answer(self, frame: Transmit) -> bool:
        """Build the whole response from ``frame`` if that is all of it; return True if so."""
        kind = frame.kind
        if kind is _RESULT and frame.ends and self.terms.accepts_json:
            self.reply(200, b"".join(frame.data))
            return True
        if kind is _ACCEPTED:
            # An invalid message that is owed no answer was not accepted.
            self.reply(NO_MESSAGE.status if self.rejected else 202)
            return True
        if not frame.ends:
            return False
        status = self._status(frame) if kind is _ERROR else 200
        if status == 200 and not self.terms.accepts_json:
            return False
        self.reply(status, b"".join(frame.data), _RETRY if status == _BUSY else ())
        return True

    def _status(self, frame: Transmit) -> int:
        """Return the status for an error that is the first frame of the response.

        It is 200 for legacy requests, whose clients take others for failures of the transport, but
        for what authorization forbids.
        """
        if frame.code == FORBIDDEN:
            return _FORBIDDEN
        if not self.modern:
            return 200 if self.sound else NO_MESSAGE.status
        row = None if frame.code is None else ERRORS.get(frame.code)
        if frame.key is None or (self.extends and frame.code == METHOD_NOT_FOUND):
            return NO_MESSAGE.status if row is None else row.status
        return row.status if row is not None and row.status_always else 200

    def heartbeat(self) -> None:
        """Send a comment if the stream was silent since the last heartbeat."""
        if self.silent and not self._out:
            self._append(_COMMENT, len(_COMMENT))
        self.silent = True

    def pack(self) -> None:
        """Compress a whole body not taken yet, if the client accepts gzip; a long one in pieces."""
        whole = self._whole
        if whole is None or headers.VARIES in whole.headers:
            return
        lines = (*whole.headers, headers.VARIES)
        body = whole.body
        if self.terms.accepts_gzip:
            lines = (*lines, headers.GZIP_LINE)
            packing = Packing(body)
            if len(body) > headers.PIECE:
                self.packing, self._whole, self.size = packing, None, 0
                self._head = HttpHead(self.route, whole.status, [*lines])
                return
            body = packing.next()
            self.size = len(body)
        self._whole = HttpReply(self.route, whole.status, lines, body)

    def finish(self, *, close: bool = False) -> None:
        """Complete the response; with ``close`` the connection ends as well."""
        self.state = _DONE  # from every state, as the table has it; a look into it costs too much
        self._waits = True
        if self._close is not close:
            self._close = close
        if not self._holds:
            self.news[self.route] = self  # even if output waits

    # Holds

    def hold(self) -> None:
        """Give out nothing until :meth:`release` was called as often."""
        self._holds += 1
        self.news.pop(self.route, None)

    def release(self) -> None:
        """Undo one :meth:`hold`."""
        self._holds -= 1
        if self._waits:
            self._announce()

    def fail(self, row: RefusalRow, message: str = "") -> None:
        """Refuse the request, or end a response that has begun, as its source has failed."""
        begun = self._head is None and self._whole is None and self.state is not _WAITING
        self.drop_queued()
        if begun:
            self.finish(close=True)
            return
        self.extra = tuple(line for line in self.extra if line[0] != headers.SESSION_ID)
        self.refuse(row, message)

    def drop_queued(self) -> list[Transmit]:
        """Remove and return the waiting frames, in order; drop all other output."""
        frames = [item for item in self._out if isinstance(item, Transmit)]
        self._whole, self._out, self.size, self.packing = None, NOTHING, 0, None
        return frames

    @property
    def complete(self) -> bool:
        """True if the response is over and all of it was taken."""
        return self.state is _DONE and not self._waits

    def _append(self, item: Transmit | bytes, size: int) -> None:
        if self._out is NOTHING:
            self._out = deque()
        self._out.append(item)
        self.size += size
        self.silent = False
        if not self._waits:
            self._announce()

    def _announce(self) -> None:
        self._waits = True
        if not self._holds:
            self.news[self.route] = self

    def take_whole(self) -> HttpReply | None:
        """Take a whole response in one piece, with which it is over; None if it cannot be."""
        whole = self._whole
        if whole is None or not self.size:
            return None
        if self._close or self._holds or self.report is not None:
            return None
        self._whole, self.size, self._waits = None, 0, False
        return whole

    def take(self, limit: int) -> list[HttpHead | HttpChunk | HttpEnd]:
        """Take waiting output, at most ``limit`` bytes of the body; [] if there is none."""
        taken: list[HttpHead | HttpChunk | HttpEnd] = []
        if not self._waits or self._holds:
            return taken
        head, whole, report = self._head, self._whole, self.report
        if whole is not None:
            lines = [*whole.headers]
            if whole.status != _NO_BODY:
                lines.append((headers.CONTENT_LENGTH, b"%d" % len(whole.body)))
            head = HttpHead(self.route, whole.status, lines)
            self._whole = None
            if whole.body:
                self._out = deque((whole.body,))
        if head is not None:
            taken.append(head)
            self._head = None
            if report is not None:
                report.status = head.status
        if self.packing is not None and not self._out:
            piece = self.packing.next()
            self._out, self.size = deque((piece,)), len(piece)
            if self.packing.done:
                self.packing = None
        out = self._out
        if out and limit > 0:
            taken.append(HttpChunk(self.route, self._take_data(limit)))
        if out:
            self.news[self.route] = self
            return taken
        self.news.pop(self.route, None)
        if self.packing is not None:
            return taken  # the next piece follows when other exchanges had their turn
        self._out, self.size, self._waits = NOTHING, 0, False
        if self.state is _DONE:
            taken.append(HttpEnd(self.route, self._close))
        return taken

    def _take_data(self, limit: int) -> bytes:
        parts: list[bytes | memoryview] = []
        out, room = self._out, limit
        while out and room > 0:
            item = out.popleft()
            if isinstance(item, Transmit):
                if item.size > room and parts:
                    out.appendleft(item)  # taken whole the next time, instead of in part now
                    break
                self.size -= item.size
                data: bytes | memoryview = self._encoded(item)
            else:
                data = item
                self.size -= len(item)
            if len(data) > room:
                rest = memoryview(data)[room:]
                out.appendleft(rest)
                self.size += len(rest)
                data = memoryview(data)[:room]
            parts.append(data)
            room -= len(data)
        self.moved = True
        if self.report is not None:
            self.report.sent += limit - room
        if self.stream is not None:
            self.stream.taken()
        elif self.source is not None:
            self.source.drained()
        return b"".join(parts)

    def _encoded(self, frame: Transmit) -> bytes:
        data = b"".join(frame.data)
        if frame.key is not None:
            frame.peer.taken(frame)
        if frame.more is not None:  # progress of a modern request: its events have no ids
            return encode_events([data, *frame.more])
        return encode_event(data, id=None if self.stream is None else self.stream.append(data))
