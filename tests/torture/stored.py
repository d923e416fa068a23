"""Stores under torture: nothing is kept beyond its time."""

import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from msgspec import Raw

from mcpcore.errors import StoreUnavailableError
from mcpcore.http.storing import (
    Announcements,
    SessionDelete,
    SessionRecord,
    SessionSave,
    StoreFailure,
)
from mcpcore_transports.http.server.host import HttpHost
from mcpcore_transports.stores.base import Store, StoreSettings
from mcpcore_transports.stores.sqlite import MemoryStore, SqliteStore
from tests.faults.allowed import REMEMBERED
from tests.faults.holdings import more, rows
from tests.torture.functions import Fallible
from tests.torture.points import unwatched
from tests.torture.stages import Stage, network
from tests.transports.redis_server import redis_server

SPAN = 4 * StoreSettings().absolute
"""Seconds in which the time of everything is over that a server or a store keeps."""
SERVING = frozenset(
    {
        *("MemoryStore._renewed", "RedisStore._here", "SqliteStore._renewed"),
        "Server._watchers",
        *("TaskHost._workers", "TaskHost._working"),
    }
)
"""Where a server that serves stands itself, from its first request on where it is an ASGI
application; and tasks at work, which go on without the client that has begun them."""
_NOBODY = "nobody"
"""A worker that comes by when everybody has gone."""


class Ahead:
    """Time that can be made to pass."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ahead = 0.0

    def __call__(self) -> float:
        return self._now() + self._ahead

    def pass_by(self) -> float:
        """Let the time of everything be over."""
        self._ahead += SPAN
        return self()


class Stored:
    """A store of one run, which ``make`` opens; ``contents`` counts what is in it."""

    def __init__(
        self, make: Callable[[Ahead], Store], contents: Callable[[Any], Counter[str]]
    ) -> None:
        self._workers = Ahead(time.time)
        self._wall = Ahead(time.time)
        self.store = make(self._workers)
        self._contents = contents
        with unwatched():
            self._before = contents(self.store)

    def sweep(self) -> list[str]:
        """Come by long after, as a worker does whose clients begin and end a session."""
        wall = self._wall.pass_by()
        record = SessionRecord(
            id="n", revision="2025-11-25", capabilities=Raw(b"{}"), created=wall, owner="n"
        )
        steps = (
            SessionSave(token=1, session="n", record=record),
            SessionDelete(token=2, session="n"),
            Announcements(token=3, session="", since=0.0),
        )
        with unwatched():
            outcomes = [each for step in steps for each in self.store.commit(_NOBODY, [step], wall)]
            self.store.leave(_NOBODY)
        return [each.reason for each in outcomes if isinstance(each, StoreFailure)]

    def left(self) -> list[str]:
        """What is still there long after everybody has gone."""
        self._workers.pass_by()
        with unwatched():
            return self.sweep() or more(self._contents(self.store), self._before, REMEMBERED)


def lapse(standing: list[Any], servers: Ahead) -> None:
    """Let the time of everything be over that servers keep for a time."""
    later = servers.pass_by()
    for each in standing:
        if isinstance(each, HttpHost):
            each.machine.handle_timeout(later)
            each.flush_soon()


@asynccontextmanager
async def _served(stage: Stage, stored: Stored, offered: Any = None) -> AsyncIterator[None]:
    """Serve with a store, or with what is ``offered`` in its place."""
    stage.come_back = stored.sweep
    store = stored.store if offered is None else offered
    async with network("http", store=store, store_link=stage.store_link())(stage):
        yield
    await stage.until("stored", stored.left)


@asynccontextmanager
async def _served_by_sqlite(
    stage: Stage,
    make: Callable[[Ahead], Store],
    contents: Callable[[Any], Counter[str]],
    offer: Callable[[Store], Any] = lambda store: store,
) -> AsyncIterator[None]:
    try:
        stored = Stored(make, contents)
    except StoreUnavailableError as error:
        stage.failure = error
        yield
        return
    with closing(stored.store):
        async with _served(stage, stored, offer(stored.store)):
            yield


@asynccontextmanager
async def stored_in_memory(stage: Stage) -> AsyncIterator[None]:
    async with _served_by_sqlite(
        stage,
        lambda workers: MemoryStore(clock=workers),
        lambda store: rows(store._db),
        lambda store: Fallible(store, "store"),
    ):
        yield


@asynccontextmanager
async def stored_in_sqlite(stage: Stage) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory(prefix="mcp-") as room:
        path = Path(room, "store.db")

        def contents(store: Any) -> Counter[str]:
            with closing(sqlite3.connect(path)) as db:
                return rows(db)

        async with _served_by_sqlite(
            stage, lambda workers: SqliteStore(path, clock=workers), contents
        ):
            yield


@asynccontextmanager
async def stored_in_redis(stage: Stage) -> AsyncIterator[None]:
    import redis  # an extra

    from mcpcore_transports.stores.redis import RedisStore

    with redis_server() as server, closing(redis.Redis.from_url(server.url)) as db:

        def keys(store: Any) -> Counter[str]:
            """Those without an end, and the members of those that live for as long as anybody."""
            found: Counter[str] = Counter()
            for key in db.scan_iter():
                name = key.decode().rpartition("}:")[2]
                kind = db.type(key)
                if not -1 < db.pttl(key) <= SPAN * 1000 and db.exists(key):
                    found[f"{name} for ever"] += 1
                elif kind == b"zset" and b"{workers}" in key and not name.startswith("held"):
                    found[name] += db.zcard(key)
                elif kind == b"hash" and b"{workers}" in key:
                    found[name] += db.hlen(key)
            return found

        try:
            stored = Stored(lambda workers: RedisStore(server.url, clock=workers), keys)
        except OSError as error:  # its scripts cannot be read
            stage.failure = error
            yield
            return
        with closing(stored.store):
            async with _served(stage, stored):
                yield
