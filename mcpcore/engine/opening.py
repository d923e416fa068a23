"""Negotiation as a client: the era probe, discovery, the handshake.

The pure functions of :mod:`mcpcore.engine.negotiation` decide what an answer means; this module
carries it out.
"""

import msgspec
from msgspec import Raw

from mcpcore.engine.events import MAIN, EndReason, NegotiationFailed, Ready
from mcpcore.engine.faults import Fault
from mcpcore.engine.lifecycle import RequestSignal, SessionSignal, SessionState
from mcpcore.engine.negotiation import (
    Opening,
    Verdict,
    first_step,
    identity_in,
    initialize_params,
    modern_after_all,
    names,
    probe_timeout,
    read_discover_result,
    read_discovery,
    read_probe_error,
    second_step,
    upset_by_probe,
)
from mcpcore.engine.requests import Outbound, Purpose
from mcpcore.engine.succession import Succession
from mcpcore.spec.errors import INVALID_REQUEST, ErrorData
from mcpcore.spec.revisions import LATEST, Revision
from mcpcore.spec.types.capabilities import ServerCapabilities
from mcpcore.spec.types.lifecycle import DiscoverResult, InitializeResult


class Opener(Succession):
    """The part of a Peer that negotiates as a client."""

    __slots__ = ()

    def begin(self, now: float) -> None:
        """Begin to negotiate."""
        self._follow(first_step(self.config), now, first=True)

    def negotiation_answered(self, request: Outbound, result: Raw, now: float) -> None:
        """Handle the result of one of the engine's own requests."""
        self.conclude(request, RequestSignal.ANSWER)
        if request.purpose is Purpose.PROBE:
            self._discovered(request, result, now)
        else:
            self._initialize_answered(result)

    def negotiation_refused(
        self, request: Outbound, error: ErrorData, now: float, *, modern: bool
    ) -> None:
        """Handle the error response to one of the engine's own requests.

        ``modern``: the transport tells that the server is modern.
        """
        self.conclude(request, RequestSignal.ANSWER)
        if request.purpose is Purpose.PROBE:
            tried = request.revision or LATEST
            opening = read_probe_error(self.config, error, tried, modern=modern)
            if request.tries > 1 and opening.verdict is Verdict.RETRY:
                opening = Opening(Verdict.IMPOSSIBLE, None, error.message)
            self._follow(opening, now, error, tries=request.tries + 1)
        elif self.late_discovery is not None:
            self._open_discovered(self.late_discovery)
        elif request.tries < 2 and (revision := modern_after_all(self.config, error)) is not None:
            # Only this probe is under way, so it may take as long as any request.
            self._forget(Purpose.PROBE)
            self._probe(revision, now, 2, self.config.limits.request_timeout)
        else:
            self.upset = upset_by_probe(self.config, self.state, error)
            ours = ", ".join(names(self.profile.legacy))
            text = f"the server refused initialize: {error.message} (we speak {ours})"
            self._handshake_failed(request, text, now, error)

    def negotiation_broken(
        self,
        request: Outbound,
        message: str,
        now: float,
        *,
        legacy: bool,
        fault: Fault | None = None,
    ) -> None:
        """Handle one of the engine's own requests that gets no answer, or an unreadable one.

        ``legacy``: a legacy server behaves like that when it is probed.
        """
        self.conclude(request, RequestSignal.END)
        # During a handshake the end of the probe means no more than its silence.
        handshaking = self.state is SessionState.OPENING
        if request.purpose is Purpose.PROBE and (legacy or handshaking):
            self._follow(self._silence(request), now)
        elif legacy:
            self._handshake_failed(request, message, now, fault=fault)
        else:
            self.fail_negotiation(message, fault=fault)

    def _handshake_failed(
        self,
        request: Outbound,
        message: str,
        now: float,
        error: ErrorData | None = None,
        fault: Fault | None = None,
    ) -> None:
        revision = None if request.tries else second_step(self.config)
        if revision is None:
            self.fail_negotiation(message, error, fault)
        else:
            self._probe(revision, now, 1, probe_timeout(self.config))

    def negotiation_timed_out(self, request: Outbound, message: str, now: float) -> None:
        """Handle one of the engine's own requests that was not answered in time.

        Silence means a legacy server, or a modern one that takes long to start: a late answer to
        the probe counts if the handshake fails.
        """
        if request.purpose is Purpose.PROBE:
            self._follow(self._silence(request), now, tries=request.tries)
        else:
            self.fail_negotiation(message)

    def _silence(self, request: Outbound) -> Opening:
        return read_probe_error(self.config, None, request.revision or LATEST)

    def _follow(
        self,
        opening: Opening,
        now: float,
        error: ErrorData | None = None,
        *,
        first: bool = False,
        tries: int = 1,
    ) -> None:
        """Carry out a step of negotiation."""
        verdict, revision = opening.verdict, opening.revision
        if self.state is SessionState.OPENING:
            if verdict in (Verdict.LEGACY, Verdict.IMPOSSIBLE):
                return  # a late answer to the probe; the handshake will tell
            self._forget(Purpose.INITIALIZE)
        if verdict is Verdict.IMPOSSIBLE or revision is None:
            self.fail_negotiation(opening.message, error)
        elif verdict is Verdict.LEGACY:
            self._initialize(revision, now, 0 if first else tries)
        elif verdict is Verdict.RETRY or first:
            self._probe(revision, now, tries, probe_timeout(self.config))
        else:
            self._open_modern(revision, None)

    def _ask(
        self,
        method: str,
        body: bytes,
        revision: Revision,
        purpose: Purpose,
        now: float,
        *,
        timeout: float | None,
        tries: int = 1,
    ) -> None:
        request = Outbound(
            peer=self,
            id=self.new_id(),
            method=method,
            original=body,
            body=body,
            purpose=purpose,
            started=now,
            timeout=timeout,
            revision=revision,
            tries=tries,
        )
        self.submit(request, now)

    def _probe(self, revision: Revision, now: float, tries: int, timeout: float | None) -> None:
        self.move(SessionSignal.PROBE)
        self._ask(
            "server/discover", b"{}", revision, Purpose.PROBE, now, timeout=timeout, tries=tries
        )

    def _initialize(self, revision: Revision, now: float, tries: int = 1) -> None:
        self.move(SessionSignal.INITIALIZE)
        body = initialize_params(self.config, revision)
        timeout = self.config.limits.request_timeout
        self._ask(
            "initialize", body, revision, Purpose.INITIALIZE, now, timeout=timeout, tries=tries
        )

    def initialize_again(self, now: float) -> None:
        """Open another session after the last one was lost."""
        revision = self.revision
        self.move(SessionSignal.RESTART)
        self._forget(Purpose.INITIALIZE)
        self.agree(None)
        if revision is None:
            self.begin(now)
        else:
            self._initialize(revision, now)

    def _discovered(self, request: Outbound, result: Raw, now: float) -> None:
        try:
            discovered = read_discover_result(result)
        except msgspec.MsgspecError as error:
            self.violation(MAIN, INVALID_REQUEST, f"server/discover: {error}")
            self._follow(self._silence(request), now)
            return
        opening = read_discovery(self.config, discovered)
        if opening.verdict is not Verdict.MODERN or opening.revision is None:
            self._follow(opening, now)
        elif self.state is SessionState.OPENING:
            # A server of both eras may bind its connection to the one of the handshake.
            self.late_discovery = opening.revision, discovered
        else:
            self._open_discovered((opening.revision, discovered))

    def _open_discovered(self, found: tuple[Revision, DiscoverResult]) -> None:
        revision, discovered = found
        self._forget(Purpose.INITIALIZE)
        self.peer_info = identity_in(discovered)
        self._open_modern(revision, discovered)

    def _open_modern(self, revision: Revision, discovered: DiscoverResult | None) -> None:
        self.move(SessionSignal.DISCOVERED)
        self.agree(revision)
        self.peer_capabilities = None if discovered is None else discovered.capabilities
        instructions = None if discovered is None else discovered.instructions
        self.emit(
            Ready(
                revision=revision,
                info=self.peer_info,
                capabilities=self.peer_capabilities or ServerCapabilities(),
                instructions=instructions,
                supported=tuple(discovered.supported_versions) if discovered else (revision.name,),
            )
        )
        self.send_held()

    def _initialize_answered(self, result: Raw) -> None:
        try:
            answer = msgspec.json.decode(result, type=InitializeResult)
        except msgspec.MsgspecError as error:
            self.fail_negotiation(f"invalid initialize result: {error}")
            return
        legacy = self.profile.legacy
        chosen = next((row for row in legacy if row.name == answer.protocol_version), None)
        if chosen is None:
            ours = ", ".join(revision.name for revision in legacy)
            self.fail_negotiation(
                f"the server chose protocol version {answer.protocol_version!r}; we speak {ours}"
            )
            return
        self.agree(chosen)
        self.peer_info = answer.server_info
        self.peer_capabilities = answer.capabilities
        self.move(SessionSignal.INITIALIZED)
        self.send_notification("notifications/initialized", b"{}", revision=chosen)
        for probe in self._forget(Purpose.PROBE):
            self.send_cancelled(probe, "no answer in time")
        self.emit(
            Ready(
                revision=chosen,
                info=answer.server_info,
                capabilities=answer.capabilities,
                instructions=answer.instructions,
            )
        )
        self.send_held()

    def _forget(self, purpose: Purpose) -> list[Outbound]:
        """Take out requests of the engine's own whose answers no longer matter."""
        found = [request for request in self._pending.values() if request.purpose is purpose]
        for request in found:
            self.conclude(request, RequestSignal.END)
        return found

    def fail_negotiation(
        self, message: str, error: ErrorData | None = None, fault: Fault | None = None
    ) -> None:
        """Fail the negotiation: there is no common ground, and every waiting request ends.

        Unless the probe had a late answer: then the server is modern after all.
        """
        if self.late_discovery is not None:
            self._open_discovered(self.late_discovery)
            return
        self.move(SessionSignal.FAILED)
        self.failure = message
        self.emit(NegotiationFailed(message=message, error=error, fault=fault))
        self.end_ours(EndReason.REFUSED, message, fault)
