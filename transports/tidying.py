"""Giving memory back after a flood.

What many clients have left behind is garbage in cycles, which Python collects as it makes new
objects and not when nothing happens, and free memory between what is still in use, which glibc
keeps until it is asked.
"""

import ctypes
import gc
from collections.abc import Callable


def _trim() -> Callable[[int], int]:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return lambda pad: 0
    return trim


class Tidying:
    """Watches how many clients there are, and tidies up when most of many have gone."""

    def __init__(self, many: int | None) -> None:
        self._many = many
        self._peak = 0

    def look(self, clients: int) -> bool:
        """Take note of how many there are now; True if that was the time to tidy up.

        It takes some milliseconds, in which the event loop waits, once for each flood.
        """
        self._peak = max(self._peak, clients)
        if self._many is None or self._peak < self._many or clients > self._peak // 4:
            return False
        self._peak = clients
        gc.collect()
        _trim()(0)
        return True
