"""WebSocket by hand, on either side: RFC 6455 as far as a test needs it, and no library."""

import base64
import hashlib
import os
import struct

import anyio
from anyio.abc import ByteStream

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Closed(Exception):
    """The other side has sent a close frame with this code and reason."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"closed with {code} {reason}")
        self.code = code
        self.reason = reason


def encode(payload: bytes, opcode: int = TEXT, *, mask: bool, first: int | None = None) -> bytes:
    """Make one frame; ``first`` replaces its first byte."""
    size = len(payload)
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes([bit | size])
    elif size < 65536:
        head = struct.pack("!BH", bit | 126, size)
    else:
        head = struct.pack("!BQ", bit | 127, size)
    begin = bytes([FIN | opcode if first is None else first]) + head
    if not mask:
        return begin + payload
    key = os.urandom(4)
    stream = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return begin + key + (int.from_bytes(payload, "big") ^ stream).to_bytes(size, "big")


class Frames:
    """One end of a connection that has been upgraded, or is about to be."""

    def __init__(self, stream: ByteStream, *, client: bool) -> None:
        self.stream = stream
        self._client = client
        self._rest = bytearray()

    async def connect(self, host: str, path: str, protocol: str = "mcp") -> None:
        """Ask for the upgrade, as the client."""
        await self.stream.send(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
        )
        head = await self._head()
        assert head[0].split()[1] == "101", head[0]

    async def accept(self) -> None:
        """Read a request for the upgrade and grant it, as the server."""
        headers = dict(line.split(": ", 1) for line in (await self._head())[1:])
        key = {name.lower(): value for name, value in headers.items()}["sec-websocket-key"]
        token = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
        await self.stream.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {token}\r\nSec-WebSocket-Protocol: mcp\r\n\r\n".encode()
        )

    async def _head(self) -> list[str]:
        while b"\r\n\r\n" not in self._rest:
            await self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        return head.decode().split("\r\n")

    async def _more(self) -> None:
        self._rest += await self.stream.receive()

    async def _take(self, count: int) -> bytes:
        while len(self._rest) < count:
            await self._more()
        data = bytes(self._rest[:count])
        del self._rest[:count]
        return data

    def encode(self, payload: bytes, opcode: int = TEXT, *, first: int | None = None) -> bytes:
        """Make a frame of this side."""
        return encode(payload, opcode, mask=self._client, first=first)

    async def send(self, payload: bytes, opcode: int = TEXT, *, first: int | None = None) -> None:
        await self.stream.send(self.encode(payload, opcode, first=first))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its payload."""
        first, second = await self._take(2)
        assert bool(second & 0x80) is not self._client, "clients mask and servers do not"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._take(8))
        key = None if self._client else await self._take(4)
        payload = await self._take(size)
        if key is None or not size:
            return first, payload
        stream = int.from_bytes((key * (size // 4 + 1))[:size], "big")
        return first, (int.from_bytes(payload, "big") ^ stream).to_bytes(size, "big")

    async def message(self) -> bytes:
        """The next text message. Answers pings; raises Closed, and EndOfStream without a close."""
        parts = []
        while True:
            first, payload = await self.frame()
            opcode = first & 0x0F
            if opcode == PING:
                await self.send(payload, PONG)
            elif opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if payload else None
                with anyio.move_on_after(1):
                    await self.send(payload[:2], CLOSE)
                raise Closed(code, payload[2:].decode())
            elif opcode in (TEXT, CONTINUATION):
                parts.append(payload)
                if first & FIN:
                    return b"".join(parts)
            else:
                assert opcode == PONG, f"a frame of kind {opcode}"


def unmasked(data: bytes) -> bytes:
    """Bytes as they came, with the payloads of whole masked frames behind an upgrade in clear."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found or b"upgrade: websocket" not in head.lower() or not head.startswith(b"GET "):
        return data
    clear = head
    while len(rest) >= 2:
        size, begin = rest[1] & 0x7F, 2
        if size >= 126:
            begin = 4 if size == 126 else 10
            size = int.from_bytes(rest[2:begin], "big")
        key, payload = rest[begin : begin + 4], rest[begin + 4 : begin + 4 + size]
        if len(payload) < size:
            break
        stream = (key * (size // 4 + 1))[:size]
        clear += bytes(a ^ b for a, b in zip(payload, stream, strict=True))
        rest = rest[begin + 4 + size :]
    return clear
