"""Connection of an HTTP client on a transport of asyncio: no task, stream or future.

Its callbacks hand over what arrives, and write the parts of a large request as the system takes
them.
"""

import asyncio
from typing import Protocol

import anyio
from anyio.abc import ByteStream, SocketStream

_NOTHING = memoryview(b"")


class Exchanging(Protocol):
    """Side of a connection that carries out its exchanges."""

    def proceed(self, data: bytes, lost: Exception | None = None) -> None:
        """Take received data, or the end of the connection and its reason."""

    def held_up(self) -> None:
        """Note that the server does not take the request for now."""

    def sent(self) -> None:
        """Note that the request was sent completely, after it was held up."""


class HttpClientProtocol(asyncio.Protocol):
    """Connection that sends one request after the other, each in pieces of ``size`` bytes."""

    def __init__(self, transport: asyncio.Transport, side: Exchanging, size: int) -> None:
        self._transport = transport
        self._side: Exchanging | None = side
        self._size = size
        self._rest = _NOTHING  # of the request
        self._blocked = False
        transport.set_write_buffer_limits(0)  # makes pause_writing() report any unsent byte
        transport.set_protocol(self)
        transport.resume_reading()

    @property
    def lost(self) -> bool:
        """True if nothing can be sent any more."""
        return self._transport.is_closing()

    @property
    def sending(self) -> bool:
        """True while a part of the request was not taken."""
        return self._blocked or bool(self._rest)

    def write(self, head: bytes, body: bytes) -> None:
        """Send a request; of a large body only what leaves together with the head is copied."""
        room = max(self._size - len(head), 0)
        self._transport.write(head + body[:room])
        if len(body) > room:
            self._rest = memoryview(body)[room:]
            self._write()

    def _write(self) -> None:
        while self._rest and not (self._blocked or self.lost):
            piece, self._rest = self._rest[: self._size], self._rest[self._size :]
            self._transport.write(piece)
        if not self._rest:
            self._rest = _NOTHING  # an empty view would keep the body

    def abort(self) -> None:
        """Close at once; nothing is told any more."""
        self._side, self._rest = None, _NOTHING
        self._transport.abort()

    # Callbacks of the transport

    def data_received(self, data: bytes) -> None:
        """Implement :meth:`asyncio.Protocol.data_received`."""
        if self._side is not None:
            self._side.proceed(data)

    def eof_received(self) -> None:
        """Implement :meth:`asyncio.Protocol.eof_received`; the transport closes itself."""
        if self._side is not None:
            self._side.proceed(b"", anyio.EndOfStream())

    def connection_lost(self, exc: Exception | None) -> None:
        """Implement :meth:`asyncio.BaseProtocol.connection_lost`."""
        if self._side is not None:
            self._side.proceed(b"", exc or anyio.BrokenResourceError())

    def pause_writing(self) -> None:
        """Implement :meth:`asyncio.BaseProtocol.pause_writing`: the system takes no more."""
        self._blocked = True
        if self._side is not None:
            self._side.held_up()

    def resume_writing(self) -> None:
        """Implement :meth:`asyncio.BaseProtocol.resume_writing`: the system has taken all."""
        self._blocked = False
        self._write()
        if self._side is not None and not self.sending:
            self._side.sent()


def transport_of(stream: ByteStream) -> asyncio.Transport | None:
    """Return the transport of asyncio beneath a stream, if its callbacks may take over.

    A server that has spoken already is left to the stream, which holds what was received.
    """
    transport: asyncio.Transport | None = None
    if isinstance(stream, SocketStream):
        transport = getattr(stream, "_transport", None)  # anyio has no public access to it
    if transport is None or transport.is_closing():
        return None
    early: bool = transport.get_protocol().read_event.is_set()  # type: ignore[attr-defined]  # anyio's
    return None if early else transport
