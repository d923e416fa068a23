"""The conversations of a trace, one at a time."""

from collections.abc import Hashable

from msgspec import Struct, field

from conformance.trace.dialogue import Router, Said
from conformance.trace.reading import Entry, TraceFile
from transports.tracing_http import GIVEN_UP, LEFT

__all__ = ["Line", "conversations", "first_of", "only", "script"]


class Line(Struct):
    """A record of a conversation, in which something was said or given up."""

    number: int
    time: float
    said: list[Said] = field(default_factory=list)
    stream: int = 0
    gives_up: bool = False
    """The client wanted no more of an exchange."""


def conversations(trace: TraceFile) -> dict[Hashable, list[Line]]:
    """All of them, in the order in which they begin."""
    router = Router(trace)
    found: dict[Hashable, list[Line]] = {}
    for entry in trace.entries:
        said = list(router.follow(entry))
        record = entry.record
        exchange = router.exchange(record)
        key = said[0].key if said else exchange.key if exchange is not None else None
        gives_up = record.kind == "http-end" and record.text in (GIVEN_UP, LEFT)
        if key is not None and (said or (gives_up and key in found)):
            line = Line(entry.line, record.time, said, record.stream, gives_up)
            found.setdefault(key, []).append(line)
    return found


def script(trace: TraceFile, number: int) -> list[Line]:
    """What was said in one conversation, by its number from 1.  Raises ValueError."""
    found = list(conversations(trace).values())
    if not 1 <= number <= len(found):
        raise ValueError(f"there is no conversation {number}: the trace has {len(found)}")
    return found[number - 1]


def first_of(trace: TraceFile, connection: int) -> int | None:
    """The number of the first conversation of a connection."""
    for number, lines in enumerate(conversations(trace).values(), 1):
        if _of(trace, lines[0]) == connection:
            return number
    return None


def only(trace: TraceFile, number: int) -> list[Entry]:
    """The records of one conversation, heads and events included.  Raises ValueError."""
    wanted = script(trace, number)[0]
    router = Router(trace)
    key: Hashable = None
    kept: list[Entry] = []
    for entry in trace.entries:  # which exchange belongs to it is known once it was read
        for said in router.follow(entry):
            if said.line == wanted.number:
                key = said.key
    router = Router(trace)
    for entry in trace.entries:
        said_here = list(router.follow(entry))
        exchange = router.exchange(entry.record)
        where = exchange.key if exchange else said_here[0].key if said_here else None
        if where == key or (where is None and entry.record.connection == _of(trace, wanted)):
            kept.append(entry)
    return kept


def _of(trace: TraceFile, line: Line) -> int:
    return next(each.record.connection for each in trace.entries if each.line == line.number)
