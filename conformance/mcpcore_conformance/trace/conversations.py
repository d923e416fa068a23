"""The conversations of a trace, one at a time."""

from collections.abc import Hashable

from msgspec import Struct, field

from mcpcore_conformance.trace.dialogue import Router, Said
from mcpcore_conformance.trace.reading import Entry, TraceFile
from mcpcore_transports.tracing.tracing import ABORTED, LEFT


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
    router = Router(trace.header)
    found: dict[Hashable, list[Line]] = {}
    for entry in trace.entries:
        said = list(router.follow(entry))
        record = entry.record
        exchange = router.exchange(record)
        key = said[0].key if said else exchange.key if exchange is not None else None
        gives_up = record.kind == "http-end" and record.text in (ABORTED, LEFT)
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


def connections(trace: TraceFile) -> list[int]:
    """The numbers of all connections, in the order in which they begin."""
    return [*dict.fromkeys(entry.record.connection for entry in trace.entries)]


def places(trace: TraceFile) -> list[int]:
    """The connection of each conversation."""
    of_line = {entry.line: entry.record.connection for entry in trace.entries}
    return [of_line[lines[0].number] for lines in conversations(trace).values()]


def check_choice(trace: TraceFile, connection: int | None, conversation: int | None) -> None:
    """Raise ValueError for a connection or a conversation that there is not."""
    known = connections(trace)
    if connection is not None and connection not in known:
        numbers = ", ".join(map(str, known)) or "none"
        raise ValueError(f"there is no connection {connection}: the trace has {numbers}")
    if conversation is not None:
        script(trace, conversation)
        place = places(trace)[conversation - 1]
        if connection not in (None, place):
            raise ValueError(
                f"conversation {conversation} is on connection {place}, not on {connection}"
            )


def chosen(trace: TraceFile, connection: int | None, conversation: int | None) -> int:
    """The number of the conversation that is meant: by default the first, also of a connection.

    Raises ValueError for what there is not.
    """
    check_choice(trace, connection, conversation)
    if connection is None:
        script(trace, conversation or 1)
        return conversation or 1
    if conversation is not None:
        return conversation
    if connection not in places(trace):
        raise ValueError(f"nothing was said on connection {connection}")
    return places(trace).index(connection) + 1


def apart(trace: TraceFile) -> list[list[Entry]]:
    """The records of each conversation, heads and events included.

    What belongs to none, as that a connection was opened, is there in each one of its connection.
    """
    router = Router(trace.header)
    own: dict[Hashable, list[Entry]] = {}
    shared: dict[int, list[Entry]] = {}
    for entry in trace.entries:
        said = list(router.follow(entry))
        exchange = router.exchange(entry.record)
        key = exchange.key if exchange else said[0].key if said else None
        if key is None:
            shared.setdefault(entry.record.connection, []).append(entry)
        else:
            own.setdefault(key, []).append(entry)
    return [
        sorted([*own[key], *shared.get(place, ())], key=lambda entry: entry.line)
        for key, place in zip(conversations(trace), places(trace), strict=True)
    ]
