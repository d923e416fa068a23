"""A TLS stream that can be gone past, as the socket under it can.

Who has the descriptor below reads and writes that by itself (:mod:`transports.direct`), and has
what it reads decrypted and what it writes encrypted here, without a task that waits for it.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, TypeVarTuple, Unpack

import anyio
from anyio.streams.tls import TLSStream

from transports.tls import read_all

T = TypeVar("T")
PosArgs = TypeVarTuple("PosArgs")

_PIECE = 64 * 1024
_FAREWELL = 1.0
"""Seconds that saying the end may take."""
_NOTHING = memoryview(b"")
_UNTOLD = (
    anyio.BrokenResourceError,
    anyio.BusyResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,  # of another TLS stream beneath
)
"""Why it cannot be told what is wrong: nobody listens, or somebody is writing at this moment."""


class SecureStream(TLSStream):
    """A TLS stream whose other side is told what is wrong, and the end, and not only cut off.

    When the handshake fails, anyio leaves the alert that says why unsent.  Once it is complete,
    who has the descriptor below may use :meth:`decrypt`, :meth:`write_some` and :meth:`push`, and
    the stream again after :meth:`settle`.
    """

    over = False
    """Nothing more will be decrypted: the other side has ended, or has sent what is no TLS."""
    _problem: ssl.SSLError | None = None  # what it has sent then
    _cut = False  # within a record, or it may be
    _unsent = _NOTHING  # encrypted, and not written yet
    _held = 0  # bytes of what was to be written that are encrypted, and not all of them written

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
        """See :class:`anyio.abc.ByteStream`."""
        self._cut = True
        await super().send(item)
        self._cut = False

    async def finish(self) -> None:
        """Say that nothing follows, and wait for no answer (RFC 8446 section 6.1)."""
        with suppress(ssl.SSLError):
            self._ssl_object.unwrap()
        if self._write_bio.pending:
            await self.transport_stream.send(self._write_bio.read())

    def cut_off(self) -> None:
        """Have :meth:`aclose` not end TLS: what was sent is not whole, and must not look so."""
        self._cut = True

    async def aclose(self) -> None:
        """End TLS as well, unless a record was begun and not written whole, or a message was.

        The other side's end is waited for where the protocol above has none (standard_compatible).
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

    # For who reads and writes the descriptor

    def decrypt(self, data: bytes) -> bytes:
        """Return what ``data``, just read, brings; nothing at the end, which empty ``data`` is.

        Raises BlockingIOError if more has to be read for that, and ssl.SSLError for what is
        refused, once all that came before it was returned.  Whatever comes of it, there may be
        something :attr:`owed` to the other side.
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
        """Return what has been read already, and not been received."""
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
        """Bytes that TLS itself has to say, an alert for instance: to be pushed."""
        return self._write_bio.pending

    def write_some(self, data: bytes | memoryview, write: Callable[[memoryview], int]) -> int:
        """Encrypt ``data`` for ``write``, which says how much it took; how much of it is written.

        As a record is whole or worthless, what is begun is kept: the next ``data`` has to begin
        with what was not written of this.
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
        """Have written what is encrypted; whether that is all of it."""
        while self._unsent or self._write_bio.pending:
            if not self._unsent:
                self._unsent = memoryview(self._write_bio.read())
            self._unsent = self._unsent[write(self._unsent) :]
            if self._unsent:
                return False
            self._unsent = _NOTHING  # an empty part would keep the whole
        return True

    async def settle(self) -> int:
        """Write what was begun, before the stream is used again.

        Returns how much that was of what :meth:`write_some` was given.
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
