"""Requests of ours: how they leave, what answers them, and how negotiation uses them.

Every request of ours ends exactly once: in a result, an error, a demand for input, or here
(timeout, cancellation, end of the transport, an answer that is not valid).
"""

from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore.engine.events import (
    EndReason,
    ErrorReceived,
    InputRequired,
    ResultReceived,
    Route,
    SubscriptionAcknowledged,
    SubscriptionNotification,
)
from mcpcore.engine.lifecycle import (
    STREAM,
    Request,
    RequestSignal,
    Stream,
    StreamSignal,
    step,
)
from mcpcore.engine.negotiation import (
    Opening,
    Verdict,
    read_probe_error,
)
from mcpcore.engine.opening import Opener
from mcpcore.engine.requests import Batch, Outbound, Purpose
from mcpcore.engine.transmit import FrameKind
from mcpcore.spec.capabilities import declares
from mcpcore.spec.errors import (
    INVALID_REQUEST,
    ErrorData,
)
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.types.base import (
    NotificationSkim,
    ResultSkim,
    Skim,
)
from mcpcore.spec.types.subscriptions import SubscriptionsAcknowledgedParams
from mcpcore.wire.message import Message


class _Created(Struct):
    """The result of a request that was accepted as an experimental task."""

    task: Raw | UnsetType = UNSET


_decode_error = msgspec.json.Decoder(ErrorData).decode
_decode_skim = msgspec.json.Decoder(ResultSkim).decode
_decode_params = msgspec.json.Decoder(Skim).decode
_decode_created = msgspec.json.Decoder(_Created).decode
_decode_notification = msgspec.json.Decoder(NotificationSkim).decode


class Answers(Opener):
    """The half of a Peer that deals with requests of ours."""

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
            if id is UNSET:
                told = _decode_error(cast("Raw", message.error))
                self.violation(route, INVALID_REQUEST, f"error without id: {told.message}")
            return
        if message.error is not UNSET:
            self._failed(request, _decode_error(message.error), now, proves)
        else:
            self._succeeded(request, message.result, now)

    def _failed(self, request: Outbound, error: ErrorData, now: float, proves: bool) -> None:
        if not self.conclude(request, RequestSignal.ANSWER):
            return
        if request.purpose is Purpose.PROBE:
            tried = request.revision or LATEST
            opening = read_probe_error(self.config, error, tried, modern=proves)
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
        revision = request.revision or LATEST
        if revision.result_type:
            text = self._look_closer(request, result)
            if text is not None:
                self.abort(request, RequestSignal.ANSWER, EndReason.INVALID, text)
                return
        if self.conclude(request, RequestSignal.ANSWER):
            if request.want_progress and request.row and request.row.task_capability:
                self._remember_progress(request, result)
            self.emit(
                ResultReceived(
                    request=request.id, method=request.method, result=result, revision=revision
                )
            )

    def _remember_progress(self, request: Outbound, result: Raw) -> None:
        """Progress of an experimental task goes on when its request has been answered."""
        try:
            if _decode_created(result).task is UNSET:
                return
        except msgspec.MsgspecError:
            return
        self.task_progress[request.id] = request.progress
        if len(self.task_progress) > self.config.limits.in_flight:
            del self.task_progress[next(iter(self.task_progress))]

    def _look_closer(self, request: Outbound, result: Any) -> str | None:
        """Read ``resultType``; say what is wrong with it, or None."""
        try:
            skim = _decode_skim(result)
        except msgspec.MsgspecError as error:
            return f"invalid result: {error}"
        kind = skim.result_type
        if kind is UNSET or kind == "complete":
            return None
        if kind == "task" and self._may_become_task(request):
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

    def _may_become_task(self, request: Outbound) -> bool:
        """Whether a task answers ``request``: it can become one, and we declared to follow it."""
        extension = None if request.row is None else request.row.task_extension
        offered = self.config.capabilities
        return extension is not None and declares(offered, f"extensions.{extension}")

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
