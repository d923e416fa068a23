"""ASGI application that serves an MCP server, for any ASGI server or framework.

::

    app = asgi_app(server)                                # uvicorn module:app
    Starlette(routes=[Mount("/tools", app=asgi_app(server))])

Works with HTTP/1.0 to HTTP/2, as the ASGI server supports them.  The lifespan protocol is used if
it is offered, and never required.  Source: the ASGI specification 3.0, "HTTP & WebSocket ASGI
Message Format" 2.5 and "Lifespan Protocol" 2.0.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio

from mcpcore.errors import LifespanError, StoreUnavailableError
from mcpcore.http.certificates import ClientCertificate
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore.http.principals import Refusal
from mcpcore.http.server.gate import Gate
from mcpcore.service import Server
from mcpcore_transports.http.server.call import Action, HttpCall, refused, with_length
from mcpcore_transports.http.server.endpoint import HttpEndpoint, unready
from mcpcore_transports.http.server.host import peer_name
from mcpcore_transports.http.server.identity import broken
from mcpcore_transports.http.settings import HttpServerSettings
from mcpcore_transports.running.functions import failure_of
from mcpcore_transports.serve.serve import ServeSettings, ungrouped
from mcpcore_transports.websocket.asgi import AsgiWebSockets, refuse_websocket

if TYPE_CHECKING:
    from mcpcore_transports.tracing.tracing import Trace

logger = logging.getLogger("mcpcore.http")

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

    ``settings``, ``revisions`` and ``trace``: see
    :class:`~mcpcore_transports.http.server.endpoint.HttpEndpoint`. ``settings.http.path`` and the
    paths of ``settings.http.sse`` are relative to the path at which the application is mounted
    (``root_path``).  With ``settings.shared`` WebSocket is served there too.  ``principal``
    returns, from the scope, the user that middleware has authenticated. Raises ValueError for
    invalid settings.
    """
    return AsgiApp(
        HttpEndpoint(server, settings=settings, revisions=revisions, trace=trace), principal
    )


class AsgiApp:
    """ASGI 3 application, called by an ASGI server."""

    def __init__(self, endpoint: HttpEndpoint, principal: Principal | None = None) -> None:
        self.endpoint = endpoint
        self._link = endpoint.settings.http_link
        self._gate = Gate(endpoint.settings.http, ())
        self._principal = principal or (lambda scope: None)
        self._websockets = AsgiWebSockets(endpoint) if endpoint.settings.shared else None
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
        """Enter the lifespan of the server, and connect to the store, before the first request.

        For applications that embed it without the lifespan protocol.  See HttpEndpoint.
        """
        self._told = True
        await self.endpoint.prepare()

    async def aclose(self) -> None:
        """End the tasks of the application in this event loop: see HttpEndpoint.

        For applications that embed it without the lifespan protocol, before their event loop ends.
        """
        await self.endpoint.aclose()

    # HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._warn()
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
            while (await receive())["type"] != "http.disconnect":
                pass
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
            from mcpcore_transports.server.lifespan import within

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
        if self._websockets is None:
            await receive()
            await refuse_websocket(scope, send, _NOT_HERE)
            return
        principal = self._authenticated(scope)
        if isinstance(principal, Refusal):
            await receive()
            await refuse_websocket(scope, send, principal)
            return
        self._warn()
        await self._websockets.serve(scope, _request(scope), principal, receive, send)

    def _authenticated(self, scope: Scope) -> str | Refusal | None:
        """Return the user that middleware has authenticated; an exception becomes a refusal."""
        try:
            return self._principal(scope)
        except BaseException as error:
            return broken(failure_of(error))


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
        """True if nothing more is to be sent."""
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
