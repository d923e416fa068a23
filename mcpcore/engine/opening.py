"""How a client finds common ground: the era probe, discovery, the handshake."""

from collections.abc import Iterable
from typing import Any, cast

import msgspec
from msgspec import UNSET

from mcpcore.engine.events import (
    MAIN,
    EndReason,
    NegotiationFailed,
    Ready,
)
from mcpcore.engine.lifecycle import (
    Request,
    RequestSignal,
    Session,
    SessionSignal,
)
from mcpcore.engine.negotiation import (
    Opening,
    Verdict,
    first_step,
    read_discovery,
    read_probe_error,
    server_info_of,
)
from mcpcore.engine.outgoing import Outgoing
from mcpcore.engine.requests import Outbound, Purpose
from mcpcore.spec.capabilities import in_revision
from mcpcore.spec.errors import (
    INVALID_REQUEST,
    ErrorData,
)
from mcpcore.spec.members import known_members
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
from mcpcore.wire.message import to_json

_decode_error = msgspec.json.Decoder(ErrorData).decode
_decode_skim = msgspec.json.Decoder(ResultSkim).decode
_decode_params = msgspec.json.Decoder(Skim).decode
_decode_notification = msgspec.json.Decoder(NotificationSkim).decode


class Opener(Outgoing):
    """The part of a Peer that negotiates as a client."""

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

    def begin(self, now: float) -> None:
        """Begin to negotiate."""
        self._follow(first_step(self.config), now, first=True)

    def _silence(self, request: Outbound) -> Opening:
        return read_probe_error(self.config, None, request.revision or LATEST)

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
            peer=self,
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
        params = InitializeParams(
            protocol_version=revision.name,
            capabilities=in_revision(
                cast("ClientCapabilities", self.config.capabilities), revision
            ),
            client_info=known_members(self.config.info, revision),
        )
        request = self._ask("initialize", to_json(params), revision, Purpose.INITIALIZE, now)
        self.submit(request, now)

    def _discovered(self, request: Outbound, result: Any, now: float) -> None:
        self.conclude(request, RequestSignal.ANSWER)
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
        self.agree(revision)
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
        self.agree(chosen)
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
