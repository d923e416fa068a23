"""Playing a saved trace again: one side of it by the core, on the trace's own time.

What the other side said is fed to the machine of that side (a Peer; over HTTP an HttpServer or an
HttpClient), what the side itself said is asked of it, and after each record it is told what came
of it: events, what the core sends, and its state.
"""

from collections.abc import Iterator

from msgspec import UNSET, Raw, Struct, field, structs

from mcpcore.engine.events import Event
from mcpcore.spec.errors import LocalError
from mcpcore.spec.revisions import Revision
from mcpcore.trace.format import TO_CLIENT, TO_SERVER
from mcpcore_conformance.trace.conversations import apart, check_choice, connections, places
from mcpcore_conformance.trace.dialogue import Exchange, Router, Said
from mcpcore_conformance.trace.players import Player, player_for
from mcpcore_conformance.trace.reading import Entry, TraceFile

_UNTOLD = frozenset(("client_info", "client_capabilities", "meta", "capabilities", "info", "skim"))
_SHOWN = 100


class Step(Struct):
    """One record, and what came of it."""

    line: int
    """Of the trace; 0 for what is due between two records."""
    time: float
    what: str
    """The record in a few words."""
    connection: int = 1
    conversation: int | None = None
    """Which one is played, where it is not all of the connection."""
    events: list[str] = field(default_factory=list)
    """What the core told."""
    sends: list[str] = field(default_factory=list)
    """What the core said."""
    remarks: list[str] = field(default_factory=list)
    """Where the core and the trace are not of one mind."""
    state: str = ""
    """Where the core stands after it."""


class Part(Struct):
    """What is played in one go, by a machine of its own."""

    connection: int
    entries: list[Entry]
    conversation: int | None = None
    """See :class:`Step`."""
    title: str = ""
    """Which one it is of how many; empty where there is no other."""


def parts(
    trace: TraceFile,
    *,
    side: str | None = None,
    connection: int | None = None,
    conversation: int | None = None,
) -> list[Part]:
    """What is played in turn: all connections, or the one that is chosen.

    Over HTTP a server may have had several conversations on one: it plays all of them together,
    unless one is chosen by its number; a client plays one after another.  Raises ValueError for
    what there is not.
    """
    check_choice(trace, connection, conversation)
    side = side or trace.header.side
    known = connections(trace)
    found: list[Part] = []
    if conversation is not None or (side == "client" and trace.header.side == "server"):
        talks = enumerate(zip(places(trace), apart(trace), strict=True), 1)
        found = [Part(place, entries, number) for number, (place, entries) in talks]
    if not found:
        by_place: dict[int, list[Entry]] = {each: [] for each in known}
        for entry in trace.entries:
            by_place[entry.record.connection].append(entry)
        found = [Part(place, entries) for place, entries in by_place.items()]
    for part in found:
        part.title = _title(part, known, len(found))
    return [
        part
        for part in found
        if connection in (None, part.connection) and conversation in (None, part.conversation)
    ]


def _title(part: Part, known: list[int], count: int) -> str:
    words = []
    if len(known) > 1:
        place = known.index(part.connection) + 1
        words.append(f"connection {part.connection} ({place} of {len(known)})")
    if part.conversation is not None and count > 1:
        words.append(f"conversation {part.conversation} of {count}")
    return ", ".join(words)


def replay(
    trace: TraceFile,
    *,
    side: str | None = None,
    connection: int | None = None,
    conversation: int | None = None,
) -> Iterator[Step]:
    """Play ``side`` (by default the one that recorded) of all :func:`parts`, in turn."""
    for part in parts(trace, side=side, connection=connection, conversation=conversation):
        yield from play_part(trace, part, side=side)


def play_part(trace: TraceFile, part: Part, *, side: str | None = None) -> Iterator[Step]:
    """Play a side of one part; nothing of the others is known to it."""
    for step in _play_part(trace, part.entries, side or trace.header.side):
        step.connection, step.conversation = part.connection, part.conversation
        yield step


def _play_part(trace: TraceFile, entries: list[Entry], side: str) -> Iterator[Step]:
    router = Router(trace.header)
    player = player_for(trace, entries, side)
    for entry in entries:
        yield from _due(player, entry.record.time)
        said = list(router.follow(entry))
        step = Step(entry.line, entry.record.time, describe_record(entry, said))
        try:
            _play(player, entry, said, router.exchange(entry.record))
        except LocalError as error:  # a trace may hold what no driver would do
            player.actor.remarks.append(f"the core does not take this: {error}")
        yield _told(player, step, said)
    if player.actor.unsaid:
        last = Step(0, entries[-1].record.time, "the end of the trace")
        last.remarks = [f"the core said what the trace does not: {own}" for own in player.unsaid()]
        last.state = player.state()
        yield last


def _play(player: Player, entry: Entry, said: list[Said], exchange: Exchange | None) -> None:
    now = entry.record.time
    player.begin(entry, exchange, now)
    for each in said:
        ours = each.direction == (TO_SERVER if player.actor.side == "client" else TO_CLIENT)
        if ours:
            player.act(each, now)
        else:
            player.hear(each, now)
    player.end(entry, exchange, now)


def _due(player: Player, until: float) -> Iterator[Step]:
    """What happens between two records because time passes."""
    machine = player.actor.machine
    for _ in range(1000):
        due = machine.deadline()
        if due is None or due > until:
            return
        machine.handle_timeout(due)
        step = _told(player, Step(0, due, "time passes"), [])
        if step.events or step.sends:
            yield step


def _told(player: Player, step: Step, said: list[Said]) -> Step:
    ours = next((each for each in said if each.kind != "invalid"), None)
    for _ in range(100):
        events = [_describe(event) for event in player.actor.events()]
        sends = player.take(ours, step.time)
        step.events += events
        step.sends += sends
        if not events and not sends:
            break
    step.remarks += player.actor.remarks
    player.actor.remarks.clear()
    step.state = player.state()
    return step


def describe_record(entry: Entry, said: list[Said]) -> str:
    """Return a record in a few words, behind an arrow for its direction."""
    record = entry.record
    arrow = {TO_SERVER: "-> ", TO_CLIENT: "<- ", None: ""}[record.direction]
    words = [record.kind, *(each.method for each in said if each.method)]
    if record.kind in ("http-request", "http-response"):
        words = ["HTTP", record.payload.decode("utf-8", "replace").partition("\n")[0]]
    if record.id is not None:
        words.append(f"id={record.id!r}".replace("'", '"'))
    return arrow + " ".join(words)


def _describe(event: Event) -> str:
    parts = [type(event).__name__]
    for name, value in structs.asdict(event).items():
        if name in _UNTOLD or value in (None, UNSET, "", ()) or value is False:
            continue
        parts.append(f"{name}={_shown(value)}")
    return " ".join(parts)


def _shown(value: object) -> str:
    if isinstance(value, Raw):
        text = bytes(value).decode("utf-8", "replace")
    elif isinstance(value, Revision):
        text = value.name
    else:
        text = str(getattr(value, "value", value))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
