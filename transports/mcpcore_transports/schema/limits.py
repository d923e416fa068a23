"""Limits of schemas, of values, and of the work of one validation.

Source: base protocol page, "Composition-Keyword Resource Use".
"""

from contextvars import ContextVar
from typing import Any

from msgspec import Struct

from mcpcore_transports.schema.patterns import Pattern, compile_pattern

PER_ENTRY = 16
"""Entries of a keyword, such as names of members, that cost as much as one evaluation."""
_LOOKUP = 40
"""Nested calls needed to follow a reference, generously."""
_PUBLISHED_PATTERN = 1024 * 1024
"""Maximum bytes of a pattern of a published meta-schema."""


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


class Work:
    """Remaining work of one validation, with caches that several validations share."""

    __slots__ = ("choices", "left", "patterns")

    def __init__(
        self, steps: int, patterns: dict[str, Pattern], choices: dict[int, frozenset[Any]]
    ) -> None:
        self.left = steps
        self.patterns = patterns
        self.choices = choices
        """Hashable choices of each ``enum``, by the identity of the keyword's value."""

    def take(self, count: int) -> None:
        """Use up ``count`` units of work, some microseconds each.  Raises TooMuchWork."""
        self.left -= count
        if self.left < 0:
            raise TooMuchWork

    def take_entries(self, count: int) -> None:
        """Use up the work of visiting ``count`` names or values."""
        self.take(1 + count // PER_ENTRY)

    def matches(self, text: str, subject: str) -> bool:
        """Return True if a pattern matches anywhere in ``subject``."""
        pattern = self.patterns.get(text)
        if pattern is None:  # a meta-schema's; a schema's are compiled when it is read
            pattern = self.patterns[text] = compile_pattern(text, _PUBLISHED_PATTERN)
        encoded = subject.encode("utf-8", "surrogatepass")
        self.take(pattern.work(len(encoded)))
        return pattern.matches(encoded)


WORK: ContextVar[Work] = ContextVar("WORK")
"""The current validation: the library passes no state to the functions of keywords."""


def matches_any(schema: dict[str, Any], name: str) -> bool:
    """Return True if a pattern of ``patternProperties`` matches a name."""
    return any(WORK.get().matches(each, name) for each in schema.get("patternProperties", ()))


def need_stack(calls: int = _LOOKUP) -> None:
    """Raise RecursionError if fewer than ``calls`` nested calls are left.

    References are followed by a library in Rust, which panics at the end of the stack.
    """
    if calls:
        need_stack(calls - 1)
