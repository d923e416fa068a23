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


class StreamLink(StreamConnection):
    """Link with newline-framed messages over a byte stream."""

    stream: ByteStream

    def __init__(
        self,
        peer: Peer,
        app: App,
        stream: ByteStream | None = None,
        *,
        settings: PumpSettings | None = None,
    ) -> None:
        """Set the stream, unless a subclass does so in ``_open``."""
        super().__init__(peer, app, settings=settings)
        if stream is not None:
            self.stream = stream

    async def _receive(self) -> bytes:
        try:
            return await self.stream.receive(self.settings.read_size)
        except anyio.EndOfStream:
            return b""

    async def _send(self, data: memoryview) -> int:
        chunk = bytes(data[: self.settings.read_size])
        await self.stream.send(chunk)
        return len(chunk)

    async def _close(self) -> None:
        if hasattr(self, "stream"):
            with anyio.move_on_after(self.settings.drain), suppress(OSError, *STREAM_ERRORS):
                await self.stream.aclose()
