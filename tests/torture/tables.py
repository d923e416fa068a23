"""How much objects of ours keep: the tables and counts in all that is alive, named by their place.

Nothing is listed by hand: whatever the garbage collector knows of, and whose class is one of ours
or of the event loops' library, is looked into.  So a table that somebody adds is looked at, too.
"""

import gc
import sqlite3
import sys
from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator
from functools import cache
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

OURS = frozenset({"mcpcore", "mcpcore_transports"})
"""Packages whose objects are looked into ..."""
KEEPERS = OURS | {"anyio"}
"""... and those which have tables of what we do."""
_SIMPLE = frozenset({set, frozenset, deque, bytearray, WeakSet, WeakKeyDictionary})
NUMBERED = {
    *("Deadlines._count", "Endpoint.serial", "Endpoint.last_key"),
    *("HttpServerLink._last_exchange", "SessionTable._count"),
    *(
        "ServerRuntime._unyielding",
        "StoreSteps._count",
        "StoreSteps._numbers",
        "TaskTable._count",
    ),
    *("Trace._connections", "Trace._written", "ReplicaTable._count"),
}
"""Numbers that go up only, as whatever comes gets the next one, or that stay where they are."""
REMEMBERED = {
    **dict.fromkeys(
        ("ToolEntry.encoded", "PromptEntry.encoded", "ResourceEntry.encoded"),
        "an item of a list as each revision has it",
    ),
    "Collection._pages": "a list as each revision has it",
    "Deadlines._heap": "64 that are over, and four for each that is not",
    "Dialect.keywords": "those of a dialect",
    "EventLog._order": "64 events that are gone, and four for each that is kept",
    "Gate._terms": "256 revisions and credentials",
    "HttpEndpoint._running": "an event loop, until another comes",
    "Endpoint._profiles": "8 kinds of clients",
    "LineReader._known": "1,024 lines of heads",
    "LineReader._lengths": "1,024 lengths of bodies",
    "NotificationDispatcher._sessions": "the last one to be told of something",
    "Redactor._known": "256 names",
    "Redactor._labels": "256 names",
    "Redactor._present": "those of 256 names that the last text had",
    "_Life.holders": "the lifespan protocol, and its endpoint, which begins with the first request",
    "RedisStore._here": "where a worker of this process reads on, whose leaving was cut off",
    "RequestParser._kinds": "1,024 kinds of heads",
    "RequestParser._known": "1,024 lines of heads",
    "RequestParser._lengths": "1,024 lengths of bodies",
    "Router._waiting": "64 that are answered while one before them waits, and four for each open",
    "mcpcore_transports.http1.format._HEADS": "256 heads of responses",
    "mcpcore_transports.http1.heads._RESPONSES": "64 heads of responses",
    "objects: trio CancelScope": "1,000 whose deadlines do not matter any more, and two for each",
    "objects: weakref ReferenceType": "of cursors that are gone a connection of SQLite has 200",
}
"""What is kept to be used again, and how much of it at most."""
STORED = {
    *("TaskTable._expiries", "TaskTable._owned", "TaskTable.stored", "TaskTable._tasks"),
}
"""What is there for its time, so that somebody may come back to it."""
_CACHED = type(cache(len))
"""A function that remembers what it has found."""
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
