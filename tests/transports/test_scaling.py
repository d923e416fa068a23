"""Several servers with one store behind balancers, as docs/scaling.md describes them."""

import os
import re
import shutil
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.docs_blocks import blocks
from tests.transports.balancer import balanced
from tests.transports.redis_server import redis_server
from tests.transports.serving import ROOT, Serving, kill, serving
from transports.callbacks import Callbacks
from transports.client import Client, connect
from transports.client_errors import CallFailed, PeerError
from transports.client_open import ClientSettings
from transports.http_settings import HttpClientLinkSettings

pytestmark = [pytest.mark.anyio, pytest.mark.long]

SESSIONS = 50
CALLS = 20
EACH_ITS_OWN = ClientSettings(http_link=HttpClientLinkSettings(idle_time=0.0))
"""Every request on a connection of its own, so that a balancer spreads them all."""


@pytest.fixture
def anyio_backend() -> str:
    """The loop of the tests; the servers are processes of their own."""
    return "asyncio"


@asynccontextmanager
async def servers(store: str, count: int = 2) -> AsyncIterator[list[Serving]]:
    """Run servers with a store in common."""
    if count == 0:
        yield []
        return
    async with (
        serving("--http", "127.0.0.1:0", "--store", store) as first,
        servers(store, count - 1) as others,
    ):
        yield [first, *others]


class Crowd:
    """Clients with a session each, whose tools ask who they are; what comes of their calls."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.done: Counter[int] = Counter()
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self.halfway = anyio.Event()

    async def run(self) -> None:
        """All of them, to the end."""
        async with anyio.create_task_group() as group:
            for number in range(SESSIONS):
                group.start_soon(self._session, number)

    async def _session(self, number: int) -> None:
        callbacks = Callbacks(elicitation=lambda params: {"name": f"user-{number}"})
        async with connect(
            self.url, revision="2025-11-25", callbacks=callbacks, settings=EACH_ITS_OWN
        ) as client:
            for call in range(CALLS):
                await self._call(client, number, call)

    async def _call(self, client: Client, number: int, call: int) -> None:
        heard: list[str | None] = []
        try:
            result = await client.call_tool(
                "greet",
                {"number": call},
                timeout=15,
                progress=lambda value, total, message: heard.append(message),
            )
        except (CallFailed, PeerError) as error:
            self.failed.append(f"{number}/{call}: {error!r}")
            return
        said = getattr(result.content[0], "text", "")
        if said != f"user-{number} {call}" or not set(heard) <= {f"before {call}", f"after {call}"}:
            self.wrong.append(f"{number}/{call}: {said} {heard}")
        self.done[number] += 1
        if self.done.total() == SESSIONS * CALLS // 2:
            self.halfway.set()


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
    assert crowd.failed == []
    assert crowd.wrong == []
    assert crowd.done.total() == SESSIONS * CALLS
    assert min(balancer.taken.values()) > SESSIONS * CALLS / 2


async def test_sessions_go_on_when_a_server_is_killed(store: str) -> None:
    async with servers(store) as (one, two), balanced([one.port, two.port]) as balancer:
        crowd = Crowd(balancer.url)
        async with anyio.create_task_group() as group:
            group.start_soon(crowd.run)
            await crowd.halfway.wait()
            kill(one.process.pid)
    # What ran at the server that died, or was being sent to it, ends in one clear error each.
    assert len(crowd.failed) <= SESSIONS
    assert crowd.wrong == []
    assert crowd.done.total() == SESSIONS * CALLS - len(crowd.failed)
    assert set(crowd.done) == set(range(SESSIONS))
    assert min(crowd.done.values()) >= CALLS - 2


@asynccontextmanager
async def nginx(ports: list[int], folder: Path) -> AsyncIterator[str]:
    """Run nginx with the configuration of the page; yields its URL."""
    port, config = configured("nginx", ports)
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
    [text] = [each.text for each in blocks(ROOT / "docs" / "scaling.md") if each.kind == kind]
    port = free_port()
    for given, own in (("8001", ports[0]), ("8002", ports[1]), ("8080", port)):
        assert re.search(rf":{given}\b", text)
        text = re.sub(rf":{given}\b", f":{own}", text)
    return port, text


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


@asynccontextmanager
async def balancing(command: list[str], port: int) -> AsyncIterator[str]:
    """Run a balancer until it takes connections."""
    found = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin")
    if found is None:
        reason = f"{command[0]} is not installed (make ci-tools installs it)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    async with await anyio.open_process([found, *command[1:]], stderr=sys.stderr) as process:
        try:
            with anyio.fail_after(20):
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
        assert crowd.failed == []
        assert crowd.wrong == []
        async with connect(url, revision="2026-07-28") as client:
            first = anyio.Event()
            done: list[str] = []

            async def wait() -> None:
                result = await client.call_tool(
                    "wait", {"seconds": 1.0}, progress=lambda *_: first.set()
                )
                done.append(getattr(result.content[0], "text", ""))

            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await first.wait()  # it is passed on while the request runs
                assert done == []
        assert done == ["waited"]


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_what_one_server_announces_is_heard_at_the_other(revision: str, store: str) -> None:
    async with (
        servers(store) as (one, two),
        connect(one.url, revision=revision) as listener,
        listener.listen(tools=True) as changes,
        connect(two.url, revision=revision) as other,
    ):
        await other.call_tool("publish")
        with anyio.fail_after(20):
            change = await anext(aiter(changes))
    assert change.method == "notifications/tools/list_changed"
