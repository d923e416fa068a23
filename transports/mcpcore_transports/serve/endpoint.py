"""A server's HTTP endpoint for frameworks that have sockets and parsers of their own.

:meth:`HttpEndpoint.handle` takes a request and returns the actions for its reply.  No
initialisation is needed: the first request of an event loop starts the endpoint.

::

    endpoint = HttpEndpoint(server)
    ...
    request = http_request("POST", "/mcp", [("Host", "localhost"), ...], peer="192.0.2.1:5000")
    with endpoint.handle(request, body) as call:
        async for action in call:  # HttpHead, HttpChunk ..., HttpEnd
            ...
"""

import logging
import math
from collections import deque
from collections.abc import Iterable, Sequence
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from msgspec import structs

from mcpcore.engine.events import Route
from mcpcore.errors import ExtraMissingError, LifespanError, StoreUnavailableError
from mcpcore.http.headers import CONTENT_LENGTH, HOST, TRANSFER_ENCODING, Headers
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore.http.principals import ClientCertificate, Principal, Refusal, address_of, quota_key
from mcpcore.http.proxies import named_by_proxies
from mcpcore.http.server.gate import Gate
from mcpcore.http.storing import StoreBinding
from mcpcore.service import Service
from mcpcore.spec.refusals import (
    HEAD_TOO_LARGE,
    MALFORMED_REQUEST,
    OVERLOADED,
    TARGET_TOO_LONG,
    TOO_SLOW,
    RefusalRow,
)
from mcpcore.spec.revisions import parse_revisions
from mcpcore_transports.http.server.host import HttpHost
from mcpcore_transports.http.server.identity import identify, taken_over
from mcpcore_transports.http.server.store_link import binding
from mcpcore_transports.http1.format import error_reply
from mcpcore_transports.http1.heads import named_revision, split_target
from mcpcore_transports.http1.settings import HeadLimits
from mcpcore_transports.link import Handshake, Link, clock
from mcpcore_transports.running.functions import current_loop, is_over, start_background
from mcpcore_transports.serve.assembling import (
    Application,
    LinkFactory,
    assemble_http,
    check_served,
    make_task_host,
    serve_connection,
)
from mcpcore_transports.serve.settings import ServeSettings, guard, sealing
from mcpcore_transports.server.failures import warn_if_revealing
from mcpcore_transports.server.settings import Runtime

if TYPE_CHECKING:  # late: few offer tasks, or record a trace
    from mcpcore_transports.running.tasks import TaskHost
    from mcpcore_transports.tracing.tracing import Trace

logger = logging.getLogger("mcpcore.http")


Action = HttpHead | HttpChunk | HttpEnd
"""Next step of a reply for a framework: send a head, send a part of the body, or end it."""

_REFUSED: Route = 0
"""Placeholder for the exchange in the actions of a reply that the machine does not know."""


class HttpEndpoint:
    """HTTP endpoint of one server, independent of the source of its requests.

    Of ``settings`` these apply: ``runtime``, ``http``, the hosts and origins, ``store`` and
    ``store_link``, and of ``http_link`` the bounds of a head, ``connections`` and
    ``connections_per_client`` (requests at a time), ``body_time``, ``body_rate``, ``body_grace``,
    ``write_time``, ``write_size``, ``drain_time``, ``authenticate``, ``authenticate_time`` and
    ``trusted_proxies``; under ASGI also ``linger_time``, ``shared`` and ``websocket``.
    ``revisions`` names the revisions to speak, in place of those in ``settings``; ``trace`` records
    the traffic.  Raises ValueError for settings that cannot be read, TypeError for an Application
    such as a gateway, and for what is no server.  Each event loop that brings requests has its own
    sessions.  The tasks of an endpoint end with :meth:`aclose` or with the loop; they run in the
    context in which the endpoint was made.
    """

    def __init__(
        self,
        server: Service,
        *,
        settings: ServeSettings | None = None,
        revisions: Sequence[str] | None = None,
        trace: "Trace | None" = None,
    ) -> None:
        check_served(server)
        if isinstance(server, Application):  # it runs once, in one event loop
            name = type(server).__name__
            raise TypeError(f"{name}: it is served with serve() or run(), by no other web server")
        settings = settings or ServeSettings()
        if trace is not None:
            settings = structs.replace(settings, trace=trace)
        if revisions is not None:
            runtime = structs.replace(settings.runtime, revisions=parse_revisions(revisions))
            settings = structs.replace(settings, runtime=runtime)
        warn_if_revealing(settings.runtime)
        self.settings = structs.replace(settings, http=guard(settings, settings.http))
        self.server = server
        self._runtime = sealing(settings.runtime)
        self._context = copy_context()
        self._running: dict[object, _Running] = {}

    def handle(
        self,
        request: HttpRequest,
        body: bytes | None = None,
        *,
        principal: str | Refusal | None = None,
    ) -> "HttpCall":
        """Take a request; the returned call provides the actions for its reply.

        Must be called in the event loop.  Never blocks, except for a store that is reached for the
        first time.  With a store or a lifespan, call :meth:`prepare` before.  Without ``body`` the
        caller feeds it to the call in parts; then the headers tell its length.  ``principal`` is
        the one that the caller has authenticated, or the result of :meth:`identify`: sessions and
        sealed state are bound to it.  Anything but None, a refusal or a name is refused.  Raises
        RuntimeError if neither was asked though ``authenticate`` is set, and for a lifespan that is
        not entered.
        """
        if body:
            request = with_length(request, len(body))
        if self.server.lifespan is not None:
            running = self._running.get(current_loop())
            if running is None or not running.begun.is_set():
                raise RuntimeError("the server has a lifespan: await prepare() first")
        request = named_by_proxies(request, self.settings.http_link.trusted_proxies)
        call = HttpCall(self._serving().host, request, principal)
        if body is not None:
            call.feed(body, end=True)
        return call

    async def prepare(self) -> None:
        """Prepare for :meth:`handle`: reach the store and enter the lifespan, if there is one.

        May be called before each request.  After a failure the next call tries again. Raises
        StoreUnavailableError and LifespanError.
        """
        shared, store = None, self.settings.store
        if store is not None and current_loop() not in self._running:
            shared = await anyio.to_thread.run_sync(binding, store)
        elif self.server.lifespan is None:
            return
        running = self._serving(shared)
        if not running.begun.is_set():
            await running.begun.wait()
        if running.failure is not None:
            raise LifespanError(str(running.failure)) from running.failure

    async def identify(self, request: HttpRequest) -> Principal | Refusal | None:
        """Call ``authenticate`` for a request; None if nothing depends on it."""
        await self.prepare()
        settings = self.settings.http_link
        machine = self._serving().host.machine
        if settings.authenticate is None or not machine.asks_who(request):
            return None
        request = named_by_proxies(request, settings.trusted_proxies)
        return await identify(settings.authenticate, request, settings.authenticate_time)

    async def aclose(self) -> None:
        """Stop serving in this event loop: requests may finish, for a bounded time.

        Afterwards requests get status 503, also if none had come before.  Safe from any task, and
        more than once.  Raises LifespanError if the lifespan of the server does not end well.
        """
        loop = current_loop()
        running = self._running.get(loop)
        if running is None:
            running = self._make(loop, structs.replace(self.settings, store=None))
            running.host.abandon()
            running.begun.set()
            running.ended.set()
        running.closing = True
        if not running.begun.is_set():
            running.scope.cancel()
        async with anyio.create_task_group() as closing:
            for link in (running.host, *running.links):
                closing.start_soon(link.aclose)
        await running.ended.wait()
        while running.connections:
            if running.changed.is_set():  # else others wait for it as well
                running.changed = anyio.Event()
            await running.changed.wait()
        if running.failure is not None:
            raise LifespanError(str(running.failure)) from running.failure

    @property
    def closing(self) -> bool:
        """True if :meth:`aclose` was called in this event loop."""
        running = self._running.get(current_loop())
        return running is not None and running.closing

    async def serve_connection(self, make_link: LinkFactory, handshake: Handshake) -> bool:
        """Serve a connection of another transport to its end, or to the end of the endpoint.

        It shares the tasks with the requests, and no sessions.  Returns False if the endpoint was
        closed meanwhile, so that nothing was served.
        """
        await self.prepare()
        running = self._serving()
        if running.closing:
            return False
        of_store = running.runtime.settings
        running.connections += 1
        try:
            await serve_connection(
                self.server,
                make_link,
                handshake,
                settings=self._runtime if of_store.seal is None else of_store,
                links=running.links,
                tasks=running.tasks,
                trace=self.settings.trace,
            )
        finally:
            running.connections -= 1
            running.changed.set()
        return True

    def reopen(self) -> None:
        """Allow the next request to start the endpoint again after :meth:`aclose`."""
        loop = current_loop()
        running = self._running.get(loop)
        if running is not None and running.ended.is_set():
            self._running.pop(loop, None)

    def _serving(self, shared: StoreBinding | None = None) -> "_Running":
        """Return the state for this event loop; start it if there is none."""
        loop = current_loop()
        running = self._running.get(loop)
        if running is None:
            running = self._make(loop, self.settings, shared)
            start_background(partial(self._run, loop, running), self._context.copy())
        return running

    def _make(
        self, loop: object, settings: ServeSettings, shared: StoreBinding | None = None
    ) -> "_Running":
        """Make the state for an event loop, without running it."""
        # Other threads may do the same.  Closed states stay, so that later requests are refused.
        for other, known in self._running.copy().items():
            if (known.ended.is_set() and not known.closing) or is_over(other):
                self._running.pop(other, None)
        make_host = partial(HttpHost, settings=settings.http_link)
        tasks: TaskHost | None = None
        if self.server.capabilities().tasks is not None:
            tasks = make_task_host(settings)
        host, runtime = assemble_http(
            self.server, make_host, settings=settings, shared=shared, tasks=tasks
        )
        running = self._running[loop] = _Running(host, runtime, tasks)
        return running

    async def _run(self, loop: object, running: "_Running") -> None:
        async def run_host() -> None:
            running.begun.set()
            await running.host.run()

        # This task is not awaited; after a failure the next request starts without the sessions.
        try:
            with running.scope:
                await running.runtime.run(run_host)
        except LifespanError as error:
            running.failure = error
            if not running.closing:
                logger.error("%s", error)
                self._running.pop(loop, None)
        except Exception:
            logger.exception("an HTTP endpoint failed")
            self._running.pop(loop, None)
        finally:
            running.host.abandon()
            running.begun.set()
            running.ended.set()


async def prepared(endpoint: HttpEndpoint, request: HttpRequest) -> list[Action]:
    """Prepare an endpoint for a request; return the refusal of the request if that fails."""
    try:
        await endpoint.prepare()
    except (StoreUnavailableError, ExtraMissingError, LifespanError) as error:
        extra = Gate(endpoint.settings.http, ()).readable(request)
        return refused(request, OVERLOADED, unready(error), extra)
    return []


def unready(error: StoreUnavailableError | ExtraMissingError | LifespanError) -> str:
    """Return the message for a client when the endpoint cannot be prepared; log the reason."""
    if isinstance(error, LifespanError):  # which the endpoint has logged
        return "the server could not be started"
    logger.warning("no session can be served: %s", error)
    return "the sessions cannot be reached"


class _Running:
    """State of an endpoint in one event loop."""

    def __init__(self, host: HttpHost, runtime: Runtime, tasks: "TaskHost | None") -> None:
        self.host = host
        self.runtime = runtime
        self.tasks = tasks
        self.links: set[Link] = set()
        """Links of the other connections."""
        self.connections = 0
        """Number of other connections being served."""
        self.changed = anyio.Event()
        """Event that is set when another connection has ended."""
        self.closing = False
        self.scope = anyio.CancelScope()
        """Scope that is cancelled if the endpoint is closed before it has begun."""
        self.begun = anyio.Event()
        """Event that is set when the lifespan of the server, if any, is entered or has failed."""
        self.failure: LifespanError | None = None
        self.ended = anyio.Event()


# One request


def http_request(
    method: str,
    target: str,
    headers: Headers | list[tuple[str, str]],
    *,
    peer: str | None = None,
    root: str = "",
    scheme: str = "http",
    certificate: ClientCertificate | None = None,
) -> HttpRequest:
    """Make the head of a request from the data of a framework.

    ``target`` is the target of the request line, or path and query.  Header names may be in any
    case, text is Latin-1 (RFC 9112 section 5).  ``peer``: the client's address, for logs and its
    share.  ``root``: the front of the path that the framework has removed.  ``scheme``: ``https``
    if the framework is reached over TLS.  ``certificate``: the client's, if TLS has verified one.
    Raises ValueError for a target with a fragment, or one that contradicts Host.
    """
    lines = [(_octets(name).lower(), _octets(value)) for name, value in headers]
    host = next((value for name, value in lines if name == HOST), b"")
    path, query = split_target(target, host)
    return HttpRequest(
        method=method,
        path=path,
        query=query,
        headers=lines,
        peer=peer,
        root=root,
        scheme=scheme,
        certificate=certificate,
    )


def with_length(request: HttpRequest, length: int | None) -> HttpRequest:
    """Add a header that frames the body to a request without one; a ``length`` of None is unknown.

    HTTP/2 needs none, and frameworks that have decoded a body may have dropped it.
    """
    if any(name in (CONTENT_LENGTH, TRANSFER_ENCODING) for name, _ in request.headers):
        return request
    line = (TRANSFER_ENCODING, b"chunked") if length is None else (CONTENT_LENGTH, b"%d" % length)
    return structs.replace(request, headers=[*request.headers, line])


def _octets(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


class HttpCall:
    """Request and its reply: :meth:`feed` its body, carry out its actions, :meth:`close` it.

    The actions are one HttpHead, any number of HttpChunk, and HttpEnd.  An iteration that ends
    without HttpEnd was aborted: abort the connection.  Actions are made only on demand, which gives
    back-pressure.  All methods must be called in the event loop of the endpoint.
    """

    def __init__(
        self, host: HttpHost, request: HttpRequest, principal: str | Refusal | None = None
    ) -> None:
        self.wanted = 0
        """Maximum bytes of the body that may be fed; 0 while the reply is being made."""
        self.over: anyio.CancelScope | None = None
        """Scope that is cancelled when the call is aborted outside of :meth:`actions`."""
        self._began, self._fed = clock(), 0
        self.deadline = host.settings.body_deadline(self._began, 0)
        self._host = host
        self._route: Route | None = None
        self._request = request
        self._begun = False
        self._woken = False
        self._waiting = self._stopped = False
        self._signal: anyio.Event | None = None
        self._actions: deque[Action] = deque()
        principal = taken_over(principal)
        asks = host.settings.authenticate is not None and host.machine.asks_who(request)
        if principal is None and asks:
            raise RuntimeError("who sends the request has to be found out: await identify() first")
        # Behind a proxy that does not name the client, requests have no share of a client.
        self.client = None if request.peer is None else quota_key(address_of(request.peer))
        refusal = head_refusal(request, host.settings.head_limits)
        if (full := host.full_for(self.client)) is not None:
            refusal = OVERLOADED, f"too many requests{full}"
        host.add(self)
        if refusal is not None:
            self._refuse(*refusal)
            return
        self._route = host.register(self, request)
        try:
            self.wanted = host.machine.open(self._route, request, principal=principal, now=clock())
        except BaseException:  # of a page of the application
            self.close()
            raise
        if not self.wanted:
            self._received()

    def feed(self, data: bytes, *, end: bool = False) -> None:
        """Take a part of the body while it is ``wanted``; ``end`` is True with the last part."""
        if not self.wanted or self._route is None:
            return
        if self._host.trace is not None:
            self._host.trace.request_body(self._route, data, end=end)
        self._host.machine.body(self._route, data, end=end, now=clock())
        self._woken = False
        if end:
            self._received()
        elif data:
            self._fed += len(data)
            self.deadline = self._host.settings.body_deadline(self._began, self._fed)
            self._host.flush_soon()
            # A host that has not begun yet wakes no call.
            if self._woken or self._fed > self._host.machine.settings.max_body:
                self._received()  # it is refused before its end

    def ready(self) -> list[Action]:
        """Return the actions that can be carried out now."""
        taken = list(self._actions)
        self._actions.clear()
        if not taken and self._route is not None:
            host = self._host
            taken += host.machine.data_to_send(self._route, host.settings.write_size)
            if host.trace is not None:
                host.trace.replied(taken)
            if taken and isinstance(taken[-1], HttpEnd):
                host.unregister(self._route)
                self._route = None
            if self._request.method == "HEAD":
                taken = [action for action in taken if not isinstance(action, HttpChunk)]
            host.flush_soon()  # senders that waited for room have some now
        if taken:
            self._begun = True
            self.deadline = clock() + self._host.settings.write_time
        return taken

    async def actions(self) -> list[Action]:
        """Wait for the next actions and return them in order; [] at the end."""
        if not self.wanted:
            self.deadline = math.inf
        self._waiting = True
        try:
            while not (taken := self.ready()) and self._route is not None:
                self._signal = anyio.Event()
                await self._signal.wait()
        except BaseException:
            self.close()
            raise
        finally:
            self._waiting = False
        return taken

    def __aiter__(self) -> "HttpCall":
        return self

    async def __anext__(self) -> Action:
        if not self._actions:
            self._actions.extend(await self.actions())
        if not self._actions:
            self.close()
            raise StopAsyncIteration
        action = self._actions.popleft()
        if isinstance(action, HttpEnd):
            self.close()
        return action

    def close(self) -> None:
        """Leave the call, its reply complete or not; may be repeated.

        An incomplete reply means that the client has left: its modern request is cancelled, a
        legacy one goes on.
        """
        self.wanted = 0
        self._actions.clear()
        self._leave()
        self._host.discard(self)

    def __enter__(self) -> "HttpCall":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Carrier interface

    @property
    def idle(self) -> bool:
        """Implement :attr:`Carrier.idle <mcpcore_transports.http.server.host.Carrier.idle>`."""
        return False

    def wake(self) -> None:
        """Implement :meth:`Carrier.wake <mcpcore_transports.http.server.host.Carrier.wake>`."""
        self._woken = True
        if self._signal is not None:
            self._signal.set()

    def expire(self) -> None:
        """Implement :meth:`Carrier.expire <mcpcore_transports.http.server.host.Carrier.expire>`."""
        if self.wanted:
            self._give_up(TOO_SLOW, "the body of the request took too long")
        else:
            self._give_up(OVERLOADED, "the reply was not taken in time")

    def stop(self) -> None:
        """Implement :meth:`Carrier.stop <mcpcore_transports.http.server.host.Carrier.stop>`."""
        if not self._stopped:
            self._stopped = True
            self._give_up(OVERLOADED, "the server is shutting down")

    def _give_up(self, row: RefusalRow, message: str) -> None:
        self.wanted = 0
        self._leave()
        if self._begun or self._actions:  # refused already, and nobody has taken it
            self._host.discard(self)
        else:
            self._refuse(row, message)
        if self.over is not None and not self._waiting:
            self.over.cancel()

    def _received(self) -> None:
        """Handle the end of the body, or a reply before it."""
        self.wanted = 0
        self.deadline = clock() + self._host.settings.write_time
        self._host.flush_soon()

    def _leave(self) -> None:
        if self._route is not None:
            route, self._route = self._route, None
            self._host.disconnect(route)
        self.wake()

    def _refuse(self, row: RefusalRow, message: str) -> None:
        if self._host.trace is not None:
            self._host.trace.refused(row.status, message)
        extra = self._host.machine.readable(self._request)
        self._actions.extend(refused(self._request, row, message, extra))
        self.deadline = clock() + self._host.settings.write_time


def refused(
    request: HttpRequest, row: RefusalRow, message: str, extra: Iterable[tuple[bytes, bytes]] = ()
) -> list[Action]:
    """Return the reply to a request that does not reach the machine; ``extra``: more headers."""
    headers, body = error_reply(row, message, named_revision(request), extra)
    reply: list[Action] = [HttpHead(_REFUSED, row.status, headers)]
    if request.method != "HEAD":
        reply.append(HttpChunk(_REFUSED, body))
    return [*reply, HttpEnd(_REFUSED, close=True)]


def head_refusal(request: HttpRequest, limits: HeadLimits) -> tuple[RefusalRow, str] | None:
    """Return the row and message if a head exceeds the limits of our own driver, else None.

    A framework may allow more than those.
    """
    names = {name for name, _ in request.headers}
    if CONTENT_LENGTH in names and TRANSFER_ENCODING in names:
        return MALFORMED_REQUEST, "Content-Length and Transfer-Encoding together are ambiguous"
    if len(request.path) + len(request.query) > limits.first_line:
        return TARGET_TOO_LONG, f"the request target is longer than {limits.first_line} bytes"
    if len(request.headers) > limits.count:
        return HEAD_TOO_LARGE, f"more than {limits.count} header lines"
    size = sum(len(name) + len(value) for name, value in request.headers)
    if size > limits.size:
        return HEAD_TOO_LARGE, f"the header section is larger than {limits.size} bytes"
    return None
