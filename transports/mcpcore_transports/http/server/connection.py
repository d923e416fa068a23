"""TCP connection of the HTTP server on a stream of anyio.

The task of the connection reads: it passes input to the connection's exchanges
(:mod:`mcpcore_transports.http.server.exchanges`) and writes the output that is ready at once, as
it is when the handler is synchronous.  Later output is written by a second task, which the link
lends while there is something to write.  Meanwhile the first task goes on reading: it notices when
the client leaves, and buffers a bounded amount of data that the client sends ahead.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteStream

from mcpcore.http.messages import HttpRequest
from mcpcore_transports.http.server.descriptor import Descriptor, descriptor_of, write_some
from mcpcore_transports.http.server.exchanges import Exchanges
from mcpcore_transports.http.server.lingering import LOST, linger
from mcpcore_transports.http1.states import Http1State
from mcpcore_transports.link import clock
from mcpcore_transports.stream.channels import SecureStream
from mcpcore_transports.tls import client_certificate

if TYPE_CHECKING:
    # It has this module's connections.
    from mcpcore_transports.http.server.anyio_server import HttpServerLink

logger = logging.getLogger("mcpcore.http")

Upgrade = Callable[[ByteStream, HttpRequest, bytes], Awaitable[bool]]
"""Hook that takes over a connection whose client asks for another protocol.

It gets the stream, the request and the data that was read behind it.  It has to check itself that
the client may leave HTTP.  It returns when the connection may be closed; False, with nothing read
or written, leaves the request to plain HTTP.
"""

_LARGE_READ = 256 * 1024
"""Maximum bytes of one read.  Streams on asyncio have read as much by themselves."""
_OPEN = (Http1State.HEAD, Http1State.HELD, Http1State.BODY, Http1State.REPLY, Http1State.SWITCHED)


class ServerConnection:
    """Server connection; ``refusal``: message of one in excess of the limit."""

    __slots__ = (
        "_exchanges",
        "_full",
        "_http",
        "_link",
        "_refusal",
        "_rest",
        "_scope",
        "_settings",
        "_socket",
        "_stream",
        "_watching",
        "_writer",
    )

    def __init__(
        self,
        link: "HttpServerLink",
        stream: ByteStream,
        peer: str | None,
        refusal: str | None = None,
    ) -> None:
        self._link = link
        self._settings = link.settings
        self._stream = stream
        self._exchanges = Exchanges(link, self, peer)
        self._http = self._exchanges.http
        self._refusal = refusal
        self._socket: Descriptor | None = None  # set at the first use
        self._rest = b""  # of the data that was to be written at once
        self._scope = anyio.CancelScope()
        self._writer: anyio.CancelScope | None = None  # of the task that is lent at present
        self._watching: anyio.CancelScope | None = None  # of the reader that has to be woken
        self._full = False  # it waits for room

    # Carrier interface

    @property
    def deadline(self) -> float:
        """Implement ``Carrier.deadline``."""
        return self._http.deadline

    @property
    def client(self) -> str | None:
        """Implement ``Carrier.client``."""
        return self._exchanges.client

    @property
    def idle(self) -> bool:
        """Implement ``Carrier.idle``."""
        return self._http.idle

    def wake(self) -> None:
        """Implement ``Carrier.wake``."""
        if self._exchanges.wake() and not self._http.blocked:  # else who writes goes on with it
            self._link.writers.run(self._write_late, self._write_at_once)

    def expire(self) -> None:
        """Implement ``Carrier.expire``."""
        if not self._exchanges.expire():
            self._exchanges.stop()
        self._scope.cancel()

    def stop(self) -> None:
        """Implement ``Carrier.stop``."""
        self._scope.cancel()

    async def run(self, ssl_context: ssl.SSLContext | None) -> None:
        """Serve the connection until it ends."""
        try:
            with self._scope:
                try:
                    await self._open(ssl_context)
                    await self._serve()
                except LOST:
                    self._exchanges.stop()
            if self._http.state is Http1State.LINGERING or self._http.state is Http1State.CLOSING:
                await self._end()
        finally:
            cut_off = self._http.replying
            self._exchanges.stop()
            if self._writer is not None:
                self._writer.cancel()
            if cut_off and isinstance(self._stream, SecureStream):
                # A body that ends with the connection must not look complete.
                self._stream.cut_off()
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()

    async def _open(self, ssl_context: ssl.SSLContext | None) -> None:
        if ssl_context is None:
            self._http.established()
        else:
            self._stream = stream = await SecureStream.wrap(
                self._stream, server_side=True, ssl_context=ssl_context, standard_compatible=False
            )
            self._http.established(secure=True, certificate=client_certificate(stream))
        if self._refusal is not None:
            self._exchanges.refuse(503, self._refusal)

    async def _serve(self) -> None:
        http, exchanges = self._http, self._exchanges
        while http.state in _OPEN or http.blocked:
            if http.state is Http1State.SWITCHED:
                if await self._hand_over():
                    return
            elif exchanges.asked is not None:
                asked, exchanges.asked = exchanges.asked, None
                await exchanges.identify(asked)
                await self._write(exchanges.take())
            else:
                await self._read()

    async def _hand_over(self) -> bool:
        """Offer the connection to the upgrade hook; return True if it was taken."""
        head, upgrade = self._http.head, self._link.upgrade
        assert head is not None and upgrade is not None  # noqa: S101, PT018 - asked before
        if await upgrade(self._stream, head.request, bytes(self._http.buffer)):
            self._exchanges.stop()
            return True
        await self._write(self._exchanges.decline(b""))
        return False

    # Input

    async def _read(self) -> None:
        """Read and process input, or notice that the client leaves."""
        http = self._http
        room = min(http.room, _LARGE_READ)
        data: bytes | None = b""
        if room and not (http.buffer or http.ended):
            data = await self._receive(room)
        else:
            self._full = not room
            with anyio.CancelScope() as self._watching:  # a request may wait for this one's end
                if http.ended:
                    await self._probe()
                elif room:
                    data = await self._receive(room)
                else:
                    await anyio.sleep_forever()
            self._watching = None
        if data is None:
            await self._write(self._exchanges.end_input())
        else:
            await self._write(self._exchanges.receive(data) if data else self._exchanges.take())

    async def _receive(self, room: int) -> bytes | None:
        try:
            return await self._stream.receive(room)
        except anyio.EndOfStream:
            return None

    async def _probe(self) -> None:
        """Probe a client that sends no more, while a reply is awaited."""
        exchange = self._exchanges.exchange
        if self._http.may_probe and not self._http.probed:
            while (delay := self._exchanges.probe(exchange)) is not None:
                await self._write(self._exchanges.take())
                await anyio.sleep(delay)
        await anyio.sleep_forever()  # if it leaves now, writing the reply will fail

    # Output

    async def _write(self, data: bytes) -> None:
        """Write output, and what follows it, unless another task is at it."""
        http, size = self._http, self._settings.write_size
        while data and http.state is not Http1State.CLOSED:
            for start in range(0, len(data), size):
                http.pause(clock())
                await self._stream.send(data if len(data) <= size else data[start : start + size])
            http.resume(clock())
            data = self._exchanges.take()

    def _write_at_once(self) -> bool:
        """Write output without waiting, as far as possible; return True if all was written."""
        if self._socket is None:
            if not self._http.secure:
                self._socket = descriptor_of(self._stream)
            if self._socket is None:
                return False
        while not self._rest and not self._http.blocked and (data := self._exchanges.take()):
            self._rest = data[write_some(self._socket, data) :]
        if self._rest:
            if not self._http.blocked:
                self._http.pause(clock())
            return False
        self._release_reader()
        return True

    async def _write_late(self) -> None:
        """Write output that was not ready when its request had been read."""
        try:
            with anyio.CancelScope() as self._writer:
                rest, self._rest = self._rest, b""
                await self._write(rest or self._exchanges.take())
            self._writer = None
        except LOST:
            self._exchanges.stop()
        except BaseException:
            self._scope.cancel()
            raise
        self._release_reader()

    def _release_reader(self) -> None:
        """Wake the reader after a reply was written, or as much of it as there was."""
        state = self._http.state
        if state not in _OPEN:
            self._scope.cancel()
        elif self._watching is not None and (
            state is not Http1State.REPLY or (self._full and self._http.room)
        ):
            self._watching.cancel()

    async def _end(self) -> None:
        """Write the last output, and let the client read it."""
        with anyio.move_on_after(self._settings.write_time) as writing:
            try:
                await self._write(self._exchanges.take())
            except LOST:
                return
        if self._http.state is Http1State.LINGERING and not writing.cancelled_caught:
            await linger(self._stream, self._settings)
