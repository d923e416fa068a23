"""Our client and our server over real sockets, through a proxy that cuts connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from mcpcore.http.settings import HttpClientSettings, HttpSettings
from mcpcore.service import Server
from mcpcore.spec.revisions import LEGACY as LEGACY_ROWS
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.context import Context
from tests.clock import PATIENCE
from tests.transports.served import served

pytestmark = pytest.mark.anyio

NAMES = [row.name for row in LEGACY_ROWS if row.streamable_http]


class Cutter:
    """Cuts the first connections that carry events, each in the middle of an event."""

    def __init__(self, upstream: int, cuts: int) -> None:
        self.upstream = upstream
        self.left = cuts
        self.done = 0
        self.port = 0
        self._changed = anyio.Event()

    async def until(self, cuts: int) -> None:
        """Wait until so many connections have been cut."""
        while self.done < cuts:
            await self._changed.wait()

    async def serve(self, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port = listener.extra(SocketAttribute.local_port)
        task_status.started()
        async with listener:
            await listener.serve(self._carry)

    async def _carry(self, near: SocketStream) -> None:
        far = await anyio.connect_tcp("127.0.0.1", self.upstream)
        async with near, far, anyio.create_task_group() as tasks:

            async def upwards() -> None:
                await self._copy(near, far)
                tasks.cancel_scope.cancel()

            tasks.start_soon(upwards)
            await self._downwards(far, near)
            tasks.cancel_scope.cancel()

    async def _copy(self, source: SocketStream, target: SocketStream) -> None:
        try:
            while True:
                await target.send(await source.receive())
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    async def _downwards(self, far: SocketStream, near: SocketStream) -> None:
        seen = b""
        try:
            while True:
                data = await far.receive()
                seen = (seen + data)[seen.rfind(b"HTTP/1.1") if b"HTTP/1.1" in seen else 0 :]
                place = self._place(seen)
                if place is not None and self.left:
                    self.left -= 1
                    await near.send(data[: len(data) - (len(seen) - place)])
                    self.done += 1
                    changed, self._changed = self._changed, anyio.Event()
                    changed.set()
                    return
                await near.send(data)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    def _place(self, seen: bytes) -> int | None:
        """Where to cut: a little way into the second event of a stream."""
        start = seen.find(b"text/event-stream")
        end = seen.find(b"\n\n", start) if start >= 0 else -1
        return end + 12 if end >= 0 and end + 12 <= len(seen) else None


@asynccontextmanager
async def cut_site(server: Server, cuts: int) -> AsyncIterator[Cutter]:
    """Serve, with a proxy in front; yields the proxy."""
    settings = ServeSettings(http=HttpSettings(reconnect_delay=0.1))
    async with (
        served(server, settings=settings, seconds=PATIENCE) as site,
        anyio.create_task_group() as proxy,
    ):
        cutter = Cutter(site.port, cuts)
        await proxy.start(cutter.serve)
        yield cutter
        proxy.cancel_scope.cancel()


def text(result: CallToolResult) -> str:
    block = result.content[0]
    assert isinstance(block, TextContent)
    return block.text


@pytest.mark.requirement("basic/transports/resume", "basic/transports/disconnect-no-cancel")
@pytest.mark.parametrize("revision", NAMES)
async def test_calls_over_connections_that_are_cut(revision: str) -> None:
    server = Server("s")
    cutters: list[Cutter] = []
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
                results.append(text(await client.call_tool("work", {"name": name})))

            async with anyio.create_task_group() as tasks:
                for name in ("a", "b", "c"):
                    tasks.start_soon(call, name)
        assert cutter.done >= 3
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
            assert text(await client.call_tool("work")) == "done"
            assert client.revision.priming is closed[0]
    assert heard == [0, 1, 2]


async def test_elsewhere_there_is_no_stream_to_close() -> None:
    server = Server("s")

    @server.tool
    async def work(context: Context) -> bool:
        return context.close_stream()

    async with connect(server, revision="2025-11-25") as client:
        assert text(await client.call_tool("work")) == "false"
