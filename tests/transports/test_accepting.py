"""Accepting connections: none is lost, and who waits for one hears of the end."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketListener, SocketStream

from transports.accepting import accept, close_listener

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["tcp", "unix"])
async def listener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SocketListener]:
    if request.param == "unix":
        made = await anyio.create_unix_listener(tmp_path / "socket")
    else:
        bound = await anyio.create_tcp_listener(local_host="127.0.0.1")
        [only] = bound.listeners
        assert isinstance(only, SocketListener)
        made = only
    async with made:
        yield made


def _connected(listener: SocketListener) -> socket.socket:
    bound: socket.socket = listener.extra(SocketAttribute.raw_socket)
    client = socket.socket(bound.family)
    client.connect(bound.getsockname())  # to a listener on this machine: nothing is waited for
    return client


async def test_a_connection_that_comes_as_accepting_is_cancelled_is_not_lost(
    listener: SocketListener,
) -> None:
    accepted: list[SocketStream] = []

    async def take() -> None:
        accepted.append(await accept(listener))

    async def end() -> None:
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        client = _connected(listener)
        group.start_soon(end)  # runs in the very round in which the event loop sees the connection
    with client, anyio.fail_after(5):
        client.send(b"here")
        if not accepted:
            await take()
        async with accepted[0] as stream:
            assert await stream.receive() == b"here"


async def test_streams_are_what_the_listener_would_have_given(listener: SocketListener) -> None:
    with _connected(listener):
        expected = await listener.accept()
    with _connected(listener):
        stream = await accept(listener)
    async with expected, stream:
        assert type(stream) is type(expected)


async def test_a_client_that_is_gone_is_no_mistake_of_ours(listener: SocketListener) -> None:
    client = _connected(listener)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset it
    client.close()
    with anyio.fail_after(5):
        try:
            stream = await accept(listener)
        except ConnectionAbortedError:
            return
        async with stream:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()


async def test_who_waits_hears_that_it_is_closed(listener: SocketListener) -> None:
    ended: list[SocketStream | Exception] = []

    async def wait() -> None:
        try:
            ended.append(await accept(listener))
        except anyio.ClosedResourceError as error:
            ended.append(error)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await close_listener(listener)
    await wait()
    await close_listener(listener)
    assert [type(end) for end in ended] == [anyio.ClosedResourceError] * 2
