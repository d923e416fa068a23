"""Legacy sessions at a server: one conversation each, found by an unguessable id.

Source: the Streamable HTTP pages of 2025-03-26 to 2025-11-25, "Session Management", "Listening for
Messages from the Server", "Multiple Connections" and "Resumability and Redelivery".
"""

from collections import deque
from typing import cast

from mcpcore.engine.events import EndReason, Event, Route
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.server.event_log import EventLog, EventStream, LogEntry, SessionLog
from mcpcore.http.server.exchange import NOTHING, Exchange, taken_over
from mcpcore.http.server.session_table import Owner
from mcpcore.http.settings import HttpSettings
from mcpcore.spec.refusals import EVENTS_GONE, TOO_MANY_STREAMS
from mcpcore.wire.sse import encode_event

_NO_EXCHANGES: dict[Route, Exchange] = {}
"""Shared empty dict of idle sessions, never written: a dict that was emptied keeps 224 bytes."""


class SessionOpened(Event, frozen=True, kw_only=True):
    """A legacy client has opened a session; Ready follows once its handshake is complete."""

    session: str
    principal: str | None = None


class SessionClosed(Event, frozen=True, kw_only=True):
    """A session is gone; all its requests have ended, and no event of it follows."""

    session: str
    reason: str


class Session:
    """Legacy conversation with its streams."""

    __slots__ = (
        "_broken_off",
        "_settings",
        "backlog",
        "backlog_size",
        "created",
        "exchanges",
        "gets",
        "id",
        "log",
        "owner",
        "peer",
        "principal",
        "temporary",
        "used_at",
    )

    def __init__(
        self,
        id: str,
        peer: Peer,
        principal: str | None,
        log: EventLog,
        settings: HttpSettings,
        *,
        owner: Owner,
        temporary: bool = False,
    ) -> None:
        self.id = id
        self.peer = peer
        self.principal = None if principal is None else str(principal)
        self.owner = owner
        """Quota key of the session."""
        self.temporary = temporary
        """True if it lasts for one request, and its client does not know of it."""
        self.created = self.used_at = 0.0
        """Times of its opening and of its last use."""
        self.log = SessionLog(log, id)
        self.exchanges = _NO_EXCHANGES
        """All open exchanges, by route."""
        self.gets: tuple[EventStream, ...] = ()
        """Streams that belong to no request and have a connection, oldest first."""
        self._broken_off: deque[EventStream] = NOTHING
        """Streams that belong to no request and have lost their connection, oldest first."""
        self.backlog: deque[Transmit] = NOTHING
        """Frames that wait for a GET stream."""
        self.backlog_size = 0
        self._settings = settings

    over_sse = False
    """True if it is a session of HTTP+SSE, which a single stream carries."""

    @property
    def busy(self) -> bool:
        """True if an exchange is open or a request in progress."""
        return bool(self.exchanges) or self.peer.in_flight > 0

    @property
    def _resumable(self) -> bool:
        return self._settings.resumable and not self.temporary

    # Messages that belong to no request

    def place(self, frame: Transmit, now: float) -> None:
        """Send a frame that belongs to no exchange: on one GET stream, or once there is one.

        The newest stream takes it, as an older one may be dead without notice.
        """
        for stream in reversed(self.gets):
            if cast(Exchange, stream.exchange).push(frame):
                return
        if self.backlog is NOTHING:
            self.backlog = deque()
        self.backlog.append(frame)
        self.backlog_size += frame.size
        while self.backlog_size > self._settings.session_queue:
            self._give_up_one(now)

    # Streams and the connections that carry them

    def begin(self, exchange: Exchange, route: Route | None) -> None:
        """Begin the event stream of a request on the exchange that brought it."""
        revision = self.peer.revision
        numbered = revision is not None and revision.resumable and self._resumable
        stream = self.log.new_stream(route, numbered=numbered)
        self._join(stream, exchange)
        if numbered and revision is not None and revision.priming:
            stream.primed = True
            exchange.write(self._poll(stream, self._settings.reconnect_delay))

    def listen(self, exchange: Exchange) -> None:
        """Use ``exchange`` as a GET stream, or refuse it."""
        if self._has_room(exchange):
            self.open_stream(exchange)

    def open_stream(self, exchange: Exchange) -> None:
        """Use ``exchange`` as a GET stream and send the backlog on it."""
        self.attach(exchange)
        self.begin(exchange, None)
        exchange.open_stream()
        self._serve_backlog(exchange)

    def pick_up(self, exchange: Exchange, number: int, position: int) -> None:
        """Resume a stream after a position on another connection, or refuse the exchange."""
        self.log.owner.sweep()
        stream = self.log.streams.get(number)
        entries = None if stream is None else stream.after(position)
        if stream is None or entries is None:
            exchange.refuse(EVENTS_GONE)
        elif stream.exchange or stream.route is not None or self._has_room(exchange):
            self._resume(stream, exchange, entries)

    def _has_room(self, exchange: Exchange) -> bool:
        """Return True if there may be one more GET stream, else refuse the request."""
        limit = self._settings.session_streams
        if len(self.gets) >= limit:
            text = f"the session has {limit} GET streams open already"
            exchange.refuse(TOO_MANY_STREAMS, text)
            return False
        return True

    def _resume(self, stream: EventStream, exchange: Exchange, entries: list[LogEntry]) -> None:
        """Continue ``stream`` on another connection, after sending ``entries`` again.

        The old connection may seem alive; its unsent output moves with the stream.
        """
        unsent: list[Transmit] = []
        old = self._part(stream)
        if old is not None:
            unsent = old.drop_queued()
            old.finish(close=True)
        self.attach(exchange)
        self._join(stream, exchange)
        exchange.open_stream()
        for entry in entries:
            exchange.write(encode_event(entry.data, id=stream.id(entry.place)))
        for frame in unsent:
            exchange.push(frame)
        if stream.ended:
            exchange.finish()
        elif stream.route is None:
            self._serve_backlog(exchange)

    def poll(self, route: Route, retry: float) -> bool:
        """Close the connection of the request of ``route``; the client is asked to come back."""
        stream = self.log.posts.get(route)
        return stream is not None and self.hang_up(stream, retry)

    def poll_gets(self, retry: float) -> int:
        """Close the GET streams and ask the client to come back; return their number."""
        return sum(self.hang_up(stream, retry) for stream in self.gets)

    def hang_up(self, stream: EventStream, retry: float) -> bool:
        """Close the connection of a stream that goes on, and ask the client to come back."""
        exchange = stream.exchange
        if exchange is None or stream.ended or not stream.numbered:
            return False
        exchange.settle()
        exchange.write(self._poll(stream, retry))
        stream.named = True
        self._part(stream)
        if stream.route is None:
            self._remember(stream)
        exchange.finish()
        return True

    def let_go(self, exchange: Exchange, now: float) -> None:
        """Take its stream off an exchange; unsent output is kept for the next connection."""
        stream = exchange.stream
        if stream is None:
            return
        if stream.named and stream.route is not None:
            exchange.settle()
        self._part(stream)
        if not stream.named:
            self.log.forget(stream)
        elif stream.route is None:
            self._remember(stream)
        else:
            self.log.tidy(stream)
        for frame in exchange.drop_queued():
            if stream.route is None:
                self.place(frame, now)
            else:
                taken_over(frame)

    def attach(self, exchange: Exchange) -> None:
        """Add an exchange."""
        exchange.session = self
        if self.exchanges:
            self.exchanges[exchange.route] = exchange
        else:
            self.exchanges = {exchange.route: exchange}

    def detach(self, exchange: Exchange, now: float) -> None:
        """Remove an exchange."""
        self.exchanges.pop(exchange.route, None)
        if not self.exchanges:
            self.exchanges = _NO_EXCHANGES
        self.let_go(exchange, now)

    def _join(self, stream: EventStream, exchange: Exchange) -> None:
        stream.exchange = exchange
        exchange.stream = stream
        if stream.route is None:
            if stream in self._broken_off:
                self._broken_off.remove(stream)
            self.gets += (stream,)

    def _part(self, stream: EventStream) -> Exchange | None:
        """Take a stream off its connection, if it has one, and return that."""
        exchange, stream.exchange = stream.exchange, None
        if exchange is not None:
            exchange.stream = None
            if stream.route is None:
                self.gets = tuple(each for each in self.gets if each is not stream)
        return exchange

    def _remember(self, stream: EventStream) -> None:
        """Keep a GET stream that has lost its connection, in case it is resumed."""
        if self._broken_off is NOTHING:
            self._broken_off = deque()
        self._broken_off.append(stream)
        if len(self._broken_off) > self._settings.session_streams:
            self.log.forget(self._broken_off.popleft())

    def _poll(self, stream: EventStream, delay: float) -> bytes:
        """Return an event without data, with the stream's position and the time to come back."""
        id = stream.id(stream.last)
        return encode_event(b"", event=None, id=id, retry=round(delay * 1000))

    def _serve_backlog(self, exchange: Exchange) -> None:
        while self.backlog:
            exchange.push(self.backlog.popleft())
        self.backlog_size = 0

    def _give_up_one(self, now: float) -> None:
        """Make room: drop the oldest notification or, if there is none, end the oldest request."""
        victim = next(
            (frame for frame in self.backlog if frame.kind is FrameKind.NOTIFICATION),
            self.backlog[0],
        )
        self.backlog.remove(victim)
        self.backlog_size -= victim.size
        taken_over(victim)
        if victim.kind is FrameKind.REQUEST and victim.request is not None:
            self.peer.receive_failure(
                victim.request,
                now=now,
                reason=EndReason.REFUSED,
                message="not sent: the client has no stream open and too much waits for one",
            )
