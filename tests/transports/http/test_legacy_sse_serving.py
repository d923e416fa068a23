"""HTTP+SSE as it is served: the command, a store beside it, floods and readers that do not read."""

import json
import signal
from typing import Any

import anyio
import pytest

from mcpcore import Callbacks, Context, Server, ServeSettings, connect, open_store
from tests.clock import patience
from tests.transports.commands.test_cli import Serving, mcpcore
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio


@pytest.fixture
def both() -> Any:
    serving = Serving(["--http", ANY_PORT, "--sse", ANY_PORT], 2)
    yield serving
    serving.process.kill()
    serving.process.communicate()


@pytest.mark.long
def test_the_command_serves_and_connects(both: Serving) -> None:
    streamable, sse = both.urls
    assert sse == f"sse+{streamable.removesuffix('/mcp')}/sse"
    listed = mcpcore("list", "tools", "--json", sse)
    assert listed.returncode == 0, listed.stderr
    probed = mcpcore("probe", "--json", sse.removeprefix("sse+"))
    assert probed.returncode == 0, probed.stderr
    assert json.loads(probed.stdout)["revision"] == "2025-11-25"
    status, out, err = both.end(signal.SIGTERM)
    assert (status, out) == (0, "")
    assert "Traceback" not in err


def test_several_workers_cannot_serve_it() -> None:
    done = mcpcore("serve", "--http", ANY_PORT, "--sse", ANY_PORT, "--workers", "2")
    assert done.returncode == 2
    assert "--sse needs one process" in done.stderr


async def test_a_store_changes_nothing() -> None:
    notes = Server("notes")

    @notes.tool
    async def tell(context: Context) -> str:
        notes.add_tool(lambda: "new", "new")
        return "told"

    @notes.tool
    async def ask(context: Context) -> str:
        return (await context.list_roots())[0].uri

    heard: list[str] = []
    news = anyio.Event()

    def note(kind: str) -> Callbacks:
        def hear(method: str, params: Any) -> None:
            heard.append(f"{kind} {method}")
            if len(heard) == 2:
                news.set()

        return Callbacks(notification=hear, roots=[f"file:///{kind}"])

    settings = ServeSettings(store=open_store("memory:"))
    async with (
        served(notes, http=ANY_PORT, sse=ANY_PORT, settings=settings) as state,
        connect(state.urls[0], callbacks=note("http"), revision="2025-11-25") as streamable,
        connect(state.urls[1], callbacks=note("sse")) as sse,
    ):
        for client, kind in ((streamable, "http"), (sse, "sse")):
            assert (await client.call_tool("ask")).text == f"file:///{kind}"
        await sse.call_tool("tell")
        with patience():
            await news.wait()
    assert sorted(heard) == [
        "http notifications/tools/list_changed",
        "sse notifications/tools/list_changed",
    ]
