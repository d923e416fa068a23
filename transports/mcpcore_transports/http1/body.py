"""Message bodies of HTTP/1.x: three ways to determine the end (RFC 9112 sections 6 and 7).

Each class removes its body from the front of a buffer and leaves the rest to the next message.
Chunk extensions, and trailers where they are accepted, are checked and dropped.

Content codings of responses, gzip and deflate (RFC 9110 section 8.4.1), are decoded in pieces of
bounded size, as a small body can decompress to any size.  A body that decompresses far beyond the
ratio of real text is refused while it is still small.
"""

import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeVar

from mcpcore.spec.refusals import HEAD_TOO_LARGE, MALFORMED_REQUEST, RefusalRow

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
_PIECE = 256 * 1024
"""Maximum bytes of one output piece."""
_FREE = 1024 * 1024
"""Bytes of output that are allowed at any ratio."""
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_IDENTITY = frozenset({b"", b"identity"})
_CR = 0x0D
_TOKEN = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSION = rb"[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?" % (_TOKEN, _TOKEN, _QUOTED)
_SIZE = rb"([0-9A-Fa-f]{1,15})(?:%b)*" % _EXTENSION
_TRAILER = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+:[^\r\n\x00]*"

Data = TypeVar("Data", bound=bytes | memoryview)
"""Type of received data; a view is of a buffer that the next input overwrites."""


class BadHead(ValueError):
    """Message that is refused; ``row`` is the refusal with which a server answers it."""

    def __init__(self, message: str, row: RefusalRow = MALFORMED_REQUEST) -> None:
        super().__init__(message)
        self.message = message
        self.row = row


class BadBody(BadHead):
    """Body that is refused; the data after it cannot be trusted."""

    content = b""
    """Content received before the fault and not returned yet."""


class IncomingBody(ABC):
    """Body that is being received."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False
        """True if the end of the body was received."""

    @property
    def announced(self) -> int:
        """Number of bytes known to follow, in addition to the length given in the head."""
        return 0

    @abstractmethod
    def take(self, buffer: bytearray) -> bytes:
        """Remove the data of the body from ``buffer``; return its content.  Raises BadBody."""

    def feed(self, buffer: bytearray, data: Data) -> bytes | Data:
        """Do the same as :meth:`take` with ``data`` behind ``buffer``; it may return ``data``."""
        buffer += data
        return self.take(buffer)

    def end(self) -> bool:
        """Return True if the end of the stream is a proper end of the body."""
        return self.done


class LengthBody(IncomingBody):
    """Body of ``length`` bytes."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length

    def take(self, buffer: bytearray) -> bytes:
        """Implement :meth:`IncomingBody.take`."""
        data = bytes(buffer if len(buffer) <= self._left else buffer[: self._left])
        del buffer[: self._left]
        self._left -= len(data)
        self.done = not self._left
        return data

    def feed(self, buffer: bytearray, data: Data) -> bytes | Data:
        """Implement :meth:`IncomingBody.feed`, mostly without a copy."""
        if buffer or len(data) > self._left:
            return super().feed(buffer, data)
        self._left -= len(data)
        self.done = not self._left
        return data


class StreamBody(IncomingBody):
    """Body of a response that lasts until the end of the stream."""

    def take(self, buffer: bytearray) -> bytes:
        """Implement :meth:`IncomingBody.take`."""
        data = bytes(buffer)
        buffer.clear()
        return data

    def end(self) -> bool:
        """Implement :meth:`IncomingBody.end`."""
        return True


class ChunkedBody(IncomingBody):
    """Body in chunks, parsed strictly: CRLF only, no white space around sizes.

    Without ``trailers`` a body that has any is refused.
    """

    __slots__ = ("_left", "_line", "_overhead", "_trailers", "_with_trailers")

    def __init__(self, *, trailers: bool = True) -> None:
        super().__init__()
        self._left = 0
        self._line = self._size_line
        self._overhead = 0
        self._trailers = 0
        self._with_trailers = trailers

    @property
    def announced(self) -> int:
        """Implement :attr:`IncomingBody.announced`."""
        return self._left

    def take(self, buffer: bytearray) -> bytes:
        """Implement :meth:`IncomingBody.take`."""
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
            # A fault is found at the first byte that shows it, however the data is split.
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
            raise BadBody("trailers are not accepted", HEAD_TOO_LARGE)
        elif not re.fullmatch(_TRAILER, line):
            raise BadBody("malformed trailer")
        elif self._trailers > _TRAILERS:
            raise BadBody(f"more than {_TRAILERS} bytes of trailers")


# Content codings


class BadCoding(Exception):
    """Error for a content coding that is not supported, or for a malformed coded body."""


class Bomb(BadCoding):
    """Error for a body that decompresses to more than the allowed ratio."""


def decoder_for(codings: list[bytes], ratio: int) -> "Inflater | None":
    """Return the decoder for the codings that a response names; None if none is needed.

    ``ratio``: maximum bytes of output for one byte of input.  Raises BadCoding.
    """
    names = [name.strip().lower() for value in codings for name in value.split(b",")]
    names = [name for name in names if name not in _IDENTITY]
    if not names:
        return None
    if len(names) > 1:
        raise BadCoding("the response is compressed more than once")
    shown = names[0][:40].decode("latin-1")
    if names[0] not in (b"gzip", b"x-gzip", b"deflate"):
        raise BadCoding(f"the response has the content coding {shown!r}, which is not taken")
    return Inflater(shown, ratio)


class Inflater:
    """Decoder of one coding of one body."""

    def __init__(self, coding: str, ratio: int) -> None:
        self._coding = coding
        self._ratio = ratio
        self._stream = zlib.decompressobj(_ZLIB if coding == "deflate" else _GZIP)
        self._taken = self._given = 0
        self._finished = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded ``data`` in pieces.  Raises BadCoding."""
        if self._finished:
            raise BadCoding(f"the response goes on behind its {self._coding} data")
        if data and not self._taken and self._coding == "deflate" and data[0] & 0x0F != 8:
            self._stream = zlib.decompressobj(_RAW)  # some servers mean this by "deflate"
        self._taken += len(data)
        while True:
            try:
                piece = self._stream.decompress(data, _PIECE)
            except zlib.error as error:
                raise BadCoding(f"the {self._coding} data of the response is broken") from error
            data = self._stream.unconsumed_tail
            self._given += len(piece)
            if self._given > max(_FREE, self._taken * self._ratio):
                raise Bomb(f"the response unfolds to more than {self._ratio} times its size")
            if piece:
                yield piece
            if self._stream.eof:
                self._finished = True
                if self._stream.unused_data or data:
                    raise BadCoding(f"the response goes on behind its {self._coding} data")
            if not data and len(piece) < _PIECE:
                return

    def end(self) -> None:
        """Check at the end of the body that the data is complete.  Raises BadCoding."""
        if self._taken and not self._finished:
            raise BadCoding(f"the {self._coding} data of the response is cut short")
