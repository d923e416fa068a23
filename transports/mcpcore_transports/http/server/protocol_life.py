"""Life cycle of a connection of the asyncio driver: its phases, its deadline, and its end."""

import asyncio
import logging
import math
from enum import Enum
from typing import TYPE_CHECKING

import anyio

from mcpcore.engine.events import Route
from mcpcore.http.principals import address_of, quota_key
from mcpcore_transports.http.server.protocol_wire import SMALL_READ, WireProtocol
from mcpcore_transports.http1.body import BadBody
from mcpcore_transports.http1.format import error_response
from mcpcore_transports.http1.heads import BadHead, RequestHead
from mcpcore_transports.link import clock

if TYPE_CHECKING:
    from mcpcore.http.certificates import ClientCertificate
    from mcpcore_transports.http.server.asyncio_server import AsyncioServerLink
    from mcpcore_transports.http.server.protocol_stream import ProtocolStream

logger = logging.getLogger("mcpcore.http")


class Phase(Enum):
    """Phases of a connection."""

    OPENING = "opening"
    """Before the connection or its TLS is established."""
    HEAD = "head"
    """Between two requests, or within the head of one."""
    ASKING = "asking"
    """The head is complete; the request is being authenticated."""
    BODY = "body"
    REPLY = "reply"
    UPGRADED = "upgraded"
    """The connection has left HTTP, or may be about to."""
    LINGERING = "lingering"
    """The last reply is written; further input is discarded."""
    CLOSING = "closing"
    """The last bytes are being sent."""
    CLOSED = "closed"


# Bound once, as members of an Enum are slow to look up.
_HEAD, _REPLY, _LINGERING = Phase.HEAD, Phase.REPLY, Phase.LINGERING


class LivingProtocol(WireProtocol):
    """Connection with phases; ``deadline`` is the time at which its phase has taken too long.

    ``refusal``: message for a connection in excess of the limit, which is refused with it.
    """

    __slots__ = (
        "__weakref__",
        "_began",
        "_buffer",
        "_certificate",
        "_exchange",
        "_head",
        "_left",
        "_link",
        "_machine",
        "_overdue",
        "_phase",
        "_received",
        "_refusal",
        "_scope",
        "_settings",
        "_stream",
        "_woken",
        "_writing",
        "client",
        "deadline",
    )

    def __init__(self, link: "AsyncioServerLink", peer: str | None, refusal: str | None) -> None:
        super().__init__(link.inbox, link.ssl_context)
        self.deadline = clock() + link.settings.head_time
        self.client: str | None = quota_key(address_of(peer))
        """Client whose share of the connections this one counts for."""
        self._link = link
        self._machine = link.machine
        self._settings = link.settings
        self._refusal = refusal
        self._phase = Phase.OPENING
        self._certificate: ClientCertificate | None = None
        self._buffer = bytearray()
        self._exchange: Route | None = None
        self._head: RequestHead | None = None  # until its body is complete
        self._began = 0.0  # start of the body, and the bytes received of it
        self._received = 0
        self._overdue: str | None = None  # message of a 408 if the deadline passed now
        self._left = 0  # bytes that may still be discarded
        self._writing = False  # output of the machine is being taken, or is about to be
        self._woken = False  # the machine had something to write for this exchange
        self._stream: ProtocolStream | None = None  # set if it may have left HTTP
        self._scope: anyio.CancelScope | None = None  # of the task that it waits for

    def _advance(self) -> None:
        """Process the input, and the output of the machine, as far as possible."""
        raise NotImplementedError

    @property
    def idle(self) -> bool:
        """True between two requests, after the last reply was sent."""
        return self._phase in (Phase.OPENING, _HEAD) and not (self.blocked or self._buffer)

    def wake(self) -> None:
        """Write what the machine has to send for this connection's exchange."""
        self._woken = True
        if not self._writing:
            self._writing = True
            self._link.write_soon(self)

    def write_late(self) -> None:
        """Write output that was not ready, or could not be written, with its request."""
        if self._phase is _REPLY or self._phase is _HEAD:
            self._advance()

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        if self._overdue is not None and not self.blocked:  # else it is that of writing
            self._fail(BadHead(408, self._overdue), decoded=True)
        else:
            self.stop()

    def stop(self) -> None:
        """Close the connection at once."""
        if self.idle:  # else the client must see that it is cut off
            self.end_tls()
        self._gone()
        if self._transport is not None:
            self._transport.abort()

    def _gone(self) -> None:
        if self._phase is Phase.CLOSED:
            return
        self._phase = Phase.CLOSED
        if self._scope is not None:
            self._scope.cancel()
        self._leave()
        self._link.discard(self)

    def _leave(self) -> None:
        """Leave an exchange whose reply is not complete."""
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            self._link.unregister(exchange)
            if self._link.trace is not None:
                self._link.trace.left(exchange)
            self._machine.disconnect(exchange, now=clock())
            self._link.flush_soon()

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement :meth:`asyncio.BaseProtocol.connection_made`."""
        if self._phase is Phase.CLOSED:  # closed meanwhile
            transport.close()
        else:
            super().connection_made(transport)

    def _begin(self) -> None:
        self._phase = _HEAD
        if self._tls is not None:
            self._certificate = self._tls.certificate()
        if self._refusal is not None:
            self._fail(BadHead(503, self._refusal), decoded=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Implement :meth:`asyncio.BaseProtocol.connection_lost`."""
        if self._phase is Phase.UPGRADED and self._stream is not None:
            self._stream.lose(exc)  # the hook that has taken it over will close it
        else:
            self._gone()

    def _drop(self, size: int) -> bool:
        if self._phase is not _LINGERING:
            return False
        self._left -= size
        if self._left <= 0:
            self.stop()
        return True

    def pause_writing(self) -> None:
        """Implement :meth:`asyncio.BaseProtocol.pause_writing`: the system takes no more.

        Until it does, no input of the client moves the deadline.
        """
        self.blocked = True
        self.deadline = clock() + self._settings.write_time
        if self._phase is _LINGERING:
            self.pace()

    def resume_writing(self) -> None:
        """Implement :meth:`asyncio.BaseProtocol.resume_writing`: the system has taken all."""
        self.blocked = False
        phase, settings = self._phase, self._settings
        if self._stream is not None:
            self.deadline = math.inf
            self._stream.changed()
        elif phase is _HEAD or phase is _REPLY:
            self._overdue = None  # a head that has begun is looked at again
            self.deadline = clock() + settings.idle_time if phase is _HEAD else math.inf
            self._link.write_soon(self)  # asyncio does not allow closing here
        elif phase is Phase.BODY:
            self.deadline = settings.body_deadline(self._began, self._received)
        elif phase is Phase.ASKING:
            self.deadline = math.inf
        elif phase is _LINGERING:
            self.deadline = clock() + settings.linger_time
            self.pace()

    def pace(self) -> None:
        """Pause or resume reading by the room that is left."""
        if self._stream is not None:
            self._hold_back(self._stream.waiting >= SMALL_READ)
        elif self._phase is _LINGERING:
            self._hold_back(self.blocked)  # discarded bytes are counted once the reply is out
        else:
            busy = self.blocked or self._phase is _REPLY or self._phase is Phase.ASKING
            self._hold_back(busy and len(self._buffer) >= self._settings.read_ahead)

    # End of the connection

    def _fail(self, error: Exception, *, decoded: bool = False) -> None:
        """End the connection, with a refusal if ``error`` is the client's.

        Any other error is a fault of the driver and ends one connection, not all of them.
        ``decoded``: the refusal does not concern the head.
        """
        try:
            if isinstance(error, BadBody):
                error = BadHead(error.status, str(error))
            if isinstance(error, BadHead):
                if not decoded and self._exchange is None and self._link.trace is not None:
                    self._link.trace.undecodable(bytes(self._buffer))
                self._refuse(error)
                return
        except Exception as another:
            error = another
        logger.error("a connection failed", exc_info=error)
        self.stop()

    def _refuse(self, refusal: BadHead) -> None:
        """Answer a request that is malformed or incomplete; the data behind it is not read.

        A web page can read the reason if its Origin is known, which it is not if the head is
        refused.
        """
        head, trace = self._head, self._link.trace
        self._leave()
        if trace is not None:
            trace.refused(refusal.status, refusal.message)
        revision = None if head is None else head.revision
        extra = () if head is None else self._machine.readable(head.request)
        self._phase = _LINGERING
        self.transmit(error_response(refusal.status, refusal.message, revision, extra))
        self._linger()

    def _linger(self) -> None:
        """Let the client read the last reply, unless it has finished sending.

        It may still be sending, whichever side wants the end: closing with unread input would
        discard data that it has not received (RFC 9112 section 9.6).
        """
        if self._eof:
            self._close()
            return
        self._phase = _LINGERING
        self._head = self._overdue = None
        self._buffer.clear()
        self._left = self._settings.linger_bytes
        self.transmit(b"")
        if not self.blocked:
            self.deadline = clock() + self._settings.linger_time
        self.finish_sending()
        self.pace()

    def _close(self) -> None:
        if self._phase is Phase.CLOSED:
            return
        self._phase = Phase.CLOSING
        self._overdue = None
        if not self.blocked:
            self.deadline = clock() + self._settings.linger_time
        self.transmit(b"")
        self.end_tls()
        if self._transport is not None:
            self._transport.close()
