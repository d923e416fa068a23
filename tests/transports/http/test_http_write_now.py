"""What a handler sends leaves at once where the system takes it, and waits its turn where not."""

import socket

import anyio
import anyio.lowlevel
import pytest

from mcpcore import Context, Server
from mcpcore_transports.http.client.client import write_some
from tests.transports.http.test_http_backpressure import events
from tests.transports.http_fixture import tool
from tests.transports.raw_site import served
from tests.transports.ways import anyio_backend as anyio_backend
from tests.transports.ways import on_this_way

pytestmark = pytest.mark.anyio

PROGRESS = {"progressToken": "p"}


async def test_events_leave_without_a_turn_of_the_event_loop(
    anyio_backend: tuple[str, dict[str, object]],
) -> None:
    server = Server("telling")
    turns = 0

    @server.tool
    async def steps(context: Context) -> int:
        """Tell four steps."""
        before = turns
        for number in range(1, 5):
            context.progress(number)
            await context.drained()
        return turns - before

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with served(server) as site, anyio.create_task_group() as group:
        group.start_soon(count)
        client = await site.connect()
        await client.send(tool("steps", meta=PROGRESS))
        found = events((await client.response()).body)
        group.cancel_scope.cancel()
    assert [each["params"]["progress"] for each in found[:-1]] == [1, 2, 3, 4]
    waits = anyio_backend[1] and on_this_way(None).driver == "anyio"  # the socket is uvloop's
    assert waits or found[-1]["result"]["content"][0]["text"] == "0"


@pytest.mark.parametrize("plain", [True, False])
async def test_events_that_are_ready_together_leave_in_one_write(*, plain: bool) -> None:
    """All that is taken for a stream at once is one chunk, which is written as a whole."""
    server = Server("telling")
    many = 200

    def tell(context: Context) -> str:
        """Tell all steps, and wait for nothing."""
        for number in range(1, many + 1):
            context.progress(number, many)
        return "told"

    async def tell_in_task(context: Context) -> str:
        """Tell them in a task."""
        return tell(context)

    server.add_tool(tell if plain else tell_in_task, "steps", description="Tell.")
    async with served(server) as site:
        client = await site.connect()
        await client.send(tool("steps", meta=PROGRESS))
        assert (await client.head()).headers["transfer-encoding"] == "chunked"
        found = events(await client.chunk())
        assert [each["params"]["progress"] for each in found[:-1]] == list(range(1, many + 1))
        assert found[-1]["result"]["content"][0]["text"] == "told"
        assert await client.chunk() == b""  # nothing else was on its way


async def test_what_is_larger_than_the_system_takes_is_written_to_its_end() -> None:
    server = Server("telling")

    @server.tool
    async def steps(context: Context) -> str:
        """Tell much at once, and little behind it."""
        for number in range(1, 40):
            context.progress(number, message="x" * (500_000 if number % 2 else 10))
            await context.drained()
        return "told"

    async with served(server) as site:
        client = await site.connect()
        await client.send(tool("steps", meta=PROGRESS))
        found = events((await client.response()).body)
        assert [each["params"]["progress"] for each in found[:-1]] == list(range(1, 40))
        assert (await client.call(tool("steps"))).result == "told"  # the connection is as before


def test_a_socket_says_how_much_it_takes_and_nothing_once_it_is_closed() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX if hasattr(socket, "AF_UNIX") else -1)
    with theirs, ours:
        ours.setblocking(False)
        assert write_some(ours, b"whole") == 5
        assert theirs.recv(10) == b"whole"
        taken = 0
        while (some := write_some(ours, bytes(100_000))) == 100_000:
            taken += some
        assert 0 <= some < 100_000
        assert write_some(ours, bytes(100_000)) == 0
        ours.close()
        assert write_some(ours, b"late") == 0
        assert taken > 0
