"""Inbound notifications, which are never answered."""

from collections.abc import Callable

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from mcpcore.engine.answers import Answers
from mcpcore.engine.config import Role
from mcpcore.engine.events import (
    NotificationReceived,
    ProgressReceived,
    Ready,
    RequestCancelled,
    Route,
    SubscriptionAcknowledged,
    SubscriptionNotification,
)
from mcpcore.engine.lifecycle import (
    REQUEST,
    STREAM,
    RequestSignal,
    RequestState,
    SessionSignal,
    SessionState,
    StreamSignal,
    StreamState,
    step,
)
from mcpcore.engine.requests import Inbound, Outbound
from mcpcore.engine.transmit import FrameKind
from mcpcore.spec.errors import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND
from mcpcore.spec.methods import KNOWN_METHODS, Method, MethodKind
from mcpcore.spec.types.base import (
    CancelledParams,
    NotificationSkim,
    ProgressParams,
    RequestId,
)
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.spec.types.subscriptions import SubscriptionsAcknowledgedParams

_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"

_decode_skim = Decoder(NotificationSkim).decode
_decode_cancelled = Decoder(CancelledParams).decode
_decode_progress = Decoder(ProgressParams).decode
_decode_acknowledged = Decoder(SubscriptionsAcknowledgedParams).decode


class Notices(Answers):
    """The part of a Peer that takes notifications."""

    __slots__ = ()

    def notification(self, method: str, params: Raw, route: Route, now: float) -> None:
        """Take a notification. "Malformed notifications SHOULD be ignored": they are reported."""
        row = None
        if self.revision is not None:
            row = self.profile.theirs[self.revision.position].get(method)
            if row is None and method in KNOWN_METHODS:
                text = f"{method} is not sent by a {self.role.other.value} in {self.revision.name}"
                self.violation(route, METHOD_NOT_FOUND, text)
                return
            if row is not None and row.kind is MethodKind.REQUEST:
                self.violation(route, INVALID_REQUEST, f"{method} is a request and needs an id")
                return
        handler = _CONSUMED.get(method)
        try:
            if handler is not None:
                handler(self, params, row, route, now)
            elif not (self.is_modern_client and self._on_stream(method, params, route)):
                declared = self.peer_capabilities
                self.emit(
                    NotificationReceived(
                        method=method,
                        params=params,
                        route=route,
                        revision=self.revision,
                        session=self.session,
                        client_capabilities=(
                            declared if isinstance(declared, ClientCapabilities) else None
                        ),
                    )
                )
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.violation(route, INVALID_PARAMS, f"{method}: {error}")

    # The legacy handshake

    def _initialized(self, params: Raw, row: Method | None, route: Route, now: float) -> None:
        revision = self.revision
        if self.alone:
            return  # no session is opened, which the client cannot know
        if self.role is Role.CLIENT or self.state is not SessionState.OPENING or revision is None:
            text = f"notifications/initialized while the session is {self.state.value}"
            self.violation(route, INVALID_REQUEST, text)
            return
        self.move(SessionSignal.INITIALIZED)
        self.changes += 1
        self.emit(
            Ready(
                revision=revision,
                info=self.peer_info,
                capabilities=self.peer_capabilities or ClientCapabilities(),
                session=self.session,
            )
        )
        self.send_held()

    # Cancellation

    def _cancelled(self, params: Raw, row: Method | None, route: Route, now: float) -> None:
        cancelled = _decode_cancelled(params)
        id = cancelled.request_id
        if id is None:
            return
        reason = cancelled.reason
        if row is not None and row.about is not None:
            self._ended_by_server(id, reason, row.about, route, now)
            return
        record = self.in_flight_by_id.get(self.slot(route, id))
        if record is not None:
            self.drop(record, RequestSignal.CANCEL, reason)

    def drop(self, record: Inbound, signal: RequestSignal, reason: str | None) -> None:
        """Drop an inbound request to which the other side wants no answer any more."""
        cancelled = signal is RequestSignal.CANCEL
        if record.stream is not None:
            self.withdraw(record)
            self.end_stream(record, StreamSignal.CANCEL if cancelled else StreamSignal.END)
        elif record.state is RequestState.ACTIVE:
            record.state = step(REQUEST, record.state, signal) or record.state
            self.emit(RequestCancelled(key=record.key, reason=reason))
            self.withdraw(record)
        else:
            return
        if cancelled and record.batch is not None:
            record.batch.settle()
        elif cancelled:
            self.send_last(record.route, FrameKind.ACCEPTED, key=record.key)

    def _ended_by_server(
        self, id: RequestId, reason: str | None, about: frozenset[str], route: Route, now: float
    ) -> None:
        """Handle a modern server's end of one of our subscriptions. Its result may follow."""
        request = self._pending.get(id)
        if request is None:
            return
        if request.method not in about:
            text = f"notifications/cancelled from a server for {request.method}"
            self.violation(route, INVALID_REQUEST, text)
        elif request.farewell is None:
            request.farewell = f"the server ended the subscription: {reason or 'no reason given'}"
            request.stream = step(
                STREAM, request.stream or StreamState.OPENING, StreamSignal.FINISH
            )
            self.endpoint.deadlines.set(request, now + self.config.limits.farewell)

    # Progress

    def _progress(self, params: Raw, row: Method | None, route: Route, now: float) -> None:
        progress = _decode_progress(params)
        token, value = progress.progress_token, progress.progress
        request = self._pending.get(token)
        if request is not None and request.want_progress and request.state is RequestState.ACTIVE:
            before = request.progress
        elif token in self.task_progress:
            before = self.task_progress[token]
        else:
            # Progress may cross the answer on its way; an unknown token is ignored too.
            return
        if before is not None and value <= before:
            text = f"progress went from {before} to {value}; it must increase"
            self.violation(route, INVALID_PARAMS, text)
            return
        if request is None:
            self.task_progress[token] = value
        else:
            request.progress = value
            self.extend(request, now)
        self.emit(
            ProgressReceived(
                request=token,
                progress=value,
                total=progress.total,
                message=progress.message,
            )
        )

    # Listen streams of a client

    def _on_stream(self, method: str, params: Raw, route: Route) -> bool:
        """Take a notification on a listen stream of this client; False if it is on none."""
        meta = _decode_skim(params).meta
        if meta is None or meta.subscription_id is None:
            if method == _ACKNOWLEDGED:
                self.violation(route, INVALID_REQUEST, f"{method} names no subscription")
            return method == _ACKNOWLEDGED
        request = self._pending.get(meta.subscription_id)
        if request is None or request.stream is None:
            return True  # it crossed the end of its stream
        if method == _ACKNOWLEDGED:
            self._acknowledged(request, params)
        elif request.stream is StreamState.LISTENING:
            self.emit(SubscriptionNotification(request=request.id, method=method, params=params))
        else:
            text = f"{method} came while its subscription is {request.stream.value}"
            self.violation(route, INVALID_REQUEST, text)
        return True

    def _acknowledged(self, request: Outbound, params: Raw) -> None:
        acknowledged = _decode_acknowledged(params)
        after = step(STREAM, request.stream or StreamState.OPENING, StreamSignal.ACKNOWLEDGE)
        if after is None:
            return
        request.stream = after
        self.endpoint.deadlines.set(request, None)
        self.emit(SubscriptionAcknowledged(request=request.id, filter=acknowledged.notifications))


_CONSUMED: dict[str, Callable[[Notices, Raw, Method | None, Route, float], None]] = {
    "notifications/initialized": Notices._initialized,
    "notifications/cancelled": Notices._cancelled,
    "notifications/progress": Notices._progress,
}
"""Notifications that the engine consumes, as they only change its own state."""
