"""Reading an event stream, as the WHATWG standard has it (section 9.2)."""

from msgspec import Struct


class Event(Struct):
    """One event that was dispatched, or a comment."""

    name: str = ""
    data: bytes | None = None
    """None: the event had no data field."""
    id: str | None = None
    """The id field of this event, not the last one; None if it had none."""
    retry: int | None = None
    comment: bool = False


class Reader:
    """Takes bytes as they come, gives events; lines end with CR, LF or CRLF."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._event = Event()
        self._block = b""
        """The beginning of the lines that no empty line has come behind, without comments."""
        self._ignored = b""
        """The first lines before an empty one of which no event has come."""
        self._began = False
        self._returned = False
        """The last byte was a carriage return: a line feed behind it belongs to it."""

    @property
    def left(self) -> bytes:
        """The beginning of what was no event, or has no empty line behind it."""
        return self._ignored or (self._block + self._rest)[:_LEFT]

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        self._rest += data
        if not self._began:
            if len(self._rest) < len(_BOM) and _BOM.startswith(self._rest):
                return []
            self._rest = self._rest.removeprefix(_BOM)
            self._began = True
        if self._returned and self._rest:
            self._rest = self._rest.removeprefix(b"\n")
            self._returned = False
        # a carriage return ends its line at once: nothing may follow for a long time
        self._returned = self._returned or self._rest.endswith(b"\r")
        lines = self._rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *complete, self._rest = lines.split(b"\n")
        found: list[Event] = []
        for line in complete:
            self._line(line, found)
        return found

    def _line(self, line: bytes, found: list[Event]) -> None:
        if not line:
            if self._data or self._event.id is not None or self._event.retry is not None:
                self._event.data = b"\n".join(self._data) if self._data else None
                found.append(self._event)
            else:
                self._ignored = self._ignored or self._block
            self._data, self._event, self._block = [], Event(), b""
            return
        name, _, value = line.partition(b":")
        if name:
            self._block = (self._block + line + b"\n")[:_LEFT]
        value = value.removeprefix(b" ")
        match name:
            case b"":
                found.append(Event(data=value, comment=True))
            case b"data":
                self._data.append(value)
            case b"event":
                self._event.name = value.decode("utf-8", "replace")
            case b"id" if b"\0" not in value:
                self._event.id = value.decode("utf-8", "replace")
            case b"retry" if value.isdigit():
                self._event.retry = int(value)


_LEFT = 200
"""Bytes that are kept of what is no event."""
_BOM = b"\xef\xbb\xbf"
