"""Store in memory, for workers in one process; the model for the other stores."""

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from itertools import islice, takewhile

from msgspec import structs

from mcpcore.errors import NoSessionError, StepFailedError, StoreUnavailableError
from mcpcore.http.storing import LogPage, SessionRecord, Step, StoreFailure
from mcpcore_transports.stores.base import (
    SECRET_SIZE,
    SPARED,
    Grade,
    Outcome,
    StoreSettings,
    carry_out,
    ends,
    is_request,
    made_room,
    moved,
    wake,
)
from mcpcore_transports.stores.memory_state import (
    Entry,
    Session,
    Shelf,
    Stream,
    Worker,
    carrier,
    following,
    has_room,
    oldest,
    page,
)

_RETURN = 6
"""Leases without a sign of life after which a worker is forgotten with its mailbox."""

_LEAST_WAIT = 0.1
"""Minimum seconds between two checks of leases while a receiver waits for notes."""

_SWEEPS = 15.0
"""Seconds between two sweeps over all sessions."""


class MemoryStore:
    """Store that keeps everything in this process.  Safe to use from several threads."""

    def __init__(
        self, settings: StoreSettings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings or StoreSettings()
        self._clock = clock
        self._all = Shelf()
        """All sessions."""
        self._workers: dict[str, Worker] = {}
        self._announced: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        """Announcements by topic, oldest first, each with its time."""
        self._announced_size = 0
        self._closed = False
        self._changed = threading.Condition(threading.RLock())
        """Lock of the whole store; notified when there are notes for receivers."""
        self._owners: dict[str, Shelf] = {}
        """Sessions by owner, the one whose quota they use."""
        self._order: deque[Entry] = deque()
        self._kept = 0
        self._size = 0
        """Bytes of events and queued messages."""
        self._swept = 0.0
        self._secret = secrets.token_bytes(SECRET_SIZE)

    # The batch

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
            if not self._swept <= wall < self._swept + _SWEEPS:
                self._sweep(wall)
            return [carry_out(self, worker, step, wall) for step in steps]

    def close(self) -> None:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # Sessions

    def save(self, record: SessionRecord, wall: float) -> SessionRecord | bool | None:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
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
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        with self._changed:
            found = self._find(session, wall)
            if found is None:
                return None
            before = found.used
            self._use(found, wall)
            return structs.replace(found.record, used=before)

    def touch(self, session: str, wall: float) -> bool:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        with self._changed:
            found = self._find(session, wall)
            if found is not None:
                self._use(found, wall, Grade.USED)
            return found is not None

    def calls(self, worker: str, session: str, calls: int, limit: int, wall: float) -> int | None:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        with self._changed:
            found = self._find(session, wall)
            if found is None:
                return None
            others = sum(found.calls.values()) - found.calls.pop(worker, 0)
            granted = min(calls, max(0, limit - others))
            if granted:
                found.calls[worker] = granted
            return granted

    def delete(self, session: str, wall: float) -> bool:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        with self._changed:
            return self._find(session, wall) is not None and self._remove(session)

    # Streams

    def begin(
        self,
        worker: str,
        session: str,
        stream: int,
        request: bytes | None,
        limit: int,
        wall: float,
    ) -> bool | None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        with self._changed:
            found = self._there(session, wall)
            if self._stream(session, stream, wall) is not None:
                raise StepFailedError("a stream with this number exists")
            if request is None and not has_room(found, limit):
                return False
            if len(found.streams) >= self.settings.streams:
                self._make_room(found, wall)
            found.ranks += 1
            found.streams[stream] = Stream(
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
            return None

    def append(
        self, worker: str, session: str, stream: int, data: bytes, ends: bool, wall: float
    ) -> int | None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
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
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        with self._changed:
            found = self._stream(session, stream, wall)
            if found is None:
                return None
            entries: list[tuple[int, bytes]] = []
            size = 0
            for entry in following(found, after):
                size += len(entry.data)
                if entries and size > limit:
                    break
                entries.append((entry.place, entry.data))
            if after >= found.last and not found.ended and not found.orphaned:
                found.readers.add(worker)
            else:
                found.readers.discard(worker)
            return page(found, entries)

    def claim(self, worker: str, session: str, stream: int, limit: int, wall: float) -> bool | None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        with self._changed:
            found = self._stream(session, stream, wall)
            if found is None:
                return None
            new = found.request is None and found.holder is None and not found.ended
            if new and not has_room(found.session, limit):
                return False
            before, found.holder = found.holder, worker
            found.session.ranks += 1
            found.rank = found.session.ranks
            found.time = wall
            if before is not None and before != worker:
                found.armed = False
                found.readers.discard(before)
                self._tell(before, moved(session, stream))
            self._wake_carrier(found.session)
            return None

    def release(self, worker: str, session: str, stream: int, wall: float) -> None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
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
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        with self._changed:
            found = self._there(session, wall)
            if once is not None and once in found.once:
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
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        with self._changed:
            found = self._stream(session, stream, wall)
            if found is None:
                return LogPage(ended=True)
            if found.holder != worker or found.ended or found.request is not None:
                return page(found, ())
            owner = found.session
            if carrier(owner) is not found or not owner.queue:
                found.armed = True
                return page(found, ())
            entries: list[tuple[int, bytes]] = []
            size = 0
            while owner.queue and (not entries or size + len(owner.queue[0][0]) <= limit):
                data, request = owner.queue.popleft()
                self._dequeued(owner, data, request)
                size += len(data)
                self._keep(found, data, wall)
                entries.append((found.last, data))
            found.time = wall
            found.armed = False
            self._wake_readers(found)
            return page(found, entries)

    # Limits of number, size and age; beyond them the oldest is dropped first

    def _find(self, id: str, wall: float) -> Session | None:
        session = self._all.sessions.get(id)
        if session is None:
            return None
        if self._over(session, wall):
            self._remove(id)
            return None
        return session

    def _there(self, id: str, wall: float) -> Session:
        session = self._find(id, wall)
        if session is None:
            raise NoSessionError
        return session

    def _stream(self, id: str, number: int, wall: float) -> Stream | None:
        session = self._there(id, wall)
        self._expire(session, wall)
        stream = session.streams.get(number)
        if stream is None or self._outlived(stream, wall):
            return None
        return stream

    def _use(self, session: Session, wall: float, least: Grade = Grade.AGREED) -> None:
        """Make a session the most recently used; raise its grade to ``least`` at least."""
        session.used = wall if session.used is None else max(session.used, wall)
        grade = max(session.grade, least)
        self._all.use(session, grade)
        self._owners[session.owner].use(session, grade)
        session.grade = grade

    def _admit(self, record: SessionRecord, wall: float) -> None:
        """Add a session after making room for it: first among its owner's, then among all."""
        settings = self.settings
        session = Session(
            record=record,
            owner=record.owner,
            streams={},
            entries=deque(),
            queue=deque(),
            once=OrderedDict(),
            calls={},
        )
        while (own := self._owners.get(session.owner)) is not None and (
            len(own.sessions) >= settings.sessions_per_client
        ):
            self._make_way(own, wall)
        while self._all.sessions and len(self._all.sessions) >= settings.sessions:
            self._make_way(self._all, wall)
        self._all.add(session)
        if session.owner not in self._owners:
            self._owners[session.owner] = Shelf()
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

    def _make_way(self, shelf: Shelf, wall: float) -> None:
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
        self.post("", None, made_room(id))

    def _over(self, session: Session, wall: float) -> bool:
        return wall >= ends(session.record.created, session.used, self.settings)

    def _sweep(self, wall: float) -> None:
        self._swept = wall
        for id in [*self._all.sessions]:
            session = self._find(id, wall)
            if session is not None:
                self._expire(session, wall)
                for stream in [*session.streams.values()]:
                    self._outlived(stream, wall)

    def _expire(self, session: Session, wall: float) -> None:
        """Drop events that are too old."""
        while (entry := oldest(session.entries)) is not None:
            if wall < entry.time + self.settings.age:
                break
            self._evict(entry)

    def _outlived(self, stream: Stream, wall: float) -> bool:
        """Forget a stream that is empty, idle and too old; return True if it was forgotten."""
        if not stream.idle or stream.entries or wall < stream.time + self.settings.age:
            return False
        del stream.session.streams[stream.number]
        return True

    def _make_room(self, session: Session, wall: float) -> None:
        """Forget the idle streams that are too old, or else the oldest idle stream.

        Raises StepFailedError if no stream is idle.
        """
        idle = [stream for stream in session.streams.values() if stream.idle]
        if not idle:
            raise StepFailedError("the session has too many streams")
        if not [stream for stream in idle if self._outlived(stream, wall)]:
            self._forget(idle[0])
            del session.streams[idle[0].number]

    def _keep(self, stream: Stream, data: bytes, wall: float) -> None:
        session = stream.session
        stream.last += 1
        entry = Entry(stream, stream.last, data, wall)
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
            first = oldest(session.entries)
            if first is None:
                break
            self._evict(first)
        self._limit_total()

    def _limit_total(self) -> None:
        while self._size > self.settings.total_bytes and self._kept > 1:
            first = oldest(self._order)
            if first is None:
                break
            self._evict(first)
        if len(self._order) > 64 + 4 * self._kept:
            self._order = deque(entry for entry in self._order if not entry.gone)

    def _queue_room(self, session: Session, size: int) -> bool:
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

    def _dequeued(self, session: Session, data: bytes, request: bool) -> None:
        session.queued -= len(data)
        self._size -= len(data)
        if request:
            session.requests -= 1
            session.request_bytes -= len(data)

    def _evict(self, entry: Entry) -> None:
        """Drop the oldest event of a session, which is also the oldest of its stream."""
        entry.stream.entries.popleft()
        entry.stream.lost = entry.place
        self._drop(entry)

    def _forget(self, stream: Stream) -> None:
        session = stream.session
        for entry in stream.entries:
            self._drop(entry)
            entry.data = b""
        stream.entries.clear()
        if len(session.entries) > 64 + 4 * session.kept:
            session.entries = deque(entry for entry in session.entries if not entry.gone)

    def _drop(self, entry: Entry) -> None:
        entry.gone = True
        session = entry.stream.session
        session.kept -= 1
        session.size -= len(entry.data)
        self._kept -= 1
        self._size -= len(entry.data)

    # Workers, and the notes that they leave each other

    def post(self, worker: str, to: str | None, note: bytes) -> None:
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
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

    def announce(self, worker: str, note: bytes, topic: str, wall: float) -> None:
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
        with self._changed:
            self.post(worker, None, note)
            self._drop_announcement(topic)
            self._announced[topic] = wall, note
            self._announced_size += len(note)
            self._limit_announcements(wall)

    def announcements(self, since: float, wall: float) -> tuple[bytes, ...]:
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
        with self._changed:
            self._limit_announcements(wall)
            return tuple(note for at, note in self._announced.values() if at >= since)

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
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
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
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
        with self._changed:
            gone = self._workers.pop(worker, None)
            if gone is not None:
                gone.left = True
                self._bury(worker)
                self._changed.notify_all()

    def _renew(self, worker: str) -> Worker:
        expires = self._clock() + self.settings.lease
        state = self._workers.get(worker)
        if state is None:
            state = self._workers[worker] = Worker(expires, deque())
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

    def _deliver(self, state: Worker, note: bytes, posted: int) -> None:
        state.notes.append(note)
        state.posted += posted
        self._changed.notify_all()

    def _wake_readers(self, stream: Stream) -> None:
        for worker in sorted(stream.readers):
            self._tell(worker, wake(stream.session.record.id, stream.number))
        stream.readers.clear()

    def _wake_carrier(self, session: Session) -> None:
        if session.queue and (stream := carrier(session)) is not None and stream.armed:
            stream.armed = False
            if stream.holder is not None:
                self._tell(stream.holder, wake(session.record.id, stream.number))
