"""Streamable HTTP server on asyncio alone: connections are protocols, not tasks.

Host, machine and behaviour are the same as with :mod:`mcpcore_transports.http.server.anyio_server`,
at a fraction of the cost of anyio's streams.
"""

import asyncio
import logging
import socket
import ssl
from typing import TYPE_CHECKING

from anyio.abc import SocketAttribute, SocketListener

from mcpcore.http import HttpServer
from mcpcore_transports.http.server.host import peer_name
from mcpcore_transports.http.server.listening import PAUSE, ListeningHost
from mcpcore_transports.http.server.protocol import HttpProtocol
from mcpcore_transports.http.settings import HttpServerSettings
from mcpcore_transports.http1.server import SMALL_READ
from mcpcore_transports.link import App
from mcpcore_transports.sockets.tcp import keep_alive

if TYPE_CHECKING:
    from mcpcore_transports.http.server.connection import Upgrade

__all__ = ["AsyncioServerLink"]

logger = logging.getLogger("mcpcore.http")

_READ = 256 * 1024
"""Maximum bytes of one read; less if the connection has less room."""


class AsyncioServerLink(ListeningHost):
    """Server link of one machine on any number of addresses, for event loops of asyncio only."""

    def __init__(
        self,
        machine: HttpServer,
        app: App,
        *,
        settings: HttpServerSettings | None = None,
        ssl_context: ssl.SSLContext | None = None,
        upgrade: "Upgrade | None" = None,
    ) -> None:
        super().__init__(machine, app, settings=settings, ssl_context=ssl_context, upgrade=upgrade)
        self.inbox = memoryview(bytearray(_READ))
        """Shared buffer into which the connections read, one at a time."""
        self.small_inbox = self.inbox[:SMALL_READ]
        self._late: list[HttpProtocol] = []
        self._called = False  # in the next turn
        self._joining: set[asyncio.Task[None]] = set()
        self._accepting: set[socket.socket] = set()

    def write_soon(self, connection: HttpProtocol) -> None:
        """Schedule ``connection`` to write in the next turn of the event loop."""
        self._late.append(connection)
        if not self._called:
            asyncio.get_running_loop().call_soon(self._write_in_turn)
            self._called = True

    def write_now(self) -> None:
        """Implement :meth:`~mcpcore_transports.link.Link.write_now`."""
        if self._late and self._pump.context is not None:
            self._pump.context.copy().run(self._write_late)  # flushing enters the context itself

    def _write_in_turn(self) -> None:
        self._called = False
        self._write_late()

    def _write_late(self) -> None:
        late, self._late = self._late, []
        for connection in late:
            connection.write_late()

    # Connections

    def _accept_from(self, listener: SocketListener) -> None:
        bound = listener.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's
        self._accepting.add(bound)
        asyncio.get_running_loop().add_reader(bound, self._accept, bound)

    async def _stop_accepting(self) -> None:
        loop = asyncio.get_running_loop()
        while self._accepting:
            loop.remove_reader(self._accepting.pop())
        await super()._stop_accepting()

    def _accept(self, bound: socket.socket) -> None:
        try:
            accepted, address = bound.accept()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            # Out of descriptors, or the client was gone before it was accepted.
            asyncio.get_running_loop().remove_reader(bound)
            self._accept_later(bound, error)
            return
        accepted.setblocking(False)
        if accepted.family != socket.AF_UNIX:
            keep_alive(accepted, None)
        peer = peer_name(address)
        connection = HttpProtocol(self, peer)
        full = self.full_for(connection.client)
        if full is None:
            self.add(connection)
        else:
            connection = HttpProtocol(self, peer, f"too many connections{full}")
            if not self.turn_away(connection):
                accepted.close()
                return
        task = asyncio.get_running_loop().create_task(self._join(accepted, connection))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    def _accept_later(self, bound: socket.socket, error: OSError) -> None:
        logger.warning("cannot accept a connection: %s", error)
        asyncio.get_running_loop().call_later(PAUSE, self._accept_again, bound)

    def _accept_again(self, bound: socket.socket) -> None:
        if bound in self._accepting:
            try:
                asyncio.get_running_loop().add_reader(bound, self._accept, bound)
            except OSError as error:  # the event loop can watch no more
                self._accept_later(bound, error)

    async def _join(self, accepted: socket.socket, connection: HttpProtocol) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: connection, accepted)
        except Exception:  # the client is gone, or a fault of the driver ends one connection
            logger.exception("a connection failed")
            connection.stop()
            accepted.close()
