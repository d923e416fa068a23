"""The record of one case: what was said on its wires, bounded."""

from collections.abc import Callable

from conformance.kit.model import Line

LIMIT = 400
"""Lines that are kept of one case; those in the middle are given up."""
LINE_LIMIT = 16384
"""Bytes that are kept of one line."""


class Log:
    """Collects the lines of a transcript; wires add what they send and hear, as bytes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._lines: list[Line] = []
        self._left_out = 0
        self._wires = 0

    def number(self) -> int:
        """Number one more wire."""
        self._wires += 1
        return self._wires

    def add(self, sent: bool, wire: int, kind: str, data: bytes, exchange: int = 0) -> None:
        """Write down one thing; ``kind`` as in :class:`~conformance.kit.model.Line`."""
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
        """What was said, oldest first."""
        if not self._left_out:
            return [*self._lines]
        gap = Line(
            at=self._lines[LIMIT // 2].at,
            sent=True,
            wire=0,
            exchange=0,
            kind="note",
            data=f"{self._left_out} lines left out".encode(),
        )
        return [*self._lines[: LIMIT // 2], gap, *self._lines[LIMIT // 2 :]]
