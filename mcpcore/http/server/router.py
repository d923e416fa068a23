"""Routing of messages in an HTTP server, and the ends of streams, exchanges and sessions.

Source: the Streamable HTTP pages, "Sending Messages", "Multiple Connections" and "Resumability and
Redelivery".
"""

from typing import Any, cast

from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import MAIN, Event, Key, Route
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.headers import LAST_EVENT_ID, SESSION_ID, HeaderError
from mcpcore.http.server.application_calls import ApplicationCalls
from mcpcore.http.server.event_log import EventLog
from mcpcore.http.server.exchange import HARD_FACTOR, Exchange, Phase, taken_over
from mcpcore.http.server.reports import ExchangeEnded, Report
from mcpcore.http.server.sessions import Session, SessionClosed
from mcpcore.http.settings import MAX_DELAY, HttpSettings

_ROUNDING = 0.001
"""Seconds of tolerance for rounding of times, without which the timeout would wait for one more
check."""


def _ended(record: Exchange, report: Report) -> ExchangeEnded:
    carried = record.stream or record.source
    return ExchangeEnded(
        exchange=record.route,
        method=report.method,
        path=report.path,
        peer=report.peer,
        status=report.status,
        complete=record.complete,
        sent=report.sent,
        began=report.began,
        principal=record.principal,
        session=report.session if record.session is None else record.session.id,
        stream=None if carried is None else carried.number,
        rpc_method=report.rpc_method,
        request=record.request_id,
        revision=record.version,
    )


def any_stream_will_do(frame: Transmit) -> bool:
    """Return True if a frame whose stream is missing, or carries answers only, may use another one.

    These are requests to the client, and their cancellations.
    """
    return frame.kind is FrameKind.REQUEST or frame.method == "notifications/cancelled"


_CLOSING = "the server is shutting down"
_NOTIFICATION, _WAITING, _DONE = FrameKind.NOTIFICATION, Phase.WAITING, Phase.DONE
_ANSWERS = frozenset({FrameKind.RESULT, FrameKind.ERROR, FrameKind.BATCH})


class Router(ApplicationCalls):
    """The part of an HttpServer that knows exchanges, streams and sessions."""

    settings: HttpSettings
    _log: EventLog
    _exchanges: dict[Route, Exchange]
    _news: dict[Route, Exchange]
    _deadlines: Deadlines[Any]
    _unwatched: list[tuple[Exchange, float]]
    """Exchanges that wait for an answer without a deadline yet, with the start of the wait: most
    need none."""
    _watched: bool
    """True if an exchange was given a deadline since the earliest one was last asked for."""
    _interval: float
    _closing: bool

    # Methods for the application

    def close_stream(self, key: Key, *, retry: float | None = None, now: float) -> bool:
        """Close the connection for the answer to ``key``; the request goes on.

        The client is asked to come back after ``retry`` seconds (None: ``reconnect_delay``) and
        then gets the missed events.  Returns False, and does nothing, if the client's revision has
        no such polling, the client takes no event stream, the connection is gone or the request has
        ended.  Raises ValueError for an invalid time, or one longer than a year.
        """
        self._log.now = now
        delay = self._delay(retry)
        record = self._endpoint.inbound.get(key)
        if record is None or not record.revision.priming:
            return False
        # Messages made before this call are sent first.
        self._collect()
        session = self._sessions.get(record.peer.session)
        exchange = self._exchanges.get(record.route)
        if session is None:
            return False
        waiting = exchange is not None and exchange.phase is Phase.WAITING
        if exchange is not None and waiting and exchange.accepts_stream:
            exchange.open_stream()
        return session.poll(record.route, delay)

    def close_get_streams(self, session: str, *, retry: float | None = None, now: float) -> int:
        """Close the connections of a session's GET streams, as :meth:`close_stream` does.

        Returns their number.  Raises LocalProtocolError if there is no such session, and ValueError
        as :meth:`close_stream` does.
        """
        self._log.now = now
        delay = self._delay(retry)
        found = self._session(session)
        self._collect()
        revision = found.peer.revision
        if revision is None or not revision.priming:
            return 0
        return found.poll_gets(delay)

    def _delay(self, retry: float | None) -> float:
        if retry is None:
            return self.settings.reconnect_delay
        if not retry <= MAX_DELAY:
            raise ValueError(f"retry must be at most {MAX_DELAY:.0f} seconds, not {retry}")
        return max(retry, 0.0)

    # Streams that a GET opens or resumes

    def _listen(self, record: Exchange, session: Session, now: float) -> None:
        """Make an exchange a GET stream of its session, or the next connection of a stream."""
        try:
            cursor = record.fields.one(LAST_EVENT_ID)
        except HeaderError as error:
            record.refuse(400, str(error))
            return
        self._sessions.touch(session, now)
        if cursor:
            self._resume(record, session, cursor)
        elif self._room(record, session):
            session.listen(record)
        if record.phase is Phase.STREAMING:
            record.forget_head()
            self._watch(record, now)

    def _resume(self, record: Exchange, session: Session, cursor: str) -> None:
        place = self._log.ids.read(session.id, cursor)
        if place is None:
            record.refuse(400, "the Last-Event-ID is none that this session was given")
            return
        number, position = place
        self._log.sweep()
        stream = session.log.streams.get(number)
        entries = None if stream is None else stream.after(position)
        if stream is None or entries is None:
            record.refuse(410, "what followed the Last-Event-ID is not kept any more")
        elif stream.exchange or stream.route is not None or self._room(record, session):
            session.resume(stream, record, entries)

    def _room(self, record: Exchange, session: Session) -> bool:
        """Return True if the session may have one more GET stream, else refuse the request."""
        limit = self.settings.session_streams
        if len(session.gets) >= limit:
            record.refuse(409, f"the session has {limit} GET streams open already")
            return False
        return True

    # From Peers to exchanges

    def _collect(self) -> None:
        outbox = self._endpoint.outbox
        if outbox.frames:
            for frame in outbox.take():
                self._place(frame)
        if self._closing:
            self._finish_pipes()

    def _finish_pipes(self) -> None:
        """End, while the server closes, the streams that nothing more is to come on."""
        raise NotImplementedError

    def _place(self, frame: Transmit) -> None:
        """Give a frame of a Peer to the exchange or stream that carries it.

        All frames pass here, in order and with their stream (session and route) known.
        """
        id, route = frame.peer.session, frame.route
        session = None if id is None else self._sessions.get(id)
        if route == MAIN:
            self._to_session(frame, session)
        elif session is None:
            record = self._exchanges.get(route)
            if record is None:
                self._carry(frame, None, None)
            elif record.phase is _WAITING:
                if not record.answer(frame):
                    self._carry(frame, None, record)
            elif (record.size and frame.kind is _NOTIFICATION) or not record.push(frame):
                self._carry(frame, None, record)  # checks the limit and the stream
        else:
            self._deliver(frame, session)
            if session.temporary and frame.ends:
                self._end_session(session, "its one request is answered", self._log.now)

    def _deliver(self, frame: Transmit, session: Session) -> None:
        """Send a frame that belongs to a route of a session."""
        record = self._exchanges.get(frame.route)
        if record is not None and record.opens:
            if frame.kind is FrameKind.RESULT:
                if not session.temporary:
                    record.extra += ((SESSION_ID, session.id.encode("ascii")),)
                record.opens = False
            else:
                record.push(frame)
                self._end_session(session, "initialize was refused", self._log.now)
                return
        self._carry(frame, session, record)

    def _carry(self, frame: Transmit, session: Session | None, record: Exchange | None) -> None:
        """Give a frame to the stream of its request, or to an exchange without a stream."""
        stream = None if session is None else session.log.posts.get(frame.route)
        carrier = record if stream is None else stream.exchange
        if carrier is not None:
            if carrier.size and frame.kind is _NOTIFICATION and self._overfull(carrier):
                self._give_up(carrier, self._log.now)
            if carrier.push(frame):
                return
        if stream is not None and session is not None and stream.number in session.log.streams:
            if frame.data:
                stream.append(b"".join(frame.data))
            if frame.ends:
                session.log.end(stream)
            taken_over(frame)
        elif any_stream_will_do(frame):
            self._to_session(frame, session)
        else:
            taken_over(frame)

    def _overfull(self, record: Exchange) -> bool:
        return record.size > HARD_FACTOR * self.settings.max_queued

    def _to_session(self, frame: Transmit, session: Session | None) -> None:
        if session is None:
            taken_over(frame)
        else:
            for stream in list(session.gets):
                carrier = cast(Exchange, stream.exchange)
                # Responses come here in HTTP+SSE only; the number of requests limits them.
                if self._overfull(carrier) and frame.kind not in _ANSWERS:
                    self._give_up(carrier, self._log.now)
            if session.over_sse and self._sessions.get(session.id) is not session:
                taken_over(frame)
            else:
                session.place(frame, self._log.now)

    # Time

    def _look_at(self, record: Exchange, now: float) -> None:
        """Check an exchange: open a stream for a slow answer, send a heartbeat, end a stall."""
        if record.phase is Phase.DONE:
            if record.packing is not None:
                self._news[record.route] = record
            return  # the driver limits the time that writing may take
        if record.phase is Phase.WAITING:
            if now >= record.slow_at and not record.opens:
                record.open_stream()
        elif record.size <= self.settings.max_queued:
            record.over_since = None
            if self.settings.heartbeat is not None:
                record.heartbeat()
        elif record.over_since is None or (record.moved and _carries_all(record)):
            # A stream that stays too full is closed; one of HTTP+SSE, which carries responses as
            # well, may be as slow as its client.
            record.over_since = now
        elif now - record.over_since >= self.settings.stall_timeout - _ROUNDING:
            self._give_up(record, now)
            return
        record.moved = False
        self._watch(record, now)

    def _watch_new(self) -> None:
        """Watch the exchanges that still wait for an answer."""
        for record, since in self._unwatched:
            if record.phase is not _DONE and record.route in self._exchanges:
                self._watch(record, since)
        self._unwatched.clear()

    def _watch(self, record: Exchange, now: float) -> None:
        """Set the time of the next check of an exchange."""
        when = now + self._interval
        if record.phase is Phase.WAITING and not record.opens:
            when = min(when, record.slow_at)
        self._deadlines.set(record, when)
        self._watched = True

    # Ends

    def _give_up(self, record: Exchange, now: float) -> None:
        """Close a stream whose client does not read."""
        text = "the client does not read its stream"
        session = record.session
        if session is not None:
            session.let_go(record, now)
        for frame in record.drop_queued():
            taken_over(frame)
        record.finish(close=True)
        if session is not None and session.over_sse:
            self._end_session(session, text, now)
        if record.modern:
            self._modern.receive_eof(now=now, route=record.route, reason=text)

    def _forget(self, record: Exchange) -> None:
        """Remove an exchange; every exchange ends here."""
        del self._exchanges[record.route]
        if record.report is not None:
            self._endpoint.events.append(_ended(record, record.report))
        if record.deadline is not None:
            self._deadlines.set(record, None)
        session = record.session
        if session is not None:
            session.detach(record, self._log.now)
            self._sessions.rest(session, self._log.now)
            if session.over_sse:  # of all exchanges only its stream knows it
                self._end_session(session, self._why_over(), self._log.now)
        if record.size:
            for frame in record.drop_queued():
                taken_over(frame)
        self._news.pop(record.route, None)
        record.forget()
        if session is not None and self._closing:
            self._end_if_unused(session)

    def _why_over(self) -> str:
        return _CLOSING if self._closing else "its event stream has ended"

    def _end_if_unused(self, session: Session) -> None:
        if not session.exchanges:
            self._evict(session, _CLOSING, self._log.now)

    def _evict(self, session: Session, reason: str, now: float) -> None:
        """Remove a session from here although no party has ended it."""
        self._end_session(session, reason, now)

    def _end_session(self, session: Session, reason: str, now: float) -> None:
        """End a session with its streams and requests; every session ends here."""
        if self._sessions.get(session.id) is not session:
            return
        self._sessions.remove(session)
        session.log.close()
        for record in session.exchanges.values():
            record.session = None
            if record.phase is Phase.WAITING:
                record.refuse(404, f"the session has ended: {reason}")
            elif record.phase is Phase.STREAMING:
                record.finish()
        for frame in session.backlog:
            taken_over(frame)
        session.peer.end(now=now, reason=reason)
        if not session.temporary:
            # Queued behind the end itself, so that it follows all events of the session.
            self._endpoint.inbox.append((self, SessionClosed(session=session.id, reason=reason)))

    def take_in(self, event: Event) -> None:
        """Pass on an event of our own at its place in the queue (called by the endpoint)."""
        self._endpoint.events.append(event)


def _carries_all(record: Exchange) -> bool:
    return record.session is not None and record.session.over_sse
