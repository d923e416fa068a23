"""Base of the HTTP clients, and destinations of connections with their failures."""

import logging
import os
import socket
import ssl
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, TaskGroup, TaskStatus
from msgspec import Struct

from mcpcore.engine.events import Fault, FaultKind, Route
from mcpcore.http.client.client import HttpClient
from mcpcore.http.client.plan import own_header
from mcpcore.http.messages import HttpAbort, HttpSend
from mcpcore.wire.redaction import shown_url
from mcpcore_transports.http.client.proxies import Proxy
from mcpcore_transports.http.pump import PumpedLink
from mcpcore_transports.http.settings import HeadLimits, HttpClientLinkSettings
from mcpcore_transports.http1.body import BadCoding, Bomb
from mcpcore_transports.http1.format import format_request
from mcpcore_transports.http1.heads import BadHead, find_head, is_interim, parse_response
from mcpcore_transports.link import App, clock
from mcpcore_transports.link_errors import LOST
from mcpcore_transports.running.cancellation import failure_of, without_messages
from mcpcore_transports.running.task_guard import called
from mcpcore_transports.stream.secure import SecureStream
from mcpcore_transports.tls import client_tls, tls_problem

if TYPE_CHECKING:
    from mcpcore_transports.tracing.http import HttpTrace

logger = logging.getLogger("mcpcore.http")

RequestHeaders = Callable[[HttpSend], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""Hook that returns the application's headers for a request about to be sent.

It is a function or a coroutine function.  Its headers replace those of the same name.  An exception
from it ends that request.
"""

CODINGS = {True: b"gzip, deflate", False: b"identity"}
"""Accept-Encoding, with and without compression."""
_PORTS = {"http": 80, "https": 443}
_INTERIM = 16
"""Maximum interim responses of a proxy before the final one; no setting, as in the pool."""
_CLOSED = "this side is closed"
_SWEEP = 0.4
"""Maximum seconds between two checks of the deadlines of connections."""


class Failure(Exception):
    """Failure of an exchange; the message gives the reason, ``fault`` its kind."""

    def __init__(self, message: str, fault: Fault | None = None) -> None:
        super().__init__(message)
        self.fault = fault


class HttpCarrier(PumpedLink):
    """Base of the links that carry out the plans of a client machine, until :meth:`aclose`.

    Run :meth:`run` in a task.  The link connects when there is something to send, so that starting
    never fails: a failure is an outcome of the request concerned.  Cancelling that task closes the
    link at once.
    """

    def __init__(
        self,
        machine: HttpClient,
        app: App,
        settings: HttpClientLinkSettings | None,
        headers: RequestHeaders | None,
    ) -> None:
        self.machine = machine
        self.settings = settings or HttpClientLinkSettings()
        times = self.settings
        shortest = min(times.idle_time or _SWEEP, times.write_time, times.body_time)
        super().__init__(machine, app, sweep=min(_SWEEP, shortest / 4))
        self._headers = headers
        self._tasks: TaskGroup | None = None
        self._waiting: deque[HttpSend] = deque()
        """Requests that wait for the end of another exchange."""
        self._delayed: list[tuple[float, int, HttpSend]] = []
        self._sequence = count()
        self._stopped = False
        self.trace: HttpTrace | None = None
        """Trace that records the requests and responses; set it before run()."""
        self._closing = anyio.Event()
        self._quiet = anyio.Event()
        self._ended = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Carry out the plans of the machine until :meth:`aclose`."""
        if self._tasks is not None:
            raise RuntimeError("a link runs once")
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._keep_alarm)
                waiting, self._waiting = self._waiting, deque()
                for send in waiting:
                    self._send(send)
                self.flush_soon()
                task_status.started()
                try:
                    await self._closing.wait()
                    self.machine.close(now=clock())
                    self.flush_soon()
                    with anyio.move_on_after(self.settings.close_time):
                        while self._runs() or self._waiting:
                            self._quiet = anyio.Event()
                            await self._quiet.wait()
                finally:
                    self._stop()
                self._tasks.cancel_scope.cancel()
        finally:
            self._stop()
            self._ended.set()

    async def aclose(self) -> None:
        """Close the machine, let its last requests leave, close the connections."""
        self._closing.set()
        if self._tasks is not None:
            await self._ended.wait()

    def _stop(self) -> None:
        """Stop sending and fail the planned requests."""
        if self._stopped:
            return
        self._stopped = True
        self.machine.close(now=clock())  # aclose() may have come when this task was cancelled
        for send in [*self._waiting, *(send for _, _, send in self._delayed)]:
            self.machine.response_end(send.exchange, error=_CLOSED, now=clock())
        self._waiting.clear()
        self._delayed.clear()
        self.flush_soon()

    # Methods of the subclasses

    @abstractmethod
    def _send(self, send: HttpSend) -> None:
        """Carry out one request, or queue it."""

    @abstractmethod
    def _stop_running(self, exchange: Route) -> bool:
        """Stop an exchange that the machine has aborted; return False if it is not carried out."""

    @abstractmethod
    def _runs(self) -> bool:
        """Return True if any exchange is being carried out."""

    async def headers_of(self, send: HttpSend) -> list[tuple[bytes, bytes]]:
        """Return all headers of a request, the application's too.  Raises :class:`Failure`."""
        if self._headers is None:
            return send.headers
        try:
            given = await called(self._headers, send)
            pairs = [*given.items()]
        except BaseException as raised:
            error = failure_of(raised)
            logger.debug("the function for headers failed\n%s", without_messages(error))
            text = f"its headers could not be made: {type(error).__name__}"
            raise Failure(text, Fault(FaultKind.HEADERS)) from error
        try:
            own = [own_header(pair) for pair in pairs]
        except Exception as error:
            text = f"its headers could not be made: {type(error).__name__}: {error}"
            raise Failure(text, Fault(FaultKind.HEADERS)) from error
        names = {name for name, _ in own}
        return [*(pair for pair in send.headers if pair[0] not in names), *own]

    def ended(self, exchange: Route, failure: Failure | None) -> None:
        """Tell the machine that a response is complete, or that it failed with ``failure``."""
        error = None if failure is None else str(failure)
        fault = None if failure is None else failure.fault
        if self.trace is not None:
            self.trace.over(exchange, error or "")
        self.machine.response_end(exchange, error=error, fault=fault, now=clock())

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
                heappush(self._delayed, (clock() + plan.after, next(self._sequence), plan))
            else:
                self._send(plan)
        return news

    def _abort(self, exchange: Route) -> None:
        if self.trace is not None:
            self.trace.given_up(exchange)
        self._delayed = [entry for entry in self._delayed if entry[2].exchange != exchange]
        heapify(self._delayed)
        if not self._stop_running(exchange):
            self._waiting = deque(send for send in self._waiting if send.exchange != exchange)
        self._check_quiet()

    def _check_quiet(self) -> None:
        if not self._runs() and not self._waiting:
            self._quiet.set()

    # Timer

    def _deadline(self) -> float | None:
        deadline = self.machine.deadline()
        if self._delayed and (deadline is None or self._delayed[0][0] < deadline):
            return self._delayed[0][0]
        return deadline

    def _handle_deadline(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            self._send(heappop(self._delayed)[2])
        self.machine.handle_timeout(now)


def coding_fault(server: object, error: BadCoding) -> Failure:
    """Return the failure for a response whose content coding is refused."""
    kind = FaultKind.TOO_LARGE if isinstance(error, Bomb) else FaultKind.ENCODING
    return Failure(f"{server}: {error}", Fault(kind))


# Destinations


class Origin(Struct, frozen=True):
    """Host and port to connect to, with the proxy on the way."""

    host: str
    port: int
    ssl_context: ssl.SSLContext | None
    proxy: Proxy | None = None
    tunnel: bool = False
    """True if the proxy must open a tunnel also without TLS, as other protocols need it."""

    @classmethod
    def of(
        cls, url: str, ssl_context: ssl.SSLContext | None = None, proxy: Proxy | None = None
    ) -> "Origin":
        """Make the origin from a URL.  Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"not an http or https URL: {shown_url(url)!r}")
        if parts.scheme == "http":
            ssl_context = None
        elif ssl_context is None:
            ssl_context = client_tls()
        return cls(parts.hostname, parts.port or _PORTS[parts.scheme], ssl_context, proxy)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def relay(self) -> Proxy | None:
        """Proxy that is sent requests with whole URLs, if any; a tunnel is not one."""
        return self.proxy if self.ssl_context is None and not self.tunnel else None

    async def connect(self, seconds: float, limits: HeadLimits) -> ByteStream:
        """Open a connection.  ``limits`` are those of a proxy's head.  Raises :class:`Failure`."""
        try:
            with anyio.fail_after(seconds):
                return await self._connect(limits)
        except TimeoutError:
            fault = Fault(FaultKind.CONNECT_TIMEOUT)
            by = f" by the proxy {self.proxy}" if self.proxy is not None else ""
            raise Failure(f"connecting to {self}{by} took more than {seconds:g} s", fault) from None

    async def _connect(self, limits: HeadLimits) -> ByteStream:
        proxy = self.proxy
        if proxy is None:
            stream = await _reach(self.host, self.port, str(self), FaultKind.CONNECT)
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
        except (Failure, BadHead, *LOST) as error:
            await anyio.aclose_forcefully(stream)
            if isinstance(error, Failure):
                raise
            reason = "closed the connection"
            if isinstance(error, BadHead):
                reason = f"sent a malformed response: {error}"
            raise Failure(f"the proxy {proxy} {reason}", Fault(FaultKind.PROXY)) from error
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise

    async def _ask(self, stream: ByteStream, proxy: Proxy, limits: HeadLimits) -> None:
        authority = str(self)
        headers = [(b"host", authority.encode("idna" if not authority.isascii() else "ascii"))]
        if proxy.authorization is not None:
            headers.append((b"proxy-authorization", proxy.authorization))
        await stream.send(format_request("CONNECT", headers[0][1].decode(), headers))
        buffer = bytearray()
        for _ in range(_INTERIM):
            while not (size := find_head(buffer, limits)):
                buffer += await stream.receive()
            head = bytes(buffer[:size])
            del buffer[:size]
            if not is_interim(head):
                break
        status = parse_response(head).status
        if not 200 <= status < 300:
            raise proxy_refusal(proxy, status, str(self))
        if buffer:
            # The server never sends first, in TLS or before an upgrade.
            text = f"the proxy {proxy} sent something through the tunnel before we did"
            raise Failure(text, Fault(FaultKind.PROXY))


def proxy_refusal(proxy: Proxy, status: int, what: str) -> Failure:
    """Return the failure for a proxy that refuses with a response of its own."""
    why = "it wants authorization, or other" if status == 407 else "it does not connect us"
    text = f"the proxy {proxy} answered with HTTP status {status} to {what} ({why})"
    return Failure(text, Fault(FaultKind.PROXY, status))


async def _reach(host: str, port: int, shown: str, kind: FaultKind) -> ByteStream:
    try:
        return await anyio.connect_tcp(host, port)
    except (OSError, UnicodeError) as error:
        # UnicodeError comes for names that are invalid, such as a..b.
        reason = "unknown host" if isinstance(error, UnicodeError) else _reason(error)
        raise Failure(f"{reason}: {shown}", Fault(kind)) from error


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
        raise Failure(f"TLS with {shown} failed: {reason}", Fault(kind)) from error


def _reason(error: BaseException) -> str:
    """Return the reason why a connection could not be opened; anyio hides it in the cause."""
    cause = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return _reason(error.exceptions[0])
    if isinstance(error, OSError) and error.errno is not None:
        if isinstance(error, socket.gaierror):
            return "unknown host"
        return os.strerror(error.errno).lower()
    return str(error) if cause is None else _reason(cause)
