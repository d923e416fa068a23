"""Message bodies of HTTP/1.x: three ways to determine the end (RFC 9112 sections 6 and 7).

Each class removes its body from the front of a buffer and leaves the rest to the next message.
Chunk extensions, and trailers where they are accepted, are checked and dropped.
"""

import re
from typing import Protocol

# These limits bound the framing of a body, not its content.  They are no settings, because no
# legitimate sender comes near them.
_LINE = 256
"""Maximum bytes of a chunk's size line; extensions are ignored, so none has to be long."""
_TRAILERS = 8192
"""Maximum bytes of the trailer section."""
_OVERHEAD = 16 * 1024
"""Maximum bytes of size lines that exceed the allowance of the chunks of a body."""
_EXCUSED = 16
"""Allowance in bytes for a chunk's size line, in addition to twice the size of its content."""
_CR = 0x0D
_TOKEN = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSION = rb"[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?" % (_TOKEN, _TOKEN, _QUOTED)
_SIZE = rb"([0-9A-Fa-f]{1,15})(?:%b)*" % _EXTENSION
_TRAILER = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+:[^\r\n\x00]*"


class BadBody(Exception):
    """Body that is refused; the data after it cannot be trusted.

    ``status`` is the status of the server's response.
    """

    content = b""
    """Content received before the fault and not returned yet."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Body(Protocol):
    """Body that is being received."""

    done: bool
    """True if the end of the body was received."""

    @property
    def announced(self) -> int:
        """Number of bytes known to follow, in addition to the length given in the head."""

    def take(self, buffer: bytearray) -> bytes:
        """Remove the data of the body from ``buffer`` and return its content.

        Raises :class:`BadBody`.
        """

    def end(self) -> bool:
        """Return True if the end of the stream is a proper end of the body."""


class LengthBody:
    """Body of ``length`` bytes."""

    __slots__ = ("_left", "done")

    announced = 0

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length

    def take(self, buffer: bytearray) -> bytes:
        """Implement :meth:`Body.take`."""
        data = bytes(buffer if len(buffer) <= self._left else buffer[: self._left])
        del buffer[: self._left]
        self._left -= len(data)
        self.done = not self._left
        return data

    def feed(self, buffer: bytearray, data: bytes | memoryview) -> bytes:
        """Do the same as :meth:`take` with ``data`` behind ``buffer``, mostly with one copy."""
        if buffer or len(data) > self._left:
            buffer += data
            return self.take(buffer)
        self._left -= len(data)
        self.done = not self._left
        return bytes(data)

    def end(self) -> bool:
        """Implement :meth:`Body.end`."""
        return self.done


class StreamBody:
    """Body of a response that lasts until the end of the stream."""

    __slots__ = ("done",)

    announced = 0

    def __init__(self) -> None:
        self.done = False

    def take(self, buffer: bytearray) -> bytes:
        """Implement :meth:`Body.take`."""
        data = bytes(buffer)
        buffer.clear()
        return data

    def end(self) -> bool:
        """Implement :meth:`Body.end`."""
        return True


class ChunkedBody:
    """Body in chunks, parsed strictly: CRLF only, no white space around sizes.

    Without ``trailers`` a body that has any is refused.
    """

    __slots__ = ("_left", "_line", "_overhead", "_trailers", "_with_trailers", "done")

    def __init__(self, *, trailers: bool = True) -> None:
        self._left = 0
        self._line = self._size_line
        self._overhead = 0
        self._trailers = 0
        self._with_trailers = trailers
        self.done = False

    @property
    def announced(self) -> int:
        """Implement :attr:`Body.announced`."""
        return self._left

    def take(self, buffer: bytearray) -> bytes:
        """Implement :meth:`Body.take`."""
        content: list[bytes] = []
        try:
            self._take(buffer, content)
        except BadBody as error:
            error.content = b"".join(content)
            raise
        return content[0] if len(content) == 1 else b"".join(content)

    def _take(self, buffer: bytearray, content: list[bytes]) -> None:
        while buffer and not self.done:
            if self._left:
                data = bytes(buffer[: self._left])
                del buffer[: self._left]
                self._left -= len(data)
                content.append(data)
                if not self._left:
                    self._line = self._chunk_end
                continue
            # A fault is found at the same byte however the data is split: at the first one that
            # shows it.
            end = buffer.find(b"\n", 0, _LINE + 2)
            size = end if end >= 0 else len(buffer)
            if size > _LINE and (size > _LINE + 1 or buffer[_LINE] != _CR):
                raise BadBody(f"a chunk line or trailer of more than {_LINE} bytes")
            if end < 0:
                break
            if not end or buffer[end - 1] != _CR:
                raise BadBody("a chunk line ends in LF without CR")
            line = bytes(buffer[: end - 1])
            del buffer[: end + 1]
            self._line(line)

    def feed(self, buffer: bytearray, data: bytes | memoryview) -> bytes:
        """Do the same as :meth:`take` with ``data`` behind ``buffer``."""
        buffer += data
        return self.take(buffer)

    def end(self) -> bool:
        """Implement :meth:`Body.end`."""
        return self.done

    def _size_line(self, line: bytes) -> None:
        match = re.fullmatch(_SIZE, line)
        if match is None:
            raise BadBody("malformed chunk size")
        self._left = int(match[1], 16)
        excused = _EXCUSED + 2 * self._left
        self._overhead = max(self._overhead + len(line) + 2 - excused, 0)
        if self._overhead > _OVERHEAD:
            raise BadBody("the chunk lines of the body are longer than what they bring")
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
        elif not self._with_trailers:
            raise BadBody("trailers are not accepted", 431)
        elif not re.fullmatch(_TRAILER, line):
            raise BadBody("malformed trailer")
        elif self._trailers > _TRAILERS:
            raise BadBody(f"more than {_TRAILERS} bytes of trailers")
