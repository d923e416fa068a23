"""When two JSON values are the same, and when one number divides another, exactly.

Source: JSON Schema 2020-12 core, section 4.2.2 "Instance Equality"; validation, section 6.2.1.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any


def canonical(value: Any, take: Callable[[int], None]) -> Any:
    """Return something hashable that equals that of another value if these are the same JSON.

    1 and 1.0 are, 1 and true are not.  ``take`` is told how many members and items were seen.
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
    """Whether ``value`` is a multiple of ``divisor``, both as they are written in decimal."""
    if isinstance(divisor, int) and isinstance(value, int):
        return value % divisor == 0
    return Fraction(repr(value)) % Fraction(repr(divisor)) == 0
