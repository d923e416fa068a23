"""The store in memory: for workers in one process, and the model of what the others do."""

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from msgspec import Struct

from mcpcore.http.storing import LogPage, SessionRecord, Step, StoreFailure
from transports.stores.base import (
    SECRET_SIZE,
    Outcome,
    StepFailedError,
    StoreSettings,
    StoreUnavailableError,
    carry_out,
    ends,
    is_request,
    moved,
    wake,
)

_SWEEPS = 15.0
"""Seconds between two looks at all sessions."""
_RETURN = 6
"""A worker that was silent for so many leases is forgotten with its mailbox."""
_LEAST_WAIT = 0.1
"""Seconds for which nothing is looked at while notes are waited for, at least."""


class _Entry(Struct, eq=False, weakref=False):
    stream: "_Stream"
    place: int
    data: bytes
    time: float
    gone: bool = False


class _Stream(Struct, eq=False, weakref=False, kw_only=True):
    session: "_Session"
    number: int
    request: bytes | None
    writer: str
    holder: str | None
    """The worker at which it has a connection."""
    rank: int
    """Among the GET streams of a session that have a holder, the highest is the carrier."""
    time: float
    """When something last happened to it."""
    entries: deque[_Entry]
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


class _Session(Struct, eq=False, weakref=False, kw_only=True):
    record: SessionRecord
    owner: str
    """Of its first record."""
    used: float | None = None
    streams: dict[int, _Stream]
    entries: deque[_Entry]
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


class _Shelf(Struct, eq=False, weakref=False):
    """Sessions of all owners, or of one."""

    sessions: OrderedDict[str, _Session]
    """Least recently used first."""
    unused: OrderedDict[str, None]
    """Those that were never used since they were made, the oldest first."""

    def add(self, session: _Session) -> None:
        self.sessions[session.record.id] = session
        self.unused[session.record.id] = None

    def use(self, id: str) -> None:
        self.sessions.move_to_end(id)
        self.unused.pop(id, None)

    def remove(self, id: str) -> None:
        del self.sessions[id]
        self.unused.pop(id, None)


class _Worker(Struct, eq=False, weakref=False):
    expires: float
    notes: deque[bytes]
    posted: int = 0
    """How many of ``notes`` other workers have written."""
    buried: bool = False
    left: bool = False


class MemoryStore:
    """Keeps everything in this process.  Safe to use from several threads."""

    def __init__(
        self, settings: StoreSettings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings or StoreSettings()
        self._clock = clock
        self._secret = secrets.token_bytes(SECRET_SIZE)
        self._all = _Shelf(OrderedDict(), OrderedDict())
        self._owners: dict[str, _Shelf] = {}
        """The same sessions by whose share they take."""
        self._order: deque[_Entry] = deque()
        self._kept = 0
        self._size = 0
        """Bytes of events and queued messages."""
        self._workers: dict[str, _Worker] = {}
        self._swept = 0.0
        self._closed = False
        self._changed = threading.Condition(threading.RLock())
        """Guards everything, and tells receivers that there are notes."""

    # The batch

    def secret(self) -> bytes:
        """See :class:`~transports.stores.base.Store`."""
        return self._secret

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[Outcome]:
        """See :class:`~transports.stores.base.Store`."""
        with self._changed:
            if self._closed:
                return [StoreFailure("the store is closed")] * len(steps)
            self._renew(worker)
            self._bury_expired()
            if not self._swept <= wall < self._swept + _SWEEPS:
                self._sweep(wall)
            return [carry_out(self, worker, step, wall) for step in steps]

    def close(self) -> None:
        """See :class:`~transports.stores.base.Store`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # Sessions

    def save(self, record: SessionRecord, wall: float) -> SessionRecord | bool | None:
        """See :class:`~transports.stores.base.SessionStore`."""
        with self._changed:
            session = self._find(record.id, wall)
            if session is not None:
                self._use(session, wall)
                if record.version <= session.record.version:
                    return session.record
                session.record = record
                return None
            if record.version > 1:
                return False
            self._admit(record, wall)
            return None

    def load(self, session: str, wall: float) -> SessionRecord | None:
        """See :class:`~transports.stores.base.SessionStore`."""
        with self._changed:
            found = self._find(session, wall)
            if found is None:
                return None
            self._use(found, wall)
            return found.record

    def touch(self, session: str, wall: float) -> bool:
        """See :class:`~transports.stores.base.SessionStore`."""
        return self.load(session, wall) is not None

    def delete(self, session: str, wall: float) -> bool:
        """See :class:`~transports.stores.base.SessionStore`."""
        with self._changed:
            return self._find(session, wall) is not None and self._remove(session)

    # Streams

    def begin(
        self, worker: str, session: str, stream: int, request: bytes | None, wall: float
    ) -> None:
        """See :class:`~transports.stores.base.EventStore`."""
        with self._changed:
            found = self._find(session, wall)
            if found is None:
                raise StepFailedError("the session has ended")
            if self._stream(session, stream, wall) is not None:
                raise StepFailedError("a stream with this number exists")
            if len(found.streams) >= self.settings.streams:
                self._make_room(found, wall)
            found.ranks += 1
            found.streams[stream] = _Stream(
                session=found,
                number=stream,
                request=request,
                writer=worker,
                holder=worker,
                rank=found.ranks,
                time=wall,
                entries=deque(),
                readers=set(),
            )

    def append(
        self, worker: str, session: str, stream: int, data: bytes, ends: bool, wall: float
    ) -> int | None:
        """See :class:`~transports.stores.base.EventStore`."""
        with self._changed:
            found = self._stream(session, stream, wall)
            if found is None or found.ended:
                return None
            if data or not ends:
                self._keep(found, data, wall)
            found.time = wall
            if worker == found.writer:
                found.orphaned = False
            if ends:
                found.ended = True
                found.armed = False
            self._wake_readers(found)
            self._wake_carrier(found.session)
            return found.last

    def read(
        self, worker: str, session: str, stream: int, after: int, limit: int, wall: float
    ) -> LogPage | None:
        """See :class:`~transports.stores.base.EventStore`."""
        with self._changed:
            found = self._stream(session, stream, wall)
            if found is None:
                return None
            page: list[tuple[int, bytes]] = []
            size = 0
            for entry in _following(found, after):
                size += len(entry.data)
                if page and size > limit:
                    break
                page.append((entry.place, entry.data))
            if after >= found.last and not found.ended and not found.orphaned:
                found.readers.add(worker)
            else:
                found.readers.discard(worker)
            return _page(found, page)

    def claim(self, worker: str, session: str, stream: int, wall: float) -> None:
        """See :class:`~transports.stores.base.EventStore`."""
        with self._changed:
            found = self._stream(session, stream, wall)
            if found is None:
                return
            before, found.holder = found.holder, worker
            found.session.ranks += 1
            found.rank = found.session.ranks
            found.time = wall
            if before is not None and before != worker:
                found.armed = False
                found.readers.discard(before)
                self._tell(before, moved(session, stream))
            self._wake_carrier(found.session)

    def release(self, worker: str, session: str, stream: int, wall: float) -> None:
        """See :class:`~transports.stores.base.EventStore`."""
        with self._changed:
            found = self._stream(session, stream, wall)
            if found is None or found.holder != worker:
                return
            found.holder = None
            found.armed = False
            found.readers.discard(worker)
            found.time = wall
            self._wake_carrier(found.session)

    # The queue

    def put(self, session: str, data: bytes, once: str | None, wall: float) -> bool:
        """See :class:`~transports.stores.base.EventStore`."""
        with self._changed:
            found = self._find(session, wall)
            if found is None or (once is not None and once in found.once):
                return False
            if not self._queue_room(found, len(data)):
                return False
            request = is_request(data)
            found.queue.append((data, request))
            found.queued += len(data)
            self._size += len(data)
            if request:
                found.requests += 1
                found.request_bytes += len(data)
            if once is not None:
                found.once[once] = None
                if len(found.once) > self.settings.once:
                    found.once.popitem(last=False)
            self._limit_total()
            self._wake_carrier(found)
            return True

    def take(self, worker: str, session: str, stream: int, limit: int, wall: float) -> LogPage:
        """See :class:`~transports.stores.base.EventStore`."""
        with self._changed:
            found = self._stream(session, stream, wall)
            if found is None:
                return LogPage(ended=True)
            if found.holder != worker or found.ended or found.request is not None:
                return _page(found, ())
            owner = found.session
            if _carrier(owner) is not found or not owner.queue:
                found.armed = True
                return _page(found, ())
            page: list[tuple[int, bytes]] = []
            size = 0
            while owner.queue and (not page or size + len(owner.queue[0][0]) <= limit):
                data, request = owner.queue.popleft()
                self._dequeued(owner, data, request)
                size += len(data)
                self._keep(found, data, wall)
                page.append((found.last, data))
            found.time = wall
            found.armed = False
            self._wake_readers(found)
            return _page(found, page)

    # Notes and workers

    def post(self, worker: str, to: str | None, note: bytes) -> None:
        """See :class:`~transports.stores.base.Mailbox`."""
        with self._changed:
            limit = self.settings.mailbox
            if to is None:
                for name, state in self._workers.items():
                    if name != worker and state.posted < limit:
                        self._deliver(state, note, 1)
            elif (addressee := self._workers.get(to)) is not None:
                if addressee.posted >= limit:
                    raise StepFailedError(f"the mailbox of worker {to} is full")
                self._deliver(addressee, note, 1)

    def receive(self, worker: str, timeout: float) -> list[bytes]:
        """See :class:`~transports.stores.base.Mailbox`."""
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
        """See :class:`~transports.stores.base.Mailbox`."""
        with self._changed:
            gone = self._workers.pop(worker, None)
            if gone is not None:
                gone.left = True
                self._bury(worker)
                self._changed.notify_all()

    def _renew(self, worker: str) -> _Worker:
        expires = self._clock() + self.settings.lease
        state = self._workers.get(worker)
        if state is None:
            state = self._workers[worker] = _Worker(expires, deque())
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
            if now >= state.expires + _RETURN * self.settings.lease:
                del self._workers[name]

    def _bury(self, worker: str) -> None:
        """Nothing more comes from a worker; should it come back, it has lost its connections."""
        for session in self._all.sessions.values():
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

    def _deliver(self, state: _Worker, note: bytes, posted: int) -> None:
        state.notes.append(note)
        state.posted += posted
        self._changed.notify_all()

    def _wake_readers(self, stream: _Stream) -> None:
        for worker in sorted(stream.readers):
            self._tell(worker, wake(stream.session.record.id, stream.number))
        stream.readers.clear()

    def _wake_carrier(self, session: _Session) -> None:
        if session.queue and (stream := _carrier(session)) is not None and stream.armed:
            stream.armed = False
            if stream.holder is not None:
                self._tell(stream.holder, wake(session.record.id, stream.number))

    # Limits

    def _find(self, id: str, wall: float) -> _Session | None:
        session = self._all.sessions.get(id)
        if session is None:
            return None
        if self._over(session, wall):
            self._remove(id)
            return None
        return session

    def _stream(self, id: str, number: int, wall: float) -> _Stream | None:
        session = self._find(id, wall)
        if session is None:
            return None
        self._expire(session, wall)
        stream = session.streams.get(number)
        if stream is None or self._outlived(stream, wall):
            return None
        return stream

    def _use(self, session: _Session, wall: float) -> None:
        session.used = wall if session.used is None else max(session.used, wall)
        self._all.use(session.record.id)
        self._owners[session.owner].use(session.record.id)

    def _admit(self, record: SessionRecord, wall: float) -> None:
        """Make a session, and room for it: first among those of its owner, then among all."""
        settings = self.settings
        session = _Session(
            record=record,
            owner=record.owner,
            streams={},
            entries=deque(),
            queue=deque(),
            once=OrderedDict(),
        )
        while (own := self._owners.get(session.owner)) is not None and (
            len(own.sessions) >= settings.sessions_per_client
        ):
            self._remove(self._victim(own, wall))
        while self._all.sessions and len(self._all.sessions) >= settings.sessions:
            self._remove(self._victim(self._all, wall))
        self._all.add(session)
        if session.owner not in self._owners:
            self._owners[session.owner] = _Shelf(OrderedDict(), OrderedDict())
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

    def _victim(self, shelf: _Shelf, wall: float) -> str:
        """Return the session that goes first when there are too many."""
        oldest = next(iter(shelf.sessions))
        if self._over(shelf.sessions[oldest], wall):
            return oldest
        return next(iter(shelf.unused), oldest)

    def _over(self, session: _Session, wall: float) -> bool:
        return wall >= ends(session.record.created, session.used, self.settings)

    def _sweep(self, wall: float) -> None:
        self._swept = wall
        for id in [*self._all.sessions]:
            session = self._find(id, wall)
            if session is not None:
                self._expire(session, wall)
                for stream in [*session.streams.values()]:
                    self._outlived(stream, wall)

    def _expire(self, session: _Session, wall: float) -> None:
        """Give up events that are too old."""
        while (entry := _oldest(session.entries)) is not None:
            if wall < entry.time + self.settings.age:
                break
            self._evict(entry)

    def _outlived(self, stream: _Stream, wall: float) -> bool:
        """Forget a stream of which nothing is kept and to which nothing will be added."""
        if not stream.idle or stream.entries or wall < stream.time + self.settings.age:
            return False
        del stream.session.streams[stream.number]
        return True

    def _make_room(self, session: _Session, wall: float) -> None:
        """Forget streams to which nothing will be added: what is too old, else the oldest."""
        idle = [stream for stream in session.streams.values() if stream.idle]
        if not idle:
            raise StepFailedError("the session has too many streams")
        if not [stream for stream in idle if self._outlived(stream, wall)]:
            self._forget(idle[0])
            del session.streams[idle[0].number]

    def _keep(self, stream: _Stream, data: bytes, wall: float) -> None:
        session = stream.session
        stream.last += 1
        entry = _Entry(stream, stream.last, data, wall)
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
            oldest = _oldest(session.entries)
            if oldest is None:
                break
            self._evict(oldest)
        self._limit_total()

    def _limit_total(self) -> None:
        while self._size > self.settings.total_bytes and self._kept > 1:
            oldest = _oldest(self._order)
            if oldest is None:
                break
            self._evict(oldest)
        if len(self._order) > 64 + 4 * self._kept:
            self._order = deque(entry for entry in self._order if not entry.gone)

    def _queue_room(self, session: _Session, size: int) -> bool:
        """Drop the oldest notifications until a message fits; not one if it never will."""
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

    def _dequeued(self, session: _Session, data: bytes, request: bool) -> None:
        session.queued -= len(data)
        self._size -= len(data)
        if request:
            session.requests -= 1
            session.request_bytes -= len(data)

    def _evict(self, entry: _Entry) -> None:
        """Give up the oldest event of a session, which is also the oldest of its stream."""
        entry.stream.entries.popleft()
        entry.stream.lost = entry.place
        self._drop(entry)

    def _forget(self, stream: _Stream) -> None:
        session = stream.session
        for entry in stream.entries:
            self._drop(entry)
            entry.data = b""
        stream.entries.clear()
        if len(session.entries) > 64 + 4 * session.kept:
            session.entries = deque(entry for entry in session.entries if not entry.gone)

    def _drop(self, entry: _Entry) -> None:
        entry.gone = True
        session = entry.stream.session
        session.kept -= 1
        session.size -= len(entry.data)
        self._kept -= 1
        self._size -= len(entry.data)


def _oldest(entries: deque[_Entry]) -> _Entry | None:
    while entries and entries[0].gone:
        entries.popleft()
    return entries[0] if entries else None


def _following(stream: _Stream, after: int) -> Iterator[_Entry]:
    """What followed on a position; a reader near the end costs little, however long the stream."""
    newest = [*islice(reversed(stream.entries), max(0, stream.last - after))]
    return reversed(newest)


def _carrier(session: _Session) -> _Stream | None:
    carrier: _Stream | None = None
    for stream in session.streams.values():
        if (
            stream.request is None
            and stream.holder is not None
            and not stream.ended
            and (carrier is None or stream.rank > carrier.rank)
        ):
            carrier = stream
    return carrier


def _page(stream: _Stream, entries: Sequence[tuple[int, bytes]]) -> LogPage:
    return LogPage(
        entries=tuple(entries),
        lost=stream.lost,
        last=stream.last,
        ended=stream.ended,
        orphaned=stream.orphaned,
        request=stream.request,
    )
