"""Compressed messages: what is agreed, what is exchanged, and what no bomb passes."""

import tracemalloc
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, RsvBits

from mcpcore.spec.closes import TOO_LONG
from mcpcore_transports.websocket.deflate import (
    Deflate,
    accept_deflate,
    finish_deflate,
    offer_deflate,
)
from mcpcore_transports.websocket.settings import DeflateSettings, WebSocketSettings
from tests.transports.sites import site
from tests.transports.websocket.test_websocket_client import connected

pytestmark = pytest.mark.anyio

TAIL = b"\x00\x00\xff\xff"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=1500).map(str.encode)
FRESH = DeflateSettings()
KEPT = DeflateSettings(context_takeover=True)
SMALL = DeflateSettings(context_takeover=True, window_bits=10, threshold=0)


def deflated(data: bytes, packer: "zlib._Compress | None" = None) -> bytes:
    packer = packer or zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


@pytest.mark.parametrize("ours", [FRESH, KEPT, SMALL])
@pytest.mark.parametrize("theirs", [FRESH, KEPT, SMALL])
@given(messages=st.lists(TEXTS, max_size=6), cut=st.integers(1, 50))
@example(messages=[b"abc", b"abc"], cut=50)  # what does not get smaller is in the window, too
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
