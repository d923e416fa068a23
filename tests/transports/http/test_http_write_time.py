"""A client that takes nothing has ``write_time``, whatever its connection is at meanwhile.

Over real sockets with small buffers, on every driver.
"""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream
from msgspec import structs

from mcpcore import HttpRequest, HttpServerSettings, client_tls, server_tls
from mcpcore.engine.events import RequestReceived
from mcpcore.http.principals import Principal, Verdict
from mcpcore_transports.sockets.unix import listen_unix
from tests.clock import HOUR, Clock, arrived, turns, until
from tests.transports.certificates import papers
from tests.transports.http.key_updates import KeyUpdates, agree
from tests.transports.http_fixture import (
    Client,
    Running,
    Tools,
    link_for,
    server,
    tool,
)
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio

LONG = 9 * HOUR
PATIENT = HttpServerSettings(
    write_time=HOUR,
    head_time=LONG,
    body_time=LONG,
    body_grace=LONG,
    idle_time=LONG,
    authenticate_time=LONG,
)
LARGE = 60_000
"""Of a reply that waits for the next, if its request is there: two are too much for the system."""
FIRST = tool("big", size=LARGE) * 2
SECOND = tool("echo", id=2, headers={"Slow": "1"})
HEAD, _, BODY = SECOND.partition(b"\r\n\r\n")
CUT = len(HEAD) + 4 + len(BODY) // 2
CHUNKED = SECOND[: len(HEAD)].replace(
    b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked"
) + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


class Gate:
    """Finds out who sends a request: late, where the request says so."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.opened = anyio.Event()

    def __call__(self, request: HttpRequest) -> Verdict | Awaitable[Verdict]:
        return self._wait() if dict(request.headers).get(b"slow") else Principal("ann")

    async def _wait(self) -> Verdict:
        self.asked.set()
        await self.opened.wait()
        return Principal("ann")


async def only_left(running: Running, count: int) -> None:
    await until(lambda: running.link.connections <= count)


async def is_taken(client: Client, app: Tools) -> bool:
    """Whether a request with a large reply is read."""

    def requests() -> int:
        return sum(isinstance(event, RequestReceived) for event in app.events)

    before = requests()
    await client.send(tool("big", size=20_000))
    await turns()
    return requests() > before


ORDERS: dict[str, tuple[bytes, bytes]] = {
    # what comes first, and what comes when nothing more can be written
    "the rest of a body": (FIRST + SECOND[:CUT], SECOND[CUT:]),
    "a body in chunks": (FIRST + CHUNKED[:-9], CHUNKED[-9:]),
    "a body that never ends": (FIRST + SECOND[:CUT], b""),
    "the rest of a head": (FIRST + SECOND[:20], SECOND[20:]),
    "nothing, it was there before": (FIRST + SECOND, b""),
    "another request": (FIRST, SECOND),
}


@pytest.mark.parametrize("name", ORDERS)
async def test_what_comes_meanwhile_gives_no_more_time(name: str, clock: Clock) -> None:
    before, behind = ORDERS[name]
    async with server(PATIENT) as running:
        client = await running.connect(narrow=True)
        await client.send(before)
        await running.app.until(lambda: running.app.events)
        await clock.skip(0.6 * HOUR)
        await client.send(behind)
        await arrived(client.stream)
        await clock.skip(0.6 * HOUR)
        await only_left(running, 0)
        assert running.machine.exchanges == 0


@pytest.mark.parametrize("offered", [False, True])
async def test_finding_out_who_asks_gives_no_more_time(offered: bool, clock: Clock) -> None:
    async def upgrade(stream: ByteStream, request: HttpRequest, rest: bytes) -> bool:
        return False

    gate = Gate()
    settings = structs.replace(PATIENT, authenticate=gate)
    async with server(settings, upgrade=upgrade) as running:
        client = await running.connect(narrow=True)
        lines = b"\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n" if offered else b"\r\n"
        await client.send(FIRST + SECOND.replace(b"\r\n", lines, 1))
        await running.app.until(lambda: running.app.events)
        await clock.skip(0.6 * HOUR)
        gate.opened.set()  # another driver asks when the first reply is out
        await clock.skip(0.6 * HOUR)
        await only_left(running, 0)
        assert running.machine.exchanges == 0


async def test_who_has_taken_everything_has_its_time_again(clock: Clock) -> None:
    gate = Gate()
    async with server(structs.replace(PATIENT, authenticate=gate)) as running:
        asking, sending = [await running.connect(narrow=True) for _ in range(2)]
        quick = tool("echo", id=2)
        await asking.send(FIRST + SECOND)
        await sending.send(FIRST + quick[:-10])
        for client in (asking, asking, sending, sending):
            assert len((await client.response()).result) == LARGE
        await gate.asked.wait()
        await clock.skip(2 * HOUR)
        gate.opened.set()
        await sending.send(quick[-10:])
        for client in (asking, sending):
            assert (await client.response()).json["id"] == 2


async def test_a_head_has_its_own_time_again(clock: Clock) -> None:
    settings = structs.replace(PATIENT, head_time=HOUR, write_time=LONG)
    async with server(settings) as running:
        client = await running.connect(narrow=True)
        await client.send(FIRST + SECOND[:20])
        for _ in range(2):
            assert len((await client.response()).result) == LARGE
        await clock.skip(HOUR)
        response = await client.response()
        assert (response.status, "head" in response.json["error"]["message"]) == (408, True)
        assert await client.closed()


async def test_asking_whether_a_client_still_listens_has_the_same_time(
    tmp_path: Path, clock: Clock
) -> None:
    """It takes nothing and sends no more.

    How many replies a Unix socket has room for is not told, but it is the same number each time:
    one of the connections has all of them there and no room for the question.
    """
    async with server(PATIENT) as running, anyio.create_task_group() as tasks:
        app, path = running.app, tmp_path / "http.sock"
        app.link = link = link_for(running.machine, app, PATIENT)
        await tasks.start(link.serve_listeners, [(await listen_unix(str(path))).listener])
        count, room = 0, True
        while room:
            client = Client(await anyio.connect_unix(path))
            running.clients.append(client)
            for _ in range(count):
                room = await is_taken(client, app)
                if not room:
                    break
            else:
                await client.send(tool("wait"))
                await client.stream.send_eof()
            count += 1
        await clock.skip_until(lambda: app.cancelled)
        while app.waiting:
            if (key := app.waiting.pop()) not in app.cancelled:
                app.finish(key)
        await clock.skip_until(lambda: not link.connections)
        await link.aclose()
        assert (link.connections, running.machine.exchanges) == (0, 0)


@asynccontextmanager
async def asking_for_keys(tmp_path: Path) -> AsyncIterator[tuple[Running, Client, KeyUpdates]]:
    settings = HttpServerSettings(write_time=LONG, head_time=LONG)
    async with server(settings, ssl_context=server_tls(papers().server)) as running:
        client = await running.connect(narrow=True)
        trusting = client_tls(ca=papers().trusted.file)
        yield running, client, await agree(client.stream, trusting, tmp_path / "keys")


async def test_new_keys_may_be_asked_for(tmp_path: Path) -> None:
    async with asking_for_keys(tmp_path) as (running, client, updates):
        for _ in range(10):
            await client.send(updates.make(10))
        await client.send(updates.end(tool("echo")))
        await running.app.until(lambda: running.app.events)
        assert len(running.app.events) == 1


async def ask_again_and_again(client: Client, updates: KeyUpdates) -> None:
    for _ in range(300):
        await client.send(updates.make(100))


@pytest.mark.parametrize("anyio_backend", ["protocol", "speed"], indirect=True)
async def test_new_keys_that_are_asked_for_and_not_taken_are_bounded(tmp_path: Path) -> None:
    """TLS answers each by itself.  Streams of anyio read on only when that is written."""
    async with asking_for_keys(tmp_path) as (running, client, updates):
        with pytest.raises(anyio.BrokenResourceError):
            await ask_again_and_again(client, updates)
        await only_left(running, 0)
