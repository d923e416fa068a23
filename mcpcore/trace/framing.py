"""Cuts byte streams into units that a trace records: lines, server-sent events, whole bodies.

Nothing is refused here, unlike where messages are read: bytes too many to hold are counted, and
an incomplete unit at the end is given all the same.
"""

import re
from typing import NamedTuple

from msgspec import Struct, field

_WORD = 4096
"""Maximum bytes of a last word."""
_NO_WORD = re.compile(rb'[\s"]')


class Held(NamedTuple):
    """Frame, and the number of bytes at its end that were too many to hold."""

    data: bytes
    dropped: int = 0


class Gatherer(Struct, eq=False):
    """Joins pieces of data, up to a limit in bytes."""

    _limit: int
    _data: bytearray = field(default_factory=bytearray)
    _dropped: int = 0

    def __bool__(self) -> bool:
        return bool(self._data) or bool(self._dropped)

    def add(self, data: bytes | memoryview) -> None:
        """Add a piece."""
        room = 0 if self._dropped else max(0, self._limit - len(self._data))
        self._data += data[:room]
        self._dropped += max(0, len(data) - room)

    def skip(self, count: int) -> None:
        """Count bytes that were dropped before they came here."""
        self._dropped += count

    def take(self) -> Held:
        """Return the data so far, and begin anew.

        If some was dropped, the last word goes too: half a secret does not look like one.
        """
        data, dropped = bytes(self._data), self._dropped
        if dropped:
            # Read backwards, as a search for a word at the end would try every byte.
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

    def __init__(self, limit: int) -> None:
        self._partial = Gatherer(limit)

    def receive(self, data: bytes) -> list[Held]:
        """Return the lines that ``data`` completes, without blank ones."""
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
        """Return the rest at the end, if it is not blank."""
        rest = self._partial.take()
        return rest if rest.data.strip() or rest.dropped else None


class EventFrame(Struct, frozen=True):
    """Event or comment of an event stream; ``data`` None if an event has none."""

    data: bytes | None
    dropped: int = 0
    comment: bool = False
    event: str | None = None
    id: str | None = None
    retry: int | None = None


class Events:
    """Cuts an event stream (WHATWG HTML section 9.2.6); gives events without data, too."""

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
        """Return the events and comments that ``data`` completes."""
        frames: list[EventFrame] = []
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r") or (self._after_cr and not data)
        lines = data.splitlines()
        rest = b"" if data.endswith((b"\r", b"\n")) or not lines else lines.pop()
        for piece in lines:
            self._line.add(piece)
            self._take(self._line.take(), frames)
        self._line.add(rest)
        return frames

    def skip(self, count: int) -> None:
        """Count bytes that were dropped before they came here."""
        self._line.skip(count)

    def eof(self) -> list[EventFrame]:
        """Return the incomplete event at the end."""
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
            # The field is unknown, but the event is not whole.
            self._has_data = True
            self._data.skip(line.dropped)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 16:
            self._retry = int(value)

    def _dispatch(self, frames: list[EventFrame]) -> None:
        data, dropped = self._data.take()
        named = (self._event, self._id, self._retry)
        if self._has_data or named != (None, None, None):
            shown = data if self._has_data else None
            frames.append(EventFrame(shown, dropped, False, *named))
        self._begin()
