"""Outbound half of a Peer: requests, answers, progress and log messages.

A request that is sent is held until negotiation has ended, checked, timed, and given up.  An answer
belongs to the key of an inbound request, whichever Peer of the endpoint has received that.

A request whose connection broke before the answer may or may not have been carried out.  One rule
for all transports tells if it may be sent again: :func:`may_repeat`.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field, structs

from mcpcore.engine.bodies import (
    Meta,
    becomes_task,
    checked_meta,
    own_meta,
    permitted,
    take_apart,
    take_result_apart,
)
from mcpcore.engine.config import DEFAULT_TIMEOUT, Config, Role
from mcpcore.engine.events import MAIN, EndReason, Key, Route
from mcpcore.engine.input_rounds import InputRequest, input_required, retry_body
from mcpcore.engine.lifecycle import RequestSignal, RequestState, SessionState, StreamState
from mcpcore.engine.mirror import mirror_of
from mcpcore.engine.state import Inbound, Outbound, PeerState, Purpose
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.spec.capabilities import declares, input_capability
from mcpcore.spec.errors import CapabilityMissing, ErrorData, LocalProtocolError
from mcpcore.spec.methods import KNOWN_METHODS, REPEATABLE, Method
from mcpcore.spec.revisions import LATEST_LEGACY, Revision
from mcpcore.spec.types.base import META_LOG_LEVEL, META_PROGRESS_TOKEN, RequestId
from mcpcore.spec.types.logging import SEVERITY
from mcpcore.spec.types.tools import Tool
from mcpcore.wire.jsontext import encode_sound, sayable
from mcpcore.wire.message import Body, encode_error, encode_request, encode_result, to_json

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_ACTIVE, _OPEN, _APPLICATION = RequestState.ACTIVE, SessionState.OPEN, Purpose.APPLICATION
_NEW, _CLOSING, _CLOSED = SessionState.NEW, SessionState.CLOSING, SessionState.CLOSED
_ANSWER, _CLIENT = RequestSignal.ANSWER, Role.CLIENT
_REQUEST, _RESULT = FrameKind.REQUEST, FrameKind.RESULT

COMPLETE = "complete"
"""Value of ``resultType`` for a final result; one that is absent means the same."""
INPUT_REQUIRED = "input_required"
TASK = "task"
"""Value of ``resultType`` for a request that has become a task (the tasks extension)."""
DEFAULT_LOG_LEVEL = "info"
"""Lowest level sent to a legacy client that never set one."""
_PROGRESS = "notifications/progress"
_INFINITE = math.inf
"""Bound for comparisons, as :func:`math.isfinite` takes no integer larger than all floats."""
LOST_LOGGER = "mcpcore"
LOST_LEVEL = "warning"
"""Level of the message that log messages were dropped; ``LOST_LOGGER`` is its logger."""


class _Report(Struct, gc=False):
    """Params of a progress notification."""

    token: Any = field(name="progressToken")
    progress: Any
    total: Any
    message: Any
    meta: Any = field(name="_meta")


class _Reported(Struct, gc=False):
    """Whole progress notification: encoded in one step, as there may be very many."""

    jsonrpc: str = "2.0"
    method: str = _PROGRESS
    params: _Report | None = None


class Sender:
    """Part of a Peer that sends requests, and the answers to those of the other side."""

    __slots__ = ("_endpoint", "_state")

    def __init__(self, state: PeerState) -> None:
        self._state = state
        self._endpoint = state.endpoint

    # Requests

    def request(
        self,
        method: str,
        params: Body,
        now: float,
        timeout: float | None,
        parent: Key | None,
        progress: bool,
        meta: Meta | None,
        log_level: str | None,
        force: bool,
        repeat: bool | None,
    ) -> RequestId:
        """Send a request, as :meth:`Peer.request <mcpcore.engine.peer.Peer.request>` does."""
        state = self._state
        self._check_open(len(state.pending) + len(state.waiting_input))
        if log_level is not None and log_level not in SEVERITY:
            raise LocalProtocolError(
                f"unknown log level {log_level!r}; known: {', '.join(SEVERITY)}"
            )
        body, meta = take_apart(params, meta)
        request = Outbound(
            sender=self,
            id=self.new_id(),
            method=method,
            original=body,
            body=body,
            meta=checked_meta(meta) if meta else {},
            log_level=log_level,
            parent=parent,
            route=MAIN if parent is None else self._route_of(parent),
            started=now,
            timeout=self._timeout(timeout),
            want_progress=progress,
            forced=force,
            repeat=repeat,
            stream=StreamState.OPENING if method == "subscriptions/listen" else None,
        )
        self.submit(request, now)
        return request.id

    def retry(
        self,
        request: RequestId,
        responses: Mapping[str, Body],
        now: float,
        timeout: float | None,
    ) -> RequestId:
        """Answer an InputRequired: send the request again with answers, state and a new id."""
        state = self._state
        self._check_open(len(state.pending))
        waiting = state.waiting_input.get(request)
        if waiting is None:
            raise LocalProtocolError(f"request {request!r} does not wait for input")
        again = structs.replace(
            waiting,
            id=self.new_id(),
            # Answers and state are for this one retry; a further round brings its own.
            body=retry_body(waiting, responses),
            input_state=None,
            state=RequestState.HELD,
            started=now,
            timeout=self._timeout(timeout),
            deadline=None,
            progress=None,
        )
        self.submit(again, now)
        del state.waiting_input[request]
        return again.id

    def abandon(self, request: RequestId) -> None:
        """Give up a request that waits for input; nothing is sent."""
        self._state.waiting_input.pop(request, None)

    def cancel(self, request: RequestId, reason: str | None) -> None:
        """Cancel a request, as :meth:`Peer.cancel <mcpcore.engine.peer.Peer.cancel>` does."""
        self.abandon(request)
        pending = self._state.pending.get(request)
        if pending is not None:
            pending.sender.give_up(pending, reason)

    def give_up(self, request: Outbound, reason: str | None) -> None:
        """Cancel a request, here and on the other side."""
        text = reason or "cancelled"
        self.end(request, RequestSignal.CANCEL, EndReason.CANCELLED, text, reason)

    def _check_open(self, open_requests: int) -> None:
        state = self._state
        succession, stage = state.succession, state.lifecycle
        if stage is _CLOSING or (stage is _CLOSED and succession is None):
            raise LocalProtocolError(state.failure or "the conversation is closed")
        if state.half_closed:
            raise LocalProtocolError("the other side has finished writing and cannot answer")
        if stage is _NEW and state.role is _CLIENT and not state.expected:
            raise LocalProtocolError("start the client before its first request")
        if state.expected and succession is not None:
            succession.check_room()
        limit = state.config.limits.pending
        if open_requests >= limit:
            raise LocalProtocolError(f"{limit} requests wait for an answer already")

    def _route_of(self, parent: Key) -> Route:
        record = self._endpoint.inbound.get(parent)
        if record is None:
            raise LocalProtocolError(f"no request with key {parent} is in flight")
        if record.state is not _ACTIVE:
            raise LocalProtocolError(f"the request with key {parent} was cancelled")
        if not record.revision.server_requests:
            raise LocalProtocolError(
                f"{record.revision.name} has no requests on the stream of another"
            )
        return record.route

    def _timeout(self, timeout: float | None) -> float | None:
        if timeout is DEFAULT_TIMEOUT:
            return self._state.config.limits.request_timeout
        if timeout is not None and not timeout >= 0:
            raise LocalProtocolError(f"a timeout cannot be {timeout!r}")
        return timeout

    def new_id(self) -> RequestId:
        """Return an id for an outbound request."""
        self._endpoint.serial = serial = self._endpoint.serial + 1
        prefix = self._state.config.id_prefix
        return serial if prefix is None else f"{prefix}{serial}"

    def submit(self, request: Outbound, now: float) -> None:
        """Send a request, or hold it until negotiation has ended.

        Raises LocalProtocolError if it may not be sent, ValueError or TypeError if it has no JSON
        form; then nothing has changed.
        """
        state = self._state
        if state.alone:
            text = f"{request.method} cannot be sent: no session is there in which to answer it"
            raise LocalProtocolError(text)
        if (
            state.lifecycle is not _OPEN
            and request.purpose is _APPLICATION
            and self._must_wait(request.method)
        ):
            to_json({"method": request.method, "meta": request.meta})  # raise now rather than later
            state.held[request.id] = request
        else:
            self._send(request)
        state.expect(request, now)

    def _must_wait(self, method: str) -> bool:
        """Return True if a request must wait for the session to be open."""
        state = self._state
        if state.revision is None:
            if state.role is Role.SERVER:
                raise LocalProtocolError(f"no client has initialized; {method} cannot be sent")
            return True
        # The one request that either side may send at any time (lifecycle, "Initialization").
        return method != "ping"

    def _check(self, request: Outbound, revision: Revision) -> Method | None:
        """Return the row of a request; raise LocalProtocolError if it may not be sent."""
        state = self._state
        method = request.method
        row = state.profile.ours[revision.position].get(method)
        if row is not None:
            if not request.forced:
                self._check_capability(row, request)
        elif not self._is_extension(request):
            raise LocalProtocolError(
                f"a {state.role.value} does not send {method} in {revision.name}"
            )
        return row

    def _is_extension(self, request: Outbound) -> bool:
        method = request.method
        return method in self._state.config.extension_methods or (
            request.forced and method not in KNOWN_METHODS
        )

    def _check_capability(self, row: Method, request: Outbound) -> None:
        state = self._state
        if state.peer_capabilities is None:
            return
        path = row.capability
        if state.role is Role.SERVER:
            path = input_capability(row.name, Raw(request.body)) or path
        if path is not None and not declares(state.peer_capabilities, path):
            raise CapabilityMissing(path)
        if state.role is _CLIENT:  # its capability never depends on the params
            state.permitted[row.name] = row

    def _send(self, request: Outbound) -> None:
        state = self._state
        revision = request.revision
        if revision is None:
            revision = state.revision or LATEST_LEGACY
            row = state.permitted.get(request.method)
            request.row = self._check(request, revision) if row is None else row
        mirror = None
        if state.mirrors and revision.mirror_headers:
            mirror = mirror_of(
                request.body,
                version=revision.name,
                method=request.method,
                row=request.row,
                header_params=state.config.header_params,
            )
        data = encode_request(
            request.id, request.method, request.body, self._meta_member(request, revision)
        )
        request.revision = revision
        request.state = _ACTIVE
        frame = Transmit(
            peer=state,
            route=request.route,
            data=(data,),
            size=len(data),
            kind=_REQUEST,
            key=request.parent,
            request=request.id,
            method=request.method,
            revision=revision,
            mirror=mirror,
            repeatable=state.mirrors
            and may_repeat(request.method, request.body, request.repeat, state.config),
        )
        if request.parent is not None and request.parent in self._endpoint.inbound:
            self._endpoint.inbound[request.parent].queued += frame.size
        state.outbox.push(frame)

    def _meta_member(self, request: Outbound, revision: Revision) -> bytes:
        """Return the ``_meta`` member of a request's params, or nothing."""
        state = self._state
        modern = state.role is _CLIENT and revision.modern
        if not (request.meta or request.want_progress or request.log_level):  # the usual case
            return state.profile.client_meta(revision) if modern else b""
        own: dict[str, Any] = dict(request.meta) if request.meta else {}
        if request.want_progress:
            own[META_PROGRESS_TOKEN] = request.id
        if request.log_level is not None and revision.per_request_log_level:
            own[META_LOG_LEVEL] = request.log_level
        if modern:
            common = state.profile.client_meta(revision)
            return common[:-1] + b"," + to_json(own)[1:] if own else common
        return b'"_meta":' + to_json(own) if own else b""

    def send_held(self) -> None:
        """Send the requests held for negotiation; end those that its outcome forbids."""
        state = self._state
        for request in list(state.held.values()):
            try:
                self._send(request)
                del state.held[request.id]
            except (LocalProtocolError, msgspec.MsgspecError) as error:
                state.abort(request, RequestSignal.END, EndReason.REFUSED, str(error))

    def extend(self, request: Outbound, now: float) -> None:
        """Restart the timeout of a request after progress, up to the maximum."""
        if request.timeout is None or request.deadline is None:
            return
        when = now + request.timeout
        maximum = self._state.config.limits.max_timeout
        if maximum is not None:
            when = min(when, max(request.started + maximum, request.deadline))
        self._endpoint.deadlines.set(request, when)

    def expire(self, request: Outbound, now: float) -> None:
        """End a request of the application that got no answer in time."""
        if request.farewell is not None:
            self._state.abort(request, RequestSignal.END, EndReason.CLOSED, request.farewell)
            return
        text = overdue(request, self._state.config, now)
        self.end(request, RequestSignal.EXPIRE, EndReason.TIMED_OUT, text, "timed out")

    def end(
        self,
        request: Outbound,
        signal: RequestSignal,
        reason: EndReason,
        message: str,
        why: str | None,
    ) -> None:
        """End an outbound request; if it was sent, cancel it on the other side."""
        sent = request.state is _ACTIVE
        self._state.abort(request, signal, reason, message)
        if sent:
            self.send_cancelled(request, why)

    def send_cancelled(self, request: Outbound, reason: str | None) -> None:
        """Send the cancellation of an outbound request (never for ``initialize``)."""
        row = request.row
        if row is not None and row.task_capability and becomes_task(request.body):
            return  # such a request is ended by tasks/cancel only (2025-11-25, cancellation)
        body: dict[str, Any] = {"requestId": request.id}
        if reason is not None:
            body["reason"] = sayable(reason)
        self._state.send_notification(
            "notifications/cancelled",
            to_json(body),
            route=request.route,
            request=request.id,
            revision=request.revision,
        )

    # Answers

    def respond(
        self, key: Key, result: Body, meta: Meta | None, result_type: str, bare: bool
    ) -> bool:
        """Answer with a result, as :meth:`Peer.respond <mcpcore.engine.peer.Peer.respond>` does."""
        record = self._endpoint.inbound.get(key)
        if record is None or record.stream is not None or record.held:
            record = self._unheld(key)  # raises the error
        if not (bare and isinstance(result, Raw)):
            result, meta, own_type = take_result_apart(result, meta)
            result_type = own_type or result_type
        if meta or result_type != COMPLETE:
            _check_result_type(record, result_type)
            return answer_with(record, result, own_meta(meta) if meta else None, result_type)
        members = record.peer.profile.complete[record.revision]
        return _finish(record, _RESULT, encode_result(record.id, result, members))

    def fail(self, key: Key, error: ErrorData) -> bool:
        """Answer with an error; False if the request was cancelled meanwhile."""
        record = self._endpoint.answerable(key)
        error = permitted(error, record.revision)
        return _finish(record, FrameKind.ERROR, encode_error(record.id, error), error.code)

    def require_input(
        self, key: Key, requests: Mapping[str, InputRequest], state: str | None
    ) -> bool:
        """Answer that input is needed, with questions and a state for the retry."""
        record = self._unheld(key)
        body = input_required(record, requests, state)
        return answer_with(record, body, None, INPUT_REQUIRED)

    def _unheld(self, key: Key) -> Inbound:
        record = self._endpoint.answerable(key)
        if record.held:
            raise LocalProtocolError(f"{record.method} is answered by the engine: admit it or fail")
        return record

    # Notifications before the answer

    def progress(
        self,
        key: Key,
        value: float,
        total: float | None,
        message: str | None,
        meta: Meta | None,
    ) -> bool:
        """Report progress; False if not asked for, not increased, or if the request is over."""
        record = self._endpoint.inbound.get(key)
        if record is None or record.state is not _ACTIVE or record.stream is not None:
            return False
        if record.held:
            return False  # as in _takes_news, without a call
        token, last = record.meta.progress_token, record.progress
        if token is None:
            return False
        if not -_INFINITE < value < _INFINITE or (last is not None and value <= last):
            return False
        report = _Report(
            token,
            value,
            UNSET if total is None else total,
            UNSET if message is None else message,
            meta or UNSET,
        )
        sound = not meta and (total is None or -_INFINITE < total < _INFINITE)
        encode = encode_sound if sound else to_json
        data = encode(_Reported(params=report))
        record.progress = value
        record.peer.send_news(_PROGRESS, data, record, "progress")
        return True

    def log(
        self, key: Key | None, level: str, data: Any, logger: str | None, meta: Meta | None
    ) -> bool:
        """Send a log message, as :meth:`Peer.log <mcpcore.engine.peer.Peer.log>` does."""
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
        """Return True if a log message of this level would be sent; see :meth:`log`."""
        if level not in SEVERITY:
            raise LocalProtocolError(f"unknown log level {level!r}; known: {', '.join(SEVERITY)}")
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


def overdue(request: Outbound, config: Config, now: float) -> str:
    """Return a text that names the request and the time limit that it has crossed."""
    limit, maximum = request.timeout or 0.0, config.limits.max_timeout
    text = f"{request.method}: no answer within {limit:g} seconds"
    if request.progress is None:
        return text
    if maximum is not None and now >= request.started + maximum > request.started + limit:
        return f"{request.method}: no answer within {maximum:g} seconds, for all its progress"
    return f"{text} of its last progress"


def _takes_news(record: Inbound) -> bool:
    """Return True if progress and log messages may be sent for a request.

    A listen stream has none, nor a held request that becomes one when it is admitted.
    """
    return record.state is _ACTIVE and record.stream is None and not record.held


def _check_result_type(record: Inbound, result_type: str) -> None:
    """Raise LocalProtocolError if a request may not be answered with this type of result."""
    if result_type == INPUT_REQUIRED:
        raise LocalProtocolError("an input_required result is made by require_input")
    extension = None if record.row is None else record.row.task_extension
    if result_type == TASK and extension is not None:
        path = f"extensions.{extension}"
        if not declares(record.capabilities, path):
            raise CapabilityMissing(path)


def answer_with(record: Inbound, body: bytes | Raw, meta: Meta | None, result_type: str) -> bool:
    """Send a result with a type or ``_meta`` of its own; False if it was cancelled."""
    members = b""
    if record.revision.result_type:
        members = b'"resultType":%b,"_meta":%b' % (
            msgspec.json.encode(result_type),
            to_json({**record.peer.profile.server_meta, **(meta or {})}),
        )
    elif meta:
        members = b'"_meta":' + to_json(meta)
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
            peer=peer,
            route=route,
            data=(data,),
            size=len(data),
            kind=kind,
            ends=route != MAIN,
            key=record.key,
            code=code,
            method=record.method,
            revision=record.revision,
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


# Repetition

_CALL = "tools/call"


class _Named(Struct):
    name: str | UnsetType = UNSET


_decode_name = msgspec.json.Decoder(_Named).decode


def may_repeat(method: str, body: bytes, mark: bool | None, config: Config) -> bool:
    """Return True if a request may be sent a second time.

    ``body``: its params.  ``mark``: the sender's own decision, which wins; None for none.
    """
    if mark is not None:
        return mark
    if method in REPEATABLE:
        return True
    if method != _CALL or not config.repeatable_tools:
        return False
    try:
        return _decode_name(body).name in config.repeatable_tools
    except msgspec.MsgspecError:
        return False


def is_repeatable(tool: Tool) -> bool:
    """Return True if a tool declares that a second call with the same arguments does no more."""
    hints = tool.annotations
    return hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
