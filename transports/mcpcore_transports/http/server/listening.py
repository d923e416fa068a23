"""HTTP server on sockets of its own: listening on addresses, and the connections on any event loop.

HTTP/1.0 and 1.1 (RFC 9110, RFC 9112), keep-alive, pipelining, chunked bodies, TLS.  The machine
(:class:`~mcpcore.HttpServer`) handles the requests, and
:class:`~mcpcore_transports.http.server.protocol.HttpProtocol` is a connection: on asyncio beneath
its own transports, which cost a fraction of streams of anyio, elsewhere beneath
:class:`StreamTransport`.
"""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskStatus

from mcpcore.http.server.server import HttpServer
from mcpcore.spec.errors import LocalError
from mcpcore_transports.http.server.host import HttpHost, guarded, peer_name
from mcpcore_transports.http.server.protocol import HttpProtocol, Upgrade
from mcpcore_transports.http1.connection import SMALL_READ
from mcpcore_transports.http1.heads import RequestParser
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.link import LOST, App, cannot_listen
from mcpcore_transports.running.functions import current_loop, known_in_callbacks
from mcpcore_transports.stream import plain

logger = logging.getLogger("mcpcore.http")

Address = tuple[str, int]

_READ = 256 * 1024
"""Maximum bytes of one read; less if the connection has less room."""


class HttpServerLink(HttpHost):
    """Server of one machine on any number of addresses.

    ``upgrade`` is offered every request for another protocol, so that WebSocket can share the
    port.  Run :meth:`serve` in a task; cancelling that task closes at once, without draining.
    Raises ExtraMissingError for a parser that is not installed, and LocalError for a driver that
    this loop cannot run.
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
        self.beside: Mapping[str, HttpHost] = {}
        """Hosts of other machines that the connections reach as well, by path."""
        self.addresses: list[Address] = []
        """Host and port of each listener, once :meth:`serve` has started."""
        self.ssl_context = ssl_context
        self.parser = RequestParser(
            self.settings.parser,
            self.settings.head_limits,
            plain=self.settings.usual_heads == "plainly",
        )
        self.on_streams = _on_streams(self.settings)
        """True if connections are streams of anyio."""
        self.inbox = memoryview(bytearray(_READ))
        """Shared buffer into which the transports of asyncio read, one at a time."""
        self.small_inbox = self.inbox[:SMALL_READ]
        """Beginning of the buffer, for reads of the usual size."""
        self._late: list[HttpProtocol] = []
        self._called = False  # in the next turn
        self._pending = plain.PendingConnections()
        self._joining: set[asyncio.Task[None]] = set()
        self._listeners: Sequence[socket.socket] = ()

    @property
    def connections(self) -> int:
        """Number of open connections, without those that are being refused."""
        return len(self.carriers) - self.turned_away

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
        self._check_unused()
        listeners: list[socket.socket] = []
        try:
            for name in [host] if isinstance(host, str) else host:
                made = await anyio.create_tcp_listener(
                    local_host=name or None, local_port=port, reuse_port=self.settings.reuse_port
                )
                raw = SocketAttribute.raw_socket
                listeners += [each.extra(raw) for each in made.listeners]  # noqa: S610 - anyio's
                port = port or listeners[0].getsockname()[1]
        except BaseException as error:
            for bound in listeners:
                bound.close()
            if isinstance(error, (OSError, UnicodeError)):
                readable = OSError(cannot_listen(name, port, error))
                readable.errno = getattr(error, "errno", None)
                raise readable from error
            raise
        await self.serve_listeners(listeners, task_status=task_status)

    async def serve_listeners(
        self,
        listeners: Sequence[socket.socket],
        *,
        task_status: TaskStatus[list[Address]] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on listeners of the caller, which are closed in the end.

        They are in non-blocking mode, and no other process has them.
        """
        self._check_unused()
        self._listeners = listeners

        def started() -> None:
            assert self._tasks is not None  # noqa: S101 - called while serving only
            for bound in listeners:
                if self.on_streams:
                    self._tasks.start_soon(plain.accept_each, bound, self._let_in, logger)
                else:
                    self._watch_listener(bound)
            self.addresses = [_address(bound) for bound in listeners]
            task_status.started(self.addresses)

        with known_in_callbacks():
            async with self._pending:
                await self._run(started)

    async def _stop_accepting(self) -> None:
        for bound in self._listeners:
            if bound.fileno() < 0:
                continue
            if not self.on_streams:
                asyncio.get_running_loop().remove_reader(bound)
            if not self.draining:
                plain.drop_new(bound)
                await self._accept_waiting(bound)
            plain.close_listener(bound)

    async def _accept_waiting(self, bound: socket.socket) -> None:
        """Accept what waits in the system, which would reset it with the end of the listener."""
        if self.on_streams:
            await plain.accept_waiting(bound, self._let_in)
            return
        for _ in range(socket.SOMAXCONN):
            if not self._accept(bound):
                return

    # Connections

    def _admit(self, address: object) -> HttpProtocol | None:
        """Return a new connection, which may have to be refused; None if it is to be closed."""
        connection = HttpProtocol(self, peer_name(address))
        full = self.full_for(connection.client)
        if full is not None:
            if self.turned_away >= self.settings.turned_away:
                return None
            connection.turn_away(f"too many connections{full}")
        self.add(connection)
        return connection

    async def _let_in(self, stream: ByteStream, address: object) -> None:
        assert self._tasks is not None  # noqa: S101 - runs while serving only
        connection = self._admit(address)
        if connection is None:
            await stream.aclose()
            return
        run = partial(guarded, StreamTransport(self, stream, connection).run)
        self._pending.begin(self._tasks, stream, run, "connection")

    # On asyncio's own transports a listener is watched for good, and no task waits at it.

    def _watch_listener(self, bound: socket.socket) -> None:
        if bound.fileno() >= 0:
            try:
                asyncio.get_running_loop().add_reader(bound, self._accept, bound)
            except OSError as error:  # the event loop can watch no more
                self._accept_later(bound, error)

    def _accept_later(self, bound: socket.socket, error: OSError) -> None:
        logger.warning("cannot accept a connection: %s", error)
        asyncio.get_running_loop().call_later(plain.PAUSE, self._watch_listener, bound)

    def _accept(self, bound: socket.socket) -> bool:
        """Accept a connection; return False if none can be."""
        loop = asyncio.get_running_loop()
        try:
            accepted, address = bound.accept()
        except (BlockingIOError, InterruptedError):
            return False  # another process was faster
        except OSError as error:
            loop.remove_reader(bound)
            self._accept_later(bound, error)
            return False
        accepted.setblocking(False)
        connection = self._admit(address)
        if connection is None:
            accepted.close()
            return True
        if accepted.family != socket.AF_UNIX:
            plain.keep_alive(accepted, None)
        task = loop.create_task(guarded(partial(self._join, accepted, connection)))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)
        return True

    async def _join(self, accepted: socket.socket, connection: HttpProtocol) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: connection, accepted)
        except BaseException:
            connection.stop()
            accepted.close()
            raise

    # Output

    def write_soon(self, connection: HttpProtocol) -> None:
        """Schedule ``connection`` to write in the next turn of the event loop."""
        self._late.append(connection)
        if not self._called:
            if isinstance(loop := current_loop(), asyncio.AbstractEventLoop):
                loop.call_soon(self._write_in_turn)
            else:
                self.start(self._write_in_task)
            self._called = True

    def write_now(self) -> None:
        """Implement :meth:`~mcpcore_transports.link.Link.write_now`."""
        if self._late and self._context is not None:
            self._context.copy().run(self._write_late)  # flushing enters the context itself

    def _write_in_turn(self) -> None:
        self._called = False
        self._write_late()

    async def _write_in_task(self) -> None:
        self._write_in_turn()

    def _write_late(self) -> None:
        late, self._late = self._late, []
        for connection in late:
            connection.write_late()


class StreamTransport(asyncio.Transport):
    """Transport of asyncio, as far as a connection needs one, over a stream of anyio.

    One task reads.  Output that the system does not take at once is written by another, which lasts
    until all is written.
    """

    def __init__(self, link: HttpServerLink, stream: ByteStream, connection: HttpProtocol) -> None:
        super().__init__()
        self._link = link
        self._stream = stream
        self._connection = connection
        self._output = bytearray()  # to be written by the task
        self._ending = False  # the end of the output is to be sent behind it
        self._closing = False
        self._writing = False
        self._resumed: anyio.Event | None = None  # while reading is paused
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        """Carry the connection until it is closed or lost."""
        connection = self._connection
        lost: Exception | None = None
        try:
            connection.connection_made(self)
            with self._scope:
                try:
                    await self._read()
                except LOST as error:
                    lost = error
        finally:
            self._closing = True
            connection.connection_lost(lost)
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()

    async def _read(self) -> None:
        connection = self._connection
        while not self._closing:
            try:
                data = await self._stream.receive(len(connection.get_buffer(-1)))
            except anyio.EndOfStream:
                connection.eof_received()
                break
            while self._resumed is not None:
                await self._resumed.wait()
            connection.receive(data)
        await anyio.Event().wait()  # for the end of the output

    def pause_reading(self) -> None:
        """Implement :meth:`asyncio.ReadTransport.pause_reading`."""
        self._resumed = anyio.Event()

    def resume_reading(self) -> None:
        """Implement :meth:`asyncio.ReadTransport.resume_reading`."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: any unsent byte is reported, as connections want it."""

    def is_closing(self) -> bool:
        """Implement :meth:`asyncio.BaseTransport.is_closing`."""
        return self._closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Implement :meth:`asyncio.WriteTransport.write`."""
        if self._closing:
            return
        if not self._output and isinstance(self._stream, plain.PlainStream):
            with suppress(OSError):  # the task learns of a loss
                data = data[os.write(self._stream.descriptor, data) :]
        self._output += data
        if data and not self._writing:
            self._connection.pause_writing()
            self._write_in_task()

    def _write_in_task(self) -> None:
        if not self._writing:
            self._writing = True
            self._link.start(self._write)

    async def _write(self) -> None:
        blocked = bool(self._output)
        try:
            while self._output:
                data = bytes(self._output)
                self._output.clear()
                await self._stream.send(data)
            if self._ending:
                await self._stream.send_eof()
        except LOST:
            self.abort()
            return
        self._writing = False
        if self._closing:
            self._scope.cancel()
        elif blocked:
            self._connection.resume_writing()

    def write_eof(self) -> None:
        """Implement :meth:`asyncio.WriteTransport.write_eof`."""
        self._ending = True
        self._write_in_task()

    def close(self) -> None:
        """Implement :meth:`asyncio.BaseTransport.close`."""
        self._closing = True
        if not self._writing:
            self._scope.cancel()

    def abort(self) -> None:
        """Implement :meth:`asyncio.WriteTransport.abort`."""
        self._closing = True
        self._scope.cancel()


def _address(bound: socket.socket) -> Address:
    address = bound.getsockname()
    return (address, 0) if isinstance(address, str) else address[:2]


def _on_streams(settings: HttpServerSettings) -> bool:
    """Return True if connections must be streams of anyio.  Raises LocalError."""
    # On Windows streams do not give their sockets away.
    fits = isinstance(current_loop(), asyncio.AbstractEventLoop) and os.name != "nt"
    if settings.driver == "asyncio" and not fits:
        raise LocalError("the HTTP driver asyncio does not run on trio, nor on Windows")
    return settings.driver == "anyio" or not fits
