"""HttpServer: many conversations behind one endpoint, as a state machine without sockets.

A driver feeds in heads and bodies, drains :meth:`HttpServer.next_event` into the application and
writes the output of :meth:`HttpServer.data_to_send` for each exchange::

    wanted = server.open(exchange, head, now=clock())
    server.body(exchange, data, end=True, now=clock())     # if wanted
    while (event := server.next_event()) is not None:
        ...
    for exchange in server.writable():
        write(server.data_to_send(exchange, 65536))

One Peer serves all modern exchanges, one Peer each legacy session.  The driver chooses the exchange
numbers: positive, and never used twice.  Source: the Streamable HTTP pages of 2025-03-26 to
2026-07-28.
"""

import math
from typing import cast

from msgspec import structs

from mcpcore.engine.config import Config, Role
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import MAIN, ConnectionEnded, Event, Route
from mcpcore.engine.peer import Peer
from mcpcore.engine.state import Endpoint
from mcpcore.http.headers import HeaderError, HeaderLines
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpReply, HttpRequest
from mcpcore.http.principals import Refusal
from mcpcore.http.server.era import (
    LISTEN,
    is_handshake,
    is_modern_body,
    without_header,
)
from mcpcore.http.server.event_log import EventLog
from mcpcore.http.server.exchange import Exchange, Phase
from mcpcore.http.server.gate import Gate
from mcpcore.http.server.incoming import RequestFields
from mcpcore.http.server.reports import Report
from mcpcore.http.server.session_entry import SessionEntry
from mcpcore.http.server.session_table import SessionTable
from mcpcore.http.settings import HttpSettings
from mcpcore.spec.errors import HEADER_MISMATCH, ErrorData, LocalProtocolError
from mcpcore.spec.revisions import LATEST, REVISIONS, legacy_of
from mcpcore.wire.message import Frame, Message, decode

# Bound once: members of an Enum are slow to look up, and these are needed for every message.
_READING, _WAITING = Phase.READING, Phase.WAITING
_MODERN = frozenset(revision.name for revision in REVISIONS if revision.modern)


class HttpServer(SessionEntry):
    """Server side of one HTTP endpoint.

    ``secret``: at least 32 fresh random bytes. Session ids are derived from it, so it must not be
    shared with another HttpServer, nor kept for the next start.  Raises ValueError for a secret
    that is too short and for invalid settings.
    """

    def __init__(
        self, config: Config, *, secret: bytes, settings: HttpSettings | None = None
    ) -> None:
        self.settings = settings = HttpSettings() if settings is None else settings
        self._endpoint = Endpoint()
        self._endpoint.capacity = most = settings.max_calls
        # All modern clients share one Peer; the limits of each are those of its exchange.
        limits = structs.replace(config.limits, in_flight=most, listen_streams=most)
        self._modern = Peer(
            Role.SERVER,
            structs.replace(config, route_scoped_ids=True, limits=limits),
            endpoint=self._endpoint,
            joins=True,
        )
        self._session_config = structs.replace(config, route_scoped_ids=False)
        legacy = legacy_of(config.revisions)
        self._stateful = bool(legacy)
        self._unnamed = without_header(legacy)
        self._prepare_pipes(self._session_config, settings)
        self._gate = Gate(settings, legacy)
        self._sessions = SessionTable(secret, settings)
        self._exchanges: dict[Route, Exchange] = {}
        self._news: dict[Route, Exchange] = {}
        self._deadlines: Deadlines[Exchange] = Deadlines()
        self._unwatched = []
        self._watched = False
        self._interval = settings.heartbeat or settings.stall_timeout
        self._pack_from = settings.gzip_from or math.inf
        self._log = EventLog(secret, settings)
        self._closing = False
        self.ready = True
        """Readiness that ``/health/ready`` reports; an application that is going to close may set
        False before."""
        self.reachable = True
        """True while sessions can be kept, as far as the application knows; if not,
        ``/health/ready`` reports it."""
        self.reports = False
        """True to report each exchange that has ended (ExchangeEnded)."""

    # Input

    def asks_who(self, head: HttpRequest) -> bool:
        """Return True if the application should authenticate the request before :meth:`open`."""
        return self._gate.asks_who(head)

    def readable(self, head: HttpRequest) -> tuple[tuple[bytes, bytes], ...]:
        """Return header lines with which an allowed page can read a reply of the driver's own."""
        return self._gate.readable(head)

    def open(
        self,
        exchange: Route,
        head: HttpRequest,
        *,
        principal: str | Refusal | None = None,
        now: float,
    ) -> int:
        """Handle the head of a request; return the maximum bytes of its body to feed in.

        0 means that no body is wanted: the request is refused or has no body, and a reply is ready
        or will be.  ``principal`` is the authenticated party, or the refusal of the request;
        sessions are bound to it.  Raises LocalProtocolError for a number that is in use, or 0.
        """
        refusal = None
        if isinstance(principal, Refusal):
            refusal, principal = principal, None
        known = None
        if refusal is None and not self._closing:
            known = self._gate.recall(head)
        fields = RequestFields(head.headers) if known is None else known.fields
        record = self._begin(exchange, head, fields, principal, now)
        if known is not None:
            lines = cast(HeaderLines, head.headers)
            record.extra, record.session_id = known.extra, lines.session
            return lines.length
        if not self._gate.admit(
            record, head, closing=self._closing, unready=self._unready(), refusal=refusal
        ):
            return 0
        if head.path != self.settings.path:
            if head.method == "POST":
                return self._find_pipe(record, head.query)
            self._open_pipe(record, head, now)
            return 0
        if head.method == "POST":
            return self._gate.post_wanted(record, head)
        if self._gate.stateful(record, head):
            self._in_session(record, self._listen if head.method == "GET" else self._delete, now)
        return 0

    def ask(
        self,
        exchange: Route,
        head: HttpRequest,
        body: bytes,
        *,
        principal: str | Refusal | None = None,
        now: float,
    ) -> None:
        """Handle a whole request: :meth:`open`, and :meth:`body` if a body is wanted."""
        known = self._gate.recall(head)
        if (
            known is None
            or self._closing
            or isinstance(principal, Refusal)
            or len(body) > self.settings.max_body
        ):
            if self.open(exchange, head, principal=principal, now=now):
                self.body(exchange, body, end=True, now=now)
            return
        record = self._begin(exchange, head, known.fields, principal, now)
        record.extra = known.extra
        record.session_id = cast(HeaderLines, head.headers).session
        record.phase = _WAITING
        self._dispatch(record, body, now)

    def _begin(
        self,
        exchange: Route,
        head: HttpRequest,
        fields: RequestFields,
        principal: str | None,
        now: float,
    ) -> Exchange:
        self._log.now = now
        if exchange == MAIN or exchange in self._exchanges:
            raise LocalProtocolError(f"the exchange number {exchange} is taken")
        record = Exchange(
            exchange,
            fields,
            principal,
            head.peer,
            fields.version,
            fields.session_id,
            fields.accepts_json,
            fields.accepts_stream,
            fields.accepts_gzip,
            news=self._news,
        )
        self._exchanges[exchange] = record
        if self.reports:
            record.report = Report(head.method, head.path, head.peer, now)
        return record

    def _unready(self) -> bytes:
        """Return the reason for which new clients should use another server, or empty."""
        if self._closing or not self.ready:
            return b"closing" if self._closing else b"draining"
        keeps = self._stateful and self.settings.sessions
        return b"the store is out of reach" if keeps and not self.reachable else b""

    def body(
        self, exchange: Route, data: bytes, *, end: bool, now: float, announced: int = 0
    ) -> None:
        """Handle a part of the body that :meth:`open` wanted; ``end`` with the last.

        ``announced``: number of bytes known to follow, so that a body that will be too large is
        refused at once.
        """
        self._log.now = now
        record = self._exchanges.get(exchange)
        if record is None or record.phase is not _READING:
            return
        record.received += len(data)
        if record.received + announced > self.settings.max_body:
            self._gate.too_large(record)
            return
        if not end or record.chunks:
            record.chunks.append(data)
        if end:
            if record.chunks:
                data = record.take_chunks()
            record.phase = _WAITING
            self._dispatch(record, data, now)

    def disconnect(self, exchange: Route, *, now: float) -> None:
        """Forget an exchange whose client has left, or that the driver has given up.

        Modern: the request is cancelled.  Legacy: the request goes on, and the events of a stream
        that the client can resume are kept.
        """
        self._log.now = now
        record = self._exchanges.get(exchange)
        if record is None:
            return
        unanswered = record.phase in (Phase.WAITING, Phase.STREAMING)
        session = record.session
        self._forget(record)
        if not unanswered:
            return
        if record.modern:
            self._modern.receive_eof(now=now, route=exchange, reason="the client disconnected")
        elif record.opens and session is not None:
            self._end_session(session, "its client disconnected before it was opened", now)

    @property
    def teller(self) -> Peer:
        """Peer for progress reports and questions about progress, to save a call for each report.

        Any Peer of the endpoint serves the requests of all, as it finds them by their keys.
        """
        return self._modern

    @property
    def pending(self) -> bool:
        """True if :meth:`next_event` or :meth:`writable` may have news."""
        endpoint = self._endpoint
        return bool(endpoint.events or endpoint.inbox or endpoint.outbox.frames or self._news)

    @property
    def timed(self) -> bool:
        """True if :meth:`deadline` may have come nearer since it was last asked for."""
        return self._watched or bool(self._endpoint.outbound) or len(self._sessions) > 0

    def next_event(self) -> Event | None:
        """Advance until there is an event; None when all input is used up.

        Writing can free room that a handler waits for (StreamDrained), so call this again after it.
        """
        endpoint = self._endpoint
        while True:
            if endpoint.events or endpoint.inbox:
                event = endpoint.next_event()
                # The end of a session's Peer is internal; the application gets SessionClosed
                # instead.
                if event is not None and type(event) is not ConnectionEnded:
                    return event
            elif endpoint.outbox.frames or self._closing:
                # Router frames of the Peers can end requests or sessions, which gives new events.
                self._collect()
                if not endpoint.events and not endpoint.inbox:
                    break
            else:
                break
        if self._unwatched:
            self._watch_new()
        return None

    # Output

    def writable(self) -> list[Route]:
        """Return the exchanges that have new output.

        Each is returned once, and again when a part of its output has been taken; an exchange whose
        client does not read costs nothing meanwhile.
        """
        if self._endpoint.outbox.frames or self._closing:
            self._collect()
        news = list(self._news)
        self._news.clear()
        return news

    def data_to_send(self, exchange: Route, limit: int) -> list[HttpHead | HttpChunk | HttpEnd]:
        """Take the output of an exchange, at most ``limit`` bytes of body; [] if there is none.

        Output that is not taken waits, which holds back its producer.
        """
        if self._endpoint.outbox.frames or self._closing:
            self._collect()
        record = self._exchanges.get(exchange)
        if record is None:
            return []
        if record.size >= self._pack_from:
            record.pack()
        taken = record.take(limit)
        if taken and isinstance(taken[-1], HttpEnd):
            self._forget(record)
        elif record.packing is not None and not record.size:
            # Compressing takes time: other exchanges have their turn before the next piece.
            self._deadlines.set(record, self._log.now)
            self._watched = True
        return taken

    def whole_reply(self, exchange: Route, limit: int) -> HttpReply | None:
        """Take the whole reply of an exchange and end the exchange, if the reply is complete.

        None if it is not, if it is longer than ``limit`` bytes, or if there is more to it, such as
        the end of the connection. :meth:`data_to_send` gives it then.
        """
        if self._endpoint.outbox.frames or self._closing:
            self._collect()
        record = self._exchanges.get(exchange)
        if record is not None and record.size >= self._pack_from:
            record.pack()
        reply = None if record is None else record.take_whole(limit)
        if record is not None and reply is not None:
            self._forget(record)
        return reply

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_timeout` is next needed, None if never.

        The origin is that of ``now``.
        """
        if self._unwatched:
            self._watch_new()
        self._watched = False
        earliest = self._deadlines.next()
        for due in (
            self._endpoint.deadlines.next(),
            self._log.deadline(),
            self._sessions.deadline(),
        ):
            if due is not None and (earliest is None or due < earliest):
                earliest = due
        return earliest

    def handle_timeout(self, now: float) -> None:
        """Handle what is due at ``now``: timeouts, slow answers, heartbeats, idle sessions."""
        self._log.now = now
        if self._unwatched:
            self._watch_new()
        self._endpoint.handle_timeout(now)
        due = self._log.deadline()
        if due is not None and due <= now:
            self._log.sweep()
        for record in self._deadlines.due(now):
            self._look_at(record, now)
        while (overdue := self._sessions.overdue(now)) is not None:
            self._evict(*overdue, now)

    # The end

    def close(self, *, now: float) -> None:
        """Close gracefully: streams end, no request begins, running requests may be answered.

        A driver goes on writing until :attr:`finished`, for as long as it wants to wait.
        """
        self._log.now = now
        if self._closing:
            return
        self._closing = True
        self._modern.close(now=now)
        for session in self._sessions:
            session.peer.close(now=now)
            if session.over_sse:
                continue  # its running requests are answered on its stream
            for stream in session.gets:
                cast(Exchange, stream.exchange).finish()
            self._end_if_unused(session)

    @property
    def finished(self) -> bool:
        """True after :meth:`close`, once everything was answered and written."""
        return self._closing and not self._exchanges

    @property
    def exchanges(self) -> int:
        """Number of open exchanges."""
        return len(self._exchanges)

    @property
    def sessions(self) -> int:
        """Number of legacy sessions."""
        return len(self._sessions)

    @property
    def calls(self) -> int:
        """Number of requests in progress, listen streams included."""
        return len(self._endpoint.inbound)

    # From body to Peer

    def _dispatch(self, record: Exchange, body: bytes, now: float) -> None:
        limits = self._session_config.limits
        frame = decode(body, max_depth=limits.depth, max_batch=limits.batch)
        record.look_at_body(frame)
        if record.over_sse:
            self._receive_piped(record, frame, now)
            return
        record.modern = (
            not self._stateful or record.version in _MODERN or is_modern_body(frame, body)
        )
        if record.modern:
            self._receive_modern(record, frame, now)
        elif self._gate.version_served(record):
            self._receive_legacy(record, frame, now)

    def _receive_modern(self, record: Exchange, frame: Frame, now: float) -> None:
        try:
            mirror = record.fields.mirror()
        except HeaderError as error:
            refusal = ErrorData(HEADER_MISMATCH, f"header mismatch: {error}")
            self._modern._state.refuse(record.route, record.request_id, refusal, revision=LATEST)
            return
        if not record.accepts_stream and isinstance(frame, Message) and frame.method == LISTEN:
            record.refuse(406, f"{LISTEN} is answered by an event stream")
            return
        self._await(record, now)
        self._endpoint.advance(
            self._modern._inbound, frame, now, record.route, mirror, record.principal
        )

    def _receive_legacy(self, record: Exchange, frame: Frame, now: float) -> None:
        session = self._session_of(record, frame, now)
        if session is None:
            return
        if is_handshake(frame):
            self._sessions.agree(session, now)
        elif not record.opens:
            self._sessions.touch(session, now)
        session.exchanges[record.route] = record
        record.session = session
        self._await(record, now)
        self._endpoint.advance(
            session.peer._inbound, frame, now, record.route, None, record.principal
        )

    def _await(self, record: Exchange, now: float) -> None:
        """Start the wait for the answer of an exchange."""
        record.forget_head()
        delay = self.settings.json_delay
        if delay is not None and record.accepts_stream:
            record.slow_at = now + delay
        self._unwatched.append((record, now))
