"""Compressed messages: what is agreed, what is exchanged, and what no bomb passes."""

import json
import os
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, RsvBits

from mcpcore.spec.closes import TOO_LONG
from mcpcore_transports.websocket.client import WebSocketAddress, websocket_client_link
from mcpcore_transports.websocket.deflate import (
    Deflate,
    accept_deflate,
    finish_deflate,
    offer_deflate,
)
from mcpcore_transports.websocket.settings import DeflateSettings, WebSocketSettings
from tests.transports.apps import Caller, make_client
from tests.transports.malformed import good
from tests.transports.sites import PING, PONG, TEXT, Raw, call, frame, raw, site, upgrade
from tests.transports.test_websocket_client import accepted, connected

pytestmark = pytest.mark.anyio

TAIL = b"\x00\x00\xff\xff"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=1500).map(str.encode)
FRESH = DeflateSettings()
KEPT = DeflateSettings(context_takeover=True)
SMALL = DeflateSettings(context_takeover=True, window_bits=10)
BOTH_FRESH = "server_no_context_takeover; client_no_context_takeover"


def deflated(data: bytes, packer: "zlib._Compress | None" = None) -> bytes:
    packer = packer or zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


# What is agreed


@pytest.mark.parametrize(
    ("offered", "how", "answer"),
    [
        ("permessage-deflate", FRESH, f"permessage-deflate; {BOTH_FRESH}"),
        ("permessage-deflate", KEPT, "permessage-deflate"),
        ("permessage-deflate", None, None),
        ("x-webkit-deflate-frame", FRESH, None),
        ("", FRESH, None),
        (
            "permessage-deflate; client_max_window_bits",
            KEPT,
            "permessage-deflate",
        ),
        (
            "permessage-deflate; client_max_window_bits",
            SMALL,
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=10",
        ),
        (
            "permessage-deflate; client_max_window_bits=9",
            SMALL,
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
        ),
        ("permessage-deflate", SMALL, "permessage-deflate; server_max_window_bits=10"),
        (
            'permessage-deflate; server_max_window_bits="12"',
            KEPT,
            "permessage-deflate; server_max_window_bits=12",
        ),
        (
            "permessage-deflate; server_no_context_takeover",
            KEPT,
            "permessage-deflate; server_no_context_takeover",
        ),
        (
            "permessage-deflate; client_no_context_takeover",
            KEPT,
            "permessage-deflate; client_no_context_takeover",
        ),
        # A window that zlib does not have, then what may be had.
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            KEPT,
            "permessage-deflate",
        ),
        # Offers that are none are passed over (RFC 7692 section 7.1).
        ("permessage-deflate; server_max_window_bits", KEPT, None),
        ("permessage-deflate; server_max_window_bits=16", KEPT, None),
        ("permessage-deflate; server_max_window_bits=7", KEPT, None),
        ("permessage-deflate; server_max_window_bits=010", KEPT, None),
        ("permessage-deflate; client_max_window_bits=x", KEPT, None),
        ("permessage-deflate; server_no_context_takeover=1", KEPT, None),
        ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", KEPT, None),
        ("permessage-deflate; another", KEPT, None),
        ("permessage-deflate; another, permessage-deflate", KEPT, "permessage-deflate"),
    ],
)
def test_a_server_takes_what_suits_it(
    offered: str, how: DeflateSettings | None, answer: str | None
) -> None:
    taken = accept_deflate([offered], how)
    assert (taken and taken[0]) == answer


@pytest.mark.parametrize(
    "offered", ["a b", "a;", "a;;b", ";a", "a=b", 'a; b="c d"', "a; b=", "\x00"]
)
def test_a_malformed_header_is_none(offered: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        accept_deflate([offered], None)


@pytest.mark.parametrize(
    ("answer", "how", "problem"),
    [
        ("permessage-deflate", None, "not offered"),
        ("x-other", FRESH, "not offered"),
        ("permessage-deflate, permessage-deflate", KEPT, "not offered"),
        ("permessage-deflate", FRESH, "server_no_context_takeover"),
        ("permessage-deflate; server_max_window_bits=11", SMALL, "server_max_window_bits=10"),
        ("permessage-deflate", SMALL, "server_max_window_bits=10"),
        ("permessage-deflate; client_max_window_bits", KEPT, "malformed"),
        ("permessage-deflate; client_max_window_bits=8", KEPT, "8 bits"),
        ("permessage-deflate; nonsense", KEPT, "malformed"),
    ],
)
def test_a_client_refuses_what_it_did_not_offer(
    answer: str, how: DeflateSettings | None, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        finish_deflate([answer], how)


@pytest.mark.parametrize("ours", [FRESH, KEPT, SMALL])
@pytest.mark.parametrize("theirs", [FRESH, KEPT, SMALL])
@given(messages=st.lists(TEXTS, max_size=6), cut=st.integers(1, 50))
@settings(max_examples=15, deadline=None)
def test_what_one_end_says_the_other_reads(
    ours: DeflateSettings, theirs: DeflateSettings, messages: list[bytes], cut: int
) -> None:
    taken = accept_deflate([offer_deflate(ours)], theirs)
    if taken is None:
        return
    client = finish_deflate([taken[0]], ours)
    assert client is not None
    for one, other in ((client, taken[1]), (taken[1], client)):
        one.limit = other.limit = 10_000
        for message in messages:
            text = message * 3
            assert unpacked(other, *packed(one, text), cut) == text[:10_000] or len(text) > 10_000


PROTO = FrameProtocol(client=False, extensions=[])


def packed(codec: Deflate, data: bytes) -> tuple[bool, bytes]:
    rsv, out = codec.frame_outbound(PROTO, Opcode.TEXT, RsvBits(False, False, False), data, True)
    return rsv.rsv1, out


def unpacked(codec: Deflate, marked: bool, data: bytes, cut: int) -> bytes | CloseReason:
    header = codec.frame_inbound_header(
        PROTO, Opcode.TEXT, RsvBits(marked, False, False), len(data)
    )
    if isinstance(header, CloseReason):
        return header
    parts: list[bytes] = []
    for start in range(0, len(data), cut):
        part = codec.frame_inbound_payload_data(PROTO, data[start : start + cut])
        if isinstance(part, CloseReason):
            return part
        parts.append(part)
    rest = codec.frame_inbound_complete(PROTO, True)
    if isinstance(rest, CloseReason):
        return rest
    return b"".join([*parts, rest or b""])


# What is exchanged


@asynccontextmanager
async def compressing(port: int, offer: str = "permessage-deflate") -> AsyncIterator[Raw]:
    async with raw(port) as client:
        await client.stream.send(upgrade(port, Sec_WebSocket_Extensions=offer))
        status, headers = await client.head()
        assert status == 101
        assert headers["sec-websocket-extensions"].startswith("permessage-deflate")
        yield client


async def test_messages_both_ways() -> None:
    async with site(deflate=FRESH) as server, compressing(server.port) as client:
        text = "lorem ipsum " * 1000
        for id in range(3):
            data = deflated(call(id, text=text))
            await client.frame(TEXT, data, first=0xC1)
            first, length = await client.take(2)
            assert first == 0xC1
            [size] = struct.unpack("!H", await client.take(2)) if length == 126 else [length]
            answer = zlib.decompressobj(-15).decompress(await client.take(size) + TAIL)
            assert json.loads(answer)["id"] == id
            assert size < len(answer) / 10
        await client.frame(TEXT, good(9))  # plain ones may come between
        assert (await client.message())["id"] == 9


async def test_fragments_of_a_compressed_message_and_pings_between() -> None:
    async with site(deflate=FRESH) as server, compressing(server.port) as client:
        data = deflated(call(1, text="x" * 50))
        await client.frame(TEXT, data[:5], first=0x41)
        await client.frame(PING, b"between")
        assert await client.receive() == (PONG, b"between")
        for byte in data[5:]:
            await client.frame(0, bytes([byte]), first=0x00)
        await client.frame(0, b"")
        assert (await client.message())["id"] == 1


async def test_context_takeover_keeps_the_window() -> None:
    async with site(deflate=KEPT) as server, compressing(server.port) as client:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        noise = os.urandom(600).hex()
        sizes = []
        for id in range(3):
            data = deflated(call(id, text=noise), packer)
            sizes.append(len(data))
            await client.frame(TEXT, data, first=0xC1)
            first, length = await client.take(2)
            assert (first, length) == (0xC1, 126) if id == 0 else first == 0xC1
            [size] = struct.unpack("!H", await client.take(2)) if length == 126 else [length]
            await client.take(size)
            sizes.append(size)
        assert max(sizes[2:]) < min(sizes[:2]) / 4


async def test_final_blocks_and_stored_blocks() -> None:
    async with site(deflate=FRESH) as server, compressing(server.port) as client:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        final = packer.compress(good(1)) + packer.flush() + b"\x00"  # RFC 7692 section 7.2.3.4
        await client.frame(TEXT, final, first=0xC1)
        assert (await client.message())["id"] == 1
        body = good(2)
        stored = b"\x00" + struct.pack("<HH", len(body), len(body) ^ 0xFFFF) + body + b"\x00"
        await client.frame(TEXT, stored, first=0xC1)
        assert (await client.message())["id"] == 2


BOMB = deflated(b"x" * 3_000_000)
HALF_RANDOM = os.urandom(30_000) + b"x" * 2_000_000


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (frame(TEXT, deflated(HALF_RANDOM), first=0xC1), 1009, "longer than 2000000 bytes"),
        (frame(TEXT, BOMB[:100], first=0x41) + frame(0, BOMB[100:]), 1009, "100 times"),
        (
            frame(TEXT, deflated(b" " * 1_900_000), first=0xC1),
            1009,
            "unfolds to more than 100 times",
        ),
        (frame(TEXT, b"\xff\xff\xff\xff", first=0xC1), 1007, "compressed data is broken"),
        (frame(TEXT, b"\x03\x00" * 40, first=0xC1), 1007, "ends too often"),
        (frame(TEXT, deflated(b"\xff{}"), first=0xC1), 1007, "not UTF-8"),
        (frame(PING, b"x", first=0xC9), 1002, "Reserved bit"),
        (
            frame(TEXT, deflated(b"{}")[:2], first=0x41) + frame(0, b"", first=0xC0),
            1002,
            "Reserved",
        ),
        (frame(TEXT, b"{}", first=0xA1), 1002, "Reserved bit"),
    ],
    ids=[
        "too long",
        "a bomb in two frames",
        "a bomb",
        "broken",
        "endless ends",
        "not UTF-8",
        "a compressed ping",
        "a compressed continuation",
        "another bit",
    ],
)
async def test_what_cannot_be_taken_closes(data: bytes, code: int, reason: str) -> None:
    limits = {"message_size": 2_000_000}
    async with site(deflate=FRESH, limits=limits, close_timeout=20.0) as server:
        async with compressing(server.port) as client:
            await client.stream.send(data)
            found, said = await client.closed()
        assert found == code
        assert reason in said


async def test_a_reserved_bit_that_was_not_agreed() -> None:
    async with site(deflate=FRESH) as server, raw(server.port) as client:
        await client.stream.send(upgrade(server.port))
        assert (await client.head())[0] == 101
        await client.frame(TEXT, deflated(good(1)), first=0xC1)
        assert (await client.closed())[0] == 1002


def test_a_bomb_takes_no_memory() -> None:
    codec = Deflate(DeflateSettings(ratio=10**9), bits=15, fresh_out=True, fresh_in=True)
    codec.limit = 100_000
    bomb = deflated(bytes(200_000_000))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        assert unpacked(codec, True, bomb, len(bomb)) is CloseReason.MESSAGE_TOO_BIG
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000 + len(bomb)
    assert codec.failed == TOO_LONG.filled(limit=100_000)


@pytest.mark.parametrize("how", [FRESH, KEPT, SMALL])
async def test_our_client_and_our_server(how: DeflateSettings) -> None:
    ours = WebSocketSettings(deflate=how)
    async with (
        site(deflate=how) as server,
        connected(server.port, settings=ours) as (client, link),
    ):
        assert link._ws is not None
        assert isinstance(link._ws._bounds, Deflate)
        for number in range(5):
            assert await client.echo(text="é" * 50_000, n=number) == {
                "text": "é" * 50_000,
                "n": number,
            }
            assert await client.echo(n=number) == {"n": number}


async def test_a_server_that_wants_none_gets_none() -> None:
    ours = WebSocketSettings(deflate=FRESH)
    async with site() as server, connected(server.port, settings=ours) as (client, link):
        assert link._ws is not None
        assert not isinstance(link._ws._bounds, Deflate)
        assert await client.echo(text="x" * 5000) == {"text": "x" * 5000}


async def test_a_bomb_from_a_server_ends_the_client_with_1009() -> None:
    closes: list[bytes] = []

    async def respond(stream: SocketStream) -> None:
        async with stream:
            answer = accepted(await stream.receive())
            extension = f"Sec-WebSocket-Extensions: permessage-deflate; {BOTH_FRESH}\r\n\r\n"
            bomb = deflated(b"x" * 70_000_000)
            await stream.send(answer[:-2] + extension.encode())
            await stream.send(b"\xc1\x7f" + struct.pack("!Q", len(bomb)) + bomb)
            closes.append(await stream.receive())

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, respond)
        client = Caller(make_client())
        url = f"ws://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/mcp"
        ours = WebSocketSettings(deflate=DeflateSettings(threshold=0))
        link: Any = websocket_client_link(client.peer, client, url, settings=ours)
        client.link = link
        await link.run()
        tasks.cancel_scope.cancel()
    assert link.close_code == 1009
    assert closes
    assert str(WebSocketAddress(url)) == url
