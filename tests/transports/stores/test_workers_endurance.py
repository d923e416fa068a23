"""Workers that share sessions in Redis and are killed, or ended one by one, while clients call.

``WORKERS_SECONDS`` makes the first run longer.
"""

import os
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskStatus

from mcpcore import CallFailed, LocalError, RetrySettings, connect, retry_requests
from tests.clock import patience
from tests.transports.redis_server import redis_server
from tests.transports.serve.test_workers import pids, text
from tests.transports.serving import gone, serving

APP = "tests.transports.stores.booking_app:server"
ERAS = ("2025-11-25", "2026-07-28")
SECONDS = int(os.environ.get("WORKERS_SECONDS", "8"))
CLIENTS, WORKERS = 4, 3
pytestmark = [pytest.mark.anyio, pytest.mark.long]


@pytest.fixture
def anyio_backend() -> str:
    """The loop of the clients."""
    return "asyncio"


@pytest.fixture
def redis() -> Iterator[str]:
    """The URL of a store."""
    with redis_server() as server:
        yield server.url


@pytest.fixture
def booked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of what was done."""
    path = tmp_path / "booked"
    path.touch()
    monkeypatch.setenv("BOOKED", str(path))
    return path


def children(pid: int) -> set[int]:
    """Return the processes that a process has started."""
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


async def all_there(url: str) -> None:
    """Wait until all workers have answered."""
    with patience():
        while True:
            with suppress(LocalError):  # of a connection that a dead one had accepted
                await pids(url, WORKERS)
                return


class Load:
    """Clients that call without a pause; what they were told of each call."""

    def __init__(self) -> None:
        self.looked = 0
        self.succeeded: set[str] = set()
        self.failed: dict[str, Exception] = {}

    async def run(self, url: str, during: Callable[[], Awaitable[None]]) -> None:
        """Call while ``during`` runs, which begins once all clients are connected."""
        async with anyio.create_task_group() as group:
            for revision in ERAS:
                for place in range(CLIENTS // len(ERAS)):
                    await group.start(self._call, url, revision, f"{revision}/{place}")
            await during()
            self._over = True

    _over = False

    async def _call(
        self, url: str, revision: str, name: str, *, task_status: TaskStatus[None]
    ) -> None:
        retries = RetrySettings(attempts=8, first_delay=0.05, budget_rate=100.0)
        middleware = [retry_requests(retries)]
        number = 0
        async with connect(url, revision=revision, middleware=middleware) as client:
            await client.tools()
            task_status.started()
            while not self._over:
                number += 1
                id = f"{name}/{number}"
                assert await text(client, "look", number=id) == id
                self.looked += 1
                try:
                    assert await text(client, "book", number=id) == id
                except CallFailed as error:
                    self.failed[id] = error
                else:
                    self.succeeded.add(id)

    def unclear(self) -> list[str]:
        """Return the failures that say anything but that a connection was closed."""
        closed = r"tools/call: 127\.0\.0\.1:\d+ closed the connection without a response"
        return [str(e) for e in self.failed.values() if not re.fullmatch(closed, str(e))]

    def check(self, booked: Path) -> None:
        """Show that each call was carried out once at most, and those that succeeded once."""
        done = Counter(booked.read_text().split())
        assert max(done.values()) == 1
        assert self.succeeded <= set(done) <= self.succeeded | set(self.failed)
        assert self.looked >= len(self.succeeded) > 0


@pytest.mark.timeout(900 + 5 * SECONDS)
async def test_a_worker_is_killed_every_second(redis: str, booked: Path, tmp_path: Path) -> None:
    """What may be repeated always succeeds; the rest is answered once, or fails with one error."""
    config = tmp_path / "server.toml"
    config.write_text("[supervision]\nbackoff = 0.1\nlongest_backoff = 0.1\n")
    words = ("--http", "127.0.0.1:0", "--workers", str(WORKERS), "--store", redis)
    load = Load()
    kills = 0
    async with serving(*words, "--config", str(config), app=APP) as served:
        await all_there(served.url)

        async def slaughter() -> None:
            nonlocal kills
            for second in range(SECONDS):
                await anyio.sleep(1)
                os.kill(sorted(children(served.process.pid))[second % WORKERS], signal.SIGKILL)
                kills += 1
                await all_there(served.url)

        await load.run(served.url, slaughter)
    load.check(booked)
    print(f"{kills} kills, {load.looked} reads; {len(load.succeeded)} calls, beside", end=" ")
    print(f"{len(load.failed)} whose connection was closed")
    assert kills == SECONDS
    assert load.unclear() == []


async def test_a_rolling_restart_fails_no_call_that_has_begun(redis: str, booked: Path) -> None:
    words = ("--http", "127.0.0.1:0", "--workers", str(WORKERS), "--store", redis)
    load = Load()
    async with serving(*words, app=APP) as served:
        before = await pids(served.url, WORKERS)

        async def restart() -> None:
            for worker in before:
                os.kill(worker, signal.SIGTERM)
                await gone(worker)
                there = set[int]()
                while len(there) < WORKERS:
                    there = await pids(served.url, WORKERS) - {worker}

        await load.run(served.url, restart)
        assert not before & await pids(served.url, WORKERS)
    load.check(booked)
    # A request may meet the end of a connection that was kept (RFC 9112 section 9.6).
    assert load.unclear() == []
