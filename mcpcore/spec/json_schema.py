"""Subschemas of JSON Schema: the keywords that hold them as tables, and a walk over them.

JSON Schema 2020-12 core sections 10 and 11, validation appendix; and for ``definitions``,
``dependencies``, ``additionalItems`` and the array form of ``items`` the drafts before it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

DIALECT = "https://json-schema.org/draft/2020-12/schema"
"""Dialect of a schema without ``$schema`` (base protocol page, "Schema Dialect")."""

SCHEMA = frozenset(
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
"""Keywords whose value is a schema."""
SCHEMA_LIST = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
"""Keywords whose value is an array of schemas."""
SCHEMA_MAP = frozenset(
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
