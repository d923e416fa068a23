"""Byte stream over a connection of the asyncio driver, for a protocol that takes it over."""

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

if TYPE_CHECKING:
    from mcpcore_transports.http.server.protocol import HttpProtocol


class ProtocolStream(ByteStream):
    """Byte stream of a connection that has left HTTP."""

    def __init__(self, connection: "HttpProtocol", *, secure: bool) -> None:
        self._connection = connection
        self._secure = secure
        self._received = bytearray()
        self._eof = False
        self._lost: Exception | None = None
        self._closed = False
        self._changed: anyio.Event | None = None  # while a task waits for it

    @property
    def waiting(self) -> int:
        """Number of bytes that were received and not taken."""
        return len(self._received)

    @property
    def lost(self) -> bool:
        """True once the connection is lost."""
        return self._lost is not None

    # Called by the connection

    def feed(self, data: bytes | memoryview) -> None:
        """Take received data."""
        self._received += data
        self.changed()

    def feed_eof(self) -> None:
        """Take the end of the input."""
        self._eof = True
        self.changed()

    def lose(self, error: Exception | None) -> None:
        """Take the loss of the connection."""
        self._lost = error or ConnectionResetError("the connection is lost")
        self.changed()

    def changed(self) -> None:
        """Wake the waiting task: there is data, room, or the end."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _wait(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def reclaim(self) -> bytes:
        """Take back the unread input, because the connection stays with HTTP."""
        data = bytes(self._received)
        self._received.clear()
        return data

    # Stream interface

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Implement :meth:`anyio.abc.ByteReceiveStream.receive`."""
        await anyio.lowlevel.checkpoint()
        while not self._received:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._eof:
                raise anyio.EndOfStream
            if self._lost is not None:
                raise anyio.BrokenResourceError from self._lost
            await self._wait()
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        self._connection.pace()
        return data

    async def send(self, item: bytes) -> None:
        """Implement :meth:`anyio.abc.ByteSendStream.send`; wait until the data is taken."""
        await anyio.lowlevel.checkpoint()
        await self._room()
        self._connection.transmit(item)
        await self._room()

    async def _room(self) -> None:
        while True:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._lost is not None:
                raise anyio.BrokenResourceError from self._lost
            if not self._connection.blocked:
                return
            await self._wait()

    async def send_eof(self) -> None:
        """Implement :meth:`anyio.abc.ByteStream.send_eof`.

        Raises NotImplementedError with TLS, which ends in both directions at once.
        """
        if self._secure:
            raise NotImplementedError
        self._connection.finish_sending()

    def beneath(self) -> "ProtocolStream":
        """Return the stream without TLS, for a caller that discards all further input."""
        self._secure = False
        self._connection.leave_tls()
        return self

    async def aclose(self) -> None:
        """Close at once; unread input is lost."""
        self._closed = True
        self._connection.end_tls()
        self._connection.stop()
        self.changed()
        await anyio.lowlevel.checkpoint()
