"""A server spoken by hand, whatever the binding: what a client of ours meets in these tests."""

import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream, UNIXSocketStream

from mcpcore_transports.targets import StdioTarget, parse_target
from tests.bindings.frames import Frames
from tests.bindings.inbox import Inbox
from tests.bindings.wires import LOST, FrameWire, LineWire, Pipes, Wire, encode, reset
from tests.clock import PATIENCE
from tests.forks import launcher

SESSION = "a-session-made-by-hand"


class Host:
    """Where a client connects to, and each conversation that it has begun."""

    def __init__(self, target: Any) -> None:
        self.target = target
        self.listener: Any = None
        self._wires: Inbox[Wire] = Inbox()
        self._all: list[Wire] = []

    def add(self, wire: Wire) -> None:
        self._wires.put(wire)
        self._all.append(wire)

    async def refuse(self) -> None:
        """Take no more connections."""
        await self.listener.aclose()

    async def close(self) -> None:
        """Let go of every conversation."""
        for wire in self._all:
            with suppress(*LOST):
                await wire.done()

    async def accept(self) -> Any:
        """Wait for the next conversation."""
        return await self._wires.get()


class ProcessWire(LineWire):
    """The standard streams of a process that the client believes to be the server."""

    def __init__(self, stream: Pipes, link: UNIXSocketStream, stderr: int) -> None:
        super().__init__(stream)
        self._link = link
        self.stderr = stderr

    async def exit(self, status: int) -> None:
        """Have the process exit."""
        await self.stream.aclose()
        if self.stderr >= 0:
            os.close(self.stderr)
            self.stderr = -1
            with suppress(*LOST):
                await self._link.send(bytes([status]))
            await self._link.aclose()

    async def close(self) -> None:
        await self.exit(0)

    async def abort(self) -> None:
        await self.exit(9)


class Exchange:
    """One POST of the client that waits for its answer."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.streaming = False

    async def event(self, message: bytes, *, last: bool) -> None:
        out = b""
        if not self.streaming:
            self.streaming = True
            out = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            out += b"Transfer-Encoding: chunked\r\n\r\n"
        event = b"data: " + message + b"\n\n"
        out += b"%x\r\n%b\r\n" % (len(event), event)
        await self.stream.send(out + (b"0\r\n\r\n" if last else b""))

    async def whole(self, message: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: %b\r\n"
        length = b"Content-Length: %d\r\n\r\n" % len(message)
        await self.stream.send(head % SESSION.encode() + length + message)


class HttpHostWire:
    """All exchanges of a client over Streamable HTTP, as one conversation.

    What answers a request goes out as its response.  Anything else goes onto the stream of the
    request named by ``to``, and without it onto the GET stream, which the client opens (legacy).
    """

    def __init__(self, *, modern: bool) -> None:
        self._modern = modern
        self._inbox: Inbox[dict[str, Any]] = Inbox()
        self._exchanges: dict[Any, Exchange] = {}
        self._get: Exchange | None = None
        self._listening = anyio.Event()
        self.connections: set[ByteStream] = set()
        self.left: list[Any] = []
        """The ids of requests whose connection the client has closed while it waited."""
        self._leaving = anyio.Event()

    async def serve(self, stream: SocketStream) -> None:
        """Read the requests of one connection."""
        self.connections.add(stream)
        waiting: Any = None
        rest = b""
        with suppress(*LOST):
            async with stream:
                while True:
                    while b"\r\n\r\n" not in rest:
                        rest += await stream.receive()
                    head, _, rest = rest.partition(b"\r\n\r\n")
                    first, *lines = head.decode().split("\r\n")
                    headers = {
                        name.lower(): value.strip()
                        for name, _, value in (line.partition(":") for line in lines)
                    }
                    size = int(headers.get("content-length", 0))
                    while len(rest) < size:
                        rest += await stream.receive()
                    body, rest = rest[:size], rest[size:]
                    waiting = await self._request(first.split()[0], body, stream)
        self.connections.discard(stream)
        if waiting is not None and self._exchanges.pop(waiting, None) is not None:
            self.left.append(waiting)
            leaving, self._leaving = self._leaving, anyio.Event()
            leaving.set()

    async def _request(self, method: str, body: bytes, stream: ByteStream) -> Any:
        """Take one request; returns the id of what it asks, if it asks something."""
        nothing = b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n"
        if method == "GET" and not self._modern:
            self._get = Exchange(stream)
            self._get.streaming = True
            await stream.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            self._listening.set()
            return None
        if method != "POST":
            status = b"200 OK" if method == "DELETE" else b"405 Method Not Allowed"
            await stream.send(nothing % status)
            return None
        message = json.loads(body)
        id = message.get("id") if "method" in message else None
        if id is None:
            await stream.send(nothing % b"202 Accepted")
        else:
            self._exchanges[id] = Exchange(stream)
        self._inbox.put(message)
        return id

    async def send(self, message: Any, to: Any = None) -> None:
        given = message if isinstance(message, dict) else {}
        answers = "method" not in given and "id" in given
        data = encode(message)
        if answers and given["id"] in self._exchanges:
            exchange = self._exchanges.pop(given["id"])
            if exchange.streaming:
                await exchange.event(data, last=True)
            else:
                await exchange.whole(data)
        elif to is not None:
            await self._exchanges[to].event(data, last=False)
        else:
            with anyio.fail_after(PATIENCE):
                await self._listening.wait()
            assert self._get is not None
            await self._get.event(data, last=False)

    async def begin(self, message: Any) -> None:
        raise NotImplementedError("a message is the whole body of a request")

    async def receive(self) -> dict[str, Any]:
        return await self._inbox.get()

    async def until_left(self, id: Any) -> None:
        """Wait until the client has closed the connection of a request that waits."""
        with anyio.fail_after(PATIENCE):
            while id not in self.left:
                await self._leaving.wait()

    async def close(self) -> None:
        for stream in list(self.connections):
            await stream.aclose()

    async def abort(self) -> None:
        for stream in list(self.connections):
            reset(stream)
        await self.close()

    async def done(self) -> None:
        await self.close()

    async def cancel(self, id: Any, reason: str | None = None) -> None:
        raise NotImplementedError("a server cancels nothing here")

    async def half_close(self) -> None:
        raise NotImplementedError("an exchange is closed as a whole")


class SseHostWire(HttpHostWire):
    """HTTP+SSE: everything goes onto the one event stream; every POST is accepted."""

    async def _request(self, method: str, body: bytes, stream: ByteStream) -> Any:
        if method == "POST":
            await stream.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            self._inbox.put(json.loads(body))
            return None
        await super()._request(method, body, stream)
        assert self._get is not None
        event = b"event: endpoint\ndata: /messages?session=1\n\n"
        await stream.send(b"%x\r\n%b\r\n" % (len(event), event))
        return None

    async def send(self, message: Any, to: Any = None) -> None:
        assert self._get is not None
        await self._get.event(encode(message), last=False)


@asynccontextmanager
async def hosting(binding: str, *, modern: bool) -> AsyncIterator[Host]:
    """Be a server of the binding, by hand, for as many conversations as there come."""
    async with anyio.create_task_group() as tasks:
        with tempfile.TemporaryDirectory(prefix="mcp-") as room:
            if binding in ("stdio", "unix"):
                path = Path(room, "socket")
                host = Host(
                    StdioTarget(launcher(path))
                    if binding == "stdio"
                    else parse_target(f"unix://{path}")
                )
                listener: Any = await anyio.create_unix_listener(path)
            else:
                bound = await anyio.create_tcp_listener(local_host="127.0.0.1")
                [listener] = bound.listeners
                address = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
                host = Host(parse_target(_URLS[binding].format(address)))
            http: HttpHostWire | None = None
            if binding in ("http", "sse"):
                http = (SseHostWire if binding == "sse" else HttpHostWire)(modern=modern)
                host.add(http)

            async def meet(stream: Any) -> None:
                if http is not None:
                    await http.serve(stream)
                elif binding == "stdio":
                    await _streams_of(stream, host)
                elif binding == "ws":
                    frames = Frames(stream, client=False)
                    await frames.accept()
                    host.add(FrameWire(frames))
                else:
                    host.add(LineWire(stream))

            async def serve() -> None:
                with suppress(anyio.ClosedResourceError):
                    while True:
                        tasks.start_soon(meet, await listener.accept())

            host.listener = listener
            tasks.start_soon(serve)
            try:
                yield host
            finally:
                with anyio.CancelScope(shield=True):
                    await listener.aclose()
                    await host.close()
                tasks.cancel_scope.cancel()


_URLS = {
    "tcp": "tcp://{}",
    "ws": "ws://{}/mcp",
    "http": "http://{}/mcp",
    "sse": "sse+http://{}/sse",
}


async def _streams_of(link: UNIXSocketStream, host: Host) -> None:
    _, streams = await link.receive_fds(1, 3)
    stdin, stdout, stderr = streams
    host.add(ProcessWire(Pipes(stdin, stdout), link, stderr))
