"""JSON values: copies with a short ``repr``, equality, and exact divisibility of numbers.

Source: JSON Schema 2020-12 core, section 4.2.2 "Instance Equality"; validation, section 6.2.1.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

_LONG = 100
"""Maximum characters of a string that is quoted in full."""


class _Object(dict[str, Any]):
    __slots__ = ()

    def __repr__(self) -> str:
        return "{...}"


class _Array(list[Any]):
    __slots__ = ()

    def __repr__(self) -> str:
        return "[...]"


class _Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return "'...'"


def quiet(value: Any) -> Any:
    """Copy a JSON value into one with a short ``repr``: the library quotes values in messages."""
    if isinstance(value, dict):
        return _Object((name, quiet(each)) for name, each in value.items())
    if isinstance(value, list):
        return _Array(map(quiet, value))
    return _Text(value) if isinstance(value, str) and len(value) > _LONG else value


def canonical(value: Any, take: Callable[[int], None]) -> Any:
    """Return a hashable form of a JSON value; equal values have equal forms.

    1 and 1.0 are equal, 1 and true are not.  ``take`` gets the number of members or items visited.
    """
    if isinstance(value, bool):
        return (value,)
    if isinstance(value, dict):
        take(len(value))
        return frozenset((name, canonical(each, take)) for name, each in value.items())
    if isinstance(value, list):
        take(len(value))
        return ("[", *(canonical(each, take) for each in value))
    return value


def divides(divisor: float, value: float) -> bool:
    """Return True if ``value`` is a multiple of ``divisor``, both in their decimal notation."""
    if isinstance(divisor, int) and isinstance(value, int):
        return value % divisor == 0
    return Fraction(repr(value)) % Fraction(repr(divisor)) == 0
