"""Assembly of a server, its runtime, and the link of one connection or an HTTP host.

What only HTTP, stores or tasks need is imported at its first use.
"""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus
from msgspec import structs

from mcpcore.engine.config import Config, Role
from mcpcore.engine.negotiation import bound_to
from mcpcore.engine.peer import Peer
from mcpcore.http.principals import Authenticate, Principal, ends_at
from mcpcore.service import Service
from mcpcore.spec.types.base import Implementation
from mcpcore_transports.link import App, Handshake, Link, clock
from mcpcore_transports.server.failures import RaisedExceptions
from mcpcore_transports.server.runtime import ServerRuntime, asked_first
from mcpcore_transports.server.settings import Runtime, RuntimeSettings, ServerMachine

if TYPE_CHECKING:  # not needed by every server, and slow to import
    from mcpcore.http.server.server import HttpServer
    from mcpcore.http.storing import StoreBinding
    from mcpcore_transports.http.server.host import HttpHost
    from mcpcore_transports.running.tasks import TaskHost
    from mcpcore_transports.serve.settings import ServeSettings
    from mcpcore_transports.stream.connection import StreamConnection
    from mcpcore_transports.tracing.tracing import Trace

H = TypeVar("H", bound="HttpHost")

_CHECK = 15.0
"""Seconds after which a connection's authorization is looked at again, as it may be revoked."""


class ServedRoute(ABC):
    """Part of an application that is one endpoint, with engines of its own configuration."""

    @abstractmethod
    def config(self, settings: RuntimeSettings) -> Config:
        """Return the engine's configuration of a server."""

    @abstractmethod
    def runtime(self, machine: ServerMachine, settings: RuntimeSettings) -> Runtime:
        """Make the app of a machine."""


class Application(ABC):
    """Application that is served in place of a Server."""

    info: Implementation
    routes: Mapping[str | None, ServedRoute]
    """Endpoints by path; None: the path of the settings."""

    def authenticate(self, hook: Authenticate | None) -> Authenticate | None:
        """Return the authentication of HTTP requests, for that of the settings.

        Raises BadTarget if the application cannot be served with it.
        """
        return hook

    @abstractmethod
    async def run(self, offer: Callable[[], Awaitable[float]], settings: RuntimeSettings) -> None:
        """Begin, run ``offer``, which serves all bindings, and end in the seconds it returns."""


Served = Service | Application
"""Server whose requests its runtime looks up, or an application with machines of its own."""
Routed = Service | ServedRoute
"""Server, or part of an application, that is one endpoint."""
LinkFactory = Callable[[Peer, App], "StreamConnection"]
"""Factory for the link of one connection; the link is run by the caller."""


def check_served(server: object) -> None:
    """Raise TypeError, which says what is expected, for what is no server."""
    if not isinstance(server, Application) and not hasattr(type(server), "prepare"):
        raise TypeError(
            f"expected a Server, got {type(server).__name__}; adapt() makes one of an object of "
            "another SDK"
        )


def routes_of(server: Served) -> Mapping[str | None, Routed]:
    """Return the endpoints of a server by path; None: the path of the settings."""
    return server.routes if isinstance(server, Application) else {None: server}


async def serve_connection(
    server: Routed,
    make_link: LinkFactory,
    handshake: Handshake,
    *,
    config: Config | None = None,
    settings: RuntimeSettings | None = None,
    links: set[Link] | None = None,
    tasks: "TaskHost | None" = None,
    trace: "Trace | None" = None,
) -> None:
    """Serve one connection, made by ``make_link``, to its end.

    A revision that was agreed in the ``handshake`` is the only one that is spoken.

    ``links`` contains the link while it lives.  ``tasks`` holds the tasks, if they outlive the
    connection.  ``trace`` records the connection, unless the link has a trace already.
    """
    settings = settings or RuntimeSettings()
    config = bound_to(config or server_config(server, settings), handshake.revision)
    peer = Peer(Role.SERVER, config)
    runtime = _runtime(server, peer, settings, tasks)
    link = runtime.link = make_link(peer, runtime)
    if trace is not None and link.trace is None:
        link.trace = trace.connection("server")
    links = set() if links is None else links
    links.add(link)
    # A socket's own link tells its Peer who the client is.
    principal = peer.principal if handshake.principal is None else handshake.principal
    revocable = isinstance(principal, Principal) and principal.revoked is not None
    try:
        if ends_at(principal) == math.inf and not revocable:
            await runtime.run(link.run)
        else:
            await runtime.run(partial(_while_authorized, principal, link))
    finally:
        links.discard(link)


async def _while_authorized(principal: str | None, link: "StreamConnection") -> None:
    """Run a link until the authorization of its client ends."""

    async def expire() -> None:
        while (left := ends_at(principal) - clock()) > 0:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(min(left, _CHECK))
        link.expire()

    async with anyio.create_task_group() as group:
        group.start_soon(expire)
        await link.run()
        group.cancel_scope.cancel()


async def join_in_memory(
    client: Peer,
    app: App,
    server: Service,
    group: TaskGroup,
    settings: RuntimeSettings | None = None,
    *,
    wire: bool = False,
    raised: RaisedExceptions | None = None,
) -> "StreamConnection":
    """Serve a client of this process in ``group``; return the client's link, yet to be run.

    ``wire``: encode messages as bytes, see :mod:`mcpcore_transports.memory`.  ``raised``: keeps the
    exceptions of handlers.  Raises LifespanError.
    """
    from mcpcore_transports.memory import memory_links  # late: for links in memory alone

    settings = settings or RuntimeSettings()
    peer = Peer(Role.SERVER, server_config(server, settings))
    runtime = ServerRuntime(server, peer, settings)
    runtime.failures.raised = raised
    around = _observed(runtime, peer)
    ours, theirs = memory_links((client, app), (peer, around), wire=wire)
    around.link = theirs

    async def serve(*, task_status: TaskStatus[None]) -> None:
        await around.run(partial(theirs.run, task_status=task_status))

    await group.start(serve)
    return ours


def assemble_http(
    server: Routed,
    make_host: "Callable[[HttpServer, App], H]",
    *,
    settings: "ServeSettings",
    tasks: "TaskHost | None" = None,
    shared: "StoreBinding | None" = None,
    path: str | None = None,
) -> tuple[H, Runtime]:
    """Assemble a server, its runtime and an HTTP host; return host and runtime, yet to be run.

    ``settings.http`` is taken as it is.  ``path``: that of one endpoint among several, which share
    no session in the store.  ``tasks`` holds the tasks, if they outlive the endpoint.
    ``shared`` is the server's part in the store of the settings; without it the store is asked,
    which may block.  Raises StoreUnavailableError if the store cannot be reached.
    """
    from mcpcore.http.server.server import HttpServer  # late: stdio needs no HTTP

    rules = settings.runtime
    if settings.store is not None:
        import hmac  # late, with all else: few have a store

        from mcpcore_transports.http.server.store_link import binding  # late: few have a store

        shared = shared or binding(settings.store)
        if path is not None:  # ids are authenticated with the secret
            secret = hmac.digest(shared.secret, f"mcpcore route {path}".encode(), "sha256")
            shared = structs.replace(shared, secret=secret)
        if rules.seal is None:
            from mcpcore_transports.server.seal import (  # late, as above
                SealKey,
                SealSettings,
                make_seal,
            )

            # A modern request may be retried at another worker than the one that asked for input.
            key = SealKey(hmac.digest(shared.secret, b"mcpcore seal", "sha256"))
            rules = structs.replace(rules, seal=make_seal(SealSettings(keys=(key,))))
    config = server_config(server, settings.runtime)
    http = structs.replace(settings.http, documents=settings.documents, pages=settings.pages)
    machine = HttpServer(config, secret=os.urandom(32), store=shared, settings=http)
    runtime = _runtime(server, machine, rules, tasks)
    host = runtime.link = make_host(machine, runtime)
    if settings.store is not None and shared is not None:
        host.use_store(settings.store, machine, shared.worker, settings.store_link)
    if settings.trace is not None:
        from mcpcore_transports.tracing.tracing import HttpTrace  # late: few record a trace

        host.trace = HttpTrace(settings.trace, "server")
    return host, runtime


def make_task_host(settings: "ServeSettings") -> "TaskHost":
    """Return the holder of the tasks of a server, in the store of the settings if they have one."""
    from mcpcore_transports.running.tasks import TaskHost  # late: few offer tasks

    store = settings.store
    if store is None:
        return TaskHost(settings.runtime.tasks)
    from mcpcore_transports.http.server.store_link import StoreLink, worker_name  # late, as above
    from mcpcore_transports.server.tasks.stored import StoredTaskHost

    name = worker_name()

    def make_link(host: StoredTaskHost) -> StoreLink:
        return StoreLink(store, name, host, host, lambda: None, settings=settings.store_link)

    return StoredTaskHost(name, make_link, settings.runtime.tasks)


def _runtime(
    server: Routed, machine: ServerMachine, settings: RuntimeSettings, tasks: "TaskHost | None"
) -> Runtime:
    if isinstance(server, ServedRoute):
        return _observed(server.runtime(machine, settings), machine)
    return _observed(ServerRuntime(server, machine, settings, tasks=tasks), machine)


def _observed(runtime: Runtime, machine: ServerMachine) -> Runtime:
    observer = runtime.settings.observer
    return runtime if observer is None else observer.observed(runtime, machine)


def server_config(server: Routed, settings: RuntimeSettings) -> Config:
    """Return the engine's configuration: the server's name, capabilities, revisions and limits."""
    if isinstance(server, ServedRoute):
        return server.config(settings)
    return Config(
        info=server.info,
        capabilities=server.capabilities(),
        instructions=server.instructions,
        revisions=settings.revisions,
        limits=settings.limits,
        header_params=server.header_params,
        has_tool=server.has_tool,
        extension_methods=server.extension_methods,
        asked_first=asked_first(server, settings),
        max_uri=server.max_uri,
        may_read=server.may_read,
    )
