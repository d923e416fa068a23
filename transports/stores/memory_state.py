"""What :class:`~transports.stores.memory.MemoryStore` knows of sessions, streams and workers."""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from msgspec import Struct

from mcpcore.http.storing import LogPage, SessionRecord
from transports.stores.base import Grade


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
    grade: Grade = Grade.FRESH
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

    @property
    def busy(self) -> bool:
        """It has an open GET stream, or a request is being worked on."""
        return bool(self.calls) or not all(stream.idle for stream in self.streams.values())


class Shelf:
    """Sessions of all owners, or of one."""

    __slots__ = ("grades", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.grades: tuple[OrderedDict[str, Session], ...] = tuple(OrderedDict() for _ in Grade)
        """The same by their grade, each in the order in which they go."""

    def add(self, session: Session) -> None:
        """A session was made."""
        self.sessions[session.record.id] = session
        self.grades[session.grade][session.record.id] = session

    def use(self, session: Session, grade: Grade) -> None:
        """A session is the last that was used, and gets a grade that is not lower."""
        id = session.record.id
        del self.grades[session.grade][id]
        self.grades[grade][id] = session

    def remove(self, id: str) -> None:
        """A session is gone."""
        session = self.sessions.pop(id)
        del self.grades[session.grade][id]

    def oldest(self) -> Iterator[Session]:
        """The first of each grade."""
        return (next(iter(grade.values())) for grade in self.grades if grade)

    def order(self) -> Iterator[Session]:
        """All, in the order in which they go."""
        return chain.from_iterable(grade.values() for grade in self.grades)


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
