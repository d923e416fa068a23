"""Cutting byte streams into what a trace records: lines, server-sent events, whole bodies.

Nothing is refused here, unlike where messages are read: what is too long to be held is counted, and
what is incomplete at the end is given all the same.
"""

import re
from typing import NamedTuple

from msgspec import Struct

__all__ = ["EventFrame", "Events", "Gatherer", "Held", "Lines"]

_WORD = 4096
"""Bytes of a last word, at the most."""
_NO_WORD = re.compile(rb'[\s"]')


class Held(NamedTuple):
    """A frame, and how many bytes at its end were too many to be held."""

    data: bytes
    dropped: int = 0


class Gatherer:
    """Puts together what comes in pieces, up to a limit."""

    __slots__ = ("_data", "_dropped", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._dropped = 0

    def __bool__(self) -> bool:
        return bool(self._data) or bool(self._dropped)

    def add(self, data: bytes | memoryview) -> None:
        """Take a piece."""
        room = 0 if self._dropped else max(0, self._limit - len(self._data))
        self._data += data[:room]
        self._dropped += max(0, len(data) - room)

    def skip(self, count: int) -> None:
        """Count what was dropped before it came here."""
        self._dropped += count

    def take(self) -> Held:
        """Give what there is, and begin anew.

        Of what is not whole the last word goes, too: half a secret does not look like one.
        """
        data, dropped = bytes(self._data), self._dropped
        if dropped:
            # read backwards, as looking for a word that reaches the end would try every byte
            last = data[-_WORD:][::-1]
            before = _NO_WORD.search(last)
            word = len(last) if before is None else before.start()
            dropped += word
            data = data[: len(data) - word]
        self._data.clear()
        self._dropped = 0
        return Held(data, dropped)


class Lines:
    """Cuts one direction of a newline-framed stream."""

    __slots__ = ("_partial",)

    def __init__(self, limit: int) -> None:
        self._partial = Gatherer(limit)

    def receive(self, data: bytes) -> list[Held]:
        """The lines that ``data`` completes; blank ones are none."""
        lines = []
        *complete, rest = data.split(b"\n")
        for piece in complete:
            self._partial.add(piece)
            line = self._partial.take()
            if line.data.strip() or line.dropped:
                lines.append(Held(line.data.removesuffix(b"\r"), line.dropped))
        self._partial.add(rest)
        return lines

    def eof(self) -> Held | None:
        """What is left at the end, if it is more than nothing."""
        rest = self._partial.take()
        return rest if rest.data.strip() or rest.dropped else None


class EventFrame(Struct, frozen=True):
    """One event of an event stream, or a comment; ``data`` None if the event has none."""

    data: bytes | None
    dropped: int = 0
    comment: bool = False
    event: str | None = None
    id: str | None = None
    retry: int | None = None


class Events:
    """Cuts an event stream (WHATWG HTML section 9.2.6), and tells events without data, too."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._line = Gatherer(limit)
        self._after_cr = False
        self._begin()

    def _begin(self) -> None:
        self._data = Gatherer(self._limit)
        self._has_data = False
        self._event: str | None = None
        self._id: str | None = None
        self._retry: int | None = None

    def receive(self, data: bytes) -> list[EventFrame]:
        """The events and comments that ``data`` completes."""
        frames: list[EventFrame] = []
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if not data:
            return frames
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()
        rest = lines.pop() if data[-1] not in b"\r\n" else b""
        for piece in lines:
            self._line.add(piece)
            self._take(self._line.take(), frames)
        self._line.add(rest)
        return frames

    def skip(self, count: int) -> None:
        """Count what was dropped before it came here."""
        self._line.skip(count)

    def eof(self) -> list[EventFrame]:
        """What is incomplete at the end, as one event."""
        frames: list[EventFrame] = []
        if self._line:
            self._take(self._line.take(), frames)
        self._dispatch(frames)
        return frames

    def _take(self, line: Held, frames: list[EventFrame]) -> None:
        data = line.data.removeprefix(b"\xef\xbb\xbf")
        if not data and not line.dropped:
            self._dispatch(frames)
            return
        name, colon, value = data.partition(b":")
        value = value.removeprefix(b" ")
        if colon and not name:
            frames.append(EventFrame(value, line.dropped, comment=True))
        elif name == b"data":
            if self._has_data:
                self._data.add(b"\n")
            self._has_data = True
            self._data.add(value)
            self._data.skip(line.dropped)
        elif line.dropped:
            # what it was to be is not known, but that the event is not whole
            self._has_data = True
            self._data.skip(line.dropped)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 16:
            self._retry = int(value)

    def _dispatch(self, frames: list[EventFrame]) -> None:
        told = self._event is not None or self._id is not None or self._retry is not None
        if self._has_data or told:
            held = self._data.take()
            frames.append(
                EventFrame(
                    held.data if self._has_data else None,
                    held.dropped,
                    event=self._event,
                    id=self._id,
                    retry=self._retry,
                )
            )
        self._begin()
