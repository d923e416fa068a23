"""A client to be driven over real sockets, and a server that does as it is told, byte by byte."""

import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener
from msgspec import Struct

from mcpcore.engine.config import Config, Limits, Negotiation
from mcpcore.engine.events import (
    ErrorReceived,
    Event,
    RequestEnded,
    ResultReceived,
)
from mcpcore.http.client.client import HttpClient
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.message import RequestId
from mcpcore_transports.http.client.client import HttpClientLink
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from mcpcore_transports.link import clock
from tests.clock import PATIENCE, patience

Outcome = ResultReceived | ErrorReceived | RequestEnded


class Caller:
    """An application that keeps what it was told."""

    def __init__(self) -> None:
        self.machine: HttpClient
        self.link: HttpClientLink
        self.events: list[Event] = []
        self._changed = anyio.Event()

    def handle(self, event: Event) -> None:
        self.events.append(event)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        with patience():
            while not condition():
                await self._changed.wait()

    def request(
        self, name: str = "echo", *, timeout: float | None = None, **arguments: Any
    ) -> RequestId:
        params = {"name": name, "arguments": arguments}
        request = self.machine.request("tools/call", params, now=clock(), timeout=timeout)
        self.link.flush_soon()
        return request

    async def outcome(self, request: RequestId) -> Outcome:
        def found() -> list[Outcome]:
            return [
                event
                for event in self.events
                if isinstance(event, Outcome) and event.request == request
            ]

        await self.until(found)
        (outcome,) = found()
        return outcome

    async def call(self, name: str = "echo", **arguments: Any) -> Any:
        """The text of a tool's result."""
        outcome = await self.outcome(self.request(name, **arguments))
        assert isinstance(outcome, ResultReceived), outcome
        return json.loads(bytes(outcome.result))["content"][0]["text"]

    async def failure(self, name: str = "echo", **arguments: Any) -> str:
        """Why a call came to nothing."""
        outcome = await self.outcome(self.request(name, **arguments))
        assert isinstance(outcome, RequestEnded), outcome
        return outcome.message


@asynccontextmanager
async def caller(
    url: str,
    *,
    negotiation: Negotiation = Negotiation.MODERN,
    settings: HttpClientLinkSettings | None = None,
    http: HttpClientSettings | None = None,
    ssl_context: ssl.SSLContext | None = None,
    start: bool = True,
) -> AsyncIterator[Caller]:
    """Run a fresh client; check in the end that nothing is left."""
    config = Config(
        info=Implementation(name="test", version="1"),
        capabilities=ClientCapabilities(),
        negotiation=negotiation,
        limits=Limits(probe_timeout=PATIENCE),
    )
    app = Caller()
    app.machine = machine = HttpClient(config, url, settings=http)
    app.link = link = HttpClientLink(machine, app, settings=settings, ssl_context=ssl_context)
    with patience(2 * PATIENCE):
        async with anyio.create_task_group() as tasks:
            await tasks.start(link.run)
            if start:
                machine.start(now=clock())
                link.flush_soon()
            yield app
            await link.aclose()
    assert link.connections == 0
    assert machine.exchanges == 0


class Request(Struct):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def answer(self, text: str = "hello", *, id: Any = ...) -> bytes:
        """The JSON body of a good answer to this request."""
        if self.json["method"] == "server/discover":
            result = {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                "ttlMs": 1000,
                "cacheScope": "public",
            }
        else:
            result = {"content": [{"type": "text", "text": text}]}
        id = self.json["id"] if id is ... else id
        message = {"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", **result}}
        return json.dumps(message).encode()


class ServerSide:
    """One connection, seen from the scripted server."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            await self.stream.send(part)

    async def request(self) -> Request:
        """Read one whole request."""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += await self.stream.receive()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, target, version = first.split(" ")
        assert version == "HTTP/1.1"
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        assert len(headers) == len(lines)
        size = int(headers.get("content-length", "0"))
        while len(self.buffer) < size:
            self.buffer += await self.stream.receive()
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return Request(method, target, headers, body)

    async def reply(self, data: bytes) -> None:
        """Read a request and send ``data``, in which ANSWER and LENGTH are filled in."""
        answer = (await self.request()).answer()
        size = b"%d" % len(answer)
        await self.send(data.replace(b"ANSWER", answer).replace(b"LENGTH", size))

    async def good(self, count: int = 1) -> None:
        """Answer requests as a server should."""
        for _ in range(count):
            await self.reply(GOOD)

    async def rest(self) -> bytes:
        """Everything until the client closes."""
        try:
            while True:
                self.buffer += await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            data, self.buffer = self.buffer, b""
            return data

    async def closed(self) -> bool:
        """Whether the client closes now, without another byte."""
        return await self.rest() == b""


GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: LENGTH\r\n\r\nANSWER"

Script = Callable[[ServerSide], Awaitable[None]]


class Scripted(Struct):
    """A server that runs one script per connection, in order; then the connection is closed."""

    url: str
    scripts: deque[Script]
    done: list[int]


@asynccontextmanager
async def scripted(*scripts: Script, discover: bool = True) -> AsyncIterator[Scripted]:
    """Listen; the first connection answers the discovery by itself, then its script follows."""
    multi = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    listener = multi.listeners[0]
    assert isinstance(listener, SocketListener)
    port = listener.extra(SocketAttribute.local_port)
    state = Scripted(f"http://127.0.0.1:{port}/mcp", deque(scripts), [])

    async def serve(stream: ByteStream) -> None:
        script = state.scripts.popleft()
        number = len(scripts) - len(state.scripts)
        async with stream:
            side = ServerSide(stream)
            if number == 1 and discover:
                await side.good()
            await script(side)
            state.done.append(number)

    async with multi, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield state
        assert not state.scripts
        tasks.cancel_scope.cancel()
