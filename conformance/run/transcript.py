"""From what the kit's wires have logged to the records of a trace, without secrets.

Wires log bytes as they were; here they are cut into what a trace records: messages, HTTP heads,
server-sent events, WebSocket frames.  What cannot be cut is given as it is.
"""

import re
import struct
from collections.abc import Iterator, Sequence

import h11

from conformance.kit.log import LEFT_OUT
from conformance.kit.model import Binding, Line, Result, Side
from mcpcore.wire.trace import (
    TO_CLIENT,
    TO_SERVER,
    Direction,
    Kind,
    Record,
    RecordBuilder,
    Redactor,
)
from mcpcore.wire.trace_framing import EventFrame, Events, Gatherer

LIMIT = 256 * 1024
"""Bytes that one record holds."""

BEGINS = "the case begins here: what is above opened the connection, in an earlier case"
LOST = "which frames they are is not known, as what came before is cut"
INCOMPLETE = (BEGINS, LEFT_OUT, LOST)
"""How notes end that say that something is missing."""

_HEAD = re.compile(
    rb"(?:HTTP(?:/1\.[01])? (?P<status>\d{3})|(?P<method>[A-Z]{2,16}) (?P<target>\S+))"
)
_RESPONSE = re.compile(rb"HTTP/1\.[01] \d{3}")
_BLANK = re.compile(rb"\r?\n\r?\n")
_WS_KINDS: dict[int, Kind] = {2: "binary", 8: "close", 9: "ping", 10: "pong"}
_TEXT = 1
_CLOSE = 8


def records_of(
    result: Result, redactor: Redactor | None = None, *, secrets: bool = False
) -> list[Record]:
    """What was said in a case, oldest first, without secrets unless ``secrets`` says otherwise.

    On a connection that another case has opened, what opened it comes first, at times below 0.
    """
    return [*_Transcript(result, None if secrets else redactor or Redactor()).records()]


class _Transcript:
    def __init__(self, result: Result, redactor: Redactor | None) -> None:
        self.lines: Sequence[Line] = result.transcript
        self._kind = _WAYS.get(result.binding, _LinesWay)
        self.to_server = result.case.side is Side.SERVER
        self.builder = RecordBuilder(redactor, record_size=LIMIT)
        self._ways: dict[tuple[int, int, bool], _Way] = {}

    def records(self) -> Iterator[Record]:
        """Cut line after line; what is left in pieces comes at the end."""
        before = 0.0
        for line in self.lines:
            if before < 0 <= line.at:
                yield self.builder.note("note", time=before, data=BEGINS.encode())
            before = line.at
            way = self._way(line)
            if line.kind == "message":
                yield from way.whole(line)
            elif line.kind in ("head", "bytes"):
                yield from way.take(line)
            elif line.kind == "note":
                yield way.note("note", line.at, line.data)
            else:
                yield from way.flush(line.at)
                kind: Kind = "http-end" if line.kind == "end" else "closed"
                yield way.note(kind, line.at, line.data or None)
        last = self.lines[-1].at if self.lines else 0.0
        for way in self._ways.values():
            yield from way.flush(last)

    def _way(self, line: Line) -> "_Way":
        key = (line.wire, line.exchange, line.sent)
        if key not in self._ways:
            direction = TO_SERVER if line.sent is self.to_server else TO_CLIENT
            self._ways[key] = self._kind(self.builder, direction, line.wire, line.exchange)
        return self._ways[key]


class _Way:
    """One direction of one exchange."""

    def __init__(
        self, builder: RecordBuilder, direction: Direction, connection: int, stream: int
    ) -> None:
        self.builder = builder
        self.direction = direction
        self.connection = connection
        self.stream = stream

    def message(
        self, data: bytes, at: float, *, dropped: int = 0, event: EventFrame | None = None
    ) -> Record:
        """Record what should be a message."""
        said = event or EventFrame(None)
        return self.builder.message(
            data,
            time=at,
            direction=self.direction,
            connection=self.connection,
            stream=self.stream,
            event=None if event is None else said.event or "message",
            event_id=said.id,
            retry=said.retry,
            dropped=dropped,
        )

    def note(
        self,
        kind: Kind,
        at: float,
        data: bytes | None,
        *,
        dropped: int = 0,
        status: int | None = None,
    ) -> Record:
        """Record anything else."""
        return self.builder.note(
            kind,
            time=at,
            direction=None if kind in ("closed", "note") else self.direction,
            connection=max(1, self.connection),
            stream=self.stream,
            data=data,
            status=status,
            dropped=dropped,
        )

    def whole(self, line: Line) -> Iterator[Record]:
        """Give what was said as one message."""
        yield self.message(line.data, line.at, dropped=line.cut)

    def take(self, line: Line) -> Iterator[Record]:
        """Cut bytes as they were."""
        yield self.note("invalid", line.at, line.data, dropped=line.cut)

    def flush(self, at: float) -> Iterator[Record]:
        """Give what is not complete."""
        yield from ()


class _LinesWay(_Way):
    """Messages that newlines end, however they were written."""

    def __init__(self, *rest: object) -> None:
        super().__init__(*rest)  # type: ignore[arg-type]
        self._held = Gatherer(LIMIT)

    def whole(self, line: Line) -> Iterator[Record]:
        """See :meth:`take`: several may be written at once, or one in pieces."""
        yield from self.take(line)

    def take(self, line: Line) -> Iterator[Record]:
        """Cut at newlines; what is not complete waits for more."""
        *complete, rest = line.data.split(b"\n")
        for piece in complete:
            self._held.add(piece)
            yield self._line(line.at)
        self._held.add(rest)
        if line.cut:
            # where the next bytes belong is not known
            self._held.skip(line.cut)
            yield from self.flush(line.at)

    def flush(self, at: float) -> Iterator[Record]:
        """Give what no newline has ended."""
        if self._held:
            yield self._line(at)

    def _line(self, at: float) -> Record:
        held = self._held.take()
        if held.dropped or held.data.strip():
            return self.message(held.data.removesuffix(b"\r"), at, dropped=held.dropped)
        return self.note("note", at, f"an empty line {self.direction}".encode())


class _HttpWay(_Way):
    """Heads, and bodies that are messages or event streams."""

    def __init__(self, *rest: object) -> None:
        super().__init__(*rest)  # type: ignore[arg-type]
        self._parser: h11.Connection | None = None
        self._events: Events | None = None
        self._body = Gatherer(LIMIT)

    def take(self, line: Line) -> Iterator[Record]:
        """Cut a head and what follows it; bytes of a body go on where the last ended."""
        found, blank = _HEAD.match(line.data), _BLANK.search(line.data)
        if self._parser is None and line.kind == "bytes" and _RESPONSE.match(line.data):
            self._parser = _reading()
        if self._parser is not None:
            yield from self._parsed(line.data, line.at)
        elif found and blank:
            yield self.head(line.data[: blank.start()], found, line.at)
            rest = line.data[blank.end() :]
            if self._events is not None:
                yield from self._cut_events(rest, line.at)
            else:
                self._body.add(rest)
                self._body.skip(line.cut)
                yield from self.flush(line.at)
                return
        elif self._events is not None:
            yield from self._cut_events(line.data, line.at)
        elif line.data:
            self._body.add(line.data)
            self._body.skip(line.cut)
            yield from self.flush(line.at)
            return
        if line.cut:
            # where the next bytes belong is not known
            (self._body if self._events is None else self._events).skip(line.cut)
            yield from self.flush(line.at)
            self._parser, self._events = None, None

    def head(self, head: bytes, found: re.Match[bytes], at: float) -> Record:
        """Record a head that was logged as text."""
        fields = []
        for each in head.replace(b"\r\n", b"\n").split(b"\n")[1:]:
            name, _, value = each.partition(b":")
            fields.append((name.strip(), value.strip()))
        status = found["status"]
        return self._headed(
            fields,
            at,
            method=(found["method"] or b"").decode(),
            target=(found["target"] or b"").decode("latin-1"),
            status=None if status is None else int(status),
        )

    def _headed(
        self,
        fields: Sequence[tuple[bytes, bytes]],
        at: float,
        *,
        method: str = "",
        target: str = "",
        status: int | None,
    ) -> Record:
        for name, value in fields:
            if name.lower() == b"content-type" and b"text/event-stream" in value.lower():
                self._events = Events(LIMIT)
        return self.builder.head(
            fields,
            time=at,
            direction=self.direction,
            connection=self.connection,
            stream=self.stream,
            method=method,
            target=target,
            status=status,
        )

    def _parsed(self, data: bytes, at: float) -> Iterator[Record]:
        parser = self._parser
        assert parser is not None
        try:
            parser.receive_data(data)
            while True:
                event = parser.next_event()
                if isinstance(event, (h11.Response, h11.InformationalResponse)):
                    yield self._headed([*event.headers], at, status=event.status_code)
                elif isinstance(event, h11.Data):
                    if self._events is not None:
                        yield from self._cut_events(bytes(event.data), at)
                    else:
                        self._body.add(bytes(event.data))
                else:
                    if event is not h11.NEED_DATA:
                        yield from self.flush(at)
                    return
        except (h11.RemoteProtocolError, h11.LocalProtocolError):
            yield from self.flush(at)
            self._parser, self._events = None, None
            if data:
                yield self.note("http-body", at, data)

    def _cut_events(self, data: bytes, at: float) -> Iterator[Record]:
        assert self._events is not None
        for frame in self._events.receive(data):
            yield self._event(frame, at)

    def _event(self, frame: EventFrame, at: float) -> Record:
        told = frame.data or frame.dropped
        if told and not frame.comment and frame.event in (None, "message"):
            return self.message(frame.data or b"", at, dropped=frame.dropped, event=frame)
        return self.builder.note(
            "sse-comment" if frame.comment else "sse-event",
            time=at,
            direction=self.direction,
            connection=self.connection,
            stream=self.stream,
            data=frame.data,
            event=None if frame.comment else frame.event or "message",
            event_id=frame.id,
            retry=frame.retry,
            dropped=frame.dropped,
        )

    def flush(self, at: float) -> Iterator[Record]:
        """Give what there is of a body."""
        if self._events is not None:
            for frame in self._events.eof():
                yield self._event(frame, at)
        if self._body:
            held = self._body.take()
            yield self.builder.message(
                held.data,
                time=at,
                direction=self.direction,
                connection=self.connection,
                stream=self.stream,
                otherwise="http-body",
                dropped=held.dropped,
            )


def _reading() -> h11.Connection:
    """A parser of responses."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="POST", target="/", headers=[("host", "x")]))
    parser.send(h11.EndOfMessage())
    return parser


class _WebSocketWay(_Way):
    """A head, then frames."""

    def __init__(self, *rest: object) -> None:
        super().__init__(*rest)  # type: ignore[arg-type]
        self._rest = b""
        self._parts: list[bytes] = []
        self._refused = False
        """No frames follow, but the body of a response that opens nothing."""
        self._skipped = 0
        """Bytes of a frame that is cut which are to come."""
        self._lost = False
        """Where the next frame begins is not known."""

    def take(self, line: Line) -> Iterator[Record]:
        """Cut an opening, or frames."""
        data = line.data
        found = _HEAD.match(data)
        blank = _BLANK.search(data)
        if found and (blank or line.kind == "head"):
            end = blank.end() if blank else len(data)
            way = _HttpWay(self.builder, self.direction, self.connection, self.stream)
            yield way.head(data[: blank.start() if blank else end], found, line.at)
            data = data[end:]
            self._refused = found["status"] not in (None, b"101")
        if self._refused:
            if data or line.cut:
                yield self.note("http-body", line.at, data, dropped=line.cut)
            return
        if self._lost:
            yield self.note("note", line.at, f"{len(data)} bytes {self.direction}: {LOST}".encode())
            return
        self._skipped, data = max(0, self._skipped - len(data)), data[self._skipped :]
        self._rest += data
        while (frame := _frame(self._rest)) is not None:
            opcode, final, payload, self._rest = frame
            yield from self._framed(opcode, final, payload, line.at)
        if line.cut:
            size = _size(self._rest)
            missing = None if size is None else sum(size) - len(self._rest) - line.cut
            # nor is it where a message goes on in frames of its own
            pieces = bool(self._rest) and (self._rest[0] & 128 == 0 or self._rest[0] & 15 == 0)
            self._lost = missing is None or missing < 0 or pieces
            self._skipped = missing or 0
            yield self.note("invalid", line.at, self._rest, dropped=line.cut)
            self._rest, self._parts = b"", []

    def _framed(self, opcode: int, final: bool, payload: bytes, at: float) -> Iterator[Record]:
        if opcode == _CLOSE:
            code = struct.unpack("!H", payload[:2])[0] if len(payload) > 1 else None
            yield self.note("close", at, payload[2:] or None, status=code)
        elif opcode in _WS_KINDS:
            yield self.note(_WS_KINDS[opcode], at, payload)
        elif opcode <= _TEXT:
            self._parts.append(payload)
            if final:
                whole, self._parts = b"".join(self._parts), []
                yield self.message(whole, at)
        else:
            yield self.note("invalid", at, payload)

    def flush(self, at: float) -> Iterator[Record]:
        """Give what is no whole frame."""
        left, self._rest = b"".join(self._parts) + self._rest, b""
        self._parts = []
        if left:
            yield self.note("invalid", at, left)


_WAYS: dict[Binding, type[_Way]] = {
    Binding.HTTP: _HttpWay,
    Binding.SSE: _HttpWay,
    Binding.WS: _WebSocketWay,
}


def _size(data: bytes) -> tuple[int, int] | None:
    """The sizes of the head of the first frame and of its payload; None: that much is not there."""
    if len(data) < 2:
        return None
    size, at = data[1] & 127, 2
    for code, form in ((126, "!H"), (127, "!Q")):
        if size == code:
            at += struct.calcsize(form)
            if len(data) < at:
                return None
            (size,) = struct.unpack_from(form, data, 2)
            break
    return at + (4 if data[1] & 128 else 0), size


def _frame(data: bytes) -> tuple[int, bool, bytes, bytes] | None:
    """The first frame of RFC 6455 section 5.2, unmasked, and what follows; None: not whole."""
    sizes = _size(data)
    if sizes is None or len(data) < sum(sizes):
        return None
    at, size = sizes
    payload = data[at : at + size]
    if data[1] & 128:
        mask = data[at - 4 : at] * (size // 4 + 1)
        payload = bytes(one ^ other for one, other in zip(payload, mask, strict=False))
    return data[0] & 15, bool(data[0] & 128), payload, data[at + size :]
