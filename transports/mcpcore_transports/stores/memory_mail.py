"""Workers that share a store in memory, and the notes that they leave each other."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from mcpcore.errors import StepFailedError, StoreUnavailableError
from mcpcore_transports.stores.base import StoreSettings, moved, wake
from mcpcore_transports.stores.memory_state import Session, Shelf, Stream, Worker, carrier

_RETURN = 6
"""Leases without a sign of life after which a worker is forgotten with its mailbox."""
_LEAST_WAIT = 0.1
"""Minimum seconds between two checks of leases while a receiver waits for notes."""


class MemoryMail:
    """Mailbox in memory: see :class:`~mcpcore_transports.stores.base.Mailbox`."""

    def __init__(self, settings: StoreSettings, clock: Callable[[], float]) -> None:
        self.settings = settings
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

    # Notes and workers

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
