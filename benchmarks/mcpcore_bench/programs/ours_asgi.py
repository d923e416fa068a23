"""Our server as an ASGI application under uvicorn: ``--loop uvloop`` and ``--parser httptools``.

uvicorn is set up as for the SDK's application (``benchmarks/peers/sdk_server.py``).
"""

import socket

import anyio
import uvicorn

from mcpcore import AsgiApp, asgi_app
from mcpcore_bench.programs.offer import arguments
from mcpcore_bench.programs.ours import announce, make, settings, with_uvloop
from mcpcore_bench.programs.sampling import sampled


async def serve(app: AsgiApp, loop: str, parser: str) -> None:
    """Serve an application with uvicorn, on a port that is announced."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
        http="httptools" if parser == "httptools" else "h11",
        loop="uvloop" if loop == "uvloop" else "asyncio",
        backlog=2048,
    )
    announce(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp")
    await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    """Serve as the command line says."""
    chosen = arguments("loop", "parser")
    if chosen.loop == "uvloop":
        with_uvloop()
    with sampled():
        app = asgi_app(make(chosen.tools), settings=settings(""))
        anyio.run(serve, app, chosen.loop, chosen.parser)


if __name__ == "__main__":
    main()
