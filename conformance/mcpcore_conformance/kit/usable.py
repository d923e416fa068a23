"""Of what a peer has said, what can be used: for whoever only looks for something to work with.

That the rest is malformed is for the cases to find that are about its shape.
"""

from typing import Any


def members(value: Any) -> dict[str, Any]:
    """The members of an object; none of what is no object."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The items of an array; none of what is no array."""
    return value if isinstance(value, list) else []


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of an array."""
    return [each for each in items(value) if isinstance(each, dict)]


def texts(value: Any) -> list[str]:
    """The strings of an array."""
    return [each for each in items(value) if isinstance(each, str)]


def whole(value: Any, otherwise: int = 0) -> int:
    """A number that is an integer, and no truth value."""
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise
