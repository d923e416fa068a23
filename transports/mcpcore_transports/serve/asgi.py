"""ASGI application that serves an MCP server, for any ASGI server or framework.

::

    app = asgi_app(server)                                # uvicorn module:app
    Starlette(routes=[Mount("/tools", app=asgi_app(server))])

Works with HTTP/1.0 to HTTP/2, as the ASGI server supports them; frames, pings and compression of
WebSocket are its own, too.  The lifespan protocol is used if it is offered, and never required.
Source: the ASGI specification 3.0, "HTTP & WebSocket ASGI Message Format" 2.5 and "Lifespan
Protocol" 2.0.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from mcpcore.engine.peer import Peer
from mcpcore.errors import ExtraMissingError, LifespanError, StoreUnavailableError
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore.http.principals import OUTLIVED, ClientCertificate, Principal, Refusal
from mcpcore.http.proxies import named_by_proxies
from mcpcore.service import Service
from mcpcore.spec import closes
from mcpcore.spec.closes import CloseRow
from mcpcore.spec.refusals import OVERLOADED, UNKNOWN_PATH
from mcpcore_transports.http.server.host import peer_name
from mcpcore_transports.http.server.identity import middleware_verdict
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.link import App, clock
from mcpcore_transports.serve.endpoint import (
    Action,
    HttpCall,
    HttpEndpoint,
    head_refusal,
    prepared,
    unready,
    with_length,
)
from mcpcore_transports.serve.serve import ServeSettings, ungrouped
from mcpcore_transports.serve.settings import websocket_rules
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.websocket.server import (
    ConnectionCount,
    UpgradeRefused,
    UpgradeRules,
    refusal_text,
)
from mcpcore_transports.websocket.server import refused as upgrade_refused
from mcpcore_transports.websocket.settings import WebSocketSettings

if TYPE_CHECKING:  # late: few record a trace
    from mcpcore_transports.tracing.tracing import Trace

logger = logging.getLogger("mcpcore.http")

Scope = MutableMapping[str, Any]
AsgiMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]
PrincipalOf = Callable[[Scope], str | None]

_END = (HttpEnd(0),)
_LEFT = (HttpHead(0, 499, [(b"content-length", b"0")]), HttpEnd(0))
_ARRIVED = b"\0"
"""Placeholder for a received message of a WebSocket, which may be empty."""
_REASON = 120
"""Maximum bytes of a reason: a close frame has room for 123 (RFC 6455 section 5.5)."""
_SCHEMES = {"ws": "http", "wss": "https"}


def asgi_app(
    server: Service,
    *,
    settings: ServeSettings | None = None,
    revisions: Sequence[str] | None = None,
    principal: PrincipalOf | None = None,
    trace: "Trace | None" = None,
) -> "AsgiApp":
    """Make an ASGI application of a server.

    ``settings``, ``revisions`` and ``trace``: see
    :class:`~mcpcore_transports.serve.endpoint.HttpEndpoint`. ``settings.http.path`` and the
    paths of ``settings.http.sse`` are relative to the path at which the application is mounted
    (``root_path``).  With ``settings.shared`` WebSocket is served there too.  ``principal``
    returns, from the scope, the name of the user that middleware has authenticated; None: nobody,
    so ``authenticate`` is asked.  Anything else that is no name lets nobody in.  Raises ValueError
    for invalid settings.
    """
    return AsgiApp(
        HttpEndpoint(server, settings=settings, revisions=revisions, trace=trace), principal
    )


class AsgiApp:
    """ASGI 3 application, called by an ASGI server."""

    def __init__(self, endpoint: HttpEndpoint, principal: PrincipalOf | None = None) -> None:
        self.endpoint = endpoint
        self._link = endpoint.settings.http_link
        self._principal = principal
        self._rules = websocket_rules(endpoint.settings) if endpoint.settings.shared else None
        """Rules for WebSocket, if it is served."""
        self._count = ConnectionCount(endpoint.settings.websocket)
        self._told = endpoint.server.lifespan is None
        """True if there is nothing to warn of: somebody says when the application ends."""
        self._protocols = {
            "http": self._http,
            "lifespan": self._lifespan,
            "websocket": self._websocket,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope.  Raises ValueError for an unknown protocol."""
        serve = self._protocols.get(scope["type"])
        if serve is None:
            raise ValueError(f"the ASGI protocol {scope['type']!r} is not known")
        await serve(scope, receive, send)

    async def prepare(self) -> None:
        """Prepare the endpoint before the first request, where no lifespan protocol does it."""
        self._told = True
        await self.endpoint.prepare()

    async def aclose(self) -> None:
        """End the tasks in this event loop, before it ends, where no lifespan protocol does it."""
        await self.endpoint.aclose()

    # HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._warn()
        reply = _Reply(send, names_connection=_is_http_1(scope))
        link = self._link
        request = _request(scope)
        if refusal := await prepared(self.endpoint, request):
            await reply.send(refusal)
            return
        principal = middleware_verdict(self._principal, scope)
        if principal is None:
            principal = await self.endpoint.identify(request)
        with self.endpoint.handle(request, principal=principal) as call:
            with anyio.CancelScope() as call.over:
                if call.wanted:
                    await self._read(call, reply, receive)
                else:
                    await _skip_body(scope, receive, link)
                if not reply.left:
                    await reply.send(call.ready())
                if not reply.over:
                    await self._stream(call, reply, receive)
            with anyio.move_on_after(link.linger_time):
                if not reply.over:  # the call was aborted
                    await reply.send(call.ready() or (_END if reply.begun else ()))
                elif not reply.begun:
                    # The client is gone, but some middleware insists on a response.
                    await reply.send(_LEFT)

    async def _read(self, call: HttpCall, reply: "_Reply", receive: Receive) -> None:
        """Feed the body to the call, until the client leaves."""
        while call.wanted and not reply.left:
            message = await receive()
            if message["type"] == "http.disconnect":
                reply.left = True
            else:
                call.feed(message.get("body", b""), end=not message.get("more_body", False))

    async def _stream(self, call: HttpCall, reply: "_Reply", receive: Receive) -> None:
        """Send the rest of the response as it becomes ready, until the client leaves."""

        async def watch() -> None:
            ended = False
            try:
                while (message := await receive())["type"] != "http.disconnect":
                    if ended:  # middleware that has read the body gives it again, without end
                        return
                    ended = not message.get("more_body", False)
            except OSError:  # as of a send
                pass
            except Exception as error:  # of such middleware, too; sending tells who is gone
                logger.debug("it is not known when a client leaves", exc_info=error)
                return
            # The message that is being sent is not cancelled: the server may be closing with it.
            reply.left = True
            call.close()

        with ungrouped():
            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                while not reply.over and (actions := await call.actions()):
                    await reply.send(actions)
                group.cancel_scope.cancel()

    # The other protocols

    def _warn(self) -> None:
        """Warn, before the first request, of a lifespan that may never be left."""
        if not self._told:
            self._told = True
            logger.warning(
                "a request enters the lifespan of %s, as no ASGI lifespan protocol did: it is left"
                " only if the application calls aclose(), not at a signal (docs/asgi.md)",
                self.endpoint.server.info.name,
            )

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._told = True
        step, asked = "startup", True

        async def serve(value: object = None) -> None:
            nonlocal step, asked
            await send({"type": "lifespan.startup.complete"})
            step, asked = "shutdown", False
            await receive()
            asked = True
            await self.endpoint.aclose()

        await receive()
        self.endpoint.reopen()
        server = self.endpoint.server
        if server.lifespan is None:
            await serve()
        else:
            from mcpcore_transports.server.lifespan import within  # late: few have a lifespan

            try:
                await within(server, self.endpoint.settings.runtime, serve)
            except LifespanError as error:
                if not asked:  # the lifespan ended by itself; the next request enters it again
                    logger.error("%s", error)
                    await receive()
                    await self.endpoint.aclose()
                await send({"type": f"lifespan.{step}.failed", "message": str(error)})
                return
        await send({"type": "lifespan.shutdown.complete"})

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        try:
            if self._rules is None:
                raise upgrade_refused(UNKNOWN_PATH, "WebSocket is not served here")
            principal = middleware_verdict(self._principal, scope)
            if isinstance(principal, Refusal):
                raise UpgradeRefused(principal)
            self._warn()
            if first["type"] == "websocket.connect":  # else it has left again
                request = named_by_proxies(_request(scope), self._link.trusted_proxies)
                with self._count.another(request.peer):
                    await self._converse(self._rules, scope, request, principal, receive, send)
            return
        except UpgradeRefused as error:
            refusal = error.refusal
        await _refuse_websocket(scope, send, refusal)

    async def _converse(
        self,
        rules: UpgradeRules,
        scope: Scope,
        request: HttpRequest,
        principal: Principal | None,
        receive: Receive,
        send: Send,
    ) -> None:
        """Admit a WebSocket and serve it to its end.  Raises UpgradeRefused."""
        endpoint = self.endpoint
        if endpoint.closing:
            raise upgrade_refused(OVERLOADED, "the server is shutting down")
        rules.check_place(request)
        over = head_refusal(request, rules.settings.head_limits)
        if over is not None:
            raise upgrade_refused(*over)
        offer = rules.choose(scope.get("subprotocols") or ())
        handshake = await rules.admit(request, offer, principal)
        try:
            await endpoint.prepare()
        except (StoreUnavailableError, ExtraMissingError, LifespanError) as error:
            raise upgrade_refused(OVERLOADED, unready(error)) from error
        to = endpoint.settings.trace
        trace = None if to is None else to.connection("server")
        if trace is not None:
            trace.asked(request)
            trace.response_head(101, [])
        lines = [] if handshake.principal is None else list(handshake.principal.lines)
        accept = {"type": "websocket.accept", "subprotocol": offer.selected, "headers": lines}
        await _say(send, accept)

        def make_link(peer: Peer, app: App) -> StreamConnection:
            link = AsgiWebSocketLink(
                peer, app, receive, send, principal=handshake.principal, settings=rules.settings
            )
            link.trace = trace
            return link

        if not await endpoint.serve_connection(make_link, handshake):
            await _say(send, _close(closes.GOING_AWAY))


class _Reply:
    """Sender of actions as ASGI messages."""

    def __init__(self, send: Send, *, names_connection: bool) -> None:
        self.begun = self.complete = False
        self.left = False
        """True once the client has left."""
        self._send = send
        self._names_connection = names_connection

    @property
    def over(self) -> bool:
        return self.complete or self.left

    async def send(self, actions: Iterable[Action]) -> None:
        """Send actions: at most a head, and one part of the body."""
        part = b""
        head: HttpHead | None = None
        end: HttpEnd | None = None
        for action in actions:
            if isinstance(action, HttpHead):
                head = action
            elif isinstance(action, HttpChunk):
                part = action.data
            else:
                end = action
        try:
            if head is not None:
                headers = list(head.headers)
                if end is not None and end.close and self._names_connection:
                    headers.append((b"connection", b"close"))
                self.begun = True
                start = {"type": "http.response.start", "status": head.status, "headers": headers}
                await self._send(start)
            if head or part or end:
                # Some servers hold a head back until something follows it.
                more = end is None
                await self._send({"type": "http.response.body", "body": part, "more_body": more})
        except OSError:
            self.left = True
        else:
            self.complete = self.complete or end is not None


async def _skip_body(scope: Scope, receive: Receive, settings: HttpServerSettings) -> None:
    """Read the short body of a request that is refused on its head, before the reply.

    Servers reset connections, and HTTP/2 streams, that have unread input, and the client may then
    miss the reply.  Long or slow bodies are not read.
    """
    if scope["method"] != "POST":
        return
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if b"expect" in headers or not length.isdigit() or int(length[:9]) > settings.read_ahead:
        return
    with anyio.move_on_after(settings.linger_time):
        left = settings.read_ahead
        while left > 0:
            message = await receive()
            if not message.get("more_body", False):
                return
            left -= len(message.get("body", b""))


def _request(scope: Scope) -> HttpRequest:
    path: str = scope["path"]
    root = (scope.get("root_path") or "").rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    scheme: str = scope.get("scheme", "http")
    request = HttpRequest(
        method=scope.get("method", "GET"),
        path=path or "/",
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=[(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]],
        peer=peer_name(scope.get("client")),
        root=root,
        scheme=_SCHEMES.get(scheme, scheme),
        certificate=_certificate(scope),
    )
    if request.method == "POST" and not _is_http_1(scope):
        return with_length(request, None)
    return request


def _certificate(scope: Scope) -> ClientCertificate | None:
    """Return the client's certificate, if the ASGI server reports TLS (TLS extension 0.2)."""
    facts = (scope.get("extensions") or {}).get("tls") or {}
    chain = list(facts.get("client_cert_chain") or ())
    if not chain or facts.get("client_cert_error"):
        return None
    der = ssl.PEM_cert_to_DER_cert(chain[0])
    return ClientCertificate(subject=facts.get("client_cert_name") or "", der=der)


def _is_http_1(scope: Scope) -> bool:
    return str(scope.get("http_version", "1.1")).startswith("1")


# WebSocket


class AsgiWebSocketLink(StreamConnection):
    """Link of a Peer on a WebSocket that an ASGI server carries."""

    binding = "websocket"
    _half_close = False

    def __init__(
        self,
        peer: Peer,
        app: App,
        receive: Receive,
        send: Send,
        *,
        principal: Principal | None,
        settings: WebSocketSettings,
    ) -> None:
        super().__init__(peer, app, settings=settings.connection)
        self.close_code: int | None = None
        """Close code of either side; None before that."""
        self._from, self._to = receive, send
        peer.principal = principal
        self._limit = peer.config.limits.message_size
        self._close_timeout = settings.close_timeout
        self._arrived: bytes | None = None
        self._left = False
        self._close_row = closes.GOING_AWAY

    async def _receive(self) -> bytes:
        message = await self._from()
        if message["type"] == "websocket.disconnect":
            self._left = True
            self.close_code = message.get("code")
            if self.trace is not None:
                self.trace.frame("close", incoming=True, status=self.close_code)
            return b""
        text = message.get("text")
        self._arrived = None
        if text is None:
            if self.trace is not None:
                self.trace.frame("binary", message.get("bytes"), incoming=True)
            self._refuse(closes.NOT_TEXT)
            return _ARRIVED
        try:
            data = text.encode()
        except UnicodeEncodeError:
            self._refuse(closes.NOT_UTF_8)
            return _ARRIVED
        if len(data) > self._limit:
            self._refuse(closes.TOO_LONG.filled(limit=self._limit))
        else:
            self._arrived = data
        return _ARRIVED

    def _feed(self, data: bytes) -> None:
        if self._arrived is not None:
            self._record(self._arrived, incoming=True)
            self.peer.receive(self._arrived, now=clock())
            self._arrived = None

    async def _end_of_input(self) -> str:
        return f"closed by the other side with {self.close_code}"

    def _refuse(self, close: CloseRow) -> None:
        self._close_row = close
        self._stop(f"closed by this side with {close.code}: {close.reason}", hard=True)

    async def _send(self, data: memoryview) -> int:
        for line in bytes(data).split(b"\n"):
            if line:
                try:
                    await self._to({"type": "websocket.send", "text": line.decode()})
                except Exception as error:  # servers differ in the exception
                    raise OSError("the client is gone") from error
                self._moved = clock()
        return len(data)

    async def _close(self) -> None:
        if self._left:
            return
        close = closes.OUTLIVED if self._reason == OUTLIVED else self._close_row
        if self._crashed:
            close = closes.FAILED.filled(reason=close.reason or self._reason)
        self.close_code = close.code
        message = _close(close)
        if self.trace is not None:
            reason = message["reason"].encode()
            self.trace.frame("close", reason, incoming=False, status=close.code)
        with anyio.move_on_after(self._close_timeout), suppress(Exception):
            await self._to(message)


def _close(close: CloseRow) -> AsgiMessage:
    reason = close.reason.encode()[:_REASON].decode(errors="ignore")
    return {"type": "websocket.close", "code": close.code, "reason": reason}


async def _refuse_websocket(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Refuse before the handshake; with a status where the ASGI server can send one."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await _say(send, _close(closes.NOT_ADMITTED))
        return
    headers, body = refusal_text(refusal)
    start = {"type": "websocket.http.response.start", "status": refusal.status, "headers": headers}
    await _say(send, start)
    await _say(send, {"type": "websocket.http.response.body", "body": body})


async def _say(send: Send, message: AsgiMessage) -> None:
    """Send a message outside of a conversation; a client that has left need not hear it."""
    with suppress(OSError):
        await send(message)
