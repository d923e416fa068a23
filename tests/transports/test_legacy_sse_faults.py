"""Servers of HTTP+SSE that do their worst, byte by byte: each call ends in time, with its error."""

import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketListener

from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.errors import (
    CallFailed,
    ConnectionClosed,
    HttpStatusError,
    NegotiationError,
    RedirectRefused,
    RequestTimeout,
)
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.types.content import TextContent
from mcpcore_transports.client.cache import EraCache
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from tests.clock import patience

pytestmark = pytest.mark.anyio

LOST = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
OPEN = EVENTS + b"\r\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
ENDPOINT = b"event: endpoint\ndata: /messages?session_id=1\n\n"
DEADLINE = 0.5
"""Seconds after which the client gives up, where nothing else ends it."""

Script = Callable[["Worst", ByteStream], Awaitable[object]]


class Worst:
    """A server that shakes hands well; ``get`` and ``bad`` say what it does otherwise."""

    def __init__(self, get: Script | None, bad: Callable[..., Awaitable[object]] | None) -> None:
        self.url = ""
        self.stream: ByteStream | None = None
        self.posts: list[str] = []
        self._get, self._bad = get, bad

    async def say(self, message: Any) -> None:
        assert self.stream is not None
        await self.stream.send(b"data: " + json.dumps(message).encode() + b"\n\n")

    async def answer(self, id: Any, text: str = "well") -> None:
        result = {"content": [{"type": "text", "text": text}]}
        await self.say({"jsonrpc": "2.0", "id": id, "result": result})

    async def serve(self, stream: ByteStream) -> None:
        async with stream:
            try:
                await self._serve(stream)
            except LOST:
                return

    async def _serve(self, stream: ByteStream) -> None:
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                buffer += await stream.receive()
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines)
            size = int(fields.get("content-length", "0"))
            while len(buffer) < size:
                buffer += await stream.receive()
            body, buffer = buffer[:size], buffer[size:]
            if first.startswith("GET "):
                self.stream = stream
                if self._get is not None:
                    await self._get(self, stream)
                    return
                await stream.send(OPEN + ENDPOINT)
            else:
                await self._take(stream, json.loads(body))

    async def _take(self, stream: ByteStream, message: Any) -> None:
        method, id = message.get("method"), message.get("id")
        self.posts.append(method)
        if method == "tools/call" and message["params"]["name"] == "bad":
            assert self._bad is not None
            await self._bad(self, stream, id)
            return
        await stream.send(ACCEPTED)
        if method == "initialize":
            result = {
                "protocolVersion": "2024-11-05",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "worst", "version": "1"},
            }
            await self.say({"jsonrpc": "2.0", "id": id, "result": result})
        elif id is not None:
            await self.answer(id)


@asynccontextmanager
async def worst(
    get: Script | None = None, bad: Callable[..., Awaitable[object]] | None = None
) -> AsyncIterator[Worst]:
    state = Worst(get, bad)
    multi = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    listener = multi.listeners[0]
    assert isinstance(listener, SocketListener)
    state.url = f"sse+http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/sse"
    async with multi, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, state.serve)
        try:
            yield state
        finally:
            tasks.cancel_scope.cancel()


IMPATIENT = HttpClientSettings(max_event=100_000, endpoint_timeout=DEADLINE)
BOUNDS = HttpClientSettings(max_event=100_000)


SOON = ReconnectSettings(first_delay=0.01)


def patient(http: HttpClientSettings = BOUNDS) -> ClientSettings:
    return ClientSettings(eras=EraCache(), http=http, reconnect=SOON)


async def hold(stream: ByteStream) -> None:
    while await stream.receive():
        pass


async def pour(stream: ByteStream, part: bytes) -> None:
    while True:
        await stream.send(part)
        await anyio.lowlevel.checkpoint()


# Until the endpoint is named


async def closes(server: Worst, stream: ByteStream) -> None:
    await stream.aclose()


async def is_silent(server: Worst, stream: ByteStream) -> None:
    await hold(stream)


def sends(*parts: bytes, then: Callable[[ByteStream], Awaitable[None]] = hold) -> Script:
    async def script(server: Worst, stream: ByteStream) -> None:
        for part in parts:
            await stream.send(part)
        await then(stream)

    return script


def pours(first: bytes, part: bytes) -> Script:
    async def script(server: Worst, stream: ByteStream) -> None:
        await stream.send(first)
        await pour(stream, part)

    return script


BOMB = gzip.compress(b"data: " + b"x" * 50_000_000)
ZIPPED = EVENTS + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB)

OPENINGS: dict[str, Script] = {
    "closes": closes,
    "is silent": is_silent,
    "half a head": sends(b"HTTP/1.1 200 OK\r\nContent-"),
    "garbage": sends(b"\x00\x01\x02 nonsense\r\n\r\n"),
    "a head alone": sends(OPEN),
    "a head, then closed": sends(OPEN, then=lambda stream: stream.aclose()),
    "half an event": sends(OPEN, b"event: endpoint\ndata: /mess"),
    "an event cut off": sends(OPEN, b"event: endpoint\ndata: /m", then=lambda s: s.aclose()),
    "comments without end": pours(OPEN, b": here\n\n"),
    "other events without end": pours(OPEN, b"event: ping\ndata: 1\n\n"),
    "a line without end": pours(OPEN, b"x" * 10_000),
    "an event without end": pours(OPEN, b"data: 1\n"),
    "a bomb": sends(ZIPPED, BOMB),
    "not to be decoded": sends(EVENTS + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
    "another origin": sends(OPEN, b"event: endpoint\ndata: http://evil.example/m\n\n"),
    "another port": sends(OPEN, b"event: endpoint\ndata: http://127.0.0.1:1/m\n\n"),
    "no URI": sends(OPEN, b"event: endpoint\ndata: \\\\evil\\m\n\n"),
    "a message first": sends(OPEN, b'data: {"jsonrpc":"2.0","method":"a"}\n\n' + ENDPOINT),
    "JSON": sends(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}"),
    "401": sends(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
    "500": sends(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
    "a refusal without end": pours(b"HTTP/1.1 404 No\r\n\r\n", b"x" * 10_000),
    "a redirect elsewhere": sends(
        b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n"
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", OPENINGS)
async def test_openings(name: str) -> None:
    async with worst(OPENINGS[name]) as server:
        with pytest.raises(NegotiationError), patience():
            async with connect(server.url, settings=patient(IMPATIENT)):
                pytest.fail("it was opened")
        assert server.posts == []


# In the middle of a call


async def stream_closes(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(ACCEPTED)
    assert server.stream is not None
    await server.stream.aclose()


async def stream_breaks_in_an_event(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(ACCEPTED)
    assert server.stream is not None
    await server.stream.send(b'data: {"jsonrpc":"2.0","id":%d,"resul' % id)
    await server.stream.aclose()


async def event_without_end(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(ACCEPTED)
    assert server.stream is not None
    await pour(server.stream, 100 * b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxx\n")


async def garbage_without_end(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(ACCEPTED)
    assert server.stream is not None
    await pour(server.stream, b"data: {\n\n")


async def another_endpoint(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(ACCEPTED)
    assert server.stream is not None
    await server.stream.send(b"event: endpoint\ndata: /other\n\n")


async def no_answer(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(ACCEPTED)


async def wrong_id(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(ACCEPTED)
    await server.answer(id + 1000)
    await server.answer(str(id))


async def refused(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")


async def lost(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")


async def redirected(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(b"HTTP/1.1 307 No\r\nLocation: /m\r\nContent-Length: 0\r\n\r\n")


async def post_closes(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.aclose()


async def post_is_silent(server: Worst, stream: ByteStream, id: Any) -> None:
    await hold(stream)


ENDS: dict[Callable[..., Awaitable[object]], type[Exception]] = {
    stream_closes: ConnectionClosed,
    stream_breaks_in_an_event: ConnectionClosed,
    event_without_end: ConnectionClosed,
    garbage_without_end: ConnectionClosed,
    another_endpoint: ConnectionClosed,
}
"""What ends the connection."""
BREAKS = (stream_closes, stream_breaks_in_an_event)
"""And what is no reason not to open another one."""
HARMS: dict[Callable[..., Awaitable[object]], type[Exception]] = {
    no_answer: RequestTimeout,
    wrong_id: RequestTimeout,
    post_is_silent: RequestTimeout,
    refused: HttpStatusError,
    lost: HttpStatusError,
    redirected: RedirectRefused,
    post_closes: CallFailed,
}
"""What ends one call."""


async def good(client: Client) -> str:
    block = (await client.call_tool("good")).content[0]
    assert isinstance(block, TextContent)
    return block.text


@pytest.mark.parametrize("bad", [*ENDS, *HARMS], ids=lambda bad: str(bad.__name__))
async def test_calls(bad: Callable[..., Awaitable[object]]) -> None:
    async with worst(bad=bad) as server, connect(server.url, settings=patient()) as client:
        assert await good(client) == "well"
        error = {**ENDS, **HARMS}[bad]
        timeout = DEADLINE if error is RequestTimeout else 60
        with pytest.raises(error), patience():
            await client.call_tool("bad", timeout=timeout)
        if bad in HARMS:
            assert await good(client) == "well"
        elif bad in BREAKS:
            assert await good(client) == "well"  # on the next stream
        else:
            with pytest.raises(ConnectionClosed):
                await good(client)


async def answers_before_the_202(server: Worst, stream: ByteStream, id: Any) -> None:
    await server.answer(id, "first")
    await stream.send(ACCEPTED)


async def answers_and_keeps_the_post(server: Worst, stream: ByteStream, id: Any) -> None:
    await server.answer(id, "first")
    await hold(stream)


async def answers_twice(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(ACCEPTED)
    await server.answer(id, "first")
    await server.answer(id, "second")


async def answers_with_200(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await server.answer(id, "first")


async def answers_in_drips(server: Worst, stream: ByteStream, id: Any) -> None:
    await stream.send(ACCEPTED)
    result = {"content": [{"type": "text", "text": "first"}]}
    event = b"data: " + json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()
    assert server.stream is not None
    for byte in event + b"\n\n":
        await server.stream.send(bytes([byte]))


@pytest.mark.parametrize(
    "odd",
    [
        answers_before_the_202,
        answers_and_keeps_the_post,
        answers_twice,
        answers_with_200,
        answers_in_drips,
    ],
    ids=lambda odd: str(odd.__name__),
)
async def test_what_is_borne(odd: Callable[..., Awaitable[object]]) -> None:
    async with worst(bad=odd) as server, connect(server.url, settings=patient()) as client:
        block = (await client.call_tool("bad")).content[0]
        assert isinstance(block, TextContent)
        assert block.text == "first"
        assert await good(client) == "well"
