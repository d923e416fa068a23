"""The inbound ladder: what a request of the other side has to pass before it is served.

Each rung is one function that passes a request on, noting what it found out, or says why it may
not.  The order is the specification's: what stands in the message, then what the headers claim,
the revision, the method, the state of the session, the capabilities, the table of requests in
flight.  Source: 2026-07-28, basic protocol (``_meta``), versioning, Streamable HTTP ("Server
Validation"); the lifecycle page of 2025-11-25.
"""

from functools import partial

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.json import Decoder

from mcpcore.engine.base import PeerBase
from mcpcore.engine.config import Role
from mcpcore.engine.lifecycle import SESSION, Session, SessionSignal, step
from mcpcore.engine.metadata import decode_skim, read_member, read_skim
from mcpcore.engine.mirror import mismatch, names_the_same
from mcpcore.engine.negotiation import is_modern, unsupported
from mcpcore.engine.requests import NO_PARAMS, Inbound
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
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore.spec.types.base import (
    META_CLIENT_CAPABILITIES,
    META_PROTOCOL_VERSION,
    RequestMeta,
)
from mcpcore.spec.types.capabilities import ClientCapabilities
from mcpcore.wire.jsontext import shortened

# Bound once, as members of an Enum are slow to look up and these are needed for every message.
_CLIENT, _REQUEST = Role.CLIENT, MethodKind.REQUEST
_CLOSING, _CLOSED = Session.CLOSING, Session.CLOSED


def climb(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """Take a request up the ladder; say why it may not be served, or None if it may."""
    refusal = read_metadata(peer, arrival)
    if refusal is not None or is_usual(peer, arrival):
        return refusal
    if _is_modern(peer, arrival, arrival.meta):
        return (
            is_alone(arrival)
            or names_its_terms(peer, arrival)
            or agrees_with_headers(peer, arrival)
            or speaks_our_revision(peer, arrival)
            or names_a_method(peer, arrival)
            or has_its_capabilities(peer, arrival)
            or has_its_own_id(peer, arrival)
        )
    return (
        belongs_to_session(peer, arrival)
        or names_a_method(peer, arrival)
        or comes_in_order(peer, arrival)
        or has_its_capabilities(peer, arrival)
        or has_its_own_id(peer, arrival)
    )


def is_usual(peer: PeerBase, arrival: Inbound) -> bool:
    """Tell at once that a request passes all rungs, as nearly all do.

    That it does not pass is for the rungs to find.
    """
    meta = arrival.meta
    version = meta.protocol_version
    terms = peer.revision if version is UNSET else version
    usual = peer.profile.usual.get((terms, arrival.method))
    if usual is None or (
        peer.in_flight_by_id and peer.slot(arrival.route, arrival.id) in peer.in_flight_by_id
    ):
        return False
    revision, row = usual
    capabilities, mirror = meta.client_capabilities, arrival.mirror
    if version is UNSET:
        if capabilities is not UNSET or mirror is not None:
            return False
        belongs_to_session(peer, arrival)
        arrival.row = row
        return True
    if capabilities is UNSET or arrival.batch is not None:
        return False
    if mirror is not None and not (
        mirror.version == version
        and mirror.method == row.name
        and names_the_same(mirror, row, arrival.skim, peer.config.header_params)
    ):
        return False
    arrival.revision = revision
    arrival.row = row
    arrival.capabilities = capabilities
    if meta.client_info is not UNSET:
        arrival.client_info = meta.client_info
    return True


def read_metadata(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """The second look at a message: ``_meta``, and the members that headers mirror."""
    if arrival.params is NO_PARAMS:
        return None
    try:
        skim = decode_skim(arrival.params)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        try:
            skim = read_skim(arrival.params, partial(_is_modern, peer, arrival))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return ErrorData(INVALID_PARAMS, f"invalid params: {error}")
    arrival.skim = skim
    if skim.meta is not UNSET:
        arrival.meta = skim.meta
    return None


def _is_modern(peer: PeerBase, arrival: Inbound, meta: RequestMeta) -> bool:
    """The era belongs to the request, not to the connection."""
    if peer.role is _CLIENT:
        return False
    header = None if arrival.mirror is None else arrival.mirror.version
    return not peer.profile.legacy or is_modern(meta, header, arrival.method)


# The modern era: everything stands in the request


def is_alone(arrival: Inbound) -> ErrorData | None:
    """No revision of the modern era has batches."""
    arrival.revision = LATEST
    if arrival.batch is None:
        return None
    return ErrorData(INVALID_REQUEST, f"{arrival.method}: not possible in a batch")


def names_its_terms(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """``_meta`` must name the protocol version and the client's capabilities."""
    meta = arrival.meta
    if meta.protocol_version is UNSET:
        if arrival.method == "initialize":
            # A legacy client cannot read anything but this error (versioning page).
            return unsupported(_requested_version(arrival.params), peer.config.revisions)
        return _missing(META_PROTOCOL_VERSION)
    if meta.client_capabilities is UNSET:
        return _missing(META_CLIENT_CAPABILITIES)
    arrival.capabilities = meta.client_capabilities
    if meta.client_info is not UNSET:
        arrival.client_info = meta.client_info
    return None


def agrees_with_headers(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """What the HTTP headers mirror must be what the body says."""
    if arrival.mirror is None:
        return None
    version = str(arrival.meta.protocol_version)
    revision = peer.profile.by_name.get(version, LATEST)
    row = peer.profile.theirs[revision.position].get(arrival.method)
    wanted = peer.config.header_params
    flaw = mismatch(
        arrival.mirror, version, arrival.method, row, arrival.skim, arrival.params, wanted
    )
    return None if flaw is None else ErrorData(HEADER_MISMATCH, f"header mismatch: {flaw}")


def speaks_our_revision(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """We must serve the revision that it names."""
    version = str(arrival.meta.protocol_version)
    revision = peer.profile.by_name.get(version)
    if revision is None:
        return unsupported(version, peer.config.revisions)
    arrival.revision = revision
    return None


# The legacy era: what was agreed in the handshake


def belongs_to_session(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """It is read as the handshake says (before one, as of the newest revision that has any)."""
    arrival.revision = peer.revision or LATEST_LEGACY
    arrival.client_info = peer.peer_info
    if isinstance(peer.peer_capabilities, ClientCapabilities):
        arrival.capabilities = peer.peer_capabilities
    return None


def comes_in_order(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """``initialize`` comes first, once and alone; nothing but ``ping`` comes before it."""
    text = None
    if arrival.method == "initialize":
        if arrival.batch is not None:
            text = "initialize must not be part of a batch"
        elif step(SESSION, peer.state, SessionSignal.INITIALIZE) is None:
            text = "initialize was already received"
    elif peer.revision is None and arrival.method != "ping":
        text = f"{shortened(arrival.method)} came before initialize"
    return None if text is None else ErrorData(INVALID_REQUEST, text)


# Both eras


def names_a_method(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """The other side must be able to send this request in this revision."""
    method, revision = arrival.method, arrival.revision
    row = arrival.row = peer.profile.theirs[revision.position].get(method)
    if row is not None:
        if row.kind is _REQUEST:
            return None
        return ErrorData(INVALID_REQUEST, f"{method} is a notification and has no id")
    if method in peer.config.extension_methods:
        return None
    text = f"method not found: {shortened(method)}"
    if method in KNOWN_METHODS:
        text += f" (no request of a {peer.role.other.value} in {revision.name})"
    return ErrorData(METHOD_NOT_FOUND, text)


def has_its_capabilities(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """We must have declared what the method needs of us, and the client what it needs of it."""
    row = arrival.row
    if row is None:
        return None
    if row.capability is not None and row.capability not in peer.profile.offered:
        text = f"this {peer.role.value} does not declare {row.capability!r}"
        return ErrorData(METHOD_NOT_FOUND, f"method not found: {arrival.method} ({text})")
    missing = row.peer_capability
    if missing is not None and not declares(arrival.capabilities, missing):
        return lacks_capability(arrival.method, missing)
    return None


def has_its_own_id(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """No other request with this id may be in flight."""
    if peer.slot(arrival.route, arrival.id) not in peer.in_flight_by_id:
        return None
    return ErrorData(INVALID_REQUEST, "a request with this id is already in flight")


# The last rungs, for requests that stay in flight


def is_early_enough(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """Nothing new begins once the end has begun."""
    if peer.state is not _CLOSING and peer.state is not _CLOSED:
        return None
    text = f"this {peer.role.value} is shutting down"
    return ErrorData(busy_code(arrival.revision), text)


def finds_room(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """The tables must have room for one more; listen streams have a limit of their own.

    And it must be early enough.
    """
    if peer.state is _CLOSING or peer.state is _CLOSED:
        return is_early_enough(peer, arrival)
    limit = peer.config.limits.in_flight
    running = len(peer.in_flight_by_id) - len(peer.streams)
    if running < peer.capacity:
        limit = peer.hub.capacity
        if len(peer.hub.inbound) < limit:
            if type(arrival.id) is int and arrival.meta.progress_token is UNSET:
                return None  # as nearly always, and without a call
            return names_itself_shortly(peer, arrival)
    return ErrorData(busy_code(arrival.revision), f"busy: {limit} requests are in flight")


def names_itself_shortly(peer: PeerBase, arrival: Inbound) -> ErrorData | None:
    """What stands in all that is said of a request, its id and its token, has a bounded length."""
    id, token = arrival.id, arrival.meta.progress_token
    limit = peer.config.limits.id
    if isinstance(id, str) and len(id) > limit:
        return ErrorData(INVALID_REQUEST, f"the id has more than {limit} characters")
    if isinstance(token, str) and len(token) > limit:
        text = f"invalid params: _meta.progressToken has more than {limit} characters"
        return ErrorData(INVALID_PARAMS, text)
    return None


def lacks_capability(what: str, missing: str) -> ErrorData:
    """The error for something that takes a capability which the client did not declare."""
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
