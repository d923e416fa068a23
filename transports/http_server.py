"""Streamable HTTP server: the listeners and connections of a host.

HTTP/1.0 and 1.1 (RFC 9110, RFC 9112), keep-alive, pipelining, chunked bodies, TLS; asyncio and
trio.  What requests mean is the machine's affair (:mod:`mcpcore.http.server`).
"""

import errno
import logging
import os
import ssl
from collections.abc import Sequence
from contextlib import suppress

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener, SocketStream, TaskStatus

from mcpcore.http.server import HttpServer
from transports.http_connection import ServerConnection, Upgrade
from transports.http_heads import RequestParser
from transports.http_host import HttpHost, peer_name
from transports.http_reply import LOST, refuse
from transports.http_settings import HttpServerSettings
from transports.http_writers import Writers
from transports.link import App
from transports.tls import SecureStream

__all__ = ["HttpServerLink", "HttpServerSettings", "Upgrade"]

logger = logging.getLogger(__name__)

Address = tuple[str, int]

_PAUSE = 0.1
"""Seconds before the next try where accepting fails, lest it be tried without a rest."""
_TASK = "connection"
"""Of each task: anyio would make a name for every one of them."""


class HttpServerLink(HttpHost):
    """Serves one machine on any number of addresses.

    ``upgrade`` is offered every request that asks for another protocol, so that WebSocket can
    share the port.  Run :meth:`serve` in a task; cancelling that task closes at once, without
    draining.
    """

    def __init__(
        self,
        machine: HttpServer,
        app: App,
        *,
        settings: HttpServerSettings | None = None,
        ssl_context: ssl.SSLContext | None = None,
        upgrade: Upgrade | None = None,
    ) -> None:
        super().__init__(machine, app, settings=settings)
        self.upgrade = upgrade
        self.addresses: list[Address] = []
        """Host and port of each listener, once :meth:`serve` has started."""
        self._ssl_context = ssl_context
        self._listeners: Sequence[SocketListener] = ()
        self.parser = RequestParser()
        self.writers = Writers(self.start)
        """Tasks for the connections."""
        self._turned_away = 0

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self.carriers)

    async def serve(
        self,
        host: str | Sequence[str] = "127.0.0.1",
        port: int = 0,
        *,
        task_status: TaskStatus[list[Address]] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen on every address of ``host`` and serve until :meth:`aclose`.

        Port 0 picks a free one, the same for all; started with the bound addresses.  Raises
        OSError with a readable message if an address cannot be listened on.
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
        """Serve on listeners made elsewhere, which are closed in the end."""
        self._once()
        self._listeners = listeners

        def started() -> None:
            assert self._tasks is not None  # noqa: S101 - called while serving only
            for listener in listeners:
                self._tasks.start_soon(self._accept, listener)
            self.addresses = [_address(listener) for listener in listeners]
            task_status.started(self.addresses)

        await self._run(started)

    async def _stop_accepting(self) -> None:
        await _close_all(self._listeners)

    def _forget(self) -> None:
        self.writers.dismiss()
        self.parser.forget()

    # Connections

    async def _accept(self, listener: SocketListener) -> None:
        assert self._tasks is not None  # noqa: S101 - runs while serving only
        while True:
            try:
                stream = await listener.accept()
            except anyio.ClosedResourceError:
                return
            except (OSError, anyio.BrokenResourceError) as error:
                # Out of descriptors, or the client was gone before it was accepted.
                logger.warning("cannot accept a connection: %s", error.__cause__ or error)
                await anyio.sleep(_PAUSE)
                continue
            connection = ServerConnection(self, stream, _peer(stream))
            full = self.full_for(connection.client)
            if full is None:
                self.add(connection)
                self._tasks.start_soon(self._connection, connection, name=_TASK)
            elif self._turned_away < self.settings.turned_away:
                self._turned_away += 1
                self._tasks.start_soon(self._turn_away, stream, f"too many connections{full}")
            else:
                await stream.aclose()

    async def _connection(self, connection: ServerConnection) -> None:
        try:
            await connection.run(self._ssl_context)
        except Exception:  # a mistake of ours ends one connection, not all of them
            logger.exception("a connection failed")
        finally:
            self.discard(connection)

    async def _turn_away(self, stream: SocketStream, message: str) -> None:
        """Say that there is no room; over TLS in as much time as those have that are let in."""
        secured: ByteStream | None = stream
        try:
            if self._ssl_context is not None:
                secured = await self._secured(stream, self._ssl_context)
            if secured is not None:
                await refuse(secured, 503, message, settings=self.settings)
        except Exception:
            logger.exception("a refusal failed")
        finally:
            self._turned_away -= 1
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    async def _secured(self, stream: SocketStream, context: ssl.SSLContext) -> ByteStream | None:
        """The same stream after the handshake of TLS; None: there was none in time."""
        with anyio.move_on_after(self.settings.head_time), suppress(*LOST):
            return await SecureStream.wrap(
                stream, server_side=True, ssl_context=context, standard_compatible=False
            )
        return None


async def _listen(host: str, port: int, reuse_port: bool) -> list[SocketListener]:
    try:
        bound = await anyio.create_tcp_listener(
            local_host=host or None, local_port=port, reuse_port=reuse_port
        )
    except OSError as error:
        # getaddrinfo has numbers of its own, and says what they mean
        known = error.errno if error.errno in errno.errorcode else None
        reason = str(error) if known is None else os.strerror(known)
        readable = OSError(f"cannot listen on {host}:{port}: {reason.lower()}")
        readable.errno = error.errno
        raise readable from error
    return list(bound.listeners)  # type: ignore[arg-type]


async def _close_all(listeners: Sequence[SocketListener]) -> None:
    with anyio.CancelScope(shield=True):
        for listener in listeners:
            await listener.aclose()


def _address(listener: SocketListener) -> Address:
    address = listener.extra(SocketAttribute.local_address)  # noqa: S610 - anyio's
    return (address, 0) if isinstance(address, str) else (address[0], address[1])


def _peer(stream: SocketStream) -> str | None:
    try:
        address = stream.extra(SocketAttribute.remote_address, None)  # noqa: S610 - anyio's
    except OSError:  # already gone
        return None
    return peer_name(address)
