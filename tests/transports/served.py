"""A server in the process of the test, on bindings of its own, until the test has seen enough."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from msgspec import structs

from mcpcore.service import Server
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.serve.assembling import Application
from mcpcore_transports.serve.serve import ServeSettings, serve
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.targets import MemoryTarget
from tests.clock import PATIENCE, patience
from tests.transports.ways import on_this_way

ANY_PORT = "127.0.0.1:0"


class Served:
    """A server that is being served, its URLs, and what stops it."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        """Where it listens, in the order of its bindings: HTTP, WebSocket, TCP, Unix sockets."""
        self.stop = anyio.Event()
        self.ended = anyio.Event()

    @property
    def url(self) -> str:
        """The first URL."""
        return self.urls[0]

    @property
    def port(self) -> int:
        """The port of the first URL."""
        return int(self.url.split(":")[2].partition("/")[0])


class Endless(Server):
    """Its tool ``wait`` does not return by itself: for tests of how calls are ended."""

    def __init__(self) -> None:
        super().__init__("endless")
        self.started = anyio.Event()
        self.stopped = anyio.Event()
        self.cancelled: list[bool] = []
        """Of each call that has ended: whether its request was cancelled."""
        self.add_tool(self._wait, "wait")

    async def _wait(self, context: Context) -> str:
        self.started.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.append(context.cancelled)
            self.stopped.set()
        return "never"


async def outcome(
    tool: Callable[..., Any], revision: str, callbacks: Callbacks, **options: Any
) -> CallToolResult:
    """What a call of a tool comes to, at a server of this process that has no other."""
    server = Server("s")
    server.tool(tool)
    with patience():
        async with connect(server, revision=revision, callbacks=callbacks, **options) as client:
            return await client.call_tool(tool.__name__)


@asynccontextmanager
async def served(
    server: Server | Application,
    *,
    http: str | Sequence[str] = (),
    ws: str | Sequence[str] = (),
    sse: str | Sequence[str] = (),
    tcp: str | Sequence[str] = (),
    unix: str | Sequence[str] = (),
    seconds: float = PATIENCE,
    **options: Any,
) -> AsyncIterator[Served]:
    """Serve on HTTP, or on the bindings named; ready once it listens on all of them.

    ``options`` are those of :func:`mcpcore_transports.serve.serve.serve`.  The test fails when it
    and the server's end take longer than ``seconds``.
    """
    if not (http or ws or sse or tcp or unix):
        http = ANY_PORT
    bindings: dict[str, Any] = {"http": http, "ws": ws, "sse": sse, "tcp": tcp, "unix": unix}
    settings = options.pop("settings", None) or ServeSettings()
    settings = structs.replace(settings, http_link=on_this_way(settings.http_link))
    count = sum(1 if isinstance(each, str) else len(each) for each in bindings.values() if each)
    made = Served()
    listening = anyio.Event()

    def announce(url: str) -> None:
        made.urls.append(url)
        if len(made.urls) == count:
            listening.set()

    async def run() -> None:
        await serve(
            server,
            **bindings,
            settings=settings,
            on_listening=announce,
            stop=made.stop,
            **options,
        )
        made.ended.set()

    with patience(seconds):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await listening.wait()
            yield made
            made.stop.set()


@asynccontextmanager
async def reachable(
    transport: str, server: Server, runtime: RuntimeSettings | None = None, **settings: Any
) -> AsyncIterator[Any]:
    """Offer a server in memory, or on one binding; yields what to connect to."""
    if transport == "memory":
        yield MemoryTarget(server, runtime or RuntimeSettings())
        return
    chosen = ServeSettings(runtime=runtime or RuntimeSettings(), **settings)
    binding: Any = {transport: ANY_PORT}
    async with served(server, settings=chosen, **binding) as site:
        yield site.url
