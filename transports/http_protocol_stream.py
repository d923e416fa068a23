"""A connection of the asyncio driver as a byte stream, for a protocol that takes it over."""

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

if TYPE_CHECKING:
    from transports.http_protocol import HttpProtocol


class ProtocolStream(ByteStream):
    """What a connection sends and receives once it has left HTTP."""

    def __init__(self, connection: "HttpProtocol", *, secure: bool) -> None:
        self._connection = connection
        self._secure = secure
        self._received = bytearray()
        self._eof = False
        self._lost: Exception | None = None
        self._closed = False
        self._changed: anyio.Event | None = None  # while somebody waits for it

    @property
    def waiting(self) -> int:
        """Bytes that were received and not taken."""
        return len(self._received)

    @property
    def lost(self) -> bool:
        """The connection is gone."""
        return self._lost is not None

    # Called by the connection

    def feed(self, data: bytes | memoryview) -> None:
        """Data has come."""
        self._received += data
        self.changed()

    def feed_eof(self) -> None:
        """No more will come."""
        self._eof = True
        self.changed()

    def lose(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._lost = error or ConnectionResetError("the connection is lost")
        self.changed()

    def changed(self) -> None:
        """There is something to look at: data, room, or the end."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _wait(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    def reclaim(self) -> bytes:
        """Take back what was not received: the connection stays with HTTP."""
        data = bytes(self._received)
        self._received.clear()
        return data

    # The stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """See :class:`anyio.abc.ByteReceiveStream`."""
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
        """See :class:`anyio.abc.ByteSendStream`; returns once the system has taken it."""
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
        """See :class:`anyio.abc.ByteStream`.  Raises NotImplementedError: TLS ends both ways."""
        if self._secure:
            raise NotImplementedError
        self._connection.finish_sending()

    def beneath(self) -> "ProtocolStream":
        """The stream without TLS, for who is not interested any more in what comes."""
        self._secure = False
        self._connection.leave_tls()
        return self

    async def aclose(self) -> None:
        """Close at once; what was not received is lost."""
        self._closed = True
        self._connection.end_tls()
        self._connection.stop()
        self.changed()
        await anyio.lowlevel.checkpoint()
