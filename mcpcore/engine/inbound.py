"""Inbound half of a Peer: from a frame to an event.

frame -> message -> kind -> the ladder (:mod:`mcpcore.engine.ladder`) -> event.  The answers owed
to a frame are counted: one end of its route, one array for a batch.

Some requests the engine answers itself, by the functions of ``ANSWERED_HERE``: each answers, or
returns the error to refuse with; params of the wrong type it need not catch.  Notifications that
only change the state of the engine are consumed here as well.

Sources: the lifecycle, ping, logging and resources pages of 2025-11-25; the discovery and
subscriptions pages of 2026-07-28.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, json, structs
from msgspec.json import Decoder

from mcpcore.engine import events
from mcpcore.engine.bodies import (
    NO_META,
    UNREADABLE,
    becomes_task,
    check_meta,
    decode_skim,
    read_skim,
)
from mcpcore.engine.config import Role
from mcpcore.engine.events import ENGINE, MAIN, EndReason, Fault, Key, Route
from mcpcore.engine.input_rounds import refuse_questions
from mcpcore.engine.ladder import (
    climb,
    finds_room,
    is_early_enough,
    is_modern_request,
    lacks_capability,
    names_itself_shortly,
)
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
from mcpcore.engine.negotiation import Negotiator, discover_result, initialize_result
from mcpcore.engine.outbound import COMPLETE, INPUT_REQUIRED, TASK, Sender
from mcpcore.engine.state import NO_PARAMS, Batch, Inbound, Outbound, PeerState, Purpose
from mcpcore.engine.subscriptions import (
    ACKNOWLEDGED,
    Interest,
    acknowledged,
    honoured,
    subscription_meta,
    undeclared,
)
from mcpcore.engine.transmit import FrameKind
from mcpcore.spec.capabilities import declares, in_revision
from mcpcore.spec.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    ErrorData,
    LocalProtocolError,
    busy_code,
)
from mcpcore.spec.methods import KNOWN_METHODS, Method, MethodKind
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore.spec.types.base import (
    CancelledParams,
    NotificationSkim,
    ProgressParams,
    ResultSkim,
    Skim,
)
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.lifecycle import (
    InitializeParams,
    SetLevelParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedParams,
    SubscriptionsListenParams,
)
from mcpcore.wire.framing import TooLong
from mcpcore.wire.message import (
    Frame,
    Message,
    Reject,
    RequestId,
    decode,
    encode_result,
    refuse_oversized,
)

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_ACTIVE, _APPLICATION, _ANSWER = RequestState.ACTIVE, Purpose.APPLICATION, RequestSignal.ANSWER
_SERVER = Role.SERVER

EngineHandler = Callable[[PeerState, Inbound], ErrorData | None]

_EXCERPT = 200
"""Maximum bytes that are shown of a line that is no message."""


class End(Struct, frozen=True):
    """End of a route or of the conversation, queued like a frame."""

    reason: str
    half: bool = False
    """True if the other side has finished writing but still reads."""
    forget: bool = False
    """True if the application ends the conversation; frames not yet taken are not sent."""


class TransportFailure(Struct, frozen=True):
    """Report of the transport that an outbound request can get no answer, queued like a frame."""

    request: RequestId
    reason: EndReason
    message: str
    evidence: bool = False
    fault: Fault | None = None


_decode_error = Decoder(ErrorData).decode
_decode_result = Decoder(ResultSkim).decode
_decode_notification = Decoder(NotificationSkim).decode
_decode_cancelled = Decoder(CancelledParams).decode
_decode_progress = Decoder(ProgressParams).decode
_decode_acknowledged = Decoder(SubscriptionsAcknowledgedParams).decode
_decode_responses = Decoder(dict[str, Raw]).decode
_decode_state = Decoder(str).decode


# Requests that the engine answers itself


def _reply(state: PeerState, arrival: Inbound, result: bytes = b"{}") -> None:
    revision = arrival.revision
    state.send_last(
        arrival.route,
        FrameKind.RESULT,
        encode_result(arrival.id, result, state.profile.complete[revision]),
        batch=arrival.batch,
        key=arrival.key,
        method=arrival.method,
        revision=revision,
    )


def _initialize(state: PeerState, arrival: Inbound) -> ErrorData | None:
    limit = state.config.limits.introduction
    if len(arrival.params) > limit:
        text = f"invalid params: clientInfo and capabilities have more than {limit} bytes"
        return ErrorData(INVALID_PARAMS, text)
    params = json.decode(arrival.params, type=InitializeParams)
    chosen, result = initialize_result(state.config, params.protocol_version)
    state.move(SessionSignal.INITIALIZE)
    state.agree(chosen)
    state.introduced(params.client_info, in_revision(params.capabilities, chosen))
    state.changes += 1
    arrival.revision = chosen
    _reply(state, arrival, result)
    return None


def _discover(state: PeerState, arrival: Inbound) -> None:
    _reply(state, arrival, discover_result(state.config))


def _set_level(state: PeerState, arrival: Inbound) -> ErrorData | None:
    params = json.decode(arrival.params, type=SetLevelParams)
    state.log_level = params.level
    if state.unsaved is not None:
        state.unsaved.add(None)
    state.changes += 1
    state.emit(events.LogLevelChanged(level=params.level, session=state.session))
    _reply(state, arrival)
    return None


def _overlong(state: PeerState, member: str, uri: str) -> ErrorData | None:
    limit = state.config.max_uri
    if len(uri) <= limit:
        return None
    return ErrorData(INVALID_PARAMS, f"invalid params: {member}: longer than {limit} characters")


def _subscribed_uri(arrival: Inbound) -> str:
    from mcpcore.spec.types.resources import SubscribeParams  # late: few servers need it

    return json.decode(arrival.params, type=SubscribeParams).uri


def _limit_uri(state: PeerState, arrival: Inbound) -> ErrorData | None:
    return _overlong(state, "uri", _subscribed_uri(arrival))


def _limit_subscription(state: PeerState, arrival: Inbound) -> ErrorData | None:
    uri, uris, limits = _subscribed_uri(arrival), state.uris, state.config.limits
    overlong = _overlong(state, "uri", uri)
    if overlong is not None or uri in uris:
        return overlong
    if len(uris) >= limits.subscriptions or sum(map(len, uris), len(uri)) > limits.subscribed:
        text = f"busy: {len(uris)} resources are subscribed to"
        return ErrorData(busy_code(arrival.revision), text)
    return None


def _set_subscription(state: PeerState, arrival: Inbound, *, active: bool) -> ErrorData | None:
    refusal = (_limit_subscription if active else _limit_uri)(state, arrival)
    if refusal is not None:
        return refusal
    uri, uris = _subscribed_uri(arrival), state.uris
    if active:
        uris.add(uri)
    else:
        uris.discard(uri)
    if state.unsaved is not None:
        state.unsaved.add(uri)
    state.changes += 1
    state.emit(events.ResourceSubscribed(uri=uri, active=active, session=state.session))
    _reply(state, arrival)
    return None


def _asked_for(state: PeerState, arrival: Inbound) -> SubscriptionFilter:
    params = json.decode(arrival.params, type=SubscriptionsListenParams)
    return honoured(params.notifications, state.profile.announced)


def _limit_stream(state: PeerState, arrival: Inbound) -> ErrorData | None:
    asked = _asked_for(state, arrival)
    overlong = names_itself_shortly(state, arrival)
    if overlong is not None:
        return overlong
    limits, endpoint, count = state.config.limits, state.endpoint, len(state.streams)
    if count >= limits.listen_streams or len(endpoint.inbound) >= endpoint.capacity:
        return ErrorData(busy_code(arrival.revision), f"busy: {count} streams are open")
    missing = undeclared(asked, arrival.capabilities)
    if missing is not None:
        return lacks_capability("what the filter asks for", missing)
    subjects = Interest(asked).subjects
    if len(subjects) > limits.subscriptions:
        text = f"invalid params: more than {limits.subscriptions} subjects are listed"
        return ErrorData(INVALID_PARAMS, text)
    if sum(map(len, subjects)) > limits.subscribed:
        text = f"invalid params: what is listed has more than {limits.subscribed} characters"
        return ErrorData(INVALID_PARAMS, text)
    for uri in asked.resource_subscriptions or ():
        overlong = _overlong(state, "notifications.resourceSubscriptions", uri)
        if overlong is not None:
            return overlong
    return None


def _listen(state: PeerState, arrival: Inbound) -> ErrorData | None:
    refusal = is_early_enough(state, arrival) or _limit_stream(state, arrival)
    if refusal is not None:
        return refusal
    asked, meta = _asked_for(state, arrival), arrival.meta
    interest = Interest(asked)
    key = state.register(arrival)
    arrival.forget_arrival()
    arrival.stream = StreamState.LISTENING
    arrival.interest = interest
    state.streams[key] = arrival
    members, body = subscription_meta(arrival.id), acknowledged(interest)
    state.send_notification(
        ACKNOWLEDGED, body, members=members, record=arrival, subject=ACKNOWLEDGED
    )
    state.emit(
        events.SubscriptionOpened(
            *(key, arrival.id, asked, meta, arrival.revision),
            *(arrival.route, arrival.principal, arrival.admitted),
        )
    )
    return None


ANSWERED_HERE: dict[str, EngineHandler] = {
    "initialize": _initialize,
    "ping": _reply,
    "server/discover": _discover,
    "logging/setLevel": _set_level,
    "resources/subscribe": partial(_set_subscription, active=True),
    "resources/unsubscribe": partial(_set_subscription, active=False),
    "subscriptions/listen": _listen,
}


_LIMITS: dict[str, EngineHandler] = {
    "resources/subscribe": _limit_subscription,
    "resources/unsubscribe": _limit_uri,
    "subscriptions/listen": _limit_stream,
}
"""Checks of requests before the application is asked: their params and limits."""


def _run(handler: EngineHandler, arrival: Inbound) -> ErrorData | None:
    try:
        return handler(arrival.peer, arrival)
    except msgspec.MsgspecError as error:
        return ErrorData(INVALID_PARAMS, f"invalid params: {error}")


def _answer_here(arrival: Inbound) -> bool:
    """Answer a request that is the engine's to answer; False if it is refused."""
    refusal = _run(ANSWERED_HERE[arrival.method], arrival)
    if refusal is not None:
        _refuse(arrival, refusal)
    return refusal is None


def _refuse(arrival: Inbound, error: ErrorData) -> None:
    route, batch, method, revision = arrival.route, arrival.batch, arrival.method, arrival.revision
    arrival.peer.refuse(route, arrival.id, error, batch=batch, method=method, revision=revision)


class Receiver:
    """Inbound part of a Peer: dispatches requests, responses and notifications."""

    def __init__(self, state: PeerState, sender: Sender, negotiator: Negotiator) -> None:
        self._state = state
        self._endpoint = state.endpoint
        self._limits = state.config.limits
        self._sender = sender
        self._negotiator = negotiator
        self._task_progress: dict[RequestId, float | None] = {}
        """Last progress of outbound requests that became experimental tasks, by request id."""

    def take_in(
        self,
        item: Frame | bytes | End | TransportFailure | TooLong,
        now: float,
        route: Route = MAIN,
        mirror: Mirror | None = None,
        principal: str | None = None,
        proves_modern: bool = False,
        batch: Batch | None = None,
        stream: RequestId | None = None,
    ) -> None:
        """Process one item that arrived.

        ``batch`` is the batch of a message, if any; ``stream`` the outbound request whose stream
        brought it.
        """
        state = self._state
        if state.principal is not principal:
            state.principal = principal
        frame: Frame | End | TransportFailure | TooLong
        if isinstance(item, bytes):
            limits = self._limits
            frame = decode(item, limits.depth, limits.batch)
        else:
            frame = item
        if state.ended or not isinstance(frame, Message):
            line = item if isinstance(item, bytes) else b""
            self._no_message(frame, now, route, principal, batch, line)
            return
        id, method, params = frame.id, frame.method, frame.params
        if id is UNSET or method is UNSET:
            self._no_request(frame, now, route, batch, proves_modern, stream)
            return
        if batch is not None:
            batch.expect()
        if params is UNSET:
            params = NO_PARAMS
        era = state.revision or LATEST_LEGACY
        try:
            skim = decode_skim(params)
        except UNREADABLE:
            try:  # as strictly as the request's era asks for
                skim = read_skim(params, partial(is_modern_request, state, method, mirror))
            except UNREADABLE as error:
                flawed = ErrorData(INVALID_PARAMS, f"invalid params: {error}")
                state.refuse(route, id, flawed, batch=batch, method=method, revision=era)
                return
        meta = skim.meta or NO_META
        if meta.client_capabilities is None or state.role is not _SERVER:
            theirs, info = state.client_capabilities, state.peer_info
        else:  # the request is modern
            theirs, info = meta.client_capabilities, meta.client_info
        arrival = Inbound(
            state, id, method, params, route, principal, batch, era, skim, meta, theirs, info
        )
        refusal = climb(state, arrival, mirror)
        revision = arrival.revision
        responses: dict[str, Raw] | None = None
        echoed: str | None = None
        if refusal is None:
            if method in ANSWERED_HERE:
                if method not in state.config.asked_first:
                    _answer_here(arrival)
                    return
                arrival.held = True
                limit = _LIMITS.get(method)
                refusal = None if limit is None else _run(limit, arrival)
            refusal = refusal or finds_room(state, arrival)
            if (
                refusal is None
                and revision.input_rounds
                and (skim.input_responses is not None or skim.request_state is not None)
            ):
                responses, echoed, flaw = self._retried(skim)
                if flaw is not None:
                    refusal = ErrorData(INVALID_PARAMS, f"invalid params: {flaw}")
        if refusal is not None:
            _refuse(arrival, refusal)
            return
        key = state.register(arrival)
        self._endpoint.events.append(
            events.RequestReceived(
                key,
                id,
                method,
                params,
                meta,
                revision,
                arrival.client_info,
                arrival.capabilities,
                route,
                responses,
                echoed,
                state.session,
                principal,
                skim,
                stream,
                mirror,
            )
        )

    # Other frames

    def _no_message(
        self,
        item: Frame | End | TransportFailure | TooLong,
        now: float,
        route: Route,
        principal: str | None,
        batch: Batch | None,
        line: bytes,
    ) -> None:
        """Take an item that is no single message, or comes after the end; ``line`` is its text."""
        state = self._state
        if state.ended:
            self._too_late(item, route)
        elif isinstance(item, Reject):
            self._reject(item, now, route, batch, line)
        elif isinstance(item, list):
            self._batch(item, now, route, principal)
        elif isinstance(item, End):
            self._end(item, route)
        elif isinstance(item, TransportFailure):
            self._transport_failed(item, now)
        elif isinstance(item, TooLong):
            self._reject(refuse_oversized(item.head, item.limit), now, route, None, item.head)

    def _no_request(
        self,
        message: Message,
        now: float,
        route: Route,
        batch: Batch | None,
        proves_modern: bool,
        stream: RequestId | None,
    ) -> None:
        """Take a notification or a response, to which nothing is answered."""
        state = self._state
        if message.method is not UNSET:
            params = NO_PARAMS if message.params is UNSET else message.params
            self._notification(message.method, params, route, now, stream)
        elif state.scoped:
            error = ErrorData(INVALID_REQUEST, "a response is not expected here")
            state.refuse(route, None, error, revision=LATEST)
            return
        else:
            self._response(message, now, route, proves_modern)
        if batch is None and route != MAIN:
            state.send_last(route, FrameKind.ACCEPTED)

    def _reject(
        self, reject: Reject, now: float, route: Route, batch: Batch | None, line: bytes = b""
    ) -> None:
        """Take an input that is no valid message; ``line`` is its text."""
        state = self._state
        if reject.response and reject.id is not None:
            request = state.pending.get(reject.id)
            if request is not None:
                self._invalid_answer(request, reject.message, now)
        owed = reject.owed
        if state.role is Role.CLIENT:
            # A server's standard output may hold noise: answer only if there is an id.
            owed = owed and reject.id is not None and not state.is_modern_client
        if owed:
            if batch is not None:
                batch.expect()
            error = ErrorData(reject.code, reject.message)
            state.refuse(route, reject.id, error, batch=batch, revision=state.revision)
            return
        excerpt = line[:_EXCERPT].decode("utf-8", "replace")
        state.violation(route, reject.code, reject.message, excerpt=excerpt)
        if batch is None:
            state.send_last(route, FrameKind.ACCEPTED)

    def _batch(
        self, frames: list[Message | Reject], now: float, route: Route, principal: str | None
    ) -> None:
        revision, limit = self._state.revision, self._state.config.limits.batch
        flaw = None
        if revision is None or not revision.batches:
            where = "before initialize" if revision is None else f"in {revision.name}"
            flaw = f"batches are not supported {where}"
        elif len(frames) > limit:
            flaw = f"the batch has {len(frames)} messages; the limit is {limit}"
        if flaw is not None:
            self._reject(Reject(INVALID_REQUEST, f"Invalid request: {flaw}"), now, route, None)
            return
        batch = Batch(self._state, route, revision)
        for frame in frames:
            self.take_in(frame, now, route, None, principal, batch=batch)
        batch.settle()

    def _too_late(self, item: Any, route: Route) -> None:
        """Answer an item after the end: no event is emitted, but no exchange may hang."""
        state = self._state
        if route == MAIN or isinstance(item, End | TransportFailure):
            return
        id = item.id if isinstance(item, Message) and item.method is not UNSET else UNSET
        owed = id is not UNSET or (isinstance(item, Reject) and item.owed)
        if owed or isinstance(item, list):
            error = ErrorData(INVALID_REQUEST, "the conversation has ended")
            state.refuse(route, None if id is UNSET else id, error, revision=state.revision)
        else:
            state.send_last(route, FrameKind.ACCEPTED)

    # Requests

    def _retried(self, skim: Skim) -> tuple[dict[str, Raw] | None, str | None, str | None]:
        """Read ``inputResponses`` and ``requestState`` of a retry; third: the error, or None."""
        responses, echoed, flaw = None, None, None
        try:
            if skim.input_responses is not None:
                responses = _decode_responses(skim.input_responses)
                most = self._state.config.limits.input_requests
                if len(responses) > most:
                    flaw = f"inputResponses has more than {most} members"
            if skim.request_state is not None:
                echoed = _decode_state(skim.request_state)
        except msgspec.MsgspecError as error:
            flaw = f"inputResponses or requestState: {error}"
        return responses, echoed, flaw

    def admit(self, key: Key) -> bool:
        """Answer a request that the application admits; False if it is over or refused."""
        record = self._endpoint.answerable(key)
        if not record.held:
            raise LocalProtocolError(f"{record.method} is not answered by the engine")
        if not record.peer.finish(record, _ANSWER):
            return False
        # As it arrived: a listen stream is registered anew.
        arrival = structs.replace(record, state=_ACTIVE, held=False, key=ENGINE, admitted=key)
        early = is_early_enough(arrival.peer, arrival)
        if early is None:
            return _answer_here(arrival)
        _refuse(arrival, early)
        return False

    # Ends

    def restart(self, now: float) -> None:
        """Client, legacy: initialize again after the session was lost; pending requests stay."""
        state = self._state
        self._negotiator.initialize_again(now)
        for record in list(state.in_flight_by_id.values()):
            state.drop(record, RequestSignal.END, "the session was lost")
        # The next session may use the ids of requests that handlers have yet to release.
        state.in_flight_by_id.clear()

    def _end(self, end: End, route: Route) -> None:
        state = self._state
        if route != MAIN:
            # The end of one exchange cancels a request only if it carries all of that request.
            record = state.by_route.get(route)
            if record is not None:
                state.drop(record, RequestSignal.END, end.reason)
            elif state.role is Role.CLIENT:
                # The request of this exchange has ended, so the server's requests on it have too.
                for record in list(state.in_flight_by_id.values()):
                    if record.route == route:
                        state.drop(record, RequestSignal.CANCEL, end.reason)
            return
        self._negotiator.disconnected()
        if state.handover is None:
            state.waiting_input.clear()
        self._task_progress.clear()
        state.end_outbound(EndReason.CLOSED, f"connection closed: {end.reason}")
        for record in list(state.streams.values()):
            state.drop(record, RequestSignal.END, end.reason)
        state.half_closed = True
        if end.half:
            return
        for record in list(state.in_flight_by_id.values()):
            state.drop(record, RequestSignal.END, end.reason)
        if end.forget:
            state.drop_unsent()
        if state.lifecycle is not SessionState.CLOSED:
            state.move(SessionSignal.EOF)
        state.emit(events.ConnectionEnded(reason=end.reason, session=state.session))
        state.ended = True

    # Answers to outbound requests

    def _response(self, message: Message, now: float, route: Route, modern: bool) -> None:
        """Take a response; ``modern``: the transport recognised a modern server."""
        state = self._state
        id, result, error = message.id, message.result, message.error
        request = None if id is UNSET else state.pending.get(id)
        if request is None or request.state is not _ACTIVE:
            # A late answer to a request that was given up is no violation.
            if id is UNSET and error is not UNSET:
                text = f"error without id: {_decode_error(error).message}"
                state.violation(route, INVALID_REQUEST, text)
            elif state.role is Role.SERVER and state.revision is None:
                state.violation(route, INVALID_REQUEST, "a response came where nothing was asked")
        elif error is not UNSET:
            failure = _decode_error(error)
            if request.purpose is not _APPLICATION:
                self._negotiator.refused(request, failure, now, modern=modern)
                return
            state.conclude(request, _ANSWER)
            state.emit(events.ErrorReceived(request.id, request.method, failure, request.refusal))
        elif result is UNSET:
            return
        elif request.purpose is not _APPLICATION:
            self._negotiator.answered(request, result, now)
        else:
            revision = request.revision or LATEST
            if revision.result_type and not self._is_complete(request, result, now):
                return
            state.conclude(request, _ANSWER)
            row = request.row
            if request.want_progress and row and row.task_capability and becomes_task(result):
                # An experimental task, of which more progress follows after the answer.
                self._task_progress[request.id] = request.progress
                if len(self._task_progress) > state.config.limits.in_flight:
                    del self._task_progress[next(iter(self._task_progress))]
            event = events.ResultReceived(request.id, request.method, result, revision)
            self._endpoint.events.append(event)

    def _is_complete(self, request: Outbound, result: Raw, now: float) -> bool:
        """Return True for a final result; handle every other ``resultType`` here."""
        try:
            skim = _decode_result(result)
        except msgspec.MsgspecError as error:
            self._invalid_answer(request, f"invalid result: {error}", now)
            return False
        kind = skim.result_type
        if kind is None or kind == COMPLETE:
            return True
        if kind == INPUT_REQUIRED:
            flaw = self._input_required(request, skim)
            if flaw is not None:
                self._invalid_answer(request, flaw, now)
            return False
        extension = None if request.row is None else request.row.task_extension
        declared = request.capabilities or self._state.config.capabilities
        if kind == TASK and extension and declares(declared, f"extensions.{extension}"):
            return True
        self._invalid_answer(request, f"invalid result: unknown resultType {kind!r}", now)
        return False

    def _input_required(self, request: Outbound, skim: ResultSkim) -> str | None:
        """Handle a demand for input; return what is wrong with it, or None."""
        state = self._state
        if request.row is None or not request.row.needs_input:
            return f"invalid result: {request.method} cannot require input"
        if skim.input_requests is None and skim.request_state is None:
            return "invalid result: input_required without inputRequests and requestState"
        limit = state.config.limits.input_rounds
        if request.round >= limit:
            return f"the server asked for input more than {limit} times"
        questions = skim.input_requests or {}
        most = state.config.limits.input_requests
        if len(questions) > most:
            return f"the server asks {len(questions)} questions at once, the limit is {most}"
        declared = request.capabilities or state.config.capabilities
        flaw = refuse_questions(questions, request.revision or LATEST, state.config, declared)
        if flaw is not None:
            return flaw
        state.conclude(request, _ANSWER)
        request.round += 1
        request.input_state = skim.request_state
        state.waiting_input[request.id] = request
        state.emit(
            events.InputRequired(
                request.id, request.method, questions, request.round, skim.request_state
            )
        )
        return None

    # Ends without a valid answer

    def _invalid_answer(self, request: Outbound, message: str, now: float) -> None:
        """End an outbound request whose answer cannot be read."""
        if request.state is not _ACTIVE:
            return
        if request.purpose is _APPLICATION:
            self._state.abort(request, _ANSWER, EndReason.INVALID, message)
        else:
            self._negotiator.broken(request, message, now, legacy=True)

    def _transport_failed(self, failure: TransportFailure, now: float) -> None:
        """End an outbound request that the transport reports as failed."""
        request, fault = self._state.pending.get(failure.request), failure.fault
        if request is None:
            return
        text = failure.message
        if request.purpose is _APPLICATION:
            self._state.abort(request, RequestSignal.END, failure.reason, text, fault)
        else:
            self._negotiator.broken(request, text, now, legacy=failure.evidence, fault=fault)

    # Notifications, which are never answered

    def _notification(
        self, method: str, params: Raw, route: Route, now: float, stream: RequestId | None
    ) -> None:
        """Take a notification. "Malformed notifications SHOULD be ignored": they are reported."""
        state = self._state
        row = None
        if state.revision is not None:
            row = state.profile.theirs[state.revision.position].get(method)
            if row is None and method in KNOWN_METHODS:
                other = state.role.other.value
                text = f"{method} is not sent by a {other} in {state.revision.name}"
                state.violation(route, METHOD_NOT_FOUND, text)
                return
            if row is not None and row.kind is MethodKind.REQUEST:
                state.violation(route, INVALID_REQUEST, f"{method} is a request and needs an id")
                return
        handler = _CONSUMED.get(method)
        try:
            if handler is not None:
                handler(self, params, row, route, now)
            elif not (state.is_modern_client and self._on_stream(method, params, route)):
                check_meta(params)
                theirs = state.peer_capabilities
                declared = theirs if isinstance(theirs, ClientCapabilities) else None
                place = route, state.revision, stream, state.session
                state.emit(
                    events.NotificationReceived(method, params, *place, declared, state.principal)
                )
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            state.violation(route, INVALID_PARAMS, f"{method}: {error}")

    # The legacy handshake

    def _initialized(self, params: Raw, row: Method | None, route: Route, now: float) -> None:
        state = self._state
        revision = state.revision
        if state.alone:
            return  # no session is opened, which the client cannot know
        stage = state.lifecycle
        if state.role is Role.CLIENT or stage is not SessionState.OPENING or revision is None:
            text = f"notifications/initialized while the session is {stage.value}"
            state.violation(route, INVALID_REQUEST, text)
            return
        state.move(SessionSignal.INITIALIZED)
        state.changes += 1
        info, declared = state.peer_info, state.client_capabilities
        session, principal = state.session, state.principal
        state.emit(events.Ready(revision, info, declared, session=session, principal=principal))
        self._sender.send_held()

    # Cancellation

    def _cancelled(self, params: Raw, row: Method | None, route: Route, now: float) -> None:
        state = self._state
        cancelled = _decode_cancelled(params)
        id, reason = cancelled.request_id, cancelled.reason
        if id is None:
            return
        if row is None or row.about is None:
            record = state.in_flight_by_id.get(state.slot(route, id))
            if record is not None:
                state.drop(record, RequestSignal.CANCEL, reason)
            return
        # A modern server ends one of our subscriptions; its result may follow.
        request = state.pending.get(id)
        if request is None:
            return
        if request.method not in row.about:
            text = f"notifications/cancelled from a server for {request.method}"
            state.violation(route, INVALID_REQUEST, text)
        elif request.farewell is None:
            request.farewell = f"the server ended the subscription: {reason or 'no reason given'}"
            stream = request.stream or StreamState.OPENING
            request.stream = step(STREAM, stream, StreamSignal.FINISH)
            self._endpoint.deadlines.set(request, now + state.config.limits.farewell)

    # Progress

    def _progress(self, params: Raw, row: Method | None, route: Route, now: float) -> None:
        state = self._state
        progress = _decode_progress(params)
        token, value = progress.progress_token, progress.progress
        request = state.pending.get(token)
        if request is not None and request.want_progress and request.state is _ACTIVE:
            before = request.progress
        elif token in self._task_progress:
            before = self._task_progress[token]
        else:
            # Progress may cross the answer on its way; an unknown token is ignored too.
            return
        if before is not None and value <= before:
            text = f"progress went from {before} to {value}; it must increase"
            state.violation(route, INVALID_PARAMS, text)
            return
        if request is None:
            self._task_progress[token] = value
        else:
            request.progress = value
            self._sender.extend(request, now)
        state.emit(events.ProgressReceived(token, value, progress.total, progress.message))

    # Listen streams of a client

    def _on_stream(self, method: str, params: Raw, route: Route) -> bool:
        """Take a notification on a listen stream of this client; False if it is on none."""
        state = self._state
        meta = _decode_notification(params).meta
        if meta is None or meta.subscription_id is None:
            if method == ACKNOWLEDGED:
                state.violation(route, INVALID_REQUEST, f"{method} names no subscription")
            return method == ACKNOWLEDGED
        request = state.pending.get(meta.subscription_id)
        if request is None or request.stream is None:
            return True  # it crossed the end of its stream
        if method == ACKNOWLEDGED:
            confirmed = _decode_acknowledged(params).notifications
            after = step(STREAM, request.stream, StreamSignal.ACKNOWLEDGE)
            if after is not None:
                request.stream = after
                self._endpoint.deadlines.set(request, None)
                state.emit(events.SubscriptionAcknowledged(request.id, confirmed))
        elif request.stream is StreamState.LISTENING:
            state.emit(events.SubscriptionNotification(request.id, method, params))
        else:
            text = f"{method} came while its subscription is {request.stream.value}"
            state.violation(route, INVALID_REQUEST, text)
        return True


_CONSUMED: dict[str, Callable[[Receiver, Raw, Method | None, Route, float], None]] = {
    "notifications/initialized": Receiver._initialized,
    "notifications/cancelled": Receiver._cancelled,
    "notifications/progress": Receiver._progress,
}
"""Notifications that the engine consumes, as they only change its own state."""
