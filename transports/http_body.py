"""Message bodies of HTTP/1.x: three ways to tell where one ends (RFC 9112 sections 6 and 7).

Each takes what is its own from the front of a buffer, and leaves the rest to the next message.
Trailers and chunk extensions are checked and dropped.
"""

import re
from typing import Protocol

_LINE = 256
"""Bytes of a chunk's size line; extensions are ignored, so nobody needs long ones."""
_TRAILERS = 8192
"""Bytes of the trailer section."""
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+:[^\r\n\x00]*")


class BadBody(Exception):
    """The framing of a body is broken; nothing behind it can be trusted."""


class Body(Protocol):
    """One body that is being received."""

    done: bool
    """The end has been seen."""

    def take(self, buffer: bytearray) -> bytes:
        """Remove what belongs to the body from ``buffer`` and return its content.

        Raises :class:`BadBody`.
        """

    def end(self) -> bool:
        """Tell whether the end of the stream is a proper end of the body."""


class LengthBody:
    """A body of ``length`` bytes."""

    __slots__ = ("_left", "done")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length

    def take(self, buffer: bytearray) -> bytes:
        """See :class:`Body`."""
        data = bytes(buffer[: self._left])
        del buffer[: self._left]
        self._left -= len(data)
        self.done = not self._left
        return data

    def end(self) -> bool:
        """See :class:`Body`."""
        return self.done


class StreamBody:
    """A response's body that lasts until the stream ends."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def take(self, buffer: bytearray) -> bytes:
        """See :class:`Body`."""
        data = bytes(buffer)
        buffer.clear()
        return data

    def end(self) -> bool:
        """See :class:`Body`."""
        return True


class ChunkedBody:
    """A body in chunks, read strictly: CRLF only, no white space around sizes."""

    __slots__ = ("_left", "_line", "_trailers", "done")

    def __init__(self) -> None:
        self._left = 0
        self._line = self._size_line
        self._trailers = 0
        self.done = False

    def take(self, buffer: bytearray) -> bytes:
        """See :class:`Body`."""
        content: list[bytes] = []
        while buffer and not self.done:
            if self._left:
                data = bytes(buffer[: self._left])
                del buffer[: self._left]
                self._left -= len(data)
                content.append(data)
                if not self._left:
                    self._line = self._chunk_end
                continue
            end = buffer.find(b"\r\n", 0, _LINE + 2)
            if end < 0:
                if len(buffer) > _LINE:
                    raise BadBody(f"a chunk line or trailer of more than {_LINE} bytes")
                if b"\n" in buffer:
                    raise BadBody("a chunk line ends in LF without CR")
                break
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            self._line(line)
        return content[0] if len(content) == 1 else b"".join(content)

    def end(self) -> bool:
        """See :class:`Body`."""
        return self.done

    def _size_line(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise BadBody(f"malformed chunk size {line[:40]!r}")
        self._left = int(match[1], 16)
        if not self._left:
            self._line = self._trailer_line

    def _chunk_end(self, line: bytes) -> None:
        if line:
            raise BadBody("a chunk is longer than its size says")
        self._line = self._size_line

    def _trailer_line(self, line: bytes) -> None:
        self._trailers += len(line) + 2
        if not line:
            self.done = True
        elif not _TRAILER.fullmatch(line):
            raise BadBody(f"malformed trailer {line[:40]!r}")
        elif self._trailers > _TRAILERS:
            raise BadBody(f"more than {_TRAILERS} bytes of trailers")
