"""Peer on any byte stream of anyio: TCP, Unix sockets, TLS.

Source: the stdio page of the specification, which asks channels of this kind to keep its framing.
"""

from contextlib import suppress

import anyio
from anyio.abc import ByteStream

from mcpcore.engine.peer import Peer
from mcpcore_transports.link import App
from mcpcore_transports.link_errors import STREAM_ERRORS
from mcpcore_transports.stream.connection import PumpSettings, StreamConnection


class StreamChannel:
    """Bytes in and out of a byte stream, which it owns, with at most ``size`` bytes at once."""

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

    async def aclose(self, seconds: float) -> None:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.aclose`."""
        with anyio.move_on_after(seconds), suppress(OSError, *STREAM_ERRORS):
            await self._stream.aclose()


class StreamLink(StreamConnection):
    """Link with newline-framed messages over a byte stream."""

    def __init__(
        self, peer: Peer, app: App, stream: ByteStream, *, settings: PumpSettings | None = None
    ) -> None:
        super().__init__(peer, app, settings=settings)
        self._channel = StreamChannel(stream, self.settings.read_size)
