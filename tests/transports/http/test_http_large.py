"""Replies that are larger than what is written at once.

The machine is done with such a reply when its first piece is written; the connection goes on with
the rest, as its client takes it.  Of what a client does meanwhile nothing gets into the reply.
"""

import logging
import math
import socket
import struct

import anyio
import anyio.lowlevel
import pytest

from mcpcore import HttpServerSettings, client_tls, clock, server_tls
from mcpcore_transports.http.server.host import Carrier
from tests.clock import HOUR, PATIENCE, Clock, arrived, patience, until
from tests.transports.certificates import papers
from tests.transports.http_fixture import Client, Running, server, tool
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio

TEXT = "".join(f"{number:07}," for number in range(250_000))
"""2 MB, of which no two pieces are alike."""
PATIENT = HttpServerSettings(linger_time=2 * PATIENCE, write_time=4 * PATIENCE)
KINDS = {"at once": False, "late": True}


@pytest.fixture(params=KINDS)
def late(request: pytest.FixtureRequest) -> bool:
    """The reply is not there yet when the request has been read."""
    return KINDS[request.param]


async def ask(
    running: Running, client: Client, *, late: bool, behind: bytes = b"", small: bool = False
) -> Carrier:
    """Ask for a large reply, of which much waits in the server when this returns.

    ``small``: the request is read together with what is sent behind it, however large the reply.
    Returns the connection at the server.
    """
    app = running.app
    large = tool("big", size=len(TEXT)) if small else tool("echo", text=TEXT)
    request = tool("wait") if late else large
    if late:
        await client.send(request + behind)
        await app.until(lambda: app.waiting)
        assert app.finish(app.waiting.pop(), TEXT)
    else:
        async with anyio.create_task_group() as tasks:  # the server reads only so much ahead
            tasks.start_soon(client.send, request + behind)
    with patience():
        while not (found := [each for each in running.link.carriers if waits(each)]):
            await anyio.lowlevel.checkpoint()
    (carrier,) = found
    return carrier


def waits(carrier: Carrier) -> bool:
    """Its client has to take something, and has all its time for that."""
    return clock() + PATIENT.write_time / 2 < carrier.deadline < math.inf


async def is_whole(client: Client, late: bool, *, small: bool = False) -> None:
    """Read a large reply, by and by."""
    response = await client.response()
    assert response.status == 200
    at_once = "x" * len(TEXT) if small else f'{{"text": "{TEXT}"}}'
    assert response.result == (TEXT if late else at_once)


async def none_left(running: Running) -> None:
    await until(lambda: not running.link.connections)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
async def test_a_slow_reader_gets_every_byte(late: bool, secure: bool) -> None:
    async with server(
        PATIENT, ssl_context=server_tls(papers().server) if secure else None
    ) as running:
        trusting = client_tls(ca=papers().trusted.file) if secure else None
        client = await running.connect(trusting, narrow=True)
        for _ in range(2):
            await ask(running, client, late=late)
            await is_whole(client, late)
        assert (await client.call(tool("echo", id=7))).json["id"] == 7


async def time_passes_by(running: Running) -> int:
    """The server sees to what has come; how many others are served meanwhile."""
    other, count = await running.connect(), 10
    for _ in range(count):
        assert (await other.call(tool("echo"))).status == 200
    return count


async def test_its_client_half_closes_within_it(late: bool) -> None:
    async with server(PATIENT) as running:
        client = await running.connect(narrow=True)
        await ask(running, client, late=late)
        await client.stream.send_eof()
        await time_passes_by(running)
        await is_whole(client, late)
        assert await client.closed()
        assert running.app.cancelled == []


async def test_requests_behind_a_half_close_are_answered(late: bool) -> None:
    async with server(PATIENT) as running:
        client = await running.connect(narrow=True)
        await ask(running, client, late=late, behind=tool("echo", id=2) + tool("echo", id=3))
        await client.stream.send_eof()
        await is_whole(client, late)
        for number in (2, 3):
            assert (await client.response()).json["id"] == number
        assert await client.closed()


async def test_who_is_asked_whether_it_listens_is_not_asked_within_its_reply(clock: Clock) -> None:
    """A client that has finished sending is sent interim responses, until the reply begins."""
    settings = HttpServerSettings(head_time=HOUR, write_time=9 * HOUR, idle_time=9 * HOUR)
    async with server(settings) as running:
        app, client = running.app, await running.connect(narrow=True)
        await client.send(tool("wait") + tool("echo", id=2))
        await app.until(lambda: app.waiting)
        await client.stream.send_eof()
        await arrived(client.stream)
        await clock.skip(HOUR)
        assert (await client.response()).status == 102
        assert app.finish(app.waiting.pop(), TEXT)
        await clock.skip(HOUR)  # the questions are asked within it, if at all
        while (response := await client.response()).status == 102:
            pass
        assert response.result == TEXT
        assert (await client.response()).json["id"] == 2
        assert await client.closed()


async def test_its_client_vanishes_within_it(late: bool, caplog: pytest.LogCaptureFixture) -> None:
    async with server(PATIENT) as running:
        client = await running.connect(narrow=True)
        await ask(running, client, late=late, behind=tool("echo", id=2))
        assert (await client.head()).status == 200
        await client.aclose()
        await none_left(running)
        assert (await (await running.connect()).call(tool("echo"))).status == 200
    assert said(caplog) == []


async def test_its_client_has_vanished_before_it(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be written is not tried again and again."""
    async with server(PATIENT) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as gone:
            gone.sendall(tool("wait"))
            await running.app.until(lambda: running.app.waiting)
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        running.app.finish(running.app.waiting.pop(), TEXT)  # before anything is noticed
        await none_left(running)
    assert said(caplog) == []


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


async def test_the_end_of_the_server_waits_for_it(late: bool) -> None:
    settings = HttpServerSettings(linger_time=2 * PATIENCE, write_time=4 * PATIENCE, drain_time=60)
    async with server(settings) as running, anyio.create_task_group() as tasks:
        client = await running.connect(narrow=True)
        await ask(running, client, late=late)
        ended = anyio.Event()

        async def end() -> None:
            await running.link.aclose()
            ended.set()

        tasks.start_soon(end)
        await until(lambda: running.link.draining)
        await is_whole(client, late)
        assert await client.closed()
        assert not ended.is_set()  # until it sends no more itself
        await client.aclose()
        with patience():
            await ended.wait()


async def test_nothing_begins_behind_it_when_the_server_ends(late: bool) -> None:
    async with server(PATIENT) as running, anyio.create_task_group() as tasks:
        client = await running.connect(narrow=True)
        await ask(running, client, late=late, behind=tool("echo", id=2) * 3, small=True)
        tasks.start_soon(running.link.aclose)
        await until(lambda: running.link.draining)
        await is_whole(client, late, small=True)
        assert await client.closed()
        await client.aclose()
        assert len(running.app.events) == 1


async def test_the_end_of_the_server_does_not_wait_for_ever(late: bool) -> None:
    settings = HttpServerSettings(write_time=4 * PATIENCE, drain_time=0.05)
    async with server(settings) as running:
        client = await running.connect(narrow=True)
        await ask(running, client, late=late)
        with patience():
            await running.link.aclose()
        assert len(await client.rest()) < len(TEXT)
