"""A server with one tool that works and one that does its worst, byte by byte, over real sockets.

``good`` answers at once, ``beside`` when the test says so, ``bad`` is the fault under test.
"""

import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketAttribute

from mcpcore.spec.revisions import BY_NAME
from tests.faults.cutting import LOST, listening
from tests.faults.http_by_hand import DISCOVERY, Request, ServerSide, answer

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
NO_STREAM = b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n"


class Side:
    """One request on its connection, and what may be done about it."""

    def __init__(self, villain: "Villain", stream: ByteStream, request: Request) -> None:
        self.villain = villain
        self.stream = stream
        self.method, self.target, self.headers = request.method, request.target, request.headers
        self.message: dict[str, Any] = request.json if request.body else {}
        self.id: Any = self.message.get("id")

    def answer(self, text: str = "well", **more: Any) -> bytes:
        """A good answer, ``more`` in the place of its members; ``...`` takes one out."""
        return answer(self.id, text, **more)

    def json(self, body: bytes, extra: bytes = b"") -> bytes:
        return JSON + extra + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def event(self, body: bytes, id: str | None = None) -> bytes:
        return (b"" if id is None else b"id: %b\n" % id.encode()) + b"data: " + body + b"\n\n"

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            await self.stream.send(part)

    async def pour(self, part: bytes, count: int | None = None) -> None:
        """Send the same over and over, until the client has enough."""
        while count is None or count > 0:
            await self.stream.send(part)
            count = None if count is None else count - 1
            await anyio.lowlevel.checkpoint()

    async def hold(self) -> None:
        """Say nothing until the client leaves."""
        while await self.stream.receive():
            pass

    def reset(self) -> None:
        raw = self.stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


Script = Callable[[Side], Awaitable[object]]


async def good(side: Side) -> bool:
    """Answer as a server should."""
    await side.send(side.json(side.answer()))
    return True


class Villain:
    """The server: what it does, and what it has seen."""

    def __init__(self, revision: str, bad: Script, get: Script | None) -> None:
        self.revision = BY_NAME[revision]
        self.bad, self.get = bad, get
        self.seen: Counter[str] = Counter()
        """HTTP requests by JSON-RPC method or tool, else by HTTP method."""
        self.session = 0
        self.lost: set[str] = set()
        """Sessions that it does not know any more."""
        self.beside = anyio.Event()
        self.url = ""
        self.called: Any = None
        """The id of the last call of "bad"."""
        self.scripts: dict[str, Script] = {}
        """In the place of what is done about a method."""
        self.capabilities: dict[str, Any] = {"tools": {}}

    async def serve(self, stream: ByteStream) -> None:
        server = ServerSide(stream)
        async with stream:
            with suppress(*LOST):
                while await self._answer(Side(self, stream, await server.request())):
                    pass

    async def _answer(self, side: Side) -> bool:
        """Answer one request; False if the connection is to be closed."""
        name = side.message.get("method", side.method)
        if name == "tools/call":
            name = side.message["params"]["name"]
        if name == "bad":
            self.called = side.id
        self.seen[name] += 1
        if side.headers.get("mcp-session-id") in self.lost:
            await side.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return True
        script = self.scripts.get(name)
        if script is not None:
            return bool(await script(side))
        match name:
            case "bad":
                return bool(await self.bad(side))
            case "GET":
                if self.get is not None and "last-event-id" in side.headers:
                    return bool(await self.get(side))
                await side.send(NO_STREAM)
            case "beside":
                await self.beside.wait()
                await side.send(side.json(side.answer()))
            case "server/discover":
                own = {
                    "supportedVersions": [self.revision.name],
                    "capabilities": self.capabilities,
                }
                await side.send(side.json(side.answer(result=DISCOVERY | own)))
            case "initialize":
                self.session += 1
                result = {
                    "protocolVersion": self.revision.name,
                    "capabilities": self.capabilities,
                    "serverInfo": {"name": "villain", "version": "1"},
                }
                session = b"Mcp-Session-Id: s%d\r\n" % self.session
                await side.send(side.json(side.answer(result=result), session))
            case _ if side.id is None:
                await side.send(ACCEPTED)
            case _:
                await side.send(side.json(side.answer()))
        return True


@asynccontextmanager
async def villain(
    bad: Script,
    *,
    get: Script | None = None,
    revision: str = "2026-07-28",
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Villain]:
    """Serve until the end of the block."""
    state = Villain(revision, bad, get)
    async with listening(state.serve, ssl_context) as port:
        state.url = f"{'https' if ssl_context else 'http'}://127.0.0.1:{port}/mcp"
        yield state
