"""Assembly of a server, its runtime and an HTTP host."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from msgspec import structs

from mcpcore.http import HttpServer
from mcpcore.service import Server
from mcpcore_transports.http.server.host import HttpHost
from mcpcore_transports.link import App
from mcpcore_transports.serve.assembling import server_config
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.server.runtime import ServerRuntime

# Stores and tasks are imported at their first use.
if TYPE_CHECKING:
    from mcpcore.http.storing import StoreBinding
    from mcpcore_transports.running.tasks import TaskHost

H = TypeVar("H", bound=HttpHost)


def assemble_http(
    server: Server,
    make_host: Callable[[HttpServer, App], H],
    *,
    settings: ServeSettings,
    tasks: "TaskHost | None" = None,
    shared: "StoreBinding | None" = None,
) -> tuple[H, ServerRuntime]:
    """Assemble a server, its runtime and an HTTP host; return host and runtime, yet to be run.

    ``settings.http`` is taken as it is.  ``tasks`` holds the tasks, if they outlive the endpoint.
    ``shared`` is the server's part in the store of the settings; without it the store is asked,
    which may block.  Raises StoreUnavailableError if the store cannot be reached.
    """
    config = server_config(server, settings.runtime)
    secret = os.urandom(32)
    if settings.store is None:
        machine = HttpServer(config, secret=secret, settings=settings.http)
        runtime = ServerRuntime(server, machine, settings.runtime, tasks=tasks)
        host = runtime.link = make_host(machine, runtime)
        _record(host, settings)
        return host, runtime
    from mcpcore_transports.http.server.store_link import binding

    shared = shared or binding(settings.store)
    stored = HttpServer(config, secret=secret, store=shared, settings=settings.http)
    runtime_settings = settings.runtime
    if runtime_settings.seal is None:
        import hmac

        from mcpcore_transports.server.seal import SealKey, SealSettings, make_seal

        # A modern request may be retried at another worker than the one that asked for input.
        keys = SealSettings(keys=(SealKey(hmac.digest(shared.secret, b"mcpcore seal", "sha256")),))
        runtime_settings = structs.replace(runtime_settings, seal=make_seal(keys))
    runtime = ServerRuntime(server, stored, runtime_settings, tasks=tasks)
    host = runtime.link = make_host(stored, runtime)
    host.use_store(settings.store, stored, shared.worker, settings.store_link)
    _record(host, settings)
    return host, runtime


def _record(host: HttpHost, settings: ServeSettings) -> None:
    if settings.trace is not None:
        from mcpcore_transports.tracing.http import HttpTrace

        host.trace = HttpTrace(settings.trace, "server")
