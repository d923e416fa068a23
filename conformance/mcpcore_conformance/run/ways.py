"""One direction of an exchange, cut into records: messages that stand whole, or on lines."""

from collections.abc import Iterator

from mcpcore.trace.format import Direction, Record, RecordBuilder, RecordKind
from mcpcore.trace.framing import EventFrame, Gatherer
from mcpcore_conformance.kit.model import Line

LIMIT = 256 * 1024
"""Bytes that one record holds."""


class Way:
    """One direction of one exchange: what was logged of it comes line by line, and records go."""

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
        kind: RecordKind,
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

    def lose(self, at: float) -> Iterator[Record]:
        """Lines are left out here, nobody knows how many of them of this way."""
        yield from ()

    def flush(self, at: float) -> Iterator[Record]:
        """Give what is not complete."""
        yield from ()


class LinesWay(Way):
    """Messages that newlines end, however they were written."""

    def __init__(self, *rest: object) -> None:
        super().__init__(*rest)  # type: ignore[arg-type]
        self._held = Gatherer(LIMIT)
        self._lost = False

    def whole(self, line: Line) -> Iterator[Record]:
        """See :meth:`take`: several may be written at once, or one in pieces."""
        yield from self.take(line)

    def take(self, line: Line) -> Iterator[Record]:
        """Cut at newlines; what is not complete waits for more."""
        if self._lost:
            self._held.skip(1)  # at least
            self._lost = False
        *complete, rest = line.data.split(b"\n")
        for piece in complete:
            self._held.add(piece)
            yield self._line(line.at)
        self._held.add(rest)
        if line.cut:
            # where the next bytes belong is not known
            self._held.skip(line.cut)
            yield from self.flush(line.at)

    def lose(self, at: float) -> Iterator[Record]:
        """See :class:`Way`: what is held, and what comes next, need not be one line."""
        self._lost = True
        yield from ()

    def flush(self, at: float) -> Iterator[Record]:
        """Give what no newline has ended."""
        if self._held:
            yield self._line(at)

    def _line(self, at: float) -> Record:
        held = self._held.take()
        if held.dropped or held.data.strip():
            return self.message(held.data.removesuffix(b"\r"), at, dropped=held.dropped)
        return self.note("note", at, f"an empty line {self.direction}".encode())
