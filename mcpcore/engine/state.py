"""State of a Peer, which its parts share: the record, its tables, and the ways out.

Inside, an inbound request is known by its ``key``, an outbound one by the id that this side gave
it.  Both are unique in the endpoint.  An inbound request is registered by
:meth:`PeerState.register` and ends in :meth:`PeerState.finish`; an outbound one by
:meth:`PeerState.expect` and in :meth:`PeerState.conclude`.
"""

import sys
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import UNSET, Raw, Struct, field, structs

from mcpcore.engine import events
from mcpcore.engine.bodies import NO_META
from mcpcore.engine.config import Config, Profile, Role
from mcpcore.engine.deadlines import Deadlines
from mcpcore.engine.events import ENGINE, MAIN, EndReason, Event, Fault, Key, Route
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
from mcpcore.engine.subscriptions import Interest
from mcpcore.engine.transmit import FrameKind, Outbox, Transmit
from mcpcore.spec.errors import ErrorData, LocalProtocolError
from mcpcore.spec.methods import Method
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Implementation, RequestMeta, Skim
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.wire.jsontext import Members
from mcpcore.wire.message import (
    Message,
    Reject,
    RequestId,
    encode_batch,
    encode_error,
    encode_notification,
)

if TYPE_CHECKING:  # late: servers need none of it
    from mcpcore.engine.reconnection import Handover

NO_PARAMS = Raw(b"{}")
NO_SKIM = Skim()
NO_CAPABILITIES = ClientCapabilities()


class Batch(Struct, weakref=False, eq=False):
    """Collector of the answers to one batch: one array, sent when the last answer is known."""

    peer: "PeerState"
    route: Route
    revision: Revision | None
    _parts: list[bytes] = []
    _open: int = 1
    """Answers owed; the batch itself counts as one until all of its messages have been read."""

    def expect(self) -> None:
        """Count one more answer that is owed."""
        self._open += 1

    def settle(self, answer: bytes | None = None) -> None:
        """Add one owed answer (None: it will never come); send the array after the last one."""
        if answer is not None:
            self._parts.append(answer)
        self._open -= 1
        if self._open:
            return
        data = encode_batch(self._parts) if self._parts else None
        kind = FrameKind.ACCEPTED if data is None else FrameKind.BATCH
        self.peer.send_last(self.route, kind, data, revision=self.revision)


class Inbound(Struct, weakref=False, eq=False):
    """Inbound request: as it arrived, the findings about it, and its state."""

    peer: "PeerState"
    id: RequestId
    method: str
    params: Raw
    route: Route
    principal: str | None
    batch: Batch | None
    revision: Revision
    """Revision by which it is read: the one of the handshake (before one, the newest that has any),
    unless it names another."""
    skim: Skim
    meta: RequestMeta
    capabilities: ClientCapabilities
    """Server: capabilities that the client declared, in the handshake or with the request."""
    client_info: Implementation | None
    row: Method | None = None
    """Row of the method; None for an extension's method that the application knows."""
    key: Key = 0
    state: RequestState = RequestState.ACTIVE
    progress: float | None = None
    queued: int = 0
    """Bytes sent on its stream that have not been taken."""
    drain_wanted: bool = False
    logs_lost: int = 0
    stream: StreamState | None = None
    """State of a listen stream; None for other requests, as is ``interest``."""
    interest: Interest | None = None
    held: bool = False
    """True if the engine answers it itself, once the application admits it."""
    admitted: Key | None = None
    """Key under which it was held until it was admitted."""

    def forget_arrival(self) -> None:
        """Drop the params and metadata of a lasting request, which are not read again."""
        self.params, self.skim = NO_PARAMS, NO_SKIM
        self.meta, self.capabilities, self.client_info = NO_META, NO_CAPABILITIES, None


class Purpose(Enum):
    """Purposes of an outbound request."""

    APPLICATION = auto()
    PROBE = auto()
    INITIALIZE = auto()


class RequestSender(Protocol):
    """Part of a Peer that sends requests, and handles those that get no answer."""

    def expire(self, request: "Outbound", now: float) -> None:
        """Handle a request that was not answered in time."""

    def give_up(self, request: "Outbound", reason: str | None) -> None:
        """Cancel a request, if it is one of the application."""


class Outbound(Struct, weakref=False, eq=False):
    """Outbound request."""

    sender: RequestSender
    """Part that has sent it."""
    id: RequestId
    method: str
    original: bytes | Raw | Members
    """Params as the application gave them, without ``_meta``."""
    started: float
    timeout: float | None
    body: bytes | Raw | Members
    """Params as they are sent; in a retry with the answers and the state."""
    meta: Mapping[str, Any] = {}
    log_level: str | None = None
    parent: Key | None = None
    route: Route = 0
    purpose: Purpose = Purpose.APPLICATION
    state: RequestState = RequestState.HELD
    want_progress: bool = False
    forced: bool = False
    """True to send it even if the other side did not declare the capability it needs."""
    row: Method | None = None
    revision: Revision | None = None
    """Revision in which it was sent; None while it is held."""
    deadline: float | None = None
    progress: float | None = None
    tries: int = 1
    """Probes so far (the engine's own); 0 in a handshake that no probe has shown to be right."""
    repeat: bool | None = None
    """True or False if the application decided on sending it twice; None: the tables decide."""
    capabilities: ClientCapabilities | None = None
    """Capabilities that the client declares with it; None: those of the config."""
    repeats: int = 0
    """Number of times it was held to be sent again on the next connection."""
    round: int = 0
    """Input rounds so far."""
    input_state: str | None = None
    """``requestState`` of the server, between its answer and our retry."""
    stream: StreamState | None = None
    """State of a listen stream; None for other methods."""
    refusal: Fault | None = None
    """Refusal of the transport that brings the answer."""
    farewell: str | None = None
    """Reason that the server gave for ending the stream, while the result is still to come."""


# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_ACTIVE, _DONE, _HELD = RequestState.ACTIVE, RequestState.DONE, RequestState.HELD
_APPLICATION = Purpose.APPLICATION
_ACCEPTED, _NOTIFICATION = FrameKind.ACCEPTED, FrameKind.NOTIFICATION


def _is_from(route: Route, item: tuple[Any, ...]) -> bool:
    """Return True if an item of the inbox is a message of ``route`` and no response."""
    if len(item) < 4 or item[3] != route:
        return False
    message = item[1]
    if isinstance(message, Message):
        return message.method is not UNSET
    return isinstance(message, Reject) and not message.response


_PROFILES = 8
"""Maximum profiles kept; an endpoint has one or two Configs, unless each Peer has its own."""


class Endpoint:
    """Shared state of the Peers of one endpoint: counters, queues, in-flight tables, deadlines.

    Items in ``inbox`` stand behind the part of a Peer, or other machine, that takes them in.
    """

    # Not a Struct, whose attributes take ten times as long to set.
    __slots__ = (
        "_profiles",
        "capacity",
        "deadlines",
        "events",
        "inbound",
        "inbox",
        "last_key",
        "outbound",
        "outbox",
        "serial",
    )

    def __init__(self) -> None:
        self.inbox: deque[tuple[Any, ...]] = deque()
        self.events: deque[Event] = deque()
        self.outbox = Outbox()
        self.deadlines: Deadlines[Outbound] = Deadlines()
        self.inbound: dict[Key, Inbound] = {}
        self.capacity = sys.maxsize
        """Maximum inbound requests in flight of all Peers, listen streams included."""
        self.outbound: dict[RequestId, Outbound] = {}
        self.last_key: Key = 0
        """Key of the latest inbound request; keys are numbers, counted up."""
        self.serial = 0
        """Number of outbound requests; each makes the id of one."""
        self._profiles: list[Profile] = []

    def profile(self, role: Role, config: Config) -> Profile:
        """Return the profile of a Config, shared by all Peers of this endpoint that have it."""
        for profile in self._profiles:
            if profile.config is config and profile.role is role:
                return profile
        profile = Profile(role, config)
        self._profiles = [*self._profiles[-_PROFILES:], profile]
        return profile

    def advance(self, target: Any, *item: Any) -> None:
        """Let ``target`` take in an item, or queue it if something waits before it."""
        if self.inbox or self.events:
            self.inbox.append((target, *item))
        else:
            target.take_in(*item)

    def discard(self, route: Route) -> None:
        """Drop the queued messages of ``route``, except responses."""
        kept = [item for item in self.inbox if not _is_from(route, item)]
        self.inbox.clear()
        self.inbox.extend(kept)

    def routes_in_use(self) -> set[Route]:
        """Return the routes of the requests in flight and of the queued items."""
        waiting = {item[3] for item in self.inbox if len(item) >= 4}
        return waiting.union(record.route for record in self.inbound.values())

    def answerable(self, key: Key) -> Inbound:
        """Return the request that is to be answered by ``key``.  Raises LocalProtocolError."""
        record = self.inbound.get(key)
        if record is None:
            raise LocalProtocolError(f"no request with key {key} is in flight")
        if record.stream is not None:
            raise LocalProtocolError("a listen stream ends with end_subscription")
        return record

    def next_event(self) -> Event | None:
        """Advance to the next event and return it; None when all input is used up."""
        events, inbox = self.events, self.inbox
        while not events:
            if not inbox:
                return None
            item = inbox.popleft()
            item[0].take_in(*item[1:])
        return events.popleft()

    def data_to_send(self, limit: int | None = None) -> list[Transmit]:
        """Take the frames that wait, until ``limit`` bytes are reached (but at least one)."""
        inbound, frames = self.inbound, self.outbox.take(limit)
        for frame in frames:
            if frame.subject is not None or frame.key in inbound:
                frame.peer.taken(frame)
        return frames

    def handle_timeout(self, now: float) -> None:
        """End the requests whose deadline has passed."""
        for request in self.deadlines.due(now):
            request.sender.expire(request, now)


class PeerState(Struct, kw_only=True, weakref=False, eq=False):
    """State of one conversation and its ways to send, for the parts of a Peer."""

    role: Role
    config: Config
    endpoint: Endpoint
    session: str | None
    mirrors: bool
    joins: bool
    profile: Profile
    outbox: Outbox
    scoped: bool
    """True if inbound ids are unique per route only."""
    capacity: int
    """Maximum inbound requests in flight now; the application may change it."""
    lifecycle: SessionState = SessionState.NEW
    revision: Revision | None = None
    """Negotiated revision; a server serves modern requests whatever this is."""
    peer_info: Implementation | None = None
    principal: str | None = None
    """Server: principal of the item that is being taken in."""
    peer_capabilities: ClientCapabilities | ServerCapabilities | None = None
    """Capabilities that the other side declared; None if unknown."""
    client_capabilities: ClientCapabilities = field(default_factory=lambda: NO_CAPABILITIES)
    """Server: capabilities that a legacy client declared in the handshake."""
    log_level: str | None = None
    changes: int = 0
    """Changes by a legacy client to its session: negotiation, log level, subscriptions."""
    logs_lost: int = 0
    failure: str | None = None
    """Reason why negotiation failed."""
    half_closed: bool = False
    """True once the other side has finished writing."""
    ended: bool = False
    """True once ConnectionEnded was emitted."""
    handover: "Handover | None" = None
    """Client that reconnects: what decides on the requests that outlive the conversation."""
    expected: bool = False
    """True if this Peer succeeds another one: it takes requests before it is started."""
    alone: bool = False
    """True for a server that serves one request without a session: it can send no requests."""

    in_flight_by_id: dict[Any, Inbound] = {}
    """Inbound requests in flight, by the key that makes an id unique (see :meth:`slot`)."""
    by_route: dict[Route, Inbound] = {}
    streams: dict[Key, Inbound] = {}
    """Listen streams of the other side, by key."""
    uris: set[str] = set()
    """URIs of the resources that a legacy client subscribed to."""
    unsaved: set[str | None] | None = None
    """Changes by a legacy client that are in no record of its session yet: URIs of subscriptions
    that began or ended, and None for the log level.  None in place of a set: there are no records.
    """
    replaceable: dict[tuple[Key | None, Hashable], Transmit] = {}
    """Queued notifications that a newer one may replace, by key and subject."""

    held: dict[RequestId, Outbound] = {}
    """Outbound requests that wait for negotiation, or for the next connection."""
    pending: dict[RequestId, Outbound] = {}
    """Outbound requests that wait for an answer, held ones included."""
    waiting_input: dict[RequestId, Outbound] = {}
    """Outbound requests whose server asked for input and waits for the retry."""
    permitted: dict[str, Method] = {}
    """Methods of outbound requests that the other side's capabilities were found to allow."""

    # Facts

    @property
    def is_modern_client(self) -> bool:
        """True for a client of a modern revision: it gets no requests and never sends responses."""
        revision = self.revision
        return self.role is Role.CLIENT and revision is not None and not revision.server_requests

    def slot(self, route: Route, id: RequestId) -> Any:
        """Return the key under which an inbound id is unique."""
        return (route, id) if self.scoped else id

    def crowded(self, record: Inbound | None) -> bool:
        """Return True if the stream of ``record``, or on MAIN the outbox, is over its limit."""
        limit = self.config.limits.queued
        if record is not None and record.queued > limit:
            return True
        return (record is None or record.route == MAIN) and self.outbox.size > limit

    # States

    def move(self, signal: SessionSignal) -> None:
        """Advance the session; raises LocalProtocolError if the table does not allow it."""
        after = step(SESSION, self.lifecycle, signal)
        if after is None:
            text = f"{signal.value!r} is not possible while the session is {self.lifecycle.value}"
            raise LocalProtocolError(text)
        self.lifecycle = after

    def agree(self, revision: Revision | None) -> None:
        """Set the negotiated revision; forget what was derived from an earlier one."""
        self.revision = revision
        self.permitted = {}

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
            session, principal = self.session, self.principal
            self.emit(events.Violation(code, message, route, session, refused, excerpt, principal))

    # Sending

    def send_last(
        self,
        route: Route,
        kind: FrameKind,
        data: bytes | None = None,
        *,
        batch: Batch | None = None,
        key: Key | None = None,
        code: int | None = None,
        method: str | None = None,
        revision: Revision | None = None,
    ) -> None:
        """Send the last frame of a route, or put the answer into its batch; MAIN has no end."""
        if batch is not None:
            batch.settle(data)
        elif kind is not _ACCEPTED or route != MAIN:
            texts, size = ((), 0) if data is None else ((data,), len(data))
            ends = route != MAIN
            self.outbox.push(
                Transmit(self, route, texts, size, kind, key, method, revision, code, ends=ends)
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
        self.violation(route, error.code, error.message, refused=method is not None)
        if method is not None and self.is_modern_client:
            return  # a modern client never sends responses
        data, code = encode_error(id, error), error.code
        self.send_last(
            route, FrameKind.ERROR, data, batch=batch, code=code, method=method, revision=revision
        )

    def send_notification(
        self, method: str, body: bytes, *, members: bytes = b"", **where: Any
    ) -> None:
        """Send a notification with ``members`` put first into its params; see :meth:`send_news`."""
        self.send_news(method, encode_notification(method, body, members), **where)

    def send_news(
        self,
        method: str,
        data: bytes,
        record: Inbound | None = None,
        subject: Hashable = None,
        route: Route = MAIN,
        request: RequestId | None = None,
        revision: Revision | None = None,
    ) -> None:
        """Send an encoded notification.

        ``record``: the inbound request whose stream carries it.  ``subject``: the thing it reports
        on; if the stream is crowded, it replaces a queued notification with the same subject.
        """
        size, key = len(data), None if subject is None else ENGINE
        if record is not None:
            key, route, revision = record.key, record.route, record.revision
        if subject is not None:
            if (
                # As crowded() finds, mostly without a call.
                (record is None or route == MAIN or record.queued > self.config.limits.queued)
                and self.crowded(record)
                and self.renew(record, subject, data)
            ):
                return
            if record is not None and self.joins and self.outbox.join(data, size, key, subject):
                record.queued += size
                return
        frame = Transmit(self, route, (data,), size, _NOTIFICATION, key, method, revision)
        frame.request = request
        if record is not None:
            record.queued += size
        if subject is not None:
            frame.subject = subject
            self.replaceable[key, subject] = frame
        self.outbox.push(frame)

    def renew(self, record: Inbound | None, subject: Hashable, data: bytes) -> bool:
        """Replace the queued notification of ``subject`` by ``data``; False if none is queued."""
        waiting = self.replaceable.get((ENGINE if record is None else record.key, subject))
        if waiting is None:
            return False
        growth = self.outbox.replace(waiting, (data,))
        if record is not None:
            record.queued += growth
        return True

    def taken(self, frame: Transmit) -> None:
        """Note that a frame of a request in flight, or with a subject, left the outbox."""
        if frame.subject is not None:
            place = (frame.key, frame.subject)
            if self.replaceable.get(place) is frame:
                del self.replaceable[place]
        record = None if frame.key is None else self.endpoint.inbound.get(frame.key)
        if record is None:
            return
        record.queued -= frame.size
        if record.drain_wanted and not record.queued:
            record.drain_wanted = False
            if not self.ended:
                self.emit(events.StreamDrained(key=record.key))

    def withdraw(self, record: Inbound) -> None:
        """Drop the queued notifications of a request that is no longer wanted."""
        if record.queued:
            self._discard(lambda each: each.key == record.key and each.kind is _NOTIFICATION)

    # Requests in flight: inbound

    def register(self, arrival: Inbound) -> Key:
        """Register an inbound request as in flight; return its key."""
        endpoint = self.endpoint
        endpoint.last_key = arrival.key = key = endpoint.last_key + 1
        endpoint.inbound[key] = arrival
        if self.scoped:
            self.in_flight_by_id[arrival.route, arrival.id] = arrival
            self.by_route[arrival.route] = arrival
        else:
            self.in_flight_by_id[arrival.id] = arrival
        return key

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
        if self.scoped:
            self.in_flight_by_id.pop((record.route, record.id), None)
            self.by_route.pop(record.route, None)
        elif self.in_flight_by_id.get(record.id) is record:  # else a newer session uses the id
            del self.in_flight_by_id[record.id]
        if record.stream is not None:
            self.streams.pop(record.key, None)
        return before is _ACTIVE

    def drop(self, record: Inbound, signal: RequestSignal, reason: str | None) -> None:
        """Drop an inbound request to which the other side wants no answer any more."""
        cancelled = signal is RequestSignal.CANCEL
        if record.stream is not None:
            self.withdraw(record)
            ending = StreamSignal.CANCEL if cancelled else StreamSignal.END
            record.stream = step(STREAM, StreamState.LISTENING, ending)
            self.finish(record, RequestSignal.RELEASE)
            self.emit(events.SubscriptionClosed(record.key, ending))
        elif record.state is RequestState.ACTIVE:
            record.state = step(REQUEST, record.state, signal) or record.state
            self.emit(events.RequestCancelled(key=record.key, reason=reason))
            self.withdraw(record)
        else:
            return
        if cancelled:
            self.send_last(record.route, _ACCEPTED, batch=record.batch, key=record.key)

    # Requests in flight: outbound

    def expect(self, request: Outbound, now: float) -> None:
        """Register an outbound request as waiting for its answer."""
        endpoint = self.endpoint
        endpoint.outbound[request.id] = request
        self.pending[request.id] = request
        if request.timeout is not None:
            endpoint.deadlines.set(request, now + request.timeout)

    def conclude(self, request: Outbound, signal: RequestSignal) -> bool:
        """Advance an outbound request to its end; False if it has ended before."""
        if (request.state, signal) not in REQUEST:
            return False
        if request.state is _HELD:
            del self.held[request.id]
        request.state = _DONE
        endpoint = self.endpoint
        endpoint.deadlines.set(request, None)
        self.pending.pop(request.id, None)
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
        """End an outbound request without an answer; emit its event if it is the application's."""
        if self.conclude(request, signal) and request.purpose is _APPLICATION:
            if fault is not None and (request.round or request.repeats):
                fault = structs.replace(fault, sent_before=True)
            self.emit(events.RequestEnded(request.id, request.method, reason, message, fault))

    def end_outbound(self, reason: EndReason, message: str, fault: Fault | None = None) -> None:
        """End every outbound request that does not outlive this conversation."""
        handover = self.handover
        unsent = set() if handover is None else self.outbox.requests()
        for request in list(self.pending.values()):
            if handover is None or not handover.keeps(request, unsent):
                self.abort(request, RequestSignal.END, reason, message, fault)

    def drop_unsent(self) -> None:
        """Drop all frames of this conversation that were not sent."""
        self._discard(lambda each: each.peer is self)

    def _discard(self, unwanted: Callable[[Transmit], bool]) -> None:
        for frame in self.outbox.discard(unwanted):
            self.taken(frame)
