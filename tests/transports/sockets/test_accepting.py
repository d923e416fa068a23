"""Accepting connections: none is lost or read ahead of, and who waits for one hears of the end."""

import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream
from msgspec import structs

from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.sockets.unix import listen_unix
from mcpcore_transports.stream.plain import (
    accept,
    close_listener,
    drop_new,
    listen_tcp,
    paused_stream,
    stream_of,
)
from tests.clock import patience
from tests.transports.http_fixture import server, tool
from tests.transports.ways import WAYS, backend_options

pytestmark = pytest.mark.anyio

FLOOD = 16_000_000
"""What a client tries to send to somebody who does not want it."""
HELD = 4_000_000
"""What the system may have taken of that, with small buffers, and some to spare."""
LOOPS = ("asyncio", "trio", "uvloop")
TURNS = 100
"""Of the event loop, in which whoever would read has read."""


def on_loop(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a test on an event loop of its own."""
    way = structs.replace(WAYS["protocol"], uvloop=name == "uvloop")
    backend = "trio" if name == "trio" else "asyncio"
    anyio.run(work, backend=backend, backend_options=backend_options(way))


async def taken_of_a_flood(client: socket.socket) -> int:
    """Send until nothing more is taken, however often the event loop turns; how much that was."""
    client.setblocking(False)
    sent = waited = 0
    while sent < FLOOD and waited < TURNS:
        try:
            sent += client.send(bytes(65536))
            waited = 0
        except BlockingIOError:
            waited += 1
            await anyio.lowlevel.checkpoint()
    return sent


def small_buffers(bound: socket.socket, client: socket.socket) -> None:
    """What is accepted inherits those of the listener."""
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)


@pytest.fixture(params=["tcp", "unix"])
async def listener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[socket.socket]:
    if request.param == "unix":
        made = (await listen_unix(str(tmp_path / "socket"))).listener
    else:
        [made] = await listen_tcp("127.0.0.1", 0, anywhere=False)
    yield made
    close_listener(made)


def _connected(bound: socket.socket) -> socket.socket:
    client = socket.socket(bound.family)
    client.connect(bound.getsockname())  # to a listener on this machine: nothing is waited for
    return client


async def test_a_connection_that_comes_as_accepting_is_cancelled_is_not_lost(
    listener: socket.socket,
) -> None:
    accepted: list[ByteStream] = []

    async def take() -> None:
        accepted.append((await accept(listener))[0])

    async def end() -> None:
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        client = _connected(listener)
        group.start_soon(end)  # runs in the very round in which the event loop sees the connection
    with client, patience():
        client.send(b"here")
        if not accepted:
            await take()
        async with accepted[0] as stream:
            assert await stream.receive() == b"here"


async def test_the_address_of_the_client_is_told(listener: socket.socket) -> None:
    with _connected(listener) as client:
        stream, address = await accept(listener)
        async with stream:
            assert address == client.getsockname()


async def test_a_client_that_is_gone_is_no_mistake_of_ours(listener: socket.socket) -> None:
    client = _connected(listener)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset it
    client.close()
    with patience():
        try:
            stream, _ = await accept(listener)
        except ConnectionAbortedError:
            return
        async with stream:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()


async def test_who_waits_hears_that_it_is_closed(listener: socket.socket) -> None:
    ended: list[object] = []

    async def wait() -> None:
        try:
            ended.append(await accept(listener))
        except anyio.ClosedResourceError as error:
            ended.append(error)

    with patience():
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            close_listener(listener)
    await wait()
    close_listener(listener)
    assert [type(end) for end in ended] == [anyio.ClosedResourceError] * 2


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("make", [stream_of, paused_stream])
def test_what_nobody_has_asked_for_stays_with_the_system(
    make: Callable[[socket.socket], Awaitable[ByteStream]], loop: str
) -> None:
    async def flood() -> None:
        [bound] = await listen_tcp("127.0.0.1", 0, anywhere=False)
        client = socket.socket()
        small_buffers(bound, client)
        with bound:
            client.connect(bound.getsockname())
            with client, patience():
                await anyio.wait_readable(bound)
                async with await make(bound.accept()[0]) as stream:
                    first = await taken_of_a_flood(client)
                    assert first < HELD
                    assert await stream.receive(1)  # some of it, without having to wait
                    assert first + await taken_of_a_flood(client) < HELD
                    received = 1
                    while received < first:  # nothing is lost
                        received += len(await stream.receive())

    on_loop(loop, flood)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_client_is_not_read_while_it_is_found_out_who_it_is(loop: str) -> None:
    """It has sent much by the time at which it is accepted, so that nothing is waited for."""

    async def flood() -> None:
        asked, told = anyio.Event(), anyio.Event()

        async def who(request: HttpRequest) -> Principal:
            asked.set()
            await told.wait()
            return Principal("somebody")

        settings = HttpServerSettings(driver="anyio", parser="h11", authenticate=who)
        async with server(settings) as running:
            client = socket.socket()
            [listener] = running.link._listeners
            small_buffers(listener, client)
            client.connect(("127.0.0.1", running.port))
            with client:
                client.setblocking(False)
                first = tool("echo") * 100
                sent = client.send(first)  # before the event loop turns
                await asked.wait()
                assert sent + await taken_of_a_flood(client) < HELD
            told.set()

    on_loop(loop, flood)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has filters of packets")
async def test_who_connects_at_the_last_moment_is_refused_and_not_reset() -> None:
    (listener,) = [*await listen_tcp("127.0.0.1", 0, anywhere=False)]
    with socket.create_connection(listener.getsockname()) as waiting, socket.socket() as late:
        drop_new(listener)
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.connect(listener.getsockname())
        stream, _ = await accept(listener)
        waiting.sendall(b"a request")
        assert await stream.receive() == b"a request"
        await stream.aclose()
        with pytest.raises(BlockingIOError):
            listener.accept()
        close_listener(listener)
        with patience():
            await anyio.wait_writable(late)
        with pytest.raises(ConnectionRefusedError):
            late.connect(waiting.getpeername())
