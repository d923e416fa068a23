"""TCP connection of the HTTP server: requests in, one after the other, replies out.

The task of the connection reads a request, feeds it to the machine and writes the reply if that is
ready at once, as it is when the handler is synchronous.  Later output is written by a second task,
which the link lends while there is something to write.  Meanwhile the first task goes on reading:
it notices when the client leaves, and buffers a bounded amount of data that the client sends ahead.
"""

import logging
import math
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from mcpcore.engine.events import Route
from mcpcore.http.certificates import ClientCertificate
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Verdict, address_of, quota_key
from mcpcore_transports.http.server.descriptor import Descriptor, descriptor_of, write_some
from mcpcore_transports.http.server.reply import LOST, Reply, linger, refuse
from mcpcore_transports.http1.body import BadBody, ChunkedBody, LengthBody
from mcpcore_transports.http1.format import CONTINUE, PROCESSING
from mcpcore_transports.http1.heads import HALF_A_LINE, BadHead, RequestHead
from mcpcore_transports.link import clock
from mcpcore_transports.stream.secure import SecureStream
from mcpcore_transports.tls import client_certificate

if TYPE_CHECKING:
    from mcpcore_transports.http.server.anyio_server import HttpServerLink

logger = logging.getLogger("mcpcore.http")

Upgrade = Callable[[ByteStream, HttpRequest, bytes], Awaitable[bool]]
"""Hook that takes over a connection whose client asks for another protocol.

It gets the stream, the request and the data that was read behind it.  It has to check itself that
the client may leave HTTP.  It returns when the connection may be closed; False, with nothing read
or written, leaves the request to plain HTTP.
"""

_SMALL_READ = 64 * 1024
_LARGE_READ = 256 * 1024
"""Maximum bytes of one read of a body, and no more than the rest of it unless that is small.

Streams on asyncio have read as much by themselves.
"""
_PROBES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between the probes of a client that has finished sending; then they end."""


class ServerConnection:
    """Server connection; ``deadline`` is the time at which its current step has taken too long."""

    __slots__ = (
        "_buffer",
        "_certificate",
        "_ended",
        "_exchange",
        "_expired",
        "_lingers",
        "_link",
        "_machine",
        "_overdue",
        "_parting",
        "_peer",
        "_reading",
        "_reply",
        "_rest",
        "_scope",
        "_settings",
        "_socket",
        "_stream",
        "_upgraded",
        "_watching",
        "_woken",
        "_writer",
        "_writing",
        "client",
        "deadline",
    )

    def __init__(self, link: "HttpServerLink", stream: ByteStream, peer: str | None) -> None:
        self.deadline = clock() + link.settings.head_time
        self._link = link
        self._machine = link.machine
        self._settings = link.settings
        self._stream = stream
        self._socket: Descriptor | None = None  # set at the first use
        self._rest = b""  # of the data that was to be written at once
        self._buffer = bytearray()
        self._peer = peer
        self.client: str | None = quota_key(address_of(peer))
        """Client whose share of the connections this one counts for."""
        self._exchange: Route | None = None
        self._reply: Reply | None = None
        self._scope = anyio.CancelScope()
        self._expired = False
        self._overdue: str | None = None  # message of a 408 if the deadline passed now
        self._reading: RequestHead | None = None  # its body is being received
        self._certificate: ClientCertificate | None = None
        self._upgraded = False
        self._parting = False  # the client sends no more: close when nothing is being written
        self._ended = False  # the client sends no more; there may be requests in the buffer
        self._lingers = False  # the last reply is sent, and further input is not read
        self._writing = False  # a task is taking from the machine, or is about to
        self._woken = False  # the machine had something to write for this exchange
        self._writer: anyio.CancelScope | None = None  # of the task that is lent at present
        self._watching: anyio.CancelScope | None = None

    @property
    def idle(self) -> bool:
        """True between two requests, after the last reply was sent."""
        return not (self._exchange or self._writing or self._buffer or self._upgraded)

    @property
    def _scheme(self) -> str:
        return "https" if isinstance(self._stream, TLSStream) else "http"

    def stop(self) -> None:
        """Close the connection at once."""
        self._scope.cancel()

    def expire(self) -> None:
        """Handle a deadline that has passed."""
        self._expired = True
        self._scope.cancel()

    def wake(self) -> None:
        """Write what the machine has to send for this connection's exchange."""
        self._woken = True
        if self._writing:
            return
        self._writing = True
        self._link.writers.run(self._write_late, self._write_at_once)

    async def run(self, ssl_context: ssl.SSLContext | None) -> None:
        """Serve the connection until it ends."""
        refusal: BadHead | None = None
        try:
            with self._scope:
                try:
                    if ssl_context is not None:
                        self._stream = await SecureStream.wrap(
                            self._stream,
                            server_side=True,
                            ssl_context=ssl_context,
                            standard_compatible=False,
                        )
                        self._certificate = client_certificate(self._stream)
                    await self._serve()
                except BadHead as error:
                    refusal = error
                    if self._link.trace is not None and self._exchange is None:
                        self._link.trace.undecodable(bytes(self._buffer))
                except BadBody as error:
                    refusal = BadHead(error.status, str(error))
                except LOST:
                    pass
            if self._expired and self._overdue is not None:
                refusal = BadHead(408, self._overdue)
            self._leave()
            if refusal is not None:
                await self._refuse(refusal)
            elif self._lingers:
                self._buffer.clear()
                await linger(self._stream, self._settings)
        finally:
            self._leave()
            if self._writer is not None:
                self._writer.cancel()
            reply, stream = self._reply, self._stream
            broken_off = reply is not None and reply.begun and not reply.complete
            if broken_off and isinstance(stream, SecureStream):
                stream.cut_off()  # a body that ends with the connection must not look complete
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    # Requests

    async def _serve(self) -> None:
        upgrade = self._link.upgrade
        while (head := await self._next_head()) is not None:
            if head.upgrade and upgrade is not None:
                self.deadline = math.inf
                self._upgraded = True
                if await upgrade(self._stream, head.request, bytes(self._buffer)):
                    return
                self._upgraded = False
            reply = await self._take_in(head)
            del head  # not to be held for as long as the handler works
            await self._drain()
            # A client that has the end of a reply may send a request before the writing task goes
            # on.
            while self._writing or not reply.complete:
                await self._watch(reply)
            if reply.close or self._link.draining:
                break
        self._finish()

    async def _next_head(self) -> RequestHead | None:
        """Read the next head; return None at the end of the stream, or if the link is draining."""
        buffer = self._buffer
        started = False
        while True:
            head = self._link.parser.take(
                buffer, self._peer, scheme=self._scheme, certificate=self._certificate
            )
            if head is not None:
                self._overdue = None
                return head
            if buffer:
                if not started and buffer != HALF_A_LINE:
                    started = True
                    self._overdue = "the head of the request took too long"
                    self.deadline = clock() + self._settings.head_time
            elif self._link.draining:
                return None
            try:
                buffer += await self._stream.receive()
            except anyio.EndOfStream:
                self._ended = True
                if buffer:
                    raise BadHead(400, "the connection ended within a head") from None
                return None

    async def _take_in(self, head: RequestHead) -> Reply:
        """Feed a request to the machine; the caller writes the part of its reply that is ready."""
        reply = self._reply = Reply(head)
        principal: Verdict | None = None
        self._writing = True  # this task writes the data that is ready at once
        if self._settings.authenticate is not None:
            self.deadline = math.inf  # the hook has a timeout of its own
            principal = await self._link.identify(head.request)
        self._woken = self._parting = False
        exchange = self._exchange = self._link.register(self)
        if self._link.trace is not None:
            self._link.trace.asked(exchange, head.request)
        if self._machine.open(exchange, head.request, principal=principal, now=clock()):
            await self._read_body(head, exchange, reply)
        elif head.length is not None and head.length <= len(self._buffer):
            del self._buffer[: head.length]
        else:
            reply.close = True
        self.deadline = math.inf
        self._overdue = None
        self._link.flush_soon()
        return reply

    async def _read_body(self, head: RequestHead, exchange: Route, reply: Reply) -> None:
        buffer = self._buffer
        body: ChunkedBody | LengthBody
        body = ChunkedBody(trailers=False) if head.length is None else LengthBody(head.length)
        self._overdue = "the body of the request took too long"
        self._reading = head
        began, received = clock(), 0
        data = b""
        self.deadline = self._settings.body_deadline(began, received)
        if head.expects_continue and not buffer:
            await self._stream.send(CONTINUE)
        while True:
            data = body.feed(buffer, data)
            ahead = body.announced
            if self._link.trace is not None:
                self._link.trace.request_body(exchange, data, end=body.done)
            if data or ahead or body.done:
                self._machine.body(exchange, data, end=body.done, announced=ahead, now=clock())
            if body.done:
                self._reading = None
                return
            received += len(data)
            self.deadline = self._settings.body_deadline(began, received)
            if data or ahead:
                self._link.flush_soon()
                if self._woken:
                    # Answered before its end, as too large for instance: the rest is not read.
                    reply.close = True
                    self._reading = None
                    return
            left = ahead if head.length is None else head.length - received
            try:
                data = await self._stream.receive(min(max(left, _SMALL_READ), _LARGE_READ))
            except anyio.EndOfStream:
                raise BadHead(400, "the connection ended within a body") from None

    async def _watch(self, reply: Reply) -> None:
        """Read ahead and notice when the client leaves, while a reply is awaited."""
        if not (self._buffer or self._ended):
            try:
                self._buffer += await self._stream.receive(self._settings.read_ahead)
            except anyio.EndOfStream:
                self._ended = True
            return
        with anyio.CancelScope() as self._watching:  # a request may wait for this one's end
            if self._ended:
                await self._half_closed(reply)
            elif (room := self._settings.read_ahead - len(self._buffer)) > 0:
                try:
                    self._buffer += await self._stream.receive(room)
                except anyio.EndOfStream:
                    self._ended = True
            else:
                await anyio.sleep_forever()
        self._watching = None

    async def _half_closed(self, reply: Reply) -> None:
        """Probe a client that sends no more: only writing shows if it still listens.

        ``shutdown(SHUT_WR)`` and ``close()`` look the same from here.  A client that closed answers
        an interim response with a reset; one that listens must ignore it (RFC 9110 section 15.2).
        """
        reply.close = reply.close or not self._buffer  # else there is another request
        if isinstance(self._stream, TLSStream) or not reply.may_interject:
            if not self._writing:
                raise anyio.EndOfStream
            self._parting = True
            await anyio.sleep_forever()  # the client may wait only for the data being written
        for delay in _PROBES:
            if not self._writing and reply.may_interject:
                self._writing = True
                await self._send(PROCESSING)
                await self._drain()
            if self._exchange is None:
                return
            await anyio.sleep(delay)
        await anyio.sleep_forever()  # if it leaves now, writing the reply will fail

    # Replies

    def _write_at_once(self) -> bool:
        """Write output without waiting, as far as possible; return True if all was written.

        The stream itself buffers nothing: a task that writes to it holds ``_writing`` until all is
        taken.
        """
        if self._socket is None:
            if not isinstance(self._stream, TLSStream):
                self._socket = descriptor_of(self._stream)
            if self._socket is None:
                return False
        try:
            while not self._rest and self._exchange is not None:
                data = self._take(self._exchange)
                if not data:
                    break
                self._rest = data[write_some(self._socket, data) :]
        except Exception:  # a fault of the driver ends one connection, not the handler
            logger.exception("a connection failed")
            self._scope.cancel()
        if self._rest:
            return False
        self._writing = False
        if self._exchange is None:
            self.deadline = clock() + self._settings.idle_time
        if self._exchange is None or self._parting:
            self._release_reader()
        return True

    async def _write_late(self) -> None:
        """Write output that was not ready when its request had been read."""
        try:
            with anyio.CancelScope() as self._writer:
                await self._drain()
            self._writer = None
        except LOST:
            self._scope.cancel()  # the reader's, and with it the connection
        except BaseException:
            self._scope.cancel()
            raise
        if self._exchange is None or self._parting:
            self._release_reader()

    def _release_reader(self) -> None:
        """Wake the reader after a reply was written, or as much of it as there was."""
        if self._exchange is not None:
            self._scope.cancel()  # a client that has left does not wait for the rest
        elif self._reply is None or self._reply.close or self._link.draining:
            self._finish()
            self._scope.cancel()
        elif self._buffer and self._watching is not None:
            self._watching.cancel()

    def _finish(self) -> None:
        """Mark the connection for a lingering close after the last reply.

        The client may still be sending, whichever side wants the end.  Closing with unread input
        would discard data that the client has not received (RFC 9112 section 9.6).
        """
        self._lingers = not self._ended

    async def _drain(self) -> None:
        """Write the output of the machine for this exchange until there is no more."""
        try:
            if self._rest:
                rest, self._rest = self._rest, b""
                await self._send(rest)
            while self._exchange is not None and (data := self._take(self._exchange)):
                await self._send(data)
        finally:
            self._writing = False
        if self._exchange is None:
            self.deadline = clock() + self._settings.idle_time

    def _take(self, exchange: Route) -> bytes:
        reply = self._reply
        assert reply is not None  # noqa: S101 - made with the exchange
        reply.close = reply.close or self._link.draining
        whole = None
        if reply.may_be_whole and self._link.trace is None:
            whole = self._machine.whole_reply(exchange, sys.maxsize)
        if whole is not None:
            data = reply.encode_whole(whole)
        else:
            items = self._machine.data_to_send(exchange, self._settings.write_size)
            if not items:
                return b""
            if self._link.trace is not None:
                self._link.trace.replied(items)
            data = reply.encode(items)
        if reply.complete:
            self._exchange = None
            self._link.unregister(exchange)
        if self._link.draining or self._machine.pending:
            self._link.flush_soon()  # senders that waited for room have some now
        elif self._machine.timed:
            self._link.keep_time()
        return data

    async def _send(self, data: bytes) -> None:
        size = self._settings.write_size
        for start in range(0, len(data), size):
            self.deadline = clock() + self._settings.write_time
            await self._stream.send(data if len(data) <= size else data[start : start + size])
        self.deadline = math.inf

    # End of the connection

    async def _refuse(self, refusal: BadHead) -> None:
        """Answer a request that is malformed or incomplete; the data behind it is not read.

        A web page can read the reason if its Origin is known, which it is not if the head is
        refused.
        """
        head, machine = self._reading, self._machine
        if self._link.trace is not None:
            self._link.trace.refused(refusal.status, refusal.message)
        revision = None if head is None else head.revision
        extra = () if head is None else machine.readable(head.request)
        await refuse(
            self._stream,
            refusal.status,
            refusal.message,
            revision,
            extra,
            settings=self._settings,
        )

    def _leave(self) -> None:
        """Leave an exchange whose reply is not complete."""
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            self._link.unregister(exchange)
            if self._link.trace is not None:
                self._link.trace.left(exchange)
            self._machine.disconnect(exchange, now=clock())
            self._link.flush_soon()
