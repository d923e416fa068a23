"""What machines hold: the tables and numbers of all objects that one has, whatever they are called.

Nothing is listed by hand but what may stay: a table that somebody adds is looked at as well.
"""

from collections import Counter, deque
from enum import Enum
from functools import cache
from typing import Any

from msgspec import Struct

from mcpcore.engine.config import Profile
from tests.simulation.rules import demand
from tests.torture.tables import NUMBERED, REMEMBERED, counts, package, tables

_FEW = 16
"""Members of a table of one object, where requests that go on and sessions are all there is."""
_SETTLED = {
    "Gate._lines": "a setting",
    "Gate._methods": "a setting",
    "Gate._versions": "a setting",
    "NoteQueue._heard": "announcements that were heard of, 1,024 at most",
    "OriginPolicy._wide": "a setting",
    "PeerState.permitted": "methods of the revision",
    "Planner._base": "a setting",
    "Planner._origin": "a setting",
    **dict.fromkeys(
        ("ResponseFields.lines", "ResponseFields.lines[]", "ResponseFields._first"),
        "the last head, which most that follow resemble",
    ),
    "Router.legacy": "a setting",
    "SessionTable._limited": "a setting",
    "ReplicaTable._limited": "a setting",
}
"""Tables that stay as they are ..."""
_QUEUES = {"SessionTable._all", "ReplicaTable._all"}
"""Tables of three queues; what is in these is looked at."""
_ENDED = {
    "Outbox.frames": "what nobody has taken when the connection ended",
    "PeerState.replaceable": "what nobody has taken when the connection ended",
    "PeerState.uris": "what a session that has ended was told of",
    "SseDecoder._blocks": "an event that came in part on the last stream of HTTP+SSE",
    "SseDecoder._data": "an event that came in part on the last stream of HTTP+SSE",
    "SseDecoder._line": "an event that came in part on the last stream of HTTP+SSE",
    "Transmit.data": "what nobody has taken",
}
"""... that a machine may have when its last connection has ended ..."""
_KEPT = {
    "EventLog._order": "events",
    "SseSession.backlog": "what waits for a stream",
    "Session.backlog": "what waits for a stream",
    "SessionLog.entries": "events",
    "Transmit.data": "what waits for a stream",
    **dict.fromkeys(
        ("TrustPolicy.waiting", "TrustPolicy._asked", "TrustPolicy._approved"),
        "changes of a server that a person is asked about, 10,000 at most",
    ),
}
"""... and that are longer for as long as a session is: these have limits of their own."""
_NUMBERS = NUMBERED | {
    *("Endpoint.capacity", "LineReader._limit", "PeerState.capacity", "SseDecoder._limit"),
    *("Chance._count", "ClientState._barren", "ClientState.epoch"),
    *("ClientState.lost_route", "ClientState._routes", "ResponseFields.announced"),
    *("Call.epoch", "Call.route", "Call.status", "PeerState.changes"),
    *("Outbox.size", "Transmit.code", "Transmit.key", "Transmit.request", "Transmit.size"),
    *("SseDecoder._size", "HttpServer._pack_from"),
}
"""Limits, numbers that go up, and what is said of the last connection, or of an event that came in
part on the last stream."""
_TABLES = (dict, list, tuple, set, frozenset, deque)


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
        if count > _FEW * objects[table.partition(".")[0]] and not _may(table, _KEPT)
    }
    demand(not grown, "what has ended is forgotten", name, grown)


def empty(machine: Any, name: str) -> None:
    """Demand that a machine that has ended holds nothing any more."""
    own = parts(machine)
    left = {
        table: count for table, count in tables(own).items() if count and not _may(table, _ENDED)
    }
    left |= {number: count for number, count in counts(own).items() if number not in _NUMBERS}
    left = {what: count for what, count in left.items() if count}
    demand(not left, "all tables are empty in the end", name, left)


def _may(table: str, but: dict[str, str]) -> bool:
    name = table.partition("[")[0]
    return table in _QUEUES or name in but or name in _SETTLED or name in REMEMBERED
