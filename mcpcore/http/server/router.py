"""Exchanges and events of an HTTP server, routing of messages, all ends, and sessions in memory.

Source: the Streamable HTTP pages, "Sending Messages", "Multiple Connections", "Resumability and
Redelivery" and "Session Management".
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from msgspec import structs

from mcpcore.engine.config import Config, Role
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import MAIN, Event, Route
from mcpcore.engine.lifecycle import SessionSignal
from mcpcore.engine.peer import Peer
from mcpcore.engine.state import Endpoint
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.headers import LAST_EVENT_ID, SESSION_ID, HeaderError
from mcpcore.http.principals import OUTLIVED, ends_at, has_rights_of
from mcpcore.http.server.event_log import EventLog
from mcpcore.http.server.exchange import (
    HARD_FACTOR,
    NO_FIELDS,
    Exchange,
    ExchangeEnded,
    ExchangeState,
    Report,
    is_handshake,
    opens_session,
    taken_over,
)
from mcpcore.http.server.sessions import (
    Session,
    SessionClosed,
    SessionOpened,
    SessionTable,
    owner_of,
)
from mcpcore.http.settings import HttpSettings
from mcpcore.spec import refusals
from mcpcore.spec.errors import LocalProtocolError
from mcpcore.spec.revisions import LATEST_LEGACY, legacy_of, newest
from mcpcore.wire.jsontext import Body
from mcpcore.wire.message import Frame, Reject

if TYPE_CHECKING:  # late: few servers have HTTP+SSE or a store
    from mcpcore.http.legacy_sse.server import SseSession
    from mcpcore.http.server.stored.sessions import StoredSessions

_DONE = ExchangeState.DONE
_ROUNDING = 0.001
"""Seconds of tolerance for rounding of times."""
_UNREAD = "the client does not read its stream"
CLOSING = "the server is shutting down"
_NOTIFICATION, _RESULT = FrameKind.NOTIFICATION, FrameKind.RESULT
_WAITING = ExchangeState.WAITING
_ANSWERS = frozenset({FrameKind.RESULT, FrameKind.ERROR, FrameKind.BATCH})


SessionHome: TypeAlias = "LocalSessions | StoredSessions"
"""Home of the sessions of a server: this process, or a store that several workers share."""


class Router:
    """Exchanges, sessions and events of an HttpServer; all frames pass here."""

    home: SessionHome

    def __init__(self, config: Config, secret: bytes, settings: HttpSettings) -> None:
        self.settings = settings
        self.endpoint = Endpoint()
        self.endpoint.capacity = most = settings.max_calls
        # All modern clients share one Peer; the limits of each are those of its exchange.
        limits = structs.replace(config.limits, in_flight=most, listen_streams=most)
        self.modern = Peer(
            Role.SERVER,
            structs.replace(config, route_scoped_ids=True, limits=limits),
            endpoint=self.endpoint,
            joins=True,
        )
        self.session_config = structs.replace(config, route_scoped_ids=False)
        self.legacy = legacy_of(config.revisions)
        self.sessions = SessionTable(secret, settings)
        self.log = EventLog(secret, settings)
        self.exchanges: dict[Route, Exchange] = {}
        self.news: dict[Route, Exchange] = {}
        self.sse_sessions: dict[str, SseSession] = {}
        """Sessions of HTTP+SSE whose stream has not been ended from here, by id."""
        self.closing = False
        self.deadlines: Deadlines[Any] = Deadlines()
        self.unwatched: list[tuple[Exchange, float]] = []
        """Exchanges without a deadline yet, as most need none, with the start of the wait."""
        self._waiting: deque[tuple[Exchange, float]] = deque()
        """Exchanges that were not answered at once, with the start of the wait."""
        self.watched = False
        """True if an exchange was given a deadline since the earliest one was last asked for."""
        self.interval = settings.heartbeat or settings.stall_timeout
        delay = settings.json_delay
        self._patience = self.interval if delay is None else min(delay, self.interval)

    def session(self, id: str) -> Session:
        """Return the session with this id.  Raises LocalProtocolError if there is none."""
        session = self.sessions.get(id)
        if session is None:
            raise LocalProtocolError("there is no such session (any more)")
        return session

    def watch(self, record: Exchange, now: float) -> None:
        """Set the time of the next check of an exchange."""
        when = now + self.interval
        if record.state is ExchangeState.WAITING and not record.opens:
            when = min(when, record.slow_at)
        elif record.principal is not None and record.state is ExchangeState.STREAMING:
            when = min(when, ends_at(record.principal))
        self.deadlines.set(record, when)
        self.watched = True

    def watch_new(self) -> None:
        """Watch the exchanges that still wait for an answer."""
        waiting = self._waiting
        for record, since in self.unwatched:
            if record.state is _WAITING and not record.opens:
                self.watched = self.watched or not waiting
                waiting.append((record, since))
            elif record.state is not _DONE and record.route in self.exchanges:
                self.watch(record, since)
        self.unwatched.clear()
        if len(waiting) > 64 and len(waiting) > 64 + 4 * len(self.exchanges):
            self._waiting = deque(each for each in waiting if self._is_open(each[0]))

    def _is_open(self, record: Exchange) -> bool:
        return record.state is not _DONE and record.route in self.exchanges

    def first_look(self) -> float | None:
        """Return the time at which the exchange that has waited longest is looked at, if any."""
        self._drop_answered()
        return self._waiting[0][1] + self._patience if self._waiting else None

    def _drop_answered(self) -> None:
        waiting = self._waiting
        while waiting and not self._is_open(waiting[0][0]):
            waiting.popleft()

    def watch_slow(self, now: float) -> None:
        """Give a deadline to the exchanges that have waited so long."""
        while (due := self.first_look()) is not None and due <= now:
            self.watch(*self._waiting.popleft())

    def wait(self, record: Exchange, now: float) -> None:
        """Start the wait for the answer of an exchange."""
        record.fields = NO_FIELDS
        delay = self.settings.json_delay
        if delay is not None and record.terms.accepts_stream:
            record.slow_at = now + delay
        self.unwatched.append((record, now))

    def report(self, event: Event) -> None:
        """Queue an event of our own behind all events of earlier input."""
        self.endpoint.inbox.append((self, event))

    def take_in(self, event: Event) -> None:
        """Pass on an event of our own at its place in the queue (called by the endpoint)."""
        self.endpoint.events.append(event)

    # From Peers to exchanges

    def collect(self) -> None:
        """Route the frames that the Peers have made."""
        outbox = self.endpoint.outbox
        if outbox.frames:
            for frame in outbox.take():
                self._place(frame)
        if self.closing:
            self._finish_sse()

    def _finish_sse(self) -> None:
        sessions = self.sse_sessions
        for session in [each for each in sessions.values() if not each.peer.in_flight]:
            exchange = session.stream_exchange
            if exchange is not None:
                exchange.finish()
            del sessions[session.id]

    def _place(self, frame: Transmit) -> None:
        """Give a frame to the exchange or stream that carries it; all pass here in order."""
        id, route = frame.peer.session, frame.route
        session = None if id is None else self.sessions.get(id)
        if session is None:
            record = None if route == MAIN else self.exchanges.get(route)
            if record is None:
                taken_over(frame)
            elif record.state is _WAITING:
                if not record.answer(frame):
                    self._carry(frame, record)
            elif (record.size and frame.kind is _NOTIFICATION) or not record.push(frame):
                self._carry(frame, record)  # checks the limit
        elif route == MAIN:
            self.home.place(frame, session)
        else:
            record = self.exchanges.get(route)
            if record is None or not record.opens:
                self.home.carry(frame, session, record)
            else:
                self._open(frame, session, record)
            if session.temporary and frame.ends:
                self.home.end(session, "its one request is answered", self.log.now)

    def _open(self, frame: Transmit, session: Session, record: Exchange) -> None:
        """Send the answer to the ``initialize`` that opens a session, and its id with a result."""
        if frame.kind is _RESULT:
            if not session.temporary:
                record.extra += ((SESSION_ID, session.id.encode("ascii")),)
            record.opens = False
            self.home.carry(frame, session, record)
        else:
            record.push(frame)
            self.home.end(session, "initialize was refused", self.log.now)

    def _carry(self, frame: Transmit, record: Exchange) -> None:
        self.make_way(frame, record)
        if not record.push(frame):
            taken_over(frame)

    def make_way(self, frame: Transmit, record: Exchange) -> None:
        """Give up an exchange that has no room for a notification."""
        if record.size and frame.kind is _NOTIFICATION and self.overfull(record):
            self.give_up(record, self.log.now)

    def overfull(self, record: Exchange) -> bool:
        """Return True if so much waits on an exchange that it is closed at once."""
        return record.size > HARD_FACTOR * self.settings.max_queued

    # Time

    def look_at(self, record: Exchange, now: float) -> None:
        """Check an exchange: open a stream for a slow answer, send a heartbeat, end a stall."""
        if record.session is not None:
            record.session.look_at(record)
        settings = self.settings
        if record.state is ExchangeState.DONE:
            if record.packing is not None:
                self.news[record.route] = record
            return  # the driver limits the time that writing may take
        if record.state is ExchangeState.WAITING:
            if now >= record.slow_at and not record.opens:
                record.open_stream()
        elif now >= ends_at(record.principal) - _ROUNDING:
            self.give_up(record, now, OUTLIVED)
            return
        elif record.size <= settings.max_queued:
            record.over_since = None
            if settings.heartbeat is not None:
                record.heartbeat()
        elif record.over_since is None or (
            record.moved and record.session is not None and record.session.over_sse
        ):
            # A stream that stays too full is closed; one of HTTP+SSE, which carries responses as
            # well, may be as slow as its client.
            record.over_since = now
        elif now - record.over_since >= settings.stall_timeout - _ROUNDING:
            self.give_up(record, now)
            return
        record.moved = False
        self.watch(record, now)

    def expire(self, now: float) -> None:
        """End or forget the sessions that are due."""
        while (overdue := self.sessions.overdue(now)) is not None:
            self.home.evict(*overdue, now)

    # Ends

    def give_up(self, record: Exchange, now: float, text: str = _UNREAD) -> None:
        """End a response whose authorization has ended, or close one whose client does not read."""
        session = record.session
        if session is not None:
            session.let_go(record, now)
        for frame in record.drop_queued():
            taken_over(frame)
        record.finish(close=text is _UNREAD)
        if session is not None and session.over_sse:
            self.home.end(session, text, now)
        if record.modern:
            self.modern.receive_eof(now=now, route=record.route, reason=text)

    def close_narrower(self, session: Session) -> None:
        """Close the GET streams of a session that are for fewer rights than it is used with."""
        for carrier in session.carriers:
            if not has_rights_of(carrier.principal, session.peer.principal):
                self.give_up(carrier, self.log.now, OUTLIVED)

    def forget(self, record: Exchange) -> None:
        """Remove an exchange; every exchange ends here."""
        del self.exchanges[record.route]
        if self._waiting:
            self._drop_answered()
        if record.report is not None:
            self.endpoint.events.append(_ended(record, record.report))
        if record.deadline is not None:
            self.deadlines.set(record, None)
        session = record.session
        if session is not None:
            now = self.log.now
            session.detach(record, now)
            self.sessions.rest(session, now)
            if session.over_sse:  # of all exchanges only its stream knows it
                reason = CLOSING if self.closing else "its event stream has ended"
                self.home.end(session, reason, now)
        if record.size:
            for frame in record.drop_queued():
                taken_over(frame)
        self.news.pop(record.route, None)
        record.news = {}
        if session is not None and self.closing:
            self.home.end_if_unused(session)


def any_stream_will_do(frame: Transmit) -> bool:
    """Return True for requests to the client and cancellations, which any stream may carry."""
    return frame.kind is FrameKind.REQUEST or frame.method == "notifications/cancelled"


def _ended(record: Exchange, report: Report) -> ExchangeEnded:
    carried = record.stream or record.source
    if record.session is not None:
        report.session = record.session.id
    return ExchangeEnded(
        exchange=record.route,
        complete=record.complete,
        principal=record.principal,
        stream=None if carried is None else carried.number,
        request=record.request_id,
        revision=record.terms.version,
        **structs.asdict(report),
    )


class LocalSessions:
    """Home of sessions that live and end with this server; a store's home uses it for its own."""

    def __init__(self, router: Router) -> None:
        self._router = router
        legacy = router.legacy
        nameless = newest(revision for revision in legacy if not revision.version_header)
        self._unnamed = nameless or newest(legacy) or LATEST_LEGACY
        """Revision of a request that names none: the newest that has no version header."""

    # From requests

    def receive(self, record: Exchange, frame: Frame, now: float) -> None:
        """Handle the body of a legacy POST in its session, or open one."""
        if not self._router.settings.sessions:
            session: Session | None = self._temporary(record, frame, now)
        elif record.session_id is not None:
            session = self.find(record)
        elif isinstance(frame, Reject):
            record.refuse(refusals.NO_MESSAGE, frame.message, code=frame.code)
            return
        elif not opens_session(frame):
            text = "the Mcp-Session-Id header is missing; initialize first"
            record.refuse(refusals.SESSION_MISSING, text)
            return
        else:
            session = self._open(record, now)
        if session is not None:
            self.converse(record, frame, session, now)

    def converse(self, record: Exchange, frame: Frame, session: Session, now: float) -> None:
        """Give the Peer of a session a frame, whose exchange waits for the answer."""
        router = self._router
        if is_handshake(frame):
            router.sessions.agree(session, now)
        elif not record.opens:
            router.sessions.touch(session, now)
        self.use_rights(session, record.principal)
        session.attach(record)
        router.wait(record, now)
        router.endpoint.advance(
            session.parts.inbound, frame, now, record.route, None, record.principal
        )

    def use_rights(self, session: Session, principal: str | None) -> None:
        """Note the rights of the sender of a message, and close streams for narrower ones."""
        if session.use_rights(principal):
            session.parts.state.changes += 1
            session.save_changes()
            self._router.close_narrower(session)

    def _open(self, record: Exchange, now: float) -> Session:
        router = self._router
        session = router.home.make(router.sessions.new_id(), record)
        router.endpoint.events.append(SessionOpened(session=session.id, principal=record.principal))
        record.opens = True
        router.home.admit(session, now)
        return session

    def _temporary(self, record: Exchange, frame: Frame, now: float) -> Session:
        """Return a session for one request, as after a handshake with a client of no capability."""
        session = self.make(self._router.sessions.new_id(), record)
        state = session.parts.state
        session.temporary = state.alone = True
        self._router.sessions.add(session, now)
        if not opens_session(frame):
            state.move(SessionSignal.INITIALIZE)
            state.move(SessionSignal.INITIALIZED)
            state.agree(record.claimed or self._unnamed)
        return session

    def make(self, id: str, record: Exchange) -> Session:
        """Return a new session for the client that sends ``record``."""
        router, owner = self._router, owner_of(record)
        config = router.session_config
        return Session(id, record.principal, owner, config, router.endpoint, router.log)

    def admit(self, session: Session, now: float) -> None:
        """Register a session, after making room for it."""
        sessions = self._router.sessions
        while (excess := sessions.excess(session.owner, now)) is not None:
            self._router.home.evict(*excess, now)
        sessions.add(session, now)

    def find(self, record: Exchange) -> Session | None:
        """Return the session that the header names; None after a refusal if there is none."""
        session = self._router.sessions.find(record.session_id or "", record.principal)
        if session is None or session.over_sse:
            record.refuse(refusals.NO_SESSION)
            return None
        if record.report is not None:
            record.report.session = session.id
        return session

    def listen(self, record: Exchange, now: float) -> None:
        """Handle a GET: open or resume an event stream of its session."""
        session = self.find(record)
        if session is not None:
            self.open_stream(record, session, now)

    def open_stream(self, record: Exchange, session: Session, now: float) -> None:
        """Make an exchange a GET stream of its session, or the next connection of a stream."""
        router = self._router
        try:
            cursor = record.fields.one(LAST_EVENT_ID)
        except HeaderError as error:
            record.refuse(refusals.LAST_EVENT_ID, str(error))
            return
        if not has_rights_of(record.principal, session.peer.principal):
            record.refuse(refusals.NO_SESSION)
            return
        router.sessions.touch(session, now)
        if not cursor:
            session.listen(record)
        elif (place := router.log.ids.read(session.id, cursor)) is None:
            record.refuse(refusals.LAST_EVENT_ID)
        else:
            session.pick_up(record, *place)
        if record.state is ExchangeState.STREAMING:
            record.fields = NO_FIELDS
            router.watch(record, now)

    def delete(self, record: Exchange, now: float) -> None:
        """Handle a DELETE: end the session at the request of its client."""
        session = self.find(record)
        if session is not None:
            record.reply(204)
            self.end(session, "ended by the client", now)

    # From Peers

    def carry(self, frame: Transmit, session: Session, record: Exchange | None) -> None:
        """Give a frame to the stream of its request, or to an exchange without a stream."""
        stream = session.log.posts.get(frame.route)
        carrier = record if stream is None else stream.exchange
        if carrier is not None:
            if carrier.size and frame.kind is _NOTIFICATION:
                self._router.make_way(frame, carrier)
            if carrier.push(frame):
                return
        if stream is not None and stream.number in session.log.streams:
            if frame.data:
                stream.append(b"".join(frame.data))
            if frame.ends:
                session.log.end(stream)
            taken_over(frame)
        elif any_stream_will_do(frame):
            self._router.home.place(frame, session)
        else:
            taken_over(frame)

    def place(self, frame: Transmit, session: Session) -> None:
        """Give a session a frame that belongs to none of its requests."""
        router = self._router
        for stream in session.gets:
            carrier = cast(Exchange, stream.exchange)
            # Responses come here in HTTP+SSE only; the number of requests limits them.
            if router.overfull(carrier) and frame.kind not in _ANSWERS:
                router.give_up(carrier, router.log.now)
        if session.over_sse and router.sessions.get(session.id) is not session:
            taken_over(frame)
        else:
            session.place(frame, router.log.now)

    # From the application

    def notify(
        self, method: str, params: Body, session: str | None, meta: Mapping[str, Any] | None
    ) -> None:
        """Notify one session, or all clients."""
        if session is None:
            self._router.modern.notify(method, params, meta=meta)
        for each in self._chosen(session):
            each.peer.notify(method, params, meta=meta)

    def write_log(
        self,
        level: str,
        data: Any,
        logger: str | None,
        session: str | None,
        meta: Mapping[str, Any] | None,
    ) -> bool:
        """Log to one session, or to all sessions; return True if at least one message is sent."""
        chosen = self._chosen(session)
        sent = [each.peer.log(None, level, data, logger, meta=meta) for each in chosen]
        return any(sent)

    def _chosen(self, id: str | None) -> Iterable[Session]:
        return self._router.sessions if id is None else (self._router.session(id),)

    # Ends

    def evict(self, session: Session, reason: str, now: float) -> None:
        """End a session although no party has ended it."""
        self.end(session, reason, now)

    def end_if_unused(self, session: Session) -> None:
        """End a session without exchanges, as the server closes."""
        if not session.exchanges:
            self.end(session, CLOSING, self._router.log.now)

    def end(self, session: Session, reason: str, now: float) -> None:
        """End a session with its streams and requests; every session ends here."""
        router = self._router
        if router.sessions.get(session.id) is not session:
            return
        router.sse_sessions.pop(session.id, None)
        router.sessions.remove(session)
        session.log.close()
        for record in session.exchanges.values():
            record.session = None
            if record.state is ExchangeState.WAITING:
                record.refuse(refusals.NO_SESSION, f"the session has ended: {reason}")
            elif record.state is ExchangeState.STREAMING:
                record.finish()
        for frame in session.backlog:
            taken_over(frame)
        session.peer.end(now=now, reason=reason)
        if not session.temporary:
            # Queued behind the end itself, so that it follows all events of the session.
            router.report(SessionClosed(session=session.id, reason=reason))
