"""Server side of the WebSocket binding: admission, listeners, connections, and upgrades from HTTP.

Every refusal comes before the upgrade, with an HTTP status and one line of text with the reason
(RFC 6455 section 4.2.2).  The request comes from a socket or from an ASGI server; the rules are the
same, and those for Host, Origin and authentication are those of HTTP.
"""

import binascii
import logging
import re
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskStatus
from msgspec import Struct, structs
from wsproto.utilities import generate_accept_token

from mcpcore.engine.peer import Peer
from mcpcore.errors import LinkError
from mcpcore.http import principals
from mcpcore.http.documents import DocumentReply, Documents
from mcpcore.http.messages import HttpRequest
from mcpcore.http.origin import OriginPolicy
from mcpcore.http.proxies import named_by_proxies
from mcpcore.spec.refusals import (
    HOST_OR_ORIGIN,
    HTTP_VERSION,
    MALFORMED_UPGRADE,
    METHOD_NOT_ALLOWED,
    OVERLOADED,
    TOO_SLOW,
    UNKNOWN_PATH,
    UPGRADE_REQUIRED,
    RefusalRow,
)
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.wire.redaction import TOKEN_PREFIX
from mcpcore_transports.http.server.host import peer_name
from mcpcore_transports.http.server.identity import identify
from mcpcore_transports.http.server.protocol import ProtocolStream
from mcpcore_transports.http1.body import BadHead
from mcpcore_transports.http1.format import format_response
from mcpcore_transports.http1.heads import RequestParser
from mcpcore_transports.link import LOST, App, Handshake, cannot_listen
from mcpcore_transports.running.audit import log_foreign
from mcpcore_transports.stream.channels import SecureStream
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.stream.plain import PendingConnections, accept_each
from mcpcore_transports.tls import client_certificate
from mcpcore_transports.websocket.deflate import Bounds, accept_deflate
from mcpcore_transports.websocket.link import Opened, WebSocketLink
from mcpcore_transports.websocket.settings import WebSocketSettings

if TYPE_CHECKING:  # late: few record a trace
    from mcpcore_transports.tracing.tracing import ConnectionTrace, Trace

SUBPROTOCOL = "mcp"
VERSION_PREFIX = "mcp.version."
"""Prefix of a subprotocol by which a client that can send no headers names its revision.

Its access token is in an offer with ``TOKEN_PREFIX``, which is never echoed and never logged.
"""
MCP_V1 = "mcp-v1"

_PROTOCOLS = b"sec-websocket-protocol"
_AUTHORIZATION = b"authorization"
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class UpgradeRefused(Exception):
    """Refusal of an upgrade; the message is the body of the response."""

    def __init__(self, refusal: principals.Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refused(row: RefusalRow, message: str, *headers: tuple[str, str]) -> UpgradeRefused:
    """Make the refusal of an upgrade."""
    lines = (*headers, ("Retry-After", "1")) if row.retry else headers
    return UpgradeRefused(principals.Refusal(status=row.status, message=message, headers=lines))


class Token(str):
    """Secret string whose repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<token>"


class Offer(Struct, frozen=True):
    """Result of reading the offered subprotocols."""

    selected: str | None = None
    revision: str | None = None
    token: Token | None = None


def read_offers(
    names: Sequence[str], revisions: Sequence[Revision] = REVISIONS, *, mcp_v1: bool = False
) -> Offer:
    """Choose among the subprotocols of a client.  Raises UpgradeRefused with 400.

    ``mcp`` is selected if it is offered.  An offer of a revision alone is selected unchanged, since
    browsers insist on a selection; a token is never sent back.  Of several revisions the first one
    that is spoken counts.  No offer at all is equivalent to ``mcp``.
    """
    spoken = [revision.name for revision in revisions]
    asked: list[str] = []
    token: Token | None = None
    others = False
    if len(set(names)) < len(names):
        raise refused(MALFORMED_UPGRADE, "a subprotocol is offered twice")
    for name in names:
        if not _NAME.fullmatch(name):
            raise refused(MALFORMED_UPGRADE, "an offered subprotocol is no token")
        if name.startswith(VERSION_PREFIX):
            asked.append(name.removeprefix(VERSION_PREFIX))
        elif name.startswith(TOKEN_PREFIX):
            if token is not None:
                raise refused(MALFORMED_UPGRADE, "more than one access token is offered")
            token = Token(name.removeprefix(TOKEN_PREFIX))
        else:
            others = True
    if token == "":
        raise refused(MALFORMED_UPGRADE, "the access token offered is empty")
    revision = next((name for name in asked if name in spoken), None)
    if asked and revision is None:
        raise refused(
            MALFORMED_UPGRADE,
            f"the offered revision is not spoken here; spoken: {', '.join(spoken)}",
        )
    selected: str | None = None
    if SUBPROTOCOL in names:
        selected = SUBPROTOCOL
    elif mcp_v1 and MCP_V1 in names:
        selected = MCP_V1
    elif revision is not None and not others:
        selected = f"{VERSION_PREFIX}{revision}"
    elif names:
        raise refused(
            MALFORMED_UPGRADE,
            f"none of the offered subprotocols is spoken here; offer {SUBPROTOCOL}",
        )
    return Offer(selected, revision, token)


Agreement = tuple[Handshake, list[tuple[bytes, bytes]], Bounds]
"""Result for a client that connected by a socket: headers of the response 101, and extension."""


def _one(request: HttpRequest, name: bytes, row: RefusalRow = MALFORMED_UPGRADE) -> str | None:
    values = [value for key, value in request.headers if key == name]
    if len(values) > 1:
        raise refused(row, f"the header {name.decode()} occurs {len(values)} times")
    return values[0].decode("latin-1").strip(" \t") if values else None


def _listed(request: HttpRequest, name: bytes) -> list[str]:
    joined = b",".join(value for key, value in request.headers if key == name)
    items = [item.strip(" \t") for item in joined.decode("latin-1").split(",")]
    return [item for item in items if item]


class UpgradeRules:
    """Rules for upgrade requests to WebSocket.

    ``authenticate`` is the hook of HTTP: it gets the request with the offered token as its
    ``Authorization``; a request with both is refused.  ``paths``: those of the endpoints, where
    they are not that of the settings.  ``revisions``: those that are spoken.
    ``documents``: what everybody may GET on a port of WebSocket alone.  ``trusted_proxies``: those
    that name their clients.  Raises ValueError for hosts and origins that cannot be read.
    """

    def __init__(
        self,
        settings: WebSocketSettings,
        *,
        paths: Collection[str] = (),
        authenticate: principals.Authenticate | None = None,
        authenticate_time: float = 10.0,
        revisions: Sequence[Revision] = REVISIONS,
        documents: Documents | None = None,
        trusted_proxies: tuple[str, ...] = (),
    ) -> None:
        self.settings = settings
        self._paths = paths or (settings.path,)
        self._proxies = trusted_proxies
        self._documents = documents or Documents()
        self._policy = OriginPolicy(settings.allowed_hosts, settings.allowed_origins)
        self._authenticate = authenticate
        self._seconds = authenticate_time
        self._revisions = revisions

    def concerns(self, request: HttpRequest) -> bool:
        """Return True if an upgrade request asks for WebSocket at this endpoint."""
        return (
            request.method == "GET"
            and request.path in self._paths
            and "websocket" in [item.lower() for item in _listed(request, b"upgrade")]
        )

    def published(self, request: HttpRequest) -> DocumentReply | None:
        """Return the reply with a document, None if the request is for none.

        Raises UpgradeRefused for a method that documents do not take.
        """
        reply = self._documents.reply(request)
        if reply is not None and reply.status == METHOD_NOT_ALLOWED.status:
            lines = [(name.decode(), value.decode()) for name, value in reply.headers]
            raise refused(METHOD_NOT_ALLOWED, "a document is read with GET", *lines)
        return reply

    def check_place(self, request: HttpRequest) -> None:
        """Check the path, Host and Origin, before all else.  Raises UpgradeRefused."""
        if request.path not in self._paths:
            endpoint = " or ".join(self._paths)
            raise refused(UNKNOWN_PATH, f"nothing is served there; the endpoint is {endpoint}")
        host, origin = _one(request, b"host"), _one(request, b"origin", HOST_OR_ORIGIN)
        problem = self._policy.check(host, origin, request.scheme)
        if problem is not None:
            log_foreign(request, problem)
            raise refused(HOST_OR_ORIGIN, problem)

    async def agree(self, request: HttpRequest) -> Agreement:
        """Accept the upgrade request of a socket.  Raises UpgradeRefused."""
        self.check_place(request)
        key = _check_opening(request)
        offer = self.choose(_listed(request, _PROTOCOLS))
        try:
            taken = accept_deflate(
                [value.decode("latin-1") for name, value in request.headers if name == _EXTENSIONS],
                self.settings.deflate,
            )
        except ValueError as error:
            raise refused(MALFORMED_UPGRADE, str(error)) from None
        handshake = await self.admit(request, offer)
        headers = [
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-accept", generate_accept_token(key)),
        ]
        if handshake.principal is not None:
            headers += handshake.principal.lines
        if offer.selected is not None:
            headers.append((_PROTOCOLS, offer.selected.encode()))
        if taken is None:
            return handshake, headers, Bounds()
        headers.append((_EXTENSIONS, taken[0].encode()))
        return handshake, headers, taken[1]

    def choose(self, names: Sequence[str]) -> Offer:
        """Choose among the offered subprotocols.  Raises UpgradeRefused."""
        return read_offers(names, self._revisions, mcp_v1=self.settings.mcp_v1)

    async def admit(
        self, request: HttpRequest, offer: Offer, principal: principals.Principal | None = None
    ) -> Handshake:
        """Authenticate the client, unless ``principal`` is known.  Raises UpgradeRefused."""
        request = named_by_proxies(request, self._proxies)
        headers = [item for item in request.headers if item[0] != _PROTOCOLS]
        who = principal
        if who is None and self._authenticate is not None:
            shown = headers
            if offer.token is not None:
                if any(name == _AUTHORIZATION for name, _ in headers):
                    raise refused(MALFORMED_UPGRADE, "the request has more than one credential")
                shown = [*headers, (_AUTHORIZATION, b"Bearer " + offer.token.encode("ascii"))]
            asking = structs.replace(request, headers=shown)
            verdict = await identify(self._authenticate, asking, self._seconds)
            if isinstance(verdict, principals.Refusal):
                raise UpgradeRefused(verdict)
            who = verdict
        return Handshake(
            path=request.path,
            headers=tuple(headers),
            peer=request.peer,
            revision=offer.revision,
            principal=who,
        )


_EXTENSIONS = b"sec-websocket-extensions"


def _check_opening(request: HttpRequest) -> bytes:
    """Check the rules of RFC 6455 section 4.2.1; return the key.  Raises UpgradeRefused."""
    if request.method != "GET":
        raise refused(METHOD_NOT_ALLOWED, "a WebSocket is opened with GET", ("Allow", "GET"))
    if _one(request, b"content-length") not in (None, "0") or _one(request, b"transfer-encoding"):
        raise refused(MALFORMED_UPGRADE, "a request for a WebSocket has no body")
    upgrades = [item.lower() for item in _listed(request, b"upgrade")]
    tokens = [item.lower() for item in _listed(request, b"connection")]
    spoken = ("Upgrade", "websocket")
    if "websocket" not in upgrades or "upgrade" not in tokens:
        raise refused(UPGRADE_REQUIRED, "this endpoint speaks WebSocket only", spoken)
    if _one(request, b"sec-websocket-version") != "13":
        version = ("Sec-WebSocket-Version", "13")
        raise refused(UPGRADE_REQUIRED, "WebSocket version 13 is needed", spoken, version)
    key = _one(request, b"sec-websocket-key") or ""
    try:
        nonce = binascii.a2b_base64(key, strict_mode=True)
    except ValueError:
        nonce = b""
    if len(nonce) != 16:
        raise refused(MALFORMED_UPGRADE, "Sec-WebSocket-Key must be 16 bytes in base64")
    return key.encode()


# Connections


logger = logging.getLogger("mcpcore.websocket")

Serve = Callable[[Callable[[Peer, App], StreamConnection], Handshake], Awaitable[None]]
"""Server of one connection: makes Peer, App and the link, and awaits ``link.run()``."""

_LINGER = 1.0
"""Seconds for a client to read a refusal and stop sending."""


class ConnectionCount:
    """Count of the open connections, in total and per client."""

    def __init__(self, settings: WebSocketSettings) -> None:
        self.closing = False
        """True if no further connections are accepted."""
        self._settings = settings
        self._all = 0
        self._clients: Counter[str] = Counter()

    def check_open(self) -> None:
        """Raise UpgradeRefused if no further connections are accepted."""
        if self.closing:
            raise refused(OVERLOADED, "the server is shutting down")

    @contextmanager
    def another(self, peer: str | None) -> Iterator[None]:
        """Count a connection.  Raises UpgradeRefused if there are too many."""
        client = principals.quota_key(principals.address_of(peer))
        self.check_open()
        if self._all >= self._settings.max_connections:
            raise refused(OVERLOADED, "too many connections")
        if self._clients[client] >= self._settings.max_connections_per_client:
            raise refused(OVERLOADED, "too many connections from your address")
        self._all += 1
        self._clients[client] += 1
        try:
            yield
        finally:
            self._all -= 1
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]


class WebSocketServer:
    """Server of WebSocket connections from any listener.

    ``serve`` is called with each accepted connection.
    """

    def __init__(self, serve: Serve, rules: UpgradeRules, trace: "Trace | None" = None) -> None:
        self._trace = trace
        self.count = ConnectionCount(rules.settings)
        self._serve = serve
        self._rules = rules
        self._settings = rules.settings
        self._turned_away = 0

    async def upgrade(self, stream: ByteStream, request: HttpRequest, rest: bytes) -> bool:
        """Take over a connection of an HTTP server: see ``Upgrade``."""
        if not self._rules.concerns(request):
            return False
        reply: bytes | None = None
        try:
            with self.count.another(request.peer):
                await self._converse(stream, request, rest)
        except UpgradeRefused as error:
            reply = refusal_response(error.refusal)
        if reply is not None:
            await self._reply(stream, reply)
        return True

    async def connection(
        self, stream: ByteStream, peer: str | None, context: ssl.SSLContext | None
    ) -> None:
        """Serve one connection to its end; raises nothing but cancellation."""
        reply: bytes | None = None
        secured = stream
        try:
            try:
                with self.count.another(peer):
                    with anyio.move_on_after(self._settings.handshake_timeout) as opening:
                        certificate: principals.ClientCertificate | None = None
                        if context is not None:
                            secured = await SecureStream.wrap(
                                stream,
                                server_side=True,
                                ssl_context=context,
                                standard_compatible=False,
                            )
                            certificate = client_certificate(secured)
                        request, rest = await self._read(secured, peer, certificate)
                    if opening.cancelled_caught:
                        raise BadHead("the request took too long", TOO_SLOW)
                    reply = await self._converse(secured, request, rest)
            except UpgradeRefused as error:
                reply = refusal_response(error.refusal)
            except BadHead as error:
                refusal = principals.Refusal(status=error.row.status, message=error.message)
                reply = refusal_response(refusal)
            except LOST:
                pass  # it is gone before it was a WebSocket
            except Exception:
                logger.exception("a WebSocket connection was ended by an error of this server")
            # A connection refused for lack of room has no TLS yet.
            if reply is not None and (context is None or secured is not stream):
                await self._turn_away(secured, reply)
        finally:
            with anyio.CancelScope(shield=True), suppress(*LOST):
                with anyio.move_on_after(self._settings.close_timeout):
                    await secured.aclose()

    async def _read(
        self, stream: ByteStream, peer: str | None, certificate: principals.ClientCertificate | None
    ) -> tuple[HttpRequest, bytes]:
        """Read the head of a request, and the data that came with it.  Raises BadHead."""
        parser = RequestParser(limits=self._settings.head_limits)
        scheme = "https" if isinstance(stream, SecureStream) else "http"
        buffer = bytearray()
        while (head := parser.take(buffer, peer, scheme=scheme, certificate=certificate)) is None:
            buffer += await stream.receive(4096)
        if head.http_1_0:
            raise BadHead("HTTP/1.1 is needed", HTTP_VERSION)
        return head.request, bytes(buffer)

    async def _converse(
        self, stream: ByteStream, request: HttpRequest, rest: bytes
    ) -> bytes | None:
        """Agree on a WebSocket and serve it; return the response to a request for a document.

        Raises UpgradeRefused.
        """
        trace = None if self._trace is None else self._trace.connection("server")
        if trace is not None:
            trace.asked(request)
        try:
            document = self._rules.published(request)
            if document is not None:
                return _document_response(document, request.method, trace)
            handshake, headers, bounds = await self._rules.agree(request)
            self.count.check_open()  # the shutdown may have begun meanwhile
        except UpgradeRefused as error:
            if trace is not None:
                trace.response_head(error.refusal.status, list(error.refusal.lines()))
            raise
        if trace is not None:
            trace.response_head(101, headers)
        with anyio.move_on_after(self._settings.handshake_timeout) as opening:
            await stream.send(format_response(101, headers))
        if opening.cancelled_caught or self.count.closing:  # nothing would close it any more
            return None

        async def opened(trace: object) -> Opened:
            return Opened(stream, bounds, rest, handshake.principal)

        def make_link(peer: Peer, app: App) -> StreamConnection:
            link = WebSocketLink(peer, app, opened, settings=self._settings)
            link.trace = trace
            return link

        await self._serve(make_link, handshake)
        return None

    async def _turn_away(self, stream: ByteStream, reply: bytes) -> None:
        if self._turned_away >= self._settings.turned_away:
            return
        self._turned_away += 1
        try:
            await self._reply(stream, reply)
        finally:
            self._turned_away -= 1

    async def _reply(self, stream: ByteStream, reply: bytes) -> None:
        with anyio.move_on_after(self._settings.close_timeout):
            try:
                await stream.send(reply)
            except LOST:
                return
            # Closing with unread input would reset the connection before the reply is read.
            with anyio.move_on_after(_LINGER), suppress(*LOST):
                # Further input is not needed, and TLS itself cannot be closed in one direction.
                if isinstance(stream, SecureStream):
                    await stream.finish()
                    stream = cast(ByteStream, stream.transport_stream)
                elif isinstance(stream, ProtocolStream):
                    stream = stream.beneath()
                await stream.send_eof()
                left = self._settings.linger_bytes
                while left > 0:
                    left -= len(await stream.receive())


def refusal_response(refusal: principals.Refusal) -> bytes:
    """Return the response to a request that is refused; the connection ends with it."""
    headers, body = refusal_text(refusal)
    upgrade = refusal.status == UPGRADE_REQUIRED.status
    headers.append((b"connection", b"close, upgrade" if upgrade else b"close"))
    return format_response(refusal.status, headers) + body


def refusal_text(refusal: principals.Refusal) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the headers and the body of the response to a request that is refused."""
    body = f"{refusal.message}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        *refusal.lines(),
    ]
    return headers, body


def _document_response(reply: DocumentReply, method: str, trace: "ConnectionTrace | None") -> bytes:
    """Return the response to a request for a document; the connection ends with it."""
    headers = [*reply.headers, (b"connection", b"close")]
    if reply.body:
        headers.append((b"content-length", b"%d" % len(reply.body)))
    if trace is not None:
        trace.response_head(reply.status, headers)
    return format_response(reply.status, headers) + (b"" if method == "HEAD" else reply.body)


async def listen_websocket(
    host: str,
    port: int,
    server: WebSocketServer,
    *,
    ssl_context: ssl.SSLContext | None = None,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections for ``server`` until cancelled, each in a task of its own.

    ``task_status.started(port)`` reports the bound port once connections are accepted.  On
    cancellation every connection is closed with 1001.  Raises LinkError if the address cannot be
    used.
    """
    try:
        bound = await anyio.create_tcp_listener(local_host=host, local_port=port)
    except (OSError, UnicodeError) as error:
        raise LinkError(cannot_listen(host, port, error)) from error
    async with bound, PendingConnections() as pending, anyio.create_task_group() as tasks:

        async def let_in(stream: ByteStream, address: object) -> None:
            work = partial(server.connection, stream, peer_name(address), ssl_context)
            pending.begin(tasks, stream, work, "connection")

        for listener in bound.listeners:
            each = listener.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's
            tasks.start_soon(accept_each, each, let_in, logger)
        task_status.started(bound.extra(SocketAttribute.local_port))  # noqa: S610 - anyio's
