"""Fast reading and writing of the simplest WebSocket frames.

Most messages are one plain text frame.  These are parsed here in a fraction of the time that
wsproto takes, also if they come in pieces.  wsproto parses everything else, malformed heads
included, frame by frame, so that one can go on with the other at every boundary.

Source: RFC 6455 section 5.
"""

from codecs import utf_8_decode
from functools import cache
from io import BytesIO

_WHOLE_TEXT = 0x81
"""FIN and the opcode of text; no reserved bit."""
_MASKED, _LENGTH = 0x80, 0x7F
_TWO, _EIGHT = 126, 127
_LONGEST_HEAD = 14
_SHORT = 512
"""Maximum bytes for which unmasking as one number is the fastest."""
_SURROGATES, _FIRST_OF_THEM = 0xED, 0xA0


def whole_text(data: bytes, at: int, *, masked: bool, limit: int) -> tuple[bytes, int] | None:
    """Return the text of the frame that begins at ``at``, and the end of the frame.

    None if it is not a whole message of at most ``limit`` bytes in UTF-8.
    """
    if len(data) - at < 2 or data[at] != _WHOLE_TEXT or (data[at + 1] >= _MASKED) is not masked:
        return None
    size, start = data[at + 1] & _LENGTH, at + 2
    if size >= _TWO:
        if size == _EIGHT or len(data) - start < 2:
            return None
        size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
        if size < _TWO:  # the length must be written in the shortest form
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


class LongText:
    """Text of one frame that comes in pieces, each of which is checked at once."""

    __slots__ = ("_cut", "_key", "_text")

    def __init__(self, key: bytes) -> None:
        """Set the mask ``key``; empty if there is none."""
        self._key = key  # rotated for the beginning of the next piece
        self._text = BytesIO()  # gives its bytes away without a copy
        self._cut = b""  # the beginning of a character

    def take(self, data: bytes) -> None:
        """Take the next piece of the payload.  Raises UnicodeDecodeError."""
        clear: bytes | bytearray = data
        if self._key:
            clear = _unmask_long(data, self._key)
            turn = len(data) % 4
            self._key = self._key[turn:] + self._key[:turn]
        if self._cut or not clear.isascii():
            checked = self._cut + clear
            _, end = utf_8_decode(checked, "strict", False)
            self._cut = cut = bytes(checked[end:])
            # Half a surrogate, which Python's decoder takes for a valid beginning.
            if len(cut) == 2 and cut[0] == _SURROGATES and cut[1] >= _FIRST_OF_THEM:
                cut.decode()
        self._text.write(clear)

    def whole(self) -> bytes:
        """Return the complete text.  Raises UnicodeDecodeError."""
        self._cut.decode()
        return self._text.getvalue()


def long_text(data: bytes, at: int, *, masked: bool, limit: int) -> tuple[LongText, int] | None:
    """Return a reader for the text of the frame at ``at``, and the start of its payload.

    None if its head is not complete, or is not that of a whole message of at most ``limit`` bytes.
    """
    head = data[at : at + _LONGEST_HEAD]
    if len(head) < 2 or head[0] != _WHOLE_TEXT:
        return None
    end = _head_size(head[1])
    if len(head) < end:
        return None
    size = _payload_size(head)
    as_it_has_to_be = len(text_head(size)) + (4 if masked else 0)
    if size > limit or end != as_it_has_to_be:  # also where there is a mask, or none
        return None
    return LongText(head[end - 4 : end] if masked else b""), at + end


def text_head(size: int) -> bytes:
    """Return the head for ``size`` bytes of text in a whole frame of a server."""
    if size < _TWO:
        return bytes((_WHOLE_TEXT, size))
    if size < 1 << 16:
        return bytes((_WHOLE_TEXT, _TWO)) + size.to_bytes(2, "big")
    return bytes((_WHOLE_TEXT, _EIGHT)) + size.to_bytes(8, "big")


class Boundaries:
    """Tracker of frame boundaries in the input, for frames of every kind."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""  # the data of an incomplete head
        self._left = 0  # bytes of a payload that are to come

    @property
    def between(self) -> bool:
        """True between two frames: the last one is complete and none of the next is received."""
        return not self._left and not self._head

    def advance(self, data: bytes, at: int) -> int:
        """Advance to the end of the current frame, or of ``data``; return that position."""
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
    size = second & _LENGTH
    extended = 8 if size == _EIGHT else 2 if size == _TWO else 0
    return 2 + extended + (4 if second & _MASKED else 0)


def _payload_size(head: bytes) -> int:
    size = head[1] & _LENGTH
    if size < _TWO:
        return size
    return int.from_bytes(head[2 : 4 if size == _TWO else 10], "big")


def _unmask(data: bytes, key: bytes) -> bytes:
    size = len(data)
    if size <= _SHORT:
        whole = int.from_bytes((key * (size // 4 + 1))[:size], "little")
        return (int.from_bytes(data, "little") ^ whole).to_bytes(size, "little")
    return bytes(_unmask_long(data, key))


def _unmask_long(data: bytes, key: bytes) -> bytearray:
    clear = bytearray(data)
    for offset, byte in enumerate(key):
        clear[offset::4] = clear[offset::4].translate(_xor(byte))
    return clear


@cache
def _xor(byte: int) -> bytes:
    return bytes(byte ^ other for other in range(256))
