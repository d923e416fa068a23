"""Requests of ours on their way out: held, checked, sent, timed, given up."""

from typing import Any

import msgspec
from msgspec import UNSET, Raw

from mcpcore.engine.base import PeerBase
from mcpcore.engine.config import Role
from mcpcore.engine.events import (
    EndReason,
)
from mcpcore.engine.lifecycle import (
    Request,
    RequestSignal,
    Session,
)
from mcpcore.engine.mirror import Mirror, header_arguments
from mcpcore.engine.requests import Outbound, Purpose
from mcpcore.engine.transmit import FrameKind, Transmit
from mcpcore.spec.capabilities import declares, input_capability
from mcpcore.spec.errors import (
    CapabilityMissing,
    ErrorData,
    LocalProtocolError,
)
from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY, Revision
from mcpcore.spec.types.base import (
    META_PROGRESS_TOKEN,
    NotificationSkim,
    ResultSkim,
    Skim,
)
from mcpcore.wire.message import encode_request, to_json

_decode_error = msgspec.json.Decoder(ErrorData).decode
_decode_skim = msgspec.json.Decoder(ResultSkim).decode
_decode_params = msgspec.json.Decoder(Skim).decode
_decode_notification = msgspec.json.Decoder(NotificationSkim).decode


class Outgoing(PeerBase):
    """The part of a Peer that sends requests."""

    def submit(self, request: Outbound, now: float) -> None:
        """Send a request, or hold it until negotiation has ended.

        Raises LocalProtocolError if it may not be sent, and then nothing has changed.
        """
        if request.purpose is Purpose.OWNER and self._must_wait(request.method):
            if self.role is Role.SERVER and self.revision is None:
                raise LocalProtocolError(
                    f"no client has initialized; {request.method} cannot be sent"
                )
            self._held.append(request)
        else:
            self._send(request)
        self.hub.outbound[request.id] = request
        self._pending[request.id] = request
        if request.timeout is not None:
            self.hub.deadlines.set(request, now + request.timeout)

    def _must_wait(self, method: str) -> bool:
        if self.state is Session.OPEN:
            return False
        # The one request that either side may send at any time (lifecycle, "Initialization").
        return method != "ping" or self.state is not Session.OPENING or self.revision is None

    def check(self, request: Outbound, revision: Revision) -> None:
        """Raise LocalProtocolError if ``request`` may not be sent in ``revision``."""
        method = request.method
        row = self.our_rows.get(method)
        if row is None:
            known = lookup(method, self.role.value, revision)
            if known is None:
                if method in self.config.extension_methods:
                    return
                raise LocalProtocolError(
                    f"a {self.role.value} does not send {method} in {revision.name}"
                )
            row = self.our_rows[method] = known
        request.row = row
        if self.role is Role.CLIENT and method in self.permitted_methods:
            return
        if request.forced or self.peer_capabilities is None:
            return
        path = row.capability
        if self.role is Role.SERVER:
            path = input_capability(method, Raw(request.body)) or path
        if path is not None and not declares(self.peer_capabilities, path):
            raise CapabilityMissing(path)
        self.permitted_methods.add(method)

    def _send(self, request: Outbound) -> None:
        if request.purpose is Purpose.OWNER:
            assigned = self.revision or LATEST_LEGACY
            self.check(request, assigned)
            request.revision = assigned
        revision = request.revision or LATEST
        request.state = Request.ACTIVE
        mirror = None
        if self._mirrors and revision.mirror_headers:
            mirror = self._mirror_of(request, revision)
        frame = Transmit(
            peer=self,
            route=request.route,
            data=(
                encode_request(
                    request.id, request.method, request.body, self._meta_member(request, revision)
                ),
            ),
            kind=FrameKind.REQUEST,
            key=request.parent,
            request=request.id,
            method=request.method,
            revision=revision,
            mirror=mirror,
        )
        self.hub.outbox.push(frame)

    def _meta_member(self, request: Outbound, revision: Revision) -> bytes:
        """The ``_meta`` member of a request's params, or nothing."""
        own = dict(request.meta) if request.meta else {}
        if request.want_progress:
            own[META_PROGRESS_TOKEN] = request.id
        if self.role is Role.CLIENT and revision.modern:
            common = self.client_meta(revision)
            if not own:
                return common + b"}"
            return common + b"," + to_json(own)[1:]
        return b'"_meta":' + to_json(own) if own else b""

    def _mirror_of(self, request: Outbound, revision: Revision) -> Mirror:
        row = request.row or lookup(request.method, self.role.value, revision)
        name, params = None, {}
        if row is not None and row.header is not None:
            skim = _decode_params(request.body)
            member: Any = {"name": skim.name, "uri": skim.uri, "taskId": skim.task_id}[row.header]
            value = None if member is UNSET else msgspec.json.decode(member)
            name = value if isinstance(value, str) else None
            if name is not None and row.header_params:
                wanted = self.config.header_params.get(name)
                params = header_arguments(request.body, wanted) if wanted else {}
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
