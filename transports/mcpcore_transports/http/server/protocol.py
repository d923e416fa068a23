"""TCP connection of the HTTP server as a protocol of asyncio: no task, timer or future.

The callbacks of the transport do the work that :mod:`mcpcore_transports.http.server.connection`
does in a task, in the same order: a request is parsed from the input and fed to the machine, and
the part of its reply that is ready is written at once.  Later output is written in the next turn of
the loop, together with that of other connections.  While a reply is awaited, a bounded amount is
read ahead.  Output of a stream is taken from the machine only as the client reads it.
"""

import asyncio
import math
import sys
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio

from mcpcore.http.headers import CONTENT_LENGTH
from mcpcore.http.messages import HttpReply
from mcpcore.http.principals import Principal, Refusal, Verdict
from mcpcore_transports.http.server.protocol_life import LivingProtocol, Phase
from mcpcore_transports.http.server.protocol_wire import SMALL_READ
from mcpcore_transports.http.server.reply import LOST, Reply
from mcpcore_transports.http1.body import ChunkedBody, LengthBody
from mcpcore_transports.http1.format import CONTINUE, PROCESSING, format_reply, format_response
from mcpcore_transports.http1.heads import HALF_A_LINE, BadHead, RequestHead
from mcpcore_transports.link import clock

if TYPE_CHECKING:
    from mcpcore_transports.http.server.asyncio_server import AsyncioServerLink
    from mcpcore_transports.http.server.protocol_stream import ProtocolStream

_SMALL = 16 * 1024
"""Maximum bytes of input that are checked for being one whole request."""
_FEW = 16
"""Maximum number of header lines of a head that a connection keeps, as it may be idle for long."""
_PROBES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between the probes of a client that has finished sending; then they end."""


_HEAD, _BODY, _REPLY = Phase.HEAD, Phase.BODY, Phase.REPLY


class HttpProtocol(LivingProtocol):
    """Connection that carries one exchange after the other."""

    __slots__ = (
        "_body",
        "_direct",
        "_last",
        "_peer",
        "_principal",
        "_probed",
        "_reply",
        "_rest",
    )

    def __init__(
        self, link: "AsyncioServerLink", peer: str | None, refusal: str | None = None
    ) -> None:
        super().__init__(link, peer, refusal)
        self._peer = peer
        self._last: RequestHead | None = None  # in case that the same comes again
        self._principal: Verdict | None = None
        self._body: ChunkedBody | LengthBody | None = None
        self._reply: Reply | None = None
        self._probed: Reply | None = None  # the last one for which the client was probed
        self._rest: bytes | memoryview = b""  # of a reply that the machine has forgotten
        # No hook and no trace need the request first.
        self._direct = link.trace is None and link.settings.authenticate is None

    # Callbacks of the transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Implement :meth:`asyncio.BufferedProtocol.get_buffer`."""
        return self._link.small_inbox if self._phase is _HEAD else super().get_buffer(sizehint)

    def _room(self) -> int:
        if self._phase is _REPLY or self._phase is Phase.ASKING:
            return max(self._settings.read_ahead - len(self._buffer), 1)
        if self._phase is _BODY and self._head is not None and self._head.length is not None:
            return max(self._head.length - self._received, SMALL_READ)
        return SMALL_READ

    def _receive(self, data: bytes | memoryview) -> None:
        if self._stream is not None:
            self._stream.feed(data)
            self.pace()
            return
        head = self._last
        if (
            head is not None
            and self._phase is _HEAD
            and self._direct
            and head.plain
            and len(data) <= _SMALL
            and not (self._buffer or self.blocked)
        ):
            # Most requests come in one piece, with (nearly) the same head as the one before.
            data = bytes(data)
            if len(data) - len(head.text) != head.length or not data.startswith(head.text):
                head = self._link.parser.next(head, data)
            if (
                head is not None
                and head.plain
                and len(data) - (size := len(head.text)) == head.length
            ):
                if len(head.request.headers) <= _FEW:
                    self._last = head
                try:
                    more = self._ask_whole(head, data[size:])
                except Exception as error:
                    self._fail(error)
                    return
                if more or self._paused:
                    self._advance()
                return
        if self._phase is _BODY:
            self._go_on(partial(self._read_body, data))
            return
        self._buffer += data
        self._advance()

    def _ended(self) -> None:
        if self._stream is not None:
            self._stream.feed_eof()
        elif self._phase in (Phase.OPENING, Phase.LINGERING):
            self._close()
        elif self._phase is _REPLY:
            if not self._rest:  # the client may wait only for that
                self._half_closed()
        else:
            self._advance()

    # Requests

    def _advance(self) -> None:
        """Process the input, and the output of the machine, as far as possible."""
        try:
            while self._step():
                pass
            if self._held:
                self.transmit(b"")
        except Exception as error:
            self._fail(error)
        if self._buffer or self._paused:
            self.pace()

    def _step(self) -> bool:
        phase = self._phase
        if phase is _HEAD:
            return self._read_head()
        if phase is _BODY:
            return self._read_body()
        return phase is _REPLY and self._reply_ready()

    def _read_head(self) -> bool:
        if self.blocked:
            if self._eof and not self._buffer:
                self._close()  # once the last bytes are out
            return False
        link, buffer = self._link, self._buffer
        scheme = "http" if self._tls is None else "https"
        head = link.parser.take(
            buffer, self._peer, scheme=scheme, certificate=self._certificate, last=self._last
        )
        if head is None:
            if self._eof and buffer:
                raise BadHead(400, "the connection ended within a head")
            if self._eof or (link.draining and not buffer):
                self._linger()
            elif buffer and self._overdue is None and buffer != HALF_A_LINE:
                self._overdue = "the head of the request took too long"
                self.deadline = clock() + self._settings.head_time
            return False
        self._overdue = None
        self._head = head
        self._last = head if len(head.request.headers) <= _FEW else None
        if head.upgrade and link.upgrade is not None:
            self._offer(head)
            return False
        return self._ask(head)

    def _ask(self, head: RequestHead) -> bool:
        """Authenticate the request if that is needed."""
        authenticate = self._settings.authenticate
        self._principal = None
        if authenticate is not None and self._machine.asks_who(head.request):
            from mcpcore_transports.http.server.identity import (
                ask,  # imported late: often not needed
            )

            asked = ask(authenticate, head.request)
            if not isinstance(asked, (Principal, Refusal)):
                self._phase = Phase.ASKING
                if not self.blocked:
                    self.deadline = math.inf  # the hook has a timeout of its own
                self._link.start(partial(self._learn, head, asked))
                return False
            self._principal = asked
        return self._open(head)

    async def _learn(self, head: RequestHead, asked: Awaitable[object]) -> None:
        from mcpcore_transports.http.server.identity import answer  # as above

        with anyio.CancelScope() as self._scope:
            self._principal = await answer(asked, self._settings.authenticate_time)
        self._scope = None
        if self._phase is Phase.ASKING:
            self._go_on(partial(self._open, head))

    def _go_on(self, step: "partial[bool]") -> None:
        """Run ``step``, and then go on as far as possible."""
        try:
            more = step()
        except Exception as error:
            self._fail(error)
            return
        if more or self._buffer or self._paused:
            self._advance()

    def _open(self, head: RequestHead) -> bool:
        """Feed a request to the machine, with as much of its body as was received."""
        link, machine, buffer = self._link, self._machine, self._buffer
        length = head.length
        if head.plain and length is not None and length <= len(buffer) and link.trace is None:
            data = bytes(buffer[:length])
            del buffer[:length]
            return self._ask_whole(head, data)
        reply = self._reply = Reply(head)
        self._woken = False
        self._writing = True  # output that is ready at once is written below
        now = clock()
        exchange = self._exchange = link.register(self)
        if link.trace is not None:
            link.trace.asked(exchange, head.request)
        wanted = machine.open(exchange, head.request, principal=self._principal, now=now)
        if length is not None and length <= len(buffer):
            data = bytes(buffer[:length])
            del buffer[:length]
            if wanted:
                if link.trace is not None:
                    link.trace.request_body(exchange, data, end=True)
                machine.body(exchange, data, end=True, now=now)
        elif wanted:
            self._phase = _BODY
            self._body = ChunkedBody(trailers=False) if length is None else LengthBody(length)
            self._overdue = "the body of the request took too long"
            self._began, self._received = now, 0
            if head.expects_continue and not buffer:
                self.transmit(CONTINUE)
            return self._read_body()
        else:
            reply.close = True
        return self._answer()

    def _ask_whole(self, head: RequestHead, body: bytes) -> bool:
        """Feed a complete request to the machine; mostly the whole reply is ready at once."""
        link, machine = self._link, self._machine
        self._phase = _REPLY
        self._writing = True
        self._woken = False
        exchange = self._exchange = link.register(self)
        machine.ask(exchange, head.request, body, principal=self._principal, now=clock())
        link.handle_events()
        if not (self.blocked or link.draining):
            whole = machine.whole_reply(exchange, sys.maxsize)
            if whole is not None:
                self._head = None
                return self._write_whole(whole)
        self._reply = Reply(head)
        if machine.pending or self.blocked or self._eof or link.draining:
            return self._answer()
        self._head = None
        self.deadline = math.inf
        self._writing = False  # a handler is at work
        link.keep_time()
        return False

    def _read_body(self, data: bytes | memoryview = b"") -> bool:
        """Feed the body to the machine: the buffered input and ``data`` behind it."""
        body, exchange, reply, link = self._body, self._exchange, self._reply, self._link
        assert body is not None and exchange is not None and reply is not None  # noqa: S101, PT018
        data = body.feed(self._buffer, data)
        ahead = body.announced
        if link.trace is not None:
            link.trace.request_body(exchange, data, end=body.done)
        if data or ahead or body.done:
            self._machine.body(exchange, data, end=body.done, announced=ahead, now=clock())
        if body.done:
            return self._answer()
        self._received += len(data)
        if not self.blocked:
            self.deadline = self._settings.body_deadline(self._began, self._received)
        if data or ahead:
            link.flush_soon()
            if self._woken:
                # Answered before its end, as too large for instance: the rest is not read.
                reply.close = True
                return self._answer()
        if self._eof:
            raise BadHead(400, "the connection ended within a body")
        return False

    def _answer(self) -> bool:
        """Pass the complete request to the application, and write the output that is ready."""
        self._phase = _REPLY
        self._head = self._body = self._overdue = None
        if not self.blocked:
            self.deadline = math.inf
        self._link.flush_soon()
        return self._reply_ready()

    # Replies

    def _reply_ready(self) -> bool:
        """Write the output of the machine; return True if another request may follow."""
        if self._rest:
            return self._write_rest()
        link, reply = self._link, self._reply
        assert reply is not None  # noqa: S101 - made with the exchange
        while self._exchange is not None:
            if self.blocked:
                return False  # it goes on in resume_writing()
            reply.close = reply.close or link.draining
            if reply.may_be_whole and link.trace is None:
                whole = self._machine.whole_reply(self._exchange, sys.maxsize)
                if whole is not None:
                    return self._write_whole(whole)
            items = self._machine.data_to_send(self._exchange, self._settings.write_size)
            if not items:
                break
            if link.trace is not None:
                link.trace.replied(items)
            data = reply.encode(items)
            if reply.complete:
                link.unregister(self._exchange)
                self._exchange = None
            if reply.complete:
                self._write_reply(data)
            else:
                self.transmit(data)
            if link.draining or self._machine.pending:
                link.flush_soon()  # senders that waited for room have some now
            else:
                if self._machine.timed:
                    link.keep_time()
                break  # that was all there is
        self._writing = False
        if self._exchange is not None:
            if self._eof and self._probed is not reply:
                self._half_closed()
        elif reply.close:
            self._linger()
        else:
            return self._next()
        return False

    def _write_whole(self, whole: HttpReply) -> bool:
        """Write a complete reply of the machine; return True if another request may follow."""
        link, machine = self._link, self._machine
        link.unregister(whole.exchange)
        self._exchange = None
        self._writing = False
        if len(whole.body) > self._settings.write_size:
            length = (CONTENT_LENGTH, b"%d" % len(whole.body))
            self._held += format_response(whole.status, (*whole.headers, length))
            self._rest = memoryview(whole.body)
            self._reply = None  # no interim response may follow
            more = self._write_rest()
        else:
            self._write_reply(format_reply(whole))
            more = self._next()
        if machine.pending:
            link.flush_soon()
        elif machine.timed:
            link.keep_time()
        return more

    def _write_rest(self) -> bool:
        """Go on with a large reply; return True if it is written and another request may follow.

        After each ``write_size`` bytes that the system does not take at once, the rest waits for
        the client.
        """
        rest, size = self._rest, self._settings.write_size
        while rest:
            if self.blocked or self._transport is None or self._transport.is_closing():
                self._rest = rest
                return False  # it goes on in resume_writing(), unless the client is gone
            self.transmit(rest[:size])
            rest = rest[size:]
        self._rest = b""
        if self._link.draining:
            self._linger()
            return False
        return self._next()

    def _write_reply(self, data: bytes) -> None:
        """Write the end of a reply, or all of it; with the next if its request is there."""
        if self._buffer and len(data) < SMALL_READ > len(self._held):
            self._held += data
        else:
            self.transmit(data)

    def _next(self) -> bool:
        """Wait for another request after a reply; return True if there is input for it."""
        self._phase = _HEAD
        if not self.blocked:
            self.deadline = clock() + self._settings.idle_time
        return bool(self._buffer) or self._eof or self._link.draining

    def _half_closed(self) -> None:
        """Probe a client that sends no more: only writing shows if it still listens.

        ``shutdown(SHUT_WR)`` and ``close()`` look the same from here.  A client that closed answers
        an interim response with a reset; one that listens must ignore it (RFC 9110 section 15.2).
        """
        reply = self._reply
        assert reply is not None  # noqa: S101 - one is awaited
        if self._tls is not None or not reply.may_interject:
            if not self._writing:  # the client may wait only for the data being written
                self.stop()
            return
        reply.close = reply.close or not self._buffer  # else there is another request
        self._probed = reply
        self._probe(reply, _PROBES)

    def _probe(self, reply: Reply, delays: tuple[float, ...]) -> None:
        waits = self._phase is _REPLY and self._reply is reply
        if not waits or not delays or not reply.may_interject:
            return  # if it leaves now, writing the reply will fail
        if not self.blocked:
            self.transmit(PROCESSING)
        asyncio.get_running_loop().call_later(delays[0], self._probe, reply, delays[1:])

    # Upgrade to another protocol

    def _offer(self, head: RequestHead) -> None:
        """Offer the connection to the upgrade hook, in a task."""
        self._phase = Phase.UPGRADED
        self.deadline = math.inf
        from mcpcore_transports.http.server.protocol_stream import (
            ProtocolStream,  # few are upgraded
        )

        self._stream = ProtocolStream(self, secure=self._tls is not None)
        if self._eof:
            self._stream.feed_eof()
        self._link.start(partial(self._hand_over, head, self._stream))

    async def _hand_over(self, head: RequestHead, stream: "ProtocolStream") -> None:
        upgrade, taken = self._link.upgrade, True
        assert upgrade is not None  # noqa: S101 - asked before
        try:
            with anyio.CancelScope() as self._scope, suppress(*LOST):
                taken = await upgrade(stream, head.request, bytes(self._buffer))
        finally:
            self._scope = None
            if taken or stream.lost:
                self.stop()
        if self._phase is Phase.UPGRADED:
            self._phase = Phase.ASKING
            self._stream = None
            self._buffer += stream.reclaim()
            self._go_on(partial(self._ask, head))
