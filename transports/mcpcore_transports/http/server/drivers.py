"""Choice of the HTTP server driver by the settings and the running event loop."""

import asyncio
import os

from mcpcore.spec.errors import LocalError
from mcpcore_transports.http.server.listening import ListeningHost
from mcpcore_transports.http.settings import HttpServerSettings
from mcpcore_transports.running.background import current_loop


def http_driver(settings: HttpServerSettings) -> type[ListeningHost]:
    """Return the class of the link.  Raises LocalError for one that this loop cannot run."""
    on_asyncio = isinstance(current_loop(), asyncio.AbstractEventLoop)
    if settings.driver == "asyncio" and not on_asyncio:
        raise LocalError("the HTTP driver asyncio does not run on trio")
    # On Windows the loop cannot tell when a listener is ready.
    fits = on_asyncio and os.name != "nt"
    if settings.driver == "asyncio" or (settings.driver == "auto" and fits):
        from mcpcore_transports.http.server.asyncio_server import AsyncioServerLink

        return AsyncioServerLink
    from mcpcore_transports.http.server.anyio_server import HttpServerLink

    return HttpServerLink
