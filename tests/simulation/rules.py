"""Rules, and the exception where one is broken."""

from typing import Any


class BreachError(AssertionError):
    """A rule was broken."""


def demand(holds: bool, rule: str, *what: Any) -> None:
    """Raise BreachError unless a rule holds."""
    if not holds:
        raise BreachError(": ".join([rule, *map(str, what)]))
