"""What :class:`~transports.stores.memory.MemoryStore` knows of sessions, streams and workers."""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from itertools import islice

from msgspec import Struct

from mcpcore.http.storing import LogPage, SessionRecord


class Entry(Struct, eq=False, weakref=False):
    """An event."""

    stream: "Stream"
    place: int
    data: bytes
    time: float
    gone: bool = False


class Stream(Struct, eq=False, weakref=False, kw_only=True):
    """An event stream."""

    session: "Session"
    number: int
    request: bytes | None
    writer: str
    holder: str | None
    """The worker at which it has a connection."""
    rank: int
    """Among the GET streams of a session that have a holder, the highest is the carrier."""
    time: float
    """When something last happened to it."""
    entries: deque[Entry]
    last: int = 0
    lost: int = 0
    ended: bool = False
    orphaned: bool = False
    readers: set[str]
    """Workers to wake when something follows."""
    armed: bool = False
    """Its holder is to be woken when something can be taken from the queue."""

    @property
    def idle(self) -> bool:
        """Nothing will be added to it unless somebody comes back for it."""
        return self.ended or self.orphaned or (self.request is None and self.holder is None)


class Session(Struct, eq=False, weakref=False, kw_only=True):
    """A session with all that is kept of it."""

    record: SessionRecord
    owner: str
    """Of its first record."""
    used: float | None = None
    streams: dict[int, Stream]
    entries: deque[Entry]
    """Events of all streams, oldest first."""
    kept: int = 0
    size: int = 0
    queue: deque[tuple[bytes, bool]]
    """Messages, and whether each is a request."""
    queued: int = 0
    """Bytes in ``queue``."""
    requests: int = 0
    """How many messages in ``queue`` are requests."""
    request_bytes: int = 0
    once: OrderedDict[str, None]
    ranks: int = 0
    calls: dict[str, int]
    """How many requests each worker may work on."""


class Shelf(Struct, eq=False, weakref=False):
    """Sessions of all owners, or of one."""

    sessions: OrderedDict[str, Session]
    """Least recently used first."""
    unused: OrderedDict[str, None]
    """Those that were never used since they were made, the oldest first."""

    def add(self, session: Session) -> None:
        """A session was made."""
        self.sessions[session.record.id] = session
        self.unused[session.record.id] = None

    def use(self, id: str) -> None:
        """A session is the last that was used."""
        self.sessions.move_to_end(id)
        self.unused.pop(id, None)

    def remove(self, id: str) -> None:
        """A session is gone."""
        del self.sessions[id]
        self.unused.pop(id, None)


class Worker(Struct, eq=False, weakref=False):
    """A worker with its mailbox."""

    expires: float
    notes: deque[bytes]
    posted: int = 0
    """How many of ``notes`` other workers have written."""
    buried: bool = False
    left: bool = False


def oldest(entries: deque[Entry]) -> Entry | None:
    """Return the first that is still kept."""
    while entries and entries[0].gone:
        entries.popleft()
    return entries[0] if entries else None


def following(stream: Stream, after: int) -> Iterator[Entry]:
    """What followed on a position; a reader near the end costs little, however long the stream."""
    newest = [*islice(reversed(stream.entries), max(0, stream.last - after))]
    return reversed(newest)


def carrier(session: Session) -> Stream | None:
    """Which stream takes from the queue."""
    found: Stream | None = None
    for stream in session.streams.values():
        if (
            stream.request is None
            and stream.holder is not None
            and not stream.ended
            and (found is None or stream.rank > found.rank)
        ):
            found = stream
    return found


def has_room(session: Session, limit: int) -> bool:
    """Whether one more GET stream may have a connection."""
    if not limit:
        return True
    gets = sum(
        stream.request is None and stream.holder is not None and not stream.ended
        for stream in session.streams.values()
    )
    return gets < limit


def page(stream: Stream, entries: Sequence[tuple[int, bytes]]) -> LogPage:
    """Return what was found of a stream, as the outcome of a step."""
    return LogPage(
        entries=tuple(entries),
        lost=stream.lost,
        last=stream.last,
        ended=stream.ended,
        orphaned=stream.orphaned,
        request=stream.request,
    )
