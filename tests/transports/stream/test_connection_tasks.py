"""The tasks of a connection: which there are, and in which context they run."""

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mcpcore.engine.events import ConnectionEnded, Event, RequestReceived
from mcpcore.engine.peer import Peer
from mcpcore_transports.link import clock
from mcpcore_transports.sockets.server import SocketServerLink
from mcpcore_transports.stream.channels import StreamLink
from mcpcore_transports.stream.plain import PlainStream
from tests.clock import patience
from tests.transports.apps import Recorder, ToolServer, make_client, make_server
from tests.transports.stream.test_pump import call, make_streams
from tests.transports.wire import Lines

pytestmark = pytest.mark.anyio

HOLDER: ContextVar[str] = ContextVar("holder", default="nobody")

ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


class Far:
    """The other end of a socket, as a byte stream."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)

    async def send(self, item: bytes) -> None:
        rest = memoryview(item)
        while rest:
            await anyio.wait_writable(self.sock)
            rest = rest[self.sock.send(rest) :]

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.wait_readable(self.sock)
        data = self.sock.recv(max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data


@asynccontextmanager
async def on_socket(app: ToolServer) -> AsyncIterator[Far]:
    near, far = socket.socketpair()
    near.setblocking(False)
    app.link = link = SocketServerLink(app.peer, app, PlainStream(near))
    async with anyio.create_task_group() as tasks:
        with far:
            await tasks.start(link.run)
            yield Far(far)
            await link.aclose()


def connected() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection, of which the near one does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    near.setblocking(False)
    return near, far


async def tasks_are(count: int) -> None:
    """Wait until there are so many."""
    with patience():
        while len(asyncio.all_tasks()) != count:
            await checkpoint()


@ASYNCIO
async def test_an_idle_connection_has_one_task() -> None:
    before = len(asyncio.all_tasks())
    app = ToolServer(make_server())
    async with on_socket(app) as far:
        lines = Lines(far)
        for id in range(3):
            await lines.send(call(id))
            assert (await lines.message())["id"] == id
        assert len(asyncio.all_tasks()) == before + 1
        await lines.send(call(3, size=8_000_000))  # which has to wait, and now somebody writes
        await tasks_are(before + 2)
        assert len(await lines.line()) > 8_000_000
        await lines.send(call(4))
        assert (await lines.message())["id"] == 4
        assert len(asyncio.all_tasks()) == before + 2
    assert app.ended


@ASYNCIO
async def test_what_is_not_taken_in_at_once_has_a_reader() -> None:
    before = len(asyncio.all_tasks())
    app = ToolServer(make_server())
    async with on_socket(app) as far:
        lines = Lines(far)
        await lines.send(call(1, size=8_000_000))
        await tasks_are(before + 2)
        await lines.send(call(2))  # the output is full: who reads waits for room
        await tasks_are(before + 3)
        assert len(app.of(RequestReceived)) == 1
        assert len(await lines.line()) > 8_000_000
        assert (await lines.message())["id"] == 2
        await lines.send(call(3))
        assert (await lines.message())["id"] == 3


@pytest.mark.parametrize("abrupt", [False, True])
async def test_the_end_is_noticed_though_nobody_has_read(abrupt: bool) -> None:
    app = ToolServer(make_server())
    async with anyio.create_task_group() as tasks:
        near, far = connected()
        with far:
            await tasks.start(SocketServerLink(app.peer, app, PlainStream(near)).run)
            if abrupt:
                far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await app.until(lambda: bool(app.of(ConnectionEnded)))
    [ended] = app.of(ConnectionEnded)
    expected = "connection lost" if abrupt else "closed by the other side"
    assert ended.reason.startswith(expected)
    assert app.ended


@ASYNCIO
async def test_an_error_that_comes_with_the_end_is_nobodys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The connection is reset in the turn of the event loop in which it is given up."""
    app = ToolServer(make_server())
    near, far = connected()
    app.link = link = SocketServerLink(app.peer, app, PlainStream(near))
    async with anyio.create_task_group() as tasks:
        await tasks.start(link.run)
        before = len(asyncio.all_tasks())
        far.sendall(call(1, size=8_000_000) + b"\n")
        await tasks_are(before + 1)  # one that writes, and takes a turn to be cancelled
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        tasks.cancel_scope.cancel()
    del link, app.link
    gc.collect()
    assert caplog.text == ""


class Holding(ToolServer):
    """Keeps in whose context events were handled."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer)
        self.holders: list[str] = []

    def react(self, event: Event) -> None:
        self.holders.append(HOLDER.get())
        super().react(event)


async def test_tasks_that_are_started_later_have_the_context_of_the_connection() -> None:
    ours, theirs = await make_streams(small=True)
    app = Holding(make_server())
    app.link = link = StreamLink(app.peer, app, theirs)
    async with anyio.create_task_group() as tasks, ours:
        await tasks.start(link.run)
        lines = Lines(ours)
        await lines.send(call(1, "hold"))
        await app.until(lambda: bool(app.held))
        HOLDER.set("who answered")
        app.release("x" * 8_000_000)
        link.write_now()  # starts the writer task, which turns when it is done
        await lines.send(call(2, "hold"), call(3))
        assert len(await lines.line()) > 8_000_000
        await lines.message()
        assert set(app.holders) == {"nobody"}
        tasks.cancel_scope.cancel()


class Early(StreamLink):
    """Has something to say before it is open."""

    async def _open(self) -> None:
        self.peer.start(now=clock())
        self.write_now()


async def test_what_is_written_before_there_are_tasks_is_sent() -> None:
    ours, theirs = await make_streams()
    app = Recorder(make_client())
    app.link = link = Early(app.peer, app, theirs)
    async with anyio.create_task_group() as tasks, ours:
        await tasks.start(link.run)
        with patience():
            assert (await Lines(ours).message())["method"] == "server/discover"
        tasks.cancel_scope.cancel()
