"""Channels over byte streams: by the socket itself where there is one, also through TLS."""

import errno
from contextlib import suppress

import anyio
from anyio.abc import ByteStream

from mcpcore.engine.peer import Peer
from mcpcore_transports.link import STREAM_ERRORS, App
from mcpcore_transports.stream.connection import Channel, PumpSettings, StreamConnection
from mcpcore_transports.stream.descriptors import DescriptorChannel, Take, ThreadReader
from mcpcore_transports.stream.plain import PlainStream
from mcpcore_transports.stream.secure import SecureStream

_OWED = 64 * 1024
"""Maximum bytes of TLS replies that wait because the other side does not read them."""


def open_channel(stream: ByteStream, size: int, take: Take) -> Channel:
    """Return a channel that owns ``stream``, with at most ``size`` bytes per read.

    ``take``: see :func:`~mcpcore_transports.stream.descriptors.open_reader`.  Make it in the event
    loop.
    """
    if isinstance(stream, PlainStream):
        below = stream.descriptor
        return DescriptorChannel(below, below, size, take, owner=stream)
    if isinstance(stream, SecureStream) and isinstance(stream.transport_stream, PlainStream):
        channel = SecureChannel(stream, stream.transport_stream.descriptor, size, take)
        if channel.direct:
            return channel
    return StreamChannel(stream, size)


class StreamChannel:
    """Bytes in and out of any byte stream of anyio, which it owns."""

    early = b""

    def __init__(self, stream: ByteStream, size: int) -> None:
        self._stream = stream
        self._size = size

    async def receive(self) -> bytes:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.receive`."""
        try:
            return await self._stream.receive(self._size)
        except anyio.EndOfStream:
            return b""

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.send_nowait`."""
        return 0

    async def send(self, data: memoryview) -> int:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.send`."""
        chunk = bytes(data[: self._size])
        await self._stream.send(chunk)
        return len(chunk)

    def unwatch(self) -> None:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.unwatch`."""

    async def settle(self) -> int:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.settle`."""
        return 0

    async def aclose(self, seconds: float) -> None:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.aclose`."""
        with anyio.move_on_after(seconds), suppress(OSError, *STREAM_ERRORS):
            await self._stream.aclose()


class SecureChannel:
    """Bytes in and out of a TLS stream, which it owns, by the descriptor of the socket below."""

    def __init__(self, stream: SecureStream, descriptor: int, size: int, take: Take) -> None:
        self._stream = stream
        self._take = take
        self._socket = socket = DescriptorChannel(
            descriptor, descriptor, size, self._take_in, self._decrypt, self.send_nowait
        )
        self.direct = socket.direct and not isinstance(socket.reader, ThreadReader)
        """False if reads and writes are those of a thread, which would bypass TLS: not usable."""
        if not self.direct:
            socket.unwatch()
        self.early = stream.read_ahead() if self.direct else b""

    async def receive(self) -> bytes:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.receive`."""
        if not self._stream.over and (data := await self._socket.receive()):
            return data
        return self._decrypt(b"")  # raises if the end was an error

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.send_nowait`."""
        return self._stream.write_some(data, self._socket.send_nowait)

    async def send(self, data: memoryview) -> int:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.send`."""
        return await self._socket.send(data)

    def unwatch(self) -> None:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.unwatch`."""
        self._socket.unwatch()

    async def settle(self) -> int:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.settle`."""
        return await self._stream.settle()

    async def aclose(self, seconds: float) -> None:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.aclose`."""
        self.unwatch()
        with anyio.move_on_after(seconds), suppress(OSError, *STREAM_ERRORS):
            await self._stream.aclose()

    def _take_in(self, data: bytes) -> bytes | None:
        left = self._take(data)
        if left is None and self._stream.over:
            return b""  # there is nothing more to wait for
        return left

    def _decrypt(self, data: bytes) -> bytes:
        try:
            return self._stream.decrypt(data)
        finally:
            if self._stream.owed:
                with suppress(OSError):
                    self._stream.push(self._socket.send_nowait)
                if self._stream.owed > _OWED:
                    raise BrokenPipeError(errno.EPIPE, "it does not read what its TLS asks for")


class StreamLink(StreamConnection):
    """Link with newline-framed messages over a byte stream of anyio."""

    def __init__(
        self, peer: Peer, app: App, stream: ByteStream, *, settings: PumpSettings | None = None
    ) -> None:
        super().__init__(peer, app, settings=settings)
        self._channel = StreamChannel(stream, self.settings.read_size)
