"""Content codings of responses: bounded decoding of gzip and deflate (RFC 9110 section 8.4.1).

A small body can decompress to any size.  So the output is returned in pieces of bounded size, and a
body that decompresses far beyond the ratio of real text is refused while it is still small.
"""

import zlib
from collections.abc import Iterator

_PIECE = 256 * 1024
"""Maximum bytes of one output piece."""
_FREE = 1024 * 1024
"""Bytes of output that are allowed at any ratio."""
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_IDENTITY = frozenset({b"", b"identity"})


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
