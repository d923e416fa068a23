"""Putting a server, its runtime and what brings its messages together."""

import hmac
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from anyio.abc import TaskGroup
from msgspec import structs

from mcpcore.engine.config import ASKABLE, Config, Role
from mcpcore.engine.negotiation import bound_to
from mcpcore.engine.peer import Peer
from mcpcore.http.server import HttpServer
from mcpcore.http.stored import StoredHttpServer
from mcpcore.http.storing import StoreBinding
from mcpcore.service import Server
from transports.client_core import ClientCore
from transports.http_host import HttpHost
from transports.link import App, Link
from transports.memory import memory_links
from transports.pump import Connection
from transports.runtime import RuntimeSettings, ServerRuntime
from transports.seal import SealKey, SealSettings, make_seal
from transports.serve_settings import ServeSettings
from transports.store_link import binding
from transports.tasks_host import TaskHost
from transports.websocket_server import LinkFactory
from transports.websocket_upgrade import Handshake

if TYPE_CHECKING:
    from transports.tracing import Trace

H = TypeVar("H", bound=HttpHost)


async def serve_connection(
    server: Server,
    make_link: LinkFactory,
    handshake: Handshake,
    *,
    config: Config | None = None,
    settings: RuntimeSettings | None = None,
    links: set[Link] | None = None,
    tasks: TaskHost | None = None,
    trace: "Trace | None" = None,
) -> None:
    """Serve one connection, made by ``make_link``, to its end.

    A revision that is agreed in the ``handshake`` is the only one that is spoken.

    ``links`` holds the link for as long as it lives; ``tasks`` the tasks, if they outlive it;
    ``trace`` records it, unless it is recorded already.
    """
    settings = settings or RuntimeSettings()
    config = bound_to(config or server_config(server, settings), handshake.revision)
    peer = Peer(Role.SERVER, config)
    runtime = ServerRuntime(server, peer, settings, tasks=tasks)
    link = runtime.link = make_link(peer, runtime)
    if trace is not None and link.trace is None:
        link.trace = trace.connection("server")
    links = set() if links is None else links
    links.add(link)
    try:
        await runtime.run(link.run)
    finally:
        links.discard(link)


async def join_in_memory(
    client: Peer,
    app: ClientCore,
    server: Server,
    group: TaskGroup,
    settings: RuntimeSettings | None = None,
    *,
    wire: bool = False,
) -> Connection:
    """Serve a client of this process in ``group``; returns the client's link, yet to be run.

    ``wire``: through bytes, see :mod:`transports.memory`.
    """
    settings = settings or RuntimeSettings()
    peer = Peer(Role.SERVER, server_config(server, settings))
    runtime = ServerRuntime(server, peer, settings)
    ours, theirs = memory_links((client, app), (peer, runtime), wire=wire)
    runtime.link = theirs
    group.start_soon(runtime.run, theirs.run)
    return ours


def server_config(server: Server, settings: RuntimeSettings) -> Config:
    """Say to the engine who the server is and what it offers."""
    return Config(
        info=server.info,
        capabilities=server.capabilities(),
        instructions=server.instructions,
        revisions=settings.revisions,
        limits=settings.limits,
        header_params=server.header_params,
        extension_methods=server.extension_methods,
        asked_first=ASKABLE if settings.middleware else frozenset(),
    )


def assemble_http(
    server: Server,
    make_host: Callable[[HttpServer, App], H],
    *,
    settings: ServeSettings,
    tasks: TaskHost | None = None,
    shared: StoreBinding | None = None,
) -> tuple[H, ServerRuntime]:
    """Put a server, its runtime and a host of HTTP together; yet to be run.

    ``settings.http`` is taken as it is.  ``tasks`` holds the tasks, if they outlive the endpoint.
    ``shared`` is how we take part in the store that the settings name; without it the store is
    asked, which may block.  Raises StoreUnavailableError if it cannot be reached.
    """
    config = server_config(server, settings.runtime)
    secret = secrets.token_bytes(32)
    if settings.store is None:
        machine = HttpServer(config, secret=secret, settings=settings.http)
        runtime = ServerRuntime(server, machine, settings.runtime, tasks=tasks)
        host = runtime.link = make_host(machine, runtime)
        _record(host, settings)
        return host, runtime
    shared = shared or binding(settings.store)
    stored = StoredHttpServer(config, secret=secret, store=shared, settings=settings.http)
    runtime_settings = settings.runtime
    if runtime_settings.seal is None:
        # A request of the modern era may come back to another worker than the one that asked.
        keys = SealSettings(keys=(SealKey(hmac.digest(shared.secret, b"mcpcore seal", "sha256")),))
        runtime_settings = structs.replace(runtime_settings, seal=make_seal(keys))
    runtime = ServerRuntime(server, stored, runtime_settings, tasks=tasks)
    host = runtime.link = make_host(stored, runtime)
    host.use_store(settings.store, stored, shared.worker, settings.store_link)
    _record(host, settings)
    return host, runtime


def _record(host: HttpHost, settings: ServeSettings) -> None:
    if settings.trace is not None:
        from transports.tracing_http import HttpTrace

        host.trace = HttpTrace(settings.trace, "server")
