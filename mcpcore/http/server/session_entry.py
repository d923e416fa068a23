"""Session of a legacy request: found by its header, or opened.

Source: the Streamable HTTP pages of 2025-03-26 to 2025-11-25, "Session Management".
"""

from collections.abc import Callable

from mcpcore.engine.config import Config, Role
from mcpcore.engine.lifecycle import SessionSignal
from mcpcore.engine.peer import Peer
from mcpcore.http.addresses import address_of, quota_key
from mcpcore.http.legacy_sse.server import SseServer
from mcpcore.http.server.era import opens_session
from mcpcore.http.server.exchange import Exchange
from mcpcore.http.server.session_table import owner_of
from mcpcore.http.server.sessions import Session, SessionOpened
from mcpcore.spec.revisions import Revision
from mcpcore.wire.message import Frame, Reject

Act = Callable[[Exchange, Session, float], None]
"""Action of a GET or DELETE in its session."""


class SessionEntry(SseServer):
    """The part of an HttpServer that finds or opens the sessions of requests."""

    _session_config: Config
    _unnamed: Revision
    """Revision of a request that names none."""

    def _session_of(self, record: Exchange, frame: Frame, now: float) -> Session | None:
        """Return the session of a legacy body, opened if it asks for one; None after a refusal."""
        if not self.settings.sessions:
            return self._temporary_session(record, frame, now)
        if record.session_id is not None:
            return self._find(record)
        if isinstance(frame, Reject):
            record.refuse(400, frame.message, code=frame.code)
        elif not opens_session(frame):
            record.refuse(400, "the Mcp-Session-Id header is missing; initialize first")
        else:
            return self._new_session(record, now)
        return None

    def _new_session(self, record: Exchange, now: float, *, temporary: bool = False) -> Session:
        session = self._make_session(self._sessions.new_id(), record, temporary=temporary)
        if not temporary:
            self._endpoint.events.append(
                SessionOpened(session=session.id, principal=record.principal)
            )
            record.opens = True
        self._admit(session, now)
        return session

    def _make_session(self, id: str, record: Exchange, *, temporary: bool) -> Session:
        """Return a new session for the client that sends ``record``."""
        peer = Peer(Role.SERVER, self._session_config, endpoint=self._endpoint, session=id)
        peer._state.alone = temporary
        return Session(
            id,
            peer,
            record.principal,
            self._log,
            self.settings,
            owner=owner_of(record.principal, quota_key(address_of(record.peer))),
            temporary=temporary,
        )

    def _admit(self, session: Session, now: float) -> None:
        """Register a session, after making room for it."""
        if not session.temporary:
            while (excess := self._sessions.excess(session.owner, now)) is not None:
                self._evict(*excess, now)
        self._sessions.add(session, now)

    def _temporary_session(self, record: Exchange, frame: Frame, now: float) -> Session:
        """Return a session for a single request, as if there had been a handshake.

        Nothing is known of the client, so that the server cannot send it requests.
        """
        session = self._new_session(record, now, temporary=True)
        if not opens_session(frame):
            state = session.peer._state
            state.move(SessionSignal.INITIALIZE)
            state.move(SessionSignal.INITIALIZED)
            state.agree(record.claimed or self._unnamed)
        return session

    def _in_session(self, record: Exchange, act: Act, now: float) -> None:
        """Call ``act`` with the session that the header names, if there is one."""
        session = self._find(record)
        if session is not None:
            act(record, session, now)

    def _delete(self, record: Exchange, session: Session, now: float) -> None:
        """End a session at the request of its client."""
        record.reply(204)
        self._end_session(session, "ended by the client", now)

    def _find(self, record: Exchange) -> Session | None:
        """Return the session that the header names; None after a refusal if there is none."""
        session = self._sessions.find(record.session_id or "", record.principal)
        if session is None or session.over_sse:
            record.refuse(404, "there is no such session (any more); initialize again")
            return None
        if record.report is not None:
            record.report.session = session.id
        return session
