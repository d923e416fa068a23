"""Store in memory, for workers in one process; the model for the other stores."""

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice, takewhile
from operator import attrgetter
from typing import ClassVar

from msgspec import Struct, field, structs

from mcpcore.errors import NoSessionError, StepFailedError, StoreUnavailableError
from mcpcore.http.storing import (
    Announce,
    Announcements,
    LogPage,
    Post,
    QueuePut,
    QueueTake,
    SessionCalls,
    SessionDelete,
    SessionLoad,
    SessionRecord,
    SessionSave,
    SessionTouch,
    Step,
    StoreFailure,
    StreamAppend,
    StreamBegin,
    StreamClaim,
    StreamRead,
    StreamRelease,
)
from mcpcore_transports.stores.base import (
    RETURN,
    SECRET_SIZE,
    SPARED,
    SWEEPS,
    Grade,
    Outcome,
    StepHandler,
    StoreSettings,
    StreamStep,
    carry_out,
    ends,
    is_request,
    made_room,
    moved,
    wake,
)

_LEAST_WAIT = 0.1
"""Minimum seconds between two checks of leases while a receiver waits for notes."""


class KeptEvent(Struct, eq=False, weakref=False):
    """An event of a stream."""

    stream: "KeptStream"
    place: int
    data: bytes
    time: float
    gone: bool = False


class KeptStream(Struct, eq=False, weakref=False, kw_only=True):
    """An event stream."""

    session: "KeptSession"
    number: int
    request: bytes | None
    writer: str
    holder: str | None
    """The worker at which the stream has a connection."""
    rank: int
    """Rank by connection time; the carrier is the held GET stream with the highest rank."""
    time: float
    """Time of the last change."""
    entries: deque[KeptEvent] = field(default_factory=deque)
    last: int = 0
    lost: int = 0
    ended: bool = False
    orphaned: bool = False
    readers: set[str] = set()
    """Workers to wake when an event follows."""
    armed: bool = False
    """True if the holder must be woken when the queue has something for the stream."""

    @property
    def idle(self) -> bool:
        """True if nothing will be added to the stream unless a client comes back for it."""
        return self.ended or self.orphaned or (self.request is None and self.holder is None)

    def page(self, entries: Sequence[tuple[int, bytes]]) -> LogPage:
        """Return entries and state of the stream as the outcome of a step."""
        return LogPage(
            entries=tuple(entries),
            lost=self.lost,
            last=self.last,
            ended=self.ended,
            orphaned=self.orphaned,
            request=self.request,
        )


class KeptSession(Struct, eq=False, weakref=False, kw_only=True):
    """A session with all of its data."""

    record: SessionRecord
    owner: str
    """Owner according to the first record."""
    used: float | None = None
    grade: Grade = Grade.FRESH
    streams: dict[int, KeptStream] = {}
    entries: deque[KeptEvent] = field(default_factory=deque)
    """Events of all streams, oldest first."""
    kept: int = 0
    size: int = 0
    queue: deque[tuple[bytes, bool]] = field(default_factory=deque)
    """Queued messages, each with True if it is a request."""
    queued: int = 0
    """Bytes in ``queue``."""
    requests: int = 0
    """Number of requests in ``queue``."""
    request_bytes: int = 0
    once: OrderedDict[str, None] = field(default_factory=OrderedDict)
    ranks: int = 0
    calls: dict[str, int] = {}
    """Number of requests that each worker may work on."""

    @property
    def busy(self) -> bool:
        """True if the session has an open GET stream or a request in progress."""
        return bool(self.calls) or not all(stream.idle for stream in self.streams.values())

    def open_gets(self) -> list[KeptStream]:
        """Return the GET streams that have a connection."""
        return [
            stream
            for stream in self.streams.values()
            if stream.request is None and stream.holder is not None and not stream.ended
        ]

    def has_room(self, limit: int) -> bool:
        """Return True if one more GET stream may have a connection; ``limit`` 0 is no limit."""
        return not limit or len(self.open_gets()) < limit

    def carrier(self) -> KeptStream | None:
        """Return the stream that takes from the queue."""
        return max(self.open_gets(), key=attrgetter("rank"), default=None)


class DropOrder:
    """Sessions of all owners, or of one, in the order in which they are dropped."""

    __slots__ = ("grades", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[str, KeptSession] = {}
        self.grades: tuple[OrderedDict[str, KeptSession], ...] = tuple(OrderedDict() for _ in Grade)
        """Sessions by grade, each grade in the order in which they are dropped."""

    def add(self, session: KeptSession) -> None:
        """Add a new session."""
        self.sessions[session.record.id] = session
        self.grades[session.grade][session.record.id] = session

    def use(self, session: KeptSession, grade: Grade) -> None:
        """Make a session the most recently used of ``grade``, which is not below its own."""
        id = session.record.id
        del self.grades[session.grade][id]
        self.grades[grade][id] = session

    def remove(self, id: str) -> None:
        """Remove a session."""
        session = self.sessions.pop(id)
        del self.grades[session.grade][id]

    def oldest(self) -> Iterator[KeptSession]:
        """Yield the first session of each grade."""
        return (next(iter(grade.values())) for grade in self.grades if grade)

    def order(self) -> Iterator[KeptSession]:
        """Yield all sessions in the order in which they are dropped."""
        return chain.from_iterable(grade.values() for grade in self.grades)


class WorkerState(Struct, eq=False, weakref=False):
    """A worker with its mailbox."""

    expires: float
    notes: deque[bytes]
    posted: int = 0
    """Number of ``notes`` that other workers have written."""
    buried: bool = False
    left: bool = False


def _oldest(entries: deque[KeptEvent]) -> KeptEvent:
    """Return the first entry that is still kept, of which there is one."""
    while entries[0].gone:
        entries.popleft()
    return entries[0]


class MemoryStore:
    """Store that keeps everything in this process.  Safe to use from several threads."""

    def __init__(
        self, settings: StoreSettings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings or StoreSettings()
        self._clock = clock
        self._all = DropOrder()
        """All sessions."""
        self._workers: dict[str, WorkerState] = {}
        self._announced: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        """Announcements by topic, oldest first, each with its time."""
        self._announced_size = 0
        self._closed = False
        self._changed = threading.Condition(threading.RLock())
        """Lock of the whole store; notified when there are notes for receivers."""
        self._owners: dict[str, DropOrder] = {}
        """Sessions by owner, the one whose quota they use."""
        self._order: deque[KeptEvent] = deque()
        self._kept = 0
        self._size = 0
        """Bytes of events and queued messages."""
        self._swept = 0.0
        self._secret = secrets.token_bytes(SECRET_SIZE)

    def secret(self) -> bytes:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        return self._secret

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[Outcome]:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        with self._changed:
            if self._closed:
                return [StoreFailure("the store is closed")] * len(steps)
            self._renew(worker)
            self._bury_expired()
            if not self._swept <= wall < self._swept + SWEEPS:
                self._sweep(wall)
            return [carry_out(self, worker, step, wall) for step in steps]

    def close(self) -> None:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # Sessions

    def _save(self, worker: str, step: SessionSave, wall: float) -> SessionRecord | bool | None:
        record = step.record
        session = self._find(record.id, wall)
        if session is None:
            if record.version > 1:
                return False
            self._admit(record, wall)
            return None
        self._use(session, wall)
        if record.version <= session.record.version:
            return session.record
        session.record = record
        return None

    def _load(self, worker: str, step: SessionLoad, wall: float) -> SessionRecord | None:
        session = self._find(step.session, wall)
        if session is None:
            return None
        before = session.used
        self._use(session, wall)
        return structs.replace(session.record, used=before)

    def _touch(self, worker: str, step: SessionTouch, wall: float) -> bool:
        session = self._find(step.session, wall)
        if session is not None:
            self._use(session, wall, Grade.USED)
        return session is not None

    def _calls(self, worker: str, step: SessionCalls, wall: float) -> int | None:
        session = self._find(step.session, wall)
        if session is None:
            return None
        others = sum(session.calls.values()) - session.calls.pop(worker, 0)
        granted = min(step.calls, max(0, step.limit - others))
        if granted:
            session.calls[worker] = granted
        return granted

    def _delete(self, worker: str, step: SessionDelete, wall: float) -> bool:
        return self._find(step.session, wall) is not None and self._remove(step.session)

    # Streams

    def _begin(self, worker: str, step: StreamBegin, wall: float) -> bool | None:
        session = self._session(step.session, wall)
        if self._stream(step, wall) is not None:
            raise StepFailedError("a stream with this number exists")
        if step.request is None and not session.has_room(step.limit):
            return False
        if len(session.streams) >= self.settings.streams:
            self._make_room(session, wall)
        session.ranks += 1
        session.streams[step.stream] = KeptStream(
            session=session,
            number=step.stream,
            request=step.request,
            writer=worker,
            holder=worker,
            rank=session.ranks,
            time=wall,
        )
        return None

    def _append(self, worker: str, step: StreamAppend, wall: float) -> int | None:
        stream = self._stream(step, wall)
        if stream is None or stream.ended:
            return None
        if step.data or not step.ends:
            self._keep(stream, step.data, wall)
        stream.time = wall
        if worker == stream.writer:
            stream.orphaned = False
        if step.ends:
            stream.ended = True
            stream.armed = False
        self._wake_readers(stream)
        self._wake_carrier(stream.session)
        return stream.last

    def _read(self, worker: str, step: StreamRead, wall: float) -> LogPage | None:
        stream = self._stream(step, wall)
        if stream is None:
            return None
        entries: list[tuple[int, bytes]] = []
        size = 0
        # from the end, so that the cost depends on the number of entries returned alone
        behind = [*islice(reversed(stream.entries), max(0, stream.last - step.after))]
        for entry in reversed(behind):
            size += len(entry.data)
            if entries and size > step.limit:
                break
            entries.append((entry.place, entry.data))
        if step.after >= stream.last and not stream.ended and not stream.orphaned:
            stream.readers.add(worker)
        else:
            stream.readers.discard(worker)
        return stream.page(entries)

    def _claim(self, worker: str, step: StreamClaim, wall: float) -> bool | None:
        stream = self._stream(step, wall)
        if stream is None:
            return None
        session, before = stream.session, stream.holder
        new = stream.request is None and before is None and not stream.ended
        if new and not session.has_room(step.limit):
            return False
        session.ranks += 1
        stream.holder, stream.rank, stream.time = worker, session.ranks, wall
        if before is not None and before != worker:
            stream.armed = False
            stream.readers.discard(before)
            self._tell(before, moved(step.session, step.stream))
        self._wake_carrier(session)
        return None

    def _release(self, worker: str, step: StreamRelease, wall: float) -> None:
        stream = self._stream(step, wall)
        if stream is None or stream.holder != worker:
            return
        stream.holder = None
        stream.armed = False
        stream.readers.discard(worker)
        stream.time = wall
        self._wake_carrier(stream.session)

    # The queue

    def _put(self, worker: str, step: QueuePut, wall: float) -> bool:
        session, data, once = self._session(step.session, wall), step.data, step.once
        if once is not None and once in session.once:
            return False
        if not self._queue_room(session, len(data)):
            return False
        request = is_request(data)
        session.queue.append((data, request))
        session.queued += len(data)
        self._size += len(data)
        if request:
            session.requests += 1
            session.request_bytes += len(data)
        if once is not None:
            session.once[once] = None
            if len(session.once) > self.settings.once:
                session.once.popitem(last=False)
        self._limit_total()
        self._wake_carrier(session)
        return True

    def _take(self, worker: str, step: QueueTake, wall: float) -> LogPage:
        stream = self._stream(step, wall)
        if stream is None:
            return LogPage(ended=True)
        if stream.holder != worker or stream.ended or stream.request is not None:
            return stream.page(())
        session = stream.session
        if not session.queue or session.carrier() is not stream:
            stream.armed = True
            return stream.page(())
        entries: list[tuple[int, bytes]] = []
        size = 0
        while session.queue and (not entries or size + len(session.queue[0][0]) <= step.limit):
            data, request = session.queue.popleft()
            self._dequeued(session, data, request)
            size += len(data)
            self._keep(stream, data, wall)
            entries.append((stream.last, data))
        stream.time = wall
        stream.armed = False
        self._wake_readers(stream)
        return stream.page(entries)

    # Limits of number, size and age; beyond them the oldest is dropped first

    def _find(self, id: str, wall: float) -> KeptSession | None:
        session = self._all.sessions.get(id)
        if session is None:
            return None
        if self._over(session, wall):
            self._remove(id)
            return None
        return session

    def _session(self, id: str, wall: float) -> KeptSession:
        session = self._find(id, wall)
        if session is None:
            raise NoSessionError
        return session

    def _stream(self, step: StreamStep, wall: float) -> KeptStream | None:
        session = self._session(step.session, wall)
        self._expire(session, wall)
        stream = session.streams.get(step.stream)
        if stream is None or self._outlived(stream, wall):
            return None
        return stream

    def _use(self, session: KeptSession, wall: float, least: Grade = Grade.AGREED) -> None:
        """Make a session the most recently used; raise its grade to ``least`` at least."""
        session.used = wall if session.used is None else max(session.used, wall)
        grade = max(session.grade, least)
        self._all.use(session, grade)
        self._owners[session.owner].use(session, grade)
        session.grade = grade

    def _admit(self, record: SessionRecord, wall: float) -> None:
        """Add a session after making room for it: first among its owner's, then among all."""
        settings = self.settings
        session = KeptSession(record=record, owner=record.owner)
        while (own := self._owners.get(session.owner)) is not None and (
            len(own.sessions) >= settings.sessions_per_client
        ):
            self._make_way(own, wall)
        while self._all.sessions and len(self._all.sessions) >= settings.sessions:
            self._make_way(self._all, wall)
        self._all.add(session)
        if session.owner not in self._owners:
            self._owners[session.owner] = DropOrder()
        self._owners[session.owner].add(session)

    def _remove(self, id: str) -> bool:
        session = self._all.sessions.get(id)
        if session is None:
            return False
        self._all.remove(id)
        shelf = self._owners[session.owner]
        shelf.remove(id)
        if not shelf.sessions:
            del self._owners[session.owner]
        for stream in session.streams.values():
            self._forget(stream)
        self._size -= session.queued
        return True

    def _make_way(self, shelf: DropOrder, wall: float) -> None:
        """End the session that is dropped first when there are too many."""
        for session in shelf.oldest():
            if self._over(session, wall):
                self._remove(session.record.id)
                return
        found = list(islice(shelf.order(), SPARED + 1))
        at_work = list(takewhile(lambda session: session.busy, found))
        first = found[len(at_work)] if len(at_work) < len(found) else at_work.pop(0)
        for session in at_work:
            self._use(session, wall, Grade.USED)
        id = first.record.id
        self._remove(id)
        self._post_all("", made_room(id))

    def _over(self, session: KeptSession, wall: float) -> bool:
        return wall >= ends(session.record.created, session.used, self.settings)

    def _sweep(self, wall: float) -> None:
        self._swept = wall
        for id in [*self._all.sessions]:
            session = self._find(id, wall)
            if session is not None:
                self._expire(session, wall)
                for stream in [*session.streams.values()]:
                    self._outlived(stream, wall)

    def _expire(self, session: KeptSession, wall: float) -> None:
        """Drop events that are too old."""
        while session.kept and wall >= _oldest(session.entries).time + self.settings.age:
            self._evict(_oldest(session.entries))

    def _outlived(self, stream: KeptStream, wall: float) -> bool:
        """Forget a stream that is empty, idle and too old; return True if it was forgotten."""
        if not stream.idle or stream.entries or wall < stream.time + self.settings.age:
            return False
        del stream.session.streams[stream.number]
        return True

    def _make_room(self, session: KeptSession, wall: float) -> None:
        """Forget the idle streams that are too old, or else the oldest idle stream.

        Raises StepFailedError if no stream is idle.
        """
        idle = [stream for stream in session.streams.values() if stream.idle]
        if not idle:
            raise StepFailedError("the session has too many streams")
        if not [stream for stream in idle if self._outlived(stream, wall)]:
            self._forget(idle[0])
            del session.streams[idle[0].number]

    def _keep(self, stream: KeptStream, data: bytes, wall: float) -> None:
        session = stream.session
        stream.last += 1
        entry = KeptEvent(stream, stream.last, data, wall)
        stream.entries.append(entry)
        session.entries.append(entry)
        session.kept += 1
        session.size += len(data)
        self._order.append(entry)
        self._kept += 1
        self._size += len(data)
        while session.kept > 1 and (
            session.kept > self.settings.events or session.size > self.settings.event_bytes
        ):
            self._evict(_oldest(session.entries))
        self._limit_total()

    def _limit_total(self) -> None:
        while self._size > self.settings.total_bytes and self._kept > 1:
            self._evict(_oldest(self._order))
        if len(self._order) > 64 + 4 * self._kept:
            self._order = deque(entry for entry in self._order if not entry.gone)

    def _queue_room(self, session: KeptSession, size: int) -> bool:
        """Drop the oldest notifications until a message fits; none if it never will."""
        settings = self.settings
        if (
            session.request_bytes + size > settings.queue_bytes
            or session.requests + 1 > settings.events
        ):
            return False
        if session.queued + size > settings.queue_bytes or len(session.queue) >= settings.events:
            kept: deque[tuple[bytes, bool]] = deque()
            while (
                session.queued + size > settings.queue_bytes
                or len(session.queue) + len(kept) >= settings.events
            ):
                data, request = session.queue.popleft()
                if request:
                    kept.append((data, request))
                else:
                    self._dequeued(session, data, request)
            session.queue.extendleft(reversed(kept))
        return True

    def _dequeued(self, session: KeptSession, data: bytes, request: bool) -> None:
        session.queued -= len(data)
        self._size -= len(data)
        if request:
            session.requests -= 1
            session.request_bytes -= len(data)

    def _evict(self, entry: KeptEvent) -> None:
        """Drop the oldest event of a session, which is also the oldest of its stream."""
        entry.stream.entries.popleft()
        entry.stream.lost = entry.place
        self._drop(entry)

    def _forget(self, stream: KeptStream) -> None:
        session = stream.session
        for entry in stream.entries:
            self._drop(entry)
            entry.data = b""
        stream.entries.clear()
        if len(session.entries) > 64 + 4 * session.kept:
            session.entries = deque(entry for entry in session.entries if not entry.gone)

    def _drop(self, entry: KeptEvent) -> None:
        entry.gone = True
        session = entry.stream.session
        session.kept -= 1
        session.size -= len(entry.data)
        self._kept -= 1
        self._size -= len(entry.data)

    # Workers, and the notes that they leave each other

    def _post(self, worker: str, step: Post, wall: float) -> None:
        if step.to is None:
            self._post_all(worker, step.note)
        elif (addressee := self._workers.get(step.to)) is not None:
            if addressee.posted >= self.settings.mailbox:
                raise StepFailedError(f"the mailbox of worker {step.to} is full")
            self._deliver(addressee, step.note, 1)

    def _post_all(self, worker: str, note: bytes) -> None:
        for name, state in self._workers.items():
            if name != worker and state.posted < self.settings.mailbox:
                self._deliver(state, note, 1)

    def _announce(self, worker: str, step: Announce, wall: float) -> None:
        self._post_all(worker, step.note)
        self._drop_announcement(step.topic)
        self._announced[step.topic] = wall, step.note
        self._announced_size += len(step.note)
        self._limit_announcements(wall)

    def _announcements(self, worker: str, step: Announcements, wall: float) -> tuple[bytes, ...]:
        self._limit_announcements(wall)
        return tuple(note for at, note in self._announced.values() if at >= step.since)

    def _limit_announcements(self, wall: float) -> None:
        settings = self.settings
        while self._announced:
            topic, (at, _) = next(iter(self._announced.items()))
            if (
                len(self._announced) <= settings.announcements
                and self._announced_size <= settings.queue_bytes
                and wall < at + settings.idle
            ):
                return
            self._drop_announcement(topic)

    def _drop_announcement(self, topic: str) -> None:
        _, note = self._announced.pop(topic, (0.0, b""))
        self._announced_size -= len(note)

    def receive(self, worker: str, timeout: float) -> list[bytes]:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        until = time.monotonic() + timeout
        with self._changed:
            state = self._renew(worker)
            while not state.left:
                if self._closed:
                    raise StoreUnavailableError("the store is closed")
                self._bury_expired()
                left = until - time.monotonic()
                if state.notes or left <= 0:
                    break
                self._changed.wait(min(left, max(self.settings.renew, _LEAST_WAIT)))
                if not state.left:
                    self._renew(worker)
            notes = list(state.notes)
            state.notes.clear()
            state.posted = 0
            return notes

    def leave(self, worker: str) -> None:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        with self._changed:
            gone = self._workers.pop(worker, None)
            if gone is not None:
                gone.left = True
                self._bury(worker)
                self._changed.notify_all()

    def _renew(self, worker: str) -> WorkerState:
        expires = self._clock() + self.settings.lease
        state = self._workers.get(worker)
        if state is None:
            state = self._workers[worker] = WorkerState(expires, deque())
        state.expires = expires
        state.buried = False
        return state

    def _bury_expired(self) -> None:
        now = self._clock()
        for name, state in [*self._workers.items()]:
            if now < state.expires:
                continue
            if not state.buried:
                state.buried = True
                self._bury(name)
            if now >= state.expires + RETURN * self.settings.lease:
                del self._workers[name]

    def _bury(self, worker: str) -> None:
        """Release the streams and quota of a dead worker; tell it so in case it comes back."""
        for session in self._all.sessions.values():
            session.calls.pop(worker, None)
            for stream in session.streams.values():
                stream.readers.discard(worker)
                if stream.holder == worker:
                    stream.holder = None
                    stream.armed = False
                    self._tell(worker, moved(session.record.id, stream.number))
                if stream.writer == worker and stream.request is not None and not stream.ended:
                    stream.orphaned = True
                    self._wake_readers(stream)
            self._wake_carrier(session)

    def _tell(self, worker: str, note: bytes) -> None:
        state = self._workers.get(worker)
        if state is not None:
            self._deliver(state, note, 0)

    def _deliver(self, state: WorkerState, note: bytes, posted: int) -> None:
        state.notes.append(note)
        state.posted += posted
        self._changed.notify_all()

    def _wake_readers(self, stream: KeptStream) -> None:
        for worker in sorted(stream.readers):
            self._tell(worker, wake(stream.session.record.id, stream.number))
        stream.readers.clear()

    def _wake_carrier(self, session: KeptSession) -> None:
        if session.queue and (stream := session.carrier()) is not None and stream.armed:
            stream.armed = False
            if stream.holder is not None:
                self._tell(stream.holder, wake(session.record.id, stream.number))

    handlers: ClassVar[Mapping[type[Step], StepHandler]] = {
        SessionSave: _save,
        SessionLoad: _load,
        SessionTouch: _touch,
        SessionCalls: _calls,
        SessionDelete: _delete,
        StreamBegin: _begin,
        StreamAppend: _append,
        StreamRead: _read,
        StreamClaim: _claim,
        StreamRelease: _release,
        QueuePut: _put,
        QueueTake: _take,
        Post: _post,
        Announce: _announce,
        Announcements: _announcements,
    }
    """Method that carries out each kind of step."""
