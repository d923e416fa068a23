"""Streamable HTTP client: carries out the plans of an HttpClient over a pool of connections.

HTTP/1.1 with keep-alive, TLS and proxies; asyncio and trio.  The machine interprets the responses,
redirects included (:class:`~mcpcore.http.HttpClient`).
"""

import logging
import math
import os
import select
import socket
import ssl
from asyncio.trsock import TransportSocket
from typing import Protocol

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketAttribute, SocketStream

from mcpcore.engine.events import Fault, FaultKind, Route
from mcpcore.http import HttpClient
from mcpcore.http.messages import HttpSend
from mcpcore_transports.http.client.carrier import (
    CODINGS,
    Failure,
    HttpCarrier,
    Origin,
    RequestHeaders,
    coding_fault,
    proxy_refusal,
)
from mcpcore_transports.http.client.proxies import Proxy
from mcpcore_transports.http.settings import HttpClientLinkSettings
from mcpcore_transports.http1.body import BadBody, BadCoding
from mcpcore_transports.http1.client import Http1Client
from mcpcore_transports.http1.format import format_request
from mcpcore_transports.http1.heads import BadHead
from mcpcore_transports.link import App, clock
from mcpcore_transports.link_errors import LOST
from mcpcore_transports.sockets.tcp import socket_of
from mcpcore_transports.tls import tls_problem

__all__ = ["HttpClientLink", "HttpClientLinkSettings"]

logger = logging.getLogger("mcpcore.http")

_OVER_LIMITS = (414, 431)


class HttpClientLink(HttpCarrier):
    """Link with the connections of one client machine.

    ``url`` names the machine's server; https without ``ssl_context`` verifies against the system's
    certificates (:func:`mcpcore_transports.tls.client_tls`).  ``proxy`` is the proxy to it.
    ``headers`` is called for headers with every request.  Raises ValueError for a URL that is
    neither http nor https.  See :class:`~mcpcore_transports.http.client.carrier.HttpCarrier` for
    running it.
    """

    def __init__(
        self,
        machine: HttpClient,
        app: App,
        *,
        url: str,
        settings: HttpClientLinkSettings | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        headers: RequestHeaders | None = None,
    ) -> None:
        self.origin = Origin.of(url, ssl_context, proxy)
        super().__init__(machine, app, settings, headers)
        self._connections: set[PooledConnection] = set()
        self._idle: list[PooledConnection] = []
        self._exchanges: dict[Route, PooledConnection] = {}

    @property
    def connections(self) -> int:
        """Number of open connections, with those being opened."""
        return len(self._connections)

    # Called by connections

    def finish(
        self, connection: "PooledConnection", exchange: Route, failure: Failure | None
    ) -> None:
        """Handle the end of the response of ``exchange``, complete or failed with ``failure``."""
        if self._exchanges.pop(exchange, None) is None:
            return  # aborted
        self.ended(exchange, failure)
        if connection.usable:
            if self._waiting:
                self._assign(connection, self._waiting.popleft())
            else:
                self._idle.append(connection)
        self.flush_soon()
        self._check_quiet()

    def retire(self, connection: "PooledConnection") -> None:
        """Assign no more exchanges to a connection."""
        if connection in self._idle:
            self._idle.remove(connection)

    def discard(self, connection: "PooledConnection") -> None:
        """Handle the end of a connection."""
        self._connections.discard(connection)
        if self._waiting:
            self._send(self._waiting.popleft())

    # Plans of the machine

    def _send(self, send: HttpSend) -> None:
        if self._idle:
            self._assign(self._idle.pop(), send)
        elif self._tasks is None or len(self._connections) >= self.settings.connections:
            self._waiting.append(send)
        else:
            connection = PooledConnection(self, send)
            self._exchanges[send.exchange] = connection
            self._watch()
            self._connections.add(connection)
            self._tasks.start_soon(connection.run)

    def _assign(self, connection: "PooledConnection", send: HttpSend) -> None:
        self._exchanges[send.exchange] = connection
        self._watch()
        connection.resume(send)

    def _stop_running(self, exchange: Route) -> bool:
        connection = self._exchanges.pop(exchange, None)
        if connection is not None:
            connection.stop()
        return connection is not None

    def _runs(self) -> bool:
        return bool(self._exchanges)

    # Timer

    def _quiet_until(self) -> float:
        if self._exchanges:
            return 0.0
        return min((connection.http.deadline for connection in self._connections), default=0.0)

    def _expire(self, now: float) -> bool:
        for connection in tuple(self._connections):
            if connection.http.deadline <= now:
                self.retire(connection)
                connection.expire()
        return bool(self._connections)


class _Poll(Protocol):
    def poll(self, timeout: float, /) -> list[tuple[int, int]]: ...


class PooledConnection:
    """Slot in the pool: moves the bytes of :class:`~mcpcore_transports.http1.client.Http1Client`.

    It outlives its connection: if the server closed that between two exchanges, it opens another.
    ``http.deadline`` is the time at which its current step has taken too long.
    """

    def __init__(self, link: HttpClientLink, send: HttpSend) -> None:
        self.http = Http1Client(link.settings)
        self._link = link
        self._settings = link.settings
        self._send: HttpSend | None = send
        self._stream: ByteStream | None = None
        self._socket: socket.socket | TransportSocket | None = (
            None  # of a stream that can be written to beside it
        )
        self._poll: _Poll | None = None
        self._sent = False  # all of the request
        self._overdue = False
        self._over = False  # no further exchange is begun
        self._scope = anyio.CancelScope()
        self._signal = anyio.Event()

    @property
    def usable(self) -> bool:
        """True if the connection can carry another exchange."""
        kept = self._stream is not None and self._settings.idle_time > 0
        return kept and not self._over and not self._scope.cancel_called

    def resume(self, send: HttpSend) -> None:
        """Carry out another exchange; only while idle."""
        self.http.deadline = math.inf  # until the task has woken up
        self._send = send
        self._signal.set()

    def stop(self) -> None:
        """Close at once; an exchange that the machine did not abort fails."""
        self._scope.cancel()

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        self._overdue = True
        self._scope.cancel()

    async def run(self) -> None:
        """Carry out exchanges until there was none for ``idle_time``."""
        failure = Failure(f"the connection to {self._link.origin} was closed")
        try:
            with self._scope:
                while (send := self._send) is not None:
                    self.http.begin(send.timeout, send.head_timeout, clock())
                    result = await self._carry_out(send)
                    self._send = None
                    self._signal = anyio.Event()
                    self.http.rest(clock())
                    self._link.finish(self, send.exchange, result)  # may resume us
                    if self._idle():
                        await self._signal.wait()
            if self._overdue:
                failure = Failure(f"{self._link.origin} {self.http.step}", Fault(FaultKind.STALLED))
        finally:
            # If all tasks are cancelled, this slot may be idle while others still have requests to
            # send.
            self._over = True
            self._link.retire(self)
            if self._send is not None:
                self._link.finish(self, self._send.exchange, failure)
            await self._close()
            self._link.discard(self)

    def _idle(self) -> bool:
        return self._send is None and self.usable

    async def _carry_out(self, send: HttpSend) -> Failure | None:
        """Send one request and feed the response to the machine; return the failure, if any.

        A connection that was used before may turn out to be closed without a byte received.  Most
        likely the server had closed it before the request came.  A request that may reach the
        server twice is then sent once more.
        """
        link = self._link
        try:
            head = await self._head(send)
        except Failure as failure:
            return failure
        while True:
            reused = self._stream is not None and not self._stale()
            try:
                if not reused:
                    await self._connect()
                await self._converse(head, send.body, send.exchange)
                return None
            except Failure as failure:
                problem = failure
            except (BadHead, BadBody) as error:
                over = isinstance(error, BadHead) and error.status in _OVER_LIMITS
                kind = FaultKind.TOO_LARGE if over else FaultKind.MALFORMED
                problem = Failure(f"malformed response from {link.origin}: {error}", Fault(kind))
            except BadCoding as error:
                problem = coding_fault(link.origin, error)
            except LOST as error:
                problem = self._loss(error)
            except Exception as error:
                # Any exception ends this exchange and nothing else.
                logger.exception("an exchange with %s failed", link.origin)
                await self._close()
                return Failure(f"{link.origin}: {type(error).__name__}: {error}")
            await self._close()
            if self.http.received or not reused or not send.repeatable:
                return problem

    async def _head(self, send: HttpSend) -> bytes:
        """Return the head of a request for this connection.  Raises :class:`Failure`."""
        link, target = self._link, send.target
        headers = await link.headers_of(send)
        headers = [*headers, (b"accept-encoding", CODINGS[self._settings.compression])]
        relay = link.origin.relay
        if relay is not None:
            host = next(value for name, value in headers if name == b"host")
            target = f"http://{host.decode('ascii')}{target}"
            if relay.authorization is not None:
                headers.append((b"proxy-authorization", relay.authorization))
        if link.trace is not None:
            link.trace.request(send.exchange, send.method, target, headers, send.body)
        try:
            return format_request(send.method, target, headers)
        except ValueError as error:
            raise Failure(str(error), Fault(FaultKind.HEADERS)) from error

    def _loss(self, error: BaseException) -> Failure:
        origin = self._link.origin
        problem = tls_problem(error)
        if problem is not None:
            return Failure(f"TLS with {origin} failed: {problem}", Fault(FaultKind.TLS))
        where = "within a response" if self.http.received else "without a response"
        return Failure(f"{origin} closed the connection {where}")

    async def _connect(self) -> None:
        await self._close()
        self.http.connect()
        settings = self._settings
        self._stream = await self._link.origin.connect(settings.connect_time, settings.head_limits)
        self.http.established()
        if isinstance(self._stream, SocketStream):  # and no TLS between
            self._socket = descriptor_of(self._stream)
        if hasattr(select, "poll"):
            poll = select.poll()
            raw_socket = socket_of(self._stream)
            if raw_socket.fileno() < 0:  # it was lost at once, and the event loop has noticed
                raise anyio.BrokenResourceError
            poll.register(raw_socket, select.POLLIN)
            self._poll = poll

    def _stale(self) -> bool:
        """Return True if an idle connection has input, which is an end of stream or garbage."""
        return self._poll is not None and bool(self._poll.poll(0))

    async def _close(self) -> None:
        stream, self._stream, self._socket, self._poll = self._stream, None, None, None
        self.http.stop()
        if stream is not None:
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    async def _converse(self, head: bytes, body: bytes, exchange: Route) -> None:
        """Send a request and feed the response to the machine.

        While a large request is being sent, the response is already read, as it may refuse the
        request as too large (RFC 9112 section 9.5).
        """
        self.http.send()
        if len(head) + len(body) <= self._settings.write_size:
            request = head + body
            if self._socket is not None:
                # The stream buffers nothing: it took all of the last request, or was closed.
                request = request[write_some(self._socket, request) :]
            if request:
                await self._write(request, b"")
            await self._read(exchange)
            return
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, head, body)
            try:
                await self._read(exchange)
            except (Failure, BadHead, BadBody, BadCoding, *LOST) as error:
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if not self._sent:  # the rest is not wanted
            await self._close()

    async def _write(self, head: bytes, body: bytes) -> None:
        stream, size = self._stream, self._settings.write_size
        assert stream is not None  # noqa: S101 - connected by the caller
        self._sent = False
        try:
            start = max(0, size - len(head))
            piece = head + body[:start]
            while piece:
                self.http.sending(clock())
                await stream.send(piece)
                piece, start = body[start : start + size], start + size
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            return  # the server may have answered without reading everything
        self._sent = True
        self.http.sent()

    async def _read(self, exchange: Route) -> None:
        """Feed the response to the machine as it is received."""
        http, link, machine = self.http, self._link, self._link.machine
        while (head := http.next_head(clock())) is None:
            http.feed(await self._receive())
        status, headers, codings = head.status, head.headers, head.values(b"content-encoding")
        if status == 407 and link.origin.relay is not None:
            raise proxy_refusal(link.origin.relay, status, "the request")
        http.accept_codings(codings)
        if link.trace is not None:
            link.trace.response(exchange, status, headers)
        machine.response_head(exchange, status, headers, now=clock())
        while True:
            if data := http.read_body():
                await self._pass_on(data, exchange, coded=bool(codings))
            http.check_body()
            if http.complete:
                break
            link.flush_soon()
            try:
                http.feed(await self._receive())
            except anyio.EndOfStream:
                if not http.end_input():
                    raise
                break
        if not http.finish():
            await self._close()

    async def _pass_on(self, data: bytes, exchange: Route, *, coded: bool) -> None:
        """Feed content to the machine; notice an abort between the pieces of coded content."""
        link = self._link
        for piece in self.http.decode(data):
            if link.trace is not None:
                link.trace.response_data(exchange, piece)
            link.machine.response_data(exchange, piece, now=clock())
            if coded:
                link.flush_soon()
                if self._scope.cancel_called:
                    await anyio.lowlevel.checkpoint()

    async def _receive(self) -> bytes:
        assert self._stream is not None  # noqa: S101 - connected by the caller
        return await self._stream.receive()


def descriptor_of(stream: ByteStream) -> socket.socket | TransportSocket | None:
    """Return the socket of a stream if it can be written to; the stream's buffer must be empty.

    The socket of uvloop cannot: it goes on returning its number when that belongs to another
    socket. On Windows the numbers are no file descriptors.
    """
    if os.name != "posix":
        return None
    try:
        found = stream.extra(SocketAttribute.raw_socket, None)  # noqa: S610 - anyio's
    except AttributeError:  # uvloop's, lost already: see socket_of
        return None
    return found if isinstance(found, (socket.socket, TransportSocket)) else None


def write_some(descriptor: socket.socket | TransportSocket, data: bytes) -> int:
    """Write the bytes that the system takes at once; return their number.

    Returns 0 if the connection is lost: the caller learns why when it waits to write the rest.
    """
    try:
        return os.write(descriptor.fileno(), data)
    except OSError:
        return 0
