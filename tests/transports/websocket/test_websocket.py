"""WebSocket connections of a server: messages, bad frames, closing, keep-alive."""

import struct
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream

from mcpcore import ConnectionSettings, WebSocketSettings
from mcpcore.engine.events import ConnectionEnded, RequestCancelled
from mcpcore.http.documents import Documents
from mcpcore_transports.tracing.tracing import Trace
from mcpcore_transports.websocket.link import WebSocketLink
from mcpcore_transports.websocket.server import UpgradeRules, WebSocketServer
from tests.clock import patience
from tests.transports.malformed import good, request
from tests.transports.sites import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Site,
    call,
    frame,
    site,
    upgrade,
    upgraded,
)

pytestmark = pytest.mark.anyio


class Said(ByteStream):
    """A connection whose client has said everything in one piece, and ends its side."""

    def __init__(self, said: bytes) -> None:
        self._said = [said]
        self.heard = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not self._said:
            raise anyio.EndOfStream
        return self._said.pop()

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self.heard += item

    async def send_eof(self) -> None:
        """Nothing is kept of it."""

    async def aclose(self) -> None:
        """Nothing is kept of it."""


async def test_frames_in_one_piece_with_the_opening_are_answered_before_the_end() -> None:
    frames = b"".join(frame(TEXT, request("x", id=id)) for id in (1, 2, 3))
    stream = Said(upgrade(80) + frames)
    server = WebSocketServer(Site().serve, UpgradeRules(WebSocketSettings(ping_interval=None)))
    await server.connection(stream, None, None)
    assert [b'"id":%d,' % id in stream.heard for id in (1, 2, 3)] == [True] * 3, stream.heard


async def test_a_document_is_read_beside_the_websocket_and_recorded() -> None:
    lines: list[bytes] = []
    rules = UpgradeRules(WebSocketSettings(), documents=Documents({"/doc": b'{"a": 1}'}))
    stream = Said(b"GET /doc HTTP/1.1\r\nHost: other.example\r\n\r\n")
    await WebSocketServer(Site().serve, rules, Trace(lines.append)).connection(stream, None, None)
    head, _, body = stream.heard.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close" in head.lower()
    assert body == b'{"a": 1}'
    assert any(b'"status":200' in line for line in lines)


async def test_what_is_agreed_when_the_end_begins_is_not_served() -> None:
    found = Site()
    server = WebSocketServer(found.serve, UpgradeRules(WebSocketSettings()))

    class Ending(Said):
        """The end begins while the client takes the response."""

        async def send(self, item: bytes) -> None:
            server.count.closing = True
            await super().send(item)

    stream = Ending(upgrade(80))
    await server.connection(stream, None, None)
    assert stream.heard.startswith(b"HTTP/1.1 101 ")
    assert found.apps == []


async def test_shutdown_closes_every_connection_with_1001() -> None:
    codes: list[int] = []
    async with anyio.create_task_group() as clients, site() as server:

        async def hold(*, task_status: Any) -> None:
            async with upgraded(server.port) as client:
                await client.frame(TEXT, good(1))
                await client.message()
                task_status.started()
                codes.append((await client.closed())[0])

        for _ in range(3):
            await clients.start(hold)
        server.scope.cancel()
    assert codes == [1001] * 3


async def test_a_client_that_does_not_close_back_is_left_behind() -> None:
    async with site(close_timeout=0.05) as server, upgraded(server.port) as client:
        await client.frame(BINARY, b"")
        assert (await client.receive())[0] == CLOSE
        assert await client.body() == ""


async def test_an_error_of_the_application_closes_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with site() as server:
        async with upgraded(server.port) as client:
            await client.frame(TEXT, call(1, "fail"))
            assert (await client.closed())[0] == 1011
        async with upgraded(server.port) as client:
            await client.frame(TEXT, good(2))
            assert (await client.message())["id"] == 2
    assert "ZeroDivisionError" in caplog.text


async def test_pings_whose_answers_nobody_reads_do_not_pile_up() -> None:
    settings = ConnectionSettings(queued=100_000, stall=1.5)
    waiting = 0
    async with site(connection=settings, ping_interval=None, close_timeout=0.1) as server:
        async with upgraded(server.port) as client:
            await client.frame(TEXT, good(1))
            await client.message()
            flood = frame(PING, b"x" * 125) * 1000
            link = server.app.link
            assert isinstance(link, WebSocketLink)
            ws = link._ws
            assert ws is not None

            async def watch() -> None:
                nonlocal waiting
                while True:
                    await anyio.lowlevel.checkpoint()
                    waiting = max(waiting, sum(map(len, ws._pongs)))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                with patience(), suppress(anyio.BrokenResourceError):
                    while True:
                        await client.stream.send(flood)
                tasks.cancel_scope.cancel()
        [ended] = server.app.of(ConnectionEnded)
    assert "read nothing for 1.5 s" in ended.reason
    assert 0 < waiting < 50_000


async def test_what_came_before_a_close_is_answered_before_it() -> None:
    patient = ConnectionSettings(drain=60.0)  # not with requests whose client has said goodbye
    async with site(connection=patient) as server, upgraded(server.port) as client:
        data = frame(TEXT, good(1)) + frame(PING, b"p") + frame(TEXT, call(2, "hold"))
        await client.stream.send(data + frame(CLOSE, struct.pack("!H", 1000)))
        received = [await client.receive() for _ in range(3)]
        assert sorted(opcode for opcode, _ in received) == [TEXT, CLOSE, PONG]
        assert received[-1] == (CLOSE, struct.pack("!H", 1000))
        assert await client.body() == ""
    assert len(server.app.of(RequestCancelled)) == 1


async def test_an_answer_that_is_half_written_is_ended_before_the_close() -> None:
    async with site(close_timeout=20.0) as server, upgraded(server.port) as client:
        text = "x" * 3_000_000
        await client.frame(TEXT, call(1, text=text))
        opcode, payload = await client.receive()
        assert (opcode, len(payload) > len(text)) == (TEXT, True)
        await client.stream.send(frame(TEXT, call(2, text=text)) + frame(CLOSE, b"\x03\xe8"))
        opcode, payload = await client.receive()
        if opcode == TEXT:
            assert len(payload) > len(text)
            opcode, payload = await client.receive()
        assert (opcode, payload) == (CLOSE, b"\x03\xe8")
