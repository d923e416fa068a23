"""JSON values with a short ``repr``: the library quotes values in messages, at any length."""

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
    """Copy a JSON value into one with a short ``repr``."""
    if isinstance(value, dict):
        return _Object((name, quiet(each)) for name, each in value.items())
    if isinstance(value, list):
        return _Array(map(quiet, value))
    return _Text(value) if isinstance(value, str) and len(value) > _LONG else value
