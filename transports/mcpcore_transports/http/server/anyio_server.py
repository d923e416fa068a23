"""Streamable HTTP server on streams of anyio: the connections of a host, on any event loop.

HTTP/1.0 and 1.1 (RFC 9110, RFC 9112), keep-alive, pipelining, chunked bodies, TLS; asyncio and
trio.  The machine (:class:`~mcpcore.http.HttpServer`) handles the requests.
"""

import logging
import ssl
from collections.abc import Callable
from functools import partial

import anyio
from anyio.abc import ByteStream, SocketListener

from mcpcore.http import HttpServer
from mcpcore_transports.http.server.connection import ServerConnection, Upgrade
from mcpcore_transports.http.server.host import peer_name
from mcpcore_transports.http.server.listening import PAUSE, ListeningHost
from mcpcore_transports.http.server.writers import Writers
from mcpcore_transports.http.settings import HttpServerSettings
from mcpcore_transports.link import App
from mcpcore_transports.stream.plain import PendingConnections, accept

__all__ = ["HttpServerLink", "HttpServerSettings", "Upgrade"]

logger = logging.getLogger("mcpcore.http")

_TASK = "connection"
"""Name of each task, as anyio would otherwise make one for every task."""


class HttpServerLink(ListeningHost):
    """Server of one machine on any number of addresses, with a task for each connection."""

    def __init__(
        self,
        machine: HttpServer,
        app: App,
        *,
        settings: HttpServerSettings | None = None,
        ssl_context: ssl.SSLContext | None = None,
        upgrade: Upgrade | None = None,
    ) -> None:
        super().__init__(machine, app, settings=settings, ssl_context=ssl_context, upgrade=upgrade)
        self.writers = Writers(self.start)
        """Writer tasks of all connections."""
        self._pending = PendingConnections()

    def write_now(self) -> None:
        """Implement :meth:`Link.write_now <mcpcore_transports.link.Link.write_now>`."""
        self.writers.write_now()

    async def _run(self, started: Callable[[], None]) -> None:
        async with self._pending:
            await super()._run(started)

    # Connections

    def _accept_from(self, listener: SocketListener) -> None:
        assert self._tasks is not None  # noqa: S101 - called while serving only
        self._tasks.start_soon(self._accept, listener)

    async def _accept(self, listener: SocketListener) -> None:
        while True:
            try:
                stream, address = await accept(listener)
            except anyio.ClosedResourceError:
                return
            except (OSError, anyio.BrokenResourceError) as error:
                # No descriptors are left, or the client was gone before it was accepted.
                logger.warning("cannot accept a connection: %s", error.__cause__ or error)
                await anyio.sleep(PAUSE)
                continue
            await self._let_in(stream, peer_name(address))
            del stream  # it would be kept alive until the next one comes

    async def _let_in(self, stream: ByteStream, peer: str | None) -> None:
        """Serve a new connection, or refuse it with a 503, or close it at once."""
        assert self._tasks is not None  # noqa: S101 - runs while serving only
        connection = ServerConnection(self, stream, peer)
        full = self.full_for(connection.client)
        if full is None:
            self.add(connection)
        else:
            connection = ServerConnection(self, stream, peer, f"too many connections{full}")
            if not self.turn_away(connection):
                await stream.aclose()
                return
        self._pending.begin(self._tasks, stream, partial(self._connection, connection), _TASK)

    async def _connection(self, connection: ServerConnection) -> None:
        try:
            await connection.run(self.ssl_context)
        except Exception:  # a bug ends one connection, not all of them
            logger.exception("a connection failed")
        finally:
            self.discard(connection)
