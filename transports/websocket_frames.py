"""Frames of a WebSocket connection that can be read and written at sight.

Most messages are one text frame, whole in what was received, with nothing special about it.  Those
are read here in a fraction of the time that wsproto takes; it reads everything else, mistakes
included, frame by frame, so that one can go on with the other at every boundary.

Source: RFC 6455 section 5.
"""

from functools import cache

_WHOLE_TEXT = 0x81
"""FIN and the opcode of text; no reserved bit."""
_MASKED = 0x80
_TWO, _EIGHT = 126, 127
_LONGEST_HEAD = 14
_SHORT = 512
"""Bytes up to which unmasking as one number is the fastest."""


def whole_text(data: bytes, at: int, *, masked: bool, limit: int) -> tuple[bytes, int] | None:
    """The text of the frame that begins at ``at``, and where it ends.

    None if it is anything but a whole message of at most ``limit`` bytes in UTF-8.
    """
    if len(data) - at < 2 or data[at] != _WHOLE_TEXT or (data[at + 1] >= _MASKED) is not masked:
        return None
    size, start = data[at + 1] & ~_MASKED, at + 2
    if size >= _TWO:
        if size == _EIGHT or len(data) - start < 2:
            return None
        size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
        if size < _TWO:  # the length is to be written as short as it can be
            return None
    key = data[start : start + 4] if masked else b""
    start += 4 if masked else 0
    end = start + size
    if end > len(data) or size > limit:
        return None
    text = data[start:end]
    if masked:
        text = _unmask(text, key)
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            return None
    return text, end


def text_head(size: int) -> bytes:
    """What precedes ``size`` bytes of text in a whole frame of a server."""
    if size < _TWO:
        return bytes((_WHOLE_TEXT, size))
    if size < 1 << 16:
        return bytes((_WHOLE_TEXT, _TWO)) + size.to_bytes(2, "big")
    return bytes((_WHOLE_TEXT, _EIGHT)) + size.to_bytes(8, "big")


class Boundaries:
    """Knows where frames end in what is received, whatever they are."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""  # what there is of one that is not complete
        self._left = 0  # bytes of a payload that are to come

    @property
    def between(self) -> bool:
        """The last frame is complete, and nothing of the next one is there."""
        return not self._left and not self._head

    def advance(self, data: bytes, at: int) -> int:
        """Go on to the end of the frame in progress, or of ``data``; where that is."""
        if not self._left:
            head = self._head + data[at : at + _LONGEST_HEAD - len(self._head)]
            if len(head) < 2 or len(head) < (size := _head_size(head[1])):
                self._head = head
                return len(data)
            at += size - len(self._head)
            self._head, self._left = b"", _payload_size(head)
        end = min(at + self._left, len(data))
        self._left -= end - at
        return end


def _head_size(second: int) -> int:
    size = second & ~_MASKED
    extended = 8 if size == _EIGHT else 2 if size == _TWO else 0
    return 2 + extended + (4 if second & _MASKED else 0)


def _payload_size(head: bytes) -> int:
    size = head[1] & ~_MASKED
    if size < _TWO:
        return size
    return int.from_bytes(head[2 : 4 if size == _TWO else 10], "big")


def _unmask(data: bytes, key: bytes) -> bytes:
    size = len(data)
    if size <= _SHORT:
        whole = int.from_bytes((key * (size // 4 + 1))[:size], "little")
        return (int.from_bytes(data, "little") ^ whole).to_bytes(size, "little")
    clear = bytearray(data)
    for offset, byte in enumerate(key):
        clear[offset::4] = clear[offset::4].translate(_xor(byte))
    return bytes(clear)


@cache
def _xor(byte: int) -> bytes:
    return bytes(byte ^ other for other in range(256))
