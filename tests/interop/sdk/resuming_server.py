"""A server of the official SDK (either line) that can be resumed; run in the SDK's environment."""

import socket
import sys

import anyio
import uvicorn
from mcp.server.streamable_http import EventMessage, EventStore

try:
    from mcp.server import MCPServer as Maker
    from mcp.server.mcpserver import Context
except ImportError:  # the 1.x line
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as Maker


class Events(EventStore):
    """Keeps all events, in one list."""

    def __init__(self) -> None:
        self.all = []

    async def store_event(self, stream_id, message):
        self.all.append((stream_id, message))
        return str(len(self.all))

    async def replay_events_after(self, last_event_id, send_callback):
        position = int(last_event_id)
        stream = self.all[position - 1][0]
        for number, (each, message) in enumerate(self.all[position:], position + 1):
            if each == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


RESUMABLE = {"event_store": Events(), "retry_interval": 50}
old = not hasattr(Maker, "settings") and "fastmcp" in Maker.__module__
server = Maker("lines", **RESUMABLE) if old else Maker("lines")


@server.tool()
async def work(ctx: Context, count: int) -> str:
    """Says so many lines, the second half of them a little later."""
    for line in range(count):
        if line == count // 2:
            await anyio.sleep(0.5)
        await ctx.info(str(line))
    return "said"


def main() -> None:
    """Serve, on a port that is announced."""
    app = server.streamable_http_app(**({} if old else RESUMABLE))
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}/mcp", file=sys.stderr)
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    anyio.run(lambda: uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
