"""WebSocket as bytes: frames right and wrong to send, and a strict reader of what comes back.

Sources: RFC 6455 section 5, RFC 7692 section 7.2.  No library, so that no mistake is made twice.
"""

import base64
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator

from msgspec import Struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TAIL = b"\x00\x00\xff\xff"
_LAST = b"\x01\x00\x00\xff\xff"


def accept_token(key: str) -> str:
    """What a server answers to a key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


def masked(payload: bytes, key: bytes) -> bytes:
    """The payload under the key, or out from under it."""
    size = len(payload)
    stream = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(payload, "big") ^ stream).to_bytes(size, "big")


class Frame(Struct, frozen=True):
    """One frame to send, which may be wrong in any way."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    bits: int = 0
    """Reserved bits that are set."""
    mask: bool | None = None
    """Whether it is masked; None: as is right for the side that sends it."""
    key: bytes | None = None
    form: int = 0
    """Bytes of the length, beyond the first: 2 or 8; 0: as many as are needed."""
    length: int | None = None
    """The length that it claims to have, if that is not its own."""

    def encode(self, *, client: bool) -> bytes:
        """Make the bytes, as the side sends them."""
        mask = client if self.mask is None else self.mask
        length = len(self.payload) if self.length is None else self.length
        form = self.form or (0 if length < 126 else 2 if length < 65536 else 8)
        bit = 0x80 if mask else 0
        head = bytes([(FIN if self.fin else 0) | self.bits | self.opcode])
        if form == 0:
            head += bytes([bit | length])
        elif form == 2:
            head += struct.pack("!BH", bit | 126, length)
        else:
            head += struct.pack("!BQ", bit | 127, length)
        if not mask:
            return head + self.payload
        key = os.urandom(4) if self.key is None else self.key
        return head + key + masked(self.payload, key)


def text(payload: bytes | str, **how: object) -> Frame:
    """A text frame."""
    data = payload.encode() if isinstance(payload, str) else payload
    return Frame(TEXT, data, **how)  # type: ignore[arg-type]


def more(payload: bytes = b"", **how: object) -> Frame:
    """A continuation frame."""
    return Frame(CONTINUATION, payload, **how)  # type: ignore[arg-type]


def ping(payload: bytes = b"", **how: object) -> Frame:
    """A ping."""
    return Frame(PING, payload, **how)  # type: ignore[arg-type]


def pong(payload: bytes = b"", **how: object) -> Frame:
    """A pong."""
    return Frame(PONG, payload, **how)  # type: ignore[arg-type]


def close(code: int | None = None, reason: bytes = b"") -> Frame:
    """A close frame."""
    return Frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


class Seen(Struct, frozen=True):
    """A whole message, a control frame, the end of the stream, or what is wrong with one."""

    kind: str
    """``text``, ``ping``, ``pong``, ``close``, ``end``, ``reset`` or ``wrong``."""
    data: bytes = b""
    """Payload; of a close its reason, and in ``wrong`` what is wrong, for people."""
    code: int | None = None
    """Of a close."""


class Wrong(Exception):
    """What was received is not what RFC 6455 lets the other side send."""


class Reader:
    """Reads what one side sends, and takes nothing that is not quite right.

    ``client``: whether it is a client that sends, and must mask.
    """

    def __init__(self, *, client: bool) -> None:
        self.marked = 0
        """Messages that came compressed."""
        self.keys: list[bytes] = []
        """Those that frames were masked with."""
        self._client = client
        self._rest = bytearray()
        self._parts: list[bytes] | None = None
        self._packed = False
        self._closed = False
        self._compressed = self._fresh = False
        self._bits = 15
        self._inflater = zlib.decompressobj(-15)

    def agree(self, *, fresh: bool, bits: int) -> None:
        """Take compressed messages, whose window is that large and kept unless ``fresh``."""
        self._compressed, self._fresh, self._bits = True, fresh, bits
        self._inflater = zlib.decompressobj(-bits)

    def feed(self, data: bytes) -> list[Seen]:
        """Take in bytes; returns what is complete.  Raises Wrong."""
        return list(self.read(data))

    def read(self, data: bytes) -> Iterator[Seen]:
        """Take in bytes; gives what is complete, one by one, until one is wrong.  Raises Wrong."""
        self._rest += data
        while (frame := self._frame()) is not None:
            seen = self._take(*frame)
            if seen is not None:
                yield seen

    @property
    def inside(self) -> bool:
        """Whether the stream stands inside a frame or message."""
        return bool(self._rest) or self._parts is not None

    def _frame(self) -> tuple[int, bytes] | None:
        rest = self._rest
        if len(rest) < 2:
            return None
        first, second = rest[0], rest[1]
        size, start = second & 0x7F, 2
        if size > 125:
            width = 2 if size == 126 else 8
            if len(rest) < 2 + width:
                return None
            size, start = int.from_bytes(rest[2 : 2 + width], "big"), 2 + width
            if size < (126 if width == 2 else 65536) or size >= 2**63:
                raise Wrong(f"a length of {size} in {width} bytes")
        if bool(second & 0x80) is not self._client:
            raise Wrong("clients mask and servers do not")
        if self._client:
            start += 4
        if len(rest) < start + size:
            return None
        payload = bytes(rest[start : start + size])
        if self._client:
            self.keys.append(bytes(rest[start - 4 : start]))
            payload = masked(payload, self.keys[-1])
        del rest[: start + size]
        return first, payload

    def _take(self, first: int, payload: bytes) -> Seen | None:
        opcode, bits = first & 0x0F, first & 0x70
        if self._closed:
            raise Wrong(f"a frame of kind {opcode} after a close")
        if bits & (RSV2 | RSV3) or (bits and (opcode != TEXT or not self._compressed)):
            raise Wrong(f"reserved bits {bits:#x} at a frame of kind {opcode}")
        if opcode in (CLOSE, PING, PONG):
            if not first & FIN or len(payload) > 125:
                raise Wrong("a control frame in parts, or a long one")
            return self._control(opcode, payload)
        if opcode == TEXT and self._parts is None:
            self._parts, self._packed = [], bool(bits)
        elif opcode != CONTINUATION or self._parts is None:
            raise Wrong(f"a frame of kind {opcode} that does not belong there")
        self._parts.append(payload)
        if not first & FIN:
            return None
        data, self._parts = b"".join(self._parts), None
        if self._packed:
            data = self._inflate(data)
        data.decode()
        return Seen("text", data)

    def _control(self, opcode: int, payload: bytes) -> Seen:
        if opcode != CLOSE:
            return Seen("ping" if opcode == PING else "pong", payload)
        self._closed = True
        if not payload:
            return Seen("close")
        if len(payload) == 1:
            raise Wrong("a close with one byte")
        code = int.from_bytes(payload[:2], "big")
        if not valid_code(code):
            raise Wrong(f"a close with {code}, which is never sent")
        payload[2:].decode()
        return Seen("close", payload[2:], code)

    def _inflate(self, data: bytes) -> bytes:
        self.marked += 1
        # By single bytes no distance reaches further back than the window has.
        rest, unpacked = data + _TAIL, b""
        while rest:
            step = 1 if self._bits < 15 else len(rest)
            parts = (rest[start : start + step] for start in range(0, len(rest), step))
            unpacked += b"".join(self._inflater.decompress(part) for part in parts)
            rest = self._inflater.unused_data
            if self._inflater.eof:  # a final block: what follows is a stream of its own
                self._inflater = zlib.decompressobj(-self._bits)
        if data:  # nothing at all is taken for an empty message
            after = self._inflater.copy()
            after.decompress(_LAST)
            if not after.eof:
                raise Wrong("a compressed message that ends within a block")
        if self._fresh:
            self._inflater = zlib.decompressobj(-self._bits)
        return unpacked


def valid_code(code: int) -> bool:
    """Whether a close may carry the code: RFC 6455 section 7.4 and the registry it sets up."""
    return code in {*range(1000, 1004), *range(1007, 1015)} or 3000 <= code < 5000


class Packer:
    """Compresses messages, all with one window or each on its own."""

    def __init__(self, *, fresh: bool = True, bits: int = 15, level: int = 6) -> None:
        self._fresh, self._bits, self._level = fresh, bits, level
        self._renew()

    def _renew(self) -> None:
        self._deflater = zlib.compressobj(self._level, zlib.DEFLATED, -self._bits)

    def __call__(self, data: bytes) -> bytes:
        """Compress one message (RFC 7692 section 7.2.1)."""
        packed = self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        if self._fresh:
            self._renew()
        return packed[: -len(_TAIL)]
