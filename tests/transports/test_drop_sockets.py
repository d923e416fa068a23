"""Over real sockets: connections that break at any place, servers that are killed and come back.

Client and server together lose nothing and duplicate nothing, whatever the revision.
"""

import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis

from mcpcore.errors import CallFailed, NegotiationError, PeerError
from mcpcore.http.settings import HttpClientSettings
from mcpcore.http.storing import SessionDelete
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from mcpcore_transports.stores.base import open_store
from tests.clock import PATIENCE, patience
from tests.transports.cutproxy import CutProxy, Place, cut_proxy
from tests.transports.redis_server import redis_server
from tests.transports.serving import Serving, kill, serving

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.repeats]

NAMES = [row.name for row in LEGACY_ROWS if row.streamable_http]
every_revision = pytest.mark.parametrize("revision", NAMES)
SETTINGS = ClientSettings(
    # a new server takes its time to start
    http=HttpClientSettings(retry_delay=0.05, min_retry_delay=0.01, max_resumes=12),
    http_link=HttpClientLinkSettings(idle_time=0.0),
)
LINES = 6
"""Log messages of a call: half of them before the connection breaks."""


class Talk:
    """One client, what it has heard, and what became of its calls."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.results: list[str] = []
        self.errors: list[Exception] = []
        self._changed = anyio.Event()

    async def until(self, true: Callable[["Talk"], object]) -> None:
        """Wait until something is true of what was heard and became of the calls."""
        with patience():
            while not true(self):
                await self._changed.wait()

    def _change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _hear(self, line: Any) -> None:
        self.heard.append(line)
        self._change()

    @asynccontextmanager
    async def client(self, port: int, revision: str) -> AsyncIterator[Client]:
        callbacks = Callbacks(log=lambda params: self._hear(params.data))
        url = f"http://127.0.0.1:{port}/mcp"
        async with connect(
            url, revision=revision, callbacks=callbacks, settings=SETTINGS
        ) as client:
            yield client

    async def call(self, client: Client, tool: str, **arguments: Any) -> None:
        try:
            result = await client.call_tool(tool, arguments, timeout=PATIENCE)
        except (CallFailed, PeerError) as error:
            self.errors.append(error)
        else:
            self.results.append(str(getattr(result.content[0], "text", "")))
        self._change()


# Servers that are killed


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a store that survives its servers."""
    if request.param == "redis":
        with redis_server() as redis:
            yield redis.url
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:{Path(folder) / 'store.db'}"


@pytest.fixture
def anyio_backend() -> str:
    """The loop of the client; the servers are processes of their own."""
    return "asyncio"


@asynccontextmanager
async def called(
    store: str, revision: str, places: tuple[Place, ...], talk: Talk, **arguments: Any
) -> AsyncIterator[tuple[Serving, CutProxy, Client]]:
    """A server with a store behind a proxy, and a client that has called it."""
    async with (
        serving("--http", "127.0.0.1:0", "--store", store) as server,
        cut_proxy(server.port, places, b'"tools/call"') as proxy,
        talk.client(proxy.port, revision) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(lambda: talk.call(client, "lines", **arguments))
        yield server, proxy, client


@asynccontextmanager
async def replaced(server: Serving, store: str) -> AsyncIterator[Serving]:
    """Kill a server and start another one in its place."""
    kill(server.process.pid)
    await server.process.wait()
    async with serving("--http", f"127.0.0.1:{server.port}", "--store", store) as next_one:
        yield next_one


@every_revision
async def test_an_answer_outlives_its_server(revision: str, store: str) -> None:
    """The connection breaks before the answer; by the time of the next there is a new server."""
    talk, places = Talk(), (Place(2), Place(head=0))
    async with called(store, revision, places, talk, count=LINES) as (server, proxy, client):
        with patience():
            await proxy.until(2)  # it has asked again: by now the answer is in the store
        async with replaced(server, store):
            await talk.until(lambda talk: talk.results or talk.errors)
            assert talk.results == ["said"], talk.errors
            assert talk.heard == list(range(LINES))
            await talk.call(client, "lines", count=1)
            assert talk.results == ["said", "said"]


@every_revision
async def test_a_call_whose_server_dies_ends_in_one_error(revision: str, store: str) -> None:
    """What it had said comes exactly once, and the session goes on at the next server."""
    talk = Talk()
    async with called(store, revision, (), talk, count=LINES, wait=600) as (server, _, client):
        await talk.until(lambda talk: len(talk.heard) == LINES)
        async with replaced(server, store):
            await talk.until(lambda talk: talk.results or talk.errors)
            [error] = talk.errors
            assert "gone" in str(error)
            assert talk.heard == list(range(LINES))
            await talk.call(client, "lines", count=1)
            assert talk.results == ["said"]


# Servers that are killed while a session begins


def sessions(store: str) -> list[str]:
    """The ids of the sessions in a store."""
    if store.startswith("sqlite:"):
        path = store.removeprefix("sqlite:").partition("?")[0]
        with closing(sqlite3.connect(path)) as db:
            return [id for (id,) in db.execute("SELECT id FROM sessions")]
    with closing(redis.Redis.from_url(store.partition("&")[0])) as client:
        keys = [key.decode() for key in client.scan_iter("mcpcore:{*}:s")]
    return [key[len("mcpcore:{") : -len("}:s")] for key in keys]


LOST = pytest.mark.parametrize("place", [Place(head=0), Place(0, 5)], ids=repr)


@LOST
async def test_a_server_that_dies_while_a_session_begins(place: Place, store: str) -> None:
    """Whoever connects gets one error, and a session at the next server; what is left goes."""
    store += "&unused=2" if "?" in store else "?unused=2"
    talk, revision = Talk(), NAMES[-1]
    async with (
        serving("--http", "127.0.0.1:0", "--store", store) as server,
        cut_proxy(server.port, (place,), b'"initialize"') as proxy,
    ):
        with pytest.raises(NegotiationError, match="closed the connection"):
            async with talk.client(proxy.port, revision):
                pass
        async with replaced(server, store), talk.client(proxy.port, revision) as client:
            await talk.call(client, "lines", count=1)
            assert talk.results == ["said"]
            with patience():
                while len(sessions(store)) > 1:
                    await talk.call(client, "lines", count=1)
                    await anyio.sleep(0.2)  # time has to pass, which is what is tested
            assert len(sessions(store)) == 1
            assert talk.errors == []


@LOST
async def test_a_server_that_dies_while_a_session_begins_again(place: Place, store: str) -> None:
    """A client whose session was lost asks the next server, until it has one."""
    talk, revision = Talk(), NAMES[-1]
    async with (
        serving("--http", "127.0.0.1:0", "--store", store) as server,
        cut_proxy(server.port, (), b'"initialize"') as proxy,
        talk.client(proxy.port, revision) as client,
        anyio.create_task_group() as group,
    ):
        await talk.call(client, "lines", count=1)
        with closing(open_store(store)) as kept:
            for session in sessions(store):
                delete = SessionDelete(token=1, session=session)
                assert kept.commit("test", [delete], time.time()) == [True]
        async with replaced(server, store) as second:
            proxy.arm((place,))
            group.start_soon(lambda: talk.call(client, "lines", count=1))
            with patience():
                await proxy.until(1)
            async with replaced(second, store):
                await talk.until(lambda talk: len(talk.results) == 2 or talk.errors)
                assert talk.results == ["said", "said"], talk.errors
                # One in use, and at most one of which the client has not heard.
                assert len(sessions(store)) <= 2
