"""Legacy sessions at a server, each a conversation found by an unguessable id, and their table.

Source: the Streamable HTTP pages of 2025-03-26 to 2025-11-25, "Session Management", "Listening for
Messages from the Server", "Multiple Connections" and "Resumability and Redelivery".
"""

import math
from base64 import urlsafe_b64encode
from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import chain
from sys import intern
from typing import cast

from mcpcore.engine.config import Config, Role
from mcpcore.engine.events import EndReason, Event, Route
from mcpcore.engine.lifecycle import State, Table
from mcpcore.engine.peer import Peer
from mcpcore.engine.state import Endpoint
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.principals import address_of, has_rights_of, joined, quota_key
from mcpcore.http.server import event_log
from mcpcore.http.server.exchange import Exchange, taken_over
from mcpcore.http.settings import HttpSettings
from mcpcore.spec.refusals import EVENTS_GONE, TOO_MANY_STREAMS
from mcpcore.wire.sse import encode_event

Owner = str
"""Key of a session quota: kind of name, and the name (principal or address)."""
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
    """Legacy conversation with its streams; its states are those of :class:`SessionUse`."""

    def __init__(
        self,
        id: str,
        principal: str | None,
        owner: Owner,
        config: Config,
        endpoint: Endpoint,
        log: event_log.EventLog,
    ) -> None:
        self.id = id
        self.peer = Peer(Role.SERVER, config, endpoint=endpoint, session=id)
        self.parts = self.peer.parts
        self.principal = None if principal is None else str(principal)
        self.peer.principal = principal
        self.owner = owner
        self.usage = SessionUse.FRESH
        self.temporary = False
        """True if it lasts for one request, and its client does not know of it."""
        self.created = self.used_at = 0.0
        self.log = event_log.SessionLog(log, id)
        self.exchanges = _NO_EXCHANGES
        self.gets: tuple[event_log.EventStream, ...] = ()
        """Streams that belong to no request and have a connection, oldest first."""
        self._broken_off: deque[event_log.EventStream] = event_log.NOTHING
        """Streams that belong to no request and have lost their connection, oldest first."""
        self.backlog: deque[Transmit] = event_log.NOTHING
        self.backlog_size = 0
        self.settings = log.settings

    over_sse = False
    """True if it is a session of HTTP+SSE, which a single stream carries."""

    @property
    def busy(self) -> bool:
        """True if an exchange is open or a request in progress."""
        return bool(self.exchanges) or self.peer.in_flight > 0

    @property
    def numbered(self) -> bool:
        """True if events have ids."""
        revision = self.peer.revision
        resumable = self.settings.resumable and not self.temporary
        return revision is not None and revision.resumable and resumable

    @property
    def primed(self) -> bool:
        """True if streams open with an event that has an id and nothing else."""
        return self.numbered and self.peer.revision is not None and self.peer.revision.priming

    # Rights

    def use_rights(self, principal: str | None) -> bool:
        """Note the rights of the sender of a message; True if the session had not all of them.

        From then on its streams are only for requests with all rights that it was used with: they
        carry what those were needed for, such as results, changes of resources and of tasks.
        """
        known = self.peer.principal
        if has_rights_of(known, principal):
            if has_rights_of(principal, known):
                self.peer.principal = principal  # whose claims are newer
            return False
        self.peer.principal = joined(principal, known)
        return True

    def save_changes(self) -> None:
        """Store what has changed, where there is a store."""

    @property
    def carriers(self) -> list[Exchange]:
        """Exchanges of the GET streams."""
        return [cast(Exchange, stream.exchange) for stream in self.gets]

    # Messages that belong to no request

    def place(self, frame: Transmit, now: float) -> None:
        """Send a frame on the newest GET stream, as an older one may be dead, or keep it."""
        for stream in reversed(self.gets):
            if cast(Exchange, stream.exchange).push(frame):
                return
        if self.backlog is event_log.NOTHING:
            self.backlog = deque()
        self.backlog.append(frame)
        self.backlog_size += frame.size
        while self.backlog_size > self.settings.session_queue:
            self._give_up_one(now)

    def look_at(self, exchange: Exchange) -> None:
        """Check nothing more than the server does: the session is here."""

    # Streams and the connections that carry them

    def begin(self, exchange: Exchange, route: Route | None) -> None:
        """Begin the event stream of a request on the exchange that brought it."""
        stream = self.log.new_stream(route, numbered=self.numbered)
        self._join(stream, exchange)
        if self.primed:
            stream.primed = True
            exchange.write(
                event_log.poll_event(stream.id(stream.last), self.settings.reconnect_delay)
            )

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
        limit = self.settings.session_streams
        if len(self.gets) >= limit:
            text = f"the session has {limit} GET streams open already"
            exchange.refuse(TOO_MANY_STREAMS, text)
            return False
        return True

    def _resume(
        self, stream: event_log.EventStream, exchange: Exchange, entries: list[event_log.LogEntry]
    ) -> None:
        """Continue a stream on another connection: ``entries`` again, then its unsent output."""
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

    def hang_up(self, stream: event_log.EventStream, retry: float) -> bool:
        """Close the connection of a stream that goes on, and ask the client to come back."""
        exchange = stream.exchange
        if exchange is None or stream.ended or not stream.numbered:
            return False
        exchange.settle()
        exchange.write(event_log.poll_event(stream.id(stream.last), retry))
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

    def _join(self, stream: event_log.EventStream, exchange: Exchange) -> None:
        stream.exchange = exchange
        exchange.stream = stream
        if stream.route is None:
            if stream in self._broken_off:
                self._broken_off.remove(stream)
            self.gets += (stream,)

    def _part(self, stream: event_log.EventStream) -> Exchange | None:
        exchange, stream.exchange = stream.exchange, None
        if exchange is not None:
            exchange.stream = None
            if stream.route is None:
                self.gets = tuple(each for each in self.gets if each is not stream)
        return exchange

    def _remember(self, stream: event_log.EventStream) -> None:
        if self._broken_off is event_log.NOTHING:
            self._broken_off = deque()
        self._broken_off.append(stream)
        if len(self._broken_off) > self.settings.session_streams:
            self.log.forget(self._broken_off.popleft())

    def _serve_backlog(self, exchange: Exchange) -> None:
        while self.backlog:
            exchange.push(self.backlog.popleft())
        self.backlog_size = 0

    def _give_up_one(self, now: float) -> None:
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


MIN_SECRET = 32

SPARED = 32
"""Maximum busy sessions that are passed over in the search for one to end."""


def owner_of(record: Exchange) -> Owner:
    """Return the quota key of the sender of a request: its principal, or else its address."""
    if record.principal is None:
        return f"address {quota_key(address_of(record.peer))}"
    return f"principal {record.principal}"


class SessionUse(State):
    """States of a session: what its client has made of it."""

    FRESH = "fresh"
    """No message since ``initialize``."""
    AGREED = "agreed"
    """Never used since its handshake was complete."""
    USED = "used"
    ENDED = "ended"


class UseSignal(State):
    """Signals that move a session."""

    AGREE = "notifications/initialized"
    USE = "any other POST, or a GET"
    END = "DELETE, or another end"


_FRESH, _AGREED, _USED = SessionUse.FRESH, SessionUse.AGREED, SessionUse.USED
_KEPT = (_FRESH, _AGREED, _USED)

SESSION_USE: Table[SessionUse, UseSignal] = {
    (_FRESH, UseSignal.AGREE): _AGREED,
    **{(use, UseSignal.USE): _USED for use in _KEPT},
    **{(use, UseSignal.END): SessionUse.ENDED for use in _KEPT},
}

DIAGRAMS = (
    (
        "Session",
        "One `Mcp-Session-Id` at an HTTP server, beside the conversation of its Peer. Its ends: "
        "DELETE, an `initialize` that is refused or whose client leaves before its answer, "
        "`session_unused` while fresh or agreed, `session_idle`, `session_age`, too many others "
        "(`sessions_per_client`, `max_sessions`), the end of its stream (HTTP+SSE), of the server, "
        "or of its record in the store. With a store this is what one worker knows: a worker that "
        "takes a session up begins with *fresh*, and forgets it at *ended* while it may go on.",
        SESSION_USE,
    ),
)

Queues = dict[SessionUse, OrderedDict["Session", None]]
"""Sessions by use, in the order in which they would be ended."""


def _queues() -> Queues:
    return {use: OrderedDict() for use in _KEPT}


class SessionTable:
    """Sessions by id, owner and last use; temporary ones, for one request, by id alone."""

    def __init__(self, secret: bytes, settings: HttpSettings) -> None:
        """Create an empty table; ``secret``, the source of the ids, must never be used again."""
        if not isinstance(secret, bytes):
            raise TypeError(f"the secret must be bytes, not a {type(secret).__name__}")
        if len(secret) < MIN_SECRET:
            raise ValueError(f"the secret must have at least {MIN_SECRET} random bytes")
        self._secret = secret
        self._key = b""  # key for the ids, derived with the first
        self.settings = settings
        limits = (settings.session_unused, settings.session_idle)
        unused = min((limit for limit in limits if limit is not None), default=None)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._temporary: dict[str, Session] = {}
        self._all = _queues()
        queues = (
            (self._all[_FRESH], unused, "it was never used"),
            (self._all[_AGREED], unused, "it was never used"),
            (self._all[_USED], settings.session_idle, "idle for too long"),
        )
        self._limited = [(queue, wait, why) for queue, wait, why in queues if wait is not None]
        """Queues of sessions that end without use: with limit in seconds and reason."""
        self._owners: dict[Owner, Queues] = {}
        self._count = 0
        self.grown = False
        """True if a session was added since :meth:`deadline` was last called; nothing else brings
        the deadline nearer."""

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator["Session"]:
        return iter(list(self._sessions.values()))

    def new_id(self) -> str:
        """Return a new session id: 256 bits, unguessable without the secret, in visible ASCII."""
        import hmac  # here and not above: a server with modern clients only has no sessions

        self._count += 1
        self._key = self._key or hmac.digest(self._secret, b"mcpcore session ids", "sha256")
        digest = hmac.digest(self._key, b"%d" % self._count, "sha256")
        return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")

    # Adding and removing

    def add(self, session: "Session", now: float) -> None:
        """Add a session."""
        session.created = session.used_at = now
        if session.temporary:
            self._temporary[session.id] = session
            return
        self._sessions[session.id] = session
        self.grown = True
        session.owner = intern(session.owner)  # one string for all sessions of an owner
        for queues in (self._all, self._owners.setdefault(session.owner, _queues())):
            queues[_FRESH][session] = None

    def agree(self, session: "Session", now: float) -> None:
        """Note that the handshake of a session is complete; no effect on a session already used."""
        if session.usage is _FRESH and not session.temporary:
            session.used_at = now
            self._move(session, UseSignal.AGREE)

    def touch(self, session: "Session", now: float) -> None:
        """Note that a session is being used."""
        session.used_at = now
        if session.temporary:
            return
        if session.usage is _USED:
            self._all[_USED].move_to_end(session)
            self._owners[session.owner][_USED].move_to_end(session)
        else:
            self._move(session, UseSignal.USE)

    def rest(self, session: "Session", now: float) -> None:
        """Note that a session was in use until now; a handshake is no use of it."""
        if session.used_at != now and session.usage is _USED:
            self.touch(session, now)

    def remove(self, session: "Session") -> None:
        """Remove a session."""
        if session.temporary:
            del self._temporary[session.id]
            return
        del self._sessions[session.id]
        self._move(session, UseSignal.END)
        if not any(self._owners[session.owner].values()):
            del self._owners[session.owner]

    def _in_order(self) -> Iterator[Session]:
        return chain.from_iterable(self._all.values())

    def _move(self, session: "Session", signal: UseSignal) -> None:
        before = session.usage
        session.usage = after = SESSION_USE[before, signal]
        for queues in (self._all, self._owners[session.owner]):
            del queues[before][session]
            if after in queues:
                queues[after][session] = None

    # Finding

    def find(self, id: str, principal: str | None) -> "Session | None":
        """Return the session with this id if it is of ``principal``, compared in constant time."""
        import hmac  # imported here, as above

        session = self._sessions.get(id)
        if session is None or not hmac.compare_digest(session.id.encode(), id.encode()):
            return None
        return session if session.principal == principal else None

    def get(self, id: str | None) -> "Session | None":
        """Return the session with an id that this server made."""
        return None if id is None else self._sessions.get(id) or self._temporary.get(id)

    # Sessions to end

    def excess(self, owner: Owner, now: float) -> "tuple[Session, str] | None":
        """Return the session to end, and the reason, before ``owner`` can have one more; or None.

        Sessions never used go first, then the least recently used, the idle ones of them.
        """
        settings = self.settings
        queues = self._owners.get(owner, {})
        if sum(map(len, queues.values())) >= settings.sessions_per_client:
            return self._victim(queues, now), "its client has opened too many others"
        if len(self._sessions) >= settings.max_sessions:
            return self._victim(self._all, now), "there are too many others"
        return None

    def _victim(self, queues: Queues, now: float) -> "Session":
        for queue in (queues[_FRESH], queues[_AGREED]):
            if queue:
                return next(iter(queue))
        used = queues[_USED]
        for _ in range(SPARED):
            oldest = next(iter(used))
            if not oldest.busy:
                return oldest
            self.touch(oldest, now)
        return next(iter(used))

    def overdue(self, now: float) -> "tuple[Session, str] | None":
        """Return a session that has lived too long, and the reason; None if there is none."""
        for queue, limit, reason in self._limited:
            while queue:
                oldest = next(iter(queue))
                if oldest.used_at >= now or oldest.used_at + limit > now:
                    break  # busy sessions are touched here, and then come last
                if not oldest.busy:
                    return oldest, reason
                self.touch(oldest, now)
        age = self.settings.session_age
        if age is not None and self._sessions:
            oldest = next(iter(self._sessions.values()))
            if oldest.created + age <= now:
                return oldest, "too old"
        return None

    def deadline(self) -> float | None:
        """Return the time at which :meth:`overdue` is next needed, None if never."""
        self.grown = False
        if not self._sessions:
            return None
        due = math.inf
        for queue, limit, _ in self._limited:
            if queue:
                when = next(iter(queue)).used_at + limit
                due = when if when < due else due
        age = self.settings.session_age
        if age is not None:
            due = min(due, next(iter(self._sessions.values())).created + age)
        return None if due == math.inf else due
