"""Operations on JSON values, of which faults are made: each takes a value and returns another."""

from collections.abc import Callable
from typing import Any

Change = Callable[[Any], Any]
"""Takes a value, returns what goes in its place."""


def put(**members: Any) -> Change:
    """Set members of an object."""
    return lambda value: {**value, **members}


def drop(*names: str) -> Change:
    """Leave members out of an object."""
    return lambda value: {name: each for name, each in value.items() if name not in names}


def over(name: str, change: Change) -> Change:
    """Edit one member of an object, where it is."""
    return lambda value: {**value, name: change(value[name])} if name in value else value


def where(test: Callable[[Any], bool], change: Change) -> Change:
    """Edit the values that pass a test."""
    return lambda value: change(value) if test(value) else value


def each(change: Change) -> Change:
    """Edit every entry of an array."""
    return lambda value: [*map(change, value)]


def first(change: Change) -> Change:
    """Edit the first entry of an array."""
    return lambda value: [change(value[0]), *value[1:]]


def to(found: Any) -> Change:
    """Put something else in the place of a value."""
    return lambda _: found
