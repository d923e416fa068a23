"""Limits of schemas and values, as settings, and the size check of a value before validation.

Source: base protocol page, "Composition-Keyword Resource Use".
"""

from typing import Any

from msgspec import Struct


class SchemaLimits(Struct, frozen=True, kw_only=True):
    """Limits of schemas and of the values that are validated."""

    schema_size: int = 1024 * 1024
    """Maximum bytes of a schema as JSON."""
    subschemas: int = 10_000
    """Maximum subschemas of one schema."""
    schema_depth: int = 64
    """Maximum nesting depth of subschemas."""
    pattern_length: int = 1_000
    """Maximum characters of one pattern."""
    pattern_memory: int = 32 * 1024 * 1024
    """Maximum bytes of all compiled patterns of a schema; one pattern gets a quarter at most."""
    value_size: int = 4 * 1024 * 1024
    """Maximum members, items and characters of a value, in total."""
    value_depth: int = 128
    """Maximum nesting depth of a value."""
    steps: int = 200_000
    """Maximum work for one value, in evaluated keywords: a second or two at most."""


class TooMuchWork(Exception):
    """The work that is allowed for one value is used up."""


TOO_MUCH = ": validating this takes too much work"


def measure(value: Any, limits: SchemaLimits) -> str | None:
    """Return a message if a value is too large or too deep, else None; linear, not recursive."""
    depth = 0
    left = limits.value_size
    level = [value]
    while level:
        below: list[Any] = []
        size = len(level)
        containers = False
        for each in level:
            kind = each.__class__
            if kind is str:
                size += len(each)
            elif kind is dict:
                containers = True
                below.extend(each.values())
                size += sum(map(len, each))
            elif kind is list:
                containers = True
                below.extend(each)
        if containers and depth >= limits.value_depth:
            return f": nested deeper than {limits.value_depth} levels"
        left -= size
        if left < 0:
            return f": larger than {limits.value_size} members, items and characters together"
        depth += 1
        level = below
    return None
