"""Channel over a byte stream that uses its socket directly, also with TLS."""

import errno
from contextlib import suppress

from anyio.abc import ByteStream

from mcpcore_transports.stream.descriptors import DescriptorChannel, Take, ThreadReader
from mcpcore_transports.stream.link import StreamChannel
from mcpcore_transports.stream.plain import PlainStream
from mcpcore_transports.stream.secure import SecureStream

_OWED = 64 * 1024
"""Maximum bytes of TLS replies that wait because the other side does not read them."""


class DirectChannel:
    """Bytes in and out of the socket of a :class:`PlainStream`, which it owns, also through TLS.

    Any other stream is used as it is, and so is TLS over a socket that cannot be non-blocking.
    Make it in the event loop.  Input that was read ahead is in ``early``.  Before the stream is
    used again, :meth:`settle` a write that was begun.
    """

    def __init__(self, stream: ByteStream, size: int, take: Take) -> None:
        self._stream = StreamChannel(stream, size)
        self._take = take
        self._socket: DescriptorChannel | None = None
        self._secured: SecureStream | None = None
        self.early = b""
        if isinstance(stream, PlainStream):
            self._socket = DescriptorChannel(stream.descriptor, stream.descriptor, size, take)
        elif isinstance(stream, SecureStream) and isinstance(stream.transport_stream, PlainStream):
            below = stream.transport_stream.descriptor
            socket = DescriptorChannel(
                below, below, size, self._take_in, self._decrypt, self.send_nowait
            )
            if not socket.direct or isinstance(socket.reader, ThreadReader):
                # Reads and writes by a thread would bypass TLS; the stream's own do not.
                socket.unwatch()
                return
            self._socket, self._secured = socket, stream
            self.early = stream.read_ahead()

    def unwatch(self) -> None:
        """Stop watching the socket."""
        if self._socket is not None:
            self._socket.unwatch()

    async def receive(self) -> bytes:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.receive`."""
        if self._socket is None:
            return await self._stream.receive()
        if self._secured is None or not self._secured.over:
            data = await self._socket.receive()
            if data or self._secured is None:
                return data
        return self._decrypt(b"")  # raises if the end was an error

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.send_nowait`."""
        if self._socket is None:
            return 0
        if self._secured is None:
            return self._socket.send_nowait(data)
        return self._secured.write_some(data, self._socket.send_nowait)

    async def send(self, data: memoryview) -> int:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.send`."""
        return await (self._stream if self._socket is None else self._socket).send(data)

    async def settle(self) -> int:
        """Finish a write that was begun; return how many bytes of its data that were."""
        return 0 if self._secured is None else await self._secured.settle()

    async def aclose(self, seconds: float) -> None:
        """Implement :meth:`~mcpcore_transports.stream.connection.Channel.aclose`."""
        self.unwatch()
        await self._stream.aclose(seconds)

    def _take_in(self, data: bytes) -> bytes | None:
        left = self._take(data)
        if left is None and self._secured is not None and self._secured.over:
            return b""  # there is nothing more to wait for
        return left

    def _decrypt(self, data: bytes) -> bytes:
        secured, socket = self._secured, self._socket
        assert secured is not None  # noqa: S101 - set before anything is read
        assert socket is not None  # noqa: S101 - set with it
        try:
            return secured.decrypt(data)
        finally:
            if secured.owed:
                with suppress(OSError):
                    secured.push(socket.send_nowait)
                if secured.owed > _OWED:
                    raise BrokenPipeError(errno.EPIPE, "it does not read what its TLS asks for")
