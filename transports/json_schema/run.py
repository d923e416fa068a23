"""What is kept while a value is held against a schema: the work that is left, and patterns."""

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, TypeAlias

from jsonschema.exceptions import ValidationError

from transports.json_schema.limits import TooMuchWork
from transports.json_schema.patterns import Pattern, compile_pattern

PER_ENTRY = 16
"""Entries of a keyword, such as names of members, that cost as much as evaluating one."""
_LOOKUP = 40
"""Calls within calls that following a reference takes, generously."""
_PUBLISHED_PATTERN = 1024 * 1024
"""Bytes for a pattern of a published meta-schema."""

Schema: TypeAlias = dict[str, Any]
Errors: TypeAlias = Iterable[ValidationError]


class Run:
    """One value held against a schema: the work that is left, and what is kept between runs."""

    __slots__ = ("choices", "left", "patterns")

    def __init__(
        self, steps: int, patterns: dict[str, Pattern], choices: dict[int, frozenset[Any]]
    ) -> None:
        self.left = steps
        self.patterns = patterns
        self.choices = choices
        """Of each ``enum``, by its identity."""

    def take(self, count: int) -> None:
        """Use up ``count`` units of some microseconds each.  Raises TooMuchWork."""
        self.left -= count
        if self.left < 0:
            raise TooMuchWork

    def take_entries(self, count: int) -> None:
        """Use up what it takes to look at so many names or values."""
        self.take(1 + count // PER_ENTRY)

    def matches(self, text: str, subject: str) -> bool:
        """Whether a pattern matches anywhere in ``subject``."""
        pattern = self.patterns.get(text)
        if pattern is None:  # all others were compiled when their schema was read
            pattern = self.patterns[text] = compile_pattern(text, _PUBLISHED_PATTERN)
        encoded = subject.encode("utf-8", "surrogatepass")
        self.take(pattern.work(len(encoded)))
        return pattern.matches(encoded)


RUN: ContextVar[Run] = ContextVar("RUN")
"""The library hands its functions no state of ours."""


def matches_any(schema: Schema, name: str) -> bool:
    """Whether ``patternProperties`` have a pattern for a name."""
    return any(RUN.get().matches(each, name) for each in schema.get("patternProperties", ()))


def need_stack(calls: int = _LOOKUP) -> None:
    """Raise RecursionError if there are not so many calls within calls left.

    Following a reference leads through a library in Rust, which panics where the stack ends.
    """
    if calls:
        need_stack(calls - 1)
