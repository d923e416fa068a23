"""Base of the HTTP server's drivers that own their sockets: listening on addresses."""

import asyncio
import os
import ssl
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketAttribute, SocketListener, TaskStatus

from mcpcore.http import HttpServer
from mcpcore.spec.errors import LocalError
from mcpcore_transports.http.server.host import Carrier, HttpHost
from mcpcore_transports.http.settings import HttpServerSettings
from mcpcore_transports.http1.heads import RequestParser
from mcpcore_transports.link import App, cannot_listen
from mcpcore_transports.running.functions import current_loop, known_in_callbacks
from mcpcore_transports.sockets.tcp import close_listener

if TYPE_CHECKING:
    from mcpcore_transports.http.server.connection import Upgrade

Address = tuple[str, int]

PAUSE = 0.1
"""Seconds between a failure to accept and the next attempt, to avoid a busy loop."""


class ListeningHost(HttpHost):
    """Server of one machine on any number of addresses.

    ``upgrade`` is offered every request for another protocol, so that WebSocket can share the
    port.  Run :meth:`serve` in a task; cancelling that task closes at once, without draining.
    Raises LocalError for a parser that is not installed.
    """

    def __init__(
        self,
        machine: HttpServer,
        app: App,
        *,
        settings: HttpServerSettings | None = None,
        ssl_context: ssl.SSLContext | None = None,
        upgrade: "Upgrade | None" = None,
    ) -> None:
        super().__init__(machine, app, settings=settings)
        self.upgrade = upgrade
        self.addresses: list[Address] = []
        """Host and port of each listener, once :meth:`serve` has started."""
        self.ssl_context = ssl_context
        self.parser = RequestParser(
            self.settings.parser,
            self.settings.head_limits,
            plain=self.settings.usual_heads == "plainly",
        )
        self._listeners: Sequence[SocketListener] = ()
        self._turned_away: set[Carrier] = set()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self.carriers)

    @property
    def turned_away(self) -> int:
        """Number of connections beyond the limit that are being refused with a 503."""
        return len(self._turned_away)

    def turn_away(self, carrier: Carrier) -> bool:
        """Watch a connection beyond the limit; return False if even these are too many."""
        if len(self._turned_away) >= self.settings.turned_away:
            return False
        self._turned_away.add(carrier)
        self._pump.watch()
        return True

    def discard(self, carrier: Carrier) -> None:
        """Handle the end of a connection; may be repeated."""
        self._turned_away.discard(carrier)
        super().discard(carrier)

    def expire(self, now: float) -> bool:
        """Implement :meth:`~mcpcore_transports.http.pump.Pumped.expire`."""
        for carrier in tuple(self._turned_away):
            if carrier.deadline <= now:
                carrier.expire()
        return super().expire(now) or bool(self._turned_away)

    def abandon(self) -> None:
        """Implement ``HttpHost.abandon``."""
        super().abandon()
        for carrier in tuple(self._turned_away):
            carrier.stop()

    async def serve(
        self,
        host: str | Sequence[str] = "127.0.0.1",
        port: int = 0,
        *,
        task_status: TaskStatus[list[Address]] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen on every address of ``host`` and serve until :meth:`aclose`.

        Port 0 picks a free port, the same for all addresses.  ``task_status`` is started with the
        bound addresses.  Raises OSError with a readable message if an address cannot be bound.
        """
        self._once()
        listeners: list[SocketListener] = []
        try:
            for name in [host] if isinstance(host, str) else host:
                bound = await _listen(name, port, self.settings.reuse_port)
                listeners += bound
                port = port or bound[0].extra(SocketAttribute.local_port)  # noqa: S610 - anyio's
        except BaseException:
            await _close_all(listeners)
            raise
        await self.serve_listeners(listeners, task_status=task_status)

    async def serve_listeners(
        self,
        listeners: Sequence[SocketListener],
        *,
        task_status: TaskStatus[list[Address]] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on listeners of the caller, which are closed in the end."""
        self._once()
        self._listeners = listeners

        def started() -> None:
            for listener in listeners:
                self._accept_from(listener)
            self.addresses = [_address(listener) for listener in listeners]
            task_status.started(self.addresses)

        with known_in_callbacks():
            await self._run(started)

    @abstractmethod
    def _accept_from(self, listener: SocketListener) -> None:
        """Begin to accept connections from ``listener``."""

    async def _stop_accepting(self) -> None:
        await _close_all(self._listeners)


async def _listen(host: str, port: int, reuse_port: bool) -> list[SocketListener]:
    try:
        bound = await anyio.create_tcp_listener(
            local_host=host or None, local_port=port, reuse_port=reuse_port
        )
    except (OSError, UnicodeError) as error:
        readable = OSError(cannot_listen(host, port, error))
        readable.errno = getattr(error, "errno", None)
        raise readable from error
    return list(bound.listeners)  # type: ignore[arg-type]


async def _close_all(listeners: Sequence[SocketListener]) -> None:
    with anyio.CancelScope(shield=True):
        for listener in listeners:
            await close_listener(listener)


def _address(listener: SocketListener) -> Address:
    address = listener.extra(SocketAttribute.local_address)  # noqa: S610 - anyio's
    return (address, 0) if isinstance(address, str) else (address[0], address[1])


def http_driver(settings: HttpServerSettings) -> type[ListeningHost]:
    """Return the class of the link.  Raises LocalError for one that this loop cannot run."""
    on_asyncio = isinstance(current_loop(), asyncio.AbstractEventLoop)
    if settings.driver == "asyncio" and not on_asyncio:
        raise LocalError("the HTTP driver asyncio does not run on trio")
    # On Windows the loop cannot tell when a listener is ready.
    fits = on_asyncio and os.name != "nt"
    if settings.driver == "asyncio" or (settings.driver == "auto" and fits):
        # Imported late: these are subclasses, of which a program needs one.
        from mcpcore_transports.http.server.asyncio_server import AsyncioServerLink

        return AsyncioServerLink
    from mcpcore_transports.http.server.anyio_server import HttpServerLink

    return HttpServerLink
