"""The reference server behind ASGI: ``python -m tests.transports.serve.asgi_everything``.

Announces itself as every reference program does; uvicorn serves until a signal.
"""

import socket
import sys

import uvicorn

from mcpcore_conformance.everything.server import server
from mcpcore_transports.serve.asgi import asgi_app

app = asgi_app(server)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    http = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}/mcp", file=sys.stderr)
    http.run([listener])


if __name__ == "__main__":
    main()
