"""Link over a byte stream that uses its socket directly, also with TLS."""

import errno
from contextlib import suppress

from mcpcore_transports.stream.descriptors import DescriptorLink, ThreadReader
from mcpcore_transports.stream.link import StreamLink
from mcpcore_transports.stream.plain import PlainStream
from mcpcore_transports.stream.secure import SecureStream

_OWED = 64 * 1024
"""Maximum bytes of TLS replies that wait because the other side does not read them."""


class DirectLink(DescriptorLink, StreamLink):
    """Link that reads and writes the socket of a :class:`PlainStream` itself, also through TLS.

    Any other stream is used as it is, and so is TLS over a socket that cannot be non-blocking.
    Subclasses call :meth:`_go_direct` in ``_open``, once ``stream`` is set, and :meth:`_settle`
    before the stream is written to again.
    """

    _secured: SecureStream | None = None

    def _go_direct(self) -> bytes:
        """Use the socket instead of the stream from here on; return the data read ahead."""
        stream = self.stream
        if isinstance(stream, PlainStream):
            self._attach(stream.descriptor, stream.descriptor)
        elif isinstance(stream, SecureStream) and isinstance(stream.transport_stream, PlainStream):
            below = stream.transport_stream.descriptor
            self._attach(below, below, self._decrypt)
            if not self._direct or isinstance(self._reader, ThreadReader):
                # Reads and writes by a thread would bypass TLS; the stream's own do not.
                self._detach()
                self._direct = False
                return b""
            self._secured = stream
            return stream.read_ahead()
        return b""

    def _take_in(self, data: bytes) -> bytes | None:
        left = super()._take_in(data)
        if left is None and self._secured is not None and self._secured.over:
            return b""  # there is nothing more to wait for
        return left

    async def _receive(self) -> bytes:
        if self._reader is None:
            return await StreamLink._receive(self)
        if self._secured is None or not self._secured.over:
            data = await DescriptorLink._receive(self)
            if data or self._secured is None:
                return data
        return self._decrypt(b"")  # raises if the end was an error

    def _decrypt(self, data: bytes) -> bytes:
        secured = self._secured
        assert secured is not None  # noqa: S101 - given to the reader with it
        try:
            return secured.decrypt(data)
        finally:
            if secured.owed:
                with suppress(OSError):
                    secured.push(super()._send_nowait)
                if secured.owed > _OWED:
                    raise BrokenPipeError(errno.EPIPE, "it does not read what its TLS asks for")

    def _send_nowait(self, data: bytes | memoryview) -> int:
        if self._secured is None:
            return super()._send_nowait(data)
        return self._secured.write_some(data, super()._send_nowait)

    async def _send(self, data: memoryview) -> int:
        if self._reader is not None:
            return await DescriptorLink._send(self, data)
        return await StreamLink._send(self, data)

    async def _settle(self) -> None:
        """Finish a write that was begun."""
        if self._secured is not None:
            self._rest = self._rest[await self._secured.settle() :]

    async def _close(self) -> None:
        self._detach()
        await StreamLink._close(self)
