"""Checks of settings: of their numbers, and of what type checkers find and programs may not."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from msgspec import Struct

_WHOLE: tuple[Any, ...] = (int, int | None)
_NUMBERS: tuple[Any, ...] = (*_WHOLE, float, float | None)


def check_numbers(settings: Struct, *may_be_zero: str) -> None:
    """Refuse what no limit, time or size can be.  Those named may be 0, all others not.

    Raises ValueError, which names the setting.
    """
    kinds: dict[str, Any] = type(settings).__annotations__
    for name in settings.__struct_fields__:
        value, kind = getattr(settings, name), kinds.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            if kind in _NUMBERS and (value is not None or kind in (int, float)):
                raise ValueError(f"{name} must be a number, not {value!r}")
            continue
        if name in may_be_zero:
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, not {value}")
        elif not value > 0:
            least = "at least 1" if kind in _WHOLE else "above 0"
            raise ValueError(f"{name} must be {least}, not {value}")


def check_names(*given: object) -> None:
    """Refuse a string or a mapping for several scopes or roles.

    The characters of the one, or the keys of the other, even that of ``{"write": False}``, would be
    taken for these.  Raises TypeError.
    """
    for each in given:
        if isinstance(each, str | Mapping):
            what = "string" if isinstance(each, str) else "mapping"
            raise TypeError(f"scopes and roles are collections of strings, not a {what}")


def check_kinds(settings: Struct) -> None:
    """Refuse a string for several strings, and what is none of the members or literals there are.

    The characters of a string would be taken for these; what is equal to no member would count as
    none of them; and "false" is true.  Raises ValueError, which names the setting.
    """
    kinds: dict[str, Any] = type(settings).__annotations__
    for name, kind in kinds.items():
        value = getattr(settings, name)
        origins = [get_origin(each) for each in (kind, *get_args(kind))]
        for several in (tuple, frozenset):
            if isinstance(value, str) and several in origins:
                what = several.__name__
                raise ValueError(f"{name} must be a {what} of strings, not the string {value!r}")
        if isinstance(kind, type) and issubclass(kind, Enum):
            if not isinstance(value, kind):
                raise ValueError(f"{name} must be a {kind.__name__}, not {value!r}")
        elif kind is bool and not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, not {value!r}")
        elif get_origin(kind) is Literal and value not in get_args(kind):
            raise ValueError(f"{name} must be one of {get_args(kind)}, not {value!r}")
