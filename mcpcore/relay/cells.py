"""The four cells: the era of a client beside the era of the server that its request is for.

Everything that a relay does differently between the eras is told by a :class:`Cell`.
"""

from contextlib import suppress
from enum import Enum

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

from mcpcore.engine.events import Fault, FaultKind
from mcpcore.relay.rewriting import Change, members_of, path, rewrite
from mcpcore.spec.errors import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY_BUSY,
    METHOD_NOT_FOUND,
    RESOURCE_NOT_FOUND,
    UNSUPPORTED_PROTOCOL_VERSION,
    ErrorData,
)
from mcpcore.spec.json_schema import WRAPPED, is_object_schema, wrap_schema
from mcpcore.spec.methods import METHODS
from mcpcore.wire.jsontext import splice, to_json


class Cell(Enum):
    """Pairs of eras: True for a modern client, True for a modern server.

    A modern server learns capabilities and log level from each request, and has no session: one
    conversation with it serves all clients.
    """

    LEGACY = (False, False)
    """A question of the server is a request on the stream of the client's request."""
    MODERN = (True, True)
    """``input_required`` of the server passes, its state sealed."""
    LEGACY_SERVER = (True, False)
    """A question parks the call, which the retry of the client goes on with.  Results get the
    caching hints that they must have."""
    MODERN_SERVER = (False, True)
    """``input_required`` is asked as requests, and answered by a retry.  Results lose their caching
    hints, structured content other than an object is wrapped in one, and -32602 for a URI means
    that there is no such resource."""


CELLS = {cell.value: cell for cell in Cell}
CACHEABLE = frozenset(row.name for row in METHODS if row.cacheable)
"""Methods whose results carry caching hints, where there are any."""
_LEGACY_REFUSALS = frozenset({METHOD_NOT_FOUND, INVALID_REQUEST, INVALID_PARAMS, LEGACY_BUSY})
"""Codes by which legacy servers refuse ``server/discover``."""
_NO_META = "invalid params: _meta is missing "
"""Beginning of what a modern server says of a request of the legacy era."""
_ON_THE_WAY = frozenset(FaultKind) - {FaultKind.STATUS, FaultKind.REDIRECT, FaultKind.MALFORMED}
"""Kinds of failure that say nothing of a handshake."""
_PASSING = frozenset({401, 403, 408, 425, 429, 502, 503, 504})
"""Statuses of HTTP that say nothing of it either."""
_HINTS = ("ttlMs", "cacheScope")
_OUTPUT_SCHEMA, _CONTENT = path("tools/*/outputSchema"), path("structuredContent")

_schema_of = Decoder(dict[str, object]).decode


class _Required(Struct):
    elicitations: list[dict[str, Raw]]


_required_of = Decoder(_Required).decode


def _wrap_schema(schema: Raw) -> Raw:
    rules = _schema_of(schema)
    return schema if is_object_schema(rules) else Raw(to_json(wrap_schema(rules)))


def _wrap(content: Raw) -> Raw:
    return Raw(b'{"%b":%b}' % (WRAPPED.encode(), bytes(content)))


def _wrap_content(content: Raw) -> Raw:
    return content if bytes(content).startswith((b"{", b"null")) else _wrap(content)


_WRAPS: dict[tuple[str, bool], tuple[tuple[str, ...], Change]] = {
    ("tools/list", False): (_OUTPUT_SCHEMA, _wrap_schema),
    ("tools/call", False): (_CONTENT, _wrap_content),
    ("tools/call", True): (_CONTENT, _wrap),
}
"""Members that are wrapped in an object, by method, and True if the schema is known to be."""


def is_wrapped(schema: Raw) -> bool:
    """Return True if an output schema is wrapped."""
    with suppress(MsgspecError):
        return not is_object_schema(_schema_of(schema))
    return False


def result_in(
    cell: Cell, method: str, result: Raw, ttl: float = 0.0, *, wrapped: bool = False
) -> Raw:
    """Return the result of a server in the form that the era of the client asks for.

    ``ttl``: seconds for which the client may keep one of a server without caching hints;
    ``wrapped``: True for the result of a tool whose output schema is wrapped.
    """
    if cell is Cell.MODERN_SERVER and (method, wrapped) in _WRAPS:
        result = rewrite(result, *_WRAPS[method, wrapped])
    if method not in CACHEABLE or cell in (Cell.LEGACY, Cell.MODERN):
        return result
    members = members_of(result)
    hinted = any(name in members for name in _HINTS)
    if cell is Cell.MODERN_SERVER and hinted:
        return Raw(to_json({key: each for key, each in members.items() if key not in _HINTS}))
    if cell is Cell.LEGACY_SERVER and not hinted:
        hints = b'"ttlMs":%d,"cacheScope":"private"' % (ttl * 1000)
        return Raw(splice(to_json(result), hints))
    return result


def url_questions(error: ErrorData) -> dict[str, Raw]:
    """Return the questions that stand for -32042, by which a legacy server asks to open URLs.

    Raises msgspec.MsgspecError for data that names none.  Source: elicitation page of 2025-11-25,
    "URL Elicitation Required Error".
    """
    listed = _required_of(b"{}" if error.data is None else error.data).elicitations
    return {
        str(number): Raw(
            to_json({"method": "elicitation/create", "params": {**each, "mode": "url"}})
        )
        for number, each in enumerate(listed, 1)
    }


def with_elicitation_id(params: Raw, id: str) -> Raw:
    """Return params of a URL elicitation with the id that legacy ones have; others as they are."""
    if b'"url"' not in bytes(params):
        return params
    members = members_of(params)
    if members.get("mode") != Raw(b'"url"') or "elicitationId" in members:
        return params
    return Raw(splice(to_json(params), b'"elicitationId":"%b"' % id.encode()))


def tells_other_era(error: ErrorData, *, modern: bool, opening: bool) -> bool:
    """Return True if an error shows that a server speaks another era than it did.

    ``modern``: True for the era that it spoke; ``opening``: True if it has refused a handshake or
    a discovery.  No text that a server may repeat after a client is enough.
    """
    if error.code == UNSUPPORTED_PROTOCOL_VERSION:
        return True
    if modern:
        return opening and error.code in _LEGACY_REFUSALS
    refused = opening and error.code == METHOD_NOT_FOUND
    return refused or (error.code == INVALID_PARAMS and error.message.startswith(_NO_META))


def refuses_handshake(fault: Fault | None) -> bool:
    """Return True if it is the server that has failed a handshake, and not for the moment."""
    return fault is None or (fault.kind not in _ON_THE_WAY and fault.status not in _PASSING)


def error_in(cell: Cell, method: str, error: ErrorData) -> ErrorData:
    """Return the error of a server with the code that the era of the client has for it.

    Codes that this era lacks are the engine's to replace.
    """
    if error.code == HEADER_MISMATCH:  # the params lack what the relay makes headers of
        return ErrorData(INVALID_PARAMS, f"invalid params: {error.message}")
    about_uri = method == "resources/read" and error.code == INVALID_PARAMS
    if cell is Cell.MODERN_SERVER and about_uri and isinstance(error.data, Raw):
        with suppress(MsgspecError):
            if "uri" in members_of(error.data):
                return ErrorData(RESOURCE_NOT_FOUND, error.message, error.data)
    return error
