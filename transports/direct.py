"""A link over a byte stream that goes past the stream where that is a socket, or TLS over one."""

import errno
from contextlib import suppress

from transports.descriptors import DescriptorLink, ThreadReader
from transports.plain_stream import PlainStream
from transports.secure_stream import SecureStream
from transports.streams import StreamLink

_OWED = 64 * 1024
"""Bytes that the other side's TLS may have asked for, and not read."""


class DirectLink(DescriptorLink, StreamLink):
    """Reads and writes the socket of a :class:`PlainStream` itself, also through TLS.

    Any other stream is used as it is, and so is TLS over a socket that cannot be set not to block.
    :meth:`_go_direct` in ``_open``, once ``stream`` is set; :meth:`_settle` before the stream is
    written to again.
    """

    _secured: SecureStream | None = None

    def _go_direct(self) -> bytes:
        """Leave the stream aside from here on; return what it has read ahead."""
        stream = self.stream
        if isinstance(stream, PlainStream):
            self._attach(stream.descriptor, stream.descriptor)
        elif isinstance(stream, SecureStream) and isinstance(stream.transport_stream, PlainStream):
            below = stream.transport_stream.descriptor
            self._attach(below, below, self._decrypt)
            if not self._direct or isinstance(self._reader, ThreadReader):
                # Neither writes nor reads by a thread would go through TLS: those of the stream do.
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
        return self._decrypt(b"")  # how it has ended

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
        """Finish what was begun to be written."""
        if self._secured is not None:
            self._rest = self._rest[await self._secured.settle() :]

    async def _close(self) -> None:
        self._detach()
        await StreamLink._close(self)
