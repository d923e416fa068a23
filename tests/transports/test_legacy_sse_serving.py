"""HTTP+SSE as it is served: the command, a store beside it, floods and readers that do not read."""

import json
import signal
from typing import Any

import anyio
import pytest

from mcpcore.http.settings import HttpSettings, SsePaths
from mcpcore.service import Server
from mcpcore.spec.types.content import TextContent
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.context import Context
from mcpcore_transports.stores.base import open_store
from tests.clock import Clock, arrived, patience
from tests.transports.http_fixture import Client, Response, Running, server
from tests.transports.served import ANY_PORT, served
from tests.transports.test_cli import Serving, mcpcore

pytestmark = pytest.mark.anyio

GET = b"GET /sse HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


def post(uri: str, message: Any) -> bytes:
    body = json.dumps(message).encode()
    head = f"POST {uri} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def call(id: int, name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2024-11-05",
        "capabilities": {},
        "clientInfo": {"name": "hand", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Pipe:
    """An event stream and a connection for messages, spoken in bytes."""

    def __init__(self, stream: Client, poster: Client, uri: str) -> None:
        self.stream, self.poster, self.uri = stream, poster, uri

    @classmethod
    async def open(cls, running: Running) -> "Pipe":
        stream, poster = await running.connect(), await running.connect()
        await stream.send(GET)
        head = await stream.head()
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
        event = (await stream.chunk()).decode()
        pipe = cls(stream, poster, event.partition("data: ")[2].strip())
        assert (await pipe.post(INITIALIZE)).status == 202
        assert (await pipe.next())["result"]["protocolVersion"] == "2024-11-05"
        assert (await pipe.post(INITIALIZED)).status == 202
        return pipe

    async def post(self, message: Any) -> Response:
        return await self.poster.call(post(self.uri, message))

    async def next(self) -> Any:
        """The next message, as long as events are chunks of their own."""
        while True:
            chunk = await self.stream.chunk()
            assert chunk, "the stream has ended"
            if not chunk.startswith(b":"):
                return json.loads(chunk.partition(b"data: ")[2])


# The command


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


# Beside a store


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
            block = (await client.call_tool("ask")).content[0]
            assert isinstance(block, TextContent)
            assert block.text == f"file:///{kind}"
        await sse.call_tool("tell")
        with patience():
            await news.wait()
    assert sorted(heard) == [
        "http notifications/tools/list_changed",
        "sse notifications/tools/list_changed",
    ]


# Under attack


async def test_a_flood_of_streams_ends_its_own() -> None:
    settings = HttpSettings(sse=SsePaths(), max_sessions=20)
    async with server(http=settings) as running:
        flood = [await running.connect() for _ in range(60)]
        for client in flood:
            await client.send(GET)
            assert (await client.head()).status == 200
            assert (await client.chunk()).startswith(b"event: endpoint")
        pipe = await Pipe.open(running)
        assert (await pipe.post(call(1, "echo", a=1))).status == 202
        assert (await pipe.next())["id"] == 1
        assert running.machine.sessions == 20
        for client in flood[:41]:
            assert await client.chunk() == b"", "evicted"


@pytest.mark.long
async def test_a_stream_that_nobody_reads_harms_nobody_else(clock: Clock) -> None:
    settings = HttpSettings(sse=SsePaths(), max_queued=100_000)
    link = HttpServerSettings(write_time=60)
    async with server(link, http=settings) as running:
        deaf, well = await Pipe.open(running), await Pipe.open(running)
        refused = None
        for id in range(1, 200):
            reply = await deaf.post(call(id, "big", size=1_000_000))
            if reply.status != 202:
                refused = reply
                break
        assert refused is not None, "so much is never kept for one client"
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert (await well.post(call(1, "echo", a=1))).status == 202
        assert (await well.next())["id"] == 1
        running.machine.notify("notifications/tools/list_changed")
        running.link.flush_soon()
        assert (await well.next())["method"] == "notifications/tools/list_changed"
        # What waits may be little enough to be borne for a while.
        while running.machine.sessions > 1:
            await clock.skip(settings.stall_timeout)
        anew = await running.connect()
        assert (await anew.call(post(deaf.uri, call(999, "echo")))).status == 404


async def test_too_much_and_too_slow(clock: Clock) -> None:
    settings = HttpSettings(sse=SsePaths(), max_body=1000)
    link = HttpServerSettings(body_time=30)
    async with server(link, http=settings) as running:
        pipe = await Pipe.open(running)
        other = await running.connect()
        large = await other.call(post(pipe.uri, call(1, "echo", a="x" * 2000)))
        assert large.status == 413
        slow = await running.connect()
        await slow.send(post(pipe.uri, call(1, "echo", a=1))[:-5])
        await arrived(slow.stream)
        await clock.skip(30)
        assert (await slow.response()).status == 408
        assert (await pipe.post(call(2, "echo", a=1))).status == 202
        assert (await pipe.next())["id"] == 2


async def test_heartbeats_on_the_wire() -> None:
    async with server(http=HttpSettings(sse=SsePaths(), heartbeat=0.05)) as running:
        pipe = await Pipe.open(running)
        assert (await pipe.stream.chunk()).startswith(b":")
