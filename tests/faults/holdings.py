"""Tables and numbers that objects of ours hold: all of them, none listed by hand.

:func:`living` finds the objects of a process, :func:`parts` those of one machine; :func:`tables`
and :func:`counts` look into them.  What may stay is in :mod:`tests.faults.allowed`.
"""

import gc
import sqlite3
import sys
from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator
from enum import Enum
from functools import cache
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from msgspec import Struct

from mcpcore.engine.config import Profile
from mcpcore.engine.deadlines import Deadlines
from mcpcore_transports.http1 import heads
from tests.faults.allocated import give_back
from tests.faults.allowed import ENDED, MACHINES, QUEUES, REMEMBERED, SESSIONS, SETTLED
from tests.simulation.rules import demand

OURS = frozenset({"mcpcore", "mcpcore_transports"})
"""Packages whose objects are looked into ..."""
KEEPERS = OURS | {"anyio"}
"""... and those which have tables of what we do."""
_SIMPLE = frozenset({set, frozenset, deque, bytearray, WeakSet, WeakKeyDictionary})
_TABLES = (dict, list, tuple, set, frozenset, deque)
_FEW = 16
"""Members of a table of one object, where requests that go on and sessions are all there is."""
_CACHED = type(cache(len))
"""Functions that remember what they have found."""
_DEEP = 4
"""Tables within tables that are looked into."""


def package(kind: type) -> str:
    """The package of a class."""
    return str(kind.__module__).partition(".")[0]


def living(packages: frozenset[str] = KEEPERS) -> list[Any]:
    """The objects there are of classes of some packages, without those frozen."""
    wanted: dict[type, bool] = {}  # classes are few, and objects many
    found: list[Any] = []
    for each in gc.get_objects():
        kind = type(each)
        if kind not in wanted:
            wanted[kind] = package(kind) in packages
        if wanted[kind]:
            found.append(each)
    return found


def modules() -> list[Any]:
    """Our modules, which have tables as well, and functions that remember what they have found."""
    return [each for name, each in tuple(sys.modules.items()) if name.partition(".")[0] in OURS]


def tables(objects: Iterable[Any]) -> Counter[str]:
    """The members of all tables of some objects, by class and attribute; those within them, too."""
    found: Counter[str] = Counter()
    for each in objects:
        kind = each.__name__ if isinstance(each, ModuleType) else type(each).__name__
        for name, value in _attributes(each):
            _measure(found, f"{kind}.{name}", value)
    return found


def counts(objects: Iterable[Any]) -> Counter[str]:
    """The numbers that some objects keep, by class and attribute."""
    found: Counter[str] = Counter()
    for each in objects:
        for name, value in _attributes(each):
            if type(value) is int:
                found[f"{type(each).__name__}.{name}"] += value
    return found


def rows(db: sqlite3.Connection) -> Counter[str]:
    """The rows of all tables of a store in SQLite, and what it counts."""
    names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    found = Counter(
        {
            name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for (name,) in names
            if name != "facts"
        }
    )
    found.update(dict(db.execute("SELECT * FROM facts WHERE name <> 'secret'")))
    return found


def more(now: Counter[str], before: Counter[str], but: Container[str], by: int = 1) -> list[str]:
    """What has become more by so many, and how much; ``but`` for what may."""
    return [
        f"{name}: {before[name]}, then {count}"
        for name, count in sorted(now.items())
        if count >= before[name] + by and name.partition("[")[0] not in but
    ]


def _attributes(each: Any) -> Iterator[tuple[str, Any]]:
    # A module that comes later brings its builtins along.
    yield from [
        (name, value)
        for name, value in tuple(getattr(each, "__dict__", {}).items())
        if not name.startswith("__")
    ]
    for kind in type(each).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name.startswith("__"):
                continue
            try:
                yield name, object.__getattribute__(each, name)
            except AttributeError:
                continue


def _measure(found: Counter[str], name: str, value: Any, deep: int = 0) -> None:
    inner: Iterable[Any] = ()
    if isinstance(value, _CACHED):
        found[name] += value.cache_info().currsize
        return
    kinds = type(value).__mro__  # asking abstract classes would leave marks at them
    if dict in kinds or WeakValueDictionary in kinds:
        inner = tuple(value.values())
    elif list in kinds or tuple in kinds:
        inner = tuple(value)
    elif _SIMPLE.isdisjoint(kinds):
        return
    found[name] += len(value)
    if deep < _DEEP:
        for each in inner:
            _measure(found, f"{name}[]", each, deep + 1)


# A machine


@cache
def _slots(kind: Any) -> tuple[str, ...] | None:
    """The attributes of a class whose objects are a machine's own; None: they are not.

    A Profile is of all that have its settings, and what is frozen does not grow.
    """
    if package(kind) != "mcpcore" or issubclass(kind, Enum | type | Profile):
        return None
    if issubclass(kind, Struct):
        return None if kind.__struct_config__.frozen else kind.__struct_fields__
    named = [vars(each).get("__slots__", ()) for each in kind.__mro__]
    slots = [(each,) if isinstance(each, str) else tuple(each) for each in named]
    return tuple(name for each in slots for name in each if not name.startswith("__"))


def parts(machine: Any) -> list[Any]:
    """The objects that a machine has, itself among them."""
    found, own, rest = {id(machine): machine}, [machine], [machine]
    while rest:
        each = rest.pop()
        if isinstance(each, _TABLES):
            values = each.values() if isinstance(each, dict) else each
        else:
            kind: Any = type(each)
            slots = _slots(kind) or ()
            values = [getattr(each, name, None) for name in slots]
            values.extend(getattr(each, "__dict__", {}).values())
        for value in values:
            if id(value) in found:
                continue
            kind = type(value)
            if _slots(kind) is not None:
                own.append(value)
            elif not value or not isinstance(value, _TABLES):
                continue
            found[id(value)] = value
            rest.append(value)
    return own


def quiet(machine: Any, name: str) -> None:
    """Demand that a machine in which all that was asked has ended holds no more than it must."""
    own = parts(machine)
    objects = Counter(type(each).__name__ for each in own)
    grown = {
        table: count
        for table, count in tables(own).items()
        if count > _FEW * objects[table.partition(".")[0]] and not _may(table, SESSIONS)
    }
    demand(not grown, "what has ended is forgotten", name, grown)


def empty(machine: Any, name: str) -> None:
    """Demand that a machine that has ended holds nothing any more."""
    own = parts(machine)
    left = {
        table: count for table, count in tables(own).items() if count and not _may(table, ENDED)
    }
    left |= {number: count for number, count in counts(own).items() if number not in MACHINES}
    left = {what: count for what, count in left.items() if count}
    demand(not left, "all tables are empty in the end", name, left)


def _may(table: str, but: dict[str, str]) -> bool:
    name = table.partition("[")[0]
    return table in QUEUES or name in but or name in SETTLED or name in REMEMBERED


# A process


def forget() -> int:
    """Let go of garbage, free memory, and heads that parsers remember; returns the most of one."""
    heads._RESPONSES.clear()
    gc.collect()
    most = 0
    for each in gc.get_objects():
        if type(each) is heads.RequestParser:
            most = max(most, len(each._known), len(each._kinds))
            each._known.clear()
            each._lengths.clear()
            each._kinds.clear()
    give_back()
    return most


def overdue_gone() -> None:
    """Let go of deadlines that were over before their time, and so of what waits for them."""
    for each in gc.get_objects():
        if type(each) is Deadlines:
            each._compact()


def kept() -> Counter[str]:
    """Count members of tables, and objects by class, in this process."""
    overdue_gone()
    forget()
    there = living(KEEPERS)
    kinds = Counter(f"objects: {package(type(each))} {type(each).__qualname__}" for each in there)
    found = tables([*there, *modules()])
    for name in _bounded():
        del found[name]
    return found + kinds


def _bounded() -> set[str]:
    """The functions of our modules that remember so many answers at most."""
    return {
        f"{module.__name__}.{name}"
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, _CACHED) and value.cache_parameters()["maxsize"] is not None
    }
