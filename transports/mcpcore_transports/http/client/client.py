"""Streamable HTTP clients: the plans of an HttpClient carried out over a pool of connections.

HTTP/1.1 with keep-alive, TLS and proxies; asyncio and trio.  The machine interprets the responses,
redirects included (:class:`~mcpcore.HttpClient`).
"""

import logging
import math
import os
import select
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketStream, TaskStatus
from msgspec import Struct

from mcpcore.engine.events import Fault, FaultKind, Route
from mcpcore.engine.lifecycle import State, Table
from mcpcore.errors import AuthorizationError
from mcpcore.http.client.call import own_header
from mcpcore.http.client.client import HttpClient
from mcpcore.http.messages import HttpAbort, HttpSend
from mcpcore.http.origin import DEFAULT_PORTS
from mcpcore.spec.refusals import HEAD_TOO_LARGE, TARGET_TOO_LONG
from mcpcore.wire.redaction import shown_url
from mcpcore_transports.http.client.protocol import HttpClientProtocol, transport_of
from mcpcore_transports.http.client.proxies import Proxy
from mcpcore_transports.http.link import HttpLink
from mcpcore_transports.http1.body import BadBody, BadCoding, BadHead, Bomb
from mcpcore_transports.http1.connection import Http1Client, Http1State
from mcpcore_transports.http1.format import format_request, with_agent
from mcpcore_transports.http1.heads import ResponseParser
from mcpcore_transports.http1.settings import HeadLimits, HttpClientLinkSettings
from mcpcore_transports.link import LOST, App, clock, not_reached
from mcpcore_transports.running.functions import (
    called,
    failure_of,
    known_in_callbacks,
    without_messages,
)
from mcpcore_transports.stream.channels import SecureStream
from mcpcore_transports.stream.plain import socket_of
from mcpcore_transports.tls import client_tls, tls_problem

if TYPE_CHECKING:  # late: few record a trace, or sign in
    from mcpcore_transports.http.client.authorization import AuthorizedExchanges, RequestAuthorizer
    from mcpcore_transports.tracing.tracing import HttpTrace

logger = logging.getLogger("mcpcore.http")

RequestHeaders = Callable[[HttpSend], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""Function, or coroutine function, that returns headers for a request about to be sent.

They replace those of the same name.  An exception from it ends that request.
"""

CODINGS = {True: b"gzip, deflate", False: b"identity"}
"""Accept-Encoding, with and without compression."""
_CLOSED = "this side is closed"
AUTHORIZING = frozenset({b"authorization", b"dpop"})
"""Headers that authorization sets."""
_SWEEP = 0.4
"""Maximum seconds between two checks of the deadlines of connections."""


class ExchangeFailed(Exception):
    """Failure of an exchange; the message gives the reason, ``fault`` its kind."""

    def __init__(self, message: str, fault: Fault | None = None) -> None:
        super().__init__(message)
        self.fault = fault


class Exchanges(Protocol):
    """Exchanges of a link: over connections of its own, or by an HTTP client of the application."""

    @property
    def running(self) -> Mapping[Route, object]:
        """Exchanges that are being carried out."""

    @property
    def open(self) -> Collection[object]:
        """Open connections, with those being opened."""

    def begin(self, send: HttpSend) -> bool:
        """Carry out a request; return False if it must wait for the end of another."""

    def stop(self, exchange: Route) -> bool:
        """Stop an exchange that the machine has aborted; return False if it is not carried out."""

    def expire(self, now: float) -> float:
        """Act on expired deadlines of connections; return the time of the next, if all are idle.

        It is 0 while any is busy, and infinite without connections.
        """


class HttpClientLink(HttpLink):
    """Link that carries out the plans of a client machine, until :meth:`aclose`.

    Run :meth:`run` in a task, whose cancellation closes the link at once.  It connects when there
    is something to send: a failure is an outcome of the request concerned.

    ``exchanges`` makes what sends the requests; the default is a pool of connections, for which
    https without ``ssl_context`` verifies against the system's certificates
    (:func:`mcpcore_transports.tls.client_tls`), and ``proxy`` is the proxy to the server.
    ``headers`` is called for headers with every request; ``authorizer`` puts tokens on them, and
    answers challenges if the machine's settings tell of them.  Raises ValueError for a URL that is
    neither http nor https.
    """

    def __init__(
        self,
        machine: HttpClient,
        app: App,
        *,
        exchanges: "Callable[[HttpClientLink], Exchanges] | None" = None,
        settings: HttpClientLinkSettings | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        headers: RequestHeaders | None = None,
        authorizer: "RequestAuthorizer | None" = None,
    ) -> None:
        self.machine = machine
        self.settings = settings or HttpClientLinkSettings()
        times = self.settings
        shortest = min(times.idle_time or _SWEEP, times.write_time, times.body_time)
        self.authorized: AuthorizedExchanges | None = None
        """Tokens of the requests; None without authorization."""
        if authorizer is not None:
            from mcpcore_transports.http.client import authorization  # late: few authorize

            app = self.authorized = authorization.AuthorizedExchanges(
                machine, app, authorizer, self.flush_soon
            )
        super().__init__(machine, app, sweep=min(_SWEEP, shortest / 4))
        self._exchanges: Exchanges
        if exchanges is None:
            self._exchanges = ConnectionPool(self, Origin.of(machine.url, ssl_context, proxy))
        else:
            self._exchanges = exchanges(self)
        self._headers = headers
        self.waiting: deque[HttpSend] = deque()
        """Requests that wait for the end of another exchange."""
        self._delayed: dict[Route, tuple[float, HttpSend]] = {}
        """Requests that are due later, and when."""
        self._stopped = False
        self.trace: HttpTrace | None = None
        """Trace that records the requests and responses; set it before run()."""
        self._quiet: anyio.Event | None = None  # while the link waits for its last exchanges

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Carry out the plans of the machine until :meth:`aclose`."""
        if self._tasks is not None:
            raise RuntimeError("a link runs once")
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._keep_alarm)
                if self.authorized is not None:
                    self.authorized.tasks = self._tasks
                waiting, self.waiting = self.waiting, deque()
                for send in waiting:
                    self._send(send)
                self.flush_soon()
                task_status.started()
                try:
                    await self._closing.wait()
                    self._let_go()
                    self.machine.close(now=clock())
                    self.flush_soon()
                    with anyio.move_on_after(self.settings.close_time):
                        while self._exchanges.running or self.waiting:
                            self._quiet = anyio.Event()
                            await self._quiet.wait()
                finally:
                    self._stop()
                self._tasks.cancel_scope.cancel()
        finally:
            self._stop()
            self._ended.set()

    def _stop(self) -> None:
        """Stop sending and fail the planned requests."""
        if self._stopped:
            return
        self._stopped = True
        self._let_go()
        self.machine.close(now=clock())  # aclose() may have come when this task was cancelled
        for send in [*self.waiting, *(send for _, send in self._delayed.values())]:
            self.machine.response_end(send.exchange, error=_CLOSED, now=clock())
        self.waiting.clear()
        self._delayed.clear()
        self.flush_soon()

    def _let_go(self) -> None:
        """Stop starting sign-ins."""
        if self.authorized is not None:
            self.authorized.tasks = None

    @property
    def connections(self) -> int:
        """Number of open connections, with those being opened."""
        return len(self._exchanges.open)

    # For the exchanges

    @property
    def asks_for_headers(self) -> bool:
        """True if the headers of a request have to be awaited."""
        return self._headers is not None or self.authorized is not None

    def run_task(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``work`` in a task of the link."""
        assert self._tasks is not None  # noqa: S101 - nothing is sent before
        with known_in_callbacks():  # for the transports that the task makes
            self._tasks.start_soon(work)

    def send_next(self) -> None:
        """Carry out the request that has waited longest, if any has."""
        if self.waiting:
            self._send(self.waiting.popleft())

    async def headers_of(self, send: HttpSend) -> list[tuple[bytes, bytes]]:
        """Return all headers of a request, the application's too.  Raises ExchangeFailed."""
        headers = send.headers
        if self._headers is not None:
            headers = await self._with_own(send, self._headers)
        if self.authorized is None:
            return headers
        if any(name in AUTHORIZING for name, _ in headers):
            text = "the header Authorization is set by `auth`: its function may not set it"
            raise ExchangeFailed(text, Fault(FaultKind.HEADERS))
        try:
            made = await self.authorized.headers(send)
        except AuthorizationError as error:
            raise ExchangeFailed(str(error), Fault(FaultKind.AUTHORIZATION)) from error
        return [*headers, *map(own_header, made.items())]

    async def _with_own(
        self, send: HttpSend, function: RequestHeaders
    ) -> list[tuple[bytes, bytes]]:
        """Return the headers of a request with those of the application's function."""
        try:
            given = await called(function, send)
            pairs = [*given.items()]
        except BaseException as raised:
            error = failure_of(raised)
            logger.debug("the function for headers failed\n%s", without_messages(error))
            text = f"its headers could not be made: {type(error).__name__}"
            raise ExchangeFailed(text, Fault(FaultKind.HEADERS)) from error
        try:
            own = [own_header(pair) for pair in pairs]
        except Exception as error:
            text = f"its headers could not be made: {type(error).__name__}: {error}"
            raise ExchangeFailed(text, Fault(FaultKind.HEADERS)) from error
        names = {name for name, _ in own}
        return [*(pair for pair in send.headers if pair[0] not in names), *own]

    def ended(self, exchange: Route, failure: ExchangeFailed | None) -> None:
        """Tell the machine that a response is complete, or that it failed with ``failure``."""
        error = None if failure is None else str(failure)
        fault = None if failure is None else failure.fault
        if self.trace is not None:
            self.trace.over(exchange, error or "")
        self.machine.response_end(exchange, error=error, fault=fault, now=clock())
        if self.authorized is not None:
            self.authorized.ended(exchange)
        self.flush_soon()
        self._check_quiet()

    def handle_events(self) -> None:
        """Implement :meth:`HttpLink.handle_events`; mostly there is only output."""
        if self.machine.has_input:
            super().handle_events()

    # Plans of the machine

    def _move_output(self) -> bool:
        news = False
        for plan in self.machine.requests_to_send():
            if isinstance(plan, HttpAbort):
                self._abort(plan.exchange)
                news = True
            elif self._stopped:
                self.machine.response_end(plan.exchange, error=_CLOSED, now=clock())
                news = True
            elif plan.after:
                self._delayed[plan.exchange] = clock() + plan.after, plan
            else:
                self._send(plan)
        return news

    def _abort(self, exchange: Route) -> None:
        if self.trace is not None:
            self.trace.given_up(exchange)
        if self.authorized is not None:
            self.authorized.abort(exchange)
        self._delayed.pop(exchange, None)
        if not self._exchanges.stop(exchange):
            self.waiting = deque(send for send in self.waiting if send.exchange != exchange)
        self._check_quiet()

    def _send(self, send: HttpSend) -> None:
        """Carry out one request, or queue it."""
        if self._tasks is None or not self._exchanges.begin(send):
            self.waiting.append(send)

    def _check_quiet(self) -> None:
        if self._quiet is not None and not self._exchanges.running and not self.waiting:
            self._quiet.set()

    # Timer

    def _expire(self, now: float) -> float:
        return self._exchanges.expire(now)

    def _deadline(self) -> float | None:
        deadline = self.machine.deadline()
        if not self._delayed:
            return deadline
        first = min(due for due, _ in self._delayed.values())
        return first if deadline is None else min(first, deadline)

    def _handle_deadline(self, now: float) -> None:
        for exchange, (due, send) in tuple(self._delayed.items()):
            if due <= now:
                del self._delayed[exchange]
                self._send(send)
        self.machine.handle_timeout(now)


def coding_fault(server: object, error: BadCoding) -> ExchangeFailed:
    """Return the failure for a response whose content coding is refused."""
    kind = FaultKind.TOO_LARGE if isinstance(error, Bomb) else FaultKind.ENCODING
    return ExchangeFailed(f"{server}: {error}", Fault(kind))


# Destinations


class Origin(Struct, frozen=True):
    """Host and port to connect to, with the proxy on the way."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None
    proxy: Proxy | None = None
    tunnel: bool = False
    """True if the proxy must open a tunnel also without TLS, as other protocols need it."""
    address: str | None = None
    """Address of the host that was checked, and is connected to; None: any that it has."""

    @classmethod
    def of(
        cls, url: str, ssl_context: ssl.SSLContext | None = None, proxy: Proxy | None = None
    ) -> "Origin":
        """Make the origin from a URL.  Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"not an http or https URL: {shown_url(url)!r}")
        if parts.scheme == "http":
            ssl_context = None
        elif ssl_context is None:
            ssl_context = client_tls()
        return cls(parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme], ssl_context, proxy)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def relay(self) -> Proxy | None:
        """Proxy that is sent requests with whole URLs, if any; a tunnel is not one."""
        return self.proxy if self.ssl_context is None and not self.tunnel else None

    async def connect(self, seconds: float, limits: HeadLimits) -> ByteStream:
        """Open a connection.  ``limits`` are those of a proxy's head.  Raises ExchangeFailed."""
        try:
            with anyio.fail_after(seconds):
                return await self._connect(limits)
        except TimeoutError:
            fault = Fault(FaultKind.CONNECT_TIMEOUT)
            by = f" by the proxy {self.proxy}" if self.proxy is not None else ""
            raise ExchangeFailed(
                f"connecting to {self}{by} took more than {seconds:g} s", fault
            ) from None

    async def _connect(self, limits: HeadLimits) -> ByteStream:
        proxy = self.proxy
        if proxy is None:
            place = self.address or self.host
            stream = await _reach(place, self.port, str(self), FaultKind.CONNECT)
        else:
            shown = f"the proxy {proxy}"
            stream = await _reach(proxy.host, proxy.port, shown, FaultKind.PROXY)
            if proxy.secure:
                context = proxy.ssl_context or client_tls()
                stream = await _secure(stream, proxy.host, context, shown, FaultKind.PROXY)
            if self.relay is None:
                await self._tunnel(stream, proxy, limits)
        if self.ssl_context is not None:
            stream = await _secure(stream, self.host, self.ssl_context, str(self), FaultKind.TLS)
        return stream

    async def _tunnel(self, stream: ByteStream, proxy: Proxy, limits: HeadLimits) -> None:
        """Ask the proxy to open a tunnel (RFC 9110 section 9.3.6)."""
        try:
            await self._ask(stream, proxy, limits)
        except BaseException as error:
            await anyio.aclose_forcefully(stream)
            if not isinstance(error, (BadHead, *LOST)):
                raise
            reason = "closed the connection"
            if isinstance(error, BadHead):
                reason = f"sent a malformed response: {error}"
            raise ExchangeFailed(f"the proxy {proxy} {reason}", Fault(FaultKind.PROXY)) from error

    async def _ask(self, stream: ByteStream, proxy: Proxy, limits: HeadLimits) -> None:
        authority = str(self)
        headers = [(b"host", authority.encode("idna" if not authority.isascii() else "ascii"))]
        if proxy.authorization is not None:
            headers.append((b"proxy-authorization", proxy.authorization))
        request = format_request("CONNECT", headers[0][1].decode(), with_agent(headers))
        await stream.send(request)
        buffer = bytearray()
        heads = ResponseParser(limits)
        while (head := heads.take(buffer)) is None:
            buffer += await stream.receive()
        if not 200 <= head.status < 300:
            raise proxy_refusal(proxy, head.status, str(self))
        if buffer:
            # The server never sends first, in TLS or before an upgrade.
            text = f"the proxy {proxy} sent something through the tunnel before we did"
            raise ExchangeFailed(text, Fault(FaultKind.PROXY))


def proxy_refusal(proxy: Proxy, status: int, what: str) -> ExchangeFailed:
    """Return the failure for a proxy that refuses with a response of its own."""
    why = "it wants authorization, or other" if status == 407 else "it does not connect us"
    text = f"the proxy {proxy} answered with HTTP status {status} to {what} ({why})"
    return ExchangeFailed(text, Fault(FaultKind.PROXY, status))


async def _reach(host: str, port: int, shown: str, kind: FaultKind) -> ByteStream:
    try:
        return await anyio.connect_tcp(host, port)
    except (OSError, UnicodeError) as error:
        # UnicodeError comes for names that are invalid, such as a..b.
        raise ExchangeFailed(f"{not_reached(error)}: {shown}", Fault(kind)) from error


async def _secure(
    stream: ByteStream, host: str, context: ssl.SSLContext, shown: str, kind: FaultKind
) -> ByteStream:
    try:
        return await SecureStream.wrap(
            stream, hostname=host, ssl_context=context, standard_compatible=False
        )
    except BaseException as error:
        await anyio.aclose_forcefully(stream)
        if not isinstance(error, (ssl.SSLError, ssl.CertificateError, ValueError, *LOST)):
            raise
        reason = tls_problem(error)
        if reason is None:
            reason = str(error) if isinstance(error, ValueError) else "it closed the connection"
        raise ExchangeFailed(f"TLS with {shown} failed: {reason}", Fault(kind)) from error


# The pool


_OVER_LIMITS = (TARGET_TOO_LONG, HEAD_TOO_LARGE)


class ConnectionPool:
    """Connections of a link to one origin, each with one exchange at a time."""

    def __init__(self, link: HttpClientLink, origin: Origin) -> None:
        self.link = link
        self.origin = origin
        self.running: dict[Route, PooledConnection] = {}
        """Exchanges that are being carried out, with their connections."""
        self.open: set[PooledConnection] = set()
        """Open connections, with those being opened."""
        self._idle: list[PooledConnection] = []

    # Called by connections

    def finish(
        self, connection: "PooledConnection", exchange: Route, failure: ExchangeFailed | None
    ) -> None:
        """Handle the end of the response of ``exchange``, complete or failed with ``failure``."""
        if self.running.pop(exchange, None) is None:
            return  # aborted
        if connection.usable:
            if self.link.waiting:
                self._assign(connection, self.link.waiting.popleft())
            else:
                self._idle.append(connection)
        self.link.ended(exchange, failure)

    def retire(self, connection: "PooledConnection") -> None:
        """Assign no more exchanges to a connection."""
        if connection in self._idle:
            self._idle.remove(connection)

    def discard(self, connection: "PooledConnection") -> None:
        """Handle the end of a connection."""
        self.open.discard(connection)
        self.link.send_next()

    # Called by the link

    def begin(self, send: HttpSend) -> bool:
        """See :meth:`Exchanges.begin`."""
        if self._idle:
            self._assign(self._idle.pop(), send)
        elif len(self.open) >= self.link.settings.connections:
            return False
        else:
            connection = PooledConnection(self, send)
            self.running[send.exchange] = connection
            self.link.watch()
            self.open.add(connection)
            self.link.run_task(connection.run)
        return True

    def _assign(self, connection: "PooledConnection", send: HttpSend) -> None:
        self.running[send.exchange] = connection
        self.link.watch()
        connection.resume(send)

    def stop(self, exchange: Route) -> bool:
        """See :meth:`Exchanges.stop`."""
        connection = self.running.pop(exchange, None)
        if connection is not None:
            connection.stop()
        return connection is not None

    def expire(self, now: float) -> float:
        """See :meth:`Exchanges.expire`."""
        for connection in tuple(self.open):
            if connection.http.deadline <= now:
                self.retire(connection)
                connection.expire()
        if self.running:
            return 0.0
        return min((each.http.deadline for each in self.open), default=math.inf)


class SlotState(State):
    """States of a slot of the pool."""

    BUSY = "busy"
    """An exchange is under way."""
    IDLE = "idle"
    STOPPED = "stopped"
    OVERDUE = "overdue"
    OVER = "over"


class SlotSignal(State):
    """Signals that move a slot of the pool."""

    RESUME = "next exchange"
    ANSWER = "exchange over"
    STOP = "stopped"
    EXPIRE = "deadline passed"
    END = "connection closed"


SLOT: Table[SlotState, SlotSignal] = {
    (SlotState.BUSY, SlotSignal.ANSWER): SlotState.IDLE,
    (SlotState.IDLE, SlotSignal.RESUME): SlotState.BUSY,
    **{(each, SlotSignal.STOP): SlotState.STOPPED for each in (SlotState.BUSY, SlotState.IDLE)},
    **{(each, SlotSignal.EXPIRE): SlotState.OVERDUE for each in (SlotState.BUSY, SlotState.IDLE)},
    **{(each, SlotSignal.END): SlotState.OVER for each in (*SlotState,)[:4]},
}
DIAGRAMS = (("Slot of the pool", "One connection of a client over HTTP, kept for more.", SLOT),)

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_BUSY, _IDLE = SlotState.BUSY, SlotState.IDLE
_RESUME, _ANSWER = SlotSignal.RESUME, SlotSignal.ANSWER
_AT_REST, _HEAD = Http1State.IDLE, Http1State.HEAD


class _Poll(Protocol):
    def poll(self, timeout: float, /) -> list[tuple[int, int]]: ...


class PooledConnection:
    """Slot in the pool: moves the bytes of an Http1Client.

    It outlives its connection: if the server closed that between two exchanges, it opens another.
    ``http.deadline`` is the time at which its current step has taken too long.
    """

    def __init__(self, pool: ConnectionPool, send: HttpSend) -> None:
        self._pool = pool
        self._origin = pool.origin
        self._link = pool.link
        self._settings = pool.link.settings
        self.http = Http1Client(self._settings)
        self._send: HttpSend | None = send
        self._head: bytes | None = None  # of the request, once it is made
        self._failure: Exception | None = None  # in a callback of the protocol
        self._stream: ByteStream | None = None
        # On asyncio without TLS: it has taken the connection over from the stream.
        self._protocol: HttpClientProtocol | None = None
        # The socket of a stream that can be written to beside it.
        self._socket: socket.socket | None = None
        self._poll: _Poll | None = None
        self._reused = False  # the connection has carried an exchange before
        self._sent = False  # all of the request
        self._state = _BUSY
        self._scope = anyio.CancelScope()
        self._signal = anyio.Event()
        self.http.begin(send.timeout, send.head_timeout, clock())

    @property
    def usable(self) -> bool:
        """True if the connection can carry another exchange."""
        kept = self._stream is not None and self._settings.idle_time > 0
        return kept and self._state is _IDLE

    def _move(self, signal: SlotSignal) -> None:
        """Follow the table; what comes too late to matter changes nothing."""
        self._state = SLOT.get((self._state, signal), self._state)

    def resume(self, send: HttpSend) -> None:
        """Carry out another exchange; only while idle."""
        self._send = send
        self._move(_RESUME)
        self.http.begin(send.timeout, send.head_timeout, clock())
        if not self._send_now(send):
            self._signal.set()

    def stop(self) -> None:
        """Close at once; an exchange that the machine did not abort fails."""
        self._move(SlotSignal.STOP)
        self._scope.cancel()

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        self._move(SlotSignal.EXPIRE)
        self._scope.cancel()

    async def run(self) -> None:
        """Carry out exchanges until there was none for ``idle_time``."""
        failure = ExchangeFailed(f"the connection to {self._origin} was closed")
        try:
            with self._scope:
                while self._send is not None:
                    self._signal = anyio.Event()
                    await self._carry_out(self._send)
                    if self._state is _BUSY or self.usable:
                        await self._signal.wait()
            if self._state is SlotState.OVERDUE:
                failure = ExchangeFailed(
                    f"{self._origin} {self.http.step}", Fault(FaultKind.STALLED)
                )
        finally:
            # If all tasks are cancelled, this slot may be idle while others have requests to send.
            self._move(SlotSignal.END)
            self._pool.retire(self)
            if self._send is not None:
                self._pool.finish(self, self._send.exchange, failure)
            await self._close()
            self._pool.discard(self)

    def _answer(self, send: HttpSend, failure: ExchangeFailed | None) -> None:
        """End an exchange; the pool may begin the next one at once."""
        self._send = self._head = None
        self._move(_ANSWER)
        self.http.rest(clock())
        self._pool.finish(self, send.exchange, failure)

    async def _carry_out(self, send: HttpSend) -> None:
        """Send one request and feed the response to the machine.

        A protocol goes on without this task, which comes back if the exchange fails.

        A connection that was used before may turn out to be closed without a byte received, most
        likely before the request came.  A request that may reach the server twice is sent again.
        """
        try:
            head = self._head
            if head is None:
                headers = await self._link.headers_of(send)
                await anyio.lowlevel.checkpoint_if_cancelled()  # it may be given up by now
                head = self._head = self._make_head(send, headers)
        except ExchangeFailed as failed:
            self._answer(send, failed)
            return
        while True:
            failure, self._failure = self._failure, None
            try:
                if failure is not None:
                    raise failure
                self._reused = self._ready
                if not self._reused:
                    await self._connect()
                    await anyio.lowlevel.checkpoint_if_cancelled()
                if self._protocol is not None:
                    self.http.send()
                    self._protocol.write(head, send.body)
                    return
                await self._converse(head, send.body, send.exchange)
            except ExchangeFailed as failed:
                problem = failed
            except BadHead as error:
                over = not isinstance(error, BadBody) and error.row in _OVER_LIMITS
                kind = FaultKind.TOO_LARGE if over else FaultKind.MALFORMED
                problem = ExchangeFailed(
                    f"malformed response from {self._origin}: {error}", Fault(kind)
                )
            except BadCoding as error:
                problem = coding_fault(self._origin, error)
            except LOST as error:
                problem = self._loss(error)
            except Exception as error:
                # Any exception ends this exchange and nothing else.
                logger.exception("an exchange with %s failed", self._origin)
                await self._close()
                text = f"{self._origin}: {type(error).__name__}: {error}"
                self._answer(send, ExchangeFailed(text))
                return
            else:
                self._answer(send, None)
                return
            await self._close()
            if self.http.received or not self._reused or not send.repeatable:
                self._answer(send, problem)
                return

    @property
    def _ready(self) -> bool:
        """True if there is a connection that has carried an exchange, and can carry another."""
        if self._stream is None or (self._protocol is not None and self._protocol.lost):
            return False
        # Input of an idle connection is an end of stream, or garbage.
        return not (self._poll is not None and self._poll.poll(0))

    # With a protocol

    def _send_now(self, send: HttpSend) -> bool:
        """Send a request without the task; return False if there is something to wait for."""
        if self._protocol is None or self._link.asks_for_headers or not self._ready:
            return False
        try:
            self._head = self._make_head(send, send.headers)
        except ExchangeFailed:
            return False  # the task tells of it
        self._reused = True
        self.http.send()
        self._protocol.write(self._head, send.body)
        return True

    def proceed(self, data: bytes, lost: Exception | None = None) -> None:
        """Implement :meth:`Exchanging.proceed`; the task handles failures."""
        if self.http.state is _AT_REST:  # an end of stream, or garbage
            self._let_go()
        send = self._send
        if send is None or self._protocol is None or self._failure is not None:
            return
        if self._state is not _BUSY:
            return  # aborted
        try:
            if lost is None:
                complete = self._take(data, send.exchange)
            elif self.http.end_input():
                complete = True
            else:
                raise lost
            if not complete:
                return
            kept = self.http.finish() and not self._protocol.sending
        except Exception as error:
            self._failure = error
            self._signal.set()
            return
        if not kept:
            self._let_go()
        self._answer(send, None)
        if self._send is None and not self.usable:
            self._signal.set()  # the task ends

    def held_up(self) -> None:
        """Implement :meth:`Exchanging.held_up`."""
        self.http.sending(clock())

    def sent(self) -> None:
        """Implement :meth:`Exchanging.sent`."""
        self.http.sent()

    def _make_head(self, send: HttpSend, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the head of a request for this connection.  Raises :class:`ExchangeFailed`."""
        link, target = self._link, send.target
        coding = b"accept-encoding", CODINGS[self._settings.compression]
        headers = with_agent([*headers, coding])
        relay = self._origin.relay
        if relay is not None:
            host = next(value for name, value in headers if name == b"host")
            target = f"http://{host.decode('ascii')}{target}"
            if relay.authorization is not None:
                headers.append((b"proxy-authorization", relay.authorization))
        try:
            head = format_request(send.method, target, headers)
        except ValueError as error:
            raise ExchangeFailed(str(error), Fault(FaultKind.HEADERS)) from error
        if link.trace is not None:
            link.trace.request(send.exchange, send.method, target, headers, send.body)
        return head

    def _loss(self, error: BaseException) -> ExchangeFailed:
        problem = tls_problem(error)
        if problem is not None:
            return ExchangeFailed(
                f"TLS with {self._origin} failed: {problem}", Fault(FaultKind.TLS)
            )
        where = "within a response" if self.http.received else "without a response"
        return ExchangeFailed(f"{self._origin} closed the connection {where}")

    async def _connect(self) -> None:
        await self._close()
        self.http.connect()
        settings = self._settings
        self._stream = await self._origin.connect(settings.connect_time, settings.head_limits)
        self.http.established()
        raw_socket = socket_of(self._stream)
        if raw_socket.fileno() < 0:  # it was lost at once, and the event loop has noticed
            raise anyio.BrokenResourceError
        transport = transport_of(self._stream)
        if transport is not None:
            self._protocol = HttpClientProtocol(transport, self, settings.write_size)
        elif isinstance(self._stream, SocketStream) and isinstance(raw_socket, socket.socket):
            self._socket = raw_socket  # that of trio, without TLS
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(raw_socket, select.POLLIN)

    def _let_go(self) -> ByteStream | None:
        """Forget the connection; return the stream that is to be closed."""
        stream, self._stream, self._socket, self._poll = self._stream, None, None, None
        self.http.stop()
        if self._protocol is None:
            return stream
        self._protocol.abort()
        self._protocol = None
        return None

    async def _close(self) -> None:
        stream = self._let_go()
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
            except (ExchangeFailed, BadHead, BadCoding, *LOST) as error:
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
        assert self._stream is not None  # noqa: S101 - connected by the caller
        try:
            while not self._take(await self._stream.receive(), exchange):
                pass
        except anyio.EndOfStream:
            if not self.http.end_input():
                raise
        if not self.http.finish():
            await self._close()

    def _take(self, data: bytes, exchange: Route) -> bool:
        """Feed a piece of the response to the machine; return True once it is complete."""
        http, link = self.http, self._link
        if http.state is _HEAD:
            http.feed(data)
            if not self._take_head(exchange):
                return False
            data = b""
        if data := http.read_body(data):
            for piece in http.decode(data):
                if link.trace is not None:
                    link.trace.response_data(exchange, piece)
                link.machine.response_data(exchange, piece, now=clock())
                if http.coded:
                    link.flush_soon()
                    if self._state is not _BUSY:
                        return False  # aborted: what follows may be large
        http.check_body()
        if http.complete:
            return True
        link.flush_soon()
        return False

    def _take_head(self, exchange: Route) -> bool:
        """Feed the head of the response to the machine; return False if it is not complete."""
        http, link = self.http, self._link
        head = http.next_head(clock())
        if head is None:
            return False
        status, headers = head.status, head.headers
        if status == 407 and self._origin.relay is not None:
            raise proxy_refusal(self._origin.relay, status, "the request")
        http.accept_codings(head.codings)
        if link.trace is not None:
            link.trace.response(exchange, status, headers)
        if link.authorized is not None:
            link.authorized.begun(exchange, status, headers)
        link.machine.response_head(exchange, status, headers, now=clock())
        return True


def write_some(descriptor: socket.socket, data: bytes) -> int:
    """Write the bytes that the system takes at once; return their number.

    Returns 0 if the connection is lost: the caller learns why when it waits to write the rest.
    """
    try:
        return os.write(descriptor.fileno(), data)
    except OSError:
        return 0
