"""A server as a WSGI application, under Werkzeug's own server: a thread for each connection."""

import logging
from threading import Thread

import anyio
import anyio.to_thread
from anyio.abc import TaskStatus
from msgspec import structs
from werkzeug.serving import WSGIRequestHandler, make_server

from mcpcore.service import Server
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.serve.wsgi import wsgi_app

_HEARTBEAT = 0.2
"""Seconds between two signs of life on a stream: only by a write is it found that a client left."""


async def offer_wsgi(
    server: Server,
    name: str,
    stop: anyio.Event,
    settings: ServeSettings,
    idle: float,
    *,
    task_status: TaskStatus[None],
) -> None:
    """Serve until ``stop``, and say where; a connection may be ``idle`` for so many seconds."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    members = {"protocol_version": "HTTP/1.1", "timeout": idle}
    handler = type("Handler", (WSGIRequestHandler,), members)
    http = structs.replace(settings.http, heartbeat=_HEARTBEAT)
    app = wsgi_app(server, settings=structs.replace(settings, http=http))
    listener = make_server("127.0.0.1", 0, app, threaded=True, request_handler=handler)
    Thread(target=listener.serve_forever, daemon=True).start()
    print(name, f"http://127.0.0.1:{listener.port}/mcp", flush=True)
    task_status.started()
    await stop.wait()
    await anyio.to_thread.run_sync(listener.shutdown)
    await anyio.to_thread.run_sync(app.close)
