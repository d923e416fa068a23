"""Check of the numbers in settings."""

from typing import Any

from msgspec import Struct

_WHOLE: tuple[Any, ...] = (int, int | None)


def check_numbers(settings: Struct, *may_be_zero: str) -> None:
    """Refuse numbers that no limit, time or size can be.  Those named may be 0, all others not.

    Raises ValueError, which names the setting.
    """
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if type(value) not in (int, float):
            continue
        if name in may_be_zero:
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, not {value}")
        elif not value > 0:
            whole = type(settings).__annotations__.get(name) in _WHOLE
            raise ValueError(f"{name} must be {'at least 1' if whole else 'above 0'}, not {value}")
