"""A mutation of the core, by name, and how soon it is found."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct


class Mutation(Struct, frozen=True):
    """One bug."""

    name: str
    scenario: str
    """Where it shows."""
    change: Callable[[], None]
    only: str = ""
    """Kinds of faults among which it shows soon; "": among all."""
    within: int = 600
    """So many schedules are enough to find it; 0: it shows too seldom, but in its replay."""
    first: int = 0
    """The seed to begin with: some sixty before one that shows it, if it shows seldom."""


def wrapped(owner: type[Any], name: str, make: Callable[[Any], Any]) -> None:
    """Replace a method by what ``make`` makes of it."""
    setattr(owner, name, make(getattr(owner, name)))
