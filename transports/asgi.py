"""An ASGI application around a server, for any ASGI server or framework.

::

    app = asgi_app(server)                                # uvicorn module:app
    Starlette(routes=[Mount("/tools", app=asgi_app(server))])

HTTP/1.0 to HTTP/2, as the ASGI server has them.  The lifespan protocol is used where it is
offered and never needed.  Source: the ASGI specification 3.0, "HTTP & WebSocket ASGI Message
Format" 2.5 and "Lifespan Protocol" 2.0.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio

from mcpcore.http.certificates import ClientCertificate
from mcpcore.http.gate import Gate
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore.http.principals import Refusal
from mcpcore.service import LifespanError, Server
from transports.http_call import Action, HttpCall, refused, with_length
from transports.http_endpoint import HttpEndpoint, unready
from transports.http_host import peer_name
from transports.http_identity import broken
from transports.http_settings import HttpServerSettings
from transports.server import ServeSettings, ungrouped
from transports.stores.base import StoreUnavailableError
from transports.strays import failure_of
from transports.websocket_asgi import AsgiWebSockets, refuse_websocket

if TYPE_CHECKING:
    from transports.tracing import Trace

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Principal = Callable[[Scope], str | None]

_END = (HttpEnd(0),)
_LEFT = (HttpHead(0, 499, [(b"content-length", b"0")]), HttpEnd(0))
_NOT_HERE = Refusal(status=404, message="WebSocket is not served here")
_SCHEMES = {"ws": "http", "wss": "https"}


def asgi_app(
    server: Server,
    *,
    settings: ServeSettings | None = None,
    revisions: Sequence[str] | None = None,
    principal: Principal | None = None,
    trace: "Trace | None" = None,
) -> "AsgiApp":
    """Make an ASGI application of a server.

    ``settings``, ``revisions`` and ``trace``: see :class:`~transports.http_endpoint.HttpEndpoint`.
    ``settings.http.path`` is looked for below the path at which the application is mounted
    (``root_path``), and so are those of ``settings.http.sse``; with ``settings.shared`` WebSocket
    is served there too.  ``principal`` tells whom middleware has authenticated, from the scope.
    Raises ValueError for settings that cannot be read.
    """
    return AsgiApp(
        HttpEndpoint(server, settings=settings, revisions=revisions, trace=trace), principal
    )


class AsgiApp:
    """An ASGI 3 application, to be called by an ASGI server."""

    def __init__(self, endpoint: HttpEndpoint, principal: Principal | None = None) -> None:
        self.endpoint = endpoint
        self._link = endpoint.settings.http_link
        self._gate = Gate(endpoint.settings.http, ())
        self._principal = principal or (lambda scope: None)
        self._websockets = AsgiWebSockets(endpoint) if endpoint.settings.shared else None
        self._protocols = {
            "http": self._http,
            "lifespan": self._lifespan,
            "websocket": self._websocket,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope.  Raises ValueError for a protocol that is not known."""
        serve = self._protocols.get(scope["type"])
        if serve is None:
            raise ValueError(f"the ASGI protocol {scope['type']!r} is not known")
        await serve(scope, receive, send)

    async def prepare(self) -> None:
        """Enter the lifespan of the server, and reach the store, before the first request.

        For whoever embeds it without the lifespan protocol.  See HttpEndpoint.
        """
        await self.endpoint.prepare()

    async def aclose(self) -> None:
        """End what runs for the application in this event loop: see HttpEndpoint.

        For whoever embeds it without the lifespan protocol, and ends before the event loop does.
        """
        await self.endpoint.aclose()

    # HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = _Reply(send, names_connection=_is_http_1(scope))
        link = self._link
        request = _request(scope)
        try:
            await self.endpoint.prepare()
        except (StoreUnavailableError, LifespanError) as error:
            extra = self._gate.readable(request)
            await reply.send(refused(request, 503, unready(error), extra))
            return
        principal = self._authenticated(scope)
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
                if not reply.over:  # the call was given up
                    await reply.send(call.ready() or (_END if reply.begun else ()))
                elif not reply.begun:
                    # Nobody will see it, but there is middleware that insists on a response.
                    await reply.send(_LEFT)

    async def _read(self, call: HttpCall, reply: "_Reply", receive: Receive) -> None:
        """Feed the body, until the client leaves."""
        while call.wanted and not reply.left:
            message = await receive()
            if message["type"] == "http.disconnect":
                reply.left = True
            else:
                call.feed(message.get("body", b""), end=not message.get("more_body", False))

    async def _stream(self, call: HttpCall, reply: "_Reply", receive: Receive) -> None:
        """Send what was not ready when the request had been read, until the client leaves."""

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            # A message that is being sent is left alone: with it the server may be closing.
            reply.left = True
            call.close()

        with ungrouped():
            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                while not reply.over and (actions := await call.actions()):
                    await reply.send(actions)
                group.cancel_scope.cancel()

    # The other protocols

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
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
            from transports.lifespan import within

            try:
                await within(server, self.endpoint.settings.runtime, serve)
            except LifespanError as error:
                if not asked:  # it has ended by itself, and requests enter it anew
                    logger.error("%s", error)
                    await receive()
                    await self.endpoint.aclose()
                await send({"type": f"lifespan.{step}.failed", "message": str(error)})
                return
        await send({"type": "lifespan.shutdown.complete"})

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._websockets is None:
            await receive()
            await refuse_websocket(scope, send, _NOT_HERE)
            return
        principal = self._authenticated(scope)
        if isinstance(principal, Refusal):
            await receive()
            await refuse_websocket(scope, send, principal)
            return
        await self._websockets.serve(scope, _request(scope), principal, receive, send)

    def _authenticated(self, scope: Scope) -> str | Refusal | None:
        """Whom middleware has let in; a mistake in telling it lets nobody in."""
        try:
            return self._principal(scope)
        except BaseException as error:
            return broken(failure_of(error))


class _Reply:
    """Sends actions as ASGI messages."""

    def __init__(self, send: Send, *, names_connection: bool) -> None:
        self.begun = self.complete = False
        self.left = False
        """The client has left."""
        self._send = send
        self._names_connection = names_connection

    @property
    def over(self) -> bool:
        """Nothing more is to be sent."""
        return self.complete or self.left

    async def send(self, actions: Iterable[Action]) -> None:
        """Send what there is: a head, if it is among them, and one part of the body."""
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

    Servers reset connections, and streams of HTTP/2, with input that nobody has read, and the
    client then may not see the reply.  What is long or slow is not read.
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
    """The certificate of the client, from an ASGI server that tells of TLS (TLS extension 0.2)."""
    facts = (scope.get("extensions") or {}).get("tls") or {}
    chain = list(facts.get("client_cert_chain") or ())
    if not chain or facts.get("client_cert_error"):
        return None
    der = ssl.PEM_cert_to_DER_cert(chain[0])
    return ClientCertificate(subject=facts.get("client_cert_name") or "", der=der)


def _is_http_1(scope: Scope) -> bool:
    return str(scope.get("http_version", "1.1")).startswith("1")
