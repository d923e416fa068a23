"""A whole server over HTTP, as an application serves it, and raw clients of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from msgspec import Struct, field

from mcpcore.service import Server
from mcpcore_transports.serve.serve import ServeSettings
from tests.clock import PATIENCE
from tests.transports.http_fixture import Client
from tests.transports.served import ANY_PORT
from tests.transports.served import served as serving


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
async def served(
    server: Server, settings: ServeSettings | None = None, binding: str = "http"
) -> AsyncIterator[Site]:
    """Serve a server for as long as the context lasts, on one binding alone."""
    where: dict[str, Any] = {binding: ANY_PORT}
    async with serving(server, settings=settings, seconds=PATIENCE * 2, **where) as found:
        site = Site(found.port)
        try:
            yield site
        finally:
            for client in site.clients:
                await client.aclose()
