"""One Peer on standard input and output, read in two ways.

``python -m benchmarks.stdio_server readiness`` is the project's stdio driver;
``... threads`` reads and writes through worker threads, as anyio's files do.
"""

import os
import sys
import time

import anyio
import anyio.to_thread

from benchmarks.pair import ME, answer_call
from mcpcore import Config, Peer, Role, ServerCapabilities
from mcpcore.engine.events import Event, RequestReceived
from mcpcore.spec.types import ToolsCapability
from transports.stdio import StdioServerLink


class Echo:
    """Answers every call inline."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def handle(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, RequestReceived):
            answer_call(self.peer, event)


async def by_threads(peer: Peer, app: Echo) -> None:
    """Pump with a worker thread for each read and each write."""
    while data := await anyio.to_thread.run_sync(os.read, 0, 65536):
        peer.receive_data(data, now=time.monotonic())
        while (event := peer.next_event()) is not None:
            app.handle(event)
        if out := peer.lines_to_send():
            await anyio.to_thread.run_sync(os.write, 1, out)


async def main(how: str) -> None:
    """Serve until the end of input."""
    server_has = ServerCapabilities(tools=ToolsCapability())
    peer = Peer(Role.SERVER, Config(info=ME, capabilities=server_has))
    app = Echo(peer)
    if how == "threads":
        await by_threads(peer, app)
    else:
        await StdioServerLink(peer, app).run()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
