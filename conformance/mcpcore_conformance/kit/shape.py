"""Small building blocks of shapes: each takes a value and says what is wrong with it.

A shape is a function of a value and of where it was found; it returns an empty string if there is
nothing to say.  Members that a record does not name are not looked at, as every revision allows
further ones.
"""

from collections.abc import Callable, Mapping
from typing import Any

Shape = Callable[[Any, str], str]


def anything(value: Any, at: str) -> str:
    """Take any JSON value."""
    return ""


def string(value: Any, at: str) -> str:
    """Take a string."""
    return "" if isinstance(value, str) else f"{at} has to be a string, not {name(value)}"


def flag(value: Any, at: str) -> str:
    """Take a boolean."""
    return "" if isinstance(value, bool) else f"{at} has to be a boolean, not {name(value)}"


def structure(value: Any, at: str) -> str:
    """Take an object with whatever members."""
    return "" if isinstance(value, dict) else f"{at} has to be an object, not {name(value)}"


def number(at_least: float | None = None, at_most: float | None = None) -> Shape:
    """Take a number within bounds."""

    def look(value: Any, at: str) -> str:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return f"{at} has to be a number, not {name(value)}"
        if at_least is not None and value < at_least:
            return f"{at} has to be at least {at_least:g}, not {value}"
        if at_most is not None and value > at_most:
            return f"{at} has to be at most {at_most:g}, not {value}"
        return ""

    return look


def integer(at_least: int | None = None) -> Shape:
    """Take a number without a fraction."""
    bounds = number(at_least)

    def look(value: Any, at: str) -> str:
        whole = isinstance(value, float) and value.is_integer()
        if isinstance(value, bool) or not (isinstance(value, int) or whole):
            return f"{at} has to be an integer, not {name(value)}"
        return bounds(value, at)

    return look


def one_of(*values: str) -> Shape:
    """Take one of some strings."""

    def look(value: Any, at: str) -> str:
        if isinstance(value, str) and value in values:
            return ""
        return f"{at} has to be {' or '.join(map(repr, values))}, not {value!r}"

    return look


def array(of: Shape, at_most: int | None = None) -> Shape:
    """Take an array, each element of that shape."""

    def look(value: Any, at: str) -> str:
        if not isinstance(value, list):
            return f"{at} has to be an array, not {name(value)}"
        if at_most is not None and len(value) > at_most:
            return f"{at} has {len(value)} elements, {at_most} are the most"
        found = (of(each, f"{at}[{index}]") for index, each in enumerate(value))
        return next(filter(None, found), "")

    return look


def mapping(of: Shape) -> Shape:
    """Take an object, each member of that shape."""

    def look(value: Any, at: str) -> str:
        if not isinstance(value, dict):
            return f"{at} has to be an object, not {name(value)}"
        return next(filter(None, (of(each, f"{at}.{key}") for key, each in value.items())), "")

    return look


def record(needed: Mapping[str, Shape], others: Mapping[str, Shape] | None = None) -> Shape:
    """Take an object that has the needed members; those that are named have their shape."""
    known = {**needed, **(others or {})}

    def look(value: Any, at: str) -> str:
        if not isinstance(value, dict):
            return f"{at or 'it'} has to be an object, not {name(value)}"
        for member in needed:
            if member not in value:
                return f"{at}.{member} is missing" if at else f"{member} is missing"
        for member, shape in known.items():
            if member in value:
                problem = shape(value[member], f"{at}.{member}" if at else member)
                if problem:
                    return problem
        return ""

    return look


def tagged(tag: str, shapes: Mapping[str, Shape]) -> Shape:
    """Take an object whose member ``tag`` says which shape it has."""

    def look(value: Any, at: str) -> str:
        if not isinstance(value, dict):
            return f"{at} has to be an object, not {name(value)}"
        kind = value.get(tag)
        if not isinstance(kind, str) or kind not in shapes:
            return f"{at}.{tag} has to be one of {', '.join(shapes)}, not {kind!r}"
        return shapes[kind](value, at)

    return look


def either(*shapes: Shape) -> Shape:
    """Take what one of the shapes takes; otherwise the last one says what is wrong."""

    def look(value: Any, at: str) -> str:
        problem = ""
        for shape in shapes:
            problem = shape(value, at)
            if not problem:
                return ""
        return problem

    return look


def nothing_or(shape: Shape) -> Shape:
    """Take null as well."""
    return lambda value, at: "" if value is None else shape(value, at)


def name(value: Any) -> str:
    """Describe the kind of a value, for a message."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    kinds: dict[type, str] = {dict: "an object", list: "an array", str: "a string"}
    return kinds.get(type(value), repr(value))
