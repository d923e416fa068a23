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
    """Of one schema, the published ones that it refers to included."""
    schema_depth: int = 64
    """How deep subschemas may nest in one another."""
    pattern_length: int = 1_000
    """Characters of one pattern."""
    pattern_positions: int = 50_000
    """Places for a character in all patterns of a schema, counted repetitions written out."""
    value_size: int = 4 * 1024 * 1024
    """Members, items and characters of a value."""
    value_depth: int = 128
    """How deep a value may nest."""
    steps: int | None = None
    """Work for one value; None: what takes about a second at most, different for each library."""


class TooMuchWork(Exception):
    """What was allowed for one value is used up."""


class Steps:
    """Counts the work for one value: ``left`` is set before, :meth:`take` raises TooMuchWork."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0

    def take(self, count: int) -> None:
        """Use up ``count`` units of some microseconds each."""
        self.left -= count
        if self.left < 0:
            raise TooMuchWork


TOO_MUCH = ": validating this takes too much work"


class Measured(Struct, frozen=True):
    """A value, level by level; a level holds what stands in the same number of containers."""

    nodes: list[int]
    """How many values there are on each level."""
    characters: list[int]
    """How long the strings on each level are together, names of members included."""


def measure(value: Any, limits: SchemaLimits) -> Measured | str:
    """Measure a value, or say what is wrong with it; linear, and nothing is recursive."""
    nodes: list[int] = []
    characters: list[int] = []
    left = limits.value_size
    level = [value]
    while level:
        below: list[Any] = []
        length = 0
        containers = False
        for each in level:
            kind = each.__class__
            if kind is str:
                length += len(each)
            elif kind is dict:
                containers = True
                below.extend(each.values())
                length += sum(map(len, each))
            elif kind is list:
                containers = True
                below.extend(each)
        if containers and len(nodes) >= limits.value_depth:
            return f": nested deeper than {limits.value_depth} levels"
        left -= len(level) + length
        if left < 0:
            return f": larger than {limits.value_size} members, items and characters together"
        nodes.append(len(level))
        characters.append(length)
        level = below
    return Measured(nodes, characters)
