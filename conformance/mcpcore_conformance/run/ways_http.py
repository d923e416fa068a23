"""One direction of an HTTP exchange, cut into heads, messages and server-sent events."""

import re
from collections.abc import Iterator, Sequence

import h11

from mcpcore.trace.format import Record
from mcpcore.trace.framing import EventFrame, Events, Gatherer
from mcpcore_conformance.kit.model import Line
from mcpcore_conformance.run.ways import LIMIT, Way

HEAD = re.compile(
    rb"(?:HTTP(?:/1\.[01])? (?P<status>\d{3})|(?P<method>[A-Z]{2,16}) (?P<target>\S+))"
)
"""How a head begins."""
BLANK = re.compile(rb"\r?\n\r?\n")
"""How it ends."""
_RESPONSE = re.compile(rb"HTTP/1\.[01] \d{3}")


class HttpWay(Way):
    """Heads, and bodies that are messages or event streams."""

    def __init__(self, *rest: object) -> None:
        super().__init__(*rest)  # type: ignore[arg-type]
        self._parser: h11.Connection | None = None
        self._events: Events | None = None
        self._body = Gatherer(LIMIT)

    def take(self, line: Line) -> Iterator[Record]:
        """Cut a head and what follows it; bytes of a body go on where the last ended."""
        found, blank = HEAD.match(line.data), BLANK.search(line.data)
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
