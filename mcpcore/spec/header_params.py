"""Tool arguments that are mirrored into ``Mcp-Param-*`` headers: the rules of ``x-mcp-header``.

Source: tools page ("x-mcp-header") and Streamable HTTP page ("Custom Headers from Tool
Parameters") of 2026-07-28.  A server checks its own tools when they are declared, a client checks
what ``tools/list`` brought and leaves out the tools that break a rule.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

ANNOTATION = "x-mcp-header"

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""``1*tchar``, RFC 9110 section 5.6.2."""
_TYPES = ("string", "integer", "boolean")

# Where a JSON Schema keeps its subschemas (2020-12 and, for "definitions", "dependencies" and the
# array form of "items", the drafts before it).
SCHEMA_KEYWORDS = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
"""Keywords whose value is a schema (or, in older drafts, an array of schemas)."""
SCHEMA_LIST_KEYWORDS = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
"""Keywords whose value is an array of schemas."""
SCHEMA_MAP_KEYWORDS = frozenset(
    {
        "$defs",
        "definitions",
        "dependencies",
        "dependentSchemas",
        "patternProperties",
        "properties",
    }
)
"""Keywords whose value is an object with schemas as its values."""


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yield (steps from ``schema``, subschema) for every subschema directly below ``schema``.

    >>> list(subschemas({"properties": {"a": {"type": "string"}}}))
    [(('properties', 'a'), {'type': 'string'})]
    """
    for keyword, value in schema.items():
        if isinstance(value, Mapping):
            if keyword in SCHEMA_MAP_KEYWORDS:
                for name, inner in value.items():
                    if isinstance(inner, Mapping):
                        yield (keyword, name), inner
            elif keyword in SCHEMA_KEYWORDS:
                yield (keyword,), value
        elif isinstance(value, list) and keyword in SCHEMA_LIST_KEYWORDS:
            for index, inner in enumerate(value):
                if isinstance(inner, Mapping):
                    yield (keyword, str(index)), inner


def header_params(schema: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the mirrored arguments of an input schema: header part to property path.

    The header part is what follows ``Mcp-Param-``; the path leads through ``properties`` from the
    root of the arguments to the value.  Raises ValueError with the reason if any annotation
    breaks a rule: not a token, not unique (whatever the case), not on a property of type string,
    integer or boolean, or not reachable through ``properties`` alone.

    >>> header_params({"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}})
    {'Region': ('region',)}
    """
    found: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    # A work list and not recursion: a client runs this on schemas that it was sent.
    pending: list[tuple[Mapping[str, Any], tuple[str, ...], bool]] = [(schema, (), True)]
    while pending:
        node, path, reachable = pending.pop()
        if ANNOTATION in node:
            header = node[ANNOTATION]
            _check(node, header, path, reachable)
            if header.lower() in seen:
                raise ValueError(f"{ANNOTATION} {header!r} is used more than once")
            seen.add(header.lower())
            found[header] = path
        below = [
            (inner, (*path, steps[-1]), reachable and steps[0] == "properties")
            for steps, inner in subschemas(node)
        ]
        pending.extend(reversed(below))  # taken from the end: this keeps the order of the schema
    return found


def _check(node: Mapping[str, Any], header: Any, path: tuple[str, ...], reachable: bool) -> None:
    where = f"{ANNOTATION} at {'.'.join(path) or 'the root'!r}"
    if not reachable or not path:
        raise ValueError(f"{where}: only a property reached through 'properties' can be mirrored")
    if not isinstance(header, str) or not _TOKEN.fullmatch(header):
        raise ValueError(f"{where}: {header!r} is no header name (RFC 9110 token)")
    kind = node.get("type")
    if kind not in _TYPES:
        raise ValueError(f"{where}: the type must be one of {', '.join(_TYPES)}, not {kind!r}")
