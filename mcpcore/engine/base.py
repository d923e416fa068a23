"""What receiving and sending share: the state of a Peer and the ways out.

Every frame that leaves goes through one of the ``send_`` methods here, every inbound request ends
in :meth:`PeerBase.finish`, every outbound one in :meth:`PeerBase.conclude`.
"""

from typing import Any

import msgspec

from mcpcore.engine.config import Config, Role
from mcpcore.engine.events import (
    MAIN,
    EndReason,
    Event,
    RequestEnded,
    Route,
    StreamDrained,
    SubscriptionClosed,
    Violation,
)
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
from mcpcore.engine.negotiation import legacy_of, modern_of
from mcpcore.engine.requests import Batch, Hub, Inbound, Outbound, Purpose
from mcpcore.engine.subscriptions import capabilities_of
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.spec.capabilities import declares, in_revision
from mcpcore.spec.errors import (
    ERRORS,
    INTERNAL_ERROR,
    RESERVED,
    RESOURCE_NOT_FOUND,
    ErrorData,
    LocalProtocolError,
)
from mcpcore.spec.methods import Method, lookup
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
    META_SERVER_INFO,
    Implementation,
)
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.wire.framing import LineReader
from mcpcore.wire.message import RequestId, encode_error, encode_notification

NO_CAPABILITIES = ClientCapabilities()


class PeerBase:
    """State and exits of one conversation. Use :class:`~mcpcore.engine.peer.Peer`."""

    def __init__(
        self,
        role: Role,
        config: Config,
        *,
        hub: Hub | None = None,
        session: str | None = None,
        mirrors: bool = False,
    ) -> None:
        """Make one end of a conversation.

        ``hub`` is given where several Peers share an endpoint, ``session`` names this one in
        events; ``mirrors`` asks for header mirrors on the frames of a client.
        """
        self.role = role
        self.config = config
        self.hub = Hub() if hub is None else hub
        self.session = session
        self.state = Session.NEW
        self.revision: Revision | None = None
        """What was negotiated; a server serves modern requests whatever stands here."""
        self.peer_info: Implementation | None = None
        self.peer_capabilities: ClientCapabilities | ServerCapabilities | None = None
        """What the other side declared; None if unknown."""
        self.log_level: str | None = None
        self.failure: str | None = None
        """Why negotiation failed."""
        self.half_closed = False
        self._mirrors = mirrors
        self._scoped = config.route_scoped_ids
        self._modern = modern_of(config.revisions)
        self._legacy = legacy_of(config.revisions)
        self._by_name = {revision.name: revision for revision in self._modern}
        self._in_flight: dict[Any, Inbound] = {}
        self._by_route: dict[Route, Inbound] = {}
        self.streams: dict[int, Inbound] = {}
        """Listen streams of the other side, by key."""
        self.uris: set[str] = set()
        """Resources that a legacy client subscribed to."""
        self._announced = capabilities_of(config.capabilities)
        self._held: list[Outbound] = []
        self._pending: dict[RequestId, Outbound] = {}
        self.waiting_input: dict[RequestId, Outbound] = {}
        """Requests of ours whose server waits for our retry."""
        self.task_progress: dict[RequestId, float | None] = {}
        """Requests of ours that became experimental tasks: the progress that was heard of last."""
        self.our_rows: dict[str, Method] = {}
        self.permitted_methods: set[str] = set()
        """Methods of ours that the other side's capabilities were found to allow."""
        self._offered: dict[str, bool] = {}
        self._rows: list[dict[str, Method | None]] = [{} for _ in REVISIONS]
        self._client_meta: list[bytes | None] = [None for _ in REVISIONS]
        self.server_meta: dict[str, Any] = {META_SERVER_INFO: config.info}
        self.complete = b'"resultType":"complete","_meta":' + msgspec.json.encode(self.server_meta)
        self._lines: LineReader | None = None
        self._default_timeout = config.limits.request_timeout

    # Facts

    @property
    def in_flight(self) -> int:
        """How many requests of the other side are being worked on (cancelled ones included)."""
        return len(self._in_flight)

    @property
    def pending(self) -> int:
        """How many requests of ours wait for an answer."""
        return len(self._pending)

    @property
    def finished(self) -> bool:
        """Whether nothing can follow.

        The transport has ended, or the other side stopped writing and has all its answers.
        """
        if self.state is Session.CLOSED:
            return True
        return self.half_closed and not self._in_flight

    @property
    def is_modern_client(self) -> bool:
        """We are a client to which no requests are sent, and which therefore never responds."""
        return (
            self.role is Role.CLIENT
            and self.revision is not None
            and not self.revision.server_requests
        )

    def row(self, method: str, revision: Revision) -> Method | None:
        """The row of a method that the other side may send us, None if there is none."""
        rows = self._rows[revision.position]
        try:
            return rows[method]
        except KeyError:
            row = lookup(method, self.role.other.value, revision)
            if row is not None and len(rows) < len(REVISIONS) * 64:
                rows[method] = row
            return row

    def offers(self, row: Method) -> bool:
        """Whether we declared what the other side needs to use ``row``."""
        path = row.capability
        if path is None:
            return True
        offered = self._offered.get(path)
        if offered is None:
            offered = self._offered[path] = declares(self.config.capabilities, path)
        return offered

    def client_meta(self, revision: Revision) -> bytes:
        """The ``_meta`` member of every modern request of ours, without its closing brace."""
        meta = self._client_meta[revision.position]
        if meta is None:
            members = {
                META_PROTOCOL_VERSION: revision.name,
                META_CLIENT_INFO: self.config.info,
                META_CLIENT_CAPABILITIES: in_revision(self.config.capabilities, revision),
            }
            meta = b'"_meta":' + msgspec.json.encode(members)[:-1]
            self._client_meta[revision.position] = meta
        return meta

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
        self.our_rows.clear()
        self.permitted_methods.clear()

    def emit(self, event: Event) -> None:
        """Queue an event for our owner."""
        self.hub.events.append(event)

    def violation(self, route: Route, code: int, message: str) -> None:
        """Tell our owner that the other side broke a rule."""
        self.emit(Violation(code=code, message=message, route=route, session=self.session))

    # Ways out

    def send_last(
        self,
        route: Route,
        kind: FrameKind,
        data: tuple[bytes, ...],
        *,
        key: int | None = None,
        code: int | None = None,
        method: str | None = None,
        revision: Revision | None = None,
    ) -> None:
        """Send the frame with which a route is done. MAIN has no end, so nothing is owed there."""
        if kind is FrameKind.ACCEPTED and route == MAIN:
            return
        frame = Transmit(
            peer=self,
            route=route,
            data=data,
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
        key: int | None = None,
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
        """Answer with an error of the engine's own and report the violation."""
        self.violation(route, error.code, error.message)
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
        route: Route,
        record: Inbound | None = None,
        request: RequestId | None = None,
        revision: Revision | None = None,
    ) -> Transmit:
        """Send a notification; ``record`` is the inbound request whose stream carries it."""
        frame = Transmit(
            peer=self,
            route=route,
            data=(encode_notification(method, body),),
            kind=FrameKind.NOTIFICATION,
            key=None if record is None else record.key,
            request=request,
            method=method,
            revision=revision,
        )
        if record is not None:
            record.queued += frame.size
        self.hub.outbox.push(frame)
        return frame

    def taken(self, frame: Transmit) -> None:
        """Our owner took a frame that belongs to an inbound request."""
        record = self.hub.inbound.get(frame.key) if frame.key is not None else None
        if record is None:
            return
        if record.waiting_progress is frame:
            record.waiting_progress = None
        record.queued = max(0, record.queued - frame.size)
        if record.drain_wanted and not record.queued:
            record.drain_wanted = False
            self.emit(StreamDrained(key=record.key))

    # Ends

    def finish(self, record: Inbound, signal: RequestSignal) -> bool:
        """Advance an inbound request; True if it is done and was not cancelled before."""
        before = record.state
        after = step(REQUEST, before, signal)
        if after is None:
            raise LocalProtocolError(f"the request with key {record.key} is {before.value}")
        record.state = after
        if after is Request.DONE:
            del self.hub.inbound[record.key]
            self._in_flight.pop(self.slot(record.route, record.id), None)
            if self._scoped:
                self._by_route.pop(record.route, None)
            if record.stream is not None:
                self.streams.pop(record.key, None)
        return before is Request.ACTIVE and after is Request.DONE

    def slot(self, route: Route, id: RequestId) -> Any:
        """Where an inbound id is unique."""
        return (route, id) if self._scoped else id

    def end_stream(self, record: Inbound, signal: StreamSignal) -> None:
        """Forget a listen stream of the other side and tell our owner."""
        after = step(STREAM, record.stream or Stream.LISTENING, signal)
        record.stream = after or Stream.ENDED
        self.finish(record, RequestSignal.RELEASE)
        self.emit(SubscriptionClosed(key=record.key))

    def conclude(self, request: Outbound, signal: RequestSignal) -> bool:
        """Advance a request of ours to its end; False if it has ended before."""
        if step(REQUEST, request.state, signal) is None or request.state is Request.CANCELLED:
            return False
        if request.state is Request.HELD:
            self._held.remove(request)
        request.state = Request.DONE
        self.hub.deadlines.set(request, None)
        self._pending.pop(request.id, None)
        self.hub.outbound.pop(request.id, None)
        return True

    def abort(
        self, request: Outbound, signal: RequestSignal, reason: EndReason, message: str
    ) -> None:
        """End a request of ours without an answer: its one terminal event.

        The engine's own requests (probe, handshake) have none; negotiation has its own events.
        """
        if self.conclude(request, signal) and request.purpose is Purpose.OWNER:
            self.emit(
                RequestEnded(
                    request=request.id, method=request.method, reason=reason, message=message
                )
            )

    def permitted(self, error: ErrorData, revision: Revision) -> ErrorData:
        """The error as ``revision`` may carry it: codes that are not its own are replaced."""
        row = ERRORS.get(error.code)
        if row is None:
            allowed = error.code not in RESERVED or not revision.modern
        else:
            allowed = revision in row.revisions
        if allowed:
            return error
        code = INTERNAL_ERROR
        if error.code == RESOURCE_NOT_FOUND:
            code = revision.resource_not_found
        return ErrorData(code, error.message, error.data)

    def expire(self, request: Outbound, now: float) -> None:
        """A deadline of a request of ours has come."""
        raise NotImplementedError

    def take_in(self, *item: Any) -> None:
        """Advance by one thing that arrived."""
        raise NotImplementedError
