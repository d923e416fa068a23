"""The record of one case: what was said on its wires, bounded."""

from collections.abc import Callable, Sequence

from msgspec import structs

from mcpcore_conformance.kit.model import Line

LIMIT = 400
"""Lines that are kept of one case; those in the middle are given up."""
LINE_LIMIT = 16384
"""Bytes that are kept of one line."""

LEFT_OUT = "lines left out"


class Log:
    """Collects the lines of a transcript; wires add what they send and hear, as bytes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._lines: list[Line] = []
        self._left_out = 0
        self._wires = 0
        self._earlier: list[Line] = []
        self._opened: dict[int, list[Line]] = {}

    def number(self) -> int:
        """Number one more wire."""
        self._wires += 1
        return self._wires

    def opened(self, wire: int) -> None:
        """Remember that a wire's conversation is open by now: what was said opened it."""
        self._opened[wire] = [each for each in self._lines if each.wire == wire]

    def opening(self, wire: int) -> list[Line]:
        """Return the lines that opened a wire's conversation, with times of the log's clock."""
        earlier = [each for each in self._earlier if each.wire == wire]
        here = self._opened.get(wire, [])
        return [structs.replace(each, at=each.at + self._start) for each in (*earlier, *here)]

    def resume(self, wire: int, opening: Sequence[Line]) -> None:
        """Go on with a conversation that was opened in another case: what opened it comes first."""
        self._earlier += [
            structs.replace(each, at=each.at - self._start, wire=wire) for each in opening
        ]
        self._earlier.sort(key=lambda each: each.at)

    def add(self, sent: bool, wire: int, kind: str, data: bytes, exchange: int = 0) -> None:
        """Write down one thing; ``kind`` as in :class:`~mcpcore_conformance.kit.model.Line`."""
        if len(self._lines) >= LIMIT:
            del self._lines[LIMIT // 2]
            self._left_out += 1
        self._lines.append(
            Line(
                at=self._clock() - self._start,
                sent=sent,
                wire=wire,
                exchange=exchange,
                kind=kind,
                data=data[:LINE_LIMIT],
                cut=max(0, len(data) - LINE_LIMIT),
            )
        )

    def note(self, text: str) -> None:
        """Write down a remark of the kit."""
        self.add(True, 0, "note", text.encode())

    def lines(self) -> list[Line]:
        """Return the lines, oldest first; those that opened kept conversations come first."""
        if not self._left_out:
            return [*self._earlier, *self._lines]
        gap = Line(
            at=self._lines[LIMIT // 2].at,
            sent=True,
            wire=0,
            exchange=0,
            kind="note",
            data=f"{self._left_out} {LEFT_OUT}".encode(),
        )
        return [*self._earlier, *self._lines[: LIMIT // 2], gap, *self._lines[LIMIT // 2 :]]
