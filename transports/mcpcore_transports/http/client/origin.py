"""Destination of an HTTP client's connections, with its proxy, and connection failures."""

import os
import socket
import ssl
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream
from msgspec import Struct

from mcpcore.engine.events import Fault, FaultKind
from mcpcore.wire.redaction import shown_url
from mcpcore_transports.http.client.proxies import Proxy
from mcpcore_transports.http.settings import HeadLimits
from mcpcore_transports.http1.format import format_request
from mcpcore_transports.http1.heads import BadHead, find_head, parse_response
from mcpcore_transports.stream.channels import SecureStream
from mcpcore_transports.tls import client_tls, tls_problem

_PORTS = {"http": 80, "https": 443}
_INTERIM = 16
"""Maximum interim responses of a proxy before the final one; no setting, as in the pool."""
LOST = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
"""Exceptions with which streams report their end."""


class Failure(Exception):
    """Failure of an exchange; the message gives the reason, ``fault`` its kind."""

    def __init__(self, message: str, fault: Fault | None = None) -> None:
        super().__init__(message)
        self.fault = fault


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
            if not head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
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
