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
from collections.abc import Sequence
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from msgspec import structs

from mcpcore.errors import LifespanError, StoreUnavailableError
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore.http.principals import Principal, Refusal
from mcpcore.http.storing import StoreBinding
from mcpcore.service import Server
from mcpcore.spec.revisions import parse_revisions
from mcpcore_transports.http.server.call import Action, HttpCall, http_request, with_length
from mcpcore_transports.http.server.host import HttpHost
from mcpcore_transports.http.server.store_link import binding
from mcpcore_transports.link import Handshake, Link, LinkFactory
from mcpcore_transports.running.functions import current_loop, is_over, start_background
from mcpcore_transports.running.tasks import TaskHost
from mcpcore_transports.serve.assembling import assemble_http, serve_connection
from mcpcore_transports.serve.settings import ServeSettings, guard, sealing
from mcpcore_transports.server.failures import warn_if_revealing
from mcpcore_transports.server.runtime import ServerRuntime

if TYPE_CHECKING:
    from mcpcore_transports.tracing.tracing import Trace

__all__ = [
    "Action",
    "HttpCall",
    "HttpChunk",
    "HttpEnd",
    "HttpEndpoint",
    "HttpHead",
    "HttpRequest",
    "http_request",
]

logger = logging.getLogger("mcpcore.http")


class HttpEndpoint:
    """HTTP endpoint of one server, independent of the source of its requests.

    Of ``settings`` these apply: ``runtime``, ``http``, the hosts and origins, ``store`` and
    ``store_link``, and of ``http_link`` the bounds of a head, ``connections`` and
    ``connections_per_client`` (requests at a time), ``body_time``, ``body_rate``, ``body_grace``,
    ``write_time``, ``write_size``, ``drain_time``, ``authenticate`` and ``authenticate_time``;
    under ASGI also ``linger_time``, ``shared`` and ``websocket``.  ``revisions`` names the
    revisions to speak, in place of those in ``settings``; ``trace`` records the traffic. Raises
    ValueError for settings that cannot be read.

    Each event loop that brings requests has its own sessions.  The tasks of an endpoint end with
    :meth:`aclose` or with the loop; they run in the context (``contextvars``) in which the endpoint
    was made.
    """

    def __init__(
        self,
        server: Server,
        *,
        settings: ServeSettings | None = None,
        revisions: Sequence[str] | None = None,
        trace: "Trace | None" = None,
    ) -> None:
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
    ) -> HttpCall:
        """Take a request; the returned call provides the actions for its reply.

        Must be called in the event loop.  Never blocks, except for a store that is reached for the
        first time.  With a store or a lifespan, call :meth:`prepare` before.  Without ``body`` the
        caller feeds it to the call in parts; then the headers have its length or
        ``transfer-encoding``.
        ``principal`` is the one that the caller has authenticated, or the result of
        :meth:`identify`: sessions and sealed state are bound to it.  Raises RuntimeError if
        ``authenticate`` is set and was not called, and if the server has a lifespan that is not
        entered.
        """
        if body:
            request = with_length(request, len(body))
        call = HttpCall(self._prepared().host, request, principal)
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
        """Call ``settings.http_link.authenticate`` for a request, before :meth:`handle`.

        Returns None if it is not set, or if the request does not depend on it.
        """
        await self.prepare()
        return await self._serving().host.identify(request)

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

    def _prepared(self) -> "_Running":
        if self.server.lifespan is not None:
            running = self._running.get(current_loop())
            if running is None or not running.begun.is_set():
                raise RuntimeError("the server has a lifespan: await prepare() first")
        return self._serving()

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
            tasks = TaskHost(settings.runtime.tasks)
        host, runtime = assemble_http(
            self.server, make_host, settings=settings, shared=shared, tasks=tasks
        )
        running = self._running[loop] = _Running(host, runtime, tasks)
        return running

    async def _run(self, loop: object, running: "_Running") -> None:
        async def run_host() -> None:
            running.begun.set()
            await running.host.run()

        # This task is not awaited; after a failure the next request starts anew, without the
        # sessions.
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


def unready(error: StoreUnavailableError | LifespanError) -> str:
    """Return the message for a client when the endpoint cannot be prepared; log the reason."""
    if isinstance(error, LifespanError):  # which the endpoint has logged
        return "the server could not be started"
    logger.warning("no session can be served: %s", error)
    return "the sessions cannot be reached"


class _Running:
    """State of an endpoint in one event loop."""

    def __init__(self, host: HttpHost, runtime: ServerRuntime, tasks: TaskHost | None) -> None:
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
