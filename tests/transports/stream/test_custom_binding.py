"""The binding that docs/how-to/embedding.md shows, in all that the runtime expects of a binding."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from mcpcore.engine.reconnection import Reconnected, ReconnectSettings
from mcpcore.errors import BadTarget, CallFailed, LinkError
from mcpcore.service import Server
from mcpcore_transports.client.cache import EraCache, place_of
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.serve.serve import serve
from mcpcore_transports.targets import describe, parse_target
from tests.clock import patience
from tests.docs.test_embedding_docs import FILES
from tests.transports.served import Endless

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module of the page."""
    path = tmp_path_factory.mktemp("page") / "framed.py"
    path.write_text(FILES["framed.py"])
    spec = importlib.util.spec_from_file_location("framed", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_server() -> Endless:
    server = Endless()

    @server.tool
    def echo(text: str) -> str:
        return text

    return server


@asynccontextmanager
async def serving(
    framed: ModuleType, server: Server, stop: anyio.Event | None = None
) -> AsyncIterator[int]:
    """Serve for the time of a block; yields the port."""
    urls: list[str] = []
    ready, stop = anyio.Event(), stop or anyio.Event()

    async def run() -> None:
        await serve(
            server,
            custom=[framed.listen_framed],
            on_listening=urls.append,
            on_ready=ready.set,
            stop=stop,
        )

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await ready.wait()
        yield int(urls[0].rpartition(":")[2])
        stop.set()


@pytest.mark.requirement("basic/transports/index/custom-format")
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_large_messages_and_many(framed: ModuleType, revision: str) -> None:
    async with (
        serving(framed, make_server()) as port,
        connect(framed.FramedTarget("127.0.0.1", port), revision=revision) as client,
    ):
        assert (await client.call_tool("echo", {"text": "é" * 1_000_000})).text == "é" * 1_000_000
        got: list[str] = []

        async def call(number: int) -> None:
            got.append((await client.call_tool("echo", {"text": str(number)})).text)

        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(call, number)
        assert sorted(got, key=int) == [str(number) for number in range(50)]


async def test_each_message_is_on_the_trace(framed: ModuleType, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    async with (
        serving(framed, make_server()) as port,
        connect(framed.FramedTarget("127.0.0.1", port), trace=trace) as client,
    ):
        await client.call_tool("echo", {"text": "on record"})
    call, answer = (line for line in trace.read_text().splitlines() if "on record" in line)
    assert '"tools/call"' in call
    assert '"result"' in answer


async def test_cancelling_reaches_the_handler(framed: ModuleType) -> None:
    server = make_server()
    async with (
        serving(framed, server) as port,
        connect(framed.FramedTarget("127.0.0.1", port)) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(client.call_tool, "wait")
        await server.started.wait()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True), patience():
            await server.stopped.wait()
    assert server.cancelled == [True]


async def test_a_server_that_stops_ends_its_connections(framed: ModuleType) -> None:
    stop = anyio.Event()
    server = make_server()
    settings = ClientSettings(reconnect=ReconnectSettings(attempts=0))

    async def stop_then() -> None:
        await server.started.wait()
        stop.set()

    async with (
        serving(framed, server, stop) as port,
        connect(framed.FramedTarget("127.0.0.1", port), settings=settings) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(stop_then)
        with pytest.raises(CallFailed):
            await client.call_tool("wait")


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        pytest.param(b"\xff\xff\xff\xff", True, id="too long"),
        pytest.param(b"\0\0\0\0", True, id="empty"),
        pytest.param(b"\0\0\0\x02{", False, id="cut short"),
        pytest.param(b"\0\0\0\x01x", False, id="garbage"),
        pytest.param(b"\0", False, id="half a length"),
    ],
)
async def test_what_one_client_does_wrong_is_its_own_matter(
    framed: ModuleType, data: bytes, ends: bool
) -> None:
    """``ends``: the server hangs up, without waiting for the client to do so."""
    async with (
        serving(framed, make_server()) as port,
        connect(framed.FramedTarget("127.0.0.1", port)) as client,
    ):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(data)
            if not ends:
                await stream.send_eof()
            with patience():
                assert len(b"".join([chunk async for chunk in stream])) < 1000
        assert (await client.call_tool("echo", {"text": "well"})).text == "well"


async def test_nobody_there_is_one_sentence(framed: ModuleType, free_tcp_port: int) -> None:
    with pytest.raises(LinkError, match="cannot connect"):
        async with connect(framed.FramedTarget("127.0.0.1", free_tcp_port)):
            raise AssertionError


async def test_it_comes_back_with_a_link_of_its_own(framed: ModuleType) -> None:
    """The target makes a new link for the next connection."""
    made = []

    class Counted(framed.FramedTarget):  # type: ignore[misc, name-defined]
        def make_link(self, peer: Any, app: Any) -> Any:
            made.append(super().make_link(peer, app))
            return made[-1]

    back = anyio.Event()

    def watch(event: Any) -> None:
        if isinstance(event, Reconnected):
            back.set()

    settings = ClientSettings(reconnect=ReconnectSettings(first_delay=0.0))
    async with serving(framed, make_server()) as port:
        target = Counted("127.0.0.1", port)
        callbacks = Callbacks(connection=watch)
        async with connect(target, callbacks=callbacks, settings=settings) as client:
            stream: SocketStream = made[0]._stream
            await stream.aclose()
            with patience():
                await back.wait()
            assert (await client.call_tool("echo", {"text": "again"})).text == "again"
    assert len(made) == 2


PROGRAM = """
from framed import listen_framed
from mcpcore.service import Server
from mcpcore_transports.serve.serve import run

run(Server("alone"), custom=[listen_framed], on_listening=lambda url: print(url, flush=True))
print("ended")
"""


def test_a_program_that_serves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "framed.py").write_text(FILES["framed.py"])
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("framed://127.0.0.1:")
        process.terminate()
        assert process.stdout.read() == "ended\n"
    assert process.returncode == 0


def test_how_it_is_named_and_remembered(framed: ModuleType) -> None:
    target, same, other = (framed.FramedTarget("127.0.0.1", port) for port in (1, 1, 2))
    assert parse_target(target) is target
    assert describe(target) == "framed://127.0.0.1:1"
    assert place_of(target) == place_of(same) != place_of(other)
    with pytest.raises(BadTarget, match="not for a FramedTarget: it has none"):
        parse_target(target, headers={"a": "b"})
    assert len(EraCache()) == 0


def test_the_page_of_the_module_is_the_one_that_is_shown() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "embedding.md").read_text()
    assert FILES["framed.py"] in page
