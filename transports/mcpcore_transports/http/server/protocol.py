"""TCP connection of the HTTP server as a protocol of asyncio: no task, timer or future.

The callbacks of the transport pass input to the connection's exchanges
(:mod:`mcpcore_transports.http.server.exchanges`) and write their output at once.  Later output is
written in the next turn of the loop, together with that of other connections.  Output of a stream
is taken only as the client reads it.
"""

import asyncio
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio

from mcpcore.engine.events import Route
from mcpcore_transports.http.server.exchanges import Exchanges
from mcpcore_transports.http.server.lingering import LOST
from mcpcore_transports.http1.heads import RequestHead
from mcpcore_transports.http1.server import SMALL_READ
from mcpcore_transports.http1.states import Http1State
from mcpcore_transports.link import clock

if TYPE_CHECKING:
    # The first has this module's connections; the others are imported late, as few servers have TLS
    # themselves, and few connections are upgraded.
    from mcpcore_transports.http.server.asyncio_server import AsyncioServerLink
    from mcpcore_transports.http.server.protocol_stream import ProtocolStream
    from mcpcore_transports.http.server.protocol_tls import ServerTls

_UNTAKEN = 64 * 1024
"""Maximum bytes of TLS's own messages to a client that takes nothing."""
# Bound once, as members of an Enum are slow to look up.
_HEAD, _REPLY, _LINGERING = Http1State.HEAD, Http1State.REPLY, Http1State.LINGERING


class HttpProtocol(asyncio.BufferedProtocol):
    """Connection that carries one exchange after the other.

    All connections read into the same ``link.inbox``.  ``refusal``: message for a connection in
    excess of the limit, which is refused with it.
    """

    __slots__ = (
        "__weakref__",
        "_exchanges",
        "_gone",
        "_http",
        "_inbox",
        "_link",
        "_paused",
        "_probing",
        "_refusal",
        "_scope",
        "_sent_end",
        "_stream",
        "_tls",
        "_transport",
    )

    def __init__(
        self, link: "AsyncioServerLink", peer: str | None, refusal: str | None = None
    ) -> None:
        self._link = link
        self._inbox = link.inbox
        self._exchanges = Exchanges(link, self, peer)
        self._http = self._exchanges.http
        self._refusal = refusal
        self._transport: asyncio.Transport | None = None
        self._tls = None if link.ssl_context is None else _tls(link.ssl_context)
        self._paused = False  # reading is paused
        self._gone = False
        self._sent_end = False  # of the output
        self._probing: Route | None = None  # exchange during which the client is probed
        self._stream: ProtocolStream | None = None  # set if it may have left HTTP
        self._scope: anyio.CancelScope | None = None  # of the task that it waits for

    # Carrier interface

    @property
    def deadline(self) -> float:
        """Implement ``Carrier.deadline``."""
        return self._http.deadline

    @property
    def client(self) -> str | None:
        """Implement ``Carrier.client``."""
        return self._exchanges.client

    @property
    def idle(self) -> bool:
        """Implement ``Carrier.idle``."""
        return self._http.idle

    def wake(self) -> None:
        """Implement ``Carrier.wake``."""
        if self._exchanges.wake():
            self._link.write_soon(self)

    def expire(self) -> None:
        """Implement ``Carrier.expire``."""
        if self._exchanges.expire():
            self._write(self._exchanges.take())
        else:
            self.stop()

    def stop(self) -> None:
        """Implement ``Carrier.stop``."""
        if self._http.idle:  # else the client must see that it is cut off
            self.end_tls()
        self._leave()
        if self._transport is not None:
            self._transport.abort()

    def _leave(self) -> None:
        if not self._gone:
            self._gone = True
            if self._scope is not None:
                self._scope.cancel()
            self._exchanges.stop()
            self._link.discard(self)

    # Callbacks of the transport: input

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement :meth:`asyncio.BaseProtocol.connection_made`."""
        if self._gone:  # closed meanwhile
            transport.close()
            return
        self._transport = made = cast(asyncio.Transport, transport)
        made.set_write_buffer_limits(0)  # makes pause_writing() report any unsent byte
        if self._tls is None:
            self._begin()

    def _begin(self) -> None:
        if self._tls is None:
            self._http.established()
        else:
            self._http.established(secure=True, certificate=self._tls.certificate())
        if self._refusal is not None:
            self._exchanges.refuse(503, self._refusal)
            self._write(self._exchanges.take())

    def connection_lost(self, exc: Exception | None) -> None:
        """Implement :meth:`asyncio.BaseProtocol.connection_lost`."""
        if self._stream is not None and not self._gone:
            self._stream.lose(exc)  # the hook that has taken it over will close it
        else:
            self._leave()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Implement :meth:`asyncio.BufferedProtocol.get_buffer`."""
        if self._http.state is _HEAD:
            return self._link.small_inbox
        return self._inbox[: max(self._http.room, 1)]

    def buffer_updated(self, nbytes: int) -> None:
        """Implement :meth:`asyncio.BufferedProtocol.buffer_updated`."""
        data = self._inbox[:nbytes]
        if self._tls is None or self._http.state is _LINGERING:
            self._receive(data)
        else:
            self._decrypt(self._tls, data)

    def _decrypt(self, tls: "ServerTls", data: memoryview) -> None:
        established = tls.established
        try:
            plain = tls.receive(data)
        except ssl.SSLError:
            self._send(tls.pending())  # the alert that tells the client the reason
            self._http.close(clock())
            self._write(b"")
            return
        if said := tls.pending():
            self._send(said)
            # Each key update of a client may request one in return, without end.
            tls.untaken = tls.untaken + len(said) if self._http.blocked else 0
            if tls.untaken > _UNTAKEN:
                self.stop()
                return
        if tls.established and not established:
            self._begin()
        if plain:
            self._receive(plain)
        if tls.over:
            self._end()

    def _receive(self, data: bytes | memoryview) -> None:
        if self._stream is not None:
            self._stream.feed(data)
            self.pace()
        else:
            self._write(self._exchanges.receive(data))

    def eof_received(self) -> bool:
        """Implement :meth:`asyncio.BufferedProtocol.eof_received`; output remains possible."""
        self._end()
        return True

    def _end(self) -> None:
        if self._stream is not None:
            self._http.ended = True
            self._stream.feed_eof()
        else:
            self._write(self._exchanges.end_input())

    def pace(self) -> None:
        """Pause or resume reading by the room that is left."""
        stream = self._stream
        full = not self._http.room if stream is None else stream.waiting >= SMALL_READ
        if full is self._paused or self._transport is None or self._transport.is_closing():
            return
        self._paused = full
        if full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # Output

    @property
    def blocked(self) -> bool:
        """True while the client has not taken the last output."""
        return self._http.blocked

    def pause_writing(self) -> None:
        """Implement :meth:`asyncio.BaseProtocol.pause_writing`: the system takes no more."""
        self._http.pause(clock())
        if self._http.state is _LINGERING:
            self.pace()

    def resume_writing(self) -> None:
        """Implement :meth:`asyncio.BaseProtocol.resume_writing`: the system has taken all."""
        self._http.resume(clock())
        if self._stream is not None:
            self._stream.changed()
        elif self._http.state is _LINGERING:
            self.pace()
        else:
            self._link.write_soon(self)  # asyncio does not allow closing here

    def write_late(self) -> None:
        """Write output that was not ready, or could not be written, with its request."""
        if not self._gone:
            self._write(self._exchanges.take())

    def _write(self, data: bytes) -> None:
        """Write output, and what follows it; then act on the state of the connection."""
        http, exchanges = self._http, self._exchanges
        while data:
            self.transmit(data)
            if http.blocked or not (exchanges.writing or http.buffer):
                break
            if self._transport is None or self._transport.is_closing():
                break  # the client is gone
            data = exchanges.take()
        state = http.state
        if state is not _HEAD and state is not _REPLY:
            self._follow(state)
        elif http.ended and exchanges.exchange is not None:
            self._begin_probing()
        if http.buffer or self._paused:
            self.pace()

    def _follow(self, state: Http1State) -> None:
        if state is Http1State.CLOSED:
            self.stop()
        elif state is Http1State.CLOSING and self._transport is not None:
            self.end_tls()
            self._transport.close()
        elif state is _LINGERING and not self._sent_end:
            self.finish_sending()
            self.pace()
        elif state is Http1State.SWITCHED and self._stream is None:
            self._offer()
        elif self._exchanges.asked is not None:
            asked, self._exchanges.asked = self._exchanges.asked, None
            self._link.start(partial(self._identify, asked))

    async def _identify(self, asked: Awaitable[object]) -> None:
        with anyio.CancelScope() as self._scope:
            await self._exchanges.identify(asked)
        self._scope = None
        self.write_late()

    def _begin_probing(self) -> None:
        if self._exchanges.exchange != self._probing and self._http.may_probe:
            self._probing = self._exchanges.exchange
            self._probe(self._probing)

    def _probe(self, exchange: Route | None) -> None:
        delay = self._exchanges.probe(exchange)
        if delay is not None:
            self._write(self._exchanges.take())
            asyncio.get_running_loop().call_later(delay, self._probe, exchange)

    def transmit(self, data: bytes | memoryview) -> None:
        """Write ``data``, through TLS if there is any."""
        if self._tls is not None:
            data = self._tls.send(data)
        if data and self._transport is not None:
            self._transport.write(data)

    def _send(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def finish_sending(self) -> None:
        """Send the end of the output; the client may still send."""
        self._sent_end = True
        self.end_tls()
        if self._transport is not None:
            with suppress(OSError, RuntimeError):  # it is gone
                self._transport.write_eof()

    def end_tls(self) -> None:
        """Send TLS's close alert, which distinguishes the end from a connection that is cut."""
        if self._tls is not None:
            self._send(self._tls.finish())

    def leave_tls(self) -> None:
        """End TLS: further input is discarded, and need not be decrypted."""
        self.end_tls()
        self._tls = None

    # Upgrade to another protocol

    def _offer(self) -> None:
        """Offer the connection to the upgrade hook, in a task."""
        from mcpcore_transports.http.server.protocol_stream import ProtocolStream

        head = self._http.head
        assert head is not None  # noqa: S101 - it asks for the upgrade
        self._stream = ProtocolStream(self, secure=self._tls is not None)
        if self._http.ended:
            self._stream.feed_eof()
        self._link.start(partial(self._hand_over, head, self._stream))

    async def _hand_over(self, head: RequestHead, stream: "ProtocolStream") -> None:
        upgrade, taken = self._link.upgrade, True
        assert upgrade is not None  # noqa: S101 - asked before
        try:
            with anyio.CancelScope() as self._scope, suppress(*LOST):
                taken = await upgrade(stream, head.request, bytes(self._http.buffer))
        finally:
            self._scope = None
            if taken or stream.lost:
                self.stop()
        if not self._gone:
            self._stream = None
            self._write(self._exchanges.decline(stream.reclaim()))


def _tls(context: ssl.SSLContext) -> "ServerTls":
    from mcpcore_transports.http.server.protocol_tls import ServerTls

    return ServerTls(context)
