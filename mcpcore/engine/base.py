"""State of a Peer that receiving and sending share, and the methods that send frames.

Every frame that leaves goes through one of the ``send_`` methods here, every inbound request ends
in :meth:`PeerBase.finish`, every outbound one in :meth:`PeerBase.conclude`.
"""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from mcpcore.engine.config import Config, Role
from mcpcore.engine.events import (
    ENGINE,
    MAIN,
    EndReason,
    Event,
    Key,
    RequestEnded,
    Route,
    StreamDrained,
    SubscriptionClosed,
    Violation,
)
from mcpcore.engine.faults import Fault
from mcpcore.engine.lifecycle import (
    REQUEST,
    SESSION,
    STREAM,
    RequestSignal,
    RequestState,
    SessionSignal,
    SessionState,
    StreamSignal,
    StreamState,
    step,
)
from mcpcore.engine.requests import NO_CAPABILITIES, Batch, Endpoint, Inbound, Outbound, Purpose
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.spec.methods import Method
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.wire.framing import LineReader
from mcpcore.wire.message import RequestId, encode_error, encode_notification

if TYPE_CHECKING:
    from mcpcore.engine.negotiation import Upset
    from mcpcore.engine.reconnection import ReconnectSettings
    from mcpcore.spec.types.lifecycle import DiscoverResult

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_ACTIVE, _DONE, _HELD = RequestState.ACTIVE, RequestState.DONE, RequestState.HELD
_APPLICATION, _ACCEPTED, _NOTIFICATION = (
    Purpose.APPLICATION,
    FrameKind.ACCEPTED,
    FrameKind.NOTIFICATION,
)


class PeerBase:
    """State of one conversation and its ways to send. Use :class:`~mcpcore.engine.peer.Peer`."""

    __slots__ = (
        "_by_route",
        "_held",
        "_joins",
        "_lines",
        "_mirrors",
        "_pending",
        "_permitted",
        "_replaceable",
        "_scoped",
        "alone",
        "capacity",
        "changes",
        "client_capabilities",
        "config",
        "ended",
        "endpoint",
        "expected",
        "failure",
        "half_closed",
        "in_flight_by_id",
        "late_discovery",
        "log_level",
        "logs_lost",
        "peer_capabilities",
        "peer_info",
        "principal",
        "profile",
        "reconnects",
        "revision",
        "role",
        "said",
        "session",
        "state",
        "streams",
        "task_progress",
        "upset",
        "uris",
        "waiting_input",
    )

    def __init__(
        self,
        role: Role,
        config: Config,
        *,
        endpoint: Endpoint | None = None,
        session: str | None = None,
        mirrors: bool = False,
        joins: bool = False,
    ) -> None:
        """Make one end of a conversation.

        ``endpoint`` is given where several Peers share one, ``session`` names this one in
        events. ``mirrors`` asks for header mirrors on the frames of a client.  ``joins`` lets one
        frame hold several progress notifications of a request.  Raises TypeError or ValueError for
        a config that makes no sense in this role.
        """
        self.role = role
        self.config = config
        self.endpoint = Endpoint() if endpoint is None else endpoint
        self.profile = self.endpoint.profile(role, config)
        self.session = session
        self.state = SessionState.NEW
        self.revision: Revision | None = None
        """Negotiated revision; a server serves modern requests whatever this is."""
        self.peer_info: Implementation | None = None
        self.peer_capabilities: ClientCapabilities | ServerCapabilities | None = None
        """Capabilities that the other side declared; None if unknown."""
        self.client_capabilities = NO_CAPABILITIES
        """Server: capabilities that a legacy client declared in the handshake."""
        self.principal: str | None = None
        """Principal authenticated for the whole conversation, for a Peer that is fed bytes."""
        self.log_level: str | None = None
        self.changes = 0
        """Number of changes by a legacy client to its session: negotiation, log level,
        subscriptions."""
        self.logs_lost = 0
        self.failure: str | None = None
        """Reason why negotiation failed."""
        self.late_discovery: tuple[Revision, DiscoverResult] | None = None
        """Client: what the probe found out, once the handshake was on its way."""
        self.upset: Upset | None = None
        """Client: kind of failed negotiation that the era probe may have caused."""
        self.half_closed = False
        """True once the other side has finished writing."""
        self.ended = False
        """True once ConnectionEnded was emitted."""
        self.reconnects: ReconnectSettings | None = None
        """Settings of a client that reconnects; see :mod:`mcpcore.engine.succession`."""
        self.expected = False
        """True if this Peer succeeds another one: it takes requests before it is started."""
        self.alone = False
        """True for a server that serves one request without a session: it can send no requests."""
        self._lines: LineReader | None = None
        # Inbound
        self._scoped = config.route_scoped_ids
        self.capacity = config.limits.in_flight
        """Maximum inbound requests in flight now; the application may change it."""
        self.in_flight_by_id: dict[Any, Inbound] = {}
        """Inbound requests in flight, by the key that makes an id unique (see :meth:`slot`)."""
        self._by_route: dict[Route, Inbound] = {}
        self.streams: dict[Key, Inbound] = {}
        """Listen streams of the other side, by key."""
        self.uris: set[str] = set()
        """URIs of the resources that a legacy client subscribed to."""
        self.said: set[str | None] | None = None
        """URIs that a legacy client just subscribed to or unsubscribed from; None among them for a
        change of log level.  None instead of a set if the application does not collect these."""
        self._replaceable: dict[tuple[Key | None, Hashable], Transmit] = {}
        """Queued notifications that a newer one may replace, by key and subject."""
        # Outbound
        self._mirrors = mirrors
        self._joins = joins
        self._held: dict[RequestId, Outbound] = {}
        self._pending: dict[RequestId, Outbound] = {}
        """Outbound requests that wait for an answer, held ones included."""
        self.waiting_input: dict[RequestId, Outbound] = {}
        """Outbound requests whose server asked for input and waits for the retry."""
        self.task_progress: dict[RequestId, float | None] = {}
        """Last progress of outbound requests that became experimental tasks, by request id."""
        self._permitted: dict[str, Method] = {}
        """Methods of outbound requests that the other side's capabilities were found to allow."""

    # Facts

    @property
    def ready(self) -> bool:
        """True if negotiation has succeeded and the shutdown has not begun."""
        return self.state is SessionState.OPEN

    @property
    def in_flight(self) -> int:
        """Number of inbound requests that are open.

        Listen streams are counted, and cancelled requests until they are released.
        """
        return len(self.in_flight_by_id)

    @property
    def pending(self) -> int:
        """Number of outbound requests that wait for an answer."""
        return len(self._pending)

    @property
    def finished(self) -> bool:
        """True if nothing can follow.

        The conversation has ended, or the other side stopped writing and has all its answers.
        """
        if self.state is SessionState.CLOSED:
            return True
        return self.half_closed and not self.in_flight_by_id

    @property
    def is_modern_client(self) -> bool:
        """True for a client of a modern revision: it gets no requests and never sends responses."""
        return (
            self.role is Role.CLIENT
            and self.revision is not None
            and not self.revision.server_requests
        )

    def slot(self, route: Route, id: RequestId) -> Any:
        """Return the key under which an inbound id is unique."""
        return (route, id) if self._scoped else id

    def crowded(self, record: Inbound | None) -> bool:
        """Return True if the queue is over its limit, so that notifications must make way.

        Bytes are counted on the stream of ``record``.  On MAIN, which all requests share, the whole
        outbox counts.
        """
        limit = self.config.limits.queued
        if record is not None and record.queued > limit:
            return True
        return (record is None or record.route == MAIN) and self.endpoint.outbox.size > limit

    # States

    def move(self, signal: SessionSignal) -> None:
        """Advance the session; raises LocalProtocolError if the table does not allow it."""
        after = step(SESSION, self.state, signal)
        if after is None:
            raise LocalProtocolError(
                f"{signal.value!r} is not possible while the session is {self.state.value}"
            )
        self.state = after

    def agree(self, revision: Revision | None) -> None:
        """Set the negotiated revision; forget what was derived from an earlier one."""
        self.revision = revision
        self.late_discovery = None
        self._permitted = {}

    def introduced(self, info: Implementation | None, capabilities: ClientCapabilities) -> None:
        """Server: store what a legacy client declared of itself in the handshake."""
        self.peer_info = info
        self.peer_capabilities = self.client_capabilities = capabilities

    def emit(self, event: Event) -> None:
        """Queue an event for the application."""
        self.endpoint.events.append(event)

    def violation(
        self, route: Route, code: int, message: str, *, refused: bool = False, excerpt: str = ""
    ) -> None:
        """Emit a Violation: the other side broke a rule. Nothing is emitted after the end."""
        if not self.ended:
            self.emit(Violation(code, message, route, self.session, refused, excerpt))

    # Sending

    def send(self, frame: Transmit, record: Inbound | None = None) -> None:
        """Send a frame; ``record`` is the inbound request on whose stream it travels."""
        if record is not None:
            record.queued += frame.size
        self.endpoint.outbox.push(frame)

    def send_last(
        self,
        route: Route,
        kind: FrameKind,
        data: tuple[bytes] | tuple[()] = (),
        *,
        key: Key | None = None,
        code: int | None = None,
        method: str | None = None,
        revision: Revision | None = None,
    ) -> None:
        """Send the last frame of a route. MAIN has no end: no ACCEPTED frame is sent there."""
        if kind is _ACCEPTED and route == MAIN:
            return
        frame = Transmit(
            peer=self,
            route=route,
            data=data,
            size=len(data[0]) if data else 0,
            kind=kind,
            ends=route != MAIN,
            key=key,
            code=code,
            method=method,
            revision=revision,
        )
        self.endpoint.outbox.push(frame)

    def answer(
        self,
        route: Route,
        batch: Batch | None,
        kind: FrameKind,
        data: bytes,
        *,
        key: Key | None = None,
        code: int | None = None,
        method: str | None = None,
        revision: Revision | None = None,
    ) -> None:
        """Send an answer on its own, or put it into the batch that it belongs to."""
        if batch is not None:
            batch.settle(data)
        else:
            self.send_last(
                route, kind, (data,), key=key, code=code, method=method, revision=revision
            )

    def refuse(
        self,
        route: Route,
        id: RequestId | None,
        error: ErrorData,
        *,
        batch: Batch | None = None,
        method: str | None = None,
        revision: Revision | None = None,
    ) -> None:
        """Answer with an error of the engine's own and report the violation.

        ``method``: of the request, if it is one that could be read.
        """
        self.violation(route, error.code, error.message, refused=method is not None)
        if method is not None and self.is_modern_client:
            return  # a modern client never sends responses
        self.answer(
            route,
            batch,
            FrameKind.ERROR,
            encode_error(id, error),
            code=error.code,
            method=method,
            revision=revision,
        )

    def send_notification(
        self,
        method: str,
        body: bytes,
        *,
        members: bytes = b"",
        record: Inbound | None = None,
        route: Route = MAIN,
        request: RequestId | None = None,
        revision: Revision | None = None,
        subject: Hashable = None,
    ) -> None:
        """Send a notification with ``members`` put first into its params.

        ``record``: the inbound request whose stream carries it.  ``subject``: the thing it reports
        on; if the stream is crowded, it replaces a queued notification with the same subject.
        """
        data = encode_notification(method, body, members)
        if record is not None:
            self.send_news(method, data, record, subject)
            return
        key = None if subject is None else ENGINE
        if subject is not None and self.crowded(None) and self.renew(None, subject, data):
            return
        frame = Transmit(
            peer=self,
            route=route,
            data=(data,),
            size=len(data),
            kind=_NOTIFICATION,
            key=key,
            request=request,
            method=method,
            revision=revision,
            subject=subject,
        )
        if subject is not None:
            self._replaceable[key, subject] = frame
        self.send(frame)

    def send_news(
        self, method: str, data: bytes, record: Inbound, subject: Hashable = None
    ) -> None:
        """Send an encoded notification on a request's stream; see :meth:`send_notification`."""
        key, outbox, size = record.key, self.endpoint.outbox, len(data)
        if subject is not None:
            full = record.queued > self.config.limits.queued or record.route == MAIN
            if full and self.crowded(record) and self.renew(record, subject, data):
                return
            if self._joins and outbox.join(data, size, key, subject):
                record.queued += size
                return
        record.queued += size
        frame = Transmit(
            peer=self,
            route=record.route,
            data=(data,),
            size=size,
            kind=_NOTIFICATION,
            key=key,
            method=method,
            revision=record.revision,
            subject=subject,
        )
        if subject is not None:
            self._replaceable[key, subject] = frame
        outbox.push(frame)

    def renew(self, record: Inbound | None, subject: Hashable, data: bytes) -> bool:
        """Replace the queued notification of ``subject`` by ``data``; False if none is queued."""
        waiting = self._replaceable.get((ENGINE if record is None else record.key, subject))
        if waiting is None:
            return False
        growth = self.endpoint.outbox.replace(waiting, (data,))
        if record is not None:
            record.queued += growth
        return True

    def taken(self, frame: Transmit) -> None:
        """Note that a frame was taken from the outbox (or dropped).

        Needed for frames of a request in flight and for frames with a subject.
        """
        if frame.subject is not None:
            place = (frame.key, frame.subject)
            if self._replaceable.get(place) is frame:
                del self._replaceable[place]
        record = None if frame.key is None else self.endpoint.inbound.get(frame.key)
        if record is None:
            return
        record.queued -= frame.size
        if record.drain_wanted and not record.queued:
            record.drain_wanted = False
            if not self.ended:
                self.emit(StreamDrained(key=record.key))

    def withdraw(self, record: Inbound) -> None:
        """Drop the queued notifications of a request that is no longer wanted."""

        def unwanted(frame: Transmit) -> bool:
            return frame.key == record.key and frame.kind is FrameKind.NOTIFICATION

        if record.queued:
            for frame in self.endpoint.outbox.discard(unwanted):
                self.taken(frame)

    # Ends

    def finish(self, record: Inbound, signal: RequestSignal) -> bool:
        """Advance an inbound request; True if it is done and was not cancelled before."""
        before = record.state
        after = REQUEST.get((before, signal))
        if after is not _DONE:
            if after is None:
                raise LocalProtocolError(f"the request with key {record.key} is {before.value}")
            record.state = after
            return False
        record.state = _DONE
        del self.endpoint.inbound[record.key]
        if self._scoped:
            self.in_flight_by_id.pop((record.route, record.id), None)
            self._by_route.pop(record.route, None)
        else:
            named = self.in_flight_by_id.pop(record.id, None)
            if named is not record and named is not None:  # a newer session reused the id
                self.in_flight_by_id[record.id] = named
        if record.stream is not None:
            self.streams.pop(record.key, None)
        return before is _ACTIVE

    def end_stream(self, record: Inbound, signal: StreamSignal) -> None:
        """End a listen stream of the other side and emit SubscriptionClosed."""
        record.stream = step(STREAM, StreamState.LISTENING, signal)
        self.finish(record, RequestSignal.RELEASE)
        self.emit(SubscriptionClosed(key=record.key))

    def conclude(self, request: Outbound, signal: RequestSignal) -> bool:
        """Advance an outbound request to its end; False if it has ended before."""
        if (request.state, signal) not in REQUEST:
            return False
        if request.state is _HELD:
            del self._held[request.id]
        request.state = _DONE
        endpoint = self.endpoint
        endpoint.deadlines.set(request, None)
        self._pending.pop(request.id, None)
        endpoint.outbound.pop(request.id, None)
        return True

    def abort(
        self,
        request: Outbound,
        signal: RequestSignal,
        reason: EndReason,
        message: str,
        fault: Fault | None = None,
    ) -> None:
        """End an outbound request without an answer: emit its one terminal event.

        The engine's own requests (probe, handshake) have none; negotiation has its own events.
        """
        if self.conclude(request, signal) and request.purpose is _APPLICATION:
            self.emit(
                RequestEnded(
                    request=request.id,
                    method=request.method,
                    reason=reason,
                    message=message,
                    fault=fault,
                )
            )

    # Hooks that subclasses implement

    def expire(self, request: Outbound, now: float) -> None:
        """Handle an outbound request whose deadline has passed."""
        raise NotImplementedError

    def take_in(self, *item: Any) -> None:
        """Process one item that arrived."""
        raise NotImplementedError
