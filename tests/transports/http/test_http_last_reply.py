"""The last reply of a connection arrives whole, whoever ends it and whatever is sent behind it.

Closing while input is unread, or before more of it comes, takes back what the client has not
received: RFC 9112 section 9.6 has connections closed in stages.
"""

import os
import socket
from collections.abc import Callable
from functools import partial

import anyio
import pytest
from anyio.abc import SocketAttribute

from mcpcore_transports.http1.settings import HttpServerSettings
from tests.clock import HOUR, PATIENCE, Clock, patience, turns
from tests.transports.http_fixture import Client, Running, server, tool
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio

LARGE = "x" * 3_000_000
MANY = tool("echo", id=9) * 400
"""More than is read ahead, so that some of it stays with the system."""
CLOSE = {"Connection": "close"}
PATIENT = HttpServerSettings(linger_time=2 * PATIENCE, linger_bytes=2**30)


async def connect(running: Running) -> Client:
    """A client that never has received much more than it has read.

    Of the large reply some waits in the server, and behind that some in the system.
    """
    for bound in running.link._listeners:  # what is accepted inherits it
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 * 1024)
    client = await running.connect()
    sock = client.stream.extra(SocketAttribute.raw_socket)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    return client


async def read_slowly(client: Client, late: bytes = b"") -> bytes:
    """Everything until the end, always behind the server; ``late`` is sent again and again.

    Raises if the end is not a proper one.
    """
    received = bytearray()
    with patience():
        while True:
            try:
                received += await client.stream.receive()
            except anyio.EndOfStream:
                break
            await turns(5)
            if late:
                await client.send(late)
    await client.aclose()
    return bytes(received)


async def asked(running: Running, client: Client, data: bytes) -> Callable[[str], bool]:
    """Send a request that waits, and more; what answers it."""
    await client.send(data)
    await running.app.until(lambda: running.app.waiting)
    return partial(running.app.finish, running.app.waiting.pop())


def whole(data: bytes) -> bool:
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    return b"content-length: %d" % len(body) in head and LARGE.encode() in body


@pytest.mark.parametrize("late", [False, True], ids=["before", "with it"])
async def test_requests_behind_the_last_one_do_not_cut_its_reply_off(late: bool) -> None:
    """They come before the reply, or while it is being read."""
    async with server(PATIENT) as running:
        client = await connect(running)
        last = tool("wait", headers=CLOSE)
        finish = await asked(running, client, last if late else last + MANY)
        assert finish(LARGE)
        await turns(100)
        assert whole(await read_slowly(client, tool("echo") if late else b""))


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
async def test_the_end_of_the_server_does_not_cut_a_reply_off(late: bool) -> None:
    """Requests come before the reply, or while it is being read."""
    async with server(PATIENT) as running:
        client = await connect(running)
        finish = await asked(running, client, tool("wait") + (b"" if late else MANY))
        async with anyio.create_task_group() as ending:
            if late:  # the end begins in the middle of a reply that would not have been the last
                assert finish(LARGE)
                await turns(100)
            ending.start_soon(running.link.aclose)
            await turns(100)
            if not late:
                assert finish(LARGE)
                await turns(100)
            assert whole(await read_slowly(client, tool("echo") if late else b""))


async def test_the_time_of_the_client_begins_when_the_reply_is_out(clock: Clock) -> None:
    """Until then it has that of writing, here for the whole at once."""
    settings = HttpServerSettings(linger_time=HOUR, write_time=9 * HOUR, write_size=len(LARGE) * 2)
    async with server(settings) as running:
        client = await connect(running)
        finish = await asked(running, client, tool("wait", headers=CLOSE))
        assert finish(LARGE)
        await clock.skip(HOUR)
        assert whole(await read_slowly(client))


async def gone(running: Running) -> None:
    """Wait until the server has no connection left."""
    with patience():
        while running.link.connections:
            await turns(1)


@pytest.mark.parametrize("name", ["wait", "echo"])
async def test_requests_are_answered_whose_client_has_finished_sending(name: str) -> None:
    async with server(PATIENT) as running:
        app, client = running.app, await running.connect()
        await client.send(*(tool(name, id=number) for number in range(3)))
        await client.stream.send_eof()
        for number in range(3):
            if name == "wait":
                await app.until(lambda: app.waiting)
                await turns(100)  # by now its end is seen
                assert app.finish(app.waiting.pop())
            response = await client.final()
            assert response.json["id"] == number
        assert await client.closed()
        assert not app.cancelled


async def test_the_end_of_input_and_of_a_reply_come_at_the_same_time() -> None:
    """Whichever is seen first, the request behind it is answered."""
    async with server(PATIENT) as running:
        app, client = running.app, await running.connect()
        await client.send(tool("wait", id=1) + tool("echo", id=2))
        await app.until(lambda: app.waiting)
        await turns(100)
        with socket.socket(
            fileno=os.dup(client.stream.extra(SocketAttribute.raw_socket).fileno())
        ) as own:
            own.shutdown(socket.SHUT_WR)  # without waiting
        assert app.finish(app.waiting.pop())
        assert (await client.final()).json["id"] == 1
        assert (await client.final()).json["id"] == 2
        assert await client.closed()


async def test_who_has_left_behind_more_requests_is_noticed() -> None:
    """By the answer to what it is sent: the first request is cancelled, the rest never begun."""
    async with server(PATIENT) as running:
        client = await running.connect()
        await client.send(tool("wait", id=1) + tool("wait", id=2))
        await running.app.until(lambda: running.app.waiting)
        await client.aclose()
        await running.app.until(lambda: running.app.cancelled)
        await gone(running)
        assert len(running.app.waiting) == 1
