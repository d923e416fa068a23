"""Limits of number, size and age in memory; beyond them the oldest is dropped first."""

from collections import OrderedDict, deque
from collections.abc import Callable
from itertools import islice, takewhile

from mcpcore.errors import NoSessionError, StepFailedError
from mcpcore.http.storing import SessionRecord
from mcpcore_transports.stores.base import SPARED, Grade, StoreSettings, ends, made_room
from mcpcore_transports.stores.memory_mail import MemoryMail
from mcpcore_transports.stores.memory_state import Entry, Session, Shelf, Stream, oldest


class MemoryLimits(MemoryMail):
    """Sessions and events in memory, with their limits."""

    def __init__(self, settings: StoreSettings, clock: Callable[[], float]) -> None:
        super().__init__(settings, clock)
        self._owners: dict[str, Shelf] = {}
        """Sessions by owner, the one whose quota they use."""
        self._order: deque[Entry] = deque()
        self._kept = 0
        self._size = 0
        """Bytes of events and queued messages."""
        self._swept = 0.0

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
