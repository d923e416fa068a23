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
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from msgspec import Raw

from mcpcore.engine.config import DEFAULT_TIMEOUT, Config
from mcpcore.engine.events import MAIN, ConnectionEnded, Event, Key, Route
from mcpcore.engine.lifecycle import SessionState
from mcpcore.engine.outbound import Sender
from mcpcore.engine.state import Inbound
from mcpcore.http.headers import HeaderError, HeaderLines
from mcpcore.http.legacy_sse.server import SseServer
from mcpcore.http.messages import HttpChunk, HttpEnd, HttpHead, HttpReply, HttpRequest
from mcpcore.http.principals import Refusal, address_of, quota_key
from mcpcore.http.server.exchange import (
    Exchange,
    ExchangeState,
    Report,
    RequestFields,
    is_modern_body,
)
from mcpcore.http.server.gate import Gate, Lines, private_lines
from mcpcore.http.server.router import LocalSessions, Router, SessionHome
from mcpcore.http.settings import MAX_DELAY, HttpSettings
from mcpcore.spec.errors import HEADER_MISMATCH, ErrorData, LocalProtocolError
from mcpcore.spec.refusals import NO_EVENT_STREAM
from mcpcore.spec.revisions import LATEST, REVISIONS
from mcpcore.wire.jsontext import Body
from mcpcore.wire.message import Frame, Message, RequestId, decode

if TYPE_CHECKING:  # late: few servers have a store
    from mcpcore.http.server.stored.sessions import StoredSessions
    from mcpcore.http.storing import StoreBinding

# Bound once: members of an Enum are slow to look up, and these are needed for every message.
_READING, _WAITING = ExchangeState.READING, ExchangeState.WAITING
_LISTEN = "subscriptions/listen"
_MODERN = frozenset(revision.name for revision in REVISIONS if revision.modern)
_READY: Mapping[str, object] = {}


class HttpServer:
    """Server side of one HTTP endpoint.

    ``secret``: at least 32 fresh random bytes, not shared with another HttpServer nor kept for the
    next start, as session ids are derived from it.  With ``store`` the server is one of the workers
    that share a store (:mod:`mcpcore.http.storing`); ``config.id_prefix`` is not used then.

    Requests are answered as on :class:`~mcpcore.engine.peer.Peer`: ``respond``, ``fail``,
    ``require_input``, ``admit``, ``release``, ``progress``, ``wants_progress``, ``wants_log``,
    ``queued``, ``waits``, ``narrow`` and ``end_subscription`` are the methods of a Peer.

    Raises ValueError for a secret that is too short, and for invalid settings or binding.
    """

    def __init__(
        self,
        config: Config,
        *,
        secret: bytes,
        settings: HttpSettings | None = None,
        store: "StoreBinding | None" = None,
    ) -> None:
        # Fewer than 30 attributes in all, with which Python finds each of them quickly.
        self.settings = settings = HttpSettings() if settings is None else settings
        self._router = router = Router(config, secret, settings)
        self._gate = gate = Gate(settings, router.legacy)
        # Must the application authenticate a request; what lets an allowed page read any reply.
        self.asks_who, self.readable = gate.asks_who, gate.readable
        self._sse = SseServer(router, gate)
        self._stored: StoredSessions | None = None
        if store is not None:
            from mcpcore.http.server.stored import sessions  # here: few servers have a store

            self._stored = sessions.StoredSessions(router, secret, store)
        self._home: SessionHome = self._stored or LocalSessions(router)
        router.home = self._home
        self._endpoint = router.endpoint
        self._modern = peer = router.modern
        self._modern_parts = peer.parts
        # Answers are given as on Peer: any Peer of the endpoint finds the request of a key, and
        # keys are unique across all sessions.
        self.respond, self.fail, self.require_input = peer.respond, peer.fail, peer.require_input
        self.admit, self.release, self.progress = peer.admit, peer.release, peer.progress
        self.wants_log, self.wants_progress = peer.wants_log, peer.wants_progress
        self.queued, self.waits = peer.queued, peer.waits
        self.narrow, self.end_subscription = peer.narrow, peer.end_subscription
        self._exchanges = router.exchanges
        self._log = router.log
        self._pack_from = settings.gzip_from or math.inf
        self.ready = True
        """Readiness that ``/health/ready`` reports; set it to False before closing."""
        self.reachable = True
        """True while sessions can be kept; if not, ``/health/ready`` reports it."""
        self.failing: Mapping[str, str] = {}
        """Health checks of the application that fail, and why: ``/health/ready`` reports them."""
        self.reports = False
        """True to report each exchange that has ended (ExchangeEnded)."""

    def declare(self, config: Config) -> None:
        """Tell clients from now on what ``config`` has of names, capabilities and instructions.

        Legacy sessions that are open keep what they were told.
        """
        self._modern.declare(config)
        self._router.session_config = self._router.session_config.declaring(config)
        self._sse.configure()

    def tell_refused(self, tell: Callable[[HttpRequest, str], object]) -> None:
        """Tell ``tell`` of each request whose Host or Origin is refused, and why."""
        self._gate.tell = tell

    # Input

    def open(
        self,
        exchange: Route,
        head: HttpRequest,
        *,
        principal: str | Refusal | None = None,
        now: float,
    ) -> int:
        """Handle the head of a request; return the maximum bytes of its body to feed in.

        0 means that no body is wanted: a reply is ready or will be.  ``principal`` is the
        authenticated party, or the refusal.  Raises LocalProtocolError for a number in use, or 0.
        """
        refusal = None
        if principal is not None and isinstance(principal, Refusal):
            refusal, principal = principal, None
        router, lines = self._router, head.headers
        known = None if router.closing or refusal is not None else self._gate.recall(head)
        fields = RequestFields(lines) if known is None else known.fields
        self._log.now = now
        if exchange == MAIN or exchange in self._exchanges:
            raise LocalProtocolError(f"the exchange number {exchange} is taken")
        session: str | None = None
        extra: Lines = ()
        wanted = 0
        if known is not None:
            assert isinstance(lines, HeaderLines)  # noqa: S101 - those of a request
            session, extra, wanted = lines.session, known.extra, lines.length
            if principal is not None:
                extra += private_lines(principal)
        record = Exchange(exchange, fields, principal, router.news, head.peer, session, extra)
        self._exchanges[exchange] = record
        if self.reports:
            record.report = Report(head.method, head.path, head.peer, now)
        if known is not None:
            return wanted
        if not self._gate.admit(
            record, head, closing=router.closing, unready=self._unready(), refusal=refusal
        ):
            return 0
        if head.path == self.settings.path and head.method == "POST":
            wanted = self._gate.post_wanted(record, head)  # which keeps the headers for everybody
            if principal is not None:
                record.extra += private_lines(principal)
            return wanted
        if principal is not None:
            record.extra += private_lines(principal)
        if head.path != self.settings.path:
            if head.method == "POST":
                return self._sse.post_wanted(record, head.query)
            self._sse.open(record, head, now)
            return 0
        if self._gate.stateful(record, head):
            home = self._home
            (home.listen if head.method == "GET" else home.delete)(record, now)
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
        if self.open(exchange, head, principal=principal, now=now):
            record = self._exchanges[exchange]
            if len(body) > self.settings.max_body:
                self._gate.too_large(record)
            else:
                self._dispatch(record, body, now)

    def _unready(self) -> Mapping[str, object]:
        """Return what the health check says of a server that is not ready; nothing if it is."""
        if self._router.closing or not self.ready:
            return {"reason": "closing" if self._router.closing else "draining"}
        keeps = self._router.legacy and self.settings.sessions
        if keeps and not self.reachable:
            return {"reason": "the store is out of reach"}
        return {"reason": "a check fails", "checks": self.failing} if self.failing else _READY

    def body(
        self,
        exchange: Route,
        data: bytes | memoryview,
        *,
        end: bool,
        now: float,
        announced: int = 0,
    ) -> None:
        """Handle a part of the body, ``end`` with the last; ``announced`` bytes will follow it.

        A view is copied.
        """
        self._log.now = now
        record = self._exchanges.get(exchange)
        if record is None or record.state is not _READING:
            return
        record.received += len(data)
        if record.received + announced > self.settings.max_body:
            self._gate.too_large(record)
            return
        parts = record.parts
        if not end or parts is not None:
            parts = record.parts = parts or BytesIO()
            parts.write(data)
        if end:
            record.parts = None
            self._dispatch(record, bytes(data) if parts is None else parts.getvalue(), now)

    def disconnect(self, exchange: Route, *, now: float) -> None:
        """Forget an exchange whose client has left, or that the driver has given up.

        A modern request is cancelled; a legacy one goes on, and its stream may be resumed.
        """
        self._log.now = now
        record = self._exchanges.get(exchange)
        if record is None:
            return
        unanswered = record.state in (ExchangeState.WAITING, ExchangeState.STREAMING)
        session = record.session
        self._router.forget(record)
        if not unanswered:
            return
        if record.modern:
            self._modern.receive_eof(now=now, route=exchange, reason="the client disconnected")
        elif record.opens and session is not None:
            self._home.end(session, "its client disconnected before it was opened", now)

    @property
    def pending(self) -> bool:
        """True if :meth:`next_event` or :meth:`writable` may have news."""
        endpoint = self._endpoint
        waiting = endpoint.events or endpoint.inbox or endpoint.outbox.frames
        return bool(waiting or self._router.news)

    @property
    def timed(self) -> bool:
        """True if :meth:`deadline` may have come nearer since it was last asked for."""
        router = self._router
        if router.watched or router.sessions.grown or self._endpoint.outbound:
            return True
        return self._log.begun or self._stored is not None  # a step may have been asked for

    def next_event(self) -> Event | None:
        """Advance until there is an event; None when all is used up.  Writing may bring more."""
        endpoint, router = self._endpoint, self._router
        while True:
            if endpoint.events or endpoint.inbox:
                event = endpoint.next_event()
                # The end of a session's Peer is internal; the application gets SessionClosed
                # instead.
                if event is not None and type(event) is not ConnectionEnded:
                    return event
            elif endpoint.outbox.frames or router.closing:
                # Routing frames of the Peers can end requests or sessions, which gives new events.
                self._router.collect()
                if not endpoint.events and not endpoint.inbox:
                    break
            else:
                break
        if router.unwatched:
            router.watch_new()
        return None

    # Output

    def writable(self) -> list[Route]:
        """Return the exchanges that have new output, each once.

        They come again when a part of their output has been taken.
        """
        router = self._router
        router.collect()
        news = list(router.news)
        router.news.clear()
        return news

    def data_to_send(self, exchange: Route, limit: int) -> list[HttpHead | HttpChunk | HttpEnd]:
        """Take the output of an exchange, at most ``limit`` bytes of body; [] if there is none."""
        if self._endpoint.outbox.frames:
            self._router.collect()
        record = self._exchanges.get(exchange)
        if record is None:
            return []
        if record.size >= self._pack_from:
            record.pack()
        taken = record.take(limit)
        if taken and isinstance(taken[-1], HttpEnd):
            self._router.forget(record)
        elif record.packing is not None and not record.size:
            # Compressing takes time: other exchanges have their turn before the next piece.
            self._router.deadlines.set(record, self._log.now)
            self._router.watched = True
        return taken

    def whole_reply(self, exchange: Route) -> HttpReply | None:
        """Take a whole reply, of whatever size, and end its exchange; None if in parts."""
        if self._endpoint.outbox.frames:
            self._router.collect()
        record = self._exchanges.get(exchange)
        if record is not None and record.size >= self._pack_from:
            record.pack()
        reply = None if record is None else record.take_whole()
        if record is not None and reply is not None:
            self._router.forget(record)
        return reply

    def deadline(self) -> float | None:
        """Return the time at which :meth:`handle_timeout` is next needed, None if never."""
        router = self._router
        if router.unwatched:
            router.watch_new()
        router.watched = False
        earliest = router.deadlines.next()
        dues = self._endpoint.deadlines.next(), self._log.deadline(), router.sessions.deadline()
        stored = None if self._stored is None else self._stored.steps.deadline()
        for due in (*dues, stored, router.first_look()):
            if due is not None and (earliest is None or due < earliest):
                earliest = due
        return earliest

    def handle_timeout(self, now: float) -> None:
        """Handle what is due at ``now``: timeouts, slow answers, heartbeats, idle sessions."""
        self._log.now = now
        router = self._router
        if router.unwatched:
            router.watch_new()
        router.watch_slow(now)
        self._endpoint.handle_timeout(now)
        due = self._log.deadline()
        if due is not None and due <= now:
            self._log.sweep()
        for record in router.deadlines.due(now):
            self._router.look_at(record, now)
        router.expire(now)
        if self._stored is not None:
            self._stored.steps.handle_timeout(now)

    # The store

    def stored(self, token: int, outcome: Any, *, now: float) -> None:
        """Handle the outcome of a step in the store; outcomes may come in any order."""
        self._log.now = now
        self._with_store().stored(token, outcome)

    def note(self, data: bytes, *, now: float) -> None:
        """Handle a note of another worker, or of the store.  Raises LocalProtocolError."""
        self._log.now = now
        self._with_store().note(data)

    @property
    def worker(self) -> str:
        """Name of this worker in the store; "" without a store."""
        return "" if self._stored is None else self._stored.store.worker

    def post_note(self, worker: str, content: Raw, *, now: float) -> None:
        """Send JSON to the application at another worker, as NoteReceived there.

        If the store fails, there is a NoteLost here; what is sent to a worker that is gone is
        dropped.  Raises LocalProtocolError for more than ``max_body`` bytes, or without a store.
        """
        self._log.now = now
        self._with_store().post_note(worker, content)

    def _with_store(self) -> "StoredSessions":
        if self._stored is None:
            raise LocalProtocolError("the sessions of this server are in no store")
        return self._stored

    # The end

    def close(self, *, now: float) -> None:
        """Close gracefully: streams end, running requests may be answered until it is finished."""
        self._log.now = now
        router = self._router
        if router.closing:
            return
        if self._stored is not None:
            self._stored.close()
        router.closing = True
        self._modern.close(now=now)
        for session in router.sessions:
            session.peer.close(now=now)
            if session.over_sse:
                continue  # its running requests are answered on its stream
            for stream in session.gets:
                cast(Exchange, stream.exchange).finish()
            self._home.end_if_unused(session)

    @property
    def finished(self) -> bool:
        """True after :meth:`close`, once everything was answered and written, or stored."""
        return (
            self._router.closing
            and not self._exchanges
            and (self._stored is None or self._stored.finished)
        )

    @property
    def exchanges(self) -> int:
        """Number of open exchanges."""
        return len(self._exchanges)

    def address(self, key: Key) -> str | None:
        """Return the address that a request came from, of IPv6 its network; None if it is over."""
        record = self._endpoint.inbound.get(key)
        exchange = None if record is None else self._exchanges.get(record.route)
        return None if exchange is None else quota_key(address_of(exchange.peer))

    @property
    def sessions(self) -> int:
        """Number of legacy sessions."""
        return len(self._router.sessions)

    def state_of(self, session: str) -> SessionState:
        """Return the state of a legacy session, CLOSED if there is none of that id."""
        found = self._router.sessions.get(session)
        return SessionState.CLOSED if found is None else found.peer.state

    @property
    def calls(self) -> int:
        """Number of requests in progress, listen streams included."""
        return len(self._endpoint.inbound)

    # From body to Peer

    def _dispatch(self, record: Exchange, body: bytes, now: float) -> None:
        record.state = _WAITING  # from READING, as the table has it; a look into it costs too much
        limits = self._router.session_config.limits
        frame = decode(body, limits.depth, limits.batch)
        record.look_at_body(frame)
        if record.over_sse:
            self._sse.receive(record, frame, now)
            return
        names_modern = not self._router.legacy or record.terms.version in _MODERN
        record.modern = names_modern or is_modern_body(frame, body)
        if record.modern:
            self._receive_modern(record, frame, now)
        elif self._gate.version_served(record):
            self._home.receive(record, frame, now)

    def _receive_modern(self, record: Exchange, frame: Frame, now: float) -> None:
        try:
            mirror = record.fields.mirror()
        except HeaderError as error:
            refusal = ErrorData(HEADER_MISMATCH, f"header mismatch: {error}")
            self._modern_parts.state.refuse(
                record.route, record.request_id, refusal, revision=LATEST
            )
            return
        if (
            not record.terms.accepts_stream
            and isinstance(frame, Message)
            and frame.method == _LISTEN
        ):
            record.refuse(NO_EVENT_STREAM, f"{_LISTEN} is answered by an event stream")
            return
        self._router.wait(record, now)
        self._endpoint.advance(
            self._modern_parts.inbound, frame, now, record.route, mirror, record.principal
        )

    # Messages of our own

    def log(
        self,
        key: Key | None,
        level: str,
        data: Any,
        logger: str | None = None,
        *,
        session: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Log for a request, or with ``key`` None to a session or to all; True if one is sent."""
        if key is not None:
            return self._modern.log(key, level, data, logger, meta=meta)
        return self._home.write_log(level, data, logger, session, meta)

    def notify(
        self,
        method: str,
        params: Body = None,
        *,
        parent: Key | None = None,
        session: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Send a notification on a request's stream, to one session, or as a broadcast to all."""
        if parent is not None:
            self._request(parent)
            self._modern.notify(method, params, parent=parent, meta=meta)
        else:
            self._home.notify(method, params, session, meta)

    def request(
        self,
        method: str,
        params: Body = None,
        *,
        now: float,
        parent: Key | None = None,
        session: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        progress: bool = False,
        meta: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> RequestId:
        """Send a request to a legacy client; return its id, unique in all sessions of this server.

        It goes on the stream of the client's request ``parent``, or a GET stream of ``session``.
        Raises LocalProtocolError if there is none, and the errors of ``Peer.request``.
        """
        if parent is not None:
            sender = Sender(self._request(parent).peer)
        elif session is not None:
            sender = self._router.session(session).parts.outbound
        else:
            raise LocalProtocolError("a request of a server needs parent= or session=")
        return sender.request(
            method, params, now, timeout, parent, progress, meta, None, force, None
        )

    def cancel(self, request: RequestId, *, now: float, reason: str | None = None) -> None:
        """Cancel our request, as :meth:`Peer.cancel <mcpcore.engine.peer.Peer.cancel>` does."""
        pending = self._endpoint.outbound.get(request)
        if pending is not None:
            pending.sender.give_up(pending, reason)

    def _request(self, key: Key) -> Inbound:
        record = self._endpoint.inbound.get(key)
        if record is None:
            raise LocalProtocolError(f"no request with key {key} is in flight")
        return record

    def forbid(self, key: Key, error: ErrorData, refusal: Refusal) -> bool:
        """Answer with an error, and where it is the whole response with the headers of ``refusal``.

        The status is that of the error's code.  False if the request was cancelled meanwhile.
        """
        record = self._endpoint.inbound.get(key)
        self._router.collect()  # frames made before may have begun a stream
        exchange = None if record is None else self._exchanges.get(record.route)
        if exchange is not None and exchange.sound and exchange.state is ExchangeState.WAITING:
            exchange.extra += refusal.lines()
        return self.fail(key, error)

    # Polling: streams whose client is asked to come back

    def close_stream(self, key: Key, *, retry: float | None = None, now: float) -> bool:
        """Close the connection for the answer to ``key``; the request goes on.

        The client is asked to come back after ``retry`` seconds (None: ``reconnect_delay``).  False
        without such a stream, or polling in its revision.  Raises ValueError for the time.
        """
        self._log.now = now
        delay = self._delay(retry)
        record = self._endpoint.inbound.get(key)
        if record is None or not record.revision.priming:
            return False
        # Messages made before this call are sent first.
        self._router.collect()
        session = self._router.sessions.get(record.peer.session)
        exchange = self._exchanges.get(record.route)
        if session is None:
            return False
        waiting = exchange is not None and exchange.state is ExchangeState.WAITING
        if exchange is not None and waiting and exchange.terms.accepts_stream:
            exchange.open_stream()
        return session.poll(record.route, delay)

    def close_get_streams(self, session: str, *, retry: float | None = None, now: float) -> int:
        """Close a session's GET streams as :meth:`close_stream` does; return their number.

        Raises LocalProtocolError if there is no such session.
        """
        self._log.now = now
        delay = self._delay(retry)
        found = self._router.session(session)
        self._router.collect()
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
