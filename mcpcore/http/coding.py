"""Gzip coding of replies, if the client asks for it (RFC 9110 sections 8.4 and 12.5.3).

Only whole JSON replies are compressed.  Event streams are not: an event must be readable as soon as
it has arrived.
"""

import re
import zlib
from collections.abc import Callable

from mcpcore.http.headers import ACCEPT_ENCODING, CONTENT_ENCODING

VARIES = (b"vary", ACCEPT_ENCODING)
"""Header of every reply whose form depends on the codings that its client accepts."""
GZIP_LINE = (CONTENT_ENCODING, b"gzip")

PIECE = 256 * 1024
"""Maximum bytes compressed at once, which takes some milliseconds."""
_LEVEL = 1
"""Compression level. Higher levels take up to three times as long, and make JSON smaller by a tenth
at most."""
_GZIP = 16 + zlib.MAX_WBITS
_ELEMENT = r"\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s*(?:;\s*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?"


def takes_gzip(accept_encoding: str | None) -> bool:
    """Return True if ``Accept-Encoding`` allows gzip and does not prefer an uncompressed reply.

    The name itself counts before ``*``.  Unreadable elements are skipped.
    """
    if accept_encoding is None or accept_encoding == "identity":
        return False
    weights: dict[str, float] = {}
    for element in accept_encoding.split(","):
        if match := re.fullmatch(_ELEMENT, element):
            name = match[1].lower().removeprefix("x-")
            weights.setdefault(name, 1.0 if match[2] is None else float(match[2]))
    gzip = weights.get("gzip", weights.get("*", 0.0))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


class Packing:
    """Compressor of one body, a piece at a time."""

    def __init__(self, body: bytes) -> None:
        self._left = memoryview(body)
        self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)

    @property
    def done(self) -> bool:
        """True if there is no further piece."""
        return not self._left

    def next(self) -> bytes:
        """Return the next piece, which is never empty."""
        piece, self._left = self._left[:PIECE], self._left[PIECE:]
        end = zlib.Z_SYNC_FLUSH if self._left else zlib.Z_FINISH
        return self._stream.compress(piece) + self._stream.flush(end)


def unpacker() -> Callable[[bytes], bytes]:
    """Return a function that decompresses trusted output of a :class:`Packing`, piece by piece."""
    return zlib.decompressobj(_GZIP).decompress
