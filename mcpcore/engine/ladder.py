"""Inbound ladder: the checks that a request of the other side passes before it is served.

Each rung is one function.  It returns None to pass the request on, with its findings noted, or the
error that refuses it.  The order is the specification's: the message itself, the claims of the
headers, the revision, the method, the state of the session, the capabilities, the table of
requests in flight.  Source: 2026-07-28, basic protocol (``_meta``), versioning, Streamable HTTP
("Server Validation"); the lifecycle page of 2025-11-25.
"""

from functools import partial

from msgspec import Raw, Struct
from msgspec.json import Decoder

from mcpcore.engine.bodies import UNREADABLE, read_member, read_skim
from mcpcore.engine.config import Role
from mcpcore.engine.lifecycle import SESSION, SessionSignal, SessionState, step
from mcpcore.engine.mirror import Mirror, mismatch, names_the_same
from mcpcore.engine.negotiation import is_modern, unsupported
from mcpcore.engine.state import NO_SKIM, Inbound, PeerState
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
from mcpcore.spec.methods import KNOWN_METHODS, MethodKind
from mcpcore.spec.revisions import LATEST
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_PROTOCOL_VERSION,
    RequestMeta,
    Skim,
)
from mcpcore.wire.jsontext import shortened

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_CLIENT, _REQUEST = Role.CLIENT, MethodKind.REQUEST
_ENDING = frozenset({SessionState.CLOSING, SessionState.CLOSED})


def read_metadata(
    state: PeerState, method: str, params: Raw, mirror: Mirror | None
) -> tuple[Skim, ErrorData | None]:
    """Read ``_meta`` as strictly as the request's era asks for; return it and the error, if any.

    For params that :func:`~mcpcore.engine.bodies.decode_skim` does not take.
    """
    try:
        return read_skim(params, partial(_is_modern, state, method, mirror)), None
    except UNREADABLE as error:
        return NO_SKIM, ErrorData(INVALID_PARAMS, f"invalid params: {error}")


def climb(state: PeerState, arrival: Inbound, mirror: Mirror | None) -> ErrorData | None:
    """Take a request up the ladder; return the error that refuses it, or None if it passes.

    ``mirror`` is what the HTTP headers claim.  Most requests pass, which one look-up tells; all
    others go through the rungs one by one, which find the reason.
    """
    meta = arrival.meta
    version = meta.protocol_version
    if state.in_flight_by_id and has_its_own_id(state, arrival) is not None:
        return _climb_by_rungs(state, arrival, mirror)  # an earlier rung may refuse it
    if version is None:
        if meta.client_capabilities is None and mirror is None:
            row = state.profile.usual.get((state.revision, arrival.method))
            if row is not None:
                arrival.row = row
                return None
    elif (capabilities := meta.client_capabilities) is not None and arrival.batch is None:
        row = state.profile.usual.get((version, arrival.method))
        if row is not None and (
            mirror is None
            or (
                mirror.version == version
                and mirror.method == row.name
                and names_the_same(mirror, row, arrival.skim, state.config.header_params)
            )
        ):
            arrival.revision = state.profile.by_name[version]
            arrival.row = row
            arrival.capabilities = capabilities
            arrival.client_info = meta.client_info
            return None
    return _climb_by_rungs(state, arrival, mirror)


def _climb_by_rungs(state: PeerState, arrival: Inbound, mirror: Mirror | None) -> ErrorData | None:
    if _is_modern(state, arrival.method, mirror, arrival.meta):
        return (
            is_alone(arrival)
            or names_its_terms(state, arrival)
            or agrees_with_headers(state, arrival, mirror)
            or speaks_our_revision(state, arrival)
            or names_a_method(state, arrival)
            or has_its_capabilities(state, arrival)
            or has_its_own_id(state, arrival)
        )
    return (
        names_a_method(state, arrival)
        or comes_in_order(state, arrival)
        or has_its_capabilities(state, arrival)
        or has_its_own_id(state, arrival)
    )


def _is_modern(state: PeerState, method: str, mirror: Mirror | None, meta: RequestMeta) -> bool:
    """Return True if a request is modern; the era belongs to the request, not the connection."""
    if state.role is _CLIENT:
        return False
    header = None if mirror is None else mirror.version
    return not state.profile.legacy or is_modern(meta, header, method)


# The modern era: the request carries all of its terms


def is_alone(arrival: Inbound) -> ErrorData | None:
    """Refuse a modern request in a batch: no modern revision has batches."""
    arrival.revision = LATEST
    if arrival.batch is None:
        return None
    return ErrorData(INVALID_REQUEST, f"{arrival.method}: not possible in a batch")


def names_its_terms(state: PeerState, arrival: Inbound) -> ErrorData | None:
    """Require the protocol version and the client's capabilities in ``_meta``."""
    meta = arrival.meta
    if meta.protocol_version is None:
        if arrival.method == "initialize":
            # A legacy client cannot read anything but this error (versioning page).
            return unsupported(_requested_version(arrival.params), state.config.revisions)
        return _missing(META_PROTOCOL_VERSION)
    if meta.client_capabilities is None:
        return _missing(META_CLIENT_CAPABILITIES)
    arrival.capabilities = meta.client_capabilities
    arrival.client_info = meta.client_info
    return None


def agrees_with_headers(
    state: PeerState, arrival: Inbound, mirror: Mirror | None
) -> ErrorData | None:
    """Compare the mirror headers with the body."""
    if mirror is None:
        return None
    version = str(arrival.meta.protocol_version)
    revision = state.profile.by_name.get(version, LATEST)
    row = state.profile.theirs[revision.position].get(arrival.method)
    wanted = state.config.header_params
    flaw = mismatch(mirror, version, arrival.method, row, arrival.skim, arrival.params, wanted)
    return None if flaw is None else ErrorData(HEADER_MISMATCH, f"header mismatch: {flaw}")


def speaks_our_revision(state: PeerState, arrival: Inbound) -> ErrorData | None:
    """Require a revision that this side serves."""
    version = str(arrival.meta.protocol_version)
    revision = state.profile.by_name.get(version)
    if revision is None:
        return unsupported(version, state.config.revisions)
    arrival.revision = revision
    return None


# The legacy era: the handshake sets the terms of a request


def comes_in_order(state: PeerState, arrival: Inbound) -> ErrorData | None:
    """Require ``initialize`` first, once and alone; only ``ping`` may come before it."""
    text = None
    if arrival.method == "initialize":
        if arrival.batch is not None:
            text = "initialize must not be part of a batch"
        elif step(SESSION, state.lifecycle, SessionSignal.INITIALIZE) is None:
            text = "initialize was already received"
    elif state.revision is None and arrival.method != "ping":
        text = f"{shortened(arrival.method)} came before initialize"
    return None if text is None else ErrorData(INVALID_REQUEST, text)


# Both eras


def names_a_method(state: PeerState, arrival: Inbound) -> ErrorData | None:
    """Require a method that the other side may send as a request in this revision."""
    method, revision = arrival.method, arrival.revision
    row = arrival.row = state.profile.theirs[revision.position].get(method)
    if row is not None:
        if row.kind is _REQUEST:
            return None
        return ErrorData(INVALID_REQUEST, f"{method} is a notification and has no id")
    if method in state.config.extension_methods:
        return None
    text = f"method not found: {shortened(method)}"
    if method in KNOWN_METHODS:
        text += f" (no request of a {state.role.other.value} in {revision.name})"
    return ErrorData(METHOD_NOT_FOUND, text)


def has_its_capabilities(state: PeerState, arrival: Inbound) -> ErrorData | None:
    """Require the capabilities that the method needs, of this side and of the client."""
    row = arrival.row
    if row is None:
        return None
    if row.capability is not None and row.capability not in state.profile.offered:
        text = f"this {state.role.value} does not declare {row.capability!r}"
        return ErrorData(METHOD_NOT_FOUND, f"method not found: {arrival.method} ({text})")
    missing = row.peer_capability
    if missing is not None and not declares(arrival.capabilities, missing):
        return lacks_capability(arrival.method, missing)
    return None


def has_its_own_id(state: PeerState, arrival: Inbound) -> ErrorData | None:
    """Refuse an id that another request in flight has."""
    if state.slot(arrival.route, arrival.id) not in state.in_flight_by_id:
        return None
    return ErrorData(INVALID_REQUEST, "a request with this id is already in flight")


# The last rungs, for requests that stay in flight


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
