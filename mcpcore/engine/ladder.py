"""Inbound ladder: the checks that a request of the other side passes before it is served.

Findings are noted in the request that passes.  The order is the specification's: the message
itself, the claims of the headers, the revision, the method, the state of the session, the
capabilities, the table of requests in flight.  Source: 2026-07-28, basic protocol (``_meta``),
versioning, Streamable HTTP ("Server Validation"); the lifecycle page of 2025-11-25.
"""

from msgspec import Raw, Struct
from msgspec.json import Decoder

from mcpcore.engine.bodies import NO_META, read_member
from mcpcore.engine.config import Role
from mcpcore.engine.lifecycle import SESSION, SessionSignal, SessionState, step
from mcpcore.engine.mirror import Mirror, mismatch
from mcpcore.engine.negotiation import is_modern, unsupported
from mcpcore.engine.state import Inbound, PeerState
from mcpcore.spec.capabilities import declares, requirement
from mcpcore.spec.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    ErrorData,
    busy_code,
)
from mcpcore.spec.methods import KNOWN_METHODS, MODERN_ONLY
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.types.base import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION, RequestMeta
from mcpcore.wire.jsontext import shortened

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_CLIENT = Role.CLIENT
_ENDING = frozenset({SessionState.CLOSING, SessionState.CLOSED})


def climb(state: PeerState, arrival: Inbound, mirror: Mirror | None) -> ErrorData | None:
    """Take a request up the ladder; return the error that refuses it, or None if it passes.

    ``mirror`` is what the HTTP headers claim.
    """
    method, meta, profile = arrival.method, arrival.meta, state.profile
    if meta.protocol_version is not None:
        modern = state.role is not _CLIENT
    elif meta is NO_META and mirror is None and profile.legacy:  # without a call, as it is frequent
        modern = method in MODERN_ONLY and state.role is not _CLIENT
    else:
        modern = is_modern_request(state, method, mirror, meta)
    if modern:
        refusal = _read_terms(state, arrival, mirror)
        if refusal is not None:
            return refusal
    else:
        arrival.row = profile.theirs[arrival.revision.position].get(method)
    row = arrival.row
    if row is None:
        if method not in state.config.extension_methods:
            return _unknown(state, arrival)
    elif row.result_type is None:
        return ErrorData(INVALID_REQUEST, f"{method} is a notification and has no id")
    if not modern and (state.revision is None or method == "initialize"):
        refusal = _comes_in_order(state, arrival)
        if refusal is not None:
            return refusal
    if row is not None:
        if row.capability not in profile.offered:
            text = f"this {state.role.value} does not declare {row.capability!r}"
            return ErrorData(METHOD_NOT_FOUND, f"method not found: {method} ({text})")
        missing = row.peer_capability
        if missing is not None and not declares(arrival.capabilities, missing):
            return lacks_capability(method, missing)
    if state.in_flight_by_id and state.slot(arrival.route, arrival.id) in state.in_flight_by_id:
        return ErrorData(INVALID_REQUEST, "a request with this id is already in flight")
    return None


def is_modern_request(
    state: PeerState, method: str, mirror: Mirror | None, meta: RequestMeta
) -> bool:
    """Return True if a request is modern; the era belongs to the request, not the connection."""
    if state.role is _CLIENT:
        return False
    if not state.profile.legacy or meta.protocol_version is not None:
        return True
    if mirror is None and meta.client_capabilities is None:
        return method in MODERN_ONLY
    return is_modern(meta, None if mirror is None else mirror.version, method)


def _read_terms(state: PeerState, arrival: Inbound, mirror: Mirror | None) -> ErrorData | None:
    """Note the terms that a modern request names in ``_meta``, and compare the mirror headers.

    It cannot be in a batch: no modern revision has batches.
    """
    meta, method, profile = arrival.meta, arrival.method, state.profile
    version = meta.protocol_version
    revision = None if version is None else profile.by_name.get(version)
    arrival.revision = read_by = revision or LATEST
    if arrival.batch is not None:
        return ErrorData(INVALID_REQUEST, f"{method}: not possible in a batch")
    if version is None:
        if method == "initialize":
            # A legacy client cannot read anything but this error (versioning page).
            return unsupported(_requested_version(arrival.params), state.config.revisions)
        return _missing(META_PROTOCOL_VERSION)
    if meta.client_capabilities is None:
        return _missing(META_CLIENT_CAPABILITIES)
    row = arrival.row = profile.theirs[read_by.position].get(method)
    if mirror is not None:
        skim, params, who = arrival.skim, arrival.params, arrival.principal
        flaw = mismatch(mirror, version, method, row, skim, params, state.config, who)
        if flaw is not None:
            return ErrorData(HEADER_MISMATCH, f"header mismatch: {flaw}")
    return unsupported(version, state.config.revisions) if revision is None else None


def _comes_in_order(state: PeerState, arrival: Inbound) -> ErrorData | None:
    """Require ``initialize`` first, once and alone; only ``ping`` may come before it (legacy)."""
    text = None
    if arrival.method == "initialize":
        if arrival.batch is not None:
            text = "initialize must not be part of a batch"
        elif step(SESSION, state.lifecycle, SessionSignal.INITIALIZE) is None:
            text = "initialize was already received"
    elif arrival.method != "ping":
        text = f"{shortened(arrival.method)} came before initialize"
    return None if text is None else ErrorData(INVALID_REQUEST, text)


def _unknown(state: PeerState, arrival: Inbound) -> ErrorData:
    text = f"method not found: {shortened(arrival.method)}"
    if arrival.method in KNOWN_METHODS:
        text += f" (no request of a {state.role.other.value} in {arrival.revision.name})"
    return ErrorData(METHOD_NOT_FOUND, text)


# The last checks, for requests that stay in flight


def is_early_enough(state: PeerState, arrival: Inbound) -> ErrorData | None:
    """Refuse new requests once the shutdown has begun."""
    if state.lifecycle not in _ENDING:
        return None
    text = f"this {state.role.value} is shutting down"
    return ErrorData(busy_code(arrival.revision), text)


def finds_room(state: PeerState, arrival: Inbound) -> ErrorData | None:
    """Refuse a request if the tables are full, or the shutdown has begun.

    Listen streams have a limit of their own.
    """
    if state.lifecycle in _ENDING:
        return is_early_enough(state, arrival)
    there = len(state.endpoint.inbound)  # of all Peers, so never less than those of this one
    if there >= state.capacity and (
        len(state.in_flight_by_id) - len(state.streams) >= state.capacity
    ):
        limit = state.config.limits.in_flight
    elif there >= state.endpoint.capacity:
        limit = state.endpoint.capacity
    elif type(arrival.id) is int and arrival.meta.progress_token is None:
        return None  # the usual case, without a call
    else:
        return names_itself_shortly(state, arrival)
    return ErrorData(busy_code(arrival.revision), f"busy: {limit} requests are in flight")


def names_itself_shortly(state: PeerState, arrival: Inbound) -> ErrorData | None:
    """Limit the length of the id and the progress token, which later messages repeat."""
    id, token = arrival.id, arrival.meta.progress_token
    limit = state.config.limits.id
    if isinstance(id, str) and len(id) > limit:
        return ErrorData(INVALID_REQUEST, f"the id has more than {limit} characters")
    if isinstance(token, str) and len(token) > limit:
        text = f"invalid params: _meta.progressToken has more than {limit} characters"
        return ErrorData(INVALID_PARAMS, text)
    return None


def lacks_capability(what: str, missing: str) -> ErrorData:
    """Return the error for a capability that ``what`` needs and the client did not declare."""
    return ErrorData.make(
        MISSING_CLIENT_CAPABILITY,
        f"{what} needs the client capability {missing!r}",
        {"requiredCapabilities": requirement(missing)},
    )


def _missing(key: str) -> ErrorData:
    return ErrorData(INVALID_PARAMS, f"invalid params: _meta is missing {key!r}")


class _Requested(Struct, rename="camel"):
    protocol_version: Raw = Raw(b'""')


_decode_requested = Decoder(_Requested).decode


def _requested_version(params: Raw) -> str:
    version = read_member(_decode_requested(params).protocol_version)
    return version if isinstance(version, str) else ""
