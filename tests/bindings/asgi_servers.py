"""A server as an ASGI application: on asyncio under uvicorn, on trio under hypercorn."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio
import sniffio
from anyio.abc import TaskStatus

from mcpcore.service import Server
from mcpcore_transports.serve.asgi import AsgiApp, asgi_app
from mcpcore_transports.serve.settings import ServeSettings

BACKLOG = 2048
_KEPT = 20.0
"""Seconds for which hypercorn keeps an idle connection, and tasks of one that the client has left;
a client of ours leaves before."""


async def offer_asgi(
    server: Server,
    name: str,
    stop: anyio.Event,
    settings: ServeSettings,
    idle: float,
    *,
    task_status: TaskStatus[None],
) -> None:
    """Serve until ``stop``, and say where, with ``shared`` also where WebSocket is (``asgi-ws``); a
    connection may be ``idle`` for so many seconds."""
    app = asgi_app(server, settings=settings)
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    # Whoever is accepted has it, too: asyncio sees to it only where the protocol is named.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}/mcp"
        print(name, f"http://{place}", flush=True)
        if settings.shared:
            print(f"{name}-ws", f"ws://{place}", flush=True)
        # who connects before they accept waits in the line of the listener
        task_status.started()
        await serve_asgi(app, listener, stop.wait, idle)


Stopped = Callable[[], Awaitable[object]]


async def serve_asgi(app: AsgiApp, listener: socket.socket, stopped: Stopped, idle: float) -> None:
    """Serve under the server for the event loop until ``stopped`` returns."""
    serve = _uvicorn if sniffio.current_async_library() == "asyncio" else _hypercorn
    await serve(app, listener, stopped, idle)


async def _uvicorn(app: AsgiApp, listener: socket.socket, stopped: Stopped, idle: float) -> None:
    from uvicorn import Config
    from uvicorn import Server as Uvicorn

    options: dict[str, Any] = {"http": "h11", "ws": "wsproto", "loop": "none", "log_config": None}
    uvicorn = Uvicorn(
        Config(
            app,
            **options,
            access_log=False,
            timeout_keep_alive=int(idle),
            ws_ping_interval=None,
            timeout_graceful_shutdown=2,
        )
    )
    async with anyio.create_task_group() as group:
        group.start_soon(uvicorn.serve, [listener])
        await stopped()
        uvicorn.should_exit = True


async def _hypercorn(app: AsgiApp, listener: socket.socket, stopped: Stopped, idle: float) -> None:
    from hypercorn.config import Config
    from hypercorn.trio import serve

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = config.errorlog = None
    config.backlog = BACKLOG
    config.keep_alive_timeout = min(idle, _KEPT)
    config.graceful_timeout = 2.0
    await serve(cast(Any, app), config, shutdown_trigger=cast(Any, stopped))
