"""State of sessions, streams and workers in ``MemoryStore``."""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from msgspec import Struct

from mcpcore.http.storing import LogPage, SessionRecord
from mcpcore_transports.stores.base import Grade


class Entry(Struct, eq=False, weakref=False):
    """An event of a stream."""

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
    """The worker at which the stream has a connection."""
    rank: int
    """Rank by connection time; the carrier is the held GET stream with the highest rank."""
    time: float
    """Time of the last change."""
    entries: deque[Entry]
    last: int = 0
    lost: int = 0
    ended: bool = False
    orphaned: bool = False
    readers: set[str]
    """Workers to wake when an event follows."""
    armed: bool = False
    """True if the holder must be woken when the queue has something for the stream."""

    @property
    def idle(self) -> bool:
        """True if nothing will be added to the stream unless a client comes back for it."""
        return self.ended or self.orphaned or (self.request is None and self.holder is None)


class Session(Struct, eq=False, weakref=False, kw_only=True):
    """A session with all of its data."""

    record: SessionRecord
    owner: str
    """Owner according to the first record."""
    used: float | None = None
    grade: Grade = Grade.FRESH
    streams: dict[int, Stream]
    entries: deque[Entry]
    """Events of all streams, oldest first."""
    kept: int = 0
    size: int = 0
    queue: deque[tuple[bytes, bool]]
    """Queued messages, each with True if it is a request."""
    queued: int = 0
    """Bytes in ``queue``."""
    requests: int = 0
    """Number of requests in ``queue``."""
    request_bytes: int = 0
    once: OrderedDict[str, None]
    ranks: int = 0
    calls: dict[str, int]
    """Number of requests that each worker may work on."""

    @property
    def busy(self) -> bool:
        """True if the session has an open GET stream or a request in progress."""
        return bool(self.calls) or not all(stream.idle for stream in self.streams.values())


class Shelf:
    """Sessions of all owners, or of one, in the order in which they are dropped."""

    __slots__ = ("grades", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.grades: tuple[OrderedDict[str, Session], ...] = tuple(OrderedDict() for _ in Grade)
        """Sessions by grade, each grade in the order in which they are dropped."""

    def add(self, session: Session) -> None:
        """Add a new session."""
        self.sessions[session.record.id] = session
        self.grades[session.grade][session.record.id] = session

    def use(self, session: Session, grade: Grade) -> None:
        """Make a session the most recently used of ``grade``, which is not below its own."""
        id = session.record.id
        del self.grades[session.grade][id]
        self.grades[grade][id] = session

    def remove(self, id: str) -> None:
        """Remove a session."""
        session = self.sessions.pop(id)
        del self.grades[session.grade][id]

    def oldest(self) -> Iterator[Session]:
        """Yield the first session of each grade."""
        return (next(iter(grade.values())) for grade in self.grades if grade)

    def order(self) -> Iterator[Session]:
        """Yield all sessions in the order in which they are dropped."""
        return chain.from_iterable(grade.values() for grade in self.grades)


class Worker(Struct, eq=False, weakref=False):
    """A worker with its mailbox."""

    expires: float
    notes: deque[bytes]
    posted: int = 0
    """Number of ``notes`` that other workers have written."""
    buried: bool = False
    left: bool = False


def oldest(entries: deque[Entry]) -> Entry | None:
    """Return the first entry that is still kept."""
    while entries and entries[0].gone:
        entries.popleft()
    return entries[0] if entries else None


def following(stream: Stream, after: int) -> Iterator[Entry]:
    """Return the entries behind a position, at a cost that depends on their number alone."""
    newest = [*islice(reversed(stream.entries), max(0, stream.last - after))]
    return reversed(newest)


def carrier(session: Session) -> Stream | None:
    """Return the stream that takes from the queue."""
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
    """Return True if one more GET stream may have a connection."""
    if not limit:
        return True
    gets = sum(
        stream.request is None and stream.holder is not None and not stream.ended
        for stream in session.streams.values()
    )
    return gets < limit


def page(stream: Stream, entries: Sequence[tuple[int, bytes]]) -> LogPage:
    """Return entries and state of a stream as the outcome of a step."""
    return LogPage(
        entries=tuple(entries),
        lost=stream.lost,
        last=stream.last,
        ended=stream.ended,
        orphaned=stream.orphaned,
        request=stream.request,
    )
