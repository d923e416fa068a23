"""Both lines of the official SDK resume against our server, and our client against theirs."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from conformance.interop.matrix import LINES, Line
from mcpcore.http.settings import HttpSettings
from mcpcore.service import Server
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.context import Context
from tests.absent import absent
from tests.clock import PATIENCE, patience
from tests.faults.cutting import CutProxy, Place, cut_proxy
from tests.transports.served import served

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.turns("line")]

PROGRAMS = Path(__file__).parent / "sdk"
LINES_SAID = [str(line) for line in range(6)]
PLACES = [(Place(1),), (Place(2, 15),), (Place(3),), (Place(2), Place(1, 5)), (Place(4, 30),)]
every_line = pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
everywhere = pytest.mark.parametrize("places", PLACES, ids=repr)


@pytest.fixture
def anyio_backend() -> str:
    """The loop of our side; the other is a process of its own."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _installed(line: Line) -> None:
    if not line.installed:
        absent(f"the official SDK {line.version}", "sdk")


@asynccontextmanager
async def ours(places: tuple[Place, ...]) -> AsyncIterator[CutProxy]:
    """Our server behind a proxy."""
    server = Server("lines")
    proxies: list[CutProxy] = []

    @server.tool
    async def work(context: Context, count: int) -> str:
        for line in range(count):
            if line == count // 2:
                with anyio.move_on_after(0.5):
                    await proxies[0].until(1)
            context.info(str(line))
        return "said"

    settings = ServeSettings(http=HttpSettings(reconnect_delay=0.05))
    async with (
        served(server, settings=settings, seconds=PATIENCE) as site,
        cut_proxy(site.port, places, b'"tools/call"') as proxy,
    ):
        proxies.append(proxy)
        yield proxy


@every_line
@everywhere
async def test_their_client_resumes_against_our_server(
    line: Line, places: tuple[Place, ...]
) -> None:
    async with ours(places) as proxy:
        with patience():
            done = await anyio.run_process(
                [
                    str(line.python),
                    str(PROGRAMS / "resuming_client.py"),
                    f"http://127.0.0.1:{proxy.port}/mcp",
                ],
                stderr=sys.stderr,
            )
    outcomes = [json.loads(text) for text in done.stdout.splitlines()]
    assert proxy.cuts >= 1
    if len(places) > 1:
        # When a stream that it has taken up breaks off again, the SDK asks once more with the old
        # id, though it has been given newer ones: it hears some lines twice, by its own doing.
        outcomes = [[said, list(dict.fromkeys(heard))] for said, heard in outcomes]
    assert outcomes == [["said", LINES_SAID]] * 2


@asynccontextmanager
async def theirs(line: Line) -> AsyncIterator[int]:
    """A server of the SDK; yields its port."""
    command = [str(line.python), str(PROGRAMS / "resuming_server.py")]
    async with await anyio.open_process(command) as process:
        try:
            assert process.stderr is not None
            said = BufferedByteReceiveStream(process.stderr)
            with patience():
                while True:
                    text = (await said.receive_until(b"\n", 65536)).decode()
                    if text.startswith("listening on "):
                        break
            yield int(text.split(":")[2].partition("/")[0])
        finally:
            process.terminate()


@every_line
@everywhere
async def test_our_client_resumes_against_their_server(
    line: Line, places: tuple[Place, ...]
) -> None:
    heard: list[Any] = []
    callbacks = Callbacks(log=lambda params: heard.append(params.data))
    async with theirs(line) as port, cut_proxy(port, places, b'"tools/call"') as proxy:
        url = f"http://127.0.0.1:{proxy.port}/mcp"
        async with connect(url, revision="2025-11-25", callbacks=callbacks) as client:
            for _ in range(2):
                result = await client.call_tool("work", {"count": 6}, timeout=PATIENCE)
                assert getattr(result.content[0], "text", None) == "said"
                assert heard == LINES_SAID
                heard.clear()
        assert proxy.cuts >= 1
