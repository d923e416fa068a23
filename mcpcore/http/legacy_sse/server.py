"""HTTP+SSE at a server: the two endpoints of 2024-11-05, which later revisions replaced by one.

A GET opens an event stream, which is the session; its first event names the URI for POSTs, which
get no more than 202.  Source: 2024-11-05, transports page, "HTTP with SSE".
"""

from typing import cast

from msgspec import structs

from mcpcore.engine.lifecycle import SessionState
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import ends_at
from mcpcore.http.server.exchange import NO_FIELDS, Exchange, Terms, is_handshake, opens_session
from mcpcore.http.server.gate import Gate
from mcpcore.http.server.router import Router
from mcpcore.http.server.sessions import Session, SessionOpened, owner_of
from mcpcore.http.settings import SsePaths
from mcpcore.spec import refusals
from mcpcore.wire.message import Frame, Kind, Message, Reject
from mcpcore.wire.sse import encode_event

ENDPOINT = "endpoint"
_PARAMETER = "session_id"
_MOST_PARAMETERS = 16
_UNRESERVED = "/!$&'()*+,;=:@~-._"
"""Characters that a path may hold unescaped (RFC 3986 section 3.3)."""


class SseSession(Session):
    """Session that one event stream carries, and that ends with it."""

    over_sse = True

    @property
    def busy(self) -> bool:
        """True if a request runs or the handshake is done, so that the client may wait for news."""
        return self.peer.in_flight > 0 or self.peer.state is SessionState.OPEN

    @property
    def stream_exchange(self) -> Exchange | None:
        """Exchange that carries the whole session, None once it is gone."""
        return cast(Exchange, self.gets[0].exchange) if self.gets else None


class SseServer:
    """The part of an HttpServer that serves HTTP+SSE; ValueError if no revision has it."""

    def __init__(self, router: Router, gate: Gate) -> None:
        self._router = router
        self._gate = gate
        if router.settings.sse is not None and not router.legacy:
            raise ValueError("HTTP+SSE needs a revision with a handshake, and none is spoken")
        self.configure()

    def configure(self) -> None:
        """Take over the settings of sessions.

        One conversation: nothing would identify the sender of a modern request on it.
        """
        router = self._router
        self._config = structs.replace(router.session_config, revisions=router.legacy)

    # The event stream

    def open(self, record: Exchange, head: HttpRequest, now: float) -> None:
        """Begin a session on the event stream that a GET has asked for."""
        router = self._router
        sse = cast(SsePaths, router.settings.sse)  # else the path is not known
        if not record.terms.accepts_stream:
            record.refuse(refusals.NO_EVENT_STREAM)
            return
        id = router.sessions.new_id()
        owner, config = owner_of(record), self._config
        session = SseSession(id, record.principal, owner, config, router.endpoint, router.log)
        router.endpoint.events.append(SessionOpened(session=id, principal=record.principal))
        router.home.admit(session, now)
        router.sse_sessions[id] = session
        session.open_stream(record)
        from urllib.parse import quote  # here, as below: few servers have HTTP+SSE

        root = quote(head.root, safe=_UNRESERVED) if sse.root is None else sse.root
        # One slash at most: with two it would name another host.
        root = f"/{root.strip('/')}" if root.strip("/") else ""
        uri = f"{root}{sse.messages}?{_PARAMETER}={id}"
        record.write(encode_event(uri.encode("ascii"), event=ENDPOINT))
        record.fields = NO_FIELDS
        router.watch(record, now)

    # Messages

    def post_wanted(self, record: Exchange, query: str) -> int:
        """Find the session that a POST names; return the bytes to read of it, 0 if refused."""
        record.over_sse = True
        # Responses go onto the stream, so that the Accept header of the POST is irrelevant.
        record.terms = Terms(record.terms.version)
        record.session_id = _session_in(query)
        if record.session_id is None:
            text = f"the query must name one {_PARAMETER}"
            record.refuse(refusals.SSE_SESSION_MISSING, text)
        elif self._find(record) is not None:
            return self._gate.body_wanted(record)
        return 0

    def _find(self, record: Exchange) -> SseSession | None:
        session = self._router.sessions.find(record.session_id or "", record.principal)
        if isinstance(session, SseSession):
            return session
        text = "there is no such session (any more) here; open the event stream again"
        record.refuse(refusals.NO_SESSION, text)
        return None

    def receive(self, record: Exchange, frame: Frame, now: float) -> None:
        """Handle a posted body: reply 202 or 400; answers to a request go onto the stream."""
        session = self._find(record)
        if session is None:
            return
        revision, exchange = session.peer.revision, session.stream_exchange
        session.peer.principal = record.principal
        if exchange is not None:  # its one stream has the answers to these, too
            exchange.principal = record.principal
            if exchange.deadline is not None and ends_at(record.principal) < exchange.deadline:
                self._router.watch(exchange, now)
        if isinstance(frame, Reject):
            record.refuse(refusals.NO_MESSAGE, frame.message, code=frame.code)
            if frame.id is not None:
                session.peer.receive(frame, now=now, principal=record.principal)
        elif isinstance(frame, list) and (revision is None or not revision.batches):
            where = "before initialize" if revision is None else f"in {revision.name}"
            text = f"Invalid request: batches are not supported {where}"
            record.refuse(refusals.SSE_BATCH, text)
        elif _asks(frame) and exchange is not None and self._router.overfull(exchange):
            record.refuse(refusals.SSE_STREAM_FULL)
        else:
            if is_handshake(frame):
                self._router.sessions.agree(session, now)
            elif not opens_session(frame):
                self._router.sessions.touch(session, now)
            session.peer.receive(frame, now=now, principal=record.principal)
            record.reply(202)


def _asks(frame: Frame) -> bool:
    return any(
        isinstance(each, Message) and each.kind is Kind.REQUEST
        for each in (frame if isinstance(frame, list) else (frame,))
    )


def _session_in(query: str) -> str | None:
    from urllib.parse import parse_qsl

    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return None
    ids = [value for name, value in pairs if name == _PARAMETER]
    return ids[0] if len(ids) == 1 else None
