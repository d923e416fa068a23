"""Giving memory back after a flood.

What many clients have left behind is garbage in cycles, which Python collects as it makes new
objects and not when nothing happens; free memory between what is still in use, which glibc keeps
until it is asked; and small objects that are kept to be used again.  Python gives its memory back a
mebibyte at a time, so that each of those, wherever the flood has left it, keeps a whole one.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable

_SET_ASIDE = 256
"""So many iterators of futures asyncio sets aside, at most."""


def _trim() -> Callable[[int], int]:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return lambda pad: 0
    return trim


class Tidying:
    """Watches how much there is to do, and says when most of much has gone.

    That is said at once, as a flood may go slowly, and again when it goes no further, as what was
    just about to end is garbage only then.
    """

    def __init__(self, many: int | None) -> None:
        self._many = many
        self._peak = 0
        self._last = 0
        self._again = False

    @property
    def waits(self) -> bool:
        """Whether there is something that may go, so that it has to be looked at."""
        return self._again or (self._many is not None and self._peak >= self._many)

    def look(self, count: int) -> bool:
        """Take note of how much there is now; True if it is time to :func:`tidy` up."""
        self._peak = max(self._peak, count)
        falls, self._last = count < self._last, count
        if self._many is None:
            return False
        if self._peak >= self._many and count <= self._peak // 4:
            self._peak = count
            self._again = True
            return True
        if self._again and not falls:
            self._again = False
            return True
        return False


def tidy() -> None:
    """Collect garbage and give free memory back to the system.

    The event loop waits meanwhile: some milliseconds, and a tenth of a second where 10,000
    connections have just gone.
    """
    gc.collect()
    _renew_iterators()
    _trim()(0)


def _renew_iterators() -> None:
    """Have other iterators set aside than those of the flood."""
    try:
        future = asyncio.get_running_loop().create_future()
    except RuntimeError:  # trio
        return
    old = [iter(future) for _ in range(_SET_ASIDE)]
    new = [iter(future) for _ in range(_SET_ASIDE)]
    del new  # first, and so these are what is set aside
    del old
