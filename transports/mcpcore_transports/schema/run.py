"""Work limit and compiled patterns of a running validation."""

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, TypeAlias

from jsonschema.exceptions import ValidationError

from mcpcore_transports.schema.limits import TooMuchWork
from mcpcore_transports.schema.patterns import Pattern, compile_pattern

PER_ENTRY = 16
"""Entries of a keyword, such as names of members, that cost as much as one evaluation."""
_LOOKUP = 40
"""Nested calls needed to follow a reference, generously."""
_PUBLISHED_PATTERN = 1024 * 1024
"""Maximum bytes of a pattern of a published meta-schema."""

Schema: TypeAlias = dict[str, Any]
Errors: TypeAlias = Iterable[ValidationError]


class Run:
    """State of one validation: the remaining work, and caches that several validations share."""

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


RUN: ContextVar[Run] = ContextVar("RUN")
"""The current validation: the library passes no state to the functions of keywords."""


def matches_any(schema: Schema, name: str) -> bool:
    """Return True if a pattern of ``patternProperties`` matches a name."""
    return any(RUN.get().matches(each, name) for each in schema.get("patternProperties", ()))


def need_stack(calls: int = _LOOKUP) -> None:
    """Raise RecursionError if fewer than ``calls`` nested calls are left.

    References are followed by a library in Rust, which panics at the end of the stack.
    """
    if calls:
        need_stack(calls - 1)
