"""HTTP/1.1 connections without I/O (RFC 9112): the states, and a machine for each role.

Received bytes go in (``feed``); heads (``next_head``) and pieces of bodies (``read_body``) come
out.  A server's replies come out as bytes (:meth:`Http1Server.send_whole`, ``send``); its driver
writes these in order, and tells when the client does not take them (``pause``).  The request of a
client goes out as its driver likes.  ``deadline`` is the time at which the current step has taken
too long.  Times are seconds of any monotonic clock.
"""

import math
from collections.abc import Iterable, Sequence

from msgspec import structs

from mcpcore.engine.lifecycle import State, Table
from mcpcore.http.headers import CONTENT_LENGTH
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpReply
from mcpcore.http.principals import ClientCertificate
from mcpcore.http.proxies import named_by_proxies
from mcpcore_transports.http1.body import (
    BadBody,
    BadHead,
    ChunkedBody,
    Data,
    IncomingBody,
    Inflater,
    LengthBody,
    decoder_for,
)
from mcpcore_transports.http1.format import (
    CONTINUE,
    PROCESSING,
    error_reply,
    format_reply,
    format_response,
)
from mcpcore_transports.http1.heads import (
    HALF_A_LINE,
    RequestHead,
    RequestParser,
    ResponseHead,
    ResponseParser,
)
from mcpcore_transports.http1.settings import HttpClientLinkSettings, HttpServerSettings

# States


class Http1State(State):
    """States of a connection, of either role."""

    OPENING = "opening"
    """Before the connection, or its TLS, is established."""
    IDLE = "idle"
    """Client: between two exchanges."""
    HEAD = "head"
    """Server: between two requests, or within the head of one.  Client: the head of the response
    is awaited."""
    HELD = "held"
    """Server: the head of a request is complete; the application decides what follows."""
    BODY = "body"
    """A body is being received."""
    REPLY = "reply"
    """Server: the request is complete, its reply is not."""
    SWITCHED = "switched"
    """Server: another protocol has taken the connection, or is offered it."""
    LINGERING = "lingering"
    """Server: the last reply is made; further input is counted and dropped."""
    CLOSING = "closing"
    """Server: the last bytes are being sent."""
    CLOSED = "closed"


class Http1Signal(State):
    """Signals that move a connection."""

    CONNECT = "connection wanted"
    ESTABLISHED = "connection established"
    SEND = "request to be sent"
    HEAD = "head received"
    WHOLE = "whole request received"
    ADMIT = "body wanted"
    ANSWER = "request complete, or its rest not wanted"
    REPLIED = "reply complete"
    SWITCH = "offered to another protocol"
    DECLINE = "not taken"
    RECEIVED = "response complete, another may follow"
    FINISH = "last reply or refusal made"
    CLOSE = "end of input, nothing to reply"
    STOP = "lost, overdue, given up or not to be kept"


_S, _G = Http1State, Http1Signal

SERVER: Table[Http1State, Http1Signal] = {
    (_S.OPENING, _G.ESTABLISHED): _S.HEAD,
    (_S.HEAD, _G.HEAD): _S.HELD,
    (_S.HEAD, _G.FINISH): _S.LINGERING,
    (_S.HELD, _G.ADMIT): _S.BODY,
    (_S.HELD, _G.WHOLE): _S.REPLY,
    (_S.HELD, _G.ANSWER): _S.REPLY,
    (_S.HELD, _G.SWITCH): _S.SWITCHED,
    (_S.HELD, _G.FINISH): _S.LINGERING,
    (_S.BODY, _G.ANSWER): _S.REPLY,
    (_S.BODY, _G.FINISH): _S.LINGERING,
    (_S.REPLY, _G.REPLIED): _S.HEAD,
    (_S.REPLY, _G.FINISH): _S.LINGERING,
    (_S.SWITCHED, _G.DECLINE): _S.HELD,
    **{(state, _G.CLOSE): _S.CLOSING for state in _S if state not in (_S.IDLE, _S.CLOSED)},
    (_S.CLOSED, _G.CLOSE): _S.CLOSED,
    **{(state, _G.STOP): _S.CLOSED for state in _S if state is not _S.IDLE},
}

CLIENT: Table[Http1State, Http1Signal] = {
    (_S.CLOSED, _G.CONNECT): _S.OPENING,
    (_S.OPENING, _G.ESTABLISHED): _S.IDLE,
    (_S.IDLE, _G.SEND): _S.HEAD,
    (_S.HEAD, _G.HEAD): _S.BODY,
    (_S.BODY, _G.RECEIVED): _S.IDLE,
    **{(state, _G.STOP): _S.CLOSED for state in (_S.CLOSED, _S.OPENING, _S.IDLE, _S.HEAD, _S.BODY)},
}

DIAGRAMS = (
    ("HTTP/1.1 server", "One connection of an HTTP server.", SERVER),
    ("HTTP/1.1 client", "One connection of an HTTP client.", CLIENT),
)
"""Title, text and table of each diagram."""


SMALL_READ = 64 * 1024
"""Maximum bytes of one read where no more are known to belong together."""
_FEW = 16
"""Maximum number of header lines of a head that a connection keeps, as it may be idle for long."""
_PROBES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between the probes of a client that has finished sending; then they end."""

# Bound once: members of an Enum are slow to look up.  The steps that every request takes are
# assigned without a look into the table; a test holds them to it.
_HEAD, _HELD, _BODY = Http1State.HEAD, Http1State.HELD, Http1State.BODY
_REPLY, _LINGERING = Http1State.REPLY, Http1State.LINGERING


class Http1Server:
    """State of one connection and its framing, request after request."""

    __slots__ = (
        "_began",
        "_begun",
        "_bodiless",
        "_body",
        "_certificate",
        "_chunked",
        "_last",
        "_left",
        "_parser",
        "_peer",
        "_probes",
        "_received",
        "_served",
        "_settings",
        "blocked",
        "buffer",
        "deadline",
        "ended",
        "head",
        "keep_alive",
        "replying",
        "rest",
        "secure",
        "state",
    )

    def __init__(
        self, parser: RequestParser, settings: HttpServerSettings, peer: str | None, now: float
    ) -> None:
        """Begin before the connection is established; ``peer`` is the client's address."""
        self.state = Http1State.OPENING
        self.deadline = now + settings.head_time
        self.buffer = bytearray()
        """Input that was received and not processed."""
        self.blocked = False
        """True while the client has not taken the last output; see :meth:`pause`."""
        self.ended = False
        """True if the client sends no more."""
        self.secure = False
        """True for a connection with TLS."""
        self.head: RequestHead | None = None
        """Head of the current request, until its reply is complete."""
        self.keep_alive = True
        """True if a request may follow the current reply; may be set to False at any time."""
        self.replying = False
        """True within a reply: it has begun and is not complete."""
        self.rest: bytes | memoryview = b""
        """Body of a large reply that :meth:`send_rest` has yet to send."""
        self._parser = parser
        self._settings = settings
        self._peer = peer
        self._certificate: ClientCertificate | None = None
        self._last: RequestHead | None = None  # in case that the same comes again
        self._served = False  # a request before: many connections are idle after a single one
        self._begun = False  # a head, of which the end is missing
        self._body: ChunkedBody | LengthBody | None = None
        self._began = 0.0  # start of the body, and the bytes received of it
        self._received = 0
        self._bodiless = self._chunked = False  # of the current reply
        self._probes = -1  # number of probes made during this reply; -1 before they begin
        self._left = settings.linger_bytes  # that may still be dropped

    def _move(self, signal: Http1Signal) -> None:
        self.state = SERVER[self.state, signal]

    def _due(self, deadline: float) -> None:
        if not self.blocked:  # then it is that of writing
            self.deadline = deadline

    # Input

    @property
    def idle(self) -> bool:
        """True between two requests, after the last reply was taken."""
        quiet = self.state is _HEAD or self.state is Http1State.OPENING
        return quiet and not (self.blocked or self.buffer)

    @property
    def room(self) -> int:
        """Maximum bytes that may be read now; 0 if input has to wait."""
        state = self.state
        if state is _HEAD and not self.blocked:
            return SMALL_READ
        if state is _BODY and self.head is not None and self._body is not None:
            length = self.head.length
            left = self._body.announced if length is None else length - self._received
            return max(left, SMALL_READ)
        if state is _LINGERING:
            return 0 if self.blocked else SMALL_READ  # dropped bytes count once the reply is out
        if state is _REPLY or state is _HELD or self.blocked:
            return max(self._settings.read_ahead - len(self.buffer), 0)
        return SMALL_READ

    def established(
        self, *, secure: bool = False, certificate: ClientCertificate | None = None
    ) -> None:
        """Handle an established connection; ``certificate`` is the client's."""
        self._move(Http1Signal.ESTABLISHED)
        self.secure = secure
        self._certificate = certificate

    def feed(self, data: bytes | memoryview) -> None:
        """Take input for later steps; while the connection lingers, count and drop it."""
        if self.state is _LINGERING:
            self._left -= len(data)
            if self._left <= 0:
                self.stop()
        else:
            self.buffer += data

    def next_head(self, now: float, draining: bool = False) -> RequestHead | None:
        """Take the next head from the input, while not blocked; None if none is complete.

        Without further input the connection ends after the end of the stream, or if it is
        ``draining``.  Raises :class:`BadHead`.
        """
        buffer, head = self.buffer, self._last
        if head is not None and buffer.startswith(head.text):
            del buffer[: len(head.text)]
        else:
            head = None if head is None else self._parser.with_length(buffer, head)
            if head is not None:
                self._last = head
            elif (head := self._new_head(now, draining)) is None:
                return None
        self.head = head
        self.keep_alive = head.keep_alive
        self._begun = False
        self._probes = -1
        self.state = _HELD
        self.deadline = math.inf  # the application has time limits of its own
        return head

    def _new_head(self, now: float, draining: bool) -> RequestHead | None:
        """Take a head that is not like the last one; None if it is not complete."""
        buffer, scheme = self.buffer, "https" if self.secure else "http"
        head = self._parser.take(buffer, self._peer, scheme=scheme, certificate=self._certificate)
        if head is not None:
            request = named_by_proxies(head.request, self._settings.trusted_proxies)
            if request is not head.request:
                head = structs.replace(head, request=request)
            self._last = head if self._served and len(request.headers) <= _FEW else None
            self._served = True
        elif self.ended and buffer:
            raise BadHead("the connection ended within a head")
        elif self.ended or (draining and not buffer):
            self.finish(now)
        elif buffer and not self._begun and buffer != HALF_A_LINE:
            self._begun = True
            self.deadline = now + self._settings.head_time
        return head

    def switch(self) -> None:
        """Offer the connection to another protocol, which the current head asks for."""
        self._move(Http1Signal.SWITCH)

    def decline(self, data: bytes) -> None:
        """Go on with HTTP after :meth:`switch`; ``data`` was received meanwhile."""
        self._move(Http1Signal.DECLINE)
        self.buffer += data

    def take_whole(self) -> bytes | None:
        """Take the body of a simple POST if it is complete; then its reply is awaited."""
        head, buffer = self.head, self.buffer
        assert head is not None  # noqa: S101 - held
        length = head.length
        if length is None or not head.plain or length > len(buffer):
            return None
        body = bytes(buffer) if length == len(buffer) else bytes(buffer[:length])
        del buffer[:length]
        self.state = _REPLY
        return body

    def begin_body(self, now: float) -> bytes:
        """Begin to receive the body of the current request; return an interim response, or b""."""
        head = self.head
        assert head is not None  # noqa: S101 - held
        self._move(Http1Signal.ADMIT)
        length = head.length
        self._body = ChunkedBody(trailers=False) if length is None else LengthBody(length)
        self._began, self._received = now, 0
        self._due(self._settings.body_deadline(now, 0))
        return CONTINUE if head.expects_continue and not self.buffer else b""

    def read_body(self, data: Data, now: float) -> tuple[bytes | Data, int, bool]:
        """Return content from the input and ``data`` behind it, which it may be itself.

        Further: the bytes known to follow, and True if the body is complete; then the reply is
        awaited.  Raises :class:`BadBody`, and :class:`BadHead` if the stream has ended.
        """
        body = self._body
        assert body is not None  # noqa: S101 - begun
        content = body.feed(self.buffer, data)
        if body.done:
            self.answer()
            return content, 0, True
        self._received += len(content)
        self._due(self._settings.body_deadline(self._began, self._received))
        return content, body.announced, False

    def check_body(self) -> None:
        """Raise :class:`BadHead` if the stream has ended within a body."""
        if self.ended:
            raise BadHead("the connection ended within a body")

    def skip_body(self) -> None:
        """Leave out the body of the current request; its reply is awaited."""
        assert self.head is not None  # noqa: S101 - held
        length = self.head.length
        if length is not None and length <= len(self.buffer):
            del self.buffer[:length]
        else:
            self.keep_alive = False
        self.answer()

    def answer(self) -> None:
        """Await the reply, whether or not the request is complete."""
        self._move(Http1Signal.ANSWER)
        self._body = None
        self._due(math.inf)

    def end_input(self, now: float) -> None:
        """Handle the end of the input; what was received before is still served."""
        self.ended = True
        if self.state is Http1State.OPENING or self.state is _LINGERING:
            self.close(now)

    # Output

    @property
    def may_be_whole(self) -> bool:
        """True if :meth:`send_whole` may send the reply."""
        return self.head is not None and self.head.plain and self.keep_alive and not self.replying

    def send_whole(self, reply: HttpReply, now: float) -> bytes:
        """Return the bytes of a whole reply, while not blocked.

        Of one with more than ``write_size`` bytes it is the head; :attr:`rest` holds the body.
        """
        if len(reply.body) > self._settings.write_size:
            self.replying, self.rest = True, memoryview(reply.body)
            length = CONTENT_LENGTH, b"%d" % len(reply.body)
            return format_response(reply.status, (*reply.headers, length))
        self.state, self.head = _HEAD, None
        self.deadline = now + self._settings.idle_time
        return format_reply(reply)

    def send_rest(self, now: float) -> bytes | memoryview:
        """Return the next bytes of :attr:`rest`, at most ``write_size``, while not blocked."""
        size = self._settings.write_size
        data, self.rest = self.rest[:size], self.rest[size:]
        if not self.rest:
            self.rest = b""  # an empty view would keep the body
            self._replied(now)
        return data

    def send(self, items: Sequence[HttpHead | HttpChunk | HttpEnd], now: float) -> bytes:
        """Return the bytes of the next parts of the reply.

        It is framed by its length where that is known, else in chunks, or by the end of the
        connection (RFC 9112 section 6.3).  An end that closes the connection is announced by the
        head.  Where it comes later, the last chunk is left out: to a client that read it, the
        connection would be free for its next request, which nobody would answer.
        """
        parts: list[bytes] = []
        last = items[-1]
        if isinstance(last, HttpEnd) and last.close and not self.replying:
            self.keep_alive = False
        for item in items:
            if isinstance(item, HttpChunk):
                if self._bodiless or not item.data:
                    continue
                if self._chunked:
                    parts += (b"%x\r\n" % len(item.data), item.data, b"\r\n")
                else:
                    parts.append(item.data)
            elif isinstance(item, HttpHead):
                parts.append(self._format_head(item))
            else:
                cut = item.close and self.keep_alive
                if self._chunked and not cut:
                    parts.append(b"0\r\n\r\n")
                self.keep_alive = self.keep_alive and not item.close
                self._replied(now)
        return b"".join(parts)

    def _format_head(self, head: HttpHead) -> bytes:
        request, headers = self.head, head.headers
        assert request is not None  # noqa: S101 - it is replied to
        self.replying, self._chunked = True, False
        self._bodiless = request.request.method == "HEAD" or head.status in (204, 304)
        if not self._bodiless:
            for name, _ in headers:
                if name == CONTENT_LENGTH:
                    break
            else:
                if request.http_1_0:
                    self.keep_alive = False
                else:
                    self._chunked = True
                    headers = [*headers, (b"transfer-encoding", b"chunked")]
        if not self.keep_alive:
            headers = [*headers, (b"connection", b"close")]
        return format_response(head.status, headers)

    def _replied(self, now: float) -> None:
        """Await another request after the end of a reply, or the end of the connection."""
        self.replying, self.head = False, None
        if not self.keep_alive:
            self.finish(now)
            return
        self._move(Http1Signal.REPLIED)
        self._due(now + self._settings.idle_time)

    def refuse(self, refusal: BadHead, extra: Iterable[tuple[bytes, bytes]], now: float) -> bytes:
        """Return the reply to a request that is malformed or incomplete, the last of all.

        The data behind it is not read.  ``extra``: further headers.
        """
        revision = None if self.head is None else self.head.revision
        self.finish(now)
        headers, body = error_reply(refusal.row, refusal.message, revision, extra)
        return format_response(refusal.row.status, [*headers, (b"connection", b"close")]) + body

    def probe(self) -> tuple[bytes, float] | None:
        """Return an interim response for a client that has finished sending, and a delay.

        Only writing shows if the client still listens.  One that closed answers with a reset; one
        that listens must ignore an interim response (RFC 9110 section 15.2).  The delay is in
        seconds until the next probe.  Return None if there is none any more.
        """
        self.keep_alive = self.keep_alive and bool(self.buffer)  # else no request can follow
        self._probes += 1
        if self._probes >= len(_PROBES) or not self.may_probe:
            return None
        return b"" if self.blocked else PROCESSING, _PROBES[self._probes]

    @property
    def may_probe(self) -> bool:
        """True if an interim response can be sent, and its loss shows."""
        waits = self.state is _REPLY and not self.replying
        return waits and not (self.secure or self.head is None or self.head.http_1_0)

    @property
    def probed(self) -> bool:
        """True if the client was probed during this reply."""
        return self._probes >= 0

    # Time

    @property
    def overdue(self) -> str | None:
        """Message of a 408 if the deadline has passed; None if there is nothing to refuse."""
        if self.blocked:
            return None  # the deadline is that of writing
        if self.state is _BODY:
            return "the body of the request took too long"
        if self.state is _HEAD and self._begun:
            return "the head of the request took too long"
        return None

    def pause(self, now: float) -> None:
        """Note that the client does not take the last output: no input moves the deadline."""
        self.blocked = True
        self.deadline = now + self._settings.write_time

    def resume(self, now: float) -> None:
        """Note that the client has taken all output."""
        self.blocked = False
        state, settings = self.state, self._settings
        if state is _HEAD:
            self._begun = False  # a head that has begun is looked at again
            self.deadline = now + settings.idle_time
        elif state is _BODY:
            self.deadline = settings.body_deadline(self._began, self._received)
        elif state is _LINGERING:
            self.deadline = now + settings.linger_time
        elif state in (_REPLY, _HELD, Http1State.SWITCHED):
            self.deadline = math.inf

    # End

    def finish(self, now: float) -> None:
        """Let the client read the last reply, unless it has finished sending.

        It may still be sending, whichever side wants the end: closing with unread input would
        discard data that it has not received (RFC 9112 section 9.6).
        """
        if self.ended:
            self.close(now)
            return
        self._move(Http1Signal.FINISH)
        self.head = self._body = None
        self.buffer.clear()
        self._due(now + self._settings.linger_time)

    def close(self, now: float) -> None:
        """Close once the last bytes are out."""
        self._move(Http1Signal.CLOSE)
        self._due(now + self._settings.linger_time)

    def stop(self) -> None:
        """Close at once."""
        self._move(Http1Signal.STOP)


# Client


_WRITING = "does not take the request"
_READING = "took too long to send its response"
_EXCHANGE = "did not take the message in time"
_BEGINNING = "did not begin its response in time"
_SEND, _GOT_HEAD, _RECEIVED = Http1Signal.SEND, Http1Signal.HEAD, Http1Signal.RECEIVED


class Http1Client:
    """State of a connection, which may be opened again, and of its exchange."""

    def __init__(self, settings: HttpClientLinkSettings) -> None:
        self.state = Http1State.CLOSED
        self.deadline = math.inf
        self.step = ""
        """The stage of the exchange that a passed deadline names."""
        self.buffer = bytearray()
        """Input that was received and not processed."""
        self.received = False
        """True if some of the response to the current request was received."""
        self._settings = settings
        self._heads = ResponseParser(settings.head_limits)
        self._until = math.inf  # when the exchange must be over, or the head received
        self._until_step = ""
        self._keep_alive = True
        self._body: IncomingBody | None = None
        self._inflater: Inflater | None = None
        self._fault: BadBody | None = None

    def _move(self, signal: Http1Signal) -> None:
        self.state = CLIENT[self.state, signal]

    # The connection

    def connect(self) -> None:
        """Begin to open the connection."""
        self._move(Http1Signal.CONNECT)

    def established(self) -> None:
        """Handle an established connection."""
        self._move(Http1Signal.ESTABLISHED)

    def stop(self) -> None:
        """Handle the end of the connection."""
        self._move(Http1Signal.STOP)
        self.buffer.clear()

    # Time

    def begin(self, timeout: float | None, head_timeout: float | None, now: float) -> None:
        """Begin an exchange, which may need more than one attempt; limits in seconds."""
        self.received = False
        self._until, self._until_step = math.inf, ""
        if head_timeout is not None:
            self._until, self._until_step = now + head_timeout, _BEGINNING
        elif timeout is not None:
            self._until, self._until_step = now + timeout, _EXCHANGE
        self._allow(math.inf, "")

    def rest(self, now: float) -> None:
        """Wait for another exchange for ``idle_time``."""
        self.deadline = now + self._settings.idle_time

    def _allow(self, until: float, step: str) -> None:
        """Set the deadline of the current step, within that of the whole exchange."""
        if self._until < until:
            until, step = self._until, self._until_step
        self.deadline, self.step = until, step

    # The request

    def send(self) -> None:
        """Begin to send a request, or a part of one, and to await its response."""
        self._move(_SEND)
        self._heads.interim = 0

    def sending(self, now: float) -> None:
        """Allow ``write_time`` for a part of the request, unless the response has begun."""
        if self.state is _HEAD:
            self._allow(now + self._settings.write_time, _WRITING)

    def sent(self) -> None:
        """Await the response to a request that was sent completely."""
        if self.state is _HEAD:
            self._allow(math.inf, "")

    # The response

    def feed(self, data: bytes) -> None:
        """Take input of a head for later steps."""
        self.buffer += data
        self.received = True

    def next_head(self, now: float) -> ResponseHead | None:
        """Take the head of the response, past interim ones; None if incomplete.  Raises BadHead."""
        head = self._heads.take(self.buffer)
        if head is None:
            return None
        self._move(_GOT_HEAD)
        if self._until_step == _BEGINNING:
            self._until = math.inf
        self._allow(math.inf if head.lasting else now + self._settings.body_time, _READING)
        self._keep_alive = head.keep_alive
        self._fault = None
        self._body = head.body()
        return head

    def accept_codings(self, codings: list[bytes]) -> None:
        """Prepare for the content codings of the response.  Raises BadCoding."""
        ratio = self._settings.inflate_ratio
        self._inflater = decoder_for(codings, ratio) if codings else None

    def read_body(self, data: bytes = b"") -> bytes:
        """Return content from the input and ``data`` behind it, still coded; b"" if there is none.

        A fault behind it is raised by :meth:`check_body`: content before it counts, received
        separately or together with it.
        """
        assert self._body is not None  # noqa: S101 - begun
        try:
            return self._body.feed(self.buffer, data)
        except BadBody as error:
            self._fault = error
            return error.content

    def check_body(self) -> None:
        """Raise the :class:`BadBody` that is behind the content."""
        if self._fault is not None:
            raise self._fault

    def decode(self, data: bytes) -> Iterable[bytes]:
        """Return content without its coding, in pieces of bounded size.  Raises BadCoding."""
        return (data,) if self._inflater is None else self._inflater.feed(data)

    @property
    def coded(self) -> bool:
        """True if the content of the response has a coding."""
        return self._inflater is not None

    @property
    def complete(self) -> bool:
        """True if the end of the response was received."""
        return self._body is not None and self._body.done

    def end_input(self) -> bool:
        """Handle the end of the input; return True if it properly ends the response."""
        self._keep_alive = False
        return self._body is not None and self._body.end()

    def finish(self) -> bool:
        """End a response; return True if another exchange may follow.  Raises BadCoding."""
        if self._inflater is not None:
            self._inflater.end()
        self._body = self._inflater = None
        if self.buffer or not self._keep_alive:
            return False
        self._move(_RECEIVED)
        return True
