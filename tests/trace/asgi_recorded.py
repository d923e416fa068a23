"""The recorded server behind ASGI, under uvicorn: ``python -m tests.trace.asgi_recorded FILE``."""

import socket
import sys

import uvicorn

from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.tracing.tracing import Trace
from tests.trace.recorded import server


def main() -> None:
    with Trace(sys.argv[1]) as trace:
        app = asgi_app(server, settings=ServeSettings(shared=True), trace=trace)
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        port = listener.getsockname()[1]
        print(f"listening on http://127.0.0.1:{port}/mcp", file=sys.stderr, flush=True)
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
