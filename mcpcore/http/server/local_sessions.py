"""Sessions of an HTTP server in its own memory.

Source: the Streamable HTTP pages of 2025-03-26 to 2025-11-25, "Session Management".
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from mcpcore.engine.config import Role
from mcpcore.engine.lifecycle import SessionSignal
from mcpcore.engine.peer import Peer
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.http.headers import LAST_EVENT_ID, HeaderError
from mcpcore.http.principals import address_of, quota_key
from mcpcore.http.server.exchange import (
    Exchange,
    ExchangeState,
    is_handshake,
    opens_session,
    taken_over,
)
from mcpcore.http.server.router import CLOSING, Router, SessionHome, any_stream_will_do
from mcpcore.http.server.session_table import owner_of
from mcpcore.http.server.sessions import Session, SessionClosed, SessionOpened
from mcpcore.spec import refusals
from mcpcore.spec.revisions import LATEST_LEGACY, newest
from mcpcore.wire.message import Body, Frame, Reject

_NOTIFICATION = FrameKind.NOTIFICATION
_ANSWERS = frozenset({FrameKind.RESULT, FrameKind.ERROR, FrameKind.BATCH})


class LocalSessions:
    """Home of sessions that live and end with this server.

    ``home``: the home that these sessions are a part of, if it is not this one.
    """

    def __init__(self, router: Router, home: SessionHome | None = None) -> None:
        self._router = router
        self._home: SessionHome = self if home is None else home
        legacy = router.legacy
        nameless = newest(revision for revision in legacy if not revision.version_header)
        self._unnamed = nameless or newest(legacy) or LATEST_LEGACY
        """Revision of a request without a session and a version header: the newest of those that
        have no such header (2025-06-18, "Protocol Version Header")."""

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
        session.attach(record)
        router.wait(record, now)
        router.endpoint.advance(
            session.peer._inbound, frame, now, record.route, None, record.principal
        )

    def _open(self, record: Exchange, now: float) -> Session:
        router = self._router
        session = self._home.make(router.sessions.new_id(), record)
        router.endpoint.events.append(SessionOpened(session=session.id, principal=record.principal))
        record.opens = True
        self._home.admit(session, now)
        return session

    def _temporary(self, record: Exchange, frame: Frame, now: float) -> Session:
        """Return a session for a single request, as if there had been a handshake.

        Nothing is known of the client, so that the server cannot send it requests.
        """
        session = self.make(self._router.sessions.new_id(), record, temporary=True)
        self._router.sessions.add(session, now)
        if not opens_session(frame):
            state = session.peer._state
            state.move(SessionSignal.INITIALIZE)
            state.move(SessionSignal.INITIALIZED)
            state.agree(record.claimed or self._unnamed)
        return session

    def make(self, id: str, record: Exchange, *, temporary: bool = False) -> Session:
        """Return a new session for the client that sends ``record``."""
        router = self._router
        peer = Peer(Role.SERVER, router.session_config, endpoint=router.endpoint, session=id)
        peer._state.alone = temporary
        return Session(
            id,
            peer,
            record.principal,
            router.log,
            router.settings,
            owner=owner_of(record.principal, quota_key(address_of(record.peer))),
            temporary=temporary,
        )

    def admit(self, session: Session, now: float) -> None:
        """Register a session, after making room for it."""
        sessions = self._router.sessions
        while (excess := sessions.excess(session.owner, now)) is not None:
            self._home.evict(*excess, now)
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
        router.sessions.touch(session, now)
        if not cursor:
            session.listen(record)
        elif (place := router.log.ids.read(session.id, cursor)) is None:
            record.refuse(refusals.LAST_EVENT_ID)
        else:
            session.pick_up(record, *place)
        if record.state is ExchangeState.STREAMING:
            record.forget_head()
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
            self._home.place(frame, session)
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

    # Time and ends

    @property
    def timed(self) -> bool:
        """True if :meth:`deadline` may have come nearer."""
        return len(self._router.sessions) > 0

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_timeout` is next needed, None if never."""
        return self._router.sessions.deadline()

    def handle_timeout(self, now: float) -> None:
        """End the sessions that are due."""
        while (overdue := self._router.sessions.overdue(now)) is not None:
            self._home.evict(*overdue, now)

    def look_at(self, record: Exchange, now: float) -> None:
        """Check nothing: the sessions are here."""

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

    def close(self, now: float) -> None:
        """Begin to close: nothing is to be done for sessions at once."""

    @property
    def finished(self) -> bool:
        """True always: sessions end with the server."""
        return True
