"""The four cells: the era of a client beside the era of the server that its request is for.

Everything that a relay does differently between the eras is a member of :class:`Cell`.
"""

from enum import Enum

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

from mcpcore.relay.rewriting import Change, path, rewrite
from mcpcore.service.schema import WRAPPED, is_object_schema, wrap_schema
from mcpcore.spec.errors import INVALID_PARAMS, RESOURCE_NOT_FOUND, ErrorData
from mcpcore.spec.methods import METHODS
from mcpcore.wire.message import splice, to_json


class Questions(Enum):
    """Ways of a server's question to the client."""

    FORWARD = "request on the stream of the client's request"
    PASS = "input_required of the server, its state sealed"  # noqa: S105 - no secret
    PARK = "input_required for a call that waits here"
    ASK = "requests for an input_required, then a retry"


class Cell(Struct, frozen=True):
    """Needs of a pair of eras, for the relay between them."""

    questions: Questions
    by_request: bool
    """True if the server learns capabilities and log level from each request, and has no session:
    one conversation with it serves all clients."""
    hints: bool | None = None
    """True to add the caching hints that results must have, False to drop those of the server."""
    objects: bool = False
    """True if structured content other than an object has to be wrapped in one."""
    not_found: bool = False
    """True if -32602 for a URI means that there is no such resource."""


CELLS: dict[tuple[bool, bool], Cell] = {
    (False, False): Cell(Questions.FORWARD, by_request=False),
    (True, True): Cell(Questions.PASS, by_request=True),
    (True, False): Cell(Questions.PARK, by_request=False, hints=True),
    (False, True): Cell(Questions.ASK, by_request=True, hints=False, objects=True, not_found=True),
}
"""Cells by (modern client, modern server)."""

CACHEABLE = frozenset(row.name for row in METHODS if row.cacheable)
"""Methods whose results carry caching hints, where there are any."""
_HINTS = ("ttlMs", "cacheScope")
_STALE = b'"ttlMs":0,"cacheScope":"private"'
_OUTPUT_SCHEMA, _CONTENT = path("tools/*/outputSchema"), path("structuredContent")

_members_of = Decoder(dict[str, Raw]).decode
_schema_of = Decoder(dict[str, object]).decode


class _Required(Struct):
    elicitations: list[dict[str, Raw]]


_required_of = Decoder(_Required).decode


def _wrap_schema(schema: Raw) -> Raw:
    rules = _schema_of(schema)
    return schema if is_object_schema(rules) else Raw(to_json(wrap_schema(rules)))


def _wrap_content(content: Raw) -> Raw:
    if bytes(content).startswith((b"{", b"null")):
        return content
    return Raw(b'{"%b":%b}' % (WRAPPED.encode(), bytes(content)))


_WRAPS: dict[str, tuple[tuple[str, ...], Change]] = {
    "tools/list": (_OUTPUT_SCHEMA, _wrap_schema),
    "tools/call": (_CONTENT, _wrap_content),
}


def result_in(cell: Cell, method: str, result: Raw) -> Raw:
    """Return the result of a server in the form that the era of the client asks for."""
    if cell.objects and method in _WRAPS:
        result = rewrite(result, *_WRAPS[method])
    if cell.hints is None or method not in CACHEABLE:
        return result
    members = _members_of(result)
    if not any(name in members for name in _HINTS):
        return Raw(splice(to_json(result), _STALE)) if cell.hints else result
    if cell.hints:
        return result
    return Raw(to_json({key: each for key, each in members.items() if key not in _HINTS}))


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
    members = _members_of(params)
    if members.get("mode") != Raw(b'"url"') or "elicitationId" in members:
        return params
    return Raw(splice(to_json(params), b'"elicitationId":"%b"' % id.encode()))


def error_in(cell: Cell, method: str, error: ErrorData) -> ErrorData:
    """Return the error of a server with the code that the era of the client has for it.

    Codes that this era lacks are the engine's to replace.
    """
    about_uri = method == "resources/read" and error.code == INVALID_PARAMS
    if not (cell.not_found and about_uri and isinstance(error.data, Raw)):
        return error
    try:
        names_uri = "uri" in _members_of(error.data)
    except MsgspecError:
        return error
    return ErrorData(RESOURCE_NOT_FOUND, error.message, error.data) if names_uri else error
