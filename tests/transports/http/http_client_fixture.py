"""A client to be driven over real sockets, and a server that does as it is told, byte by byte."""

import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteStream
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
from tests.faults import http_by_hand
from tests.faults.cutting import listening

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


class ServerSide(http_by_hand.ServerSide):
    """One connection, seen from the scripted server."""

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


async def good(side: ServerSide) -> None:
    """Answer one request as a server should."""
    await side.good()


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
    state = Scripted("", deque(scripts), [])

    async def serve(stream: ByteStream) -> None:
        script = state.scripts.popleft()
        number = len(scripts) - len(state.scripts)
        async with stream:
            side = ServerSide(stream)
            if number == 1 and discover:
                await side.good()
            await script(side)
            state.done.append(number)

    async with listening(serve) as port:
        state.url = f"http://127.0.0.1:{port}/mcp"
        yield state
        assert not state.scripts
