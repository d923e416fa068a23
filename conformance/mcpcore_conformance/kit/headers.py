"""The HTTP headers that a client owes with a message, made by the kit's own reading of the pages.

Source: basic/transports/streamable-http of 2026-07-28, basic/transports of the older revisions.
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import META_PROTOCOL_VERSION
from mcpcore_conformance.kit.json_schema import subschemas
from mcpcore_conformance.kit.usable import members

ACCEPT = "application/json, text/event-stream"
_PREFIX, _SUFFIX = "=?base64?", "?="
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
"""Characters that may be in the name of a header (RFC 9110, section 5.6.2)."""


def for_message(payload: bytes, revision: Revision, agreed: bool) -> dict[str, str]:
    """The headers of a POST that carries ``payload``; ``agreed``: the handshake is behind us."""
    made = {"content-type": "application/json", "accept": ACCEPT}
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        value = None
    if not revision.mirror_headers:
        if revision.version_header and agreed:
            made["mcp-protocol-version"] = revision.name
        return made
    made["mcp-protocol-version"] = revision.name
    if not isinstance(value, dict) or not isinstance(value.get("method"), str):
        return made
    params = value.get("params")
    params = params if isinstance(params, dict) else {}
    meta = params.get("_meta")
    if isinstance(meta, dict) and isinstance(meta.get(META_PROTOCOL_VERSION), str):
        made["mcp-protocol-version"] = meta[META_PROTOCOL_VERSION]
    made["mcp-method"] = value["method"]
    row = lookup(value["method"], "client", revision)
    named = row.subject if row is not None and row.header else None
    if named is not None and isinstance(params.get(named), str):
        made["mcp-name"] = header_value(params[named])
    return made


def for_arguments(schema: dict[str, Any], arguments: dict[str, Any]) -> dict[str, str]:
    """The ``mcp-param-*`` headers of a call, for the properties that ask to be mirrored.

    What is malformed in the schema, or asks for what is no name of a header, asks for nothing.
    """
    made: dict[str, str] = {}
    for name, rules in members(schema.get("properties")).items():
        if not isinstance(rules, dict) or arguments.get(name) is None:
            continue
        if header := mirror(rules):
            made[header] = _text(arguments[name])
        elif isinstance(arguments[name], dict):
            made.update(for_arguments(rules, arguments[name]))
    return made


def mirrored(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[dict[str, Any], bool]]:
    """The parts of a schema that ask to be mirrored, and whether ``properties`` alone lead there.

    ``path``: the keywords that have led to this schema.
    """
    if "x-mcp-header" in members(schema):
        yield schema, {*path} == {"properties"}
    for keyword, inner in subschemas(schema):
        yield from mirrored(inner, (*path, keyword))


def mirror(rules: dict[str, Any]) -> str:
    """The header that a property asks to be mirrored into; empty if in none that there can be."""
    wanted = rules.get("x-mcp-header")
    if not isinstance(wanted, str) or not _TOKEN.fullmatch(wanted):
        return ""
    return f"mcp-param-{wanted.lower()}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return header_value(value) if isinstance(value, str) else json.dumps(value)


def header_value(text: str) -> str:
    """Write a value so that it survives a header: as it is, or in the base64 sentinel."""
    plain = all(" " <= each <= "~" for each in text) and text == text.strip(" ")
    if plain and not (text.startswith(_PREFIX) and text.endswith(_SUFFIX)):
        return text
    encoded = base64.b64encode(text.encode(errors="surrogatepass")).decode()
    return f"{_PREFIX}{encoded}{_SUFFIX}"
