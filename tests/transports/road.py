"""The way to a server, for tests of clients that come back: it breaks, leads astray, or nowhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute

from mcpcore_transports.stream.plain import PlainStream

ENDS = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


_URLS = {"ws": ("ws", "/mcp"), "tcp": ("tcp", ""), "sse": ("sse+http", "/sse")}


class Road:
    """Carries connections to port ``upstream`` of this host, until they are cut.

    ``fates``: what becomes of the next connections, in order; beyond them all are carried.
    ``drop``: closed at once.  ``hang``: accepted and never answered.  A number: cut after so many
    bytes of the server.  Bytes: answered with these, and closed.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream: int | None = upstream
        """None: nobody is there."""
        self.fates: list[str | int | bytes] = []
        self.url = ""
        self.taken = 0
        """Connections so far."""
        self.cuts = 0
        self._open: set[anyio.CancelScope] = set()
        self._parting = b""
        self._changed = anyio.Event()

    def cut(self, parting: bytes = b"") -> None:
        """Break all connections; ``parting`` is the last that their clients hear."""
        self.cuts += 1
        self._parting = parting
        for scope in tuple(self._open):
            scope.cancel()

    async def until(self, taken: int) -> None:
        """Wait until so many connections were taken."""
        while self.taken < taken:
            await self._changed.wait()

    async def carry_unix(self, near: ByteStream) -> None:
        """As :meth:`carry`: on asyncio anyio's stream fails the loop if it is cut as bytes come."""
        await self.carry(PlainStream(near.extra(SocketAttribute.raw_socket)))

    async def carry(self, near: ByteStream) -> None:
        """Do with a connection what its fate is."""
        fate = self.fates.pop(0) if self.fates else "carry"
        self.taken += 1
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        async with near:
            with anyio.CancelScope() as scope, suppress(*ENDS, OSError):
                self._open.add(scope)
                if fate == "hang":
                    await anyio.sleep_forever()
                elif isinstance(fate, bytes):
                    await near.receive()
                    await near.send(fate)
                elif fate != "drop" and self.upstream is not None:
                    await self._through(near, fate if isinstance(fate, int) else None)
            self._open.discard(scope)
            if scope.cancel_called and self._parting:
                with suppress(*ENDS):
                    await near.send(self._parting)

    async def _through(self, near: ByteStream, most: int | None) -> None:
        far = await anyio.connect_tcp("127.0.0.1", self.upstream or 0)
        async with far, anyio.create_task_group() as group:

            async def up() -> None:
                with suppress(*ENDS):
                    while True:
                        await far.send(await near.receive())
                group.cancel_scope.cancel()

            group.start_soon(up)
            count = 0
            with suppress(*ENDS):
                while most is None or count < most:
                    data = await far.receive()
                    await near.send(data if most is None else data[: most - count])
                    count += len(data)
            group.cancel_scope.cancel()


@asynccontextmanager
async def road(binding: str, upstream: int, folder: Path) -> AsyncIterator[Road]:
    """Run a road of ``binding`` (``ws``, ``tcp``, ``unix`` or ``sse``) to a port of this host."""
    made = Road(upstream)
    listener: Any
    if binding == "unix":
        listener = await anyio.create_unix_listener(folder / "s")
        made.url = f"unix://{folder / 's'}"
    else:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(SocketAttribute.local_port)
        scheme, path = _URLS[binding]
        made.url = f"{scheme}://127.0.0.1:{port}{path}"
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, made.carry_unix if binding == "unix" else made.carry)
        yield made
        group.cancel_scope.cancel()
