"""What a schema and a value may cost: bounds as settings, and the look at a value before all else.

Source: base protocol page, "Composition-Keyword Resource Use".
"""

from typing import Any

from msgspec import Struct


class SchemaLimits(Struct, frozen=True, kw_only=True):
    """Bounds of schemas and of the values that are held against them."""

    schema_size: int = 1024 * 1024
    """Bytes of a schema as JSON."""
    subschemas: int = 10_000
    """Of one schema."""
    schema_depth: int = 64
    """How deep subschemas may nest in one another."""
    pattern_length: int = 1_000
    """Characters of one pattern."""
    pattern_memory: int = 32 * 1024 * 1024
    """Bytes for all compiled patterns of a schema, of which one gets a quarter at most."""
    value_size: int = 4 * 1024 * 1024
    """Members, items and characters of a value."""
    value_depth: int = 128
    """How deep a value may nest."""
    steps: int = 200_000
    """Work for one value: keywords evaluated, a second or two at most."""


class TooMuchWork(Exception):
    """What was allowed for one value is used up."""


TOO_MUCH = ": validating this takes too much work"


def measure(value: Any, limits: SchemaLimits) -> str | None:
    """Say whether a value is too large or too deep; linear, and nothing is recursive."""
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
