"""Routing of messages in an HTTP server, and the ends of streams and exchanges.

Source: the Streamable HTTP pages, "Sending Messages", "Multiple Connections" and "Resumability and
Redelivery".
"""

from mcpcore.engine.events import MAIN
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.headers import SESSION_ID
from mcpcore.http.server.exchange import HARD_FACTOR, Exchange, ExchangeState, taken_over
from mcpcore.http.server.incoming import ExchangeEnded, Report
from mcpcore.http.server.sessions import Session
from mcpcore.http.server.state import ServerState, SessionHome

_ROUNDING = 0.001
"""Seconds of tolerance for rounding of times, without which the timeout would wait for one more
check."""
CLOSING = "the server is shutting down"
_NOTIFICATION, _RESULT = FrameKind.NOTIFICATION, FrameKind.RESULT
_WAITING = ExchangeState.WAITING


class Router:
    """Exchanges of an HttpServer: which one carries a frame, what is due, and their ends."""

    __slots__ = ("_endpoint", "_exchanges", "_state", "home")

    home: SessionHome
    """Home of the sessions, set by the server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._endpoint = state.endpoint
        self._exchanges = state.exchanges

    # From Peers to exchanges

    def collect(self) -> None:
        """Route the frames that the Peers have made."""
        outbox = self._endpoint.outbox
        if outbox.frames:
            for frame in outbox.take():
                self._place(frame)
        if self._state.closing:
            self._finish_sse()

    def _finish_sse(self) -> None:
        """End the streams of HTTP+SSE sessions without running requests, as the server closes."""
        sessions = self._state.sse_sessions
        for session in [each for each in sessions.values() if not each.peer.in_flight]:
            exchange = session.stream_exchange
            if exchange is not None:
                exchange.finish()
            del sessions[session.id]

    def _place(self, frame: Transmit) -> None:
        """Give a frame of a Peer to the exchange or stream that carries it.

        All frames pass here, in order and with their stream (session and route) known.
        """
        id, route = frame.peer.session, frame.route
        session = None if id is None else self._state.sessions.get(id)
        if session is None:
            record = None if route == MAIN else self._exchanges.get(route)
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
            record = self._exchanges.get(route)
            if record is None or not record.opens:
                self.home.carry(frame, session, record)
            else:
                self._open(frame, session, record)
            if session.temporary and frame.ends:
                self.home.end(session, "its one request is answered", self._state.log.now)

    def _open(self, frame: Transmit, session: Session, record: Exchange) -> None:
        """Send the answer to the ``initialize`` that opens a session, and its id with a result."""
        if frame.kind is _RESULT:
            if not session.temporary:
                record.extra += ((SESSION_ID, session.id.encode("ascii")),)
            record.opens = False
            self.home.carry(frame, session, record)
        else:
            record.push(frame)
            self.home.end(session, "initialize was refused", self._state.log.now)

    def _carry(self, frame: Transmit, record: Exchange) -> None:
        """Give a frame to an exchange of no session."""
        self.make_way(frame, record)
        if not record.push(frame):
            taken_over(frame)

    def make_way(self, frame: Transmit, record: Exchange) -> None:
        """Give up an exchange that has no room for a notification."""
        if record.size and frame.kind is _NOTIFICATION and self.overfull(record):
            self.give_up(record, self._state.log.now)

    def overfull(self, record: Exchange) -> bool:
        """Return True if so much waits on an exchange that it is closed at once."""
        return record.size > HARD_FACTOR * self._state.settings.max_queued

    # Time

    def look_at(self, record: Exchange, now: float) -> None:
        """Check an exchange: open a stream for a slow answer, send a heartbeat, end a stall."""
        self.home.look_at(record, now)
        state = self._state
        settings = state.settings
        if record.state is ExchangeState.DONE:
            if record.packing is not None:
                state.news[record.route] = record
            return  # the driver limits the time that writing may take
        if record.state is ExchangeState.WAITING:
            if now >= record.slow_at and not record.opens:
                record.open_stream()
        elif record.size <= settings.max_queued:
            record.over_since = None
            if settings.heartbeat is not None:
                record.heartbeat()
        elif record.over_since is None or (record.moved and _carries_all(record)):
            # A stream that stays too full is closed; one of HTTP+SSE, which carries responses as
            # well, may be as slow as its client.
            record.over_since = now
        elif now - record.over_since >= settings.stall_timeout - _ROUNDING:
            self.give_up(record, now)
            return
        record.moved = False
        state.watch(record, now)

    # Ends

    def give_up(self, record: Exchange, now: float) -> None:
        """Close a stream whose client does not read."""
        text = "the client does not read its stream"
        session = record.session
        if session is not None:
            session.let_go(record, now)
        for frame in record.drop_queued():
            taken_over(frame)
        record.finish(close=True)
        if session is not None and session.over_sse:
            self.home.end(session, text, now)
        if record.modern:
            self._state.modern.receive_eof(now=now, route=record.route, reason=text)

    def forget(self, record: Exchange) -> None:
        """Remove an exchange; every exchange ends here."""
        state = self._state
        del self._exchanges[record.route]
        if record.report is not None:
            self._endpoint.events.append(_ended(record, record.report))
        if record.deadline is not None:
            state.deadlines.set(record, None)
        session = record.session
        if session is not None:
            now = state.log.now
            session.detach(record, now)
            state.sessions.rest(session, now)
            if session.over_sse:  # of all exchanges only its stream knows it
                reason = CLOSING if state.closing else "its event stream has ended"
                self.home.end(session, reason, now)
        if record.size:
            for frame in record.drop_queued():
                taken_over(frame)
        state.news.pop(record.route, None)
        record.forget()
        if session is not None and state.closing:
            self.home.end_if_unused(session)


def any_stream_will_do(frame: Transmit) -> bool:
    """Return True if a frame whose stream is missing, or carries answers only, may use another one.

    These are requests to the client, and their cancellations.
    """
    return frame.kind is FrameKind.REQUEST or frame.method == "notifications/cancelled"


def _carries_all(record: Exchange) -> bool:
    return record.session is not None and record.session.over_sse


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
