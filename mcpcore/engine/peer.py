"""Peer: one conversation, either role, as a state machine without I/O.

Feed it bytes or frames, pull events, send the frames that it queues::

    peer.receive_data(data, now=clock())
    while (event := peer.next_event()) is not None:
        ...
    write(peer.lines_to_send())

Input is only queued; :meth:`Peer.next_event` advances the state by one message, so the attributes
of a Peer are up to date only after it has returned None.  Mistakes of the caller raise
:class:`~mcpcore.spec.errors.LocalProtocolError` and change nothing; mistakes of the other side
become the error reply that the specification asks for and a Violation event.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from mcpcore.engine.bodies import Meta, own_meta, permitted, relayed, take_apart, whole
from mcpcore.engine.config import DEFAULT_TIMEOUT, Config, Role
from mcpcore.engine.events import (
    MAIN,
    EndReason,
    ErrorReceived,
    Event,
    Fault,
    Key,
    RequestEnded,
    RequestReceived,
    ResultReceived,
    Route,
    SubscriptionClosed,
)
from mcpcore.engine.inbound import End, Receiver, TransportFailure
from mcpcore.engine.input_rounds import InputRequest, input_required
from mcpcore.engine.lifecycle import (
    STREAM,
    RequestSignal,
    RequestState,
    SessionSignal,
    SessionState,
    StreamSignal,
    StreamState,
    step,
)
from mcpcore.engine.mirror import Mirror
from mcpcore.engine.negotiation import Negotiator, Upset
from mcpcore.engine.outbound import COMPLETE, INPUT_REQUIRED, TASK, Sender, check_log_level
from mcpcore.engine.state import Endpoint, Inbound, PeerState, Purpose
from mcpcore.engine.subscriptions import (
    ACKNOWLEDGED,
    TOPICS,
    Interest,
    TopicChange,
    acknowledged,
    change_of,
    narrowed,
    subscription_meta,
)
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import INTERNAL_ERROR, CapabilityMissing, ErrorData, LocalProtocolError
from mcpcore.spec.methods import KNOWN_METHODS
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_SUBSCRIPTION_ID
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.lifecycle import SEVERITY, SubscriptionFilter
from mcpcore.wire.framing import LineReader, TooLong
from mcpcore.wire.jsontext import Body, Members, encodable, splice, to_json
from mcpcore.wire.message import (
    Frame,
    Message,
    Reject,
    RequestId,
    encode_error,
    encode_notification,
    encode_result,
)

if TYPE_CHECKING:  # late: servers need none of it
    from mcpcore.engine.reconnection import ReconnectSettings

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_ACTIVE, _ANSWER = RequestState.ACTIVE, RequestSignal.ANSWER
_ERROR, _RESULT = FrameKind.ERROR, FrameKind.RESULT

_NEWLINE = (b"\n",)
DEFAULT_LOG_LEVEL = "info"
"""Lowest level sent to a legacy client that never set one."""
_PROGRESS = "notifications/progress"
_REPORT = b'{"jsonrpc":"2.0","method":"notifications/progress","params":%b}'
_INF = math.inf
_encode = msgspec.json.Encoder(enc_hook=encodable).encode
LOST_LOGGER = "mcpcore"
LOST_LEVEL = "warning"
"""Level of the message that log messages were dropped; ``LOST_LOGGER`` is its logger."""

_NOT_BY_HAND = (
    *("notifications/cancelled", "notifications/initialized", "notifications/message"),
    ACKNOWLEDGED,
)
"""Notifications that the engine sends, for which there are calls."""


class PeerParts(Struct, frozen=True, eq=False):
    """Parts of a Peer, for HttpServer and HttpClient, which feed them directly."""

    endpoint: Endpoint
    state: PeerState
    inbound: Receiver
    outbound: Sender
    negotiation: Negotiator


class Peer:
    """Client or server end of a conversation, in either era.

    ``endpoint`` is given where several Peers share one, ``session`` names this one in events.
    ``mirrors`` asks for header mirrors on the frames of a client.  ``joins`` lets one frame hold
    several progress notifications of a request.  Raises TypeError or ValueError for a config that
    makes no sense in this role.
    """

    __slots__ = (
        "_endpoint",
        "_inbound",
        "_inbox",
        "_lines",
        "_negotiation",
        "_outbound",
        "_state",
        "config",
        "principal",
        "role",
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
        self.role = role
        self.config = config
        self._endpoint = endpoint = endpoint or Endpoint()
        self._inbox = endpoint.inbox
        self._state = state = PeerState(
            role=role,
            config=config,
            endpoint=endpoint,
            outbox=endpoint.outbox,
            profile=endpoint.profile(role, config),
            session=session,
            scoped=config.route_scoped_ids,
            capacity=config.limits.in_flight,
            mirrors=mirrors,
            joins=joins,
        )
        self._outbound = sender = Sender(state)
        self._negotiation = negotiator = Negotiator(state, sender)
        self._inbound = Receiver(state, sender, negotiator)
        self._lines: LineReader | None = None
        self.principal: str | None = None
        """Principal authenticated for the whole conversation: of all that names no other."""

    # Facts

    @property
    def parts(self) -> PeerParts:
        """Parts of this Peer, for the machines of ``mcpcore.http``; nothing else needs them."""
        return PeerParts(
            self._endpoint, self._state, self._inbound, self._outbound, self._negotiation
        )

    @property
    def state(self) -> SessionState:
        """State of the conversation."""
        return self._state.lifecycle

    @property
    def revision(self) -> Revision | None:
        """Negotiated revision; a server serves modern requests whatever this is."""
        return self._state.revision

    @property
    def upset(self) -> Upset | None:
        """Client: kind of failed negotiation that the era probe may have caused."""
        return self._negotiation.upset

    @property
    def in_flight(self) -> int:
        """Number of inbound requests that are open, listen streams and unreleased ones included."""
        return len(self._state.in_flight_by_id)

    @property
    def pending(self) -> int:
        """Number of outbound requests that wait for an answer."""
        return len(self._state.pending)

    @property
    def idle(self) -> bool:
        """True if nothing is open: no request in either direction, no subscription."""
        state = self._state
        return not (state.in_flight_by_id or state.pending or state.uris)

    @property
    def finished(self) -> bool:
        """True if the conversation has ended, or the other side, done writing, has all answers."""
        state = self._state
        if state.lifecycle is SessionState.CLOSED:
            return True
        return state.half_closed and not state.in_flight_by_id

    # Settings

    @property
    def reconnects(self) -> "ReconnectSettings | None":
        """Client: settings for a conversation that another one may succeed; None for none."""
        handover = self._state.handover
        return None if handover is None else handover.settings

    @reconnects.setter
    def reconnects(self, settings: "ReconnectSettings | None") -> None:
        if settings is None:
            self._state.handover = None
            return
        from mcpcore.engine.reconnection import Handover  # late: servers need none of it

        self._state.handover = Handover(self._state, settings)

    def declare(self, config: Config) -> None:
        """Server: tell clients from now on the name, capabilities and instructions in ``config``.

        A legacy session that is open keeps what it was told.
        """
        if self._state.revision is None:
            state = self._state
            self.config = state.config = self.config.declaring(config)
            state.profile = self._endpoint.profile(self.role, state.config)

    # Input: only queued

    def receive_data(self, data: bytes, *, now: float) -> None:
        """Take bytes of a newline-framed stream (stdio, sockets)."""
        lines = self._lines
        if lines is None:
            lines = self._lines = LineReader(self.config.limits.message_size)
        target, inbox, principal = self._inbound, self._inbox, self.principal
        for line in lines.take_in(data):
            inbox.append((target, line, now, MAIN, None, principal))

    def receive(
        self,
        frame: Frame | bytes | TooLong,
        *,
        now: float,
        route: Route = MAIN,
        mirror: Mirror | None = None,
        principal: str | None = None,
        proves_modern: bool = False,
        request: RequestId | None = None,
    ) -> None:
        """Take one frame: decoded, as the bytes of one JSON text, or as a TooLong in its place.

        ``mirror`` holds the claims of the HTTP headers; ``principal`` is the authenticated one, by
        default that of the conversation; ``proves_modern``: the transport recognised a modern
        server (HTTP 404 with -32601); ``request`` is the outbound request whose stream brought it,
        where the transport tells.  A buffer is copied; raises TypeError for a string, or anything
        else that is no frame.
        """
        if type(frame) is not bytes and type(frame) is not Message:
            frame = _frame(frame)
        who = self.principal if principal is None else principal
        self._inbox.append(
            (self._inbound, frame, now, route, mirror, who, proves_modern, None, request)
        )

    def receive_eof(
        self, *, now: float, route: Route = MAIN, half: bool = False, reason: str = "closed"
    ) -> None:
        """Take the end of the transport, or of one route of it.

        ``half``: the other side has finished writing but still reads, so that inbound requests in
        progress may still be answered.  A last line without newline is taken as it is.
        """
        if self._lines is not None and route == MAIN:
            rest = self._lines.eof()
            if rest:
                self._inbox.append((self._inbound, rest, now, MAIN, None, self.principal))
        self._inbox.append((self._inbound, End(reason, half), now, route))

    def receive_failure(
        self,
        request: RequestId,
        *,
        now: float,
        reason: EndReason,
        message: str,
        evidence: bool = False,
        fault: Fault | None = None,
    ) -> None:
        """Take the transport's report that the outbound ``request`` can get no answer.

        ``evidence``: it failed in a way that tells a legacy server (versioning page), so that the
        era probe falls back instead of giving up.  ``fault``: details of the failure.  Ignored if
        the request has ended.
        """
        failure = TransportFailure(request, reason, message, evidence, fault)
        self._inbox.append((self._inbound, failure, now))

    def end(self, *, now: float, reason: str = "closed") -> None:
        """End the conversation at once, from this side, and leave the endpoint.

        Queued like the end of the transport, behind the input so far: every request ends, then
        ConnectionEnded is emitted, and nothing follows.  Frames that were not taken by then are
        dropped.  The keys of handlers that still run stay valid until they are released.
        """
        self._inbox.append((self._inbound, End(reason, forget=True), now))

    # Events

    @property
    def has_input(self) -> bool:
        """True if :meth:`next_event` has something to advance or to return."""
        return bool(self._endpoint.events or self._inbox)

    def next_event(self) -> Event | None:
        """Advance to the next event; None when all input is used up.

        Where several Peers share an endpoint this is its next event, whichever Peer it concerns.
        """
        return self._endpoint.next_event()

    # The conversation

    def start(self, *, now: float) -> None:
        """Client: begin to negotiate. Requests made before Ready wait for it.

        Raises LocalProtocolError for a server, or if it was called before.
        """
        self._negotiation.start(now)

    def close(self, *, now: float) -> None:
        """Begin a graceful shutdown: listen streams get their results, nothing new begins.

        Outbound requests that still wait end as CLOSED; inbound requests may still be answered.
        ConnectionEnded follows only :meth:`receive_eof` or :meth:`end`: close the transport once
        all is sent.
        """
        state = self._state
        if state.lifecycle in (SessionState.CLOSING, SessionState.CLOSED):
            return
        for key in list(state.streams):
            self.end_subscription(key)
        text = "closed by this side"
        for pending in list(state.pending.values()):
            if pending.purpose is Purpose.APPLICATION:
                self._outbound.end(pending, RequestSignal.END, EndReason.CLOSED, text, "closed")
            else:
                state.conclude(pending, RequestSignal.END)
        state.waiting_input.clear()
        state.move(SessionSignal.CLOSE)

    def succeed(self) -> "Peer":
        """Make the Peer of the next conversation with the same server, yet to be started.

        It speaks the era of this one; requests may be given to it at once.  Raises
        LocalProtocolError unless this is a client with ``reconnects`` that has ended.
        """
        state = self._state
        handover = state.handover
        if self.role is not Role.CLIENT or handover is None or not state.ended:
            raise LocalProtocolError("only a client that means to come back has a successor")
        config = handover.config_of_successor()
        successor = type(self)(self.role, config, endpoint=self._endpoint, mirrors=state.mirrors)
        handover.hand_over(successor._state, successor._outbound)
        return successor

    def renounce(self, reason: str) -> None:
        """Give up reconnecting: the held requests end as CLOSED."""
        state = self._state
        state.handover = None
        state.waiting_input.clear()
        state.end_outbound(EndReason.CLOSED, f"connection closed: {reason}")

    # Outbound requests

    def request(
        self,
        method: str,
        params: Body = None,
        *,
        now: float,
        timeout: float | None = DEFAULT_TIMEOUT,
        parent: Key | None = None,
        progress: bool = False,
        meta: Mapping[str, Any] | None = None,
        log_level: str | None = None,
        force: bool = False,
        repeat: bool | None = None,
        capabilities: ClientCapabilities | None = None,
        bare: bool = False,
    ) -> RequestId:
        """Send a request; exactly one terminal event follows.

        ``timeout`` in seconds (the configured one by default, None for none); ``parent`` the
        inbound request on whose stream it travels; ``progress`` asks for progress, which also
        restarts the timeout; ``log_level`` asks for log messages (modern); ``force`` sends it even
        if the other side did not declare the capability, and allows methods unknown to the
        specification; ``repeat`` tells if it may be sent again if its connection breaks before the
        answer (the default is decided by :func:`~mcpcore.engine.outbound.may_repeat`);
        ``capabilities`` are declared with this request (modern) instead of those of the config, as
        a relay does for the client behind it; ``bare``: Raw params without ``_meta``, and without
        line breaks, which need not be read (those of :func:`~mcpcore.engine.bodies.relayable`), or
        the Raw members of some.

        Raises LocalProtocolError, CapabilityMissing; ValueError or TypeError for params that are
        no JSON object or have no JSON form; msgspec.MsgspecError for Raw params that
        cannot be read where the engine has to.
        """
        return self._outbound.request(
            method,
            params,
            now,
            timeout,
            parent,
            progress,
            meta,
            log_level,
            force,
            repeat,
            capabilities,
            bare,
        )

    def forward(self, received: RequestReceived, *, now: float) -> RequestId:
        """Send on a request that another Peer has received, as :meth:`request` sends one.

        It keeps what is not of one hop: the params, its own ``_meta``, whether it asks for
        progress, the capabilities of its client (modern; else the handshake has declared them).
        """
        modern = self.revision is not None and self.revision.modern
        params, meta = relayed(received.params)
        return self.request(
            received.method,
            params,
            now=now,
            meta=meta,
            progress=received.meta.progress_token is not None,
            capabilities=received.client_capabilities if modern else None,
            bare=True,
        )

    def retry(
        self,
        request: RequestId,
        responses: Mapping[str, Body],
        *,
        now: float,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> RequestId:
        """Answer an InputRequired: send the request again with answers, state and a new id.

        Raises LocalProtocolError for a request that does not wait for input, ValueError or
        TypeError for answers without a JSON form.
        """
        return self._outbound.retry(request, responses, now, timeout)

    def abandon(self, request: RequestId) -> None:
        """Give up a request that waits for input; nothing is sent."""
        self._state.waiting_input.pop(request, None)

    def cancel(self, request: RequestId, *, now: float, reason: str | None = None) -> None:
        """Cancel an outbound request, or abandon it; its terminal event is RequestEnded.

        One that waits for input is abandoned, without an event.  Ignored if it has ended.
        """
        self.abandon(request)
        pending = self._state.pending.get(request)
        if pending is not None:
            pending.sender.give_up(pending, reason)

    # Answers, and what precedes them; any Peer of an endpoint serves the keys of all

    def respond(
        self,
        key: Key,
        result: Body,
        *,
        meta: Mapping[str, Any] | None = None,
        result_type: str = COMPLETE,
        bare: bool = False,
        members: bytes = b"",
    ) -> bool:
        """Answer with a result; False if the request was cancelled meanwhile (it is dropped).

        None is an empty result.  A result may bring its own ``_meta`` (``meta`` wins where they
        differ) and ``resultType``; keys of ``_meta`` that only the engine sets are left out.
        ``bare``: it has neither, and is JSON without line breaks, so that it need not be read,
        however large it is; ``members``, written without braces, are then put before its own.
        Raises LocalProtocolError, CapabilityMissing; ValueError or TypeError for a result that
        is no JSON object.
        """
        record = self._endpoint.inbound.get(key)
        if record is None or record.stream is not None or record.held:
            record = self._unheld(key)  # raises the error
        if not (bare and isinstance(result, Raw)):
            result, meta, own_type = take_apart(result, meta, result=True)
            result_type = own_type or result_type
        own = own_meta(meta) if meta else None
        if own or result_type != COMPLETE:
            if result_type == INPUT_REQUIRED:
                raise LocalProtocolError("an input_required result is made by require_input")
            extension = None if record.row is None else record.row.task_extension
            path = f"extensions.{extension}"
            if result_type == TASK and extension and not declares(record.capabilities, path):
                raise CapabilityMissing(path)
            result = splice(bytes(whole(result)), members) if members else result
            return answer_with(record, result, own, result_type)
        ours = record.peer.profile.complete[record.revision]
        members = b"%b,%b" % (ours, members) if ours and members else ours or members
        return _finish(record, _RESULT, encode_result(record.id, result, members))

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer with an error; False if the request was cancelled meanwhile.

        Raises LocalProtocolError; TypeError for what is no ErrorData (``McpError.error`` is one).
        """
        record = self._endpoint.answerable(key)
        if not isinstance(error, ErrorData):
            raise TypeError(f"an error is an ErrorData, not a {type(error).__name__}")
        for value, kind in ((error.code, int), (error.message, str)):
            if not isinstance(value, kind):
                text = f"the code is an integer, the message a string, not as in {error!r}"
                raise TypeError(text)
        error = permitted(error, record.revision)
        return _finish(record, _ERROR, encode_error(record.id, error), error.code)

    def conclude(self, key: Key, outcome: ResultReceived | ErrorReceived | RequestEnded) -> bool:
        """Answer with the outcome of a request that another Peer has sent; as :meth:`respond`."""
        if isinstance(outcome, ResultReceived):
            return self.respond(key, outcome.result)
        if isinstance(outcome, ErrorReceived):
            return self.fail(key, outcome.error)
        return self.fail(key, ErrorData(INTERNAL_ERROR, outcome.message))

    def require_input(
        self, key: Key, requests: Mapping[str, InputRequest | Raw], state: str | None = None
    ) -> bool:
        """Modern: answer that input is needed.

        A Raw question is one that another server asked (``InputRequired.requests``), which stays
        byte for byte.  Raises LocalProtocolError, CapabilityMissing; msgspec.MsgspecError for a
        Raw that is no question.
        """
        record = self._unheld(key)
        body = input_required(record, requests, state)
        return answer_with(record, body, None, INPUT_REQUIRED)

    def _unheld(self, key: Key) -> Inbound:
        record = self._endpoint.answerable(key)
        if record.held:
            raise LocalProtocolError(f"{record.method} is answered by the engine: admit it or fail")
        return record

    def admit(self, key: Key) -> bool:
        """Let the engine answer a request of ``Config.asked_first``.

        False if it was cancelled, or is refused, as by a limit that was reached meanwhile.
        """
        return self._inbound.admit(key)

    def release(self, key: Key) -> None:
        """Free the place of a cancelled request whose handler has ended."""
        record = self._endpoint.inbound.get(key)
        if record is not None and record.state is RequestState.CANCELLED:
            record.peer.finish(record, RequestSignal.RELEASE)

    def progress(
        self,
        key: Key,
        value: float,
        total: float | None = None,
        message: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Report progress; False if not asked for, not increased, or if the request is over.

        Raises TypeError for a value or total that is no number; ValueError or TypeError for what
        has no JSON form.
        """
        record = self._endpoint.inbound.get(key)
        # As _takes_news, without a call.
        if record is None or record.state is not _ACTIVE or record.stream is not None:
            return False
        if record.held:
            return False
        token, last = record.meta.progress_token, record.progress
        # math.isfinite takes no integer above all floats
        if token is None or not -_INF < value < _INF or (last is not None and value <= last):
            return False
        params: dict[str, Any] = {"progressToken": token, "progress": value}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        if meta:
            params["_meta"] = meta
        # to_json also looks for numbers without a form, which takes longer; there may be many.
        sound = not meta and (total is None or -_INF < total < _INF)
        data = _REPORT % (_encode(params) if sound else to_json(params))
        record.progress = value
        record.peer.send_news(_PROGRESS, data, record, "progress")
        return True

    def log(
        self,
        key: Key | None,
        level: str,
        data: Any,
        logger: str | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Send a log message; False if level, era or back-pressure forbid it.

        Modern: only for a request whose ``_meta`` names a level.  Legacy: from the level that the
        client set, by default ``info``.  ``key`` None sends outside of any request (legacy).
        Messages dropped by back-pressure are counted; the next message tells the client how many.
        Raises LocalProtocolError for an unknown level; ValueError or TypeError for data without a
        JSON form.
        """
        if not self.wants_log(key, level):
            return False
        record = None if key is None else self._endpoint.inbound[key]
        peer = self._state if record is None else record.peer
        counter: PeerState | Inbound = peer if record is None else record
        if peer.crowded(record):
            counter.logs_lost += 1
            return False
        if counter.logs_lost:
            lost, counter.logs_lost = counter.logs_lost, 0
            if self.wants_log(key, LOST_LEVEL):
                text = f"{lost} log messages were dropped: they were not read in time"
                _send_log(peer, record, LOST_LEVEL, text, LOST_LOGGER, None)
        _send_log(peer, record, level, data, logger, meta)
        return True

    def wants_log(self, key: Key | None, level: str) -> bool:
        """Return True if a log message of this level would be sent; see :meth:`log`.

        Raises LocalProtocolError for an unknown level.
        """
        check_log_level(level)
        record = None if key is None else self._endpoint.inbound.get(key)
        if key is not None and (record is None or not _takes_news(record)):
            return False
        peer = self._state if record is None else record.peer
        revision = peer.revision if record is None else record.revision
        if revision is None or peer.ended or "logging" not in peer.profile.offered:
            return False
        wanted: str | None = None
        if not revision.per_request_log_level:
            wanted = peer.log_level or DEFAULT_LOG_LEVEL
        elif record is not None and record.meta.log_level is not None:
            wanted = record.meta.log_level
        return wanted is not None and SEVERITY[level] >= SEVERITY[wanted]

    def wants_progress(self, key: Key) -> bool:
        """Return True if the other side asked for progress of a request in progress."""
        record = self._endpoint.inbound.get(key)
        return record is not None and record.meta.progress_token is not None and _takes_news(record)

    # Notifications and listen streams

    def notify(
        self,
        method: str,
        params: Body = None,
        *,
        parent: Key | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> bool:
        """Send a notification, or publish a change; False if it was not sent to anyone.

        With ``parent`` it travels on that request's stream, unless the request is over.  Without
        it, changes (list_changed, resources/updated) go to the subscribers of either era only; all
        other notifications belong to the session that was negotiated.  A notification is not sent
        if the revision does not have it, or if its capability was not declared; one that no
        revision has is sent as an extension's.

        Raises LocalProtocolError for a parent that never existed, for a change on the stream of a
        modern request that is no subscription, and for notifications that have calls of their own;
        ValueError or TypeError for params that are no JSON object or have no JSON form.
        """
        state = self._state
        if method in _NOT_BY_HAND:
            raise LocalProtocolError(f"{method} is sent by the engine; there is a call for it")
        taken, meta, _ = take_apart(params, meta)
        body = bytes(whole(taken))
        topic = TOPICS.get(method) if state.role is Role.SERVER else None
        change = None if topic is None else change_of(topic, body)
        if parent is not None:
            return self._notify_on(parent, method, body, meta, change)
        if change is not None:
            return self._publish(change, body, meta)
        revision = state.revision
        if revision is None or not self._may_notify(method, revision):
            return False
        state.send_notification(method, body, members=_meta_member(meta), revision=revision)
        return True

    def _may_notify(self, method: str, revision: Revision) -> bool:
        state = self._state
        if state.lifecycle is SessionState.CLOSED:
            return False
        row = state.profile.ours[revision.position].get(method)
        if row is None:
            return method not in KNOWN_METHODS
        if row.capability not in state.profile.offered:
            return False
        theirs = state.peer_capabilities
        return row.peer_capability is None or (
            theirs is not None and declares(theirs, row.peer_capability)
        )

    def _notify_on(
        self, key: Key, method: str, body: bytes, meta: Meta | None, change: TopicChange | None
    ) -> bool:
        record = self._unless_over(key)
        if record is None:
            return False
        if record.interest is not None:
            return change is not None and _tell(record, change, body, meta)
        if change is not None and record.revision.modern:
            raise LocalProtocolError(f"{method} is carried by listen streams only")
        record.peer.send_notification(method, body, members=_meta_member(meta), record=record)
        return True

    def _publish(self, change: TopicChange, body: bytes, meta: Meta | None) -> bool:
        state = self._state
        topic, method = change.topic, change.topic.row.name
        if not state.profile.announced[method]:
            return False
        told = False
        heard = topic.subject is None or (topic.subject == "uri" and change.subject in state.uris)
        if heard and state.lifecycle is SessionState.OPEN and _hears(state, change, self.principal):
            members, subject = _meta_member(meta), (method, change.subject)
            state.send_notification(
                method, body, members=members, revision=state.revision, subject=subject
            )
            told = True
        for record in state.streams.values():
            told = _tell(record, change, body, meta) or told
        return told

    def narrow(self, key: Key, filter: SubscriptionFilter) -> bool:
        """Restrict a listen stream to ``filter``; False if the stream has ended.

        If called while its SubscriptionOpened is handled, the acknowledgement tells the client the
        restricted filter, as it has not left yet.  Raises LocalProtocolError if ``key`` is no
        listen stream.
        """
        record = self._stream(key)
        if record is None or record.interest is None:
            return False
        interest = record.interest = Interest(narrowed(record.interest.filter, filter))
        body = acknowledged(interest)
        first = encode_notification(ACKNOWLEDGED, body, subscription_meta(record.id))
        record.peer.renew(record, ACKNOWLEDGED, first)
        return True

    def end_subscription(self, key: Key) -> bool:
        """End a listen stream: ``notifications/cancelled``, then its result; False if it has ended.

        Raises LocalProtocolError if ``key`` is no listen stream.
        """
        record = self._stream(key)
        if record is None:
            return False
        members, body = subscription_meta(record.id), to_json({"requestId": record.id})
        record.peer.send_notification(
            "notifications/cancelled", body, members=members, record=record
        )
        record.stream = step(STREAM, StreamState.LISTENING, StreamSignal.FINISH)
        answer_with(record, b"{}", {META_SUBSCRIPTION_ID: record.id}, COMPLETE)
        record.peer.emit(SubscriptionClosed(key, StreamSignal.FINISH))
        return True

    def _stream(self, key: Key) -> Inbound | None:
        record = self._unless_over(key)
        if record is not None and record.stream is None:
            raise LocalProtocolError(f"the request with key {key} is no listen stream")
        return record

    def _unless_over(self, key: Key) -> Inbound | None:
        """Return the request with ``key``, or None if it was answered, cancelled or ended."""
        record = self._endpoint.inbound.get(key)
        if record is None and not 0 < key <= self._endpoint.last_key:
            raise LocalProtocolError(f"there never was a request with key {key}")
        return record if record is not None and record.state is RequestState.ACTIVE else None

    # Output and time

    @property
    def output_size(self) -> int:
        """Bytes that wait to be sent."""
        return self._endpoint.outbox.size

    def data_to_send(self, limit: int | None = None) -> list[Transmit]:
        """Take the frames that wait to be sent, until ``limit`` bytes (but at least one)."""
        return self._endpoint.data_to_send(limit)

    def lines_to_send(self, limit: int | None = None) -> bytes:
        """Take the same frames for a newline-framed stream: one buffer of whole lines."""
        parts: list[bytes] = []
        for frame in self._endpoint.data_to_send(limit):
            if frame.data:
                parts += frame.data
                parts += _NEWLINE
                if frame.more is not None:
                    for text in frame.more:
                        parts += (text, b"\n")
        return b"".join(parts)

    def queued(self, key: Key) -> int:
        """Return the bytes waiting on the stream of ``key``; if any, StreamDrained follows."""
        record = self._endpoint.inbound.get(key)
        if record is None:
            return 0
        record.drain_wanted = record.queued > 0
        return record.queued

    def waits(self, key: Key) -> bool:
        """Return True if bytes wait on the stream of ``key``; asks for no StreamDrained."""
        record = self._endpoint.inbound.get(key)
        return record is not None and record.queued > 0

    def postpone(self, since: float, now: float) -> None:
        """Let the timeouts of requests stand still from a time until now, as a person was asked."""
        deadlines = self._endpoint.deadlines
        for request in list(self._endpoint.outbound.values()):
            if request.deadline is not None:
                still = now - max(since, request.started)
                request.started += still
                deadlines.set(request, request.deadline + still)

    def deadline(self) -> float | None:
        """Return the time of the next :meth:`handle_timeout` (origin as ``now``), None if never."""
        return self._endpoint.deadlines.next()

    def handle_timeout(self, now: float) -> None:
        """Handle the deadlines due at ``now``; events follow from :meth:`next_event`."""
        self._endpoint.handle_timeout(now)


def _frame(given: Any) -> Frame | bytes | TooLong:
    """Return what is given as a frame; raise TypeError for what would be none, unseen."""
    if isinstance(given, bytearray | memoryview):
        return bytes(given)
    if not isinstance(given, bytes | Message | Reject | list | TooLong):
        raise TypeError(f"a frame is bytes, or decoded, and no {type(given).__name__}")
    return given


def _takes_news(record: Inbound) -> bool:
    """Return True if progress and log messages may be sent for a request."""
    return record.state is _ACTIVE and record.stream is None and not record.held


def answer_with(
    record: Inbound, body: bytes | Raw | Members, meta: Meta | None, result_type: str
) -> bool:
    """Send a result with a type or ``_meta`` of its own; False if it was cancelled."""
    if record.revision.result_type:
        members = b'"resultType":%b,"_meta":%b' % (
            msgspec.json.encode(result_type),
            to_json({**record.peer.profile.server_meta, **(meta or {})}),
        )
    else:
        members = _meta_member(meta)
    return _finish(record, _RESULT, encode_result(record.id, body, members))


def _finish(record: Inbound, kind: FrameKind, data: bytes, code: int | None = None) -> bool:
    """Send the answer to a request, unless it was cancelled."""
    peer = record.peer
    if not peer.finish(record, _ANSWER):
        return False
    if record.batch is not None:
        record.batch.settle(data)
        return True
    route = record.route
    peer.outbox.push(
        Transmit(
            peer,
            route,
            (data,),
            len(data),
            kind,
            record.key,
            record.method,
            record.revision,
            code,
            ends=route != MAIN,
        )
    )
    return True


def _send_log(
    peer: PeerState,
    record: Inbound | None,
    level: str,
    data: Any,
    logger: str | None,
    meta: Mapping[str, Any] | None,
) -> None:
    params: dict[str, Any] = {"level": level, "data": data}
    if meta:
        params["_meta"] = meta
    if logger is not None:
        params["logger"] = logger
    peer.send_notification(
        "notifications/message", to_json(params), record=record, revision=peer.revision
    )


def _hears(state: PeerState, change: TopicChange, principal: str | None) -> bool:
    """Return True if a principal may learn of a change, which for a resource is by reading it."""
    may_read = state.config.may_read
    if may_read is None or change.topic.subject != "uri" or change.subject is None:
        return True
    return may_read(change.subject, principal)


def _tell(record: Inbound, change: TopicChange, body: bytes, meta: Meta | None) -> bool:
    """Send a change on a listen stream that carries it; False for any other stream."""
    if record.interest is None or not record.interest.wants(change):
        return False
    if not _hears(record.peer, change, record.principal):
        return False
    # A relay passes on the id of another stream.
    members = _meta_member({**(meta or {}), META_SUBSCRIPTION_ID: record.id})
    method, subject = change.topic.row.name, (change.topic.row.name, change.subject)
    record.peer.send_notification(method, body, members=members, record=record, subject=subject)
    return True


def _meta_member(meta: Meta | None) -> bytes:
    return b'"_meta":' + to_json(meta) if meta else b""
