"""WSGI application that serves an MCP server, for any WSGI server or framework with threads.

::

    app = wsgi_app(server)                                # gunicorn --threads 64 module:app
    flask_app.wsgi_app = DispatcherMiddleware(flask_app.wsgi_app, {"/tools": wsgi_app(server)})

The server runs in an event loop of asyncio in a thread of its own, which the first request starts.
Source: PEP 3333, "Python Web Server Gateway Interface v1.0.1".
"""

import atexit
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from mcpcore.http.headers import CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore.http.principals import Verdict
from mcpcore.service import Service
from mcpcore.spec.refusals import OVERLOADED
from mcpcore_transports.http.server.identity import middleware_verdict
from mcpcore_transports.http1.format import status_line
from mcpcore_transports.serve.endpoint import (
    Action,
    HttpCall,
    HttpEndpoint,
    prepared,
    refused,
    with_length,
)
from mcpcore_transports.serve.serve import ServeSettings

if TYPE_CHECKING:  # for types only
    from wsgiref.types import StartResponse, WSGIEnvironment

    from mcpcore_transports.tracing.tracing import Trace

logger = logging.getLogger("mcpcore.http")

_PART = 64 * 1024
"""Maximum bytes of a body that are read at once."""
_NAMES = {"CONTENT_TYPE": CONTENT_TYPE, "CONTENT_LENGTH": CONTENT_LENGTH}
"""Headers whose variables do not begin with ``HTTP_``."""


def wsgi_app(
    server: Service,
    *,
    settings: ServeSettings | None = None,
    revisions: Sequence[str] | None = None,
    principal: "Callable[[WSGIEnvironment], str | None] | None" = None,
    trace: "Trace | None" = None,
) -> "WsgiApp":
    """Make a WSGI application of a server.

    ``settings``, ``revisions`` and ``trace``: see
    :class:`~mcpcore_transports.serve.endpoint.HttpEndpoint`. ``settings.http.path`` and the
    paths of ``settings.http.sse`` are relative to the path at which the application is mounted
    (``SCRIPT_NAME``).  ``principal`` returns, from the environment of a request, the name of the
    user that middleware has authenticated; None: nobody, so ``authenticate`` is asked.  Anything
    else that is no name lets nobody in.  Raises ValueError for invalid settings.
    """
    return WsgiApp(
        HttpEndpoint(server, settings=settings, revisions=revisions, trace=trace), principal
    )


class WsgiApp:
    """WSGI application, called by a WSGI server in as many threads as there are requests."""

    def __init__(
        self,
        endpoint: HttpEndpoint,
        principal: "Callable[[WSGIEnvironment], str | None] | None" = None,
    ) -> None:
        self.endpoint = endpoint
        self._principal = principal
        self._lock = Lock()
        self._thread = ExitStack()
        self._portal: BlockingPortal | None = None
        self._closed = False

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Serve one request; the iterable is the body of the reply, each part once it is ready.

        Raises ConnectionAbortedError, here or in the iteration, for a reply that cannot be ended.
        """
        request = _request(environ)
        portal = self._begin(environ)
        if portal is None:
            actions = refused(request, OVERLOADED, "the server is shutting down")
            return _start(start_response, actions)
        principal = middleware_verdict(self._principal, environ)
        opened: HttpCall | list[Action] = self._call(portal, self._open, request, principal)
        if not isinstance(opened, HttpCall):
            return _start(start_response, opened)
        reply = _WsgiReply(partial(self._call, portal), opened)
        try:
            reply.read_request(environ)
            reply.waiting = _start(start_response, reply.actions())
        except BaseException:
            reply.close()
            raise
        return reply

    def close(self) -> None:
        """Stop serving: requests may finish, for a bounded time; then the thread ends.

        Afterwards requests get status 503.  Called by the interpreter at its exit.  Safe from any
        thread, and more than once.  Raises LifespanError if the lifespan of the server does not end
        well.
        """
        with self._lock:
            closed, self._closed = self._closed, True
        if self._portal is not None and not closed:
            atexit.unregister(self.close)
            with self._thread:
                self._portal.call(self.endpoint.aclose)

    def _begin(self, environ: "WSGIEnvironment") -> BlockingPortal | None:
        """Return the portal to the event loop, which the first request starts; None once closed."""
        with self._lock:
            if self._closed:
                return None
            if self._portal is None:
                if not environ["wsgi.multithread"]:
                    logger.warning(
                        "%s is served by a single thread: whoever opens an event stream keeps all"
                        " others waiting (docs/how-to/wsgi.md)",
                        self.endpoint.server.info.name,
                    )
                # Not before: servers fork once they have imported the application.
                self._portal = self._thread.enter_context(start_blocking_portal(name="mcpcore"))
                atexit.register(self.close)
            return self._portal

    async def _open(
        self, request: HttpRequest, principal: Verdict | None
    ) -> HttpCall | list[Action]:
        """Find out who sends a request, and handle it; or return its refusal."""
        if refusal := await prepared(self.endpoint, request):
            return refusal
        if principal is None:
            principal = await self.endpoint.identify(request)
        return self.endpoint.handle(request, principal=principal)

    def _call(
        self, portal: BlockingPortal, function: Callable[..., Any], *arguments: object
    ) -> Any:
        """Call a function in the event loop.  Raises ConnectionAbortedError once that has ended."""
        try:
            return portal.call(function, *arguments)
        except RuntimeError as error:
            if not self._closed:
                raise
            raise ConnectionAbortedError("the server has ended") from error


class _WsgiReply:
    """Reply whose body a WSGI server takes, part by part."""

    def __init__(self, in_loop: Callable[..., Any], call: HttpCall) -> None:
        self.waiting: list[bytes] = []
        """Part that came with the head."""
        self._in_loop = in_loop
        self._call = call
        self._over = False

    def read_request(self, environ: "WSGIEnvironment") -> None:
        """Feed the call the body of its request; throw away a short one that is not wanted.

        Servers reset connections that have unread input, and the client may then miss the reply.
        Raises ConnectionAbortedError if the client leaves.
        """
        source, left = environ["wsgi.input"], _length(environ)
        if not self._call.wanted and left <= _PART and "HTTP_EXPECT" not in environ:
            source.read(left)
        while self._call.wanted:
            data = source.read(min(left, _PART))
            left -= len(data)
            if not data and 0 < left < math.inf:
                raise ConnectionAbortedError("the client has left")
            self._in_loop(partial(self._call.feed, data, end=not data or not left))

    def actions(self) -> list[Action]:
        """Wait for the next actions.  Raises ConnectionAbortedError if the call was aborted."""
        actions: list[Action] = self._in_loop(self._call.actions)
        if not actions:
            raise ConnectionAbortedError("the reply was given up")
        if isinstance(actions[-1], HttpEnd):
            self.close()
        return actions

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self.waiting:
            return self.waiting.pop()
        if self._over:
            raise StopIteration
        return _body(self.actions())

    def close(self) -> None:
        """Leave the call, its reply complete or not."""
        if not self._over:
            self._over = True
            with suppress(ConnectionAbortedError):
                self._in_loop(self._call.close)


def _start(start_response: "StartResponse", actions: list[Action]) -> list[bytes]:
    """Start a response with its first actions; return the beginning of its body.

    It may be empty; most servers then send the head all the same, so that a stream is seen to open.
    """
    head = actions[0]
    assert isinstance(head, HttpHead)  # noqa: S101 - nothing comes before it
    status = status_line(head.status).decode("ascii").removeprefix("HTTP/1.1 ")
    lines = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
    start_response(status.removesuffix("\r\n"), lines)
    return [_body(actions)]


def _body(actions: list[Action]) -> bytes:
    return b"".join(action.data for action in actions if isinstance(action, HttpChunk))


def _length(environ: "WSGIEnvironment") -> float:
    """Return the length of a request's body; infinity if it lasts until the end of the input."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isdecimal():
        return int(length[:19])  # longer ones are refused
    return math.inf if environ.get("wsgi.input_terminated") else 0


def _request(environ: "WSGIEnvironment") -> HttpRequest:
    terminated = bool(environ.get("wsgi.input_terminated"))
    request = HttpRequest(
        method=environ["REQUEST_METHOD"],
        path=_path(environ, "PATH_INFO") or "/",
        query=environ.get("QUERY_STRING", ""),
        headers=[
            (name, value.encode("latin-1"))
            for name, value in map(_header, environ.items())
            # A server that has not decoded the chunks has no body for us.
            if name and (terminated or name != TRANSFER_ENCODING)
        ],
        peer=environ.get("REMOTE_ADDR") or None,
        root=_path(environ, "SCRIPT_NAME").rstrip("/"),
        scheme=environ["wsgi.url_scheme"],
    )
    chunked = terminated and request.method == "POST"
    return with_length(request, None) if chunked else request


def _path(environ: "WSGIEnvironment", name: str) -> str:
    """Return a part of the path: its bytes, without the escapes, are given as Latin-1."""
    part: str = environ.get(name, "")
    return part.encode("latin-1").decode(errors="replace")


def _header(variable: tuple[str, Any]) -> tuple[bytes, Any]:
    """Return the name and value of the header that a variable holds; an empty name for others."""
    name, value = variable
    if name.startswith("HTTP_"):
        return name[5:].replace("_", "-").lower().encode("latin-1"), value
    return (_NAMES.get(name, b"") if value else b""), value
