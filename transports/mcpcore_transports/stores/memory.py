"""Store in memory, for workers in one process; the model for the other stores."""

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence

from msgspec import structs

from mcpcore.errors import StepFailedError
from mcpcore.http.storing import LogPage, SessionRecord, Step, StoreFailure
from mcpcore_transports.stores.base import (
    SECRET_SIZE,
    Grade,
    Outcome,
    StoreSettings,
    carry_out,
    is_request,
    moved,
)
from mcpcore_transports.stores.memory_limits import MemoryLimits
from mcpcore_transports.stores.memory_state import Stream, carrier, following, has_room, page

_SWEEPS = 15.0
"""Seconds between two sweeps over all sessions."""


class MemoryStore(MemoryLimits):
    """Store that keeps everything in this process.  Safe to use from several threads."""

    def __init__(
        self, settings: StoreSettings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(settings or StoreSettings(), clock)
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
