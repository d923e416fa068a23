"""HTTP servers spoken by hand: read the requests of a connection, and answer in bytes."""

import json
from typing import Any

from anyio.abc import ByteStream
from msgspec import Struct

JSON = b"application/json"
DISCOVERY: dict[str, Any] = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "ttlMs": 1000,
    "cacheScope": "public",
}
"""A result of ``server/discover``."""


class Request(Struct):
    """One request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The message, which must be there."""
        return json.loads(self.body)

    def answer(self, text: str = "hello", **more: Any) -> bytes:
        """A good answer to it."""
        if self.json["method"] == "server/discover":
            more["result"] = DISCOVERY
        return answer(self.json["id"], text, **more)


def answer(id: Any, text: str, /, **more: Any) -> bytes:
    """A result with a text, ``more`` in the place of its members; ``...`` takes one out."""
    result = {"resultType": "complete", "content": [{"type": "text", "text": text}]}
    message = {"jsonrpc": "2.0", "id": id, "result": result, **more}
    return json.dumps({name: each for name, each in message.items() if each != ...}).encode()


class HandConnection:
    """A connection, of which as much is read as somebody asks for."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, *parts: bytes) -> None:
        """Send parts one by one."""
        for part in parts:
            await self.stream.send(part)

    async def more(self) -> None:
        """Read what comes next."""
        self.buffer += await self.stream.receive()

    async def exactly(self, size: int) -> bytes:
        """Read so many bytes."""
        while len(self.buffer) < size:
            await self.more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data


class ServerSide(HandConnection):
    """The server's end of a connection."""

    async def request(self) -> Request:
        """Read a request whose body has a length, if any.  Raises EndOfStream at the end."""
        method, target, headers = await self.head()
        body = await self.exactly(int(headers.get("content-length", "0")))
        return Request(method, target, headers, body)

    async def head(self) -> tuple[str, str, dict[str, str]]:
        """Read a head: method, target and headers, whose names are in small letters."""
        while b"\r\n\r\n" not in self.buffer:
            await self.more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, target, version = first.split(" ")
        assert version == "HTTP/1.1"
        pairs = [line.partition(":") for line in lines]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        assert len(headers) == len(lines)
        return method, target, headers


def response(body: bytes, *lines: bytes, status: bytes = b"200 OK", kind: bytes = JSON) -> bytes:
    """A response with a length, and ``lines`` behind the usual ones."""
    head = (b"HTTP/1.1 " + status, b"Content-Type: " + kind, b"Content-Length: %d" % len(body))
    return b"\r\n".join((*head, *lines, b"", body))
