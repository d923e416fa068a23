"""TLS whose socket is read and written past the stream: records, ends, and what is no TLS."""

import base64
import ctypes
import ctypes.util
import gc
import json
import os
import re
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio.abc import ObjectStream, SocketStream
from anyio.streams.tls import TLSStream
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from mcpcore import ConnectionSettings, Server, ServeSettings, WebSocketSettings, serve
from mcpcore_transports.sockets.server import SocketServerLink
from mcpcore_transports.stream.channels import SecureChannel, SecureStream
from mcpcore_transports.tls import client_tls, server_tls
from tests.clock import patience
from tests.faults.cutting import listening
from tests.transports.certificates import papers
from tests.transports.malformed import good
from tests.transports.served import ANY_PORT, Served, served
from tests.transports.sites import call
from tests.transports.tls_by_hand import ByHand, dial, read_on

pytestmark = pytest.mark.anyio

AUTHORITY = str(papers().trusted.file)
GARBAGE = b"\x17\x03\x03\x00\x40" + b"." * 64


class Sink(ObjectStream[bytes]):
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent = bytearray()

    async def receive(self) -> bytes:
        """Nothing comes."""
        raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        """Keep it."""
        self.sent += item

    async def send_eof(self) -> None:
        """Nobody asks for it."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """There is nothing to close."""


def established(*, standard: bool = True) -> tuple[SecureStream, ByHand, Sink]:
    """A server's stream and a client, behind the handshake."""
    came, ready, sink = ssl.MemoryBIO(), ssl.MemoryBIO(), Sink()
    server = server_tls(papers().server).wrap_bio(came, ready, server_side=True)
    client = ByHand(AUTHORITY)
    client.take(b"")
    for _ in range(2):
        came.write(client.ready())
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
        client.take(ready.read())
    assert client.established
    return SecureStream(sink, standard, server, came, ready), client, sink


class Output:
    """Takes so much at a time, again and again."""

    def __init__(self, counts: list[int]) -> None:
        self.taken, self._counts, self._calls = bytearray(), counts, 0

    def write(self, data: memoryview) -> int:
        """Take some, or nothing."""
        count = min(len(data), self._counts[self._calls % len(self._counts)])
        self._calls += 1
        self.taken += data[:count]
        return count


@given(
    data=st.lists(st.binary(min_size=1, max_size=40).map(lambda part: part * 5000), max_size=4),
    counts=st.lists(st.sampled_from([0, 1, 5, 4096, 20_000, 1 << 20]), max_size=5),
    settled=st.integers(0, 30),
)
def test_what_is_written_in_parts_is_whole(
    data: list[bytes], counts: list[int], settled: int
) -> None:
    stream, client, sink = established()
    output = Output([*counts, 20_000])
    at, calls = 0, 0
    text = b"".join(data)
    for part in data:
        rest = memoryview(part)
        while rest and calls < settled:
            calls += 1
            count = stream.write_some(rest, output.write)
            rest = rest[count:]
            at += count
        if calls == settled:
            break

    async def write_the_rest() -> None:
        # From here on as anybody does it who has no descriptor.
        left = text[at + await stream.settle() :]
        if left:
            await stream.send(left)

    anyio.run(write_the_rest)
    assert client.take(bytes(output.taken + sink.sent)) == text


@given(
    sizes=st.lists(st.sampled_from([1, 200, 16_384, 70_000]), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 40_000), max_size=6),
    end=st.sampled_from(["none", "said", "cut off", "garbage"]),
    standard=st.booleans(),
)
def test_what_is_read_in_pieces_is_whole(
    sizes: list[int], cuts: list[int], end: str, standard: bool
) -> None:
    stream, client, _ = established(standard=standard)
    text = b"".join(bytes([65 + number]) * size for number, size in enumerate(sizes))
    wire = client.write(text, last=end == "said") + (GARBAGE if end == "garbage" else b"")
    found, problem = b"", ""
    pieces = []
    for cut in cuts:
        pieces.append(wire[:cut])
        wire = wire[cut:]
    pieces += [wire, *([b""] if end == "cut off" else [])]
    for number, piece in enumerate(pieces):
        if not piece and number < len(pieces) - (end == "cut off"):
            continue
        try:
            found += stream.decrypt(piece)
        except BlockingIOError:
            assert not (number == len(pieces) - 1 and stream.over)
        except ssl.SSLError as error:
            problem = type(error).__name__
    assert found == text
    assert stream.over is (end != "none")
    if end == "none":
        with pytest.raises(BlockingIOError):
            stream.decrypt(b"\x17")
    elif end == "garbage":
        with pytest.raises(ssl.SSLError):
            stream.decrypt(b"")
        output = Output([1 << 20])
        assert stream.push(output.write)
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            client.take(bytes(output.taken))
    elif end == "cut off" and standard:
        assert problem == "SSLEOFError"
    else:
        assert (stream.decrypt(b""), problem) == (b"", "")


server = Server("secure", version="1")
heard: list[int] = []


@server.tool
def note(number: int) -> str:
    heard.append(number)
    return "noted"


@server.tool
def much(size: int) -> str:
    return "." * size


@asynccontextmanager
async def secure(
    websocket: WebSocketSettings | None = None, /, **bindings: Any
) -> AsyncIterator[Served]:
    heard.clear()
    context = server_tls(papers().server)
    settings = ServeSettings(ssl_context=context, websocket=websocket or WebSocketSettings())
    async with served(server, settings=settings, **bindings) as running:
        yield running


@pytest.mark.parametrize("begun", [False, True])
async def test_the_last_message_and_the_end_in_one_piece(begun: bool) -> None:
    async with secure(tcp=ANY_PORT) as running:
        client, stream = await dial(running.port, AUTHORITY)
        async with stream:  # which the client does not close before the server has said its end
            if begun:
                await stream.send(client.write(good(0) + b"\n"))
                await read_on(client, stream, b"\n")
            await stream.send(client.write(good(1) + b"\n", last=True))
            answer = await read_on(client, stream)
            assert client.over
        assert json.loads(answer)["id"] == 1


async def test_a_message_that_came_with_the_end_of_the_handshake() -> None:
    async with secure(tcp=ANY_PORT) as running:
        stream, client = await anyio.connect_tcp("127.0.0.1", running.port), ByHand(AUTHORITY)
        async with stream:
            client.take(b"")
            await stream.send(client.ready())
            while not client.established:
                client.take(await stream.receive())
            await stream.send(client.write(good(1) + b"\n"))  # with what ends the handshake
            assert json.loads(await read_on(client, stream, b"\n"))["id"] == 1


def kept() -> int:
    """Bytes of output that the one connection of a server refers to."""
    gc.collect()
    (link,) = [each for each in gc.get_objects() if isinstance(each, SocketServerLink)]
    stream = link._stream
    assert isinstance(stream, SecureStream)
    rest, unsent = link._rest.obj, stream._unsent.obj
    assert isinstance(rest, bytes)
    assert isinstance(unsent, bytes)
    return len(rest) + len(unsent)


async def test_an_answer_that_is_read_late() -> None:
    size = 12_000_000
    async with secure(tcp=ANY_PORT) as running:
        client, stream = await dial(running.port, AUTHORITY)
        async with stream:
            await stream.send(client.write(call(1, "much", size=size) + b"\n"))
            await stream.send(client.write(call(2, "note", number=7) + b"\n"))
            text = await read_on(client, stream, b'"noted"')
            first, second = sorted(map(json.loads, text.splitlines()), key=lambda each: each["id"])
            assert kept() == 0
        assert len(first["result"]["content"][0]["text"]) == size
        assert second["id"] == 2


async def upgraded(port: int) -> tuple[ByHand, SocketStream, FrameProtocol]:
    client, stream = await dial(port, AUTHORITY)
    key = base64.b64encode(b"0123456789abcdef")
    head = [
        b"GET /mcp HTTP/1.1",
        b"Host: localhost:%d" % port,
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Protocol: mcp",
        b"Sec-WebSocket-Key: " + key,
    ]
    await stream.send(client.write(b"\r\n".join([*head, b"", b""])))
    answer = await read_on(client, stream, b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return client, stream, FrameProtocol(client=True, extensions=[])


def messages(data: bytes) -> tuple[str, int | None]:
    """The texts of frames, and the code of the one that closes."""
    found = FrameProtocol(client=True, extensions=[])
    found.receive_bytes(data)
    parts, code = [], None
    for frame in found.received_frames():
        if frame.opcode is Opcode.CLOSE:
            code = int(frame.payload[0])
        else:
            parts.append(str(frame.payload))
    return "".join(parts), code


async def test_many_frames_and_the_end_in_one_piece() -> None:
    count = 300  # more than are taken in at once
    async with secure(ws=ANY_PORT) as running:
        client, stream, frames = await upgraded(running.port)
        async with stream:
            messages = [call(id, "note", number=id) for id in range(count)]
            text = b"".join(bytes(frames.send_data(each.decode())) for each in messages)
            await stream.send(client.write(text, last=True))
            await read_on(client, stream)
    assert heard == list(range(count))


@pytest.mark.parametrize("ended", [False, True])
async def test_a_closing_handshake_behind_what_was_not_read_yet(ended: bool) -> None:
    size = 12_000_000
    # So much may be waiting that the server goes on reading.
    websocket = WebSocketSettings(
        close_timeout=20, connection=ConnectionSettings(queued=2 * size, drain=20)
    )
    async with secure(websocket, ws=ANY_PORT) as running:
        client, stream, frames = await upgraded(running.port)
        async with stream:
            await stream.send(
                client.write(bytes(frames.send_data(call(1, "much", size=size).decode())))
            )
            first = await stream.receive(1)
            await stream.send(client.write(bytes(frames.close(1000)), last=ended))
            answer = client.take(first) + await read_on(client, stream)
    text, code = messages(answer)
    assert len(json.loads(text)["result"]["content"][0]["text"]) == size
    assert code == 1000


async def test_a_server_that_is_cancelled_inside_a_record_says_the_rest() -> None:
    size = 12_000_000  # more than the system takes at once
    settings = ServeSettings(
        ssl_context=server_tls(papers().server), websocket=WebSocketSettings(close_timeout=20)
    )
    ending, urls = anyio.CancelScope(), list[str]()
    brief, listening = Server("brief", version="1"), anyio.Event()

    @brief.tool
    def last() -> str:
        ending.cancel()  # before the task is there that writes what is not taken at once
        return "." * size

    def announce(url: str) -> None:
        urls.append(url)
        listening.set()

    async def run() -> None:
        with ending:
            await serve(brief, ws=ANY_PORT, settings=settings, on_listening=announce)

    with patience():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await listening.wait()
            client, stream, frames = await upgraded(int(urls[0].split(":")[2].partition("/")[0]))
            async with stream:
                await stream.send(client.write(bytes(frames.send_data(call(1, "last").decode()))))
                answer = await read_on(client, stream, (1001).to_bytes(2, "big"))
    text, code = messages(answer)
    assert len(json.loads(text)["result"]["content"][0]["text"]) == size
    assert code == 1001


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("binding", ["tcp", "ws"])
async def test_what_is_no_tls_is_told_so(binding: str, alone: bool) -> None:
    async with secure(**{binding: ANY_PORT}) as running:
        if binding == "tcp":
            client, stream = await dial(running.port, AUTHORITY)
            message = good(1) + b"\n"
        else:
            client, stream, frames = await upgraded(running.port)
            message = bytes(frames.send_data(good(1).decode()))
        async with stream:
            await stream.send(client.write(message))
            await read_on(client, stream, b"}")
            await stream.send((b"" if alone else client.write(message)) + GARBAGE)
            with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
                await read_on(client, stream)


@pytest.mark.parametrize("begun", [False, True])
async def test_nothing_follows_a_part_of_a_record(begun: bool) -> None:
    stream, client, sink = established()
    output = Output([5 if begun else 1 << 20, 0])
    stream.write_some(b"." * 200, output.write)
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        await stream.aclose()
    client.take(bytes(output.taken + sink.sent))
    assert client.over is not begun
    assert bool(sink.sent) is not begun


async def test_what_is_no_tls_while_much_is_written() -> None:
    """Who reads is told, though nobody can be sent the alert."""
    context = server_tls(papers().server)
    writing = anyio.Event()

    async def babble(below: SocketStream) -> None:
        async with below:
            with suppress(anyio.BrokenResourceError):
                await SecureStream.wrap(below, server_side=True, ssl_context=context)
                await below.send(GARBAGE)
                await writing.wait()

    async def write(stream: TLSStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await stream.send(b"." * 50_000_000)

    with patience():
        async with listening(babble) as port, anyio.create_task_group() as tasks:
            below = await anyio.connect_tcp("127.0.0.1", port)
            client = client_tls(ca=AUTHORITY)
            stream = await SecureStream.wrap(below, hostname="localhost", ssl_context=client)
            tasks.start_soon(write, stream)
            await anyio.lowlevel.checkpoint()
            with pytest.raises(ssl.SSLError, match=r"(?i)record|version|bad"):
                await stream.receive()
            writing.set()
            with suppress(OSError):  # there is nothing left to end in good order
                await anyio.aclose_forcefully(stream)
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("refused", [{1}, {2}, {1, 2}])
async def test_a_socket_that_cannot_be_set_not_to_block_is_used_through_its_stream(
    refused: set[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0
    allow = os.set_blocking

    def refuse(descriptor: int, blocking: bool) -> None:
        nonlocal calls
        calls += 1
        if calls in refused:
            raise PermissionError(1, "Operation not permitted")
        allow(descriptor, blocking)

    async with secure(tcp=ANY_PORT) as running:
        monkeypatch.setattr(os, "set_blocking", refuse)
        client, stream = await dial(running.port, AUTHORITY)
        async with stream:
            for id in (1, 2):
                await stream.send(client.write(good(id) + b"\n"))
                answer = await read_on(client, stream, b"\n")
                assert json.loads(answer)["id"] == id
            await stream.send(client.write(b"", last=True))
            assert await read_on(client, stream) == b""
        assert client.over
    assert calls == 2
    assert not caplog.records


@pytest.mark.parametrize("alone", [False, True])
async def test_why_a_connection_was_ended(alone: bool, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    async with secure(tcp=ANY_PORT, trace=str(path)) as running:
        client, stream = await dial(running.port, AUTHORITY)
        async with stream:
            await stream.send(client.write(good(1) + b"\n"))
            await read_on(client, stream, b"\n")
            await stream.send((b"" if alone else client.write(good(2) + b"\n")) + GARBAGE)
            with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
                await read_on(client, stream)
    assert re.search("connection lost: .*record", path.read_text())


# What TLS says by itself

ASKED = 100


def ask_for_keys(client: ByHand, count: int = 1) -> bytes:
    """Ask so often for new keys, each of which has to be answered (RFC 8446 section 4.6.3)."""
    if sys.implementation.name != "cpython" or sys.version_info >= (3, 14):
        pytest.skip("only of some Pythons is it known where they keep what OpenSSL is to be given")
    library = ctypes.CDLL(ctypes.util.find_library("ssl"))
    library.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.SSL_do_handshake.argtypes = [ctypes.c_void_p]
    inner: Any = client.end
    at = ctypes.c_void_p.from_address(id(inner._sslobj) + 24).value
    for _ in range(count):
        assert library.SSL_key_update(at, 1) == 1
        assert library.SSL_do_handshake(at) == 1
    return client.ready()


async def test_tls_answers_where_the_server_has_nothing_to_say() -> None:
    async with secure(tcp=ANY_PORT) as running:
        client, stream = await dial(running.port, AUTHORITY)
        async with stream:
            await stream.send(client.write(good(1) + b"\n"))
            await read_on(client, stream, b"\n")
            await stream.send(asked := ask_for_keys(client, ASKED))
            size = 0
            with patience():
                while size < len(asked) // 2:  # answers are as long as questions
                    size += len(await stream.receive())


def test_who_only_asks_and_never_reads_is_left() -> None:
    stream, client, _ = established()
    full: Any = SimpleNamespace(send_nowait=lambda data: 0)
    channel = object.__new__(SecureChannel)  # outside an event loop
    channel._stream, channel._socket = stream, full
    asked, said = 0, ""
    while asked < 1_000_000 and not said:
        asked += len(part := ask_for_keys(client, ASKED))
        try:
            channel._decrypt(part)
        except BlockingIOError:
            continue
        except BrokenPipeError as error:
            said = str(error)
    assert "does not read" in said
    assert 65_536 < asked < 100_000
