"""What stands between a client and its server: a proxy, or a network that loses connections."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext

import anyio
from anyio.abc import ByteStream, Listener, SocketAttribute, SocketStream, TaskGroup
from anyio.streams.tls import TLSStream

from tests.torture.points import unwatched

LOST = (
    OSError,
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    ConnectionError,
)
"""How a connection ends."""


async def accept_always(
    listener: Listener[SocketStream],
    serve: Callable[[SocketStream], Awaitable[None]],
    group: TaskGroup,
) -> None:
    """Serve connections, also once one could not be accepted."""
    while True:
        with suppress(OSError, anyio.BrokenResourceError):  # the next one may be
            await listener.serve(serve, group)


class Relay:
    """Carries connections to ``upstream``, a host and a port.

    ``tunnel``: it is a proxy that is asked for each of them; ``refusing``: and says no to each.
    ``ssl_context``: over TLS.
    ``cuts``: the first connection is cut when so many bytes have come from the server, the next
    after the next number, and those behind them never.  ``words``: so is each of the first two
    connections on which these come from the server, when they have.
    """

    def __init__(
        self,
        upstream: tuple[str, int],
        *,
        tunnel: bool = False,
        refusing: bool = False,
        ssl_context: SSLContext | None = None,
        cuts: Sequence[int] = (),
        words: bytes | None = None,
    ) -> None:
        self.port = 0
        self._upstream = upstream
        self._tunnel = tunnel
        self._refusing = refusing
        self._ssl_context = ssl_context
        self._cuts = list(cuts)
        self._words = [] if words is None else [words] * 2

    def calm(self) -> None:
        """Cut no further connection."""
        self._cuts.clear()
        self._words.clear()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Relay"]:
        """Carry for as long as the context lasts."""
        with unwatched():  # without it there is no story
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as group:
            self.port = listener.extra(SocketAttribute.local_port)
            for each in listener.listeners:
                group.start_soon(accept_always, each, self._carry, group)
            yield self
            group.cancel_scope.cancel()

    async def _carry(self, plain: SocketStream) -> None:
        with suppress(*LOST):
            async with plain:
                client: ByteStream = plain
                if self._ssl_context is not None:
                    client = await TLSStream.wrap(
                        plain,
                        server_side=True,
                        ssl_context=self._ssl_context,
                        standard_compatible=False,
                    )
                if self._tunnel:
                    await self._connect(client)
                cut = self._cuts.pop(0) if self._cuts else None
                async with await anyio.connect_tcp(*self._upstream) as server:
                    await self._both_ways(client, server, cut)

    async def _connect(self, client: ByteStream) -> None:
        """Be asked for a tunnel, and say that it is dug, in two words."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += await client.receive()
        if self._refusing:
            await client.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            raise ConnectionError("nobody is let through")
        await client.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 20")
        await client.send(b"0 OK\r\n\r\n")

    async def _both_ways(self, client: ByteStream, server: ByteStream, cut: int | None) -> None:
        async with anyio.create_task_group() as group:

            async def carry(source: ByteStream, sink: ByteStream, left: int | None) -> None:
                await self._pump(source, sink, left)
                group.cancel_scope.cancel()

            group.start_soon(carry, client, server, None)
            group.start_soon(carry, server, client, cut)

    async def _pump(self, source: ByteStream, sink: ByteStream, left: int | None) -> None:
        with suppress(*LOST):
            while left is None or left > 0:
                data = await source.receive(65_536 if left is None else left)
                left = None if left is None else left - len(data)
                await sink.send(data)
                if self._words and self._words[0] in data:
                    self._words.pop()
                    return
