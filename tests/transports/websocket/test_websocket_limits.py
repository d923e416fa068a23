"""What is bounded on a WebSocket: heads, bytes, fragments, time; and what is wrong at once."""

import struct
from contextlib import suppress
from typing import Any

import anyio
import pytest

from mcpcore.engine.events import ConnectionEnded
from mcpcore_transports.websocket.link import WebSocketLink
from tests.clock import PATIENCE, send_on
from tests.more_time import with_more_time
from tests.transports.malformed import good
from tests.transports.sites import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    call,
    frame,
    raw,
    site,
    upgrade,
    upgraded,
)
from tests.transports.websocket.test_websocket_client import connected

pytestmark = pytest.mark.anyio


async def test_the_reason_of_the_other_side_is_fit_for_a_log() -> None:
    async with site() as server:
        async with upgraded(server.port) as client:
            await client.frame(CLOSE, struct.pack("!H", 1000) + b"\r\nfake: entry\x1b[2J")
            assert (await client.receive())[0] == CLOSE
        await server.app.until(lambda: bool(server.app.of(ConnectionEnded)))
        [ended] = server.app.of(ConnectionEnded)
    assert ended.reason == "closed by the other side with 1000: ??fake: entry?[2J"


async def test_a_flood_of_empty_fragments_takes_no_memory_and_nobodys_turn() -> None:
    async with site() as server, upgraded(server.port) as flood, upgraded(server.port) as other:
        await flood.frame(TEXT, b"", first=0x01)
        piece = (frame(0, b"", first=0x00) * 9 + frame(PONG, b"")) * 1000
        link = server.apps[0].link
        assert isinstance(link, WebSocketLink)
        ws = link._ws
        assert ws is not None
        for id in range(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(flood.stream.send, piece)
                await other.frame(TEXT, good(id))
                assert (await other.message())["id"] == id
            assert ws._message.tell() == 0
        # All that is received at once is not taken in at once.
        before = ws._fragments
        link._feed(piece)
        assert ws._fragments - before <= 128
        assert ws.unread


async def test_latency_is_visible_at_both_ends() -> None:
    seen: list[float] = []
    told: dict[str, Any] = {"ping_interval": 0.01, "on_latency": seen.append}
    async with site(**told) as server, connected(server.port) as (client, link):
        assert link.latency is None
        while not seen:
            await client.echo(a=1)  # traffic does not put it off
        server_link = server.app.link
        assert isinstance(server_link, WebSocketLink)
        assert server_link.latency == seen[-1]
        assert 0 < seen[-1] < 20


async def test_a_message_on_its_way_excuses_a_client_that_is_making_progress() -> None:
    async def attempt(seconds: float) -> None:
        waiting: dict[str, Any] = {
            "ping_interval": 0.05,
            "ping_timeout": seconds,
            "close_timeout": 20.0,
        }
        async with site(**waiting) as server, upgraded(server.port) as client:
            data = frame(TEXT, call(1, text="x" * 600_000))
            for start in range(0, len(data), 20_000):
                # In all it takes longer than a pong may, and none can be sent meanwhile.
                await client.stream.send(data[start : start + 20_000])
                await anyio.sleep(seconds * 0.06)
            opcode, payload = await client.receive()
            while opcode == PING:
                await client.frame(PONG, payload)
                opcode, payload = await client.receive()
            assert opcode == TEXT

    await with_more_time(attempt, 0.5, 6.0)  # whoever stands still makes no progress


@pytest.mark.long
async def test_output_that_is_being_read_excuses_a_client_that_is_slow() -> None:
    limits = {"message_size": 20_000_000}

    async def attempt(seconds: float) -> None:
        waiting: dict[str, Any] = {
            "ping_interval": 0.05,
            "ping_timeout": seconds,
            "close_timeout": 20.0,
        }
        async with site(limits=limits, **waiting) as server, upgraded(server.port) as client:
            await client.stream.send(frame(TEXT, call(1, text="x" * 12_000_000)))
            received = 0
            while received < 12_000_000:
                # In all it takes longer than a pong may; what the system holds back does not.
                received += len(await client.stream.receive(200_000))
                await anyio.sleep(seconds / 60)
            await client.frame(TEXT, b"{}")
            assert server.app.of(ConnectionEnded) == []

    await with_more_time(attempt, 1.2, 6.0)  # whoever stands still reads nothing


async def test_a_message_that_drips_excuses_nobody() -> None:
    waiting: dict[str, Any] = {"ping_interval": 0.02, "ping_timeout": 0.1, "close_timeout": 20.0}
    async with (
        site(**waiting) as server,
        upgraded(server.port) as client,
        anyio.create_task_group() as tasks,
    ):

        async def drip() -> None:
            await client.stream.send(frame(TEXT, b"", first=0x01))
            while True:
                await client.stream.send(frame(0, b" ", first=0x00))
                await anyio.sleep(0.01)

        tasks.start_soon(drip)
        opcode, payload = await client.receive()
        while opcode != CLOSE:
            opcode, payload = await client.receive()
        assert payload[:2] == struct.pack("!H", 1008)
        tasks.cancel_scope.cancel()


async def test_mcp_v1_where_it_is_wanted() -> None:
    async with site(mcp_v1=True) as server:
        for offered, selected in (("mcp-v1", "mcp-v1"), ("mcp-v1, mcp", "mcp")):
            async with raw(server.port) as client:
                await client.stream.send(upgrade(server.port, Sec_WebSocket_Protocol=offered))
                status, headers = await client.head()
                assert (status, headers["sec-websocket-protocol"]) == (101, selected)


async def test_a_slow_opening_is_cut() -> None:
    async with site(handshake_timeout=0.3) as server, raw(server.port) as client:
        async with anyio.create_task_group() as tasks:

            async def drip() -> None:
                await client.stream.send(upgrade(server.port)[:-2] + b"X: ")
                with suppress(anyio.BrokenResourceError, OSError):
                    while True:
                        await client.stream.send(b"y")
                        await anyio.sleep(0.02)

            tasks.start_soon(drip)
            status, _ = await client.head()
            tasks.cancel_scope.cancel()
        assert status == 408
        assert server.apps == []


@pytest.mark.parametrize("data", [frame(TEXT, b"\xff"), frame(CLOSE, b"")], ids=["refused", "left"])
async def test_who_sends_on_behind_the_end_is_not_read_for_ever(data: bytes) -> None:
    settings: dict[str, Any] = {"close_timeout": 2 * PATIENCE, "linger_bytes": 100_000}
    async with site(**settings) as server, upgraded(server.port) as client:
        await client.stream.send(data)
        with pytest.raises(anyio.BrokenResourceError):
            await send_on(client.stream.send)
