"""A server that ends says so on its listen streams: cancelled, result, end, on every transport."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from mcpcore import Server, SseDecoder, run
from tests.clock import patience
from tests.transports.malformed import META
from tests.transports.served import served

pytestmark = [pytest.mark.anyio]

ROOT = Path(__file__).parents[2]
ID = "listen-1"
Receive = Callable[[], Awaitable[dict[str, Any] | None]]
"""The next message; None at the end of the stream."""


def library() -> Server:
    server = Server("s")
    server.add_tool(lambda: "x", "t")
    return server


def listen() -> dict[str, Any]:
    params = {"notifications": {"toolsListChanged": True}, "_meta": META}
    return {"jsonrpc": "2.0", "id": ID, "method": "subscriptions/listen", "params": params}


class Far:
    """The client's side: what it receives, and how the server is told to stop."""

    def __init__(self, receive: Receive, stop: Callable[[], object]) -> None:
        self.receive = receive
        self.stop = stop


@asynccontextmanager
async def on_stdio() -> AsyncIterator[Far]:
    code = "from tests.transports.test_listen_end import library, run; run(library())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    async with await anyio.open_process(
        [sys.executable, "-c", code], env=environment, stderr=None
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.send(json.dumps(listen()).encode() + b"\n")
        lines = bytearray()
        stdout = process.stdout

        async def receive() -> dict[str, Any] | None:
            try:
                while b"\n" not in lines:
                    lines.extend(await stdout.receive())
            except anyio.EndOfStream:
                assert not lines
                assert await process.wait() == 0
                return None
            line, _, rest = bytes(lines).partition(b"\n")
            lines[:] = rest
            return dict(json.loads(line))

        yield Far(receive, lambda: process.send_signal(signal.SIGTERM))


@asynccontextmanager
async def serving(**binding: str) -> AsyncIterator[tuple[anyio.abc.SocketStream, anyio.Event]]:
    """Serve until the event is set; yields a connection to the server."""
    async with (
        served(library(), **binding) as site,  # type: ignore[arg-type]
        await anyio.connect_tcp("127.0.0.1", site.port) as stream,
    ):
        yield stream, site.stop


@asynccontextmanager
async def on_http() -> AsyncIterator[Far]:
    async with serving(http="127.0.0.1:0") as (stream, stop):
        body = json.dumps(listen()).encode()
        head = (
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n"
            f"Mcp-Method: subscriptions/listen\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await stream.send(head.encode() + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        answer, _, data = data.partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert b"text/event-stream" in answer
        decoder, waiting = SseDecoder(1 << 20), list[dict[str, Any]]()
        chunks = bytearray(data)
        over = False

        async def receive() -> dict[str, Any] | None:
            nonlocal over
            while not waiting and not over:
                size, found, rest = bytes(chunks).partition(b"\r\n")
                if not found or len(rest) < int(size, 16) + 2:
                    chunks.extend(await stream.receive())
                    continue
                length = int(size, 16)
                over = length == 0
                chunks[:] = rest[length + 2 :]
                for event in decoder.receive(rest[:length]):
                    if event.data:
                        waiting.append(json.loads(event.data))
            return waiting.pop(0) if waiting else None

        yield Far(receive, stop.set)


@asynccontextmanager
async def on_websocket() -> AsyncIterator[Far]:
    async with serving(ws="127.0.0.1:0") as (stream, stop):
        connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        await stream.send(connection.send(Request("localhost", "/mcp", subprotocols=["mcp"])))
        waiting: list[dict[str, Any]] = []
        text: list[str] = []
        codes: list[int] = []

        async def receive() -> dict[str, Any] | None:
            while not waiting and not codes:
                connection.receive_data(await stream.receive())
                for event in connection.events():
                    if isinstance(event, AcceptConnection):
                        message = TextMessage(json.dumps(listen()))
                        await stream.send(connection.send(message))
                    elif isinstance(event, TextMessage):
                        text.append(event.data)
                        if event.message_finished:
                            waiting.append(json.loads("".join(text)))
                            text.clear()
                    elif isinstance(event, CloseConnection):
                        codes.append(event.code)
                        await stream.send(connection.send(event.response()))
            if waiting:
                return waiting.pop(0)
            assert codes == [1001]
            return None

        yield Far(receive, stop.set)


@pytest.mark.requirement("basic/patterns/subscriptions/server-ends")
@pytest.mark.parametrize("transport", [on_stdio, on_http, on_websocket])
async def test_a_listen_stream_ends_with_word_and_answer(transport: Any) -> None:
    meta = {"io.modelcontextprotocol/subscriptionId": ID}
    with patience():
        async with transport() as far:
            first = await far.receive()
            assert first == {
                "jsonrpc": "2.0",
                "method": "notifications/subscriptions/acknowledged",
                "params": {"notifications": {"toolsListChanged": True}, "_meta": meta},
            }
            far.stop()
            cancelled = await far.receive()
            assert cancelled == {
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": {"requestId": ID, "_meta": meta},
            }
            answer = await far.receive()
            assert answer is not None
            assert answer["id"] == ID
            result = answer["result"]
            assert result["resultType"] == "complete"
            assert result["_meta"].items() >= meta.items()
            assert result.keys() == {"resultType", "_meta"}
            assert await far.receive() is None


__all__ = ["library", "run"]
