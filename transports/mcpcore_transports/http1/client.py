"""HTTP/1.1 connection of a client, without I/O (RFC 9112), and the heads of responses.

The request goes out as its driver likes; received bytes go in (:meth:`Http1Client.feed`); the head
of the response (:meth:`~Http1Client.next_head`) and pieces of its body
(:meth:`~Http1Client.read_body`) come out.  ``deadline`` is the time at which the current step has
taken too long, ``step`` says what that would mean.  Times are seconds of any monotonic clock.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

from mcpcore.http.headers import CONTENT_TYPE
from mcpcore_transports.http.settings import HttpClientLinkSettings
from mcpcore_transports.http1.body import BadBody, Body, Inflater, decoder_for
from mcpcore_transports.http1.heads import (
    BadHead,
    ResponseHead,
    find_head,
    is_interim,
    parse_response,
)
from mcpcore_transports.http1.states import CLIENT, Http1Signal, Http1State

_INTERIM = 64
"""Maximum number of interim (1xx) responses before a final one.

No setting, as there is nothing to weigh: no server has a use for more.  Each of them is bounded as
a head is, and all of them by the time of the call.
"""
_SHORT = 2048
"""Maximum bytes of a head that is remembered."""
_EVENT_STREAM = b"text/event-stream"
_WRITING = "does not take the request"
_READING = "took too long to send its response"
_EXCHANGE = "did not take the message in time"
_BEGINNING = "did not begin its response in time"


@lru_cache(64)
def _known_head(head: bytes) -> ResponseHead:
    """Parse a head, or remember it: those of a server differ mostly in the second of Date."""
    return parse_response(head)


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
        self._limits = settings.head_limits
        self._until = math.inf  # when the exchange must be over, or the head received
        self._until_step = ""
        self._interim = 0
        self._keep_alive = True
        self._body: Body | None = None
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
        self._move(Http1Signal.SEND)
        self._interim = 0

    def sending(self, now: float) -> None:
        """Allow ``write_time`` for a part of the request, unless the response has begun."""
        if self.state is Http1State.HEAD:
            self._allow(now + self._settings.write_time, _WRITING)

    def sent(self) -> None:
        """Await the response to a request that was sent completely."""
        if self.state is Http1State.HEAD:
            self._allow(math.inf, "")

    # The response

    def feed(self, data: bytes) -> None:
        """Take input for later steps."""
        self.buffer += data
        self.received = True

    def next_head(self, now: float) -> ResponseHead | None:
        """Take the head of the response, past interim ones; None if it is not complete.

        Raises :class:`BadHead`.
        """
        while size := find_head(self.buffer, self._limits):
            raw = bytes(self.buffer[:size])
            del self.buffer[:size]
            if not is_interim(raw):
                head = _known_head(raw) if len(raw) <= _SHORT else parse_response(raw)
                return self._begin_body(head, now)
            if raw[9:12] == b"101":
                raise BadHead(400, "it switched protocols unasked")
            self._interim += 1
            if self._interim >= _INTERIM:
                raise BadHead(400, f"{_INTERIM} interim responses")
        return None

    def _begin_body(self, head: ResponseHead, now: float) -> ResponseHead:
        self._move(Http1Signal.HEAD)
        if self._until_step == _BEGINNING:
            self._until = math.inf
        lasting = any(_EVENT_STREAM in value.lower() for value in head.values(CONTENT_TYPE))
        self._allow(math.inf if lasting else now + self._settings.body_time, _READING)
        self._keep_alive = head.keep_alive
        self._fault = None
        self._body = head.body()
        return head

    def accept_codings(self, codings: list[bytes]) -> None:
        """Prepare for the content codings of the response.  Raises BadCoding."""
        ratio = self._settings.inflate_ratio
        self._inflater = decoder_for(codings, ratio) if codings else None

    def read_body(self) -> bytes:
        """Take content of the response from the input, still coded; b"" if there is none.

        A fault behind it is raised by :meth:`check_body`: content before it counts, received
        separately or together with it.
        """
        assert self._body is not None  # noqa: S101 - begun
        try:
            return self._body.take(self.buffer)
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
        self._move(Http1Signal.RECEIVED)
        return True
