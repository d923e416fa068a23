"""What receiving and sending share: the state of a Peer and the ways out.

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
    Request,
    RequestSignal,
    Session,
    SessionSignal,
    Stream,
    StreamSignal,
    step,
)
from mcpcore.engine.requests import NO_CAPABILITIES, Batch, Hub, Inbound, Outbound, Purpose
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
    from mcpcore.engine.reconnecting import ReconnectSettings

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_ACTIVE, _DONE, _HELD = Request.ACTIVE, Request.DONE, Request.HELD
_OWNER, _ACCEPTED, _NOTIFICATION = Purpose.OWNER, FrameKind.ACCEPTED, FrameKind.NOTIFICATION


class PeerBase:
    """State and exits of one conversation. Use :class:`~mcpcore.engine.peer.Peer`."""

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
        "expected",
        "failure",
        "half_closed",
        "hub",
        "in_flight_by_id",
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
        hub: Hub | None = None,
        session: str | None = None,
        mirrors: bool = False,
        joins: bool = False,
    ) -> None:
        """Make one end of a conversation.

        ``hub`` is given where several Peers share an endpoint, ``session`` names this one in
        events; ``mirrors`` asks for header mirrors on the frames of a client, ``joins`` for frames
        that hold all the progress of a request that is ready together.  Raises TypeError or
        ValueError for a config that makes no sense in this role.
        """
        self.role = role
        self.config = config
        self.hub = Hub() if hub is None else hub
        self.profile = self.hub.profile(role, config)
        self.session = session
        self.state = Session.NEW
        self.revision: Revision | None = None
        """What was negotiated; a server serves modern requests whatever stands here."""
        self.peer_info: Implementation | None = None
        self.peer_capabilities: ClientCapabilities | ServerCapabilities | None = None
        """What the other side declared; None if unknown."""
        self.client_capabilities = NO_CAPABILITIES
        """The same on a server, where it is a legacy client that has declared them."""
        self.principal: str | None = None
        """Whom the transport has authenticated for the whole conversation, where bytes are fed."""
        self.log_level: str | None = None
        self.changes = 0
        """How often something has changed that a legacy client set for the whole session: what was
        negotiated, the log level, the subscriptions."""
        self.logs_lost = 0
        self.failure: str | None = None
        """Why negotiation failed."""
        self.upset: Upset | None = None
        """Client: how negotiation failed, if the era probe may be the reason."""
        self.half_closed = False
        """The other side has finished writing."""
        self.ended = False
        """ConnectionEnded was told."""
        self.reconnects: ReconnectSettings | None = None
        """A client that means to come back; see :mod:`mcpcore.engine.succession`."""
        self.expected = False
        """It succeeds another Peer: requests may be made before it is started."""
        self.alone = False
        """A server that serves one request, after which nobody is there: it can ask nothing."""
        self._lines: LineReader | None = None
        # Theirs
        self._scoped = config.route_scoped_ids
        self.capacity = config.limits.in_flight
        """So many requests of the other side may be in flight now, as far as our owner says."""
        self.in_flight_by_id: dict[Any, Inbound] = {}
        """Requests of the other side, by what makes an id unique (see :meth:`slot`)."""
        self._by_route: dict[Route, Inbound] = {}
        self.streams: dict[Key, Inbound] = {}
        """Listen streams of the other side, by key."""
        self.uris: set[str] = set()
        """Resources that a legacy client subscribed to."""
        self.said: set[str | None] | None = None
        """Those of which it has just said so, or not any more, and None for the log level; for an
        owner that wants to know."""
        self._replaceable: dict[tuple[Key | None, Hashable], Transmit] = {}
        """Frames that newer news may replace while they wait, by key and subject."""
        # Ours
        self._mirrors = mirrors
        self._joins = joins
        self._held: dict[RequestId, Outbound] = {}
        self._pending: dict[RequestId, Outbound] = {}
        """All that wait for an answer; the held ones among them."""
        self.waiting_input: dict[RequestId, Outbound] = {}
        """Requests of ours whose server waits for our retry."""
        self.task_progress: dict[RequestId, float | None] = {}
        """Requests of ours that became experimental tasks: the progress that was heard of last."""
        self._permitted: dict[str, Method] = {}
        """Methods of ours that the other side's capabilities were found to allow."""

    # Facts

    @property
    def ready(self) -> bool:
        """Negotiation has succeeded, and the end has not begun."""
        return self.state is Session.OPEN

    @property
    def in_flight(self) -> int:
        """How many requests of the other side are open.

        Listen streams are among them, and cancelled requests until they are released.
        """
        return len(self.in_flight_by_id)

    @property
    def pending(self) -> int:
        """How many requests of ours wait for an answer."""
        return len(self._pending)

    @property
    def finished(self) -> bool:
        """Whether nothing can follow.

        The conversation has ended, or the other side stopped writing and has all its answers.
        """
        if self.state is Session.CLOSED:
            return True
        return self.half_closed and not self.in_flight_by_id

    @property
    def is_modern_client(self) -> bool:
        """We are a client to which no requests are sent, and which therefore never responds."""
        return (
            self.role is Role.CLIENT
            and self.revision is not None
            and not self.revision.server_requests
        )

    def slot(self, route: Route, id: RequestId) -> Any:
        """Where an inbound id is unique."""
        return (route, id) if self._scoped else id

    def crowded(self, record: Inbound | None) -> bool:
        """Whether so much waits to be sent that news must make way.

        Counted on the stream of ``record``; on MAIN, which all share, everything counts.
        """
        limit = self.config.limits.queued
        if record is not None and record.queued > limit:
            return True
        return (record is None or record.route == MAIN) and self.hub.outbox.size > limit

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
        """Note what was negotiated; what was derived from an earlier agreement is forgotten."""
        self.revision = revision
        self._permitted = {}

    def introduced(self, info: Implementation | None, capabilities: ClientCapabilities) -> None:
        """Server: note what a legacy client has said of itself in the handshake."""
        self.peer_info = info
        self.peer_capabilities = self.client_capabilities = capabilities

    def emit(self, event: Event) -> None:
        """Queue an event for our owner."""
        self.hub.events.append(event)

    def violation(
        self, route: Route, code: int, message: str, *, refused: bool = False, excerpt: str = ""
    ) -> None:
        """Tell our owner that the other side broke a rule (nothing is told after the end)."""
        if not self.ended:
            self.emit(Violation(code, message, route, self.session, refused, excerpt))

    # Ways out

    def send(self, frame: Transmit, record: Inbound | None = None) -> None:
        """Send a frame; ``record`` is the inbound request on whose stream it travels."""
        if record is not None:
            record.queued += frame.size
        self.hub.outbox.push(frame)

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
        """Send the frame with which a route is done. MAIN has no end, so nothing is owed there."""
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
        self.hub.outbox.push(frame)

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
            return  # it never sends responses, so there is nobody to tell
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

        ``record``: the inbound request whose stream carries it.  ``subject``: what it is news of;
        where the stream is crowded it takes the place of what still waits about the same.
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
        """Send a notification, encoded, on the stream of a request; see the call above."""
        key, outbox, size = record.key, self.hub.outbox, len(data)
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
        """Put ``data`` in place of what still waits about ``subject``; False if nothing does."""
        waiting = self._replaceable.get((ENGINE if record is None else record.key, subject))
        if waiting is None:
            return False
        growth = self.hub.outbox.replace(waiting, (data,))
        if record is not None:
            record.queued += growth
        return True

    def taken(self, frame: Transmit) -> None:
        """Our owner took a frame of a request in flight, or of news (or dropped it)."""
        if frame.subject is not None:
            place = (frame.key, frame.subject)
            if self._replaceable.get(place) is frame:
                del self._replaceable[place]
        record = None if frame.key is None else self.hub.inbound.get(frame.key)
        if record is None:
            return
        record.queued -= frame.size
        if record.drain_wanted and not record.queued:
            record.drain_wanted = False
            if not self.ended:
                self.emit(StreamDrained(key=record.key))

    def withdraw(self, record: Inbound) -> None:
        """Do not send what waits for a request that is no longer wanted."""

        def unwanted(frame: Transmit) -> bool:
            return frame.key == record.key and frame.kind is FrameKind.NOTIFICATION

        if record.queued:
            for frame in self.hub.outbox.discard(unwanted):
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
        del self.hub.inbound[record.key]
        if self._scoped:
            self.in_flight_by_id.pop((record.route, record.id), None)
            self._by_route.pop(record.route, None)
        else:
            named = self.in_flight_by_id.pop(record.id, None)
            if named is not record and named is not None:  # asked since in another session
                self.in_flight_by_id[record.id] = named
        if record.stream is not None:
            self.streams.pop(record.key, None)
        return before is _ACTIVE

    def end_stream(self, record: Inbound, signal: StreamSignal) -> None:
        """Forget a listen stream of the other side and tell our owner."""
        record.stream = step(STREAM, Stream.LISTENING, signal)
        self.finish(record, RequestSignal.RELEASE)
        self.emit(SubscriptionClosed(key=record.key))

    def conclude(self, request: Outbound, signal: RequestSignal) -> bool:
        """Advance a request of ours to its end; False if it has ended before."""
        if (request.state, signal) not in REQUEST:
            return False
        if request.state is _HELD:
            del self._held[request.id]
        request.state = _DONE
        hub = self.hub
        hub.deadlines.set(request, None)
        self._pending.pop(request.id, None)
        hub.outbound.pop(request.id, None)
        return True

    def abort(
        self,
        request: Outbound,
        signal: RequestSignal,
        reason: EndReason,
        message: str,
        fault: Fault | None = None,
    ) -> None:
        """End a request of ours without an answer: its one terminal event.

        The engine's own requests (probe, handshake) have none; negotiation has its own events.
        """
        if self.conclude(request, signal) and request.purpose is _OWNER:
            self.emit(
                RequestEnded(
                    request=request.id,
                    method=request.method,
                    reason=reason,
                    message=message,
                    fault=fault,
                )
            )

    # What lower layers ask of higher ones

    def expire(self, request: Outbound, now: float) -> None:
        """A deadline of a request of ours has come."""
        raise NotImplementedError

    def take_in(self, *item: Any) -> None:
        """Advance by one thing that arrived."""
        raise NotImplementedError
