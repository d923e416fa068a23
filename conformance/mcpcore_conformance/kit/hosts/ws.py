"""The kit as a WebSocket server: the opening by hand, frames with wsproto's syntax."""

import base64
import hashlib

import anyio
import h11
from anyio.abc import ByteStream
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from mcpcore_conformance.kit.client_wire import Asked, Came, HostSettings
from mcpcore_conformance.kit.heard import Gone, Headers, Noise, Text, header
from mcpcore_conformance.kit.hosts.http import asked_of, read_request
from mcpcore_conformance.kit.hosts.listener import LOOPBACK, ListeningHost, receive, write
from mcpcore_conformance.kit.model import Binding

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SWITCHING = 101


class WsWire:
    """A WebSocket."""

    binding = Binding.WS

    def __init__(self, host: "WsHost", stream: ByteStream) -> None:
        self.number = host.log.number()
        self.host = host
        self.closing = False
        """The kit has sent a close frame."""
        self._stream = stream
        self._frames = FrameProtocol(client=False, extensions=[])
        self._parts: list[bytes] = []
        self._writing = anyio.Lock()

    async def say(self, payload: bytes, exchange: int = 0) -> bool:
        """See :class:`~mcpcore_conformance.kit.client_wire.HostWire`."""
        return await self.frame(Opcode.TEXT, payload)

    async def frame(self, opcode: int, payload: bytes, *, fin: bool = True) -> bool:
        """Send one frame as it is (RFC 6455 section 5.2)."""
        size = len(payload)
        head = bytes([(0x80 if fin else 0) | opcode])
        if size < 126:
            head += bytes([size])
        elif size < 1 << 16:
            head += b"\x7e" + size.to_bytes(2, "big")
        else:
            head += b"\x7f" + size.to_bytes(8, "big")
        kind = "message" if opcode == Opcode.TEXT and fin else "bytes"
        self.host.log.add(True, self.number, kind, payload)
        return await self._write(head + payload)

    async def raw(self, data: bytes) -> bool:
        """Send bytes as they are."""
        self.host.log.add(True, self.number, "bytes", data)
        return await self._write(data)

    async def _write(self, data: bytes) -> bool:
        async with self._writing:
            return await write(self._stream, data, self.host.settings.patience)

    async def shut(self, code: int, reason: str = "") -> None:
        """Send a close frame; the answer is heard as the end of the connection."""
        self.closing = True
        self.host.log.add(True, self.number, "close", f"{code} {reason}".encode())
        await self.frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason.encode())

    async def finish(self) -> None:
        """Close with 1000."""
        await self.shut(1000)

    async def cut(self, exchange: int = 0) -> None:
        """Drop the connection."""
        self.host.log.add(True, self.number, "close", b"")
        await self._stream.aclose()

    async def read(self, rest: bytes) -> Gone:
        """Hear frames until the connection is over."""
        data = rest
        while True:
            self._frames.receive_bytes(data)
            try:
                for frame in self._frames.received_frames():
                    if frame.opcode is Opcode.CLOSE:
                        assert isinstance(frame.payload, tuple)
                        code, reason = frame.payload
                        if not self.closing:
                            self.closing = True
                            await self.frame(Opcode.CLOSE, int(code).to_bytes(2, "big"))
                        return Gone(f"closed with {int(code)} {reason}".rstrip(), code=int(code))
                    assert not isinstance(frame.payload, tuple)
                    await self._frame(frame.opcode, frame.payload, frame.message_finished)
            except ParseFailed as error:
                self.host.put(self, Noise(f"a broken frame: {error}"))
                return Gone("a broken frame")
            data = await receive(self._stream)
            if not data:
                return Gone("the connection is closed without a close frame")

    async def _frame(self, opcode: Opcode, payload: bytes | str, finished: bool) -> None:
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        if opcode is Opcode.PING:
            await self.frame(Opcode.PONG, data)
        elif opcode is Opcode.PONG:
            self.host.put(self, Noise("pong", data))
        else:
            self._parts.append(data)
            if finished:
                whole, self._parts = b"".join(self._parts), []
                self.host.log.add(False, self.number, "message", whole)
                if opcode is Opcode.BINARY:
                    self.host.put(self, Noise("a binary frame", whole))
                else:
                    self.host.put(self, Text(whole))


class WsHost(ListeningHost):
    """Takes WebSockets at ``ws://host:port/mcp``."""

    binding = Binding.WS
    path = "/mcp"

    def __init__(self, settings: HostSettings | None = None) -> None:
        super().__init__(settings)
        self.openings: list[Asked] = []
        """Upgrade requests so far."""

    @property
    def address(self) -> str:
        """The URL."""
        return f"ws://{LOOPBACK}:{self.port}{self.path}"

    async def serve(self, stream: ByteStream, connection: int) -> None:
        """Answer an upgrade and read the WebSocket to its end."""
        parser = h11.Connection(h11.SERVER)
        request, _ = await read_request(parser, stream, self.settings.patience)
        if request is None:
            return
        asked = asked_of(request, connection, connection)
        self.openings.append(asked)
        wire = WsWire(self, stream)
        shown = f"{asked.method} {asked.target}\n".encode()
        shown += b"".join(f"{name}: {value}\n".encode() for name, value in asked.headers)
        self.log.add(False, wire.number, "head", shown)
        status, headers = self._answer(asked)
        lines = [f"HTTP/1.1 {status} ", *(f"{name}: {value}" for name, value in headers), "", ""]
        answer = "\r\n".join(lines).encode()
        self.log.add(True, wire.number, "head", answer)
        await write(stream, answer, self.settings.patience)
        if status != SWITCHING:
            return
        self.put(wire, Came())
        self.put(wire, asked)
        gone = await wire.read(parser.trailing_data[0])
        self.log.add(False, wire.number, "close", gone.reason.encode())
        self.put(wire, gone)

    def _answer(self, asked: Asked) -> tuple[int, Headers]:
        status = self.settings.upgrade_status
        if self.settings.refuse:
            self.settings.refuse -= 1
            status = 503
        if status != SWITCHING:
            return status, [("Content-Length", "0"), ("Connection", "close")]
        key = (header(asked.headers, "sec-websocket-key") or "").strip()
        proof = base64.b64encode(hashlib.sha1(f"{key}{_GUID}".encode()).digest())  # noqa: S324
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", proof.decode()),
        ]
        wanted = self.settings.subprotocol
        offered = (header(asked.headers, "sec-websocket-protocol") or "").split(",")
        if wanted is not None and (
            self.settings.select_anyway or wanted in [each.strip() for each in offered]
        ):
            headers.append(("Sec-WebSocket-Protocol", wanted))
        return status, headers
