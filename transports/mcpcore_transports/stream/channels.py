"""Channels over byte streams: by the socket itself where there is one, also through TLS.

A :class:`SecureChannel` reads and writes the descriptor below its TLS stream directly.  The stream
decrypts its input and encrypts its output, without a waiting task.
"""

import errno
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, TypeVarTuple, Unpack

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from mcpcore.engine.peer import Peer
from mcpcore_transports.link import App
from mcpcore_transports.stream.connection import Channel, StreamConnection
from mcpcore_transports.stream.descriptors import DescriptorChannel, Take, ThreadReader
from mcpcore_transports.stream.plain import PlainStream
from mcpcore_transports.stream.settings import ConnectionSettings
from mcpcore_transports.tls import read_all

T = TypeVar("T")
PosArgs = TypeVarTuple("PosArgs")

_PIECE = 64 * 1024
_FAREWELL = 1.0
"""Seconds for sending the close alert."""
_NOTHING = memoryview(b"")
_UNTOLD = (
    anyio.BrokenResourceError,
    anyio.BusyResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,  # of another TLS stream beneath
)
"""Exceptions that prevent sending an alert: the peer is gone, or another write is in progress."""
_OWED = 64 * 1024
"""Maximum bytes of TLS replies that wait because the other side does not read them."""


class SecureStream(TLSStream):
    """TLS stream that sends alerts to the peer, for a fault and at the end.

    When the handshake fails, anyio leaves the alert with the reason unsent.  Once it is complete, a
    caller that has the descriptor below may use :meth:`decrypt`, :meth:`write_some` and
    :meth:`push`, and the stream again after :meth:`settle`.
    """

    over = False
    """True if no more can be decrypted: the peer has ended, or has sent invalid data."""
    _problem: ssl.SSLError | None = None  # the fault in that data
    _cut = False  # within a record, or it may be
    _unsent = _NOTHING  # encrypted, and not written yet
    _held = 0  # bytes of input that are encrypted, and not all of them written

    async def _call_sslobject_method(
        self, func: Callable[[Unpack[PosArgs]], T], *args: *PosArgs
    ) -> T:
        try:
            return await super()._call_sslobject_method(func, *args)
        except ssl.SSLError:
            with suppress(*_UNTOLD, OSError):
                if self._write_bio.pending:
                    await self.transport_stream.send(self._write_bio.read())
            raise

    async def send(self, item: bytes) -> None:
        """Implement :meth:`anyio.abc.ByteSendStream.send`."""
        self._cut = True
        await super().send(item)
        self._cut = False

    async def finish(self) -> None:
        """Send the close alert, and wait for no answer (RFC 8446 section 6.1)."""
        with suppress(ssl.SSLError):
            self._ssl_object.unwrap()
        if self._write_bio.pending:
            await self.transport_stream.send(self._write_bio.read())

    async def aclose(self) -> None:
        """Close with the close alert, unless a record or a message was not written completely.

        The peer's end is awaited where the protocol above has none (standard_compatible).
        """
        if self._unsent or self._cut:
            await self.transport_stream.aclose()
        elif self.standard_compatible:
            await super().aclose()
        else:
            try:
                with anyio.move_on_after(_FAREWELL), suppress(*_UNTOLD, OSError):
                    await self.finish()
            finally:
                await self.transport_stream.aclose()

    # Direct access for the holder of the descriptor

    def decrypt(self, data: bytes) -> bytes:
        """Return the decryption of ``data`` just read; empty at the end, which empty ``data`` is.

        Raises BlockingIOError if more has to be read for that, and ssl.SSLError for invalid data,
        once all the data before it was returned.  In every case there may be output :attr:`owed` to
        the peer.
        """
        if not self.over:
            if data:
                self._read_bio.write(data)
            else:
                self._read_bio.write_eof()
            if found := self.read_ahead():
                return found
        if self._problem is not None:
            raise self._problem.with_traceback(None)  # it may be raised again
        if not self.over:
            raise BlockingIOError
        return b""

    def read_ahead(self) -> bytes:
        """Return data that was already read, and not received."""
        parts: list[bytes] = []
        try:
            self.over = read_all(self._ssl_object, self._read_bio, parts)
        except ssl.SSLError as error:
            self.over = True
            if self.standard_compatible or not isinstance(error, ssl.SSLEOFError):
                self._problem = error
        return b"".join(parts)

    @property
    def owed(self) -> int:
        """Bytes of TLS's own messages, an alert for instance: to be pushed."""
        return self._write_bio.pending

    def write_some(self, data: bytes | memoryview, write: Callable[[memoryview], int]) -> int:
        """Encrypt ``data`` and write it with ``write``; return the number of bytes written.

        ``write`` returns how many bytes it took.  A record is useful only as a whole, so a begun
        one is kept: the next ``data`` has to begin with the unwritten rest of this one.
        """
        taken, view = 0, memoryview(data)
        while self.push(write):
            taken += self._held
            self._held = 0
            if taken == len(view):
                break
            self._held = self._ssl_object.write(view[taken : taken + _PIECE])
        return taken

    def push(self, write: Callable[[memoryview], int]) -> bool:
        """Write the encrypted output; return True if all of it is written."""
        while self._unsent or self._write_bio.pending:
            if not self._unsent:
                self._unsent = memoryview(self._write_bio.read())
            self._unsent = self._unsent[write(self._unsent) :]
            if self._unsent:
                return False
            self._unsent = _NOTHING  # an empty part would keep the whole
        return True

    async def settle(self) -> int:
        """Write the rest of a begun record, before the stream is used again.

        Returns how many bytes of the data for :meth:`write_some` that were.
        """
        if self._unsent:
            rest, self._unsent = bytes(self._unsent), _NOTHING
            try:
                await self.transport_stream.send(rest)
            except BaseException:
                self._cut = True
                raise
        held, self._held = self._held, 0
        return held


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


class StreamChannel(Channel):
    """Bytes in and out of any byte stream of anyio, which it owns."""

    def __init__(self, stream: ByteStream, size: int) -> None:
        super().__init__(stream)
        self._stream = stream
        self._size = size

    async def receive(self) -> bytes:
        """See :meth:`Channel.receive`."""
        try:
            return await self._stream.receive(self._size)
        except anyio.EndOfStream:
            return b""

    async def send(self, data: memoryview) -> int:
        """See :meth:`Channel.send`."""
        chunk = bytes(data[: self._size])
        await self._stream.send(chunk)
        return len(chunk)


class SecureChannel(Channel):
    """Bytes in and out of a TLS stream, which it owns, by the descriptor of the socket below."""

    def __init__(self, stream: SecureStream, descriptor: int, size: int, take: Take) -> None:
        super().__init__(stream)
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
        """See :meth:`Channel.receive`."""
        if not self._stream.over and (data := await self._socket.receive()):
            return data
        return self._decrypt(b"")  # raises if the end was an error

    def send_nowait(self, data: bytes | memoryview) -> int:
        """See :meth:`Channel.send_nowait`."""
        return self._stream.write_some(data, self._socket.send_nowait)

    async def send(self, data: memoryview) -> int:
        """See :meth:`Channel.send`."""
        return await self._socket.send(data)

    def unwatch(self) -> None:
        """See :meth:`Channel.unwatch`."""
        self._socket.unwatch()

    async def settle(self) -> int:
        """See :meth:`Channel.settle`."""
        return await self._stream.settle()

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
        self,
        peer: Peer,
        app: App,
        stream: ByteStream,
        *,
        settings: ConnectionSettings | None = None,
    ) -> None:
        super().__init__(peer, app, settings=settings)
        self._channel = StreamChannel(stream, self.settings.read_size)
