"""On event loops that asyncio has started, where anyio knows of none in callbacks of the loop."""

import asyncio
import contextvars
import json
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mcpcore import Callbacks, Context, Server, ServeSettings, connect, serve
from mcpcore_transports.http.server.listening import HttpServerLink
from mcpcore_transports.http1.settings import DriverName, HttpServerSettings
from tests.clock import PATIENCE
from tests.faults.cutting import road
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


async def _converse(revision: str) -> str:
    """Ask the client a question while its stream beside requests is open, in the legacy era."""
    server, urls = Server("plain"), list[str]()

    @server.tool
    async def ask(context: Context) -> str:
        form = {"type": "object", "properties": {"name": {"type": "string"}}}
        return (await context.elicit("Who?", form)).action

    serving = asyncio.create_task(serve(server, http="127.0.0.1:0", on_listening=urls.append))
    while not urls:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    callbacks = Callbacks(elicitation=lambda form: {"name": "Ada"})
    async with connect(urls[0], revision=revision, callbacks=callbacks) as client:
        said = [(await client.call_tool("ask")).text for _ in range(3)]
    serving.cancel()
    return " ".join(said)


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_a_client_runs_there(revision: str) -> None:
    said = asyncio.run(asyncio.wait_for(_converse(revision), PATIENCE))
    assert said == "accept accept accept"


async def _touch(binding: str, driver: DriverName) -> list[str | None]:
    """Change a resource in a thread and in a callback, while only a stream for changes is open."""
    server, urls = Server("plain"), list[str]()
    server.add_resource("x:y", "x")
    changed = partial(server.resource_updated, "x:y")
    settings = ServeSettings(http_link=HttpServerSettings(driver=driver))
    where: Any = {binding: "127.0.0.1:0"}
    offer = serve(server, settings=settings, on_listening=urls.append, **where)
    serving = asyncio.create_task(offer)
    while not urls:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    told = []
    async with (
        connect(urls[0], revision="2025-11-25") as client,
        client.listen(uris=["x:y"]) as changes,
    ):
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(changed)
        told.append((await anext(changes)).uri)
        loop.call_soon(changed, context=contextvars.Context())
        told.append((await anext(changes)).uri)
    serving.cancel()
    return told


WAYS: list[tuple[str, DriverName]] = [
    ("http", "anyio"),
    ("http", "asyncio"),
    ("sse", "anyio"),
    ("ws", "auto"),
    ("tcp", "auto"),
]


@pytest.mark.parametrize(("binding", "driver"), WAYS)
def test_changes_from_elsewhere_are_told_there(binding: str, driver: DriverName) -> None:
    assert asyncio.run(asyncio.wait_for(_touch(binding, driver), PATIENCE)) == ["x:y", "x:y"]


async def _lose(binding: str, folder: Path) -> list[int]:
    """Ask for the list of tools before and after the connection is lost."""
    server, urls = Server("plain"), list[str]()
    server.add_tool(lambda: "here", "where")
    where: Any = {binding: "127.0.0.1:0"}
    serving = asyncio.create_task(serve(server, on_listening=urls.append, **where))
    while not urls:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    async with (
        road(binding, urlsplit(urls[0]).port or 0, folder) as way,
        connect(way.url, revision="2025-11-25") as client,
    ):
        said = [len((await client.list_tools()).tools)]
        way.cut()
        said.append(len((await client.list_tools()).tools))
    serving.cancel()
    return said


@pytest.mark.parametrize("binding", ["sse", "ws", "tcp"])
def test_a_lost_connection_is_made_again_there(binding: str, tmp_path: Path) -> None:
    said = asyncio.run(asyncio.wait_for(_lose(binding, tmp_path), PATIENCE))
    assert said == [1, 1]


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
