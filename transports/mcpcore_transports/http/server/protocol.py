"""TCP connection of the HTTP server as a protocol of asyncio: no task, timer or future.

Between the bytes and two machines: :class:`~mcpcore_transports.http1.connection.Http1Server`, which
knows HTTP/1.1, and :class:`~mcpcore.HttpServer`, which knows MCP.  The callbacks of the
transport process input and write the output at once.  Later output is written in the next turn of
the loop, together with that of other connections.  Output of a stream is taken only as the client
reads it.  Without asyncio a :class:`~mcpcore_transports.http.server.listening.StreamTransport` is
the transport.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from mcpcore.engine.events import Route
from mcpcore.http import principals
from mcpcore.http.messages import HttpReply, HttpRequest
from mcpcore.spec.refusals import OVERLOADED, TOO_SLOW
from mcpcore_transports.http1.body import BadHead
from mcpcore_transports.http1.connection import SMALL_READ, Http1Server, Http1State
from mcpcore_transports.http1.heads import RequestHead
from mcpcore_transports.link import LOST, clock

if TYPE_CHECKING:  # late: an ASGI application has none
    from mcpcore_transports.http.server.host import HttpHost
    from mcpcore_transports.http.server.listening import HttpServerLink  # has these connections
    from mcpcore_transports.tls import ServerTls

logger = logging.getLogger("mcpcore.http")

Upgrade = Callable[[ByteStream, HttpRequest, bytes], Awaitable[bool]]
"""Hook that takes over a connection whose client asks for another protocol.

It gets the stream, the request and the data that was read behind it.  It has to check itself that
the client may leave HTTP.  It returns when the connection may be closed; False, with nothing read
or written, leaves the request to plain HTTP.
"""

_UNTAKEN = 64 * 1024
"""Maximum bytes of TLS's own messages to a client that takes nothing."""
# Bound once, as members of an Enum are slow to look up.
_HEAD, _BODY, _REPLY = Http1State.HEAD, Http1State.BODY, Http1State.REPLY
_LINGERING = Http1State.LINGERING


class HttpProtocol(asyncio.BufferedProtocol):
    """Connection that carries one exchange after the other.

    All connections read into the same ``link.inbox``.
    """

    __slots__ = (
        "_asked",
        "_exchange",
        "_gone",
        "_held",
        "_host",
        "_http",
        "_link",
        "_machine",
        "_paused",
        "_principal",
        "_probing",
        "_refusal",
        "_scope",
        "_sent_end",
        "_stream",
        "_tls",
        "_transport",
        "_woken",
        "_writing",
        "client",
    )

    def __init__(self, link: "HttpServerLink", peer: str | None) -> None:
        self.client: str | None = principals.quota_key(principals.address_of(peer))
        """Client whose share of the connections this one counts for."""
        self._refusal: str | None = None  # of a connection in excess of the limit
        self._link = link
        self._host: HttpHost = link  # of the present exchange, or of the last one
        self._machine = link.machine  # of that host
        self._http = Http1Server(link.parser, link.settings, peer, clock())
        self._transport: asyncio.Transport | None = None
        self._tls = None
        if link.ssl_context is not None:
            from mcpcore_transports.tls import ServerTls  # few servers have TLS themselves

            self._tls = ServerTls(link.ssl_context)
        self._exchange: Route | None = None  # its reply is not complete
        self._writing = False  # output of the machine is being taken, or is about to be
        self._woken = False  # the machine had something to write for this exchange
        self._held = b""  # output to be written
        self._asked: Awaitable[object] | None = None  # of the hook that authenticates the request
        self._principal: principals.Verdict | None = None
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
    def idle(self) -> bool:
        """Implement ``Carrier.idle``."""
        return self._http.idle

    def wake(self) -> None:
        """Implement ``Carrier.wake``."""
        self._woken = True
        if not self._writing:
            self._writing = True
            self._link.write_soon(self)

    def expire(self) -> None:
        """Implement ``Carrier.expire``."""
        overdue = self._http.overdue
        if overdue is None:
            self.stop()
        else:
            self._refuse(BadHead(overdue, TOO_SLOW))
            self._write()

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
            self._end_exchanges()
            self._link.discard(self)
            if self._refusal is not None:
                self._link.turned_away -= 1

    def turn_away(self, message: str) -> None:
        """Refuse the connection, which is in excess of the limit, once it is established."""
        self._refusal, self.client = message, None
        self._link.turned_away += 1

    # Callbacks of the transport: input

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement :meth:`asyncio.BaseProtocol.connection_made`."""
        if self._gone:  # closed meanwhile
            transport.close()
            return
        self._transport = made = cast(asyncio.Transport, transport)
        made.set_write_buffer_limits(0)  # makes pause_writing() report any unsent byte
        if self._tls is None:
            self._begin(None)

    def _begin(self, certificate: principals.ClientCertificate | None) -> None:
        self._http.established(secure=self._tls is not None, certificate=certificate)
        if self._refusal is not None:
            self._refuse(BadHead(self._refusal, OVERLOADED))
            self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        """Implement :meth:`asyncio.BaseProtocol.connection_lost`."""
        if self._stream is not None and not self._gone:
            self._stream.lose(exc)  # the hook that has taken it over will close it
        else:
            self._leave()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Implement :meth:`asyncio.BufferedProtocol.get_buffer`."""
        http = self._http
        if http.state is _HEAD and not http.blocked:  # the usual case, without a call
            return self._link.small_inbox
        return self._link.inbox[: max(http.room, 1)]

    def buffer_updated(self, nbytes: int) -> None:
        """Implement :meth:`asyncio.BufferedProtocol.buffer_updated`."""
        data = self._link.inbox[:nbytes]
        if self._tls is None:
            self._receive(data)
        else:
            self.receive(data)

    def receive(self, data: bytes | memoryview) -> None:
        """Take in what was received, through TLS if there is any."""
        if self._tls is None or self._http.state is _LINGERING:
            self._receive(data)
        else:
            self._decrypt(self._tls, data)

    def _decrypt(self, tls: "ServerTls", data: bytes | memoryview) -> None:
        established = tls.established
        try:
            plain = tls.receive(data)
        except ssl.SSLError:
            self._send(tls.pending())  # the alert that tells the client the reason
            self._http.close(clock())
            self._write()
            return
        if said := tls.pending():
            self._send(said)
            # Each key update of a client may request one in return, without end.
            tls.untaken = tls.untaken + len(said) if self._http.blocked else 0
            if tls.untaken > _UNTAKEN:
                self.stop()
                return
        if tls.established and not established:
            self._begin(tls.certificate())
        if plain:
            self._receive(plain)
        if tls.over:
            self.eof_received()

    def _receive(self, data: bytes | memoryview) -> None:
        if self._stream is not None:
            self._stream.feed(data)
            self.pace()
            return
        http = self._http
        try:
            if http.state is _BODY:
                self._read_body(data)
            else:
                http.feed(data)
        except Exception as error:
            self._fail(error)
        self._write()

    def eof_received(self) -> bool:
        """Implement :meth:`asyncio.BufferedProtocol.eof_received`; output remains possible."""
        http = self._http
        if self._stream is not None:
            http.ended = True
            self._stream.feed_eof()
            return True
        if not http.ended and http.state is not Http1State.CLOSED:
            http.end_input(clock())
            if http.state is _REPLY:
                self._check_half_closed()
        self._write()
        return True

    def pace(self) -> None:
        """Pause or resume reading by the room that is left."""
        stream = self._stream
        full = not self._http.room if stream is None else len(stream.received) >= SMALL_READ
        if full is self._paused or self._transport is None or self._transport.is_closing():
            return
        self._paused = full
        if full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # Requests

    def _take_head(self) -> bool:
        http, link = self._http, self._link
        if not (http.buffer or http.ended or link.draining):
            return False
        if http.blocked:
            if http.ended and not http.buffer:
                http.close(clock())
            return False
        head = http.next_head(clock(), link.draining)
        if head is None:
            return False
        if link.ending:
            http.keep_alive = False
        if head.upgrade and link.upgrade is not None:
            http.switch()
            return False
        if link.beside or link.settings.authenticate is not None:
            return self._ask(head)
        return self._open(head)

    def _ask(self, head: RequestHead) -> bool:
        """Choose the host of the request, and authenticate it if that is needed."""
        link = self._link
        if link.beside:
            self._host = link.beside.get(head.request.path, link)
            self._machine = self._host.machine
        authenticate = link.settings.authenticate
        self._principal = None
        if authenticate is not None and self._machine.asks_who(head.request):
            from mcpcore_transports.http.server.identity import ask  # often not needed

            asked = ask(authenticate, head.request)
            if not isinstance(asked, (principals.Principal, principals.Refusal)):
                self._asked = asked
                return False
            self._principal = asked
        return self._open(head)

    async def _identify(self, asked: Awaitable[object]) -> None:
        """Wait for the outcome of the hook, and open the exchange."""
        from mcpcore_transports.http.server.identity import answer  # as above

        with anyio.CancelScope() as self._scope:
            self._principal = await answer(asked, self._link.settings.authenticate_time)
            head = self._http.head
            if self._http.state is Http1State.HELD and head is not None:
                try:
                    self._open(head)
                except Exception as error:
                    self._fail(error)
        self._scope = None
        self.write_late()

    def _open(self, head: RequestHead) -> bool:
        """Feed a request to the machine, with as much of its body as was received."""
        http, host, machine = self._http, self._host, self._machine
        ending = self._link.ending
        self._woken = False
        self._writing = True  # output that is ready at once is taken below
        now = clock()
        exchange = self._exchange = host.register(self, head.request)
        body = http.take_whole() if host.trace is None else None
        if body is None:
            if machine.open(exchange, head.request, principal=self._principal, now=now):
                self._held += http.begin_body(now)
                return self._read_body()
            http.skip_body()
            host.flush_soon()
            return True
        machine.ask(exchange, head.request, body, principal=self._principal, now=now)
        host.handle_events()
        if not (http.blocked or ending):  # mostly the whole reply is ready at once
            whole = machine.whole_reply(exchange)
            if whole is not None:
                return self._send_whole(whole)
        if machine.pending or http.blocked or http.ended or ending:
            host.flush_soon()
            return True
        self._writing = False  # a handler is at work
        host.keep_time()
        return False

    def _read_body(self, data: bytes | memoryview = b"") -> bool:
        """Feed the body to the machine: the buffered input and ``data`` behind it."""
        http, exchange, host = self._http, self._exchange, self._host
        assert exchange is not None  # noqa: S101 - made with the head
        now = clock()
        data, ahead, done = http.read_body(data, now)
        if host.trace is not None:
            host.trace.request_body(exchange, data, end=done)
        if data or ahead or done:
            self._machine.body(exchange, data, end=done, announced=ahead, now=now)
            host.flush_soon()
            if self._woken and not done:
                # Answered before its end, as too large for instance: the rest is not read.
                http.keep_alive = False
                http.answer()
        if http.state is _BODY:
            http.check_body()
            return False
        return True

    # Replies

    def _take_reply(self) -> bool:
        """Take output of the machine, unless the client takes none; True if there may be more."""
        http, host, machine, exchange = self._http, self._host, self._machine, self._exchange
        draining = self._link.draining
        if http.rest:
            return self._send_rest()
        if http.blocked or exchange is None:
            return False
        if draining:
            http.keep_alive = False
        if http.may_be_whole and host.trace is None:
            whole = machine.whole_reply(exchange)
            if whole is not None:
                return self._send_whole(whole)
        items = machine.data_to_send(exchange, host.settings.write_size)
        if items:
            if host.trace is not None:
                host.trace.replied(items)
            self._held += http.send(items, clock())
            if http.state is not _REPLY:
                host.unregister(exchange)
                self._exchange = None
                self._writing = False
            if draining or machine.pending:
                host.flush_soon()  # senders that waited for room have some now
                return http.state is _HEAD
            if machine.timed:
                host.keep_time()
        if self._exchange is None:
            return True
        self._writing = False  # that was all there is
        if http.ended:
            self._check_half_closed()
        return False

    def _send_whole(self, whole: HttpReply) -> bool:
        """Send a complete reply of the machine; return True if another request may follow."""
        http, host, machine = self._http, self._host, self._machine
        host.unregister(whole.exchange)
        self._exchange = None
        self._held += http.send_whole(whole, clock())
        if machine.pending:
            host.flush_soon()
        elif machine.timed:
            host.keep_time()
        if http.rest:
            return self._send_rest()
        self._writing = False
        return bool(http.buffer or http.ended or self._link.draining)

    def _send_rest(self) -> bool:
        """Go on with a large reply while the client takes it; then as :meth:`_send_whole`."""
        http, link = self._http, self._link
        while http.rest:
            if http.blocked or self._transport is None or self._transport.is_closing():
                return False  # it goes on in resume_writing(), unless the client is gone
            if link.draining:
                http.keep_alive = False
            data, self._held = self._held, b""
            rest = http.send_rest(clock())
            self.transmit(data + rest if data else rest)
        self._writing = False
        return bool(http.buffer or http.ended or link.draining)

    # Clients that send no more

    def _check_half_closed(self) -> None:
        """Stop if the client cannot be probed, and nothing is being written."""
        if self._exchange is None or self._http.probed or self._http.may_probe:
            return
        if not self._writing:  # else the client may wait only for the data being written
            self._end_exchanges()

    async def _probe(self, exchange: Route | None) -> None:
        """Probe the client until the reply begins or a probe fails."""
        while exchange == self._exchange and (made := self._http.probe()) is not None:
            self._held += made[0]
            self._write()
            await anyio.sleep(made[1])

    # Faults and the end of exchanges

    def _fail(self, error: Exception) -> None:
        """End the connection, with a refusal if ``error`` is the client's.

        Any other error is a fault of the driver and ends one connection, not all of them.
        """
        try:
            if isinstance(error, BadHead):
                if self._exchange is None and self._host.trace is not None:
                    self._host.trace.undecodable(bytes(self._http.buffer))
                self._refuse(error)
                return
        except Exception as another:
            error = another
        logger.error("a connection failed", exc_info=error)
        self._end_exchanges()

    def _refuse(self, refusal: BadHead) -> None:
        """Answer a request that is malformed or incomplete; the data behind it is not read.

        A web page can read the reason if its Origin is known, which it is not if the head is
        refused.
        """
        head, trace = self._http.head, self._host.trace
        self._disconnect()
        if trace is not None:
            trace.refused(refusal.row.status, refusal.message)
        extra = self._machine.readable(None if head is None else head.request)
        self._held += self._http.refuse(refusal, extra, clock())

    def _end_exchanges(self) -> None:
        """End at once, and leave an exchange whose reply is not complete."""
        self._http.stop()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            self._host.disconnect(exchange)

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
            self._write()

    def _write(self) -> None:
        """Go on as far as possible; then act on the state of the connection."""
        http = self._http
        while True:
            more = True
            try:
                while more and len(self._held) < SMALL_READ:
                    if http.state is _HEAD:
                        more = self._take_head()
                    elif http.state is _REPLY:
                        more = self._writing and self._take_reply()
                    else:
                        more = http.state is _BODY and self._read_body()
            except Exception as error:
                self._fail(error)
            data, self._held = self._held, b""
            if not data:
                break
            self._send(data if self._tls is None else self._tls.send(data))
            if http.blocked or not (self._writing or http.buffer):
                break
            if self._transport is None or self._transport.is_closing():
                break  # the client is gone
        state = http.state
        if state is not _HEAD and state is not _REPLY:
            self._follow(state)
        elif http.ended and self._exchange not in (None, self._probing) and http.may_probe:
            self._probing = self._exchange
            self._link.start(partial(self._probe, self._exchange))
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
        elif self._asked is not None:
            asked, self._asked = self._asked, None
            self._link.start(partial(self._identify, asked))

    def transmit(self, data: bytes | memoryview) -> None:
        """Write ``data``, through TLS if there is any."""
        if self._tls is not None:
            data = self._tls.send(data)
        self._send(data)

    def _send(self, data: bytes | memoryview) -> None:
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
        self._stream = ProtocolStream(self, secure=self._tls is not None)
        if self._http.ended:
            self._stream.feed_eof()
        self._link.start(partial(self._hand_over, self._stream))

    async def _hand_over(self, stream: "ProtocolStream") -> None:
        http, upgrade, taken = self._http, self._link.upgrade, True
        head = http.head
        assert head is not None and upgrade is not None  # noqa: S101, PT018 - it was offered
        try:
            with anyio.CancelScope() as self._scope, suppress(*LOST):
                taken = await upgrade(stream, head.request, bytes(http.buffer))
        finally:
            self._scope = None
            if taken or stream.lost is not None:
                self.stop()
        if self._gone:
            return
        self._stream = None
        http.decline(bytes(stream.received))
        try:
            self._ask(head)
        except Exception as error:
            self._fail(error)
        self._write()


class ProtocolStream(ByteStream):
    """Byte stream of a connection that has left HTTP."""

    def __init__(self, connection: HttpProtocol, *, secure: bool) -> None:
        self._connection = connection
        self._secure = secure
        self.received = bytearray()
        """Bytes that were received and not taken."""
        self._eof = False
        self.lost: Exception | None = None
        self._closed = False
        self._changed: anyio.Event | None = None  # while a task waits for it

    # Called by the connection

    def feed(self, data: bytes | memoryview) -> None:
        """Take received data."""
        self.received += data
        self.changed()

    def feed_eof(self) -> None:
        """Take the end of the input."""
        self._eof = True
        self.changed()

    def lose(self, error: Exception | None) -> None:
        """Take the loss of the connection."""
        self.lost = error or ConnectionResetError("the connection is lost")
        self.changed()

    def changed(self) -> None:
        """Wake the waiting task: there is data, room, or the end."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _wait(self) -> None:
        if self._changed is None:
            self._changed = anyio.Event()
        await self._changed.wait()

    # Stream interface

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Implement :meth:`anyio.abc.ByteReceiveStream.receive`."""
        await anyio.lowlevel.checkpoint()
        while not self.received:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._eof:
                raise anyio.EndOfStream
            if self.lost is not None:
                raise anyio.BrokenResourceError from self.lost
            await self._wait()
        data = bytes(self.received[:max_bytes])
        del self.received[:max_bytes]
        self._connection.pace()
        return data

    async def send(self, item: bytes) -> None:
        """Implement :meth:`anyio.abc.ByteSendStream.send`; wait until the data is taken."""
        await anyio.lowlevel.checkpoint()
        await self._room()
        self._connection.transmit(item)
        await self._room()

    async def _room(self) -> None:
        while True:
            if self._closed:
                raise anyio.ClosedResourceError
            if self.lost is not None:
                raise anyio.BrokenResourceError from self.lost
            if not self._connection.blocked:
                return
            await self._wait()

    async def send_eof(self) -> None:
        """Implement :meth:`anyio.abc.ByteStream.send_eof`.

        Raises NotImplementedError with TLS, which ends in both directions at once.
        """
        if self._secure:
            raise NotImplementedError
        self._connection.finish_sending()

    def beneath(self) -> "ProtocolStream":
        """Return the stream without TLS, for a caller that discards all further input."""
        self._secure = False
        self._connection.leave_tls()
        return self

    async def aclose(self) -> None:
        """Close at once; unread input is lost."""
        self._closed = True
        self._connection.end_tls()
        self._connection.stop()
        self.changed()
        await anyio.lowlevel.checkpoint()
