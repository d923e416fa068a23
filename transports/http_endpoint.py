"""A server's HTTP endpoint for frameworks that have sockets and parsers of their own.

:meth:`HttpEndpoint.handle` takes a request and gives what to do for its reply.  There is nothing
to be initialised: the first request of an event loop starts the endpoint.

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
from msgspec import UNSET, structs

from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpRequest
from mcpcore.http.principals import Principal, Refusal
from mcpcore.http.storing import StoreBinding
from mcpcore.service import Server
from mcpcore.spec.revisions import parse_revisions
from transports.assembling import serve_connection
from transports.assembling_http import assemble_http
from transports.background import current_loop, is_over, start_background
from transports.failures import warn_if_revealing
from transports.handshake import Handshake, LinkFactory
from transports.http_call import Action, HttpCall, http_request, with_length
from transports.http_host import HttpHost
from transports.link import Link
from transports.runtime import ServerRuntime
from transports.serve_settings import ServeSettings, guard, sealing
from transports.store_link import binding
from transports.tasks_host import TaskHost

if TYPE_CHECKING:
    from transports.tracing import Trace

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

logger = logging.getLogger(__name__)


class HttpEndpoint:
    """One server over HTTP, wherever the requests come from.

    Of ``settings`` these count: ``runtime``, ``http``, the hosts and origins, ``store`` and
    ``store_link``, and of ``http_link`` the bounds of a head, ``connections`` and
    ``connections_per_client`` (requests at a time), ``body_time``, ``body_rate``, ``body_grace``,
    ``write_time``, ``write_size``, ``drain_time``, ``authenticate`` and ``authenticate_time``;
    under ASGI also ``linger_time``, ``shared`` and ``websocket``.  ``revisions`` names those
    that are spoken, in the place of what ``settings`` say; ``trace`` records what comes and goes.
    Raises ValueError for settings that cannot be read.

    Each event loop that brings requests has its own sessions.  What runs for an endpoint ends
    with :meth:`aclose` or with the loop; it sees the context (``contextvars``) in which the
    endpoint was made.
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
        self._server = server
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
        """Take a request; what to do for its reply is for the call to say.

        To be called in the event loop; never blocks, except for a store that is reached for the
        first time (see :meth:`prepare`).  Without ``body`` the caller feeds it to the
        call in parts; its length stands in the headers, or ``transfer-encoding`` does.
        ``principal`` is whom the caller has authenticated, or what :meth:`identify` gave: sessions
        and sealed state are bound to it.  Raises RuntimeError if ``authenticate`` is set and nobody
        has asked it.
        """
        if body:
            request = with_length(request, len(body))
        call = HttpCall(self._serving().host, request, principal)
        if body is not None:
            call.feed(body, end=True)
        return call

    async def prepare(self) -> None:
        """Reach the store, if the settings name one, so that :meth:`handle` never blocks for it.

        Raises StoreUnavailableError.
        """
        store = self.settings.store
        if store is not None and current_loop() not in self._running:
            shared = await anyio.to_thread.run_sync(binding, store)
            self._serving(shared)

    async def identify(self, request: HttpRequest) -> Principal | Refusal | None:
        """Ask ``settings.http_link.authenticate`` who sends a request, before :meth:`handle`.

        None if it is not set, or if that makes no difference to the request.
        """
        return await self._serving().host.identify(request)

    async def aclose(self) -> None:
        """End what runs in this event loop: requests may finish, for a bounded time.

        Afterwards there is status 503, also where nobody had come yet.  Safe from any task, and
        more than once.
        """
        loop = current_loop()
        running = self._running.get(loop)
        if running is None:
            running = self._make(loop, structs.replace(self.settings, store=None))
            running.host.abandon()
            running.ended.set()
        running.closing = True
        async with anyio.create_task_group() as closing:
            for link in (running.host, *running.links):
                closing.start_soon(link.aclose)
        await running.ended.wait()

    @property
    def closing(self) -> bool:
        """Whether :meth:`aclose` was called in this event loop."""
        running = self._running.get(current_loop())
        return running is not None and running.closing

    async def serve_connection(self, make_link: LinkFactory, handshake: Handshake) -> bool:
        """Serve a connection of another kind to its end; it ends with the endpoint at the latest.

        It shares the tasks with the requests, and no sessions.  False if the endpoint has been
        closed meanwhile, so that nothing was served.
        """
        await self.prepare()
        running = self._serving()
        if running.closing:
            return False
        of_store = running.runtime.settings
        await serve_connection(
            self._server,
            make_link,
            handshake,
            settings=self._runtime if of_store.seal is None else of_store,
            links=running.links,
            tasks=running.tasks,
            trace=self.settings.trace,
        )
        return True

    def reopen(self) -> None:
        """After :meth:`aclose`: let the next request start the endpoint again."""
        loop = current_loop()
        running = self._running.get(loop)
        if running is not None and running.ended.is_set():
            self._running.pop(loop, None)

    def _serving(self, shared: StoreBinding | None = None) -> "_Running":
        """What serves in this event loop, started if nothing does."""
        loop = current_loop()
        running = self._running.get(loop)
        if running is None:
            running = self._make(loop, self.settings, shared)
            start_background(partial(self._run, loop, running), self._context.copy())
        return running

    def _make(
        self, loop: object, settings: ServeSettings, shared: StoreBinding | None = None
    ) -> "_Running":
        """What serves in an event loop, yet to be run."""
        # Other threads may do the same.  What was closed stays: it says so to those who still come.
        for other, known in self._running.copy().items():
            if (known.ended.is_set() and not known.closing) or is_over(other):
                self._running.pop(other, None)
        make_host = partial(HttpHost, settings=settings.http_link)
        tasks: TaskHost | None = None
        if self._server.capabilities().tasks is not UNSET:
            tasks = TaskHost(settings.runtime.tasks)
        host, runtime = assemble_http(
            self._server, make_host, settings=settings, shared=shared, tasks=tasks
        )
        running = self._running[loop] = _Running(host, runtime, tasks)
        return running

    async def _run(self, loop: object, running: "_Running") -> None:
        try:
            await running.runtime.run(running.host.run)
        except Exception:
            # Nobody awaits this task; what follows starts anew, without the sessions.
            logger.exception("an HTTP endpoint failed")
            self._running.pop(loop, None)
        finally:
            running.host.abandon()
            running.ended.set()


class _Running:
    """An endpoint in one event loop."""

    def __init__(self, host: HttpHost, runtime: ServerRuntime, tasks: TaskHost | None) -> None:
        self.host = host
        self.runtime = runtime
        self.tasks = tasks
        self.links: set[Link] = set()
        """Of other connections."""
        self.closing = False
        self.ended = anyio.Event()
