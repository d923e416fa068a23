"""Our client and our server over real sockets, through a proxy that cuts connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpcore import Callbacks, ClientSettings, Context, Server, ServeSettings, connect
from mcpcore.http.settings import HttpClientSettings, HttpSettings
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from tests.clock import PATIENCE
from tests.faults.cutting import CutProxy, Place, cut_proxy
from tests.transports.served import served

pytestmark = pytest.mark.anyio

NAMES = [row.name for row in LEGACY_ROWS if row.streamable_http]


@asynccontextmanager
async def cut_site(server: Server, cuts: int) -> AsyncIterator[CutProxy]:
    """Serve behind a proxy that cuts the stream of a call so often, in its second event."""
    settings = ServeSettings(http=HttpSettings(reconnect_delay=0.1))
    async with (
        served(server, settings=settings, seconds=PATIENCE) as site,
        cut_proxy(site.port, [Place(1, 12)] * cuts, b'"tools/call"') as proxy,
    ):
        yield proxy


@pytest.mark.requirement("basic/transports/resume", "basic/transports/disconnect-no-cancel")
@pytest.mark.parametrize("revision", NAMES)
async def test_calls_over_connections_that_are_cut(revision: str) -> None:
    server = Server("s")
    cutters: list[CutProxy] = []
    runs = 0

    @server.tool
    async def work(context: Context, name: str) -> str:
        nonlocal runs
        runs += 1
        for number in range(20):
            context.info(f"{name} {number}")
        await cutters[0].until(3)
        context.info(f"{name} 20")
        return name

    heard: list[Any] = []
    callbacks = Callbacks(log=lambda params: heard.append(params.data))
    quick = ClientSettings(http=HttpClientSettings(retry_delay=0.1))
    async with cut_site(server, cuts=5) as cutter:
        cutters.append(cutter)
        url = f"http://127.0.0.1:{cutter.port}/mcp"
        async with connect(url, revision=revision, callbacks=callbacks, settings=quick) as client:
            results: list[str] = []

            async def call(name: str) -> None:
                results.append((await client.call_tool("work", {"name": name})).text)

            async with anyio.create_task_group() as tasks:
                for name in ("a", "b", "c"):
                    tasks.start_soon(call, name)
        assert cutter.cuts >= 3
    assert sorted(results) == ["a", "b", "c"]
    assert runs == 3
    for name in ("a", "b", "c"):
        mine = [each for each in heard if each.startswith(name)]
        assert mine == [f"{name} {number}" for number in range(21)]


@pytest.mark.requirement("basic/transports/client-polls", "basic/transports/retry-sent")
@pytest.mark.parametrize("revision", NAMES)
async def test_a_handler_lets_itself_be_polled(revision: str) -> None:
    server = Server("s")
    closed: list[bool] = []

    @server.tool
    async def work(context: Context) -> str:
        for number in range(3):
            context.info(number)
            closed.append(context.close_stream(retry=0.1))
            await anyio.lowlevel.checkpoint()
        return "done"

    heard: list[Any] = []
    callbacks = Callbacks(log=lambda params: heard.append(params.data))
    async with cut_site(server, cuts=0) as cutter:
        url = f"http://127.0.0.1:{cutter.port}/mcp"
        async with connect(url, revision=revision, callbacks=callbacks) as client:
            assert (await client.call_tool("work")).text == "done"
            assert client.revision.priming is closed[0]
    assert heard == [0, 1, 2]


async def test_elsewhere_there_is_no_stream_to_close() -> None:
    server = Server("s")

    @server.tool
    async def work(context: Context) -> bool:
        return context.close_stream()

    async with connect(server, revision="2025-11-25") as client:
        assert (await client.call_tool("work")).text == "false"
