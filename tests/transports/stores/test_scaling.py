"""Several servers with one store behind balancers, as docs/how-to/scaling.md describes them."""

import re
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec import Struct

from mcpcore import Callbacks, Client, ClientSettings, HttpClientLinkSettings, TaskOptions, connect
from mcpcore.errors import CallFailed, PeerError
from mcpcore.spec.types.client_features import ElicitParams
from mcpcore.spec.types.tasks import Task
from mcpcore_transports.server.tasks.stored import WORKER_GONE
from tests.absent import absent
from tests.clock import PATIENCE, patience
from tests.docs.blocks import blocks
from tests.faults.cutting import balanced
from tests.ports import free_port
from tests.transports.redis_server import redis_server
from tests.transports.serving import APP, ROOT, Serving, gone, kill, serving

pytestmark = [pytest.mark.anyio, pytest.mark.long]

DEPLOY = ROOT / "docs" / "deploy"
SESSIONS = 50
CALLS = 20
EACH_ITS_OWN = ClientSettings(http_link=HttpClientLinkSettings(idle_time=0.0))
"""Every request on a connection of its own, so that a balancer spreads them all."""


@pytest.fixture
def anyio_backend() -> str:
    """The loop of the tests; the servers are processes of their own."""
    return "asyncio"


@asynccontextmanager
async def servers(store: str, count: int = 2, app: str = APP) -> AsyncIterator[list[Serving]]:
    """Run servers with a store in common."""
    if count == 0:
        yield []
        return
    async with (
        serving("--http", "127.0.0.1:0", "--store", store, app=app) as first,
        servers(store, count - 1, app) as others,
    ):
        yield [first, *others]


class Said(Struct):
    """What was heard of one call, and what became of it."""

    heard: list[str | None] = []
    results: list[str] = []
    errors: list[Exception] = []

    @property
    def ran(self) -> int:
        """The process that runs it, as its progress says."""
        return int(str(self.heard[0]).split()[-1])


class Crowd:
    """Clients with a session each, whose tools ask who they are; what comes of their calls.

    Call number ``pause`` of each is answered only when all sessions have come so far, and
    ``go_on`` is set.
    """

    def __init__(self, url: str, pause: int | None = None) -> None:
        self.url = url
        self.calls: dict[tuple[int, int], Said] = {}
        self.all_wait = anyio.Event()
        self.go_on = anyio.Event()
        self._pause = pause
        self._waiting = 0

    async def run(self) -> None:
        """All of them, to the end."""
        async with anyio.create_task_group() as group:
            for number in range(SESSIONS):
                group.start_soon(self._session, number)

    async def _session(self, number: int) -> None:
        async def answer(params: ElicitParams) -> dict[str, str]:
            if params.message == f"Who is {self._pause}?":
                self._waiting += 1
                if self._waiting == SESSIONS:
                    self.all_wait.set()
                await self.go_on.wait()
            return {"name": f"user-{number}"}

        async with connect(
            self.url,
            revision="2025-11-25",
            callbacks=Callbacks(elicitation=answer),
            settings=EACH_ITS_OWN,
        ) as client:
            for call in range(CALLS):
                said = self.calls[number, call] = Said()
                await self._call(client, call, said)

    async def _call(self, client: Client, call: int, said: Said) -> None:
        try:
            result = await client.call_tool(
                "greet",
                {"number": call},
                timeout=PATIENCE,
                progress=lambda value, total, message: said.heard.append(message),
            )
        except (CallFailed, PeerError) as error:
            said.errors.append(error)
        else:
            said.results.append(result.text)

    def check(self, lost: Collection[tuple[int, int]] = ()) -> None:
        """All but the ``lost`` calls were answered, and each message came exactly once."""
        assert len(self.calls) == SESSIONS * CALLS
        assert {place: said.errors for place, said in self.calls.items() if said.errors}.keys() == {
            *lost
        }
        for (number, call), said in self.calls.items():
            if (number, call) in lost:
                [error] = said.errors
                assert "is gone" in str(error)
                assert said.results == []
                assert said.heard == [f"before {call} in {said.ran}"]
            else:
                assert said.results == [f"user-{number} {call}"]
                assert said.heard == [
                    f"{when} {call} in {said.ran}" for when in ("before", "after")
                ]


@pytest.fixture(params=["redis", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store that processes can share."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'store.db'}"
    else:
        with redis_server() as redis:
            yield redis.url


async def test_sessions_are_served_by_all_without_stickiness(store: str) -> None:
    async with servers(store) as (one, two), balanced([one.port, two.port]) as balancer:
        crowd = Crowd(balancer.url)
        await crowd.run()
    crowd.check()
    assert {said.ran for said in crowd.calls.values()} == {one.process.pid, two.process.pid}
    assert min(balancer.taken.values()) > SESSIONS * CALLS / 2


@asynccontextmanager
async def apart(store: str) -> AsyncIterator[str]:
    """Two servers behind a balancer; yields its URL."""
    async with servers(store) as (one, two), balanced([one.port, two.port]) as balancer:
        yield balancer.url


@asynccontextmanager
async def together(store: str) -> AsyncIterator[str]:
    """One server of two workers; yields its URL."""
    async with serving("--http", "127.0.0.1:0", "--workers", "2", "--store", store) as served:
        yield served.url


@pytest.mark.turns("store")
@pytest.mark.parametrize("site", [apart, together])
async def test_sessions_go_on_when_a_process_is_killed(
    site: Callable[[str], AbstractAsyncContextManager[str]], store: str
) -> None:
    async with site(store) as url:
        crowd = Crowd(url, pause=CALLS // 2)
        async with anyio.create_task_group() as group:
            group.start_soon(crowd.run)
            await crowd.all_wait.wait()
            running = {place: said.ran for place, said in crowd.calls.items() if not said.results}
            assert len(running) == SESSIONS
            [(victim, count)] = Counter(running.values()).most_common(1)
            kill(victim)
            await gone(victim)
            crowd.go_on.set()
    # What ran in the process that died ends in one clear error each, and everything else goes on.
    lost = [place for place, pid in running.items() if pid == victim]
    assert 0 < len(lost) == count
    crowd.check(lost)


@asynccontextmanager
async def nginx(ports: list[int], folder: Path) -> AsyncIterator[str]:
    """Run nginx with the configuration of the page; yields its URL."""
    async with nginx_with(*configured("nginx", ports), folder) as url:
        yield url


@asynccontextmanager
async def nginx_with(port: int, config: str, folder: Path) -> AsyncIterator[str]:
    """Run nginx with a configuration by which it listens on ``port``; yields its URL."""
    (folder / "logs").mkdir()
    temp = "\n".join(
        f"{each}_temp_path {folder}/{each};"
        for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr;\nevents {{}}\n"
        f"http {{ access_log off; {temp}\n{config}\n}}\n"
    )
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    async with balancing(command, port) as url:
        yield url


@asynccontextmanager
async def haproxy(ports: list[int], folder: Path) -> AsyncIterator[str]:
    """Run HAProxy with the configuration of the page; yields its URL."""
    port, config = configured("haproxy", ports)
    (folder / "haproxy.cfg").write_text(config)
    async with balancing(["haproxy", "-f", str(folder / "haproxy.cfg")], port) as url:
        yield url


def configured(kind: str, ports: list[int]) -> tuple[int, str]:
    """The configuration of the page with ports of our own; and the one on which it listens."""
    page = ROOT / "docs" / "how-to" / "scaling.md"
    [text] = [each.text for each in blocks(page) if each.kind == kind]
    port = free_port()
    for given, own in (("8001", ports[0]), ("8002", ports[1]), ("8080", port)):
        assert re.search(rf":{given}\b", text)
        text = re.sub(rf":{given}\b", f":{own}", text)
    return port, text


@asynccontextmanager
async def balancing(command: list[str], port: int) -> AsyncIterator[str]:
    """Run a balancer until it takes connections."""
    found = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin")
    if found is None:
        absent(command[0])
    async with await anyio.open_process([found, *command[1:]], stderr=sys.stderr) as process:
        try:
            with patience():
                while True:
                    try:
                        async with await anyio.connect_tcp("127.0.0.1", port):
                            break
                    except OSError:
                        assert process.returncode is None, "it has ended"
                        await anyio.sleep(0.05)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()


BALANCERS: dict[str, Callable[[list[int], Path], AbstractAsyncContextManager[str]]] = {
    "nginx": nginx,
    "haproxy": haproxy,
}


@pytest.mark.parametrize("kind", BALANCERS)
async def test_balancers_configured_as_the_page_says(kind: str, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'store.db'}"
    folder = tmp_path / kind
    folder.mkdir()
    async with (
        servers(store) as (one, two),
        BALANCERS[kind]([one.port, two.port], folder) as url,
    ):
        crowd = Crowd(url)
        await crowd.run()
        crowd.check()
        async with connect(url, revision="2026-07-28") as client:
            first = anyio.Event()
            done: list[str] = []

            async def wait() -> None:
                result = await client.call_tool(
                    "wait", {"seconds": 1.0}, progress=lambda *_: first.set()
                )
                done.append(result.text)

            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await first.wait()  # it is passed on while the request runs
                assert done == []
        assert done == ["waited"]


@asynccontextmanager
async def nginx_as_shipped(ports: list[int], folder: Path) -> AsyncIterator[str]:
    """Run nginx with the file for containers, before servers of this machine; yields its URL."""
    port, config = free_port(), (DEPLOY / "nginx.conf").read_text()
    places = zip(("one:8000", "two:8000", "8080"), (*ports, port), strict=True)
    for given, own in places:
        assert config.count(given) == 1
        config = config.replace(given, f"127.0.0.1:{own}")
    async with nginx_with(port, config, folder) as url:
        yield url


class Callers:
    """Clients that call the tool ``pid`` until they are told to ``stop``; what came of it."""

    def __init__(self, url: str, revisions: Sequence[str], count: int = 4) -> None:
        self.said = Counter[str]()
        self._url = url
        self._revisions = [revisions[each % len(revisions)] for each in range(count)]
        self._over = anyio.Event()
        self._ended = anyio.Event()

    async def run(self) -> None:
        """All of them, to the end."""
        async with anyio.create_task_group() as group:
            for revision in self._revisions:
                group.start_soon(self._call, revision)
        self._ended.set()

    async def _call(self, revision: str) -> None:
        async with connect(self._url, revision=revision) as client:
            while not self._over.is_set():
                try:
                    self.said[(await client.call_tool("pid", timeout=PATIENCE)).text] += 1
                except (CallFailed, PeerError) as error:
                    self.said[str(error)] += 1
                await anyio.sleep(0.02)

    async def more(self, count: int = 50) -> None:
        """Wait for so many more calls."""
        until = self.said.total() + count
        with patience():
            while self.said.total() < until:  # noqa: ASYNC110 - an event for each call is no less
                await anyio.sleep(0.02)

    async def stop(self) -> None:
        """Wait for their end."""
        self._over.set()
        await self._ended.wait()


@pytest.mark.parametrize("stored", [False, True])
async def test_nobody_notices_a_rolling_restart_behind_nginx(stored: bool, tmp_path: Path) -> None:
    """... nor do the sessions of the legacy era, which the processes have in a store."""
    ports = [free_port(), free_port()]
    revisions = ("2026-07-28", "2025-11-25") if stored else ("2026-07-28",)
    async with nginx_as_shipped(ports, tmp_path) as url, AsyncExitStack() as stack:
        store = stack.enter_context(redis_server()).url if stored else None

        def started(port: int) -> AbstractAsyncContextManager[Serving]:
            words = ("--config", str(DEPLOY / "server.toml"), "--notice", "0.5")
            host = "127.0.0.1"  # nginx passes it on without the port
            shared = () if store is None else ("--store", store)
            return serving(*words, *shared, "--allow-host", host, "--http", f"{host}:{port}")

        async def end(one: Serving) -> None:
            await callers.more()
            one.process.terminate()
            assert await one.ended() == 0
            await callers.more()  # nginx finds nobody there

        callers = Callers(url, revisions)
        async with (
            started(ports[0]) as one,
            started(ports[1]) as two,
            anyio.create_task_group() as group,
        ):
            group.start_soon(callers.run)
            await end(one)
            async with started(ports[0]) as three:
                await end(two)
                async with started(ports[1]) as four:
                    await callers.more()
                    await callers.stop()
    assert {*callers.said} == {str(each.process.pid) for each in (one, two, three, four)}


async def test_tasks_are_served_by_all_and_fail_with_the_process_that_runs_them(
    store: str,
) -> None:
    settings = ClientSettings(tasks=TaskOptions())
    url = f"{store}{'&' if '?' in store else '?'}lease=1&renew=0.2"
    async with (
        servers(url, app="tests.transports.tasks.task_app:server") as both,
        connect(both[0].url, revision="2026-07-28", settings=settings) as one,
        connect(both[1].url, revision="2026-07-28", settings=settings) as two,
    ):
        short, other, endless = [
            await one.tasks.start("wait", {"seconds": seconds}) for seconds in (0.3, 3600, 3600)
        ]
        assert isinstance(short, Task)
        assert isinstance(other, Task)
        assert isinstance(endless, Task)
        assert (await two.tasks.wait(short)).text == "waited"
        await two.tasks.cancel(other.task_id)
        assert (await one.tasks.get(other.task_id)).status == "cancelled"
        assert (await two.tasks.get(endless.task_id)).status == "working"
        kill(both[0].process.pid)
        with patience(), pytest.raises(PeerError, match=WORKER_GONE):
            await two.tasks.wait(endless)
