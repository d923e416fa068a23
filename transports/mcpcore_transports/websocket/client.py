"""Client side of the WebSocket binding: connection, upgrade request, and response.

Sources: RFC 6455 section 4.1, RFC 7692 section 7.1; RFC 9112 for the heads, within the bounds that
hold for HTTP.
"""

import base64
import re
import secrets
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import msgspec
from anyio.abc import ByteStream
from msgspec import Struct
from wsproto.utilities import generate_accept_token

from mcpcore.engine.events import Fault, FaultKind
from mcpcore.engine.peer import Peer
from mcpcore.errors import AuthorizationError, LinkError, LinkUnauthorized
from mcpcore.http.client.call import own_header
from mcpcore.http.client.challenges import challenges_of
from mcpcore.http.headers import Headers, quoted
from mcpcore.http.messages import HttpSend
from mcpcore.wire.redaction import secret_values, shown_flaw, shown_url
from mcpcore_transports.http.client.client import (
    AUTHORIZING,
    ExchangeFailed,
    Origin,
    RequestHeaders,
)
from mcpcore_transports.http.client.proxies import Proxy
from mcpcore_transports.http1.body import BadBody, BadHead
from mcpcore_transports.http1.format import format_request, with_agent
from mcpcore_transports.http1.heads import ResponseHead, ResponseParser
from mcpcore_transports.link import STREAM_ERRORS, App, what_broke
from mcpcore_transports.running.audit import printable
from mcpcore_transports.running.functions import called, failure_of
from mcpcore_transports.tls import client_tls, tls_problem
from mcpcore_transports.websocket.deflate import Bounds, finish_deflate, offer_deflate
from mcpcore_transports.websocket.link import Opened, WebSocketLink
from mcpcore_transports.websocket.server import SUBPROTOCOL
from mcpcore_transports.websocket.settings import WebSocketSettings

if TYPE_CHECKING:  # late: few record a trace, or sign in
    from mcpcore_transports.http.client.authorization import RequestAuthorizer
    from mcpcore_transports.tracing.tracing import ConnectionTrace

UpgradeHeaders = Mapping[str, str] | RequestHeaders
"""Headers for the upgrade request, or a function (or coroutine function) that returns them.

It is called with the request for each connection.
"""

_OURS = (b"upgrade", b"sec-websocket-")
_BODY_LIMIT = 4 * 1024
"""Maximum bytes of a refusal's body that are read for its first line."""
_PATIENCE = 1.0
"""Seconds for reading that part of the body."""
_RETRY_AFTER = re.compile(rb"[0-9]{1,9}")


def websocket_client_link(
    peer: Peer,
    app: App,
    url: str,
    *,
    headers: UpgradeHeaders | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: Proxy | None = None,
    settings: WebSocketSettings | None = None,
    authorizer: "RequestAuthorizer | None" = None,
) -> WebSocketLink:
    """Return a link that connects to ``url`` (``ws://`` or ``wss://``) when it runs.

    ``headers`` are sent with the upgrade request: a mapping, or a function (or coroutine function)
    that is called with the request and returns one.  ``ssl_context`` replaces the default one of
    ``wss``; ``proxy`` is used with a tunnel.  ``authorizer`` puts tokens on the request, and
    answers challenges: that takes no time of the handshake.  Any failure to open the connection is
    a LinkError raised by ``run()``, whose ``fault`` tells its kind.
    """
    settings = settings or WebSocketSettings()
    seconds = settings.handshake_timeout
    if isinstance(headers, Mapping):
        headers = secret_values(headers)

    async def opening(trace: "ConnectionTrace | None") -> Opened:
        address = WebSocketAddress(url)
        if authorizer is None:
            return await connected(address, None, trace)
        from mcpcore.auth.endpoints import Unreachable  # late, with the next: few sign in
        from mcpcore_transports.http.client.authorization import Challenged, authorized

        async def attempt(tokens: Mapping[str, str]) -> Opened:
            try:
                opened = await connected(address, tokens, trace)
            except LinkError as error:
                found = error.__cause__
                if isinstance(found, _NotOpened) and found.challenged is not None:
                    raise Challenged(*found.challenged) from error
                raise
            opened.authorized = bool(tokens)
            return opened

        try:
            return await authorized(authorizer, address.http_url, "the WebSocket", attempt)
        except AuthorizationError as error:
            # After an outage of the authorization server another attempt may succeed.
            outage = isinstance(error, Unreachable)
            fault = Fault(FaultKind.CONNECT if outage else FaultKind.AUTHORIZATION)
            raise LinkUnauthorized(f"{address}: {error}", fault) from error

    async def connected(
        address: WebSocketAddress,
        tokens: Mapping[str, str] | None,
        trace: "ConnectionTrace | None",
    ) -> Opened:
        stream: ByteStream | None = None
        try:
            with anyio.fail_after(seconds):
                request = await _request(address, headers or {}, tokens, settings)
                context = (ssl_context or client_tls()) if address.secure else None
                origin = Origin(address.host, address.port, context, proxy, tunnel=True)
                stream = await origin.connect(seconds, settings.head_limits)
                return await _upgrade(stream, address, request, settings, trace)
        except BaseException as error:
            if stream is not None:
                await anyio.aclose_forcefully(stream)
            problem = _problem(error, seconds)
            if problem is None:
                raise
            raise LinkError(f"{address}: {problem[0]}", problem[1]) from error

    return WebSocketLink(peer, app, opening, settings=settings)


class WebSocketAddress:
    """Address of a WebSocket server.  Raises LinkError for an invalid URL."""

    def __init__(self, url: str) -> None:
        try:
            self.parts = parts = urlsplit(url)
            valid = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
        except ValueError as error:
            flaw = shown_flaw(url, error)
            raise LinkError(f"{shown_url(url)!r} is no WebSocket URL: {flaw}") from None
        if not valid or not url.isascii() or any(c <= " " for c in url):
            form = "ws://host[:port]/path or wss://..."
            raise LinkError(f"{shown_url(url)!r} is no WebSocket URL ({form})")
        if parts.fragment:
            raise LinkError("a WebSocket URL has no fragment")
        if parts.username is not None:
            raise LinkError("credentials belong into a header, not into the URL")
        self.secure = parts.scheme == "wss"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.secure else 80)
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def __str__(self) -> str:
        """Return the URL without its query, which may contain secrets."""
        return shown_url(self.parts.geturl())

    @property
    def http_url(self) -> str:
        """Same address as a URL for HTTP."""
        return f"{'https' if self.secure else 'http'}://{self.parts.netloc}{self.parts.path}"


class _NotOpened(ExchangeFailed):
    """Failure to open a WebSocket; the message gives the reason, ``fault`` its kind."""

    challenged: tuple[int, tuple[str, ...], Headers] | None = None
    """Status, challenges and headers of a refusal that authorization may change."""


def _problem(error: BaseException, seconds: float) -> tuple[str, Fault | None] | None:
    """Return reason and fault of a connection that was not opened; None for other exceptions."""
    if isinstance(error, _NotOpened):
        return str(error), error.fault
    if isinstance(error, TimeoutError):
        return f"no WebSocket within {seconds:g} s", Fault(FaultKind.CONNECT_TIMEOUT)
    if isinstance(error, ExchangeFailed):
        if error.fault is not None and error.fault.kind is FaultKind.CONNECT_TIMEOUT:
            return f"no WebSocket within {seconds:g} s", error.fault
        return f"cannot connect: {error}", error.fault
    if isinstance(error, BadHead):
        text = f"what answers there is no WebSocket server: {error}"
        return text, Fault(FaultKind.MALFORMED)
    if isinstance(error, anyio.EndOfStream):
        return "closed while connecting", Fault(FaultKind.CONNECT)
    problem = tls_problem(error)
    if problem is not None:
        return f"cannot connect: TLS failed: {problem}", Fault(FaultKind.TLS)
    if isinstance(error, (OSError, *STREAM_ERRORS)):
        return f"cannot connect: {what_broke(error)}", Fault(FaultKind.CONNECT)
    return None


class _Request:
    """Request to be sent; without a ``repr`` that shows its credentials."""

    __slots__ = ("data", "headers", "key")

    def __init__(self, data: bytes, headers: Headers, key: bytes) -> None:
        self.data, self.headers, self.key = data, headers, key


async def _request(
    address: WebSocketAddress,
    headers: UpgradeHeaders,
    tokens: Mapping[str, str] | None,
    settings: WebSocketSettings,
) -> _Request:
    key = base64.b64encode(secrets.token_bytes(16))
    lines = [
        (b"host", address.parts.netloc.encode("ascii")),
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", key),
        (b"sec-websocket-protocol", SUBPROTOCOL.encode()),
    ]
    if settings.deflate is not None:
        lines.append((b"sec-websocket-extensions", offer_deflate(settings.deflate).encode()))
    if not isinstance(headers, Mapping):
        asking = HttpSend(exchange=0, method="GET", target=address.target, headers=lines)
        try:
            headers = secret_values(await called(headers, asking))
        except BaseException as raised:
            error = failure_of(raised)
            # Without its message, which may contain a token.
            text = f"its headers could not be made: {type(error).__name__}"
            raise _NotOpened(text, Fault(FaultKind.HEADERS)) from error
    try:
        return _prepare(address.target, lines, headers, tokens, key)
    except Exception as error:
        text = f"the request cannot be sent: {error}"
        # Without its frames, whose variables are the bytes of the credentials.
        raise _NotOpened(text, Fault(FaultKind.HEADERS)) from error.with_traceback(None)


def _prepare(
    target: str,
    lines: Headers,
    headers: Mapping[str, str],
    tokens: Mapping[str, str] | None,
    key: bytes,
) -> _Request:
    """Add the headers of the application and the tokens to ``lines``.  Raises ValueError.

    ``tokens``: their headers, none before there is one; None without authorization.
    """
    own = [own_header(pair) for pair in headers.items()]
    for given, (name, _) in zip(headers, own, strict=True):
        if name.startswith(_OURS):
            raise ValueError(f"the header {given!r} is set by the engine")
        if tokens is not None and name in AUTHORIZING:
            raise ValueError("the header Authorization is set by `auth`")
    sent = with_agent([*lines, *own, *map(own_header, (tokens or {}).items())])
    return _Request(format_request("GET", target, sent), sent, key)


async def _upgrade(
    stream: ByteStream,
    address: WebSocketAddress,
    request: _Request,
    settings: WebSocketSettings,
    trace: "ConnectionTrace | None",
) -> Opened:
    if trace is not None:
        trace.request_head("GET", address.target, request.headers)
    await stream.send(request.data)
    heads, buffer = ResponseParser(settings.head_limits, upgrade=True), bytearray()
    while (head := heads.take(buffer)) is None:
        buffer += await stream.receive()
    if trace is not None:
        trace.response_head(head.status, head.headers)
    if head.status != 101:
        raise await _refusal(stream, address.http_url, head, buffer)
    return Opened(stream, _agreed(head, request, settings), bytes(buffer))


def _agreed(head: ResponseHead, request: _Request, settings: WebSocketSettings) -> Bounds:
    """Check a response with status 101 (section 4.1); return the extension.  Raises BadHead."""

    def values(name: bytes) -> Sequence[str]:
        return [value.decode("latin-1") for value in head.values(name)]

    def words(name: bytes) -> Sequence[str]:
        return [word.strip(" \t").lower() for word in ",".join(values(name)).split(",")]

    if words(b"upgrade") != ["websocket"] or "upgrade" not in words(b"connection"):
        raise BadHead("it does not upgrade to WebSocket")
    if values(b"content-length") or values(b"transfer-encoding"):
        raise BadHead("its response 101 claims to have a body")
    expected = generate_accept_token(request.key).decode()
    if [value.strip(" \t") for value in values(b"sec-websocket-accept")] != [expected]:
        raise BadHead("bad accept token")
    chosen = [value.strip(" \t") for value in values(b"sec-websocket-protocol")]
    if chosen not in ([], [SUBPROTOCOL]):
        raise BadHead(f"it chose a subprotocol that was not offered: {quoted(chosen[0])}")
    try:
        return finish_deflate(values(b"sec-websocket-extensions"), settings.deflate) or Bounds()
    except ValueError as error:
        raise BadHead(str(error)) from None


# Refusals


class _ErrorMessage(Struct):
    message: str


class _ErrorReply(Struct):
    error: _ErrorMessage


async def _refusal(
    stream: ByteStream, http_url: str, head: ResponseHead, buffer: bytearray
) -> _NotOpened:
    """Return the failure for a response without upgrade; ``http_url``: the address for HTTP."""
    fields = dict(head.headers)
    said = await _beginning(stream, head, buffer)
    text = f"the server refused the WebSocket with status {head.status}"
    where = fields.get(b"location")
    location = None if where is None else where.decode("latin-1")
    if location is not None:
        text += f", pointing to {printable(shown_url(location))}"
    retry = fields.get(b"retry-after", b"")
    after = float(retry) if _RETRY_AFTER.fullmatch(retry) else None
    kind = FaultKind.REDIRECT if 300 <= head.status < 400 else FaultKind.STATUS
    fault = Fault(kind, head.status, after, location)
    try:
        message = msgspec.json.decode(said, type=_ErrorReply).error.message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        line = printable(said.decode("utf-8", "replace").strip().split("\n", 1)[0])
        failure = _NotOpened(f"{text}: {line}" if line else text, fault)
    else:
        hint = f"it serves MCP over HTTP: try {http_url}"
        failure = _NotOpened(f"{text}: {message[:200]!r}; {hint}", fault)
    challenges = challenges_of(head.status, head.headers)
    if challenges is not None:
        failure.challenged = head.status, challenges, head.headers
    return failure


async def _beginning(stream: ByteStream, head: ResponseHead, buffer: bytearray) -> bytes:
    """Read the beginning of a body, as far as it arrives soon."""
    body = head.body()
    said = b""
    with anyio.move_on_after(_PATIENCE), suppress(OSError, *STREAM_ERRORS):
        try:
            while len(said) < _BODY_LIMIT:
                said += body.take(buffer)
                if body.done:
                    break
                buffer += await stream.receive()
        except BadBody as error:
            said += error.content
    return said[:_BODY_LIMIT]
