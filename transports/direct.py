"""A link over a byte stream that goes past the stream where that is nothing but a socket."""

from transports.descriptors import DescriptorLink
from transports.plain_stream import PlainStream
from transports.streams import StreamLink


class DirectLink(DescriptorLink, StreamLink):
    """Reads and writes the socket of a :class:`PlainStream` itself, any other stream as it is.

    :meth:`_go_direct` in ``_open``, once ``stream`` is set.
    """

    def _go_direct(self) -> None:
        if isinstance(self.stream, PlainStream):
            self._attach(self.stream.descriptor, self.stream.descriptor)

    async def _receive(self) -> bytes:
        if self._reader is not None:
            return await DescriptorLink._receive(self)
        return await StreamLink._receive(self)

    async def _send(self, data: memoryview) -> int:
        if self._reader is not None:
            return await DescriptorLink._send(self, data)
        return await StreamLink._send(self, data)

    async def _close(self) -> None:
        self._detach()
        await StreamLink._close(self)
