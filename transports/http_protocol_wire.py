"""Between a transport of asyncio and a connection of the HTTP server: TLS, and how fast we read."""

import asyncio
import ssl
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from transports.http_protocol_tls import ServerTls

SMALL_READ = 64 * 1024
"""Bytes that are read at once where it is not known that more belong together."""
_UNTAKEN = 64 * 1024
"""Bytes that TLS may say by itself to a client that takes nothing."""


class WireProtocol(asyncio.BufferedProtocol):
    """Bytes in and out, without TLS as with it; ``inbox`` is where all connections read to."""

    __slots__ = ("_eof", "_held", "_inbox", "_paused", "_tls", "_transport", "blocked")

    def __init__(self, inbox: memoryview, ssl_context: ssl.SSLContext | None) -> None:
        self.blocked = False
        """The client has not taken what was written last."""
        self._inbox = inbox
        self._transport: asyncio.Transport | None = None
        self._tls = None if ssl_context is None else _tls(ssl_context)
        self._held = b""  # written with what follows
        self._eof = False  # the client sends no more
        self._paused = False  # we do not read

    # What a connection makes of it

    @abstractmethod
    def _begin(self) -> None:
        """The connection is there, and TLS is agreed on."""

    @abstractmethod
    def _room(self) -> int:
        """How much may be read at once."""

    @abstractmethod
    def _receive(self, data: bytes | memoryview) -> None:
        """Data has come; it is gone when this returns."""

    @abstractmethod
    def _drop(self, size: int) -> bool:
        """So much has come; whether nobody is interested in what it is."""

    @abstractmethod
    def _ended(self) -> None:
        """The client sends no more."""

    @abstractmethod
    def _close(self) -> None:
        """Close once the last bytes are out."""

    @abstractmethod
    def stop(self) -> None:
        """Close at once."""

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._transport = made = cast(asyncio.Transport, transport)
        made.set_write_buffer_limits(0)  # so that blocked is what it says
        if self._tls is None:
            self._begin()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See :class:`asyncio.BufferedProtocol`."""
        return self._inbox[: self._room()]

    def buffer_updated(self, nbytes: int) -> None:
        """See :class:`asyncio.BufferedProtocol`."""
        if self._drop(nbytes):
            return
        data = self._inbox[:nbytes]
        if self._tls is None:
            self._receive(data)
        else:
            self._decrypt(self._tls, data)

    def _decrypt(self, tls: "ServerTls", data: memoryview) -> None:
        established = tls.established
        try:
            plain = tls.receive(data)
        except ssl.SSLError:
            self._write(tls.pending())  # it is told what is wrong
            self._close()
            return
        if said := tls.pending():
            self._write(said)
            # Each new key that a client sends may ask for one of ours: without end, if it likes.
            tls.untaken = tls.untaken + len(said) if self.blocked else 0
            if tls.untaken > _UNTAKEN:
                self.stop()
                return
        if tls.established and not established:
            self._begin()
        if plain:
            self._receive(plain)
        if tls.over:
            self._end()

    def eof_received(self) -> bool:
        """See :class:`asyncio.Protocol`; the connection goes on until it is closed here."""
        self._end()
        return True

    def _end(self) -> None:
        if not self._eof:
            self._eof = True
            self._ended()

    # To the transport

    def transmit(self, data: bytes | memoryview) -> None:
        """Write ``data``, and what was held back before it."""
        if self._held:
            data, self._held = self._held + data, b""
        if self._tls is not None:
            data = self._tls.send(data) if data else b""
        if data and self._transport is not None:
            self._transport.write(data)

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def finish_sending(self) -> None:
        """Let the client see an end; it may still send."""
        self.end_tls()
        if self._transport is not None:
            with suppress(OSError, RuntimeError):  # it is gone
                self._transport.write_eof()

    def end_tls(self) -> None:
        """Say that nothing follows, where TLS can tell the end from a connection that is cut."""
        if self._tls is not None:
            self._write(self._tls.finish())

    def leave_tls(self) -> None:
        """What comes from now on is thrown away, and need not be understood."""
        self.end_tls()
        self._tls = None

    def _hold_back(self, full: bool) -> None:
        """Read on only unless ``full``."""
        if full is self._paused or self._transport is None or self._transport.is_closing():
            return
        self._paused = full
        if full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


def _tls(context: ssl.SSLContext) -> "ServerTls":
    """Imported here: a server behind a proxy does not pay for it."""
    from transports.http_protocol_tls import ServerTls

    return ServerTls(context)
