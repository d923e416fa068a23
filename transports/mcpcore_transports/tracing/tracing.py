"""Recording of the traffic of a client or a server, for later inspection.

Secrets are removed before anything is written; the format is that of :mod:`mcpcore.trace.format`.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from mcpcore.engine.events import Route
from mcpcore.http.headers import GZIP_LINE, Headers, unpacker
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore.spec.bounds import check_kinds
from mcpcore.trace.format import (
    FORMAT,
    RECORD_SIZE,
    TO_CLIENT,
    TO_SERVER,
    Direction,
    Header,
    Record,
    RecordBuilder,
    RecordKind,
    Side,
    encode_line,
)
from mcpcore.trace.framing import EventFrame, Events, Gatherer, Held, Lines
from mcpcore.trace.redaction import Redactor
from mcpcore.wire.message import RequestId
from mcpcore.wire.redaction import shown_url
from mcpcore_transports.link import clock
from mcpcore_transports.running.functions import failure_of

if TYPE_CHECKING:  # each is imported where it is needed
    from wsproto.events import Event

__all__ = ["ConnectionTrace", "HttpTrace", "Trace", "TraceSettings", "TraceTo", "tracing"]

logger = logging.getLogger("mcpcore.tracing")


class TraceSettings(Struct, frozen=True, kw_only=True):
    """Settings of a trace.  Sizes are in bytes."""

    secrets: bool = False
    """True to keep secrets: tokens, cookies, session ids, passwords."""
    record_size: int = RECORD_SIZE
    """Maximum bytes of a message in one record; the record tells how much was cut."""
    file_size: int = 64 * 1024 * 1024
    """Maximum bytes of a trace; a record of kind ``full`` is then the last."""
    held_size: int = 4 * 1024 * 1024
    """Maximum bytes of an incomplete message that are held in order to classify it."""

    def __post_init__(self) -> None:
        check_kinds(self)


class Trace:
    """Trace: a file, or a function that gets its lines.

    May be shared by any number of connections, of one side.  Recording never makes the traffic
    fail: if the file cannot be written, that is logged once and the trace ends.  Raises OSError if
    it cannot be opened.  The file is created anew, readable by its owner alone.
    """

    def __init__(
        self,
        to: "str | os.PathLike[str] | Callable[[bytes], object]",
        *,
        settings: TraceSettings | None = None,
        correlated: bool = False,
    ) -> None:
        """``correlated``: True for one of the two traces of who passes requests on."""
        self.settings = settings or TraceSettings()
        self.numbers: dict[tuple[int, Route, RequestId], int] = {}
        """Correlations of open requests by connection, exchange (0 on the side of a client) and
        id."""
        self._correlated = correlated
        self._requests = 0
        self._side: Side = "client"
        self.name = "" if callable(to) else os.fspath(to)
        """Name of the file."""
        self._began = clock()
        self._wall = datetime.now(UTC)
        self._builder = RecordBuilder(
            None if self.settings.secrets else Redactor(), record_size=self.settings.record_size
        )
        self._lock = Lock()  # several event loops, each in a thread, may share it
        self._written = 0
        self._connections = 0
        self._headed = False
        self._close: Callable[[], object] | None = None
        self._write: Callable[[bytes], object] | None
        if callable(to):
            self._write = to
        else:
            fd = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            file = os.fdopen(fd, "wb", buffering=0)
            self._write, self._close = file.write, file.close

    def __repr__(self) -> str:
        return f"Trace({self.name!r})"

    def begin(self, side: Side, *, target: str = "", binding: str = "") -> None:
        """Write the first line, once; ``target`` is the connected or the served target."""
        with self._lock:
            if self._headed:
                return
            self._headed, self._side = True, side
            self._line(
                Header(
                    trace=FORMAT,
                    started=self._wall.isoformat(timespec="microseconds").replace("+00:00", "Z"),
                    side=side,
                    binding=binding,
                    program=_program(),
                    target=target if self.settings.secrets else shown_url(target),
                    redacted=not self.settings.secrets,
                )
            )

    def connection(self, side: Side) -> "ConnectionTrace":
        """Begin to record another connection."""
        self.begin(side)
        return ConnectionTrace(self, self.number(), side)

    def number(self) -> int:
        """Return a number for another connection."""
        with self._lock:
            self._connections += 1
            return self._connections

    def record(self, make: Callable[..., Record], *arguments: Any, **members: Any) -> None:
        """Write the record that a method of :class:`RecordBuilder` makes of the arguments."""
        if self._write is None:
            return
        with self._lock:
            try:
                time = round(clock() - self._began, 6)
                record = make(self._builder, *arguments, time=time, **members)
                self._line(self._numbered(record) if self._correlated else record)
            except Exception:  # a fault of the trace must not end the traffic
                logger.exception("a trace ends here: something cannot be recorded")
                self._end()

    def _numbered(self, record: Record) -> Record:
        """Return a record with its correlation, if it is of a request of a client."""
        received = self._side == "server"
        if record.id is None or record.direction != _CORRELATED.get(record.kind):
            return record
        place = record.connection, record.stream if received else 0, record.id
        if record.kind != "request":
            number = self.numbers.pop(place, None)
        elif received:
            self._requests = number = self._requests + 1
            self.keep_number(place, number)
        else:
            number = self.numbers.get(place)
        return structs.replace(record, correlation=number)

    def keep_number(self, place: tuple[int, Route, RequestId], number: int) -> None:
        """Keep the correlation of a request until its outcome, the oldest not beyond a limit."""
        self.numbers[place] = number
        if len(self.numbers) > _OPEN:
            del self.numbers[next(iter(self.numbers))]

    def _line(self, item: Header | Record) -> None:
        if self._write is None:
            return
        line = encode_line(item)
        if self._written + len(line) > self.settings.file_size and isinstance(item, Record):
            text = f"nothing more is recorded: the trace has {self.settings.file_size} bytes"
            line = encode_line(Record(time=item.time, kind="full", text=text))
            self._try(line)
            self._end()
            return
        self._written += len(line)
        self._try(line)

    def _try(self, line: bytes) -> None:
        assert self._write is not None  # noqa: S101 - asked by the caller
        try:
            self._write(line)
        except OSError as error:
            logger.warning("a trace ends here: %s cannot be written: %s", self.name, error.strerror)
            self._end()
        except BaseException as error:  # nor may an application's function
            logger.error("a trace ends here: it cannot be written", exc_info=failure_of(error))
            self._end()

    def _end(self) -> None:
        self._write = None
        if self._close is not None:
            close, self._close = self._close, None
            try:
                close()
            except OSError as error:
                logger.warning("the trace %s may not be whole: %s", self.name, error.strerror)

    def close(self) -> None:
        """End the trace; may be repeated."""
        with self._lock:
            self._end()

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_OPEN = 10_000
"""Maximum correlations of open requests."""
_CORRELATED = {"request": TO_SERVER, "result": TO_CLIENT, "error": TO_CLIENT}
"""Directions of what has a correlation, by its kind."""

TraceTo = Trace | str | os.PathLike[str]
"""Argument ``trace=``: a trace that the application closes, or the name of a file."""


@contextmanager
def tracing(to: TraceTo | None) -> Iterator[Trace | None]:
    """Yield the trace for an argument ``trace=``; close it at the end if it was made here."""
    if to is None or isinstance(to, Trace):
        yield to
        return
    with Trace(to) as trace:
        yield trace


class ConnectionTrace:
    """Recorder of one connection of messages; ``incoming`` marks those that this side receives."""

    def __init__(self, trace: Trace, number: int, side: Side) -> None:
        self.trace, self.number = trace, number
        self._record = partial(trace.record, connection=number)
        self._secrets = trace.settings.secrets
        self._received = Lines(trace.settings.held_size)
        self._sent = Lines(trace.settings.held_size)
        self._in, self._out = (TO_SERVER, TO_CLIENT) if side == "server" else (TO_CLIENT, TO_SERVER)

    # Newline-framed streams

    def received(self, data: bytes) -> None:
        """Record bytes from the peer, any number of lines."""
        for line in self._received.receive(data):
            self._message(line, incoming=True)

    def sent(self, data: bytes) -> None:
        """Record our bytes, any number of lines."""
        for line in self._sent.receive(data):
            self._message(line, incoming=False)

    # Frames

    def message(self, data: bytes, *, incoming: bool) -> None:
        """Record a whole message."""
        self._message(Held(data), incoming=incoming)

    def _message(self, held: Held, *, incoming: bool) -> None:
        self._record(
            RecordBuilder.message,
            held.data,
            dropped=held.dropped,
            direction=self._in if incoming else self._out,
        )

    def frame(
        self,
        kind: RecordKind,
        data: bytes | None = None,
        *,
        incoming: bool,
        status: int | None = None,
    ) -> None:
        """Record a frame that is no message."""
        direction = self._in if incoming else self._out
        self._record(RecordBuilder.note, kind, data=data, status=status, direction=direction)

    def asked(self, request: HttpRequest) -> None:
        """Record the request that opens a WebSocket, as received by a server."""
        self.request_head(request.method, target_of(request), list(request.headers))

    def request_head(self, method: str, target: str, headers: Headers) -> None:
        """Record the request that opens a WebSocket."""
        self._record(RecordBuilder.head, headers, method=method, target=target, direction=TO_SERVER)

    def response_head(self, status: int, headers: Headers) -> None:
        """Record the response to the request that opens a WebSocket."""
        self._record(RecordBuilder.head, headers, status=status, direction=TO_CLIENT)

    def websocket_frame(self, event: "Event", *, incoming: bool = True) -> None:
        """Record a control or binary frame; text frames are recorded as the messages they carry."""
        from wsproto.events import BytesMessage, CloseConnection, Ping, Pong

        if isinstance(event, CloseConnection):
            reason = (event.reason or "").encode()
            self.frame("close", reason, incoming=incoming, status=int(event.code))
        elif isinstance(event, Ping | Pong):
            kind: RecordKind = "ping" if isinstance(event, Ping) else "pong"
            self.frame(kind, bytes(event.payload), incoming=incoming)
        elif isinstance(event, BytesMessage):
            self.frame("binary", bytes(event.data), incoming=incoming)

    def websocket_refused(self, event: "Event", data: bytes, why: str) -> None:
        """Record input that is refused before its end: ``data`` as received, masked or compressed.

        Secrets cannot be found in it, so it is kept only where they need not be hidden.
        """
        from wsproto.events import CloseConnection
        from wsproto.frame_protocol import CloseReason

        assert isinstance(event, CloseConnection)  # noqa: S101 - as wsproto reports an error
        kind: RecordKind = "binary" if event.code == CloseReason.UNSUPPORTED_DATA else "invalid"
        said = data if self._secrets else f"{len(data)} bytes: {why}".encode()
        self.frame(kind, said, incoming=True)

    # Connection

    def opened(self, binding: str) -> None:
        """Record the opening of the connection."""
        self._record(RecordBuilder.note, "opened", binding=binding)

    def closed(self, reason: str) -> None:
        """Record the end of the connection, after the rest of an incomplete last line."""
        for lines, incoming in ((self._received, True), (self._sent, False)):
            rest = lines.eof()
            if rest is not None:
                self._message(rest, incoming=incoming)
        self._record(RecordBuilder.note, "closed", data=reason.encode())


def target_of(request: HttpRequest) -> str:
    """Return the target in the request line."""
    return f"{request.root}{request.path}{'?' if request.query else ''}{request.query}"


def _program() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"mcpcore {version('mcpcore')}"
    except (PackageNotFoundError, OSError):  # run from a checkout; its files cannot be read
        return "mcpcore"


ABORTED = "given up by this side"
LEFT = "the client has left"
"""Reasons of incomplete exchanges that the client ended, as either side records them."""

_TYPE = b"content-type"


class _OpenExchange(Struct):
    """State of an exchange that is not over."""

    request: Gatherer
    response: Gatherer
    json: tuple[bool, bool] = (False, False)
    """True for each of request and response whose Content-Type is JSON."""
    events: Events | None = None
    unpack: Callable[[bytes], bytes] | None = None
    """Decoder of a response that is sent compressed."""


class HttpTrace:
    """Recorder of the exchanges of one endpoint or one client."""

    def __init__(self, trace: Trace, side: Side) -> None:
        trace.begin(side)
        self.trace, self.number = trace, trace.number()
        self._record = partial(trace.record, connection=self.number)
        self._limit = trace.settings.held_size
        self._exchanges: dict[Route, _OpenExchange] = {}
        self._record(RecordBuilder.note, "opened", binding="http")

    # Request

    def asked(self, exchange: Route, request: HttpRequest) -> None:
        """Record the head of a request that a server has received."""
        self.request(exchange, request.method, target_of(request), request.headers)

    def request(
        self,
        exchange: Route,
        method: str,
        target: str,
        headers: Iterable[tuple[bytes, bytes]],
        body: bytes | None = None,
    ) -> None:
        """Record the head of a request, received or sent; with ``body`` the whole request."""
        lines = list(headers)
        self._exchanges[exchange] = _OpenExchange(
            Gatherer(self._limit), Gatherer(self._limit), (_is_json(lines), False)
        )
        self._record(
            RecordBuilder.head,
            lines,
            method=method,
            target=target,
            direction=TO_SERVER,
            stream=exchange,
        )
        if body is not None:
            self.request_body(exchange, body, end=True)

    def request_body(self, exchange: Route, data: bytes | memoryview, *, end: bool) -> None:
        """Record a part of a request's body."""
        state = self._exchanges.get(exchange)
        if state is None:
            return
        state.request.add(data)
        if end and state.request:
            self._body(exchange, TO_SERVER, state.request.take(), state.json[0])

    # Response

    def replied(self, items: Iterable[HttpHead | HttpChunk | HttpEnd]) -> None:
        """Record parts of a response that a server sends."""
        for item in items:
            if isinstance(item, HttpHead):
                self.response(item.exchange, item.status, item.headers)
                state = self._exchanges.get(item.exchange)
                if state is not None and GZIP_LINE in item.headers:
                    state.unpack = unpacker()
            elif isinstance(item, HttpChunk):
                state = self._exchanges.get(item.exchange)
                unpack = None if state is None else state.unpack
                self.response_data(item.exchange, unpack(item.data) if unpack else item.data)
            else:
                self.over(item.exchange)

    def response(
        self, exchange: Route, status: int, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Record the head of a response."""
        lines = list(headers)
        self._record(RecordBuilder.head, lines, status=status, direction=TO_CLIENT, stream=exchange)
        state = self._exchanges.get(exchange)
        if state is not None:
            state.json = (state.json[0], _is_json(lines))
            if b"text/event-stream" in _content_type(lines):
                state.events = Events(self._limit)

    def response_data(self, exchange: Route, data: bytes) -> None:
        """Record a part of a response's body."""
        state = self._exchanges.get(exchange)
        if state is None:
            return
        if state.events is None:
            state.response.add(data)
            return
        for frame in state.events.receive(data):
            self._event(exchange, frame)

    def over(self, exchange: Route, reason: str = "") -> None:
        """Record the end of an exchange, with a ``reason`` if it is not complete."""
        state = self._exchanges.pop(exchange, None)
        if state is None:
            return
        if state.request:  # it was not read, or not sent, to its end
            self._body(exchange, TO_SERVER, state.request.take(), state.json[0])
        if state.response:
            self._body(exchange, TO_CLIENT, state.response.take(), state.json[1])
        if state.events is not None:
            for frame in state.events.eof():
                self._event(exchange, frame)
        if state.events is not None or reason:
            self._note("http-end", exchange, None, reason.encode() if reason else None)

    def given_up(self, exchange: Route) -> None:
        """Record that this client has aborted the exchange."""
        self.over(exchange, ABORTED)

    def left(self, exchange: Route) -> None:
        """Record that the client of this server has left."""
        self.over(exchange, LEFT)

    def undecodable(self, data: bytes) -> None:
        """Record received data that is no request."""
        self._record(RecordBuilder.unread_head, data[: self._limit], direction=TO_SERVER)

    def refused(self, status: int, message: str) -> None:
        """Record a refusal by the driver itself, of input that did not become a request."""
        self._record(RecordBuilder.head, [], status=status, direction=TO_CLIENT, stream=0)
        self._note("http-body", 0, TO_CLIENT, message.encode())

    # Records

    def _body(self, exchange: Route, direction: Direction, held: Held, json: bool) -> None:
        self._record(
            RecordBuilder.message,
            held.data,
            dropped=held.dropped,
            otherwise="invalid" if json else "http-body",
            direction=direction,
            stream=exchange,
        )

    def _event(self, exchange: Route, frame: EventFrame) -> None:
        if frame.comment:
            self._note("sse-comment", exchange, TO_CLIENT, frame.data)
            return
        record = (
            partial(self._record, RecordBuilder.message, frame.data, otherwise="sse-event")
            if frame.data
            else partial(self._record, RecordBuilder.note, "sse-event", data=frame.data)
        )
        record(
            direction=TO_CLIENT,
            stream=exchange,
            event=frame.event or "message",
            event_id=frame.id,
            retry=frame.retry,
            dropped=frame.dropped,
        )

    def _note(
        self, kind: RecordKind, exchange: Route, direction: Direction | None, data: bytes | None
    ) -> None:
        self._record(RecordBuilder.note, kind, data=data, direction=direction, stream=exchange)


def correlate(
    received: ConnectionTrace | HttpTrace,
    route: Route,
    id: RequestId,
    sent: ConnectionTrace | HttpTrace,
    other: RequestId,
) -> None:
    """Give a request that is about to be sent the number of the one received that it passes on."""
    number = received.trace.numbers.get((received.number, route, id))
    if number is not None:
        sent.trace.keep_number((sent.number, 0, other), number)


def _content_type(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return next((value.lower() for name, value in headers if name.lower() == _TYPE), b"")


def _is_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return b"json" in _content_type(headers)
