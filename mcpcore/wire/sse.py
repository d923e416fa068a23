"""Server-Sent Events: an encoder and an incremental decoder.

Source: WHATWG HTML, section 9.2 "Server-sent events" (9.2.5 parsing, 9.2.6 interpretation).
"""

import re

from msgspec import Struct

DEFAULT_LIMIT = 4 * 1024 * 1024
"""Default maximum bytes of one event, as received."""

_BOM = b"\xef\xbb\xbf"
_LINE_BREAK = re.compile(rb"\r\n|\n|\r")
_RETRY_DIGITS = 15
_LF, _CR = b"\n\r"  # as integers: faster to look for
_BLOCK = 1024
"""Data lines that are joined at a time: a list of many short ones takes many times their size."""


class ServerSentEvent(Struct, frozen=True):
    """Server-sent event as dispatched."""

    payload: bytes
    """Data lines joined by newlines, as sent: not checked for UTF-8."""
    event: str = "message"
    id: str | None = None
    """Id given with this event, None if it gave none."""
    retry: int | None = None
    """Reconnection time in milliseconds given with this event."""

    @property
    def data(self) -> str:
        """Payload as text; bytes that are not UTF-8 are replaced, as WHATWG requires."""
        return self.payload.decode("utf-8", "replace")


def encode_event(
    data: bytes, *, event: str | None = "message", id: str | None = None, retry: int | None = None
) -> bytes:
    """Encode one event.  Each line of ``data`` is a data line; CR and CRLF arrive as LF.

    ``event`` None leaves the field out (it then arrives as ``message``); ``retry`` is in
    milliseconds.  Raises ValueError for values that the format cannot carry.
    """
    if event == "message" and retry is None and _LF not in data and _CR not in data:
        # The usual case.
        if id is None:
            return b"event: message\ndata: %b\n\n" % data
        return b"event: message\nid: %b\ndata: %b\n\n" % (_field("id", id), data)
    parts = []
    if event is not None:
        parts += [b"event: ", _field("event", event), b"\n"]
    if id is not None:
        parts += [b"id: ", _field("id", id), b"\n"]
    if retry is not None:
        if retry < 0 or retry >= 10**_RETRY_DIGITS:
            raise ValueError(f"retry must be a sensible number of milliseconds, not {retry}")
        parts += [b"retry: %d\n" % retry]
    lines = _LINE_BREAK.split(data) if _LF in data or _CR in data else (data,)
    for line in lines:
        parts += [b"data: ", line, b"\n"]
    parts.append(b"\n")
    return b"".join(parts)


def encode_events(texts: list[bytes]) -> bytes:
    """Encode several ``message`` events without ids, one after the other."""
    joined = b"\n\nevent: message\ndata: ".join(texts)
    if _CR in joined or joined.count(b"\n") != 3 * (len(texts) - 1):
        return b"".join(map(encode_event, texts))
    return b"event: message\ndata: %b\n\n" % joined


def encode_comment(text: str = "") -> bytes:
    """Encode a comment, which decoders skip: a sign of life."""
    lines = _LINE_BREAK.split(text.encode())
    return b"".join(b": %b\n" % line if line else b":\n" for line in lines) + b"\n"


def _field(name: str, value: str) -> bytes:
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f"{name} must not contain line breaks or NUL")
    return value.encode()


class SseDecoder:
    """Reads an event stream in pieces of any size.

    ``last_event_id`` is the id to resume after, "" if there is none; ``retry`` the reconnection
    time last given, in milliseconds.  Both also follow events without data, which are not
    dispatched.  An event that is incomplete when the stream ends is lost, as WHATWG requires.
    Nothing is read after an event over the limit: ``broken`` says so then.
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._limit = limit
        self._line = bytearray()  # the beginning of a line whose end has not been seen
        self._at_start = True
        self._after_cr = False
        self.broken: str | None = None
        self._begin()

    def _begin(self) -> None:
        self._data: list[bytes] = []
        self._blocks: list[bytes] = []
        self._size = 0
        self._event = ""
        self._id: str | None = None
        self._event_retry: int | None = None

    def receive(self, data: bytes | bytearray | memoryview) -> list[ServerSentEvent]:
        """Return the events that ``data`` completes, none after an event over the limit."""
        events: list[ServerSentEvent] = []
        chunk = bytes(data)
        if self._after_cr and chunk:
            if chunk[0] == 0x0A:
                chunk = chunk[1:]
            self._after_cr = False
        if not chunk or self.broken is not None:
            return events
        lines = chunk.splitlines()
        self._after_cr = chunk[-1] == 0x0D
        rest = lines.pop() if chunk[-1] not in b"\r\n" else b""
        for line in lines:
            if self._line:
                self._line += line
                line = bytes(self._line)
                self._line.clear()
            if not self._take(line, events):
                return events
        self._line += rest
        self._fits(len(self._line))
        return events

    def _fits(self, pending: int) -> bool:
        """Return True if the event stays within the limit with ``pending`` bytes more."""
        if self._size + pending <= self._limit:
            return True
        self.broken = f"a server-sent event is larger than {self._limit} bytes"
        self._line.clear()
        self._begin()
        return False

    def _take(self, line: bytes, events: list[ServerSentEvent]) -> bool:
        """Process one complete line (WHATWG 9.2.6); return False if it passes the limit."""
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
            return True
        if not self._fits(len(line)):
            return False
        colon = line.find(b":")
        if colon < 0:
            name, value = line, b""
        else:
            name = line[:colon]
            value = line[colon + 2 :] if line[colon + 1 : colon + 2] == b" " else line[colon + 1 :]
        if name == b"data":
            self._data.append(value)
            self._size += len(line) + 1
            if len(self._data) == _BLOCK:
                self._blocks.append(b"\n".join(self._data))
                self._data.clear()
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self._event_retry = self.retry = int(value)
        return True

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        if self._id is not None:
            self.last_event_id = self._id
        if self._data or self._blocks:
            payload = b"\n".join((*self._blocks, *self._data) if self._blocks else self._data)
            events.append(
                ServerSentEvent(payload, self._event or "message", self._id, self._event_retry)
            )
        self._begin()
