"""Negotiation rules: eras, revisions, handshake, discovery.

Pure functions over the tables; the Peer calls them and keeps the state.  Source: the versioning
page of 2026-07-28 ("Backward Compatibility"), the lifecycle page of 2025-11-25.
"""

from collections.abc import Iterable
from enum import Enum, auto

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, structs

from mcpcore.engine.config import Config, Negotiation
from mcpcore.engine.lifecycle import SessionState
from mcpcore.spec.capabilities import in_revision
from mcpcore.spec.errors import ERRORS, UNSUPPORTED_PROTOCOL_VERSION, ErrorData
from mcpcore.spec.members import known_members
from mcpcore.spec.methods import modern_only
from mcpcore.spec.revisions import BY_NAME, LATEST, Revision, newest, select
from mcpcore.spec.types.base import META_SERVER_INFO, Implementation, RequestMeta
from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities
from mcpcore.spec.types.lifecycle import DiscoverResult, InitializeParams, InitializeResult
from mcpcore.wire.jsontext import shortened
from mcpcore.wire.message import to_json

COMPLETE = "complete"
"""Value of ``resultType`` for a final result; one that is absent means the same."""


def is_modern(meta: RequestMeta | None, version_header: str | None, method: str) -> bool:
    """Return True if a request that a server received is modern.

    Modern if its ``_meta`` names a protocol version or the client's capabilities, or the version
    header names a modern revision, or the method exists only there; otherwise legacy.
    """
    if meta is not None and (
        meta.protocol_version is not None or meta.client_capabilities is not None
    ):
        return True
    if version_header is not None:
        row = BY_NAME.get(version_header)
        if row is not None and row.modern:
            return True
    return modern_only(method)


def legacy_of(revisions: Iterable[Revision]) -> tuple[Revision, ...]:
    """Return the revisions that open with a handshake."""
    return tuple(revision for revision in revisions if revision.handshake)


def modern_of(revisions: Iterable[Revision]) -> tuple[Revision, ...]:
    """Return the revisions that are stateless."""
    return tuple(revision for revision in revisions if revision.modern)


def names(revisions: Iterable[Revision]) -> list[str]:
    """Return the wire names, newest first."""
    ordered = sorted(revisions, key=lambda revision: revision.position, reverse=True)
    return [revision.name for revision in ordered]


def unsupported(requested: str, revisions: Iterable[Revision]) -> ErrorData:
    """Return the error for a version that is not served statelessly; it lists those that are."""
    known = tuple(revisions)
    row = BY_NAME.get(requested)
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

    ``initialize`` is then answered with that revision whatever it asks for.  A modern request
    that names another revision gets -32022.  Only the era of that revision is spoken.  None, or a
    revision that ``config`` does not speak, leaves the config as it is.
    """
    chosen = None if revision is None else select([revision], config.revisions)
    return config if chosen is None else structs.replace(config, revisions=(chosen,))


def initialize_result(config: Config, requested: str) -> tuple[Revision, bytes]:
    """Choose the revision for an ``initialize`` and build its result.

    The requested revision if this side speaks it, else its newest legacy one.
    """
    legacy = legacy_of(config.revisions)
    chosen = select([requested], legacy) or newest(legacy) or LATEST
    result = InitializeResult(
        protocol_version=chosen.name,
        capabilities=in_revision(config.declared(ServerCapabilities), chosen),
        server_info=known_members(config.info, chosen),
        instructions=config.instructions,
    )
    return chosen, to_json(result)


def initialize_params(config: Config, revision: Revision) -> bytes:
    """Build the params of ``initialize``."""
    params = InitializeParams(
        protocol_version=revision.name,
        capabilities=in_revision(config.declared(ClientCapabilities), revision),
        client_info=known_members(config.info, revision),
    )
    return to_json(params)


def discover_result(config: Config) -> bytes:
    """Build the result of ``server/discover``."""
    result = DiscoverResult(
        supported_versions=names(config.revisions),
        capabilities=in_revision(config.declared(ServerCapabilities), LATEST),
        instructions=config.instructions,
        ttl_ms=config.discover_ttl_ms,
        cache_scope=config.discover_cache_scope,
    )
    return to_json(result)


class Verdict(Enum):
    """Meanings of an answer to the era probe."""

    MODERN = auto()
    RETRY = auto()
    """Modern, in another revision than the probe asked for."""
    LEGACY = auto()
    IMPOSSIBLE = auto()


class Opening(Struct, frozen=True):
    """A step of negotiation: its kind, its revision, or why no step is possible."""

    verdict: Verdict
    revision: Revision | None = None
    message: str = ""


def first_step(config: Config) -> Opening:
    """Return the first step of a client's negotiation."""
    modern, legacy = modern_of(config.revisions), legacy_of(config.revisions)
    if config.negotiation is Negotiation.MODERN:
        legacy = ()
    elif config.negotiation is Negotiation.LEGACY:
        modern = ()
    if modern and not (legacy and config.assumed is Negotiation.LEGACY):
        return Opening(Verdict.MODERN, newest(modern))
    if legacy:
        return Opening(Verdict.LEGACY, newest(legacy))
    return Opening(Verdict.IMPOSSIBLE, None, "no revision is left to negotiate")


def second_step(config: Config) -> Revision | None:
    """Return the revision to probe after a refused handshake that no probe preceded, or None."""
    if config.negotiation is not Negotiation.AUTO or config.assumed is not Negotiation.LEGACY:
        return None
    return newest(modern_of(config.revisions))


def modern_after_all(config: Config, error: ErrorData) -> Revision | None:
    """Return the revision of one more probe, if a refused handshake names modern revisions.

    A server of both eras refuses so if the probe has bound it to the modern era, and its answer
    to the probe is late.
    """
    if config.negotiation is not Negotiation.AUTO or error.code != UNSUPPORTED_PROTOCOL_VERSION:
        return None
    return select(_versions_in(error), modern_of(config.revisions))


def falls_back(config: Config) -> bool:
    """Return True if a client opens with a handshake when the probe shows a legacy server."""
    return config.negotiation is Negotiation.AUTO and bool(legacy_of(config.revisions))


class Upset(Enum):
    """Kinds of failed negotiation with a server that the era probe may have upset."""

    ENDED = "ended"
    REFUSED = "refused initialize"


_UPSET = {
    (SessionState.PROBING, False): Upset.ENDED,
    (SessionState.OPENING, False): Upset.ENDED,
    (SessionState.OPENING, True): Upset.REFUSED,
}
"""Kind of failure by the state of negotiation, and by whether a request of it was refused
(True) or the connection ended (False)."""


def upset_by_probe(config: Config, state: SessionState, error: ErrorData | None) -> Upset | None:
    """Return the kind of failure if a handshake may succeed on a new connection, else None.

    Some legacy servers do not survive a request before ``initialize``, or take it for the one that
    opens the session.  ``state`` is that of the session when negotiation failed.  ``error`` is the
    error that refused a request of it, None if the connection ended.  A server is not of this kind
    if it answers the probe as a modern one does, or refuses the revision of the handshake.
    """
    if not falls_back(config) or first_step(config).verdict is not Verdict.MODERN:
        return None
    if error is not None and (proves_modern(error.code) or _versions_in(error)):
        return None
    return _UPSET.get((state, error is not None))


def probe_timeout(config: Config) -> float | None:
    """Return the maximum seconds to wait for the probe; few if silence means a legacy server."""
    if falls_back(config) and config.assumed is not Negotiation.MODERN:
        return config.limits.probe_timeout
    return config.limits.request_timeout


def _choose(
    config: Config, offered: Iterable[str], tried: Revision | None, supported_text: str
) -> Opening:
    modern = select(offered, modern_of(config.revisions))
    if modern is not None:
        # Even the one just refused: the caller limits the retries.
        return Opening(Verdict.MODERN if tried is None else Verdict.RETRY, modern)
    if config.negotiation is not Negotiation.MODERN:
        legacy = select(offered, legacy_of(config.revisions))
        if legacy is not None:
            return Opening(Verdict.LEGACY, legacy)
    ours = ", ".join(names(config.revisions))
    return Opening(
        Verdict.IMPOSSIBLE,
        None,
        f"no common protocol revision: the server supports {supported_text}, we support {ours}",
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


def read_discover_result(result: Raw) -> DiscoverResult:
    """Decode the result of ``server/discover``. Raises msgspec.MsgspecError."""
    discovered = msgspec.json.decode(result, type=DiscoverResult)
    if discovered.result_type not in (None, COMPLETE):
        raise msgspec.ValidationError(f"unknown resultType {discovered.result_type!r}")
    return discovered


def identity_in(discovered: DiscoverResult) -> Implementation | None:
    """Return the server's self-reported identity; None also for a malformed one."""
    meta = discovered.meta or {}
    try:
        return msgspec.convert(meta.get(META_SERVER_INFO), Implementation | None)
    except msgspec.ValidationError:
        return None


def read_discovery(config: Config, result: DiscoverResult) -> Opening:
    """Return the step that follows from a DiscoverResult."""
    offered = result.supported_versions
    return _choose(config, offered, None, ", ".join(offered) or "none")


def proves_modern(code: int) -> bool:
    """Return True if only a modern server sends this error code."""
    row = ERRORS.get(code)
    return row is not None and row.proves_modern


def read_probe_error(
    config: Config, error: ErrorData | None, tried: Revision, *, modern: bool = False
) -> Opening:
    """Return the step that follows from an error answer to the probe (or None: no answer).

    ``modern``: the transport recognised a modern server by other means (HTTP status 404 with a
    JSON-RPC body).
    """
    if error is not None and error.code == UNSUPPORTED_PROTOCOL_VERSION:
        offered = _versions_in(error)
        return _choose(config, offered, tried, ", ".join(offered) or "nothing that it names")
    if error is not None and proves_modern(error.code):
        return Opening(
            Verdict.IMPOSSIBLE, None, f"the server is modern and refused us: {error.message}"
        )
    if modern:
        return Opening(Verdict.MODERN, tried)
    legacy = newest(legacy_of(config.revisions))
    if legacy is None or not falls_back(config):
        said = "did not answer" if error is None else f"answered {error.message!r} ({error.code})"
        ours = ", ".join(names(modern_of(config.revisions)))
        return Opening(
            Verdict.IMPOSSIBLE,
            None,
            f"the server {said} to server/discover, so it is a legacy server; we speak {ours} only",
        )
    return Opening(Verdict.LEGACY, legacy)
