"""Notifications and ends: what arrives and is never answered."""

from typing import TYPE_CHECKING, cast

import msgspec
from msgspec import UNSET, Raw, Struct

from mcpcore.engine.answers import Answers
from mcpcore.engine.events import (
    MAIN,
    ConnectionEnded,
    EndReason,
    NotificationReceived,
    ProgressReceived,
    RequestCancelled,
    Route,
)
from mcpcore.engine.handlers import NOTIFIED
from mcpcore.engine.lifecycle import (
    REQUEST,
    Request,
    RequestSignal,
    Session,
    SessionSignal,
    StreamSignal,
    step,
)
from mcpcore.engine.requests import Inbound
from mcpcore.engine.transmit import FrameKind
from mcpcore.spec.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
)
from mcpcore.spec.methods import METHODS, MethodKind
from mcpcore.spec.types.base import (
    CancelledParams,
    ProgressParams,
    RequestId,
)

if TYPE_CHECKING:
    from mcpcore.engine.receiver import Receiver

_KNOWN = frozenset(row.name for row in METHODS)
_decode_progress = msgspec.json.Decoder(ProgressParams).decode
_decode_cancelled = msgspec.json.Decoder(CancelledParams).decode


class End(Struct, frozen=True):
    """The end of a route, queued like a frame."""

    reason: str
    half: bool = False


class Failure(Struct, frozen=True):
    """A request of ours to which the transport knows no answer can come, queued like a frame."""

    request: RequestId
    reason: EndReason
    message: str
    evidence: bool = False


class Notices(Answers):
    """The part of a Peer that takes notifications and the ends of routes."""

    def _notification(self, method: str, params: Raw, route: Route, now: float) -> None:
        if method == "notifications/cancelled":
            self._cancelled(params, route)
        elif method == "notifications/progress":
            self._progress(params, route, now)
        else:
            revision = self.revision
            row = None
            if revision is not None:
                row = self.row(method, revision)
                if row is None and method in _KNOWN:
                    text = f"{method} is not sent by a {self.role.other.value} in {revision.name}"
                    self.violation(route, METHOD_NOT_FOUND, text)
                    return
                if row is not None and row.kind is MethodKind.REQUEST:
                    self.violation(route, INVALID_REQUEST, f"{method} is a request and needs an id")
                    return
            handler = NOTIFIED.get(method)
            if handler is not None:
                handler(cast("Receiver", self), params, route)
                return
            if self.is_modern_client and self.listening(method, params, route):
                return
            self.emit(
                NotificationReceived(
                    method=method,
                    params=params,
                    route=route,
                    revision=revision,
                    session=self.session,
                )
            )

    def _cancelled(self, params: Raw, route: Route) -> None:
        try:
            cancelled = _decode_cancelled(params)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            # "Malformed notifications SHOULD be ignored": reported, never answered.
            self.violation(route, INVALID_PARAMS, f"notifications/cancelled: {error}")
            return
        if cancelled.request_id is UNSET:
            return
        record = self._in_flight.get(self.slot(route, cancelled.request_id))
        if record is None:
            return
        reason = None if cancelled.reason is UNSET else cancelled.reason
        self.drop(record, RequestSignal.CANCEL, reason)

    def drop(self, record: Inbound, signal: RequestSignal, reason: str | None) -> None:
        """The other side no longer wants an answer to ``record``."""
        if record.stream is not None:
            end = StreamSignal.CANCEL if signal is RequestSignal.CANCEL else StreamSignal.END
            self.end_stream(record, end)
            if signal is RequestSignal.CANCEL:
                self.send_last(record.route, FrameKind.ACCEPTED, (), key=record.key)
            return
        after = step(REQUEST, record.state, signal)
        if record.state is not Request.ACTIVE or after is None:
            return
        record.state = after
        if signal is RequestSignal.CANCEL:
            if record.batch is not None:
                record.batch.settle()
            else:
                self.send_last(record.route, FrameKind.ACCEPTED, (), key=record.key)
        self.emit(RequestCancelled(key=record.key, reason=reason))

    def _progress(self, params: Raw, route: Route, now: float) -> None:
        try:
            progress = _decode_progress(params)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.violation(route, INVALID_PARAMS, f"notifications/progress: {error}")
            return
        token, value = progress.progress_token, progress.progress
        request = self._pending.get(token)
        if request is not None and request.want_progress and request.state is Request.ACTIVE:
            before = request.progress
        elif token in self.task_progress:
            before = self.task_progress[token]
        else:
            # Progress may cross the answer on its way; an unknown token is no news either.
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
                total=None if progress.total is UNSET else progress.total,
                message=None if progress.message is UNSET else progress.message,
            )
        )

    # Ends

    def _end(self, end: End, route: Route) -> None:
        if self.config.route_scoped_ids and route != MAIN:
            record = self._by_route.get(route)
            if record is not None:
                self.drop(record, RequestSignal.END, end.reason)
            return
        if self.state is Session.CLOSED and self.half_closed:
            return
        for request in [*self._held, *self._pending.values()]:
            self.abort(
                request, RequestSignal.END, EndReason.CLOSED, f"connection closed: {end.reason}"
            )
        streams = [record for record in self._in_flight.values() if record.stream is not None]
        for record in streams:
            self.drop(record, RequestSignal.END, end.reason)
        if end.half:
            self.half_closed = True
            return
        self.half_closed = True
        for record in list(self._in_flight.values()):
            self.drop(record, RequestSignal.END, end.reason)
        if self.state is not Session.CLOSED:
            self.move(SessionSignal.EOF)
        self.emit(ConnectionEnded(reason=end.reason))
