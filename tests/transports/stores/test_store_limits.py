"""What a session may have open at all workers together, and what a store has lost; real sockets."""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path

import anyio
import pytest
from redis import Redis

from mcpcore import ClientSettings, Context, MemoryStore, Server, ServeSettings, connect
from mcpcore.http.settings import HttpClientSettings, HttpSettings
from mcpcore.http.storing import SessionSave, Step
from mcpcore_transports.stores.base import StepOutcome, StoreSettings
from tests.clock import patience
from tests.transports.http_fixture import Client, http, initialize, legacy
from tests.transports.redis_server import redis_server
from tests.transports.served import served
from tests.transports.serving import kill, serving

pytestmark = pytest.mark.anyio

LISTEN = {"Accept": "text/event-stream"}
SHORT = "lease=8&renew=0.5"
"""Soon over, and yet not where a machine stands still for some seconds."""


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store whose workers are soon missed."""
    if request.param == "redis":
        with redis_server() as redis:
            yield f"{redis.url}&{SHORT}"
    else:
        place = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'store.db'}"
        yield f"{place}?{SHORT}"


class Pair:
    """Two workers, and raw clients of them."""

    def __init__(self, ports: list[int], stack: AsyncExitStack) -> None:
        self.ports = ports
        self._stack = stack

    async def connect(self, worker: int) -> Client:
        """A connection to one of them."""
        stream = await anyio.connect_tcp("127.0.0.1", self.ports[worker])
        return Client(await self._stack.enter_async_context(stream))

    async def listen(self, worker: int, session: str) -> int:
        """Ask for a GET stream; give the status, and keep it open."""
        client = await self.connect(worker)
        await client.send(http(method="GET", headers={**LISTEN, "Mcp-Session-Id": session}))
        return (await client.head()).status

    async def call(self, worker: int, session: str, id: int, tool: str = "wait") -> Client:
        """Call a tool; give the connection on which the answer comes."""
        client = await self.connect(worker)
        await client.send(legacy("tools/call", {"name": tool}, id=id, session=session))
        return client


def make_server(going: list[str], go_on: anyio.Event) -> Server:
    server = Server("limited")

    @server.tool
    async def wait(context: Context) -> str:
        going.append(str(context.request_id))
        await go_on.wait()
        return "waited"

    return server


@pytest.mark.long
async def test_what_a_killed_worker_had_is_free_again(url: str) -> None:
    if url.startswith("memory:"):
        pytest.skip("it dies with its process")
    async with (
        serving("--http", "127.0.0.1:0", "--store", url) as one,
        serving("--http", "127.0.0.1:0", "--store", url) as other,
        AsyncExitStack() as clients,
    ):
        two = Pair([one.port, other.port], clients)
        session = await initialize(await two.connect(1))
        assert [await two.listen(0, session) for _ in range(16)] == [200] * 16
        assert await two.listen(1, session) == 409
        kill(one.process.pid)
        with patience():
            while await two.listen(1, session) == 409:  # noqa: ASYNC110 - nobody tells of it
                await anyio.sleep(0.1)
        assert [await two.listen(1, session) for _ in range(16)] == [200] * 15 + [409]


# Sessions that have to go


async def used(two: Pair, worker: int) -> str:
    """A session that was used."""
    client = await two.connect(worker)
    session = await initialize(client)
    assert (await client.call(legacy("ping", id=1, session=session))).status == 200
    return session


async def status(two: Pair, worker: int, session: str) -> int:
    client = await two.connect(worker)
    return (await client.call(legacy("ping", id=9, session=session))).status


class Counting(MemoryStore):
    """Counts the sessions that were opened."""

    opened = 0
    newest = ""

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[StepOutcome]:
        for step in steps:
            if isinstance(step, SessionSave) and step.record.version == 1:
                self.opened += 1
                self.newest = step.session
        return super().commit(worker, steps, wall)


async def test_our_client_initializes_again_exactly_once() -> None:
    store = Counting(StoreSettings(sessions_per_client=2))
    server = make_server([], anyio.Event())

    @server.tool
    async def steps(context: Context) -> str:
        for number in range(3):
            context.progress(number)
        return "done"

    mine = ClientSettings(http=HttpClientSettings(get_stream=False))
    settings = ServeSettings(store=store, http=HttpSettings(json_delay=0.01))
    async with (
        served(server, settings=settings) as site,
        AsyncExitStack() as clients,
        connect(site.url, revisions=["2025-11-25"], settings=mine) as client,
    ):
        two = Pair([site.port], clients)
        for lost in range(3):
            for _ in range(3):
                assert (await client.call_tool("steps")).text == "done"
            # Whatever is called first, with a stream or without: it meets 404, not 503.
            assert store.opened == 1 + 3 * lost
            ours = store.newest
            for _ in range(2):
                await used(two, 0)
            with patience():  # the server hears of it within a moment
                while await status(two, 0, ours) != 404:
                    await anyio.lowlevel.checkpoint()
    store.close()


# What a store has lost


async def health(client: Client) -> int:
    return (await client.call(http(method="GET", target="/health"))).status


@pytest.mark.long
async def test_a_redis_that_is_away_or_has_lost_everything_is_noticed() -> None:
    with redis_server() as redis:
        async with (
            serving("--http", "127.0.0.1:0", "--store", f"{redis.url}&{SHORT}") as one,
            AsyncExitStack() as clients,
        ):
            client = await Pair([one.port], clients).connect(0)
            session = await initialize(client)
            ping = legacy("ping", id=1, session=session)
            assert (await client.call(ping)).status == 200
            with closing(Redis.from_url(redis.url)) as keys:
                keys.flushall()
            with patience():
                while (await client.call(ping)).status != 404:  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.1)
            assert await health(client) == 200
            redis.kill()
            with patience():
                while await health(client) != 503:  # noqa: ASYNC110 - nobody tells of it
                    await anyio.sleep(0.1)
            assert (await client.call(http(method="GET", target="/health/live"))).status == 200
            redis.start()
            with patience():
                while await health(client) != 200:  # noqa: ASYNC110 - nobody tells of it
                    await anyio.sleep(0.1)
            await initialize(client)
