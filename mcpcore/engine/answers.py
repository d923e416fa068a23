"""Requests of ours: how they leave, what answers them, and how negotiation uses them.

Every request of ours ends exactly once: in a result, an error, a demand for input, or here
(timeout, cancellation, end of the transport, an answer that is not valid).
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET, Raw

from mcpcore.engine.base import PeerBase
from mcpcore.engine.config import Role
from mcpcore.engine.events import (
    MAIN,
    EndReason,
    ErrorReceived,
    InputRequired,
    NegotiationFailed,
    Ready,
    ResultReceived,
    Route,
    SubscriptionAcknowledged,
    SubscriptionNotification,
)
from mcpcore.engine.lifecycle import (
    REQUEST,
    STREAM,
    Request,
    RequestSignal,
    Session,
    SessionSignal,
    Stream,
    StreamSignal,
    step,
)
from mcpcore.engine.mirror import Mirror, header_arguments
from mcpcore.engine.negotiation import (
    Opening,
    Verdict,
    first_step,
    read_discovery,
    read_probe_error,
    server_info_of,
)
from mcpcore.engine.requests import Batch, Outbound, Purpose
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.spec.capabilities import TASKS_EXTENSION, declares, input_capability
from mcpcore.spec.errors import (
    INVALID_REQUEST,
    CapabilityMissing,
    ErrorData,
    LocalProtocolError,
)
from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import LATEST, Revision
from mcpcore.spec.types.base import (
    Implementation,
    NotificationSkim,
    RequestId,
    ResultSkim,
    Skim,
    full_meta,
)
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.spec.types.lifecycle import DiscoverResult, InitializeParams, InitializeResult
from mcpcore.spec.types.subscriptions import SubscriptionsAcknowledgedParams
from mcpcore.wire.message import Message, encode_request, splice, to_json

_decode_error = msgspec.json.Decoder(ErrorData).decode
_decode_skim = msgspec.json.Decoder(ResultSkim).decode
_decode_params = msgspec.json.Decoder(Skim).decode
_decode_notification = msgspec.json.Decoder(NotificationSkim).decode


class Answers(PeerBase):
    """The half of a Peer that deals with requests of ours."""

    # Leaving

    def submit(self, request: Outbound, now: float) -> None:
        """Send a request, or hold it until negotiation has ended."""
        self.hub.outbound[request.id] = request
        self._pending[request.id] = request
        if request.purpose is Purpose.OWNER and self._must_wait(request.method):
            self._held.append(request)
        else:
            self._send(request)
        if request.timeout is not None:
            self.hub.deadlines.set(request, now + request.timeout)

    def _must_wait(self, method: str) -> bool:
        if self.state is Session.OPEN:
            return False
        # The one request that either side may send at any time (lifecycle, "Initialization").
        return method != "ping" or self.state is not Session.OPENING

    def check(self, request: Outbound, revision: Revision) -> None:
        """Raise LocalProtocolError if ``request`` may not be sent in ``revision``."""
        row = lookup(request.method, self.role.value, revision)
        if row is None:
            if request.method in self.config.extension_methods:
                return
            raise LocalProtocolError(
                f"a {self.role.value} does not send {request.method} in {revision.name}"
            )
        request.row = row
        if request.forced or self.peer_capabilities is None:
            return
        path = row.capability
        if self.role is Role.SERVER:
            path = input_capability(request.method, Raw(request.body)) or path
        if path is not None and not declares(self.peer_capabilities, path):
            raise CapabilityMissing(path)

    def _send(self, request: Outbound) -> None:
        revision = self.revision if request.purpose is Purpose.OWNER else request.revision
        if revision is None:
            revision = LATEST if request.revision is None else request.revision
        if request.purpose is Purpose.OWNER:
            self.check(request, revision)
        request.revision = revision
        request.state = Request.ACTIVE
        meta = dict(self.client_meta(revision)) if self.role is Role.CLIENT else {}
        meta.update(request.meta)
        if request.want_progress:
            meta["progressToken"] = request.id
        body = request.body
        if meta:
            body = splice(body, b'"_meta":' + to_json(meta))
        mirror = None
        if self._mirrors and revision.mirror_headers:
            mirror = self._mirror_of(request, revision)
        frame = Transmit(
            peer=self,  # type: ignore[arg-type]
            route=request.route,
            data=(encode_request(request.id, request.method, body),),
            kind=FrameKind.REQUEST,
            key=request.parent,
            request=request.id,
            method=request.method,
            revision=revision,
            mirror=mirror,
        )
        self.hub.outbox.push(frame)

    def _mirror_of(self, request: Outbound, revision: Revision) -> Mirror:
        row = request.row or lookup(request.method, self.role.value, revision)
        name, params = None, {}
        if row is not None and row.header is not None:
            skim = _decode_params(request.body)
            member: Any = {"name": skim.name, "uri": skim.uri, "taskId": skim.task_id}[row.header]
            value = None if member is UNSET else msgspec.json.decode(member)
            name = value if isinstance(value, str) else None
            wanted = self.config.header_params.get(name) if name and row.header_params else None
            if wanted:
                params = header_arguments(request.body, wanted)
        return Mirror(version=revision.name, method=request.method, name=name, params=params)

    def send_held(self) -> None:
        """Send what waited for negotiation; what the result forbids ends here."""
        held, self._held = self._held, []
        for request in held:
            try:
                self._send(request)
            except LocalProtocolError as error:
                request.state = Request.ACTIVE
                self.abort(request, RequestSignal.END, EndReason.REFUSED, str(error))

    def extend(self, request: Outbound, now: float) -> None:
        """Progress came: start the timeout anew, up to the maximum."""
        if request.timeout is None or request.deadline is None:
            return
        when = now + request.timeout
        maximum = self.config.limits.max_timeout
        if maximum is not None:
            when = min(when, max(request.started + maximum, request.deadline))
        self.hub.deadlines.set(request, when)

    def expire(self, request: Outbound, now: float) -> None:
        """The time for an answer is over."""
        if request.purpose is Purpose.PROBE:
            if self.conclude(request, RequestSignal.EXPIRE):
                self.send_cancelled(request, "no answer in time")
                self._follow(self._silence(request), now)
            return
        sent = request.state is Request.ACTIVE
        waited = now - request.started
        text = f"{request.method}: no answer within {waited:g} seconds"
        self.abort(request, RequestSignal.EXPIRE, EndReason.TIMED_OUT, text)
        if request.purpose is Purpose.INITIALIZE:
            self.fail_negotiation(text)
        elif sent:
            self.send_cancelled(request, "timed out")

    def send_cancelled(self, request: Outbound, reason: str | None) -> None:
        """Tell the other side that we no longer wait (never for ``initialize``)."""
        body: dict[str, Any] = {"requestId": request.id}
        if reason is not None:
            body["reason"] = reason
        self.send_notification(
            "notifications/cancelled",
            to_json(body),
            route=request.route,
            request=request.id,
            revision=request.revision,
        )

    # Answers

    def _response(
        self, message: Message, now: float, route: Route, batch: Batch | None, proves: bool
    ) -> None:
        if self.config.route_scoped_ids:
            error = ErrorData(INVALID_REQUEST, "a response is not expected here")
            self.refuse(route, None, error, revision=self.revision or LATEST)
            return
        if batch is None:
            self.send_last(route, FrameKind.ACCEPTED, ())
        id: Any = message.id
        request = None if id is UNSET else self._pending.get(id)
        if request is None or request.state is not Request.ACTIVE:
            # A late answer to a request that was given up is no violation, only an echo.
            if id is UNSET and message.error is not UNSET:
                self.violation(
                    route, INVALID_REQUEST, f"error without id: {bytes(message.error)!r}"
                )
            return
        if message.error is not UNSET:
            self._failed(request, _decode_error(message.error), now, proves)
        else:
            self._succeeded(request, message.result, now)

    def _failed(self, request: Outbound, error: ErrorData, now: float, proves: bool) -> None:
        if not self.conclude(request, RequestSignal.ANSWER):
            return
        if request.purpose is Purpose.PROBE:
            assert request.revision is not None
            opening = read_probe_error(self.config, error, request.revision, modern=proves)
            if request.round and opening.verdict is Verdict.RETRY:
                opening = Opening(Verdict.IMPOSSIBLE, None, error.message)
            self._follow(opening, now, error)
        elif request.purpose is Purpose.INITIALIZE:
            self.fail_negotiation(f"the server refused initialize: {error.message}", error)
        else:
            self.emit(ErrorReceived(request=request.id, method=request.method, error=error))

    def _succeeded(self, request: Outbound, result: Any, now: float) -> None:
        if request.purpose is Purpose.PROBE:
            self._discovered(request, result, now)
            return
        if request.purpose is Purpose.INITIALIZE:
            self._initialize_answered(request, result, now)
            return
        revision = request.revision
        assert revision is not None
        if revision.result_type:
            text = self._look_closer(request, result)
            if text is not None:
                self.abort(request, RequestSignal.ANSWER, EndReason.INVALID, text)
                return
        if self.conclude(request, RequestSignal.ANSWER):
            self.emit(
                ResultReceived(
                    request=request.id, method=request.method, result=result, revision=revision
                )
            )

    def _look_closer(self, request: Outbound, result: Any) -> str | None:
        """Read ``resultType``; say what is wrong with it, or None."""
        try:
            skim = _decode_skim(result)
        except msgspec.MsgspecError as error:
            return f"invalid result: {error}"
        kind = skim.result_type
        if kind is UNSET or kind == "complete":
            return None
        if kind == "task" and declares(self.config.capabilities, f"extensions.{TASKS_EXTENSION}"):
            return None
        if kind != "input_required":
            return f"invalid result: unknown resultType {kind!r}"
        if request.row is None or not request.row.needs_input:
            return f"invalid result: {request.method} cannot require input"
        if skim.input_requests is UNSET and skim.request_state is UNSET:
            return "invalid result: input_required without inputRequests and requestState"
        request.round += 1
        limit = self.config.limits.input_rounds
        if request.round > limit:
            return f"the server asked for input more than {limit} times"
        if self.conclude(request, RequestSignal.ANSWER):
            request.input_state = None if skim.request_state is UNSET else skim.request_state
            self.waiting_input[request.id] = request
            self.emit(
                InputRequired(
                    request=request.id,
                    method=request.method,
                    requests={} if skim.input_requests is UNSET else skim.input_requests,
                    round=request.round,
                )
            )
        return None

    def transport_failed(
        self, request: Outbound, reason: EndReason, message: str, evidence: bool, now: float
    ) -> None:
        """The transport knows that no answer will come."""
        if request.purpose is Purpose.OWNER:
            self.abort(request, RequestSignal.END, reason, message)
        elif self.conclude(request, RequestSignal.END):
            if request.purpose is Purpose.PROBE and evidence:
                self._follow(self._silence(request), now)
            else:
                self.fail_negotiation(message)

    # Negotiation, client side

    def begin(self, now: float) -> None:
        """Begin to negotiate."""
        self._follow(first_step(self.config), now, first=True)

    def _silence(self, request: Outbound) -> Opening:
        assert request.revision is not None
        return read_probe_error(self.config, None, request.revision)

    def _follow(
        self, opening: Opening, now: float, error: ErrorData | None = None, *, first: bool = False
    ) -> None:
        """Carry out a step of negotiation."""
        verdict, revision = opening.verdict, opening.revision
        if verdict is Verdict.IMPOSSIBLE or revision is None:
            self.fail_negotiation(opening.message, error)
        elif verdict is Verdict.LEGACY:
            self._initialize(revision, now)
        elif verdict is Verdict.RETRY or first:
            self._probe(revision, now, retry=not first)
        else:
            self._open_modern(revision, None)

    def _ask(
        self, method: str, body: bytes, revision: Revision, purpose: Purpose, now: float
    ) -> Outbound:
        limits = self.config.limits
        timeout = limits.request_timeout
        if purpose is Purpose.PROBE and self._legacy:
            timeout = limits.probe_timeout
        return Outbound(
            peer=self,  # type: ignore[arg-type]
            id=self.new_id(),
            method=method,
            body=body,
            meta={},
            purpose=purpose,
            parent=None,
            route=MAIN,
            started=now,
            timeout=timeout,
            state=Request.ACTIVE,
            want_progress=False,
            revision=revision,
        )

    def new_id(self) -> RequestId:
        """An id for a request of ours."""
        serial = self.hub.new_serial()
        prefix = self.config.id_prefix
        return serial if prefix is None else f"{prefix}{serial}"

    def _probe(self, revision: Revision, now: float, *, retry: bool) -> None:
        self.move(SessionSignal.PROBE)
        request = self._ask("server/discover", b"{}", revision, Purpose.PROBE, now)
        request.round = int(retry)
        self.submit(request, now)

    def _initialize(self, revision: Revision, now: float) -> None:
        self.move(SessionSignal.INITIALIZE)
        assert isinstance(self.config.capabilities, ClientCapabilities)
        params = InitializeParams(
            protocol_version=revision.name,
            capabilities=self.config.capabilities,
            client_info=self.config.info,
        )
        request = self._ask("initialize", to_json(params), revision, Purpose.INITIALIZE, now)
        self.submit(request, now)

    def _discovered(self, request: Outbound, result: Any, now: float) -> None:
        self.conclude(request, RequestSignal.ANSWER)
        assert request.revision is not None
        try:
            discovered = msgspec.json.decode(result, type=DiscoverResult)
            meta = full_meta(result)
            info = server_info_of(meta)
            identity = None if info is None else msgspec.convert(info, Implementation)
        except msgspec.MsgspecError as error:
            self._follow(self._silence(request), now)
            self.violation(MAIN, INVALID_REQUEST, f"server/discover: {error}")
            return
        opening = read_discovery(self.config, discovered)
        if opening.verdict is not Verdict.MODERN or opening.revision is None:
            self._follow(opening, now)
            return
        self.peer_info = identity
        self._open_modern(opening.revision, discovered)

    def _open_modern(self, revision: Revision, discovered: DiscoverResult | None) -> None:
        self.move(SessionSignal.DISCOVERED)
        self.revision = revision
        self.peer_capabilities = None if discovered is None else discovered.capabilities
        instructions = UNSET if discovered is None else discovered.instructions
        self.emit(
            Ready(
                revision=revision,
                info=self.peer_info,
                capabilities=self.peer_capabilities or ServerCapabilities(),
                instructions=None if instructions is UNSET else instructions,
                supported=tuple(discovered.supported_versions) if discovered else (revision.name,),
            )
        )
        self.send_held()

    def _initialize_answered(self, request: Outbound, result: Any, now: float) -> None:
        self.conclude(request, RequestSignal.ANSWER)
        try:
            answer = msgspec.json.decode(result, type=InitializeResult)
        except msgspec.MsgspecError as error:
            self.fail_negotiation(f"invalid initialize result: {error}")
            return
        chosen = next((r for r in self._legacy if r.name == answer.protocol_version), None)
        if chosen is None:
            ours = ", ".join(revision.name for revision in self._legacy)
            self.fail_negotiation(
                f"the server chose protocol version {answer.protocol_version!r}; we speak {ours}"
            )
            return
        self.revision = chosen
        self.peer_info = answer.server_info
        self.peer_capabilities = answer.capabilities
        self.move(SessionSignal.INITIALIZED)
        self.send_notification("notifications/initialized", b"{}", route=MAIN, revision=chosen)
        self.emit(
            Ready(
                revision=chosen,
                info=answer.server_info,
                capabilities=answer.capabilities,
                instructions=None if answer.instructions is UNSET else answer.instructions,
            )
        )
        self.send_held()

    def fail_negotiation(self, message: str, error: ErrorData | None = None) -> None:
        """There is no common ground: everything that waits ends."""
        if self.state in (Session.PROBING, Session.OPENING):
            self.move(SessionSignal.FAILED)
        self.failure = message
        self.emit(NegotiationFailed(message=message, error=error))
        self._end_all(list(self._pending.values()), EndReason.REFUSED, message)

    def _end_all(self, requests: Iterable[Outbound], reason: EndReason, message: str) -> None:
        for request in requests:
            self.abort(request, RequestSignal.END, reason, message)

    # Listen streams, client side

    def listening(self, method: str, params: Raw, route: Route) -> bool:
        """Take a notification that belongs to a listen stream of ours; False if it does not."""
        try:
            meta = _decode_notification(params).meta
        except msgspec.MsgspecError as error:
            self.violation(route, INVALID_REQUEST, f"{method}: {error}")
            return True
        if meta is UNSET or meta.subscription_id is UNSET:
            return False
        request = self._pending.get(meta.subscription_id)
        if request is None or request.stream is None:
            return True
        if method == "notifications/subscriptions/acknowledged":
            after = step(STREAM, request.stream, StreamSignal.ACKNOWLEDGE)
            if after is None:
                return True
            request.stream = after
            try:
                acknowledged = msgspec.json.decode(params, type=SubscriptionsAcknowledgedParams)
            except msgspec.MsgspecError as error:
                self.violation(route, INVALID_REQUEST, f"{method}: {error}")
                return True
            self.hub.deadlines.set(request, None)
            self.emit(
                SubscriptionAcknowledged(request=request.id, filter=acknowledged.notifications)
            )
        elif request.stream is Stream.OPENING:
            text = f"{method} came before the acknowledgement of its subscription"
            self.violation(route, INVALID_REQUEST, text)
        else:
            self.emit(SubscriptionNotification(request=request.id, method=method, params=params))
        return True


__all__ = ["REQUEST", "Answers"]
