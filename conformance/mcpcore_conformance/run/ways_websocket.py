"""One direction of a WebSocket, cut into its opening and its frames."""

import struct
from collections.abc import Iterator

from mcpcore.trace.format import Record, RecordKind
from mcpcore_conformance.kit.model import Line
from mcpcore_conformance.run.ways import Way
from mcpcore_conformance.run.ways_http import BLANK, HEAD, HttpWay

LOST = "which frames they are is not known, as what came before is cut or left out"
_WS_KINDS: dict[int, RecordKind] = {2: "binary", 8: "close", 9: "ping", 10: "pong"}
_TEXT = 1
_CLOSE = 8


class WebSocketWay(Way):
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
        found = HEAD.match(data)
        blank = BLANK.search(data)
        if found and (blank or line.kind == "head"):
            end = blank.end() if blank else len(data)
            way = HttpWay(self.builder, self.direction, self.connection, self.stream)
            yield way.head(data[: blank.start() if blank else end], found, line.at)
            data = data[end:]
            self._lost = False
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

    def lose(self, at: float) -> Iterator[Record]:
        """See :class:`~mcpcore_conformance.run.ways.Way`."""
        yield from self.flush(at)
        self._lost = True

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
