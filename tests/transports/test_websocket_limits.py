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
from tests.transports.test_websocket_client import connected

pytestmark = pytest.mark.anyio

MASK = b"\0\0\0\0"


def begun(payload: bytes, *, length: int = 1000, first: int = 0x81) -> bytes:
    """A frame of which only the beginning arrives."""
    return bytes([first]) + b"\xfe" + struct.pack("!H", length) + MASK + payload


WRONG_AT_ONCE: list[tuple[str, bytes, int]] = [
    ("a byte that begins nothing", begun(b'{"\xff'), 1007),
    ("a continuation without a beginning", begun(b'{"\x80'), 1007),
    ("overlong", begun(b'{"\xc0\xaf'), 1007),
    ("overlong in three", begun(b'{"\xe0\x80'), 1007),
    ("a surrogate", begun(b'{"\xed\xa0'), 1007),
    (
        "a surrogate in two fragments",
        frame(TEXT, b"\xed", first=0x01) + begun(b"\xa0", first=0),
        1007,
    ),
    ("beyond the last character", begun(b'{"\xf4\x90'), 1007),
    ("five bytes", begun(b'{"\xf8'), 1007),
    ("cut by another character", begun(b'{"\xe2\x82x'), 1007),
    ("in the second fragment", frame(TEXT, b"\xe2", first=0x01) + begun(b"\x28", first=0), 1007),
    ("longer than allowed, by its head", b"\x81\xff" + struct.pack("!Q", 70_000) + MASK, 1009),
    ("together longer than allowed", frame(TEXT, b" " * 1500, first=1) + begun(b"", first=0), 1009),
    ("binary, by its head", begun(b"", first=0x82), 1003),
    ("a new message within one", frame(TEXT, b"{", first=1) + begun(b""), 1002),
    ("binary within a message", frame(TEXT, b"{", first=1) + begun(b"", first=0x82), 1002),
    ("a continuation of nothing", begun(b"", first=0x80), 1002),
    ("a length with its highest bit", b"\x81\xff\x80" + bytes(7), 1002),
    ("not masked, by its head", b"\x81\x05", 1002),
    ("a long ping, by its head", b"\x89\xfe", 1002),
]


@pytest.mark.parametrize(
    ("data", "code"), [row[1:] for row in WRONG_AT_ONCE], ids=[row[0] for row in WRONG_AT_ONCE]
)
async def test_what_is_wrong_is_wrong_at_once(data: bytes, code: int) -> None:
    async with site(limits={"message_size": 2000}, close_timeout=20.0) as server:
        async with upgraded(server.port) as client:
            await client.stream.send(data)
            found, reason = await client.closed()
        assert (found, bool(reason)) == (code, True)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_frames_split_anywhere(size: int) -> None:
    text = call(1, text="é€😀" * 20)
    data = (
        frame(TEXT, text[:40], first=0x01)
        + frame(PING, b"p")
        + frame(0, text[40:41], first=0)
        + frame(0, b"", first=0)
        + frame(0, text[41:])
        + frame(TEXT, good(2))
    )
    async with site() as server, upgraded(server.port) as client:
        for start in range(0, len(data), size):
            await client.stream.send(data[start : start + size])
        assert await client.receive() == (PONG, b"p")
        assert [(await client.message())["id"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        *((code, code) for code in (1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999)),
        *((code, 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
    ],
)
async def test_every_close_is_answered(code: int, answer: int) -> None:
    async with site() as server, upgraded(server.port) as client:
        await client.frame(CLOSE, struct.pack("!H", code) + b"so")
        await client.stream.send(frame(TEXT, call(7)))  # too late, and no one's concern
        opcode, payload = await client.receive()
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", answer))
        assert await client.body() == ""
        assert server.app.of(ConnectionEnded)


async def test_the_reason_of_the_other_side_is_fit_for_a_log() -> None:
    async with site() as server:
        async with upgraded(server.port) as client:
            await client.frame(CLOSE, struct.pack("!H", 1000) + b"\r\nfake: entry\x1b[2J")
            assert (await client.receive())[0] == CLOSE
        await server.app.until(lambda: bool(server.app.of(ConnectionEnded)))
        [ended] = server.app.of(ConnectionEnded)
    assert ended.reason == "closed by the other side with 1000: ??fake: entry?[2J"


# Fragments


async def test_a_message_in_too_many_frames_closes() -> None:
    async with site(fragments=50, close_timeout=20.0) as server, upgraded(server.port) as client:
        text = good(1)
        await client.frame(TEXT, text[:1], first=0x01)
        for _ in range(48):
            await client.frame(0, b"", first=0x00)
        await client.frame(0, text[1:])
        assert (await client.message())["id"] == 1
        await client.frame(TEXT, b"", first=0x01)
        for _ in range(49):
            await client.frame(0, b"", first=0x00)
            await client.frame(PONG, b"unasked")
        code, reason = await client.closed()
        assert (code, reason) == (1008, "a message in more than 50 frames")


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


async def test_pings_that_come_together_are_all_answered() -> None:
    async with site() as server, upgraded(server.port) as client:
        await client.stream.send(b"".join(frame(PING, b"%d" % number) for number in range(200)))
        for number in range(200):
            assert await client.receive() == (PONG, b"%d" % number)


# Time


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


# Heads


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda head: head.replace(b"GET /mcp", b"GET /mcp?" + b"x" * 9000), 414),
        (lambda head: head[:-2] + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n", 431),
        (lambda head: head[:-2] + b"X: " + b"y" * 33_000 + b"\r\n\r\n", 431),
        (lambda head: head.replace(b"\r\n", b"\n"), 400),
        (lambda head: head.replace(b"Upgrade: websocket", b"Upgrade:\r\n websocket"), 400),
        (lambda head: head.replace(b"Upgrade: websocket", b"Upgrade : websocket"), 400),
        (lambda head: head[:-2] + b"Host: 127.0.0.1\r\n\r\n", 400),
        (lambda head: head[:-2] + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 400),
        (lambda head: head[:-2] + b"Sec-WebSocket-Version: 13\r\n\r\n", 400),
        (lambda head: head[:-2] + b"Content-Length: 3\r\n\r\nabc", 400),
        (lambda head: head[:-2] + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (lambda head: head[:-2] + b"Sec-WebSocket-Extensions: ;\r\n\r\n", 400),
        (lambda head: head.replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (lambda head: head.replace(b"Protocol: mcp", b"Protocol: mcp, @"), 400),
        (lambda head: head.replace(b"Protocol: mcp", b"Protocol: mcp, mcp"), 400),
        (lambda head: head.replace(b"Protocol: mcp", b"Protocol: mcp, mcp.auth."), 400),
        (lambda head: head.replace(b"Protocol: mcp", b"Protocol: mcp-v1"), 400),
    ],
)
async def test_heads_that_are_refused(change: Any, status: int) -> None:
    async with site() as server, raw(server.port) as client:
        await client.stream.send(change(upgrade(server.port)))
        assert (await client.head())[0] == status
        assert server.apps == []


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
