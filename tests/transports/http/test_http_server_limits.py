"""Every limit of the HTTP server, over real sockets: what crosses one is answered, and no more."""

import contextlib
import socket

import anyio
import anyio.lowlevel
import pytest

from mcpcore_transports.http1.settings import HttpServerSettings
from tests.clock import HOUR, PATIENCE, Clock, arrived, patience, until
from tests.transports.http_fixture import Client, http, server, tool
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio

SHORT = 0.05
"""For what is over by it, however late that is."""
CODES = {408: -32001, 413: -32003, 503: -32000}
"""What our own errors are called where the revision is not known, or is a legacy one."""


async def refused(client: Client, status: int, code: int | None = None) -> str:
    """The client is refused, told why, and sees the end; returns what it is told."""
    response = await client.response()
    assert response.status == status
    assert response.headers["connection"] == "close"
    error = response.json["error"]
    assert error["code"] == (code or CODES.get(status, -32600))
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers.get("retry-after") == ("1" if status == 503 else None)
    assert response.json.get("id") is None
    assert await client.closed()
    await client.aclose()
    return str(error["message"])


async def send_empty_line(client: Client) -> None:
    """In two pieces."""
    for piece in (b"\r", b"\n"):
        await client.send(piece)
        await arrived(client.stream)


async def test_an_empty_line_begins_no_head(clock: Clock) -> None:
    async with server(HttpServerSettings(head_time=HOUR, idle_time=3 * HOUR)) as running:
        client = await running.connect()
        assert (await client.call(tool("echo"))).status == 200
        await send_empty_line(client)
        await clock.skip(3 * HOUR)
        assert await client.closed()


async def test_a_late_head_is_not_blamed_for_a_stream_that_is_not_read(clock: Clock) -> None:
    async with server(HttpServerSettings(write_time=HOUR)) as running:
        client = await running.connect(narrow=True)
        request = tool("wait", meta={"progressToken": 1})
        for _ in range(2):  # so that its head is known
            await client.send(request)
            await running.app.until(lambda: running.app.waiting)
            running.app.finish(running.app.waiting.pop())
            assert (await client.response()).status == 200
        await send_empty_line(client)
        await client.send(request)
        await running.app.until(lambda: running.app.waiting)
        for step in range(200):
            running.machine.progress(running.app.waiting[0], step + 1, message="m" * 1000)
        running.link.flush_soon()
        await clock.skip_until(lambda: running.app.cancelled)
        assert (await client.rest()).count(b"HTTP/1.1") == 1


async def test_body_that_comes_fast_enough_may_be_longer_than_the_grace(clock: Clock) -> None:
    times = HttpServerSettings(
        body_grace=HOUR, body_rate=1, body_time=9 * HOUR, head_time=HOUR, idle_time=9 * HOUR
    )
    async with server(times) as running:
        client, silent = await running.connect(), await running.connect()
        whole = tool("echo", text="x" * 1000)
        await client.send(whole[:-1])
        await arrived(client.stream)
        await until(lambda: running.link.connections == 2)
        await clock.skip(HOUR + 500)
        assert await silent.closed()  # so that it was looked at what is late
        assert (await client.call(whole[-1:])).status == 200


async def test_running_request_is_not_idle(clock: Clock) -> None:
    times = HttpServerSettings(idle_time=HOUR, head_time=HOUR, body_time=HOUR, write_time=HOUR)
    async with server(times) as running:
        client = await running.connect()
        idle = await running.connect()
        await client.send(tool("wait"))
        await running.app.until(lambda: running.app.waiting)
        await until(lambda: running.link.connections == 2)
        await clock.skip(HOUR)
        assert await idle.closed()  # so much time has passed
        running.app.finish(running.app.waiting.pop())
        assert (await client.response()).result == "late"
        await clock.skip(HOUR)
        assert await client.closed()  # idle now


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
async def test_client_that_does_not_read(late: bool, clock: Clock) -> None:
    async with server(HttpServerSettings(write_time=HOUR)) as running:
        client = await running.connect()
        await client.send(tool("wait") if late else tool("big", size=20_000_000))
        await until(lambda: running.app.events)
        if late:
            running.app.finish(running.app.waiting.pop(), "x" * 20_000_000)
        await clock.skip_until(lambda: not running.link.connections)
        assert not running.machine.exchanges
        assert 0 < len(await client.rest()) < 20_000_000


async def test_connections() -> None:
    async with server(HttpServerSettings(connections=2)) as running:
        first, second = await running.connect(), await running.connect()
        for client in (first, second):
            assert (await client.call(tool("echo"))).status == 200
        for _ in range(3):
            assert "too many connections" in await refused(await running.connect(), 503)
        await first.aclose()
        while True:
            third = await running.connect()
            if (await third.call(http(method="GET", target="/health"))).status == 200:
                break
        assert (await second.call(tool("echo"))).status == 200


async def test_connections_of_one_address() -> None:
    async with server(HttpServerSettings(connections_per_client=2)) as running:
        clients = [await running.connect() for _ in range(2)]
        for client in clients:
            assert (await client.call(tool("echo"))).status == 200
        assert "from your address" in await refused(await running.connect(), 503)
        stream = await anyio.connect_tcp("127.0.0.1", running.port, local_host="127.0.0.2")
        other = Client(stream)
        running.clients.append(other)
        for client in (other, *clients):
            assert (await client.call(tool("echo"))).status == 200
        await clients.pop().aclose()
        while True:
            third = await running.connect()
            if (await third.call(http(method="GET", target="/health"))).status == 200:
                break
        for client in (other, *clients):
            await client.aclose()
        await third.aclose()
        await until(lambda: not running.link.carriers)
        assert not running.link._clients


async def test_refusals_are_bounded_too() -> None:
    async with server(HttpServerSettings(connections=1, turned_away=1)) as running:
        first = await running.connect()
        assert (await first.call(tool("echo"))).status == 200
        second = await running.connect()
        assert (await second.response()).status == 503
        # The second holds the only place for refusals until it leaves.
        third = await running.connect()
        assert await third.closed()
        await second.aclose()


async def test_what_is_read_behind_a_refusal_is_bounded() -> None:
    """By bytes, as here, and by time: the client goes on sending, and never closes."""
    settings = HttpServerSettings(linger_time=PATIENCE * 10, linger_bytes=10)
    async with server(settings) as running:
        client = await running.connect()
        await client.send(b"BAD\r\n\r\n")
        assert (await client.response()).status == 400
        assert await client.closed()
        assert running.link.connections == 1
        with patience(), contextlib.suppress(anyio.BrokenResourceError, OSError):
            while True:
                await client.send(b"x" * 10)
        await until(lambda: not running.link.connections)


async def test_lack_of_descriptors_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    resource = pytest.importorskip("resource")
    async with server() as running:
        client = await running.connect()
        assert (await client.call(tool("echo"))).status == 200
        with socket.socket() as raw:
            raw.setblocking(False)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                raw.connect_ex(("127.0.0.1", running.port))
                while "cannot accept a connection" not in caplog.text:
                    assert (await client.call(tool("echo"))).status == 200
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            raw.send(tool("echo"))
            while running.link.connections < 2:
                assert (await client.call(tool("echo"))).status == 200


async def test_timer_sleeps_when_nobody_is_there() -> None:
    async with server(HttpServerSettings(idle_time=SHORT)) as running:
        client = await running.connect()
        assert (await client.call(tool("echo"))).status == 200
        assert await client.closed()
        await until(lambda: running.link._sweep_at == float("inf"))
