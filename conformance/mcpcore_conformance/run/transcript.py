"""From what the kit's wires have logged to the records of a trace, without secrets.

Wires log bytes as they were; here they are cut into what a trace records: messages, HTTP heads,
server-sent events, WebSocket frames.  What cannot be cut is given as it is.
"""

from collections.abc import Iterator, Sequence

from mcpcore.trace.format import TO_CLIENT, TO_SERVER, Record, RecordBuilder, RecordKind
from mcpcore.trace.redaction import Redactor
from mcpcore_conformance.kit.log import LEFT_OUT
from mcpcore_conformance.kit.model import Binding, Line, Result, Side
from mcpcore_conformance.run.ways import LIMIT, LinesWay, Way
from mcpcore_conformance.run.ways_http import HttpWay
from mcpcore_conformance.run.ways_websocket import LOST, WebSocketWay

BEGINS = "the case begins here: what is above opened the connection, in an earlier case"
INCOMPLETE = (BEGINS, LEFT_OUT, LOST)
"""How notes end that say that something is missing."""
_WAYS: dict[Binding, type[Way]] = {
    Binding.HTTP: HttpWay,
    Binding.SSE: HttpWay,
    Binding.WS: WebSocketWay,
}


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
        self._kind = _WAYS.get(result.binding, LinesWay)
        self.to_server = result.case.side is Side.SERVER
        self.builder = RecordBuilder(redactor, record_size=LIMIT)
        self._ways: dict[tuple[int, int, bool], Way] = {}

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
                if line.data.endswith(LEFT_OUT.encode()):
                    for each in self._ways.values():
                        yield from each.lose(line.at)
                yield way.note("note", line.at, line.data)
            else:
                yield from way.flush(line.at)
                kind: RecordKind = "http-end" if line.kind == "end" else "closed"
                yield way.note(kind, line.at, line.data or None)
        last = self.lines[-1].at if self.lines else 0.0
        for way in self._ways.values():
            yield from way.flush(last)

    def _way(self, line: Line) -> Way:
        key = (line.wire, line.exchange, line.sent)
        if key not in self._ways:
            direction = TO_SERVER if line.sent is self.to_server else TO_CLIENT
            self._ways[key] = self._kind(self.builder, direction, line.wire, line.exchange)
        return self._ways[key]
