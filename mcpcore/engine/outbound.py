"""Outbound requests of a Peer: held until negotiation has ended, checked, sent, timed, given up."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct, structs

from mcpcore.engine.bodies import Meta, becomes_task, checked_meta, take_apart, text_in, whole
from mcpcore.engine.config import DEFAULT_TIMEOUT, Config, Role
from mcpcore.engine.events import MAIN, EndReason, Key, Route
from mcpcore.engine.input_rounds import retry_body
from mcpcore.engine.lifecycle import RequestSignal, RequestState, SessionState, StreamState
from mcpcore.engine.mirror import mirror_of
from mcpcore.engine.state import Outbound, PeerState, Purpose
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.spec.capabilities import declares, input_capability
from mcpcore.spec.errors import CapabilityMissing, LocalProtocolError
from mcpcore.spec.methods import KNOWN_METHODS, REPEATABLE, Method
from mcpcore.spec.revisions import LATEST_LEGACY, Revision
from mcpcore.spec.types.base import META_LOG_LEVEL, META_PROGRESS_TOKEN, RequestId
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.lifecycle import SEVERITY
from mcpcore.spec.types.tools import Tool
from mcpcore.wire.jsontext import Body, Members, sayable, to_json
from mcpcore.wire.message import encode_request

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_ACTIVE, _OPEN, _APPLICATION = RequestState.ACTIVE, SessionState.OPEN, Purpose.APPLICATION
_NEW, _CLOSING, _CLOSED = SessionState.NEW, SessionState.CLOSING, SessionState.CLOSED
_CLIENT, _REQUEST = Role.CLIENT, FrameKind.REQUEST

COMPLETE = "complete"
"""Value of ``resultType`` for a final result; one that is absent means the same."""
INPUT_REQUIRED = "input_required"
CANCELLED = "notifications/cancelled"
GIVEN_UP = "the request that it belongs to was given up"
"""Reason for which a request is cancelled with the one on whose behalf it was sent."""
TASK = "task"
"""Value of ``resultType`` for a request that has become a task (the tasks extension)."""


class Sender(Struct, frozen=True, weakref=False, eq=False):
    """Part of a Peer that sends requests."""

    _state: PeerState

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
        capabilities: ClientCapabilities | None = None,
        bare: bool = False,
    ) -> RequestId:
        """Send a request, as :meth:`Peer.request <mcpcore.engine.peer.Peer.request>` does."""
        state = self._state
        self._check_open(len(state.pending) + len(state.waiting_input))
        if log_level is not None:
            check_log_level(log_level)
        body: bytes | Raw | Members
        if bare and isinstance(params, Raw | dict):
            body = params
        else:
            body, meta, _ = take_apart(params, meta)
        request = Outbound(
            self,
            self.new_id(),
            method,
            body,
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
            capabilities=capabilities,
            stream=StreamState.OPENING if method == "subscriptions/listen" else None,
        )
        self.submit(request, now)
        return request.id

    def retry(
        self, request: RequestId, responses: Mapping[str, Body], now: float, timeout: float | None
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

    def give_up(self, request: Outbound, reason: str | None) -> None:
        """Cancel a request, here and on the other side."""
        text = reason or "cancelled"
        self.end(request, RequestSignal.CANCEL, EndReason.CANCELLED, text, reason)

    def _check_open(self, open_requests: int) -> None:
        state = self._state
        handover, stage = state.handover, state.lifecycle
        if stage is _CLOSING or (stage is _CLOSED and handover is None):
            raise LocalProtocolError(state.failure or "the conversation is closed")
        if state.half_closed:
            raise LocalProtocolError("the other side has finished writing and cannot answer")
        if stage is _NEW and state.role is _CLIENT and not state.expected:
            raise LocalProtocolError("start the client before its first request")
        if state.expected and handover is not None:
            handover.check_room()
        limit = state.config.limits.pending
        if open_requests >= limit:
            raise LocalProtocolError(f"{limit} requests wait for an answer already")

    def _route_of(self, parent: Key) -> Route:
        record = self._state.endpoint.inbound.get(parent)
        if record is None:
            raise LocalProtocolError(f"no request with key {parent} is in flight")
        if record.state is not _ACTIVE:
            raise LocalProtocolError(f"the request with key {parent} was cancelled")
        if not record.revision.server_requests:
            revision = record.revision.name
            raise LocalProtocolError(f"{revision} has no requests on the stream of another")
        return record.route

    def _timeout(self, timeout: float | None) -> float | None:
        if timeout is DEFAULT_TIMEOUT:
            return self._state.config.limits.request_timeout
        if timeout is not None and not timeout >= 0:
            raise LocalProtocolError(f"a timeout cannot be {timeout!r}")
        return timeout

    def new_id(self) -> RequestId:
        """Return an id for an outbound request."""
        state = self._state
        state.endpoint.serial = serial = state.endpoint.serial + 1
        prefix = state.config.id_prefix
        return serial if prefix is None else f"{prefix}{serial}"

    def submit(self, request: Outbound, now: float) -> None:
        """Send a request, or hold it until negotiation has ended; an error changes nothing."""
        state = self._state
        if state.alone:
            text = f"{request.method} cannot be sent: no session is there in which to answer it"
            raise LocalProtocolError(text)
        early = state.lifecycle is not _OPEN and request.purpose is _APPLICATION
        if early and self._must_wait(request.method):
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
        state, method = self._state, request.method
        row = state.profile.ours[revision.position].get(method)
        if row is not None:
            if not request.forced:
                self._check_capability(row, request)
        elif method not in state.config.extension_methods and (
            not request.forced or method in KNOWN_METHODS
        ):
            text = f"a {state.role.value} does not send {method} in {revision.name}"
            raise LocalProtocolError(text)
        return row

    def _check_capability(self, row: Method, request: Outbound) -> None:
        state = self._state
        if state.peer_capabilities is None:
            return
        path = row.capability
        if state.role is Role.SERVER:
            path = input_capability(row.name, Raw(whole(request.body))) or path
        if path is not None and not declares(state.peer_capabilities, path):
            raise CapabilityMissing(path)
        if state.role is _CLIENT:  # its capability never depends on the params
            state.permitted[row.name] = row

    def _send(self, request: Outbound) -> None:
        state = self._state
        revision = request.revision
        if revision is None:
            revision = state.revision or LATEST_LEGACY
            if request.capabilities is not None and not revision.modern:
                text = f"in {revision.name} a client declares capabilities in the handshake only"
                raise LocalProtocolError(text)
            row = state.permitted.get(request.method)
            request.row = self._check(request, revision) if row is None else row
        mirror = None
        if state.mirrors and revision.mirror_headers:
            wanted = state.config.header_params
            mirror = mirror_of(request.body, revision.name, request.method, request.row, wanted)
        meta = self._meta_member(request, revision)
        data = encode_request(request.id, request.method, request.body, meta)
        request.revision = revision
        request.state = _ACTIVE
        route, size, key, method = request.route, len(data), request.parent, request.method
        frame = Transmit(state, route, (data,), size, _REQUEST, key, method, revision)
        frame.request, frame.mirror = request.id, mirror
        if state.mirrors:  # else no transport sends it twice
            tools = state.config.repeatable_tools
            frame.repeatable = may_repeat(method, request.body, request.repeat, tools)
        if key is not None and key in state.endpoint.inbound:
            state.endpoint.inbound[key].queued += size
        state.outbox.push(frame)

    def _meta_member(self, request: Outbound, revision: Revision) -> bytes:
        """Return the ``_meta`` member of a request's params, or nothing."""
        state = self._state
        modern = state.role is _CLIENT and revision.modern
        common = state.profile.client_meta(revision, request.capabilities) if modern else b""
        if not (request.meta or request.want_progress or request.log_level):  # the usual case
            return common
        own: dict[str, Any] = dict(request.meta) if request.meta else {}
        if request.want_progress:
            own[META_PROGRESS_TOKEN] = request.id
        if request.log_level is not None and revision.per_request_log_level:
            own[META_LOG_LEVEL] = request.log_level
        if modern:
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
        self._state.endpoint.deadlines.set(request, when)

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
        route, revision = request.route, request.revision
        self._state.send_notification(
            CANCELLED, to_json(body), route=route, request=request.id, revision=revision
        )


def check_log_level(level: str) -> None:
    """Raise LocalProtocolError for a log level that does not exist."""
    if level not in SEVERITY:
        raise LocalProtocolError(f"unknown log level {level!r}; known: {', '.join(SEVERITY)}")


def overdue(request: Outbound, config: Config, now: float) -> str:
    """Return a text that names the request and the time limit that it has crossed."""
    limit, maximum = request.timeout or 0.0, config.limits.max_timeout
    text = f"{request.method}: no answer within {limit:g} seconds"
    if request.progress is None:
        return text
    if maximum is not None and now >= request.started + maximum > request.started + limit:
        return f"{request.method}: no answer within {maximum:g} seconds, for all its progress"
    return f"{text} of its last progress"


# Repetition


def may_repeat(
    method: str, body: bytes | Raw | Members, mark: bool | None, tools: Collection[str]
) -> bool:
    """Return True if a request may be sent a second time.

    ``body``: its params.  ``mark``: the sender's own decision, which wins; None for none.
    ``tools``: names of the tools that may be called a second time.
    """
    if mark is not None:
        return mark
    if method in REPEATABLE:
        return True
    if method != "tools/call" or not tools:
        return False
    try:
        return text_in(body, "name") in tools
    except msgspec.MsgspecError:
        return False


def is_repeatable(tool: Tool) -> bool:
    """Return True if a tool declares that a second call with the same arguments does no more."""
    hints = tool.annotations
    return hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
