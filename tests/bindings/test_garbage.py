"""Whole units of garbage, before, inside and after messages: lines, frames, requests, events.

Where each line stands by itself, the conversation goes on; a WebSocket is closed with the code that
says why; over HTTP one request is refused, and others are served.
"""

from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import pytest

from mcpcore.spec.errors import LocalError
from tests.bindings.cells import cells
from tests.bindings.client_alone import Outcome
from tests.bindings.frames import Closed, encode
from tests.bindings.hosts import hosting
from tests.bindings.places import LEGACY, House, revision
from tests.bindings.scripts import Script
from tests.bindings.stories import SETTINGS, Ledger, nothing_left
from tests.bindings.talk import Talk
from tests.bindings.wires import FrameWire, LineWire, calling
from tests.clock import PATIENCE
from transports.client import connect

pytestmark = pytest.mark.anyio

LINES = (b"\x00\xff{junk]\r", b"", b"{", b"]", b"[]", b"null", b"\xc3\x28", b'{"jsonrpc":"2.0"}')
BROKEN = b'{"jsonrpc":"2.0","id":77,"method":"tools/call","par'
PLACES = ("before", "inside", "after")
ON_LINES = ("stdio", "tcp", "unix")
FRAMES = {
    "a reserved opcode": 1002,
    "a reserved bit": 1002,
    "a long ping": 1002,
    "the wrong mask": 1002,
    "no UTF-8": 1007,
}


def _frame(name: str, *, mask: bool, inside: bool) -> bytes:
    """The garbage; ``mask``: a client sends it; ``inside``: parts of a message came before."""
    match name:
        case "a reserved opcode":
            return encode(b"x", 0x3, mask=mask)
        case "a reserved bit":
            return encode(b"x", mask=mask, first=0xC0 if inside else 0xC1)
        case "a long ping":
            return encode(b"x" * 126, 0x9, mask=mask)
        case "the wrong mask":
            return encode(b"x", mask=not mask, first=0x80 if inside else None)
    return encode(b'"\xff"', mask=mask, first=0x80 if inside else None)


# What a client sends


@cells(only=lambda name: name in ON_LINES)
async def test_lines_of_garbage_for_a_server(binding: str, era: str, house: House) -> None:
    modern = era if era != LEGACY else None
    async with calling(binding, house.target(binding), modern):
        pass  # what is made once is made now
    async with (
        nothing_left(house, binding),
        calling(binding, house.target(binding), modern) as wire,
    ):
        assert isinstance(wire, LineWire)
        talk = Talk(wire, revision(era))
        for line in LINES:
            await wire.stream.send(line + b"\n")
        await talk.open()
        for line in LINES:
            await talk.check()
            await wire.stream.send(BROKEN + b"\n" + line + b"\n" + b'ams":{}}\n')
            await talk.check()
        errors = [message["error"]["code"] for message in talk.kept]
        assert set(errors) <= {-32700, -32600}
        assert len(errors) > 3 * len(LINES)


@cells(PLACES, FRAMES, quick=4, only=lambda name: name == "ws")
async def test_frames_of_garbage_for_a_server(
    binding: str, era: str, arg0: str, arg1: str, house: House
) -> None:
    frame = _frame(arg1, mask=True, inside=arg0 == "inside")
    async with nothing_left(house, binding), calling(binding, house.target(binding), None) as wire:
        assert isinstance(wire, FrameWire)
        talk = Talk(wire, revision(era))
        if arg0 != "before":
            await talk.open()
            await talk.check()
        if arg0 == "inside":
            await wire.frames.send(b'{"jsonrpc":', first=0x01)
        await wire.frames.stream.send(frame)
        with anyio.fail_after(PATIENCE), pytest.raises(Closed) as caught:
            await wire.receive()
        assert caught.value.code == FRAMES[arg1]


REQUESTS = {
    "before": (b"GARBAGE\r\n\r\n", b"400"),
    "inside": (b"POST {path} HTTP/1.1\r\nHost: {host}\r\n\xff\x00junk\r\n\r\n", b"400"),
    "a body": (
        b"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        b"Accept: application/json, text/event-stream\r\nConnection: close\r\n"
        b"Content-Length: 4\r\n\r\n\xff{x]",
        b"400",
    ),
    "after": (b"GET /nowhere HTTP/1.1\r\nHost: {host}\r\n\r\nGARBAGE\r\n\r\n", b"404"),
}


@cells(REQUESTS, only=lambda name: name in ("http", "sse"))
async def test_requests_of_garbage_for_a_server(
    binding: str, era: str, arg0: str, house: House
) -> None:
    parts = urlsplit(house.target(binding).url)
    request, status = REQUESTS[arg0]
    request = request.replace(b"{path}", parts.path.encode()).replace(
        b"{host}", parts.netloc.encode()
    )
    async with (
        nothing_left(house, binding),
        await anyio.connect_tcp(parts.hostname or "", parts.port or 80) as stream,
    ):
        await stream.send(request)
        await stream.send_eof()
        said = bytearray()
        with anyio.fail_after(PATIENCE):
            async for data in stream:
                said += data
        assert said.split()[1] in (status, b"404", b"405")
        assert bytes(said).count(b"HTTP/1.1 ") == (2 if arg0 == "after" else 1)
        async with connect(house.target(binding), revision=era, settings=SETTINGS) as client:
            await client.call_tool("echo", {"text": "others are served"})


# What a server sends


async def _call(script: Script, outcome: Outcome, era: str) -> None:
    async with connect(script.target, revision=era, settings=SETTINGS) as client:
        await outcome.of(client, "odd")


@cells(only=lambda name: name in ON_LINES)
async def test_lines_of_garbage_for_a_client(
    binding: str, era: str, house: House, ledger: Ledger
) -> None:
    outcome = Outcome()
    async with (
        hosting(binding, modern=era != LEGACY) as host,
        anyio.create_task_group() as tasks,
    ):
        script = Script(host, revision(era), tasks)
        await anyio.lowlevel.checkpoint()  # it accepts
        async with nothing_left(house, binding), anyio.create_task_group() as calling:
            calling.start_soon(_call, script, outcome, era)
            request = await script.called("odd")
            for line in LINES:
                await script.wire.stream.send(line + b"\n" + BROKEN + b"\n" + line + b"\n")
            await script.reply(request, script.text("right"))
            await script.wire.stream.send(b"".join(line + b"\n" for line in LINES))
        tasks.cancel_scope.cancel()
    assert outcome.text == "right"


@cells(PLACES, FRAMES, quick=4, only=lambda name: name == "ws")
async def test_frames_of_garbage_for_a_client(
    binding: str, era: str, arg0: str, arg1: str, house: House, ledger: Ledger
) -> None:
    frame = _frame(arg1, mask=False, inside=arg0 == "inside")
    outcome = Outcome()
    async with (
        hosting(binding, modern=era != LEGACY) as host,
        anyio.create_task_group() as tasks,
    ):
        script = Script(host, revision(era), tasks)
        script.noise = frame if arg0 == "before" else b""
        await anyio.lowlevel.checkpoint()  # it accepts
        async with nothing_left(house, binding), anyio.create_task_group() as calling:
            if arg0 == "before":
                with pytest.raises(LocalError):
                    async with connect(script.target, revision=era, settings=SETTINGS) as client:
                        await client.call_tool("odd")
            else:
                calling.start_soon(_call, script, outcome, era)
                request = await script.called("odd")
                if arg0 == "after":
                    await script.reply(request, script.text("right"))
                else:
                    await script.wire.frames.send(b'{"jsonrpc":', first=0x01)
                await script.wire.frames.stream.send(frame)
            ended = await script.ended()
        tasks.cancel_scope.cancel()
    if arg0 != "after":  # then it may have left already
        assert isinstance(ended, Closed)
        assert ended.code == FRAMES[arg1]
    if arg0 == "inside":
        assert isinstance(outcome.error, LocalError)
    if arg0 == "after":
        assert outcome.text == "right"
