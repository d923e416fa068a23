"""A whole server over HTTP, as an application serves it, and raw clients of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from msgspec import Struct, field

from mcpcore.service import Server
from tests.transports.http_fixture import PATIENCE, Client
from transports.server import ServeSettings, serve


class Site(Struct):
    """Where a server is."""

    port: int
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        """Open a connection, to be closed by the end of the test at the latest."""
        client = Client(await anyio.connect_tcp("127.0.0.1", self.port))
        self.clients.append(client)
        return client


@asynccontextmanager
async def served(server: Server, settings: ServeSettings | None = None) -> AsyncIterator[Site]:
    """Serve a server for as long as the context lasts."""
    stop, started, urls = anyio.Event(), anyio.Event(), list[str]()

    def listening(url: str) -> None:
        urls.append(url)
        started.set()

    async def run() -> None:
        await serve(
            server, http="127.0.0.1:0", settings=settings, on_listening=listening, stop=stop
        )

    with anyio.fail_after(PATIENCE * 2):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await started.wait()
            site = Site(int(urls[0].rpartition(":")[2].partition("/")[0]))
            try:
                yield site
            finally:
                for client in site.clients:
                    await client.aclose()
                stop.set()
