"""JSON Schemas of tools: the schemas inside a schema, and the arguments that headers mirror.

Source: JSON Schema 2020-12 core sections 10 and 11, validation appendix, and for ``definitions``,
``dependencies``, ``additionalItems`` and the array form of ``items`` the drafts before it; tools
page ("x-mcp-header") and Streamable HTTP page ("Custom Headers from Tool Parameters") of
2026-07-28.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

DIALECT = "https://json-schema.org/draft/2020-12/schema"
"""Dialect of a schema without ``$schema`` (base protocol page, "Schema Dialect")."""

SCHEMA = frozenset(
    {
        *("additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if"),
        *("items", "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    }
)
"""Keywords whose value is a schema."""
SCHEMA_LIST = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
"""Keywords whose value is an array of schemas."""
SCHEMA_MAP = frozenset(
    {"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"}
)
"""Keywords whose value is an object with schemas as its values."""


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield (steps from ``schema``, subschema) for every object schema directly below ``schema``.

    >>> list(subschemas({"properties": {"a": {"type": "string"}}}))
    [(('properties', 'a'), {'type': 'string'})]
    """
    for keyword, value in schema.items():
        if isinstance(value, dict):
            if keyword in SCHEMA_MAP:
                for name, inner in value.items():
                    if isinstance(inner, dict):
                        yield (keyword, name), inner
            elif keyword in SCHEMA:
                yield (keyword,), value
        elif isinstance(value, list) and keyword in SCHEMA_LIST:
            for index, inner in enumerate(value):
                if isinstance(inner, dict):
                    yield (keyword, str(index)), inner


def walk(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield ``schema`` and every object schema below it, without recursion."""
    pending = [schema]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(inner for _, inner in subschemas(node))


# Wrapping: revisions with objects only

WRAPPED = "result"
"""Member that holds a value that is not an object, in revisions with objects only."""


def is_object_schema(schema: Mapping[str, Any]) -> bool:
    """Return True if the schema says explicitly that the value is an object."""
    return schema.get("type") == "object"


def wrap_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of ``{"result": value}`` for a ``value`` of ``schema``.

    References into the document follow the schema to its new place.
    """
    inner = _moved({word: value for word, value in schema.items() if word != "$schema"})
    wrapped: dict[str, Any] = {"$schema": schema["$schema"]} if "$schema" in schema else {}
    return wrapped | {"type": "object", "properties": {WRAPPED: inner}, "required": [WRAPPED]}


def _moved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$id" in schema:
        return schema  # its references start from itself, wherever it stands
    copy = dict(schema)
    for word in ("$ref", "$dynamicRef"):
        target = copy.get(word)
        if isinstance(target, str) and (target == "#" or target.startswith("#/")):
            copy[word] = f"#/properties/{WRAPPED}{target[1:]}"
    for (keyword, *key), inner in subschemas(schema):
        if not key:
            copy[keyword] = _moved(inner)
            continue
        if copy[keyword] is schema[keyword]:
            copy[keyword] = schema[keyword].copy()
        is_list = isinstance(schema[keyword], list)
        copy[keyword][int(key[0]) if is_list else key[0]] = _moved(inner)
    return copy


# Mirrored arguments: a server checks its own tools, a client leaves out those that break a rule

ANNOTATION = "x-mcp-header"

_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""Pattern of a header name: ``1*tchar``, RFC 9110 section 5.6.2.  Compiled when it is needed."""
_TYPES = ("string", "integer", "boolean")


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
    # No recursion: a client runs this on schemas that it received.
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
        pending.extend(reversed(below))  # popped from the end: keeps the order of the schema
    return found


def _check(node: Mapping[str, Any], header: Any, path: tuple[str, ...], reachable: bool) -> None:
    where = f"{ANNOTATION} at {'.'.join(path) or 'the root'!r}"
    if not reachable or not path:
        raise ValueError(f"{where}: only a property reached through 'properties' can be mirrored")
    if not isinstance(header, str) or not re.fullmatch(_NAME, header):
        raise ValueError(f"{where}: {header!r} is no header name (RFC 9110 token)")
    kind = node.get("type")
    if kind not in _TYPES:
        raise ValueError(f"{where}: the type must be one of {', '.join(_TYPES)}, not {kind!r}")
