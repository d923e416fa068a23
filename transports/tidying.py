"""Giving memory back after a flood.

What many clients have left behind is garbage in cycles, which Python collects as it makes new
objects and not when nothing happens; tables that have grown for them, as sets and dictionaries stay
as large when they empty; free memory between what is still in use, which glibc keeps until it is
asked; and small objects that are kept to be used again.

Python's own allocator gives back a mebibyte when nothing at all is left in it: each object that is
in use, wherever the flood has left it, keeps a whole one.  With that of the C library
(``PYTHONMALLOC=malloc``, see :mod:`transports.allocator`) it keeps a page of 4 KiB.
"""

import asyncio
import gc
import operator
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

_SET_ASIDE = 256
"""So many iterators of futures asyncio sets aside, at most."""
_REST = 2
"""Looks between the last two times; there is one a second."""
_KEEPERS = frozenset({"anyio", "asyncio", "mcpcore", "selectors", "transports", "trio"})
"""Packages whose objects have tables of whatever goes on: tasks, connections, sessions."""
_LARGE = 16 * 1024
"""Bytes up to which a table is left as it is."""
_ROOM = 256
"""Bytes for each member above which a table has too much room; a full one has 50 to 100."""
_FEW = 100
"""Members up to which a dictionary is looked into: it may be that of an object's attributes."""
_WEAK = frozenset({WeakSet, WeakKeyDictionary, WeakValueDictionary})
_DICTIONARIES = frozenset({dict, defaultdict, Counter})


def _trim() -> Callable[[int], int]:
    import ctypes  # here and not above: it takes longer than this module does otherwise

    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return lambda pad: 0
    return trim


class Tidying:
    """Watches how much there is to do, and says when most of much has gone.

    That is said at once, as a flood may go slowly; again when it goes no further, as what was just
    about to end is garbage only then; and a last time a little later, when connections that nobody
    counts any more have had their time to linger.
    """

    def __init__(self, many: int | None) -> None:
        self._many = many
        self._peak = 0
        self._last = 0
        self._again = 0
        self._rest = 0

    @property
    def waits(self) -> bool:
        """Whether there is something that may go, so that it has to be looked at."""
        return self._again > 0 or (self._many is not None and self._peak >= self._many)

    def look(self, count: int) -> bool:
        """Take note of how much there is now; True if it is time to :func:`tidy` up."""
        self._peak = max(self._peak, count)
        falls, self._last = count < self._last, count
        if self._many is None:
            return False
        if self._peak >= self._many and count <= self._peak // 4:
            self._peak = count
            self._again, self._rest = 2, 0
            return True
        if not self._again or falls:
            return False
        if self._rest:
            self._rest -= 1
            return False
        self._again -= 1
        self._rest = _REST
        return True


def tidy() -> None:
    """Collect garbage and give free memory back to the system.

    The event loop waits meanwhile: some milliseconds, and a tenth of a second where 10,000
    connections have just gone.
    """
    gc.collect()
    shrink_tables()
    _renew_iterators()
    _trim()(0)


def shrink_tables() -> None:
    """Have tables of the drivers, the machines and the event loop only as large as they need be.

    They are changed in place.  Those that somebody is just going through stay as they are, and what
    others own is not looked at.
    """
    found = {id(table): table for table in _tables() if _roomy(table)}
    for holder in gc.get_referrers(*found.values()) if found else ():
        if type(holder).__name__.endswith("iterator"):
            for table in gc.get_referents(holder):
                found.pop(id(table), None)
    for table in found.values():
        _shrink(table)


def _tables() -> Iterator[Any]:
    """Sets and dictionaries of the keepers: in their modules and in their objects."""
    for name, module in tuple(sys.modules.items()):
        if _keeps(name):
            yield from _among(getattr(module, "__dict__", {}).values())
    kept: dict[type, bool] = {}
    for owner in gc.get_objects():
        kind = type(owner)
        keeps = kept.get(kind)
        if keeps is None:
            keeps = kept[kind] = _keeps(str(kind.__module__))
        if keeps:
            yield from _among(gc.get_referents(owner))


def _keeps(module: str) -> bool:
    return module.partition(".")[0] in _KEEPERS


def _among(values: Iterable[Any], *, deeper: bool = True) -> Iterator[Any]:
    for value in tuple(values):
        kind = type(value)
        if kind is set or kind in _DICTIONARIES:
            yield value
            if deeper and kind is dict and len(value) <= _FEW:
                yield from _among(value.values(), deeper=False)
        elif kind in _WEAK:
            yield value.data


def _roomy(table: Any) -> bool:
    return sys.getsizeof(table) > _LARGE + _ROOM * len(table)


def _shrink(table: Any) -> None:
    """Each change is one call of a C function: no other thread sees a table half empty."""
    if type(table) is set:
        table.intersection_update(table)  # which makes a table anew
        return
    members: dict[Any, Any] = {}
    steps = (
        partial(dict.update, members, table),
        partial(dict.clear, table),
        partial(dict.update, table, members),
    )
    list(map(operator.call, steps))


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
