"""On event loops that asyncio has started, where anyio knows of none in callbacks of the loop."""

import asyncio
import json
from typing import Any

import pytest

from mcpcore_transports.http.server.listening import HttpServerLink
from mcpcore_transports.http.settings import DriverName, HttpServerSettings
from tests.clock import PATIENCE
from tests.http.support import make_server
from tests.transports.http_fixture import Tools, tool


async def _call(driver: DriverName) -> bytes:
    app = Tools()
    app.machine = machine = make_server()
    settings = HttpServerSettings(driver=driver)
    app.link = link = HttpServerLink(machine, app, settings=settings)
    serving = asyncio.create_task(link.serve("127.0.0.1", 0))
    while not link.addresses:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection(*link.addresses[0])
    writer.write(tool("wait", headers={"Connection": "close"}))
    await app.until(lambda: app.waiting)
    app.finish(app.waiting[0])  # in a task
    asyncio.get_running_loop().call_soon(link.flush_soon)  # in none
    said = await reader.read()
    writer.close()
    await link.aclose()
    await serving
    return said


@pytest.mark.parametrize("driver", ["anyio", "asyncio"])
def test_a_server_runs_there(driver: DriverName) -> None:
    said = asyncio.run(asyncio.wait_for(_call(driver), PATIENCE))
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["result"]["content"][0]["text"] == "late"


def test_a_turn_that_could_not_be_asked_for_is_asked_for_again() -> None:
    class Late:
        written = 0

        def write_late(self) -> None:
            self.written += 1

    late: Any = Late()

    async def make() -> HttpServerLink:
        return HttpServerLink(make_server(), Tools())

    link = asyncio.run(make())
    with pytest.raises(RuntimeError, match="event loop"):
        link.write_soon(late)

    async def write() -> None:
        link.write_soon(late)
        await asyncio.sleep(0)

    asyncio.run(write())
    assert late.written
