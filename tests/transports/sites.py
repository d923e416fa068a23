"""A WebSocket server to test, and a client that speaks HTTP and frames by hand."""

import json
import os
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteStream

from mcpcore.engine.peer import Peer
from tests.clock import PATIENCE, patience
from tests.transports.apps import ToolServer, make_server
from tests.transports.malformed import META, request
from transports.handshake import Handshake
from transports.link import App
from transports.pump import Connection
from transports.websocket_server import serve_websocket
from transports.websocket_settings import WebSocketSettings

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_PATIENT: dict[str, Any] = {"ping_interval": None, "handshake_timeout": PATIENCE}
"""Settings of servers: no ping and no end of a handshake comes between on a busy machine."""


def call(id: int, name: str = "echo", **arguments: Any) -> bytes:
    return request("tools/call", {"name": name, "arguments": arguments, "_meta": META}, id=id)


class Site:
    """A running server and all that connected to it."""

    def __init__(self) -> None:
        self.port = 0
        self.apps: list[ToolServer] = []
        self.handshakes: list[Handshake] = []
        self.limits: dict[str, Any] = {}
        self.scope = anyio.CancelScope()

    async def serve(self, make_link: Callable[[Peer, App], Connection], shake: Handshake) -> None:
        app = ToolServer(make_server(**self.limits))
        app.link = link = make_link(app.peer, app)
        self.apps.append(app)
        self.handshakes.append(shake)
        await link.run()

    @property
    def app(self) -> ToolServer:
        """The application of the only connection."""
        [app] = self.apps
        return app


@asynccontextmanager
async def site(
    ssl_context: ssl.SSLContext | None = None, limits: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Site]:
    found = Site()
    found.limits = limits or {}
    async with anyio.create_task_group() as tasks:

        async def run(*, task_status: Any) -> None:
            with found.scope:
                await serve_websocket(
                    "127.0.0.1",
                    0,
                    found.serve,
                    settings=WebSocketSettings(**{**_PATIENT, **settings}),
                    ssl_context=ssl_context,
                    task_status=task_status,
                )

        found.port = await tasks.start(run)
        yield found
        found.scope.cancel()


class Raw:
    """A client that speaks HTTP and frames by hand."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._rest = b""

    async def more(self) -> None:
        with patience():
            self._rest += await self.stream.receive()

    async def take(self, count: int) -> bytes:
        while len(self._rest) < count:
            await self.more()
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    async def head(self) -> tuple[int, dict[str, str]]:
        """Read the head of a response."""
        while b"\r\n\r\n" not in self._rest:
            await self.more()
        head, self._rest = self._rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        pairs = [line.split(":", 1) for line in lines]
        return int(first.split()[1]), {name.lower(): value.strip() for name, value in pairs}

    async def body(self) -> str:
        """Read to the end."""
        try:
            while True:
                await self.more()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return self._rest.decode()

    async def frame(self, opcode: int, payload: bytes = b"", *, first: int | None = None) -> None:
        """Send a masked frame; ``first`` replaces its first byte."""
        await self.stream.send(frame(opcode, payload, first=first))

    async def receive(self) -> tuple[int, bytes]:
        """Receive an unmasked, unfragmented frame."""
        first, second = await self.take(2)
        assert first & 0x80
        assert not second & 0x80
        length = second & 0x7F
        if length == 126:
            [length] = struct.unpack("!H", await self.take(2))
        elif length == 127:
            [length] = struct.unpack("!Q", await self.take(8))
        return first & 0x0F, await self.take(length)

    async def message(self) -> dict[str, Any]:
        opcode, payload = await self.receive()
        assert opcode == TEXT
        message: dict[str, Any] = json.loads(payload)
        return message

    async def closed(self) -> tuple[int, str]:
        """Receive a close frame: code and reason; then the end."""
        opcode, payload = await self.receive()
        while opcode != CLOSE:
            opcode, payload = await self.receive()
        [code] = struct.unpack("!H", payload[:2])
        await self.frame(CLOSE, payload)
        assert await self.body() == ""
        return code, payload[2:].decode()


def frame(opcode: int, payload: bytes, *, first: int | None = None) -> bytes:
    mask = os.urandom(4)
    if len(payload) < 126:
        length = bytes([0x80 | len(payload)])
    elif len(payload) < 65536:
        length = b"\xfe" + struct.pack("!H", len(payload))
    else:
        length = b"\xff" + struct.pack("!Q", len(payload))
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = bytes(a ^ b for a, b in zip(payload, key, strict=True))
    return bytes([0x80 | opcode if first is None else first]) + length + mask + masked


@asynccontextmanager
async def raw(port: int) -> AsyncIterator[Raw]:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield Raw(stream)


def upgrade(
    port: int, target: str = "/mcp", /, *, method: str = "GET", **headers: str | None
) -> bytes:
    """An upgrade request; a header given as None is left out."""
    all_headers: dict[str, str | None] = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": "mcp",
    }
    for name, value in headers.items():
        all_headers[name.replace("_", "-")] = value
    lines = [f"{name}: {value}" for name, value in all_headers.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()


@asynccontextmanager
async def upgraded(port: int, **headers: str | None) -> AsyncIterator[Raw]:
    async with raw(port) as client:
        await client.stream.send(upgrade(port, "/mcp", method="GET", **headers))
        status, _ = await client.head()
        assert status == 101
        yield client
