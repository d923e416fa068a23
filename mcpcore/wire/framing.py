"""Newline framing over a byte stream: the stdio transport's "messages are delimited by newlines".

Any split of the stream gives the same lines.  Memory and time are linear in the bytes received, and
no line longer than the limit is ever held.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from io import BytesIO

from msgspec import Struct

DEFAULT_LIMIT = 4 * 1024 * 1024
"""Default maximum bytes of one line, its line ending not counted."""

_HEAD = 1024
_LF = b"\n"
_CR = 0x0D


class TooLong(Struct, frozen=True):
    """Mark for a line over the limit, given once, as soon as the limit is passed."""

    limit: int
    """Limit in bytes."""
    head: bytes
    """First bytes of the line, at most 1024: enough to identify the message."""


class LineReader:
    """Cuts a byte stream into lines.

    Feed with :meth:`receive`, then take lines until there are none.  Lines end with LF or CRLF
    and come without it; blank lines are skipped.  A line over ``limit`` bytes gives one
    :class:`TooLong`; the rest of it is dropped until the next newline.
    """

    __slots__ = ("_chunks", "_limit", "_offset", "_partial", "_skipping")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._chunks: deque[bytes] = deque()
        self._offset = 0  # into the first chunk: the bytes before it are done
        # The beginning of a line whose end has not been seen. A BytesIO gives its whole value
        # without a copy, unlike a bytearray.
        self._partial = BytesIO()
        self._skipping = False

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes read from the stream."""
        if data:
            self._chunks.append(data if type(data) is bytes else bytes(memoryview(data)))

    def next_line(self) -> bytes | TooLong | None:
        """Take the next complete line; None if there is none yet."""
        chunks = self._chunks
        while chunks:
            chunk, start = chunks[0], self._offset
            newline = chunk.find(_LF, start)
            end = len(chunk) if newline < 0 else newline
            self._offset = end + 1
            if self._offset >= len(chunk):
                chunks.popleft()
                self._offset = 0
            if self._skipping:
                self._skipping = newline < 0
            elif newline < 0:
                if self._passes_limit(chunk, start, end):
                    self._skipping = True
                    return self._too_long(chunk, start, end)
                self._partial.write(chunk[start:] if start else chunk)
            elif self._passes_limit(chunk, start, end):
                return self._too_long(chunk, start, end)
            elif line := self._complete(chunk, start, end):
                return line
        return None

    def lines(self) -> Iterator[bytes | TooLong]:
        """Take lines until there are none left."""
        return iter(self.next_line, None)

    def take_in(self, data: bytes) -> Iterable[bytes | TooLong]:
        """Queue bytes read from the stream, and take lines until there are none left."""
        if (
            data[-1:] == _LF
            and len(data) <= self._limit
            and not (self._chunks or self._skipping or self._partial.tell())
            and type(data) is bytes
            and _CR not in data
        ):  # whole lines, the usual case with small messages
            if data.find(_LF) < len(data) - 1:
                return [line for line in data.split(_LF) if line and not line.isspace()]
            line = data[:-1]
            return (line,) if line and not line.isspace() else ()
        self.receive(data)
        return self.lines()

    def eof(self) -> bytes | TooLong | None:
        """Take the last line at the end of the stream, when all others are taken."""
        self.receive(_LF)
        return self.next_line()

    def _passes_limit(self, chunk: bytes, start: int, end: int) -> bool:
        """Return True if the line with ``chunk[start:end]`` as its latest part is too long."""
        excess = self._partial.tell() + end - start - self._limit
        if excess != 1:
            return excess > 0
        # One byte too many may be the CR of the line ending.
        return (chunk[end - 1] if start < end else self._partial.getbuffer()[-1]) != _CR

    def _too_long(self, chunk: bytes, start: int, end: int) -> TooLong:
        head = bytes(self._partial.getbuffer()[:_HEAD])
        head += chunk[start : min(end, start + _HEAD - len(head))]
        self._partial = BytesIO()
        return TooLong(self._limit, head)

    def _complete(self, chunk: bytes, start: int, end: int) -> bytes | None:
        """Return the line that ends with ``chunk[start:end]``, or None if it is blank."""
        if size := self._partial.tell():
            size += self._partial.write(chunk[start:end])
            if self._partial.getbuffer()[-1] == _CR:
                self._partial.truncate(size - 1)
            line = self._partial.getvalue()
            self._partial = BytesIO()
        else:
            if start < end and chunk[end - 1] == _CR:
                end -= 1
            line = chunk[start:end]
        return None if not line or line.isspace() else line
