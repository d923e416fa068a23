"""A TCP balancer: each connection goes to the next of its servers that takes it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream


class Balancer:
    """``port`` is where it listens; ``taken`` counts the connections of each server."""

    def __init__(self, servers: Sequence[int]) -> None:
        self.port = 0
        self.taken = dict.fromkeys(servers, 0)
        self._servers = list(servers)
        self._turn = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}/mcp"

    async def carry(self, client: SocketStream) -> None:
        """Join a client to a server."""
        async with client:
            server = await self._connect()
            if server is None:
                return
            async with server, anyio.create_task_group() as group:
                group.start_soon(_copy, client, server, group.cancel_scope)
                group.start_soon(_copy, server, client, group.cancel_scope)

    async def _connect(self) -> SocketStream | None:
        first, self._turn = self._turn, self._turn + 1
        for each in range(len(self._servers)):
            port = self._servers[(first + each) % len(self._servers)]
            try:
                server = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                continue
            self.taken[port] += 1
            return server
        return None


async def _copy(source: ByteStream, target: ByteStream, both: anyio.CancelScope) -> None:
    try:
        async for data in source:
            await target.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass
    both.cancel()


@asynccontextmanager
async def balanced(servers: Sequence[int]) -> AsyncIterator[Balancer]:
    """Run a balancer before ``servers``, which are ports of this host."""
    balancer = Balancer(servers)
    multi = await anyio.create_tcp_listener(local_host="127.0.0.1")
    balancer.port = multi.extra(SocketAttribute.local_port)
    async with multi, anyio.create_task_group() as group:
        group.start_soon(multi.serve, balancer.carry)
        yield balancer
        group.cancel_scope.cancel()
