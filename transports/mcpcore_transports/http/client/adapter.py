"""Streamable HTTP over an HTTP client of the application, such as ``httpx.AsyncClient``.

The HTTP client provides connections, TLS, proxies, authentication and hooks.  Messages, sessions,
streams and their resumption stay with the machine, and so do the limits: bodies are read as
transferred and decoded here, and the HTTP client may not follow redirects.
"""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from mcpcore.engine.events import Fault, FaultKind, Route
from mcpcore.http.headers import CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderList
from mcpcore.http.messages import HttpSend
from mcpcore_transports.http.client.client import (
    CODINGS,
    ExchangeFailed,
    HttpClientLink,
    coding_fault,
)
from mcpcore_transports.http1.body import BadCoding, decoder_for
from mcpcore_transports.link import clock
from mcpcore_transports.tls import tls_problem

_BY_CLIENT = frozenset({HOST, CONTENT_LENGTH})
_EVENT_STREAM = b"text/event-stream"

_KINDS: Mapping[str, FaultKind] = {
    "ConnectTimeout": FaultKind.CONNECT_TIMEOUT,
    "TimeoutException": FaultKind.STALLED,
    "ProxyError": FaultKind.PROXY,
    "ConnectError": FaultKind.CONNECT,
    "RemoteProtocolError": FaultKind.MALFORMED,
    "LocalProtocolError": FaultKind.HEADERS,
}
"""Fault kinds by the names of httpx exceptions; httpx itself is not imported."""
_CUT = ("disconnected", "closed connection", "incomplete")
"""Words in a "RemoteProtocolError" that mean a lost connection."""


class ResponseHeaders(Protocol):
    """Header lines of a response."""

    @property
    def raw(self) -> Sequence[tuple[bytes, bytes]]:
        """Names and values in order, as received."""


class ResponseLike(Protocol):
    """Response whose body has not been read."""

    @property
    def status_code(self) -> int:
        """Status code."""

    @property
    def headers(self) -> ResponseHeaders:
        """Header lines of the response."""

    def aiter_raw(self) -> AsyncIterator[bytes]:
        """Yield the body as transferred: without chunked framing, with its content coding."""


class HttpClientLike(Protocol):
    """Interface required of an HTTP client; ``httpx.AsyncClient`` provides it."""

    def stream(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None,
        headers: list[tuple[bytes, bytes]],
        timeout: tuple[float | None, float | None, float | None, float | None],
        follow_redirects: bool,
    ) -> AbstractAsyncContextManager[ResponseLike]:
        """Send a request; leaving the context closes the response, read or not.

        ``timeout``: seconds for connecting, reading, writing, and waiting for a connection.
        """


class AdaptedClient:
    """Exchanges of ``link`` that ``client`` carries out, which is never closed."""

    def __init__(self, link: HttpClientLink, client: HttpClientLike) -> None:
        parts = urlsplit(link.machine.url)
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._link = link
        self._client = client
        self.running: dict[Route, anyio.CancelScope] = {}
        """Exchanges that are being carried out, with their scopes."""
        self.open = self.running
        """Connections of the exchanges: one each."""

    def begin(self, send: HttpSend) -> bool:
        """See :meth:`~mcpcore_transports.http.client.client.Exchanges.begin`."""
        if len(self.running) >= self._link.settings.connections:
            return False
        scope = self.running[send.exchange] = anyio.CancelScope()
        self._link.run_task(partial(self._carry, send, scope))
        return True

    def stop(self, exchange: Route) -> bool:
        """See :meth:`~mcpcore_transports.http.client.client.Exchanges.stop`."""
        scope = self.running.get(exchange)
        if scope is not None:
            scope.cancel()
        return scope is not None

    def expire(self, now: float) -> float:
        """Do nothing: each exchange has a cancel scope with its deadline."""
        return math.inf

    # One exchange

    async def _carry(self, send: HttpSend, scope: anyio.CancelScope) -> None:
        failure: ExchangeFailed | None = ExchangeFailed("it was given up")
        try:
            with scope:
                try:
                    await self._converse(send, scope)
                    failure = None
                except ExchangeFailed as error:
                    failure = error
                except BadCoding as error:
                    failure = coding_fault(self._base, error)
                except Exception as error:  # it ends this exchange and nothing else
                    failure = _failure(error, self._base)
            if scope.cancelled_caught:
                text = f"{self._base} took too long"
                failure = ExchangeFailed(text, Fault(FaultKind.STALLED))
        finally:
            del self.running[send.exchange]
            self._link.send_next()
            # The machine ignores this for an exchange that it has aborted itself.
            self._link.ended(send.exchange, failure)

    async def _converse(self, send: HttpSend, scope: anyio.CancelScope) -> None:
        link, exchange = self._link, send.exchange
        settings, machine = link.settings, link.machine
        until = None if send.timeout is None else anyio.current_time() + send.timeout
        if until is not None:
            scope.deadline = until
        elif send.head_timeout is not None:
            scope.deadline = anyio.current_time() + send.head_timeout
        headers = [pair for pair in await link.headers_of(send) if pair[0] not in _BY_CLIENT]
        headers.append((b"accept-encoding", CODINGS[settings.compression]))
        if link.trace is not None:
            link.trace.request(exchange, send.method, send.target, headers, send.body)
        async with self._client.stream(
            send.method,
            self._base + send.target,
            content=send.body or None,
            headers=headers,
            timeout=(settings.connect_time, None, settings.write_time, None),
            follow_redirects=False,
        ) as response:
            scope.deadline = math.inf if until is None else until
            lines = self._lines(response)
            codings = [value for name, value in lines if name == b"content-encoding"]
            inflater = decoder_for(codings, settings.inflate_ratio) if codings else None
            if link.trace is not None:
                link.trace.response(exchange, response.status_code, lines)
            if link.authorized is not None:
                link.authorized.begun(exchange, response.status_code, lines)
            machine.response_head(exchange, response.status_code, lines, now=clock())
            if not any(n == CONTENT_TYPE and _EVENT_STREAM in v.lower() for n, v in lines):
                ends = anyio.current_time() + settings.body_time
                scope.deadline = ends if until is None else min(ends, until)
            link.flush_soon()
            body = response.aiter_raw()
            try:
                async for data in body:
                    for piece in (data,) if inflater is None else inflater.feed(data):
                        if link.trace is not None:
                            link.trace.response_data(exchange, piece)
                        machine.response_data(exchange, piece, now=clock())
                        link.flush_soon()
                        if scope.cancel_called:
                            await anyio.lowlevel.checkpoint()
            finally:
                await _close(body)
            if inflater is not None:
                inflater.end()

    def _lines(self, response: ResponseLike) -> HeaderList:
        lines = [(name.lower(), value) for name, value in response.headers.raw]
        size = sum(len(name) + len(value) for name, value in lines)
        if len(lines) > self._link.settings.header_count or size > self._link.settings.header_bytes:
            text = f"malformed response from {self._base}: too many headers"
            raise ExchangeFailed(text, Fault(FaultKind.TOO_LARGE))
        return lines


async def _close(body: AsyncIterator[bytes]) -> None:
    """Close a body that may not have been read to its end: a generator does not do so itself."""
    close = getattr(body, "aclose", None)
    if close is not None:
        with anyio.CancelScope(shield=True):
            await close()


def _failure(error: Exception, base: str) -> ExchangeFailed:
    problem = tls_problem(error)
    if problem is not None:
        return ExchangeFailed(f"TLS with {base} failed: {problem}", Fault(FaultKind.TLS))
    text = str(error) or type(error).__name__
    kinds = (_KINDS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _KINDS)
    kind = next(kinds, None)
    if kind is FaultKind.MALFORMED and any(word in text for word in _CUT):
        kind = None
    return ExchangeFailed(f"{base}: {text}", None if kind is None else Fault(kind))
