"""Outbound requests: held, checked, sent, timed, given up."""

from typing import Any

import msgspec
from msgspec import Raw

from mcpcore.engine.base import PeerBase
from mcpcore.engine.bodies import becomes_task
from mcpcore.engine.config import Role
from mcpcore.engine.events import EndReason
from mcpcore.engine.lifecycle import RequestSignal, RequestState, SessionState
from mcpcore.engine.mirror import mirror_of
from mcpcore.engine.repeating import may_repeat
from mcpcore.engine.requests import Outbound, Purpose
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.spec.capabilities import declares, input_capability
from mcpcore.spec.errors import CapabilityMissing, LocalProtocolError
from mcpcore.spec.methods import KNOWN_METHODS, Method
from mcpcore.spec.revisions import LATEST_LEGACY, Revision
from mcpcore.spec.types.base import META_LOG_LEVEL, META_PROGRESS_TOKEN, RequestId
from mcpcore.wire.jsontext import sayable
from mcpcore.wire.message import encode_request, to_json

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_CLIENT, _APPLICATION, _OPEN = Role.CLIENT, Purpose.APPLICATION, SessionState.OPEN
_ACTIVE, _REQUEST = RequestState.ACTIVE, FrameKind.REQUEST


class Outgoing(PeerBase):
    """The part of a Peer that sends requests."""

    __slots__ = ()

    def new_id(self) -> RequestId:
        """Return an id for an outbound request."""
        serial = self.endpoint.new_serial()
        prefix = self.config.id_prefix
        return serial if prefix is None else f"{prefix}{serial}"

    def submit(self, request: Outbound, now: float) -> None:
        """Send a request, or hold it until negotiation has ended.

        Raises LocalProtocolError if it may not be sent, ValueError or TypeError if it has no JSON
        form; then nothing has changed.
        """
        if self.alone:
            text = f"{request.method} cannot be sent: no session is there in which to answer it"
            raise LocalProtocolError(text)
        if request.purpose is _APPLICATION and self._must_wait(request.method):
            to_json({"method": request.method, "meta": request.meta})  # raise now rather than later
            self._held[request.id] = request
        else:
            self._send(request)
        self.endpoint.outbound[request.id] = request
        self._pending[request.id] = request
        if request.timeout is not None:
            self.endpoint.deadlines.set(request, now + request.timeout)

    def _must_wait(self, method: str) -> bool:
        if self.state is _OPEN:
            return False
        if self.revision is None:
            if self.role is Role.SERVER:
                raise LocalProtocolError(f"no client has initialized; {method} cannot be sent")
            return True
        # The one request that either side may send at any time (lifecycle, "Initialization").
        return method != "ping"

    def _check(self, request: Outbound, revision: Revision) -> None:
        """Find the row of a request; raise LocalProtocolError if it may not be sent."""
        method = request.method
        row = self._permitted.get(method)
        if row is None:
            row = self.profile.ours[revision.position].get(method)
            if row is not None:
                if not request.forced:
                    self._check_capability(row, request)
            elif not self._is_extension(request):
                raise LocalProtocolError(
                    f"a {self.role.value} does not send {method} in {revision.name}"
                )
        request.row = row

    def _is_extension(self, request: Outbound) -> bool:
        method = request.method
        return method in self.config.extension_methods or (
            request.forced and method not in KNOWN_METHODS
        )

    def _check_capability(self, row: Method, request: Outbound) -> None:
        if self.peer_capabilities is None:
            return
        path = row.capability
        if self.role is Role.SERVER:
            path = input_capability(row.name, Raw(request.body)) or path
        if path is not None and not declares(self.peer_capabilities, path):
            raise CapabilityMissing(path)
        if self.role is _CLIENT:  # its capability never depends on the params
            self._permitted[row.name] = row

    def _send(self, request: Outbound) -> None:
        revision = request.revision
        if revision is None:
            revision = self.revision or LATEST_LEGACY
            self._check(request, revision)
        mirror = None
        if self._mirrors and revision.mirror_headers:
            mirror = mirror_of(
                request.body,
                version=revision.name,
                method=request.method,
                row=request.row,
                header_params=self.config.header_params,
            )
        data = encode_request(
            request.id, request.method, request.body, self._meta_member(request, revision)
        )
        request.revision = revision
        request.state = _ACTIVE
        frame = Transmit(
            peer=self,
            route=request.route,
            data=(data,),
            size=len(data),
            kind=_REQUEST,
            key=request.parent,
            request=request.id,
            method=request.method,
            revision=revision,
            mirror=mirror,
            repeatable=self._mirrors
            and may_repeat(request.method, request.body, request.repeat, self.config),
        )
        self.send(
            frame, None if request.parent is None else self.endpoint.inbound.get(request.parent)
        )

    def _meta_member(self, request: Outbound, revision: Revision) -> bytes:
        """Return the ``_meta`` member of a request's params, or nothing."""
        modern = self.role is _CLIENT and revision.modern
        if not (request.meta or request.want_progress or request.log_level):  # the usual case
            return self.profile.client_meta(revision) if modern else b""
        own: dict[str, Any] = dict(request.meta) if request.meta else {}
        if request.want_progress:
            own[META_PROGRESS_TOKEN] = request.id
        if request.log_level is not None and revision.per_request_log_level:
            own[META_LOG_LEVEL] = request.log_level
        if modern:
            common = self.profile.client_meta(revision)
            return common[:-1] + b"," + to_json(own)[1:] if own else common
        return b'"_meta":' + to_json(own) if own else b""

    def send_held(self) -> None:
        """Send the requests held for negotiation; end those that its outcome forbids."""
        for request in list(self._held.values()):
            try:
                self._send(request)
                del self._held[request.id]
            except (LocalProtocolError, msgspec.MsgspecError) as error:
                self.abort(request, RequestSignal.END, EndReason.REFUSED, str(error))

    def extend(self, request: Outbound, now: float) -> None:
        """Restart the timeout of a request after progress, up to the maximum."""
        if request.timeout is None or request.deadline is None:
            return
        when = now + request.timeout
        maximum = self.config.limits.max_timeout
        if maximum is not None:
            when = min(when, max(request.started + maximum, request.deadline))
        self.endpoint.deadlines.set(request, when)

    def give_up(
        self,
        request: Outbound,
        signal: RequestSignal,
        reason: EndReason,
        message: str,
        why: str | None,
    ) -> None:
        """End an outbound request; if it was sent, cancel it on the other side."""
        sent = request.state is _ACTIVE
        self.abort(request, signal, reason, message)
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
        self.send_notification(
            "notifications/cancelled",
            to_json(body),
            route=request.route,
            request=request.id,
            revision=request.revision,
        )
