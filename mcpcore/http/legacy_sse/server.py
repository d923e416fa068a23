"""HTTP+SSE at a server: the two endpoints of 2024-11-05, which later revisions replaced by one.

A GET opens an event stream, whose first event names the URI that messages are posted to. All
messages of the server go onto that stream, responses included, and a POST gets no more than 202.
The stream is the session: both begin and end together. Hosts, origins, principals, limits and
quotas are those of the endpoint beside it.  Source: 2024-11-05, transports page, "HTTP with SSE".
"""

from abc import abstractmethod
from typing import cast

from msgspec import structs

from mcpcore.engine.config import Config, Role
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.peer import Peer
from mcpcore.http.addresses import address_of, quota_key
from mcpcore.http.headers import EVENT_STREAM, RETRY_AFTER
from mcpcore.http.messages import HttpRequest
from mcpcore.http.server.era import is_handshake, opens_session
from mcpcore.http.server.exchange import Exchange
from mcpcore.http.server.gate import Gate
from mcpcore.http.server.router import Router
from mcpcore.http.server.session_table import owner_of
from mcpcore.http.server.sessions import Session, SessionOpened
from mcpcore.http.settings import HttpSettings
from mcpcore.spec.errors import INVALID_REQUEST, LEGACY_BUSY, LocalProtocolError
from mcpcore.spec.revisions import legacy_of
from mcpcore.wire.message import Frame, Kind, Message, Reject
from mcpcore.wire.sse import encode_event

ENDPOINT = "endpoint"
"""Name of the event that carries the URI for messages."""
_PARAMETER = "session_id"
_RETRY = ((RETRY_AFTER, b"1"),)
_MOST_PARAMETERS = 16
_UNRESERVED = "/!$&'()*+,;=:@~-._"
"""Characters that a path may hold unescaped (RFC 3986 section 3.3)."""


class SseSession(Session):
    """Session that one event stream carries, and that ends with it."""

    __slots__ = ()

    over_sse = True

    @property
    def busy(self) -> bool:
        """True if a request runs or the handshake is done, so that the client may wait for news."""
        return self.peer.in_flight > 0 or self.peer.state is SessionState.OPEN

    @property
    def stream_exchange(self) -> Exchange | None:
        """Exchange that carries the whole session, None once it is gone."""
        return cast(Exchange, self.gets[0].exchange) if self.gets else None


class SseServer(Router):
    """The part of an HttpServer that serves HTTP+SSE."""

    _gate: Gate
    _pipe_config: Config | None
    _pipes: set[SseSession]

    def _prepare_pipes(self, config: Config, settings: HttpSettings) -> None:
        """Prepare HTTP+SSE.  Raises ValueError if ``config`` has no revision for it."""
        self._pipes = set()
        self._pipe_config = None
        if settings.sse is None:
            return
        legacy = legacy_of(config.revisions)
        if not legacy:
            raise ValueError("HTTP+SSE needs a revision with a handshake, and none is spoken")
        # The stream is one conversation: nothing would identify the sender of a modern request on
        # it.
        self._pipe_config = structs.replace(config, revisions=legacy)

    @abstractmethod
    def _admit(self, session: Session, now: float) -> None:
        """Register a session, after making room for it."""

    # The event stream

    def _open_pipe(self, record: Exchange, head: HttpRequest, now: float) -> None:
        """Begin a session on the event stream that a GET has asked for."""
        sse, config = self.settings.sse, self._pipe_config
        if sse is None or config is None:  # not reached, as the path is only known with HTTP+SSE
            raise LocalProtocolError("HTTP+SSE is not served")
        if not record.accepts_stream:
            record.refuse(406, f"the Accept header does not allow {EVENT_STREAM}")
            return
        id = self._sessions.new_id()
        pipe = SseSession(
            id,
            Peer(Role.SERVER, config, endpoint=self._endpoint, session=id),
            record.principal,
            self._log,
            self.settings,
            owner=owner_of(record.principal, quota_key(address_of(record.peer))),
        )
        self._endpoint.events.append(SessionOpened(session=id, principal=record.principal))
        self._admit(pipe, now)
        self._pipes.add(pipe)
        pipe.listen(record)
        from urllib.parse import quote  # here, as below: few servers have HTTP+SSE

        root = quote(head.root, safe=_UNRESERVED) if sse.root is None else sse.root
        # One slash at most: with two it would name another host.
        root = f"/{root.strip('/')}" if root.strip("/") else ""
        uri = f"{root}{sse.messages}?{_PARAMETER}={id}"
        record.write(encode_event(uri.encode("ascii"), event=ENDPOINT))
        record.forget_head()
        self._watch(record, now)

    def _finish_pipes(self) -> None:
        """End the streams of sessions without running requests, while the server closes."""
        for pipe in [each for each in self._pipes if not each.peer.in_flight]:
            exchange = pipe.stream_exchange
            if exchange is not None:
                exchange.finish()
            self._pipes.discard(pipe)

    def _end_session(self, session: Session, reason: str, now: float) -> None:
        if isinstance(session, SseSession):
            self._pipes.discard(session)
        super()._end_session(session, reason, now)

    # Messages

    def _find_pipe(self, record: Exchange, query: str) -> int:
        """Find the session that a POST names; return the bytes to read of it, 0 if refused."""
        record.over_sse = True
        # Responses go onto the stream, so that the Accept header of the POST is irrelevant.
        record.accepts_json = record.accepts_stream = True
        record.session_id = _session_in(query)
        if record.session_id is None:
            record.refuse(400, f"the query must name one {_PARAMETER}")
        elif self._pipe_of(record) is not None:
            return self._gate.body_wanted(record)
        return 0

    def _pipe_of(self, record: Exchange) -> SseSession | None:
        """Return the session of a POST; None after a refusal if there is none."""
        session = self._sessions.find(record.session_id or "", record.principal)
        if isinstance(session, SseSession):
            return session
        record.refuse(404, "there is no such session (any more) here; open the event stream again")
        return None

    def _receive_piped(self, record: Exchange, frame: Frame, now: float) -> None:
        """Handle a posted body: reply 202, or 400 if it is not a message.

        An error that names the request it answers goes onto the stream as well, where the client
        waits for it.
        """
        pipe = self._pipe_of(record)
        if pipe is None:
            return
        revision = pipe.peer.revision
        if isinstance(frame, Reject):
            record.refuse(400, frame.message, code=frame.code)
            if frame.id is not None:
                pipe.peer.receive(frame, now=now, principal=record.principal)
        elif isinstance(frame, list) and (revision is None or not revision.batches):
            where = "before initialize" if revision is None else f"in {revision.name}"
            text = f"Invalid request: batches are not supported {where}"
            record.refuse(400, text, code=INVALID_REQUEST)
        elif _asks(frame) and self._is_deaf(pipe):
            text = "busy: so much waits on the event stream that nothing more can be asked"
            record.refuse(503, text, _RETRY, code=LEGACY_BUSY)
        else:
            if is_handshake(frame):
                self._sessions.agree(pipe, now)
            elif not opens_session(frame):
                self._sessions.touch(pipe, now)
            pipe.peer.receive(frame, now=now, principal=record.principal)
            record.reply(202)

    def _is_deaf(self, pipe: SseSession) -> bool:
        exchange = pipe.stream_exchange
        return exchange is not None and self._overfull(exchange)


def _asks(frame: Frame) -> bool:
    """Return True if a message, or one of a batch, is a request."""
    return any(
        isinstance(each, Message) and each.kind is Kind.REQUEST
        for each in (frame if isinstance(frame, list) else (frame,))
    )


def _session_in(query: str) -> str | None:
    """Return the session that a query names; None if it names none, or several."""
    from urllib.parse import parse_qsl

    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return None
    ids = [value for name, value in pairs if name == _PARAMETER]
    return ids[0] if len(ids) == 1 else None
