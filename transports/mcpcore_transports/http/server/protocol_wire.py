"""Layer between a transport of asyncio and an HTTP server connection: TLS and read pacing."""

import asyncio
import ssl
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from mcpcore_transports.http.server.protocol_tls import ServerTls

SMALL_READ = 64 * 1024
"""Maximum bytes of one read where no more are known to belong together."""
_UNTAKEN = 64 * 1024
"""Maximum bytes of TLS's own messages to a client that takes nothing."""


class WireProtocol(asyncio.BufferedProtocol):
    """Byte layer of a connection, with or without TLS; all connections read into ``inbox``."""

    __slots__ = ("_eof", "_held", "_inbox", "_paused", "_tls", "_transport", "blocked")

    def __init__(self, inbox: memoryview, ssl_context: ssl.SSLContext | None) -> None:
        self.blocked = False
        """True while the client has not taken the last output."""
        self._inbox = inbox
        self._transport: asyncio.Transport | None = None
        self._tls = None if ssl_context is None else _tls(ssl_context)
        self._held = b""  # written with the next data
        self._eof = False  # the client sends no more
        self._paused = False  # reading is paused

    # Methods of the connection

    @abstractmethod
    def _begin(self) -> None:
        """Handle an established connection, with TLS if that is used."""

    @abstractmethod
    def _room(self) -> int:
        """Return the maximum bytes of the next read."""

    @abstractmethod
    def _receive(self, data: bytes | memoryview) -> None:
        """Take received data, which is valid only during the call."""

    @abstractmethod
    def _drop(self, size: int) -> bool:
        """Count received bytes; return True if they are to be discarded."""

    @abstractmethod
    def _ended(self) -> None:
        """Handle the end of the client's input."""

    @abstractmethod
    def _close(self) -> None:
        """Close once the last bytes are out."""

    @abstractmethod
    def stop(self) -> None:
        """Close at once."""

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement :meth:`asyncio.BaseProtocol.connection_made`."""
        self._transport = made = cast(asyncio.Transport, transport)
        made.set_write_buffer_limits(0)  # makes pause_writing() report any unsent byte
        if self._tls is None:
            self._begin()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Implement :meth:`asyncio.BufferedProtocol.get_buffer`."""
        return self._inbox[: self._room()]

    def buffer_updated(self, nbytes: int) -> None:
        """Implement :meth:`asyncio.BufferedProtocol.buffer_updated`."""
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
            self._write(tls.pending())  # the alert that tells the client the reason
            self._close()
            return
        if said := tls.pending():
            self._write(said)
            # Each key update of a client may request one in return, without end.
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
        """Implement :meth:`asyncio.BufferedProtocol.eof_received`; output remains possible."""
        self._end()
        return True

    def _end(self) -> None:
        if not self._eof:
            self._eof = True
            self._ended()

    # Output to the transport

    def transmit(self, data: bytes | memoryview) -> None:
        """Write ``data`` after the output that was held back."""
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
        """Send the end of the output; the client may still send."""
        self.end_tls()
        if self._transport is not None:
            with suppress(OSError, RuntimeError):  # it is gone
                self._transport.write_eof()

    def end_tls(self) -> None:
        """Send TLS's close alert, which distinguishes the end from a connection that is cut."""
        if self._tls is not None:
            self._write(self._tls.finish())

    def leave_tls(self) -> None:
        """End TLS: further input is discarded, and need not be decrypted."""
        self.end_tls()
        self._tls = None

    def _hold_back(self, full: bool) -> None:
        """Pause reading if ``full``, else resume it."""
        if full is self._paused or self._transport is None or self._transport.is_closing():
            return
        self._paused = full
        if full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


def _tls(context: ssl.SSLContext) -> "ServerTls":
    """Return the server side of TLS; imported late, as a server behind a proxy does not need it."""
    from mcpcore_transports.http.server.protocol_tls import ServerTls

    return ServerTls(context)
