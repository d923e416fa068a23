"""Negotiation: eras, revisions, handshake, discovery.

Pure functions over the tables decide; the Negotiator of a Peer carries it out and keeps the state.
Source: the versioning page of 2026-07-28 ("Backward Compatibility"), the lifecycle page of
2025-11-25.
"""

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs

from mcpcore.engine.config import Config, Negotiation, Role
from mcpcore.engine.events import MAIN, EndReason, Fault, NegotiationFailed, Ready
from mcpcore.engine.lifecycle import RequestSignal, RequestState, SessionSignal, SessionState
from mcpcore.engine.outbound import COMPLETE, Sender, overdue
from mcpcore.engine.state import Outbound, PeerState, Purpose
from mcpcore.spec.capabilities import in_revision
from mcpcore.spec.errors import (
    ERRORS,
    INVALID_REQUEST,
    UNSUPPORTED_PROTOCOL_VERSION,
    ErrorData,
    LocalProtocolError,
)
from mcpcore.spec.members import known_members
from mcpcore.spec.methods import MODERN_ONLY
from mcpcore.spec.revisions import BY_NAME, LATEST, Revision, legacy_of, modern_of, newest, select
from mcpcore.spec.types.base import META_SERVER_INFO, Implementation, RequestMeta
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.spec.types.lifecycle import DiscoverResult, InitializeParams, InitializeResult
from mcpcore.wire.jsontext import shortened, to_json

_DAY = 86_400_000
"""Maximum milliseconds for which what a server tells of itself is kept."""


def is_modern(meta: RequestMeta | None, version_header: str | None, method: str) -> bool:
    """Return True if a request that a server received is modern, else it is legacy."""
    if meta and (meta.protocol_version is not None or meta.client_capabilities is not None):
        return True
    row = None if version_header is None else BY_NAME.get(version_header)
    return (row is not None and row.modern) or method in MODERN_ONLY


def names(revisions: Iterable[Revision]) -> list[str]:
    """Return the wire names, newest first."""
    ordered = sorted(revisions, key=lambda revision: revision.position, reverse=True)
    return [revision.name for revision in ordered]


def unsupported(requested: str, revisions: Iterable[Revision]) -> ErrorData:
    """Return the error for a version that is not served statelessly; it lists those that are."""
    known, row = tuple(revisions), BY_NAME.get(requested)
    if row is not None and not row.modern:
        # A legacy revision needs a handshake, so none is offered here.
        known = modern_of(known) or known
    supported, said = names(known), shortened(requested)
    return ErrorData.make(
        UNSUPPORTED_PROTOCOL_VERSION,
        f"unsupported protocol version {said!r}; supported: {', '.join(supported)}",
        {"supported": supported, "requested": said},
    )


def bound_to(config: Config, revision: str | None) -> Config:
    """Return ``config`` restricted to one revision, agreed on before the first message.

    None, or a revision that ``config`` does not speak, leaves the config as it is.
    """
    chosen = None if revision is None else select([revision], config.revisions)
    return config if chosen is None else structs.replace(config, revisions=(chosen,))


def initialize_result(config: Config, requested: str) -> tuple[Revision, bytes]:
    """Return the requested revision, or else the newest legacy one, and the result naming it."""
    legacy = legacy_of(config.revisions)
    chosen = select([requested], legacy) or newest(legacy) or LATEST
    result = InitializeResult(
        protocol_version=chosen.name,
        capabilities=in_revision(config.declared(ServerCapabilities), chosen),
        server_info=known_members(config.info, chosen),
        instructions=config.instructions,
    )
    return chosen, to_json(result)


def discover_result(config: Config) -> bytes:
    """Build the result of ``server/discover``."""
    return to_json(
        DiscoverResult(
            supported_versions=names(config.revisions),
            capabilities=in_revision(config.declared(ServerCapabilities), LATEST),
            instructions=config.instructions,
            ttl_ms=config.discover_ttl_ms,
            cache_scope=config.discover_cache_scope,
        )
    )


class NegotiationVerdict(Enum):
    """Meanings of an answer to the era probe."""

    MODERN = auto()
    RETRY = auto()
    """Modern, in another revision than the probe asked for."""
    LEGACY = auto()
    IMPOSSIBLE = auto()


class NegotiationStep(Struct, frozen=True):
    """A step of negotiation: its kind, its revision, or why no step is possible."""

    verdict: NegotiationVerdict
    revision: Revision | None = None
    message: str = ""


def discovered(revision: Revision, found: DiscoverResult) -> Ready:
    """Return what a modern server tells of itself as the event of a negotiation."""
    identity = (found.meta or {}).get(META_SERVER_INFO)
    try:
        info = msgspec.convert(identity, Implementation | None)
    except msgspec.ValidationError:
        info = None
    supported, ttl = tuple(found.supported_versions), int(min(max(found.ttl_ms or 0, 0), _DAY))
    return Ready(revision, info, found.capabilities, found.instructions, supported, ttl_ms=ttl)


def _impossible(message: str) -> NegotiationStep:
    return NegotiationStep(NegotiationVerdict.IMPOSSIBLE, None, message)


def first_step(config: Config) -> NegotiationStep:
    """Return the first step of a client's negotiation."""
    modern, legacy = modern_of(config.revisions), legacy_of(config.revisions)
    if config.negotiation is Negotiation.MODERN:
        legacy = ()
    elif config.negotiation is Negotiation.LEGACY:
        modern = ()
    if modern and not (legacy and config.assumed is Negotiation.LEGACY):
        return NegotiationStep(NegotiationVerdict.MODERN, newest(modern))
    if legacy:
        return NegotiationStep(NegotiationVerdict.LEGACY, newest(legacy))
    return _impossible("no revision is left to negotiate")


def falls_back(config: Config) -> bool:
    """Return True if a client opens with a handshake when the probe shows a legacy server."""
    return config.negotiation is Negotiation.AUTO and bool(legacy_of(config.revisions))


class Upset(Enum):
    """Kinds of failed negotiation with a server that the era probe may have upset."""

    ENDED = "ended"
    REFUSED = "refused initialize"


def upset_by_probe(config: Config, state: SessionState, error: ErrorData | None) -> Upset | None:
    """Return the kind of failure if a handshake may succeed on a new connection, else None.

    Some legacy servers do not survive a request before ``initialize``, or take it for the one that
    opens the session.  ``error`` refused a request of negotiation; None if the connection ended.
    """
    if not falls_back(config) or first_step(config).verdict is not NegotiationVerdict.MODERN:
        return None
    if error is not None and (proves_modern(error.code) or _versions_in(error)):
        return None
    if error is not None:
        return Upset.REFUSED if state is SessionState.OPENING else None
    return Upset.ENDED if state in (SessionState.PROBING, SessionState.OPENING) else None


def probe_timeout(config: Config) -> float | None:
    """Return the maximum seconds to wait for the probe; few if silence means a legacy server."""
    if falls_back(config) and config.assumed is not Negotiation.MODERN:
        return config.limits.probe_timeout
    return config.limits.request_timeout


def _choose(config: Config, offered: Sequence[str], tried: Revision | None) -> NegotiationStep:
    """Return the step that follows from the revisions of a server, which may have refused one."""
    modern = select(offered, modern_of(config.revisions))
    if modern is not None:
        # Even the one just refused: the caller limits the retries.
        return NegotiationStep(
            NegotiationVerdict.MODERN if tried is None else NegotiationVerdict.RETRY, modern
        )
    if config.negotiation is not Negotiation.MODERN:
        legacy = select(offered, legacy_of(config.revisions))
        if legacy is not None:
            return NegotiationStep(NegotiationVerdict.LEGACY, legacy)
    theirs = ", ".join(offered) or ("none" if tried is None else "nothing that it names")
    ours = ", ".join(names(config.revisions))
    return _impossible(
        f"no common protocol revision: the server supports {theirs}, we support {ours}"
    )


class _Versions(Struct):
    supported: list[str] | UnsetType = UNSET


def _versions_in(error: ErrorData) -> list[str]:
    """Return the revisions that the refusal of a version names."""
    if not isinstance(error.data, Raw):
        return []
    try:
        versions = msgspec.json.decode(error.data, type=_Versions)
    except msgspec.MsgspecError:
        return []
    return [] if versions.supported is UNSET else versions.supported


def proves_modern(code: int) -> bool:
    """Return True if only a modern server sends this error code."""
    row = ERRORS.get(code)
    return row is not None and row.proves_modern


def read_probe_error(
    config: Config, error: ErrorData | None, tried: Revision, *, modern: bool = False
) -> NegotiationStep:
    """Return the step that follows from an error answer to the probe (or None: no answer).

    ``modern``: the transport recognised a modern server (HTTP status 404 with a JSON-RPC body).
    """
    if error is not None and error.code == UNSUPPORTED_PROTOCOL_VERSION:
        return _choose(config, _versions_in(error), tried)
    if error is not None and proves_modern(error.code):
        return _impossible(f"the server is modern and refused us: {error.message}")
    if modern:
        return NegotiationStep(NegotiationVerdict.MODERN, tried)
    legacy = newest(legacy_of(config.revisions))
    if legacy is None or not falls_back(config):
        said = "did not answer" if error is None else f"answered {error.message!r} ({error.code})"
        ours = ", ".join(names(modern_of(config.revisions)))
        return _impossible(
            f"the server {said} to server/discover, so it is a legacy server; we speak {ours} only"
        )
    return NegotiationStep(NegotiationVerdict.LEGACY, legacy)


class Negotiator(Struct, weakref=False, eq=False):
    """Part of a Peer that agrees with the other side on a revision: probe, discovery, handshake."""

    _state: PeerState
    _sender: Sender
    _late: tuple[Revision, DiscoverResult] | None = None
    """Client: what the probe found out, once the handshake was on its way."""
    upset: Upset | None = None
    """Client: kind of failed negotiation that the era probe may have caused."""

    # A server that goes on where another process began

    def restore(
        self, revision: Revision, info: Implementation | None, capabilities: ClientCapabilities
    ) -> None:
        """Server, legacy: take up a session whose ``initialize`` another process has answered.

        :meth:`opened` follows if the client has confirmed it.
        """
        state = self._state
        if state.role is Role.CLIENT or state.lifecycle is not SessionState.NEW:
            raise LocalProtocolError("only a new server can take up a session")
        state.move(SessionSignal.INITIALIZE)
        state.agree(revision)
        state.introduced(info, capabilities)

    def opened(self) -> None:
        """Note that the handshake was completed elsewhere; no effect if that is known."""
        if self._state.lifecycle is SessionState.OPENING:
            self._state.move(SessionSignal.INITIALIZED)
            self._sender.send_held()

    # A client

    def start(self, now: float) -> None:
        """Begin to negotiate. Requests made before Ready wait for it."""
        state = self._state
        if state.role is not Role.CLIENT or state.lifecycle is not SessionState.NEW:
            raise LocalProtocolError("only a new client can start")
        self._follow(first_step(state.config), now, first=True)

    def disconnected(self) -> None:
        """Note that the connection has ended."""
        state = self._state
        self._late = None
        if state.role is Role.CLIENT and self.upset is None:
            self.upset = upset_by_probe(state.config, state.lifecycle, None)

    def answered(self, request: Outbound, result: Raw, now: float) -> None:
        """Handle the result of one of the engine's own requests."""
        self._state.conclude(request, RequestSignal.ANSWER)
        if request.purpose is Purpose.PROBE:
            self._discovered(request, result, now)
        else:
            self._initialize_answered(result, now)

    def refused(self, request: Outbound, error: ErrorData, now: float, *, modern: bool) -> None:
        """Handle the error response to one of the engine's own requests."""
        state = self._state
        state.conclude(request, RequestSignal.ANSWER)
        if request.purpose is Purpose.PROBE:
            tried = request.revision or LATEST
            opening = read_probe_error(state.config, error, tried, modern=modern)
            if request.tries > 1 and opening.verdict is NegotiationVerdict.RETRY:
                opening = NegotiationStep(NegotiationVerdict.IMPOSSIBLE, None, error.message)
            self._follow(opening, now, error, tries=request.tries + 1)
        elif self._late is not None:
            self._open_discovered(*self._late, now)
        elif request.tries < 2 and (revision := self._modern_after_all(error)) is not None:
            # Only this probe is under way, so it may take as long as any request.
            self._forget(Purpose.PROBE)
            self._probe(revision, now, 2, state.config.limits.request_timeout)
        else:
            self.upset = upset_by_probe(state.config, state.lifecycle, error)
            ours = ", ".join(names(state.profile.legacy))
            text = f"the server refused initialize: {error.message} (we speak {ours})"
            self._handshake_failed(request, text, now, error)

    def _modern_after_all(self, error: ErrorData) -> Revision | None:
        """Return the revision of one more probe, if a refused handshake names modern revisions.

        A server of both eras does so whose answer to the probe, which has bound it, is late.
        """
        config = self._state.config
        if config.negotiation is Negotiation.AUTO and error.code == UNSUPPORTED_PROTOCOL_VERSION:
            return select(_versions_in(error), modern_of(config.revisions))
        return None

    def broken(
        self,
        request: Outbound,
        message: str,
        now: float,
        *,
        legacy: bool,
        fault: Fault | None = None,
    ) -> None:
        """Handle one of the engine's own requests without an answer that can be read.

        ``legacy``: a legacy server behaves like that when it is probed.
        """
        state = self._state
        state.conclude(request, RequestSignal.END)
        # During a handshake the end of the probe means no more than its silence.
        handshaking = state.lifecycle is SessionState.OPENING
        if request.purpose is Purpose.PROBE and (legacy or handshaking):
            self._follow(self._silence(request), now, tries=request.tries)
        elif legacy:
            self._handshake_failed(request, message, now, fault=fault)
        else:
            self.fail(message, now, fault=fault)

    def _handshake_failed(
        self,
        request: Outbound,
        message: str,
        now: float,
        error: ErrorData | None = None,
        fault: Fault | None = None,
    ) -> None:
        config, revision = self._state.config, None
        remembered = (config.negotiation, config.assumed) == (Negotiation.AUTO, Negotiation.LEGACY)
        if remembered and not request.tries:  # no probe came before this handshake
            revision = newest(modern_of(config.revisions))
        if revision is None:
            self.fail(message, now, error, fault)
        else:
            self._probe(revision, now, 1, probe_timeout(config))

    def expire(self, request: Outbound, now: float) -> None:
        """Handle one of the engine's own requests that was not answered in time.

        Silence means a legacy server, or a modern one that takes long to start: a late answer to
        the probe counts over HTTP at once, on a connection if the handshake fails.
        """
        if request.purpose is Purpose.PROBE:
            self._follow(self._silence(request), now, tries=request.tries)
        else:
            self.fail(overdue(request, self._state.config, now), now)

    def give_up(self, request: Outbound, reason: str | None) -> None:
        """Refuse to cancel a request of the engine's own."""
        raise LocalProtocolError(f"{request.method} is not yours to cancel")

    def _silence(self, request: Outbound) -> NegotiationStep:
        return read_probe_error(self._state.config, None, request.revision or LATEST)

    def _follow(
        self,
        opening: NegotiationStep,
        now: float,
        error: ErrorData | None = None,
        *,
        first: bool = False,
        tries: int = 1,
    ) -> None:
        state = self._state
        verdict, revision = opening.verdict, opening.revision
        if state.lifecycle is SessionState.OPENING:
            if verdict in (NegotiationVerdict.LEGACY, NegotiationVerdict.IMPOSSIBLE):
                return  # a late answer to the probe; the handshake will tell
            self._forget(Purpose.INITIALIZE)
        if verdict is NegotiationVerdict.IMPOSSIBLE or revision is None:
            self.fail(opening.message, now, error)
        elif verdict is NegotiationVerdict.LEGACY:
            self._initialize(revision, now, 0 if first else tries)
        elif verdict is NegotiationVerdict.RETRY or first:
            self._probe(revision, now, tries, probe_timeout(state.config))
        else:
            info, supported = state.peer_info, (revision.name,)
            ready = Ready(revision, info, ServerCapabilities(), supported=supported)
            self._open_modern(ready, None, now)

    def _ask(self, method: str, body: bytes, now: float, **members: Any) -> None:
        """Send a request of the engine's own; ``members``: further ones of the Outbound."""
        id = self._sender.new_id()
        request = Outbound(
            sender=self, id=id, method=method, original=body, body=body, started=now, **members
        )
        self._sender.submit(request, now)

    def _probe(self, revision: Revision, now: float, tries: int, timeout: float | None) -> None:
        self._state.move(SessionSignal.PROBE)
        members = {"purpose": Purpose.PROBE, "revision": revision, "timeout": timeout}
        self._ask("server/discover", b"{}", now, tries=tries, **members)

    def _initialize(self, revision: Revision, now: float, tries: int = 1) -> None:
        state = self._state
        config = state.config
        state.move(SessionSignal.INITIALIZE)
        params = InitializeParams(
            protocol_version=revision.name,
            capabilities=in_revision(config.declared(ClientCapabilities), revision),
            client_info=known_members(config.info, revision),
        )
        timeout = config.limits.request_timeout
        members = {"purpose": Purpose.INITIALIZE, "revision": revision, "timeout": timeout}
        self._ask("initialize", to_json(params), now, tries=tries, **members)

    def initialize_again(self, now: float) -> None:
        """Open another session after the last one was lost."""
        state = self._state
        revision = state.revision
        state.move(SessionSignal.RESTART)
        self._forget(Purpose.INITIALIZE)
        self._agree(None)
        if revision is None:
            self._follow(first_step(state.config), now, first=True)
        else:
            self._initialize(revision, now)

    def _discovered(self, request: Outbound, result: Raw, now: float) -> None:
        state = self._state
        try:
            found = msgspec.json.decode(result, type=DiscoverResult)
            if found.result_type not in (None, COMPLETE):
                raise msgspec.ValidationError(f"unknown resultType {found.result_type!r}")
        except msgspec.MsgspecError as error:
            state.violation(MAIN, INVALID_REQUEST, f"server/discover: {error}")
            self._follow(self._silence(request), now, tries=request.tries)
            return
        opening = _choose(state.config, found.supported_versions, None)
        if opening.verdict is not NegotiationVerdict.MODERN or opening.revision is None:
            self._follow(opening, now, tries=request.tries)
        elif state.lifecycle is SessionState.OPENING and not state.mirrors:
            # A server of both eras may bind its connection to that of the handshake; over HTTP
            # each request stands alone.
            self._late = opening.revision, found
        else:
            self._open_discovered(opening.revision, found, now)

    def _open_discovered(self, revision: Revision, found: DiscoverResult, now: float) -> None:
        self._forget(Purpose.INITIALIZE)
        ready = discovered(revision, found)
        self._state.peer_info = ready.info
        self._open_modern(ready, found.capabilities, now)

    def _open_modern(self, ready: Ready, declared: ServerCapabilities | None, now: float) -> None:
        state = self._state
        state.move(SessionSignal.DISCOVERED)
        self._agree(ready.revision)
        state.peer_capabilities = declared
        state.emit(ready)
        streams = [each for each in state.held.values() if each.stream is not None]
        self._sender.send_held()
        for stream in streams:  # those of the last conversation were acknowledged there
            if stream.state is RequestState.ACTIVE and stream.deadline is None and stream.timeout:
                state.endpoint.deadlines.set(stream, now + stream.timeout)

    def _initialize_answered(self, result: Raw, now: float) -> None:
        state = self._state
        try:
            answer = msgspec.json.decode(result, type=InitializeResult)
        except msgspec.MsgspecError as error:
            self.fail(f"invalid initialize result: {error}", now)
            return
        legacy = state.profile.legacy
        chosen = select([answer.protocol_version], legacy)
        if chosen is None:
            theirs, ours = answer.protocol_version, ", ".join(row.name for row in legacy)
            self.fail(f"the server chose protocol version {theirs!r}; we speak {ours}", now)
            return
        self._agree(chosen)
        state.peer_info = answer.server_info
        state.peer_capabilities = answer.capabilities
        state.move(SessionSignal.INITIALIZED)
        state.send_notification("notifications/initialized", b"{}", revision=chosen)
        for probe in self._forget(Purpose.PROBE):
            self._sender.send_cancelled(probe, "no answer in time")
        state.emit(Ready(chosen, answer.server_info, answer.capabilities, answer.instructions))
        self._sender.send_held()

    def _agree(self, revision: Revision | None) -> None:
        self._state.agree(revision)
        self._late = None

    def _forget(self, purpose: Purpose) -> list[Outbound]:
        """Take out requests of the engine's own whose answers no longer matter."""
        state = self._state
        found = [request for request in state.pending.values() if request.purpose is purpose]
        for request in found:
            state.conclude(request, RequestSignal.END)
        return found

    def fail(
        self, message: str, now: float, error: ErrorData | None = None, fault: Fault | None = None
    ) -> None:
        """Fail the negotiation, unless the probe had a late answer; every waiting request ends."""
        state = self._state
        if self._late is not None:
            self._open_discovered(*self._late, now)
            return
        state.move(SessionSignal.FAILED)
        state.failure = message
        state.emit(NegotiationFailed(message=message, error=error, fault=fault))
        state.end_outbound(EndReason.REFUSED, message, fault)
