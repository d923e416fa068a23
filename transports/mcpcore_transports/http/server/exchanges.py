"""Exchanges of one HTTP/1.1 connection with the machine of the server, without I/O.

Between a driver, which moves bytes, and two machines: :class:`~mcpcore_transports.http1.server.
Http1Server`, which knows HTTP/1.1, and :class:`~mcpcore.http.HttpServer`, which knows MCP.
"""

import logging
import sys
from collections.abc import Awaitable

from mcpcore.engine.events import Route
from mcpcore.http.messages import HttpReply
from mcpcore.http.principals import Principal, Refusal, Verdict, address_of, quota_key
from mcpcore_transports.http.server.host import Carrier
from mcpcore_transports.http.server.listening import ListeningHost
from mcpcore_transports.http1.body import BadBody
from mcpcore_transports.http1.heads import BadHead, RequestHead
from mcpcore_transports.http1.server import SMALL_READ, Http1Server
from mcpcore_transports.http1.states import Http1State
from mcpcore_transports.link import clock

logger = logging.getLogger("mcpcore.http")

_SMALL = 16 * 1024
"""Maximum bytes of input that are checked for being one whole request."""
_HEAD, _BODY, _REPLY = Http1State.HEAD, Http1State.BODY, Http1State.REPLY


class Exchanges:
    """Exchanges of the connection ``carrier``, one after the other.

    A driver writes what :meth:`receive` returns, and then what :meth:`take` returns while that is
    anything.  Then it acts on ``http.state``.
    """

    __slots__ = (
        "_carrier",
        "_direct",
        "_held",
        "_link",
        "_machine",
        "_principal",
        "_settings",
        "_woken",
        "asked",
        "client",
        "exchange",
        "http",
        "writing",
    )

    def __init__(self, link: ListeningHost, carrier: Carrier, peer: str | None) -> None:
        self.http = Http1Server(link.parser, link.settings, peer, clock())
        self.client = quota_key(address_of(peer))
        """Client whose share of the connections this one counts for."""
        self.exchange: Route | None = None
        """Exchange whose reply is not complete."""
        self.writing = False
        """True while output of the machine is being taken, or is about to be."""
        self.asked: Awaitable[object] | None = None
        """Result to be awaited of the hook that authenticates the current request."""
        self._link = link
        self._carrier = carrier
        self._machine = link.machine
        self._settings = link.settings
        self._principal: Verdict | None = None
        self._held = b""  # output to be taken
        self._woken = False  # the machine had something to write for this exchange
        # No hook and no trace need the request first.
        self._direct = link.trace is None and link.settings.authenticate is None

    def wake(self) -> bool:
        """Note output of the machine; return True if the driver must begin to write it."""
        self._woken = True
        if self.writing:
            return False
        self.writing = True
        return True

    # Input

    def receive(self, data: bytes | memoryview) -> bytes:
        """Process input as far as possible; return the output to be written."""
        http = self.http
        state = http.state
        try:
            if state is _HEAD:
                if self._direct and len(data) <= _SMALL and not (http.buffer or http.blocked):
                    # Most requests come in one piece, like the one before.
                    data = bytes(data)
                    head = http.whole_request(data)
                    if head is not None:
                        if not self._ask_whole(head, data[len(head.text) :]):
                            data, self._held = self._held, b""
                            return data
                        return self.take()
                http.feed(data)
            elif state is _BODY:
                self._read_body(data)
            else:
                http.feed(data)
        except Exception as error:
            self._fail(error)
        return self.take()

    def end_input(self) -> bytes:
        """Handle the end of the client's input; return the output to be written."""
        if not self.http.ended and self.http.state is not Http1State.CLOSED:
            self.http.end_input(clock())
            if self.http.state is _REPLY:
                self._check_half_closed()
        return self.take()

    def take(self) -> bytes:
        """Go on as far as possible; return the output to be written, b"" if there is none."""
        try:
            while self._step() and len(self._held) < SMALL_READ:
                pass
        except Exception as error:
            self._fail(error)
        data, self._held = self._held, b""
        return data

    def _step(self) -> bool:
        """Take one step; return True if another may follow at once."""
        http = self.http
        state = http.state
        if state is _REPLY:
            return self.writing and self._take_reply()
        if state is _HEAD:
            return self._take_head()
        return state is _BODY and self._read_body()

    def _take_head(self) -> bool:
        http, link = self.http, self._link
        if not (http.buffer or http.ended or link.draining):
            return False
        if http.blocked:
            if http.ended and not http.buffer:
                http.close(clock())
            return False
        head = http.next_head(clock(), draining=link.draining)
        if head is None:
            return False
        if head.upgrade and link.upgrade is not None:
            http.switch()
            return False
        return self._ask(head)

    def decline(self, data: bytes) -> bytes:
        """Go on after the upgrade was not taken; ``data`` was received meanwhile."""
        http = self.http
        http.decline(data)
        try:
            assert http.head is not None  # noqa: S101 - it was offered
            self._ask(http.head)
        except Exception as error:
            self._fail(error)
        return self.take()

    def _ask(self, head: RequestHead) -> bool:
        """Authenticate the request if that is needed."""
        authenticate = self._settings.authenticate
        self._principal = None
        if authenticate is not None and self._machine.asks_who(head.request):
            from mcpcore_transports.http.server.identity import ask  # often not needed

            asked = ask(authenticate, head.request)
            if not isinstance(asked, (Principal, Refusal)):
                self.asked = asked
                return False
            self._principal = asked
        return self._open(head)

    async def identify(self, asked: Awaitable[object]) -> None:
        """Wait for the outcome of the hook, and open the exchange."""
        from mcpcore_transports.http.server.identity import answer  # as above

        self._principal = await answer(asked, self._settings.authenticate_time)
        head = self.http.head
        if self.http.state is Http1State.HELD and head is not None:
            try:
                self._open(head)
            except Exception as error:
                self._fail(error)

    def _open(self, head: RequestHead) -> bool:
        """Feed a request to the machine, with as much of its body as was received."""
        http, link, machine = self.http, self._link, self._machine
        if link.trace is None:
            body = http.take_whole()
            if body is not None:
                return self._ask_whole(head, body)
        self._woken = False
        self.writing = True  # output that is ready at once is taken below
        now = clock()
        exchange = self.exchange = link.register(self._carrier)
        if link.trace is not None:
            link.trace.asked(exchange, head.request)
        if machine.open(exchange, head.request, principal=self._principal, now=now):
            self._held += http.begin_body(now)
            return self._read_body()
        http.skip_body()
        link.flush_soon()
        return True

    def _ask_whole(self, head: RequestHead, body: bytes) -> bool:
        """Feed a complete request to the machine; mostly the whole reply is ready at once."""
        http, link, machine = self.http, self._link, self._machine
        self.writing = True
        self._woken = False
        exchange = self.exchange = link.register(self._carrier)
        machine.ask(exchange, head.request, body, principal=self._principal, now=clock())
        link.handle_events()
        if not (http.blocked or link.draining):
            whole = machine.whole_reply(exchange, sys.maxsize)
            if whole is not None:
                return self._send_whole(whole)
        if machine.pending or http.blocked or http.ended or link.draining:
            link.flush_soon()
            return True
        self.writing = False  # a handler is at work
        link.keep_time()
        return False

    def _read_body(self, data: bytes | memoryview = b"") -> bool:
        """Feed the body to the machine: the buffered input and ``data`` behind it."""
        http, exchange, link = self.http, self.exchange, self._link
        assert exchange is not None  # noqa: S101 - made with the head
        now = clock()
        data, ahead, done = http.read_body(data, now)
        if link.trace is not None:
            link.trace.request_body(exchange, data, end=done)
        if data or ahead or done:
            self._machine.body(exchange, data, end=done, announced=ahead, now=now)
            link.flush_soon()
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
        http, link, machine, exchange = self.http, self._link, self._machine, self.exchange
        if http.blocked:
            return False
        if link.draining:
            http.keep_alive = False
        if exchange is None:
            self._held += http.send_rest(clock())
            self.writing = http.unsent
            return not self.writing
        if http.may_be_whole and link.trace is None:
            whole = machine.whole_reply(exchange, sys.maxsize)
            if whole is not None:
                return self._send_whole(whole)
        items = machine.data_to_send(exchange, self._settings.write_size)
        if items:
            if link.trace is not None:
                link.trace.replied(items)
            self._held += http.send(items, clock())
            if http.state is not _REPLY:
                link.unregister(exchange)
                self.exchange = None
                self.writing = False
            if link.draining or machine.pending:
                link.flush_soon()  # senders that waited for room have some now
                return http.state is _HEAD
            if machine.timed:
                link.keep_time()
        if self.exchange is None:
            return True
        self.writing = False  # that was all there is
        if http.ended:
            self._check_half_closed()
        return False

    def _send_whole(self, whole: HttpReply) -> bool:
        """Send a complete reply of the machine; return True if another request may follow."""
        http, link, machine = self.http, self._link, self._machine
        link.unregister(whole.exchange)
        self.exchange = None
        self._held += http.send_whole(whole, clock())
        self.writing = http.unsent
        if machine.pending:
            link.flush_soon()
        elif machine.timed:
            link.keep_time()
        return http.state is _HEAD and bool(http.buffer or http.ended or link.draining)

    def _check_half_closed(self) -> None:
        """Stop if a client that sends no more cannot be probed, and nothing is being written."""
        http = self.http
        if self.exchange is None or http.probed or http.may_probe:
            return
        if not self.writing:  # else the client may wait only for the data being written
            self.stop()

    def probe(self, exchange: Route | None) -> float | None:
        """Probe a client that sends no more; return the seconds until the next probe, if any."""
        if exchange is None or exchange != self.exchange or not self.http.ended:
            return None
        made = self.http.probe()
        if made is None:
            return None
        self._held += made[0]
        return made[1]

    # End

    def expire(self) -> bool:
        """Refuse what took too long; return False if there is nothing to refuse."""
        overdue = self.http.overdue
        if overdue is not None:
            self.refuse(408, overdue)
        return overdue is not None

    def refuse(self, status: int, message: str) -> None:
        """End the connection with a refusal, which is output to be taken."""
        self._refuse(BadHead(status, message))

    def stop(self) -> None:
        """End at once, and leave an exchange whose reply is not complete."""
        self.http.stop()
        self._leave()

    def _fail(self, error: Exception) -> None:
        """End the connection, with a refusal if ``error`` is the client's.

        Any other error is a fault of the driver and ends one connection, not all of them.
        """
        try:
            if isinstance(error, BadBody):
                error = BadHead(error.status, str(error))
            if isinstance(error, BadHead):
                if self.exchange is None and self._link.trace is not None:
                    self._link.trace.undecodable(bytes(self.http.buffer))
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
        head, trace = self.http.head, self._link.trace
        self._leave()
        if trace is not None:
            trace.refused(refusal.status, refusal.message)
        extra = () if head is None else self._machine.readable(head.request)
        self._held += self.http.refuse(refusal, extra, clock())

    def _leave(self) -> None:
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            self._link.unregister(exchange)
            if self._link.trace is not None:
                self._link.trace.left(exchange)
            self._machine.disconnect(exchange, now=clock())
            self._link.flush_soon()
