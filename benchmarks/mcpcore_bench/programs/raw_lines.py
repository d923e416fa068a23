"""Raw limit: lines over TCP or a Unix socket, on an asyncio protocol.

``--binding tcp``, or ``--binding unix --path PATH``.
"""

import asyncio
import socket
import sys
from typing import cast

from mcpcore_bench.programs.offer import arguments
from mcpcore_bench.programs.raw_codec import Codec
from mcpcore_bench.programs.raw_stdio import answered


class Lines(asyncio.Protocol):
    """A connection: all lines that have come are answered in one write."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._parts: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer."""
        if out := answered(self._codec, self._parts, data):
            self._transport.write(out)


async def main(codec: Codec, path: str) -> None:
    """Serve; ``path``: of a Unix socket, else on a port."""
    loop = asyncio.get_running_loop()
    if path:
        server = await loop.create_unix_server(lambda: Lines(codec), path, backlog=2048)
        url = f"unix://{path}"
    else:
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        server = await loop.create_server(lambda: Lines(codec), sock=listener)
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    print(f"listening on {url}", file=sys.stderr, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    chosen = arguments()
    asyncio.run(main(Codec(chosen.tools), chosen.path))
