"""What every store offers, what it is told, and the one place where a step becomes a call.

A store is a plain blocking object.  Its owner calls :meth:`Store.commit` from one thread, a batch
of steps at a time, and :meth:`Mailbox.receive` from another; several owners, in one process or in
many, may share what is behind it.  :mod:`mcpcore.http.storing` says what each step means.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mcpcore.http.storing import (
    Announce,
    Announcements,
    Ended,
    LogPage,
    Lost,
    Moved,
    NoSession,
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
    Wake,
)
from mcpcore.spec.bounds import check_numbers

Outcome = SessionRecord | LogPage | StoreFailure | tuple[bytes, ...] | bool | int | None
"""What becomes of a step; which of these, the step's class says."""

SECRET_SIZE = 32
"""Bytes of the secret that the workers of a store share."""


class StoreSettings(Struct, frozen=True, kw_only=True):
    """What a store bears.  Sizes in bytes, times in seconds; the same for all of its workers."""

    events: int = 1000
    """Events kept per session, and messages in its queue; the oldest go first."""
    event_bytes: int = 4 * 1024 * 1024
    """Bytes of events kept per session; the newest event is kept, however long it is."""
    total_bytes: int = 256 * 1024 * 1024
    """Bytes of events and messages of all sessions together (memory and SQLite)."""
    age: float = 300.0
    """Events are kept for this long, and streams that nobody writes to any more."""
    streams: int = 4096
    """Streams known per session; those go first to which nothing will be added."""
    queue_bytes: int = 256 * 1024
    """Bytes in the queue of a session; the oldest notifications go first, requests never."""
    once: int = 1000
    """So many of the last announcements of a session are remembered, to refuse a second one."""
    sessions: int = 10_000
    """Sessions at a time; beyond that the unused go first, then the least recently used."""
    sessions_per_client: int = 1000
    """Sessions of one owner (principal or address); beyond that one of its own goes likewise."""
    unused: float = 60.0
    """A session that is not used again after ``initialize`` ends after this time."""
    idle: float = 1800.0
    """A session that is not used ends after this time."""
    absolute: float = 86400.0
    """A session ends after this time however much it is used."""
    lease: float = 10.0
    """A worker of which nothing was heard for this long is gone."""
    renew: float = 3.0
    """A worker tells that it is there about this often."""
    mailbox: int = 10_000
    """Notes of other workers that wait for one worker; more are refused."""
    announcements: int = 200
    """Announcements to everybody that are kept for sessions which no worker knows, each for
    ``idle`` and together at most ``queue_bytes``; the oldest go first."""

    def __post_init__(self) -> None:
        check_numbers(self, "once", "renew", "announcements")


class StoreUnavailableError(Exception):
    """The store cannot be reached, or does not do what it was asked."""


class StepFailedError(Exception):
    """A step cannot be carried out, and nothing has changed; becomes a StoreFailure."""


class NoSessionError(StepFailedError):
    """There is no such session (any more); becomes NoSession."""


class Grade(IntEnum):
    """How much a session was used.  Where there are too many, those of the lowest go first.

    Within a grade those go first that were made (fresh ones) or used longest ago; of all, those
    with an open GET stream or a request that is being worked on come last.
    """

    FRESH = 0
    """Nothing was heard of it since it was made."""
    AGREED = 1
    """It was loaded or saved again: all that a handshake takes."""
    USED = 2
    """Touched."""


SPARED = 32
"""So many sessions at work are passed over, and count as used, in the search for one to go."""


class SessionStore(Protocol):
    """Keeps the records of sessions.  Times are of the wall clock."""

    def save(self, record: SessionRecord, wall: float) -> SessionRecord | bool | None:
        """Write a record down (:class:`SessionSave`): None if that was done.

        One of version 1 makes a session, every other needs one: False if it has ended.  Where a
        record stands whose version is not lower, that stays, and is returned.
        """

    def load(self, session: str, wall: float) -> SessionRecord | None:
        """Return the record of a session that has not ended, which counts as asked for now.

        ``used`` of the record says when it had been used, or asked for, before.
        """

    def touch(self, session: str, wall: float) -> bool:
        """Count a session as used for good; return whether it is there."""

    def calls(self, worker: str, session: str, calls: int, limit: int, wall: float) -> int | None:
        """How many requests of a session ``worker`` may work on (:class:`SessionCalls`)."""

    def delete(self, session: str, wall: float) -> bool:
        """Remove a session and all that is kept of it; return whether it was there."""


class EventStore(Protocol):
    """Keeps the event streams and the queue of each session.

    All calls raise NoSessionError without the session.
    """

    def begin(
        self,
        worker: str,
        session: str,
        stream: int,
        request: bytes | None,
        limit: int,
        wall: float,
    ) -> bool | None:
        """Begin a stream (:class:`StreamBegin`).

        Raises StepFailedError for a number in use, and where there are too many streams of all
        kinds.
        """

    def append(
        self, worker: str, session: str, stream: int, data: bytes, ends: bool, wall: float
    ) -> int | None:
        """Add an event (:class:`StreamAppend`)."""

    def read(
        self, worker: str, session: str, stream: int, after: int, limit: int, wall: float
    ) -> LogPage | None:
        """Return what followed (:class:`StreamRead`)."""

    def put(self, session: str, data: bytes, once: str | None, wall: float) -> bool:
        """Put a message into the queue (:class:`QueuePut`)."""

    def take(self, worker: str, session: str, stream: int, limit: int, wall: float) -> LogPage:
        """Move from the queue onto a stream (:class:`QueueTake`)."""

    def release(self, worker: str, session: str, stream: int, wall: float) -> None:
        """A stream has lost its connection at ``worker`` (:class:`StreamRelease`)."""

    def claim(self, worker: str, session: str, stream: int, limit: int, wall: float) -> bool | None:
        """A stream has a connection at ``worker`` (:class:`StreamClaim`)."""


class Mailbox(Protocol):
    """Passes notes between workers, and knows which of them are there."""

    def post(self, worker: str, to: str | None, note: bytes) -> None:
        """Pass on a note of ``worker`` (:class:`Post`); nothing happens if nobody is there.

        Raises StepFailedError if the mailbox of ``to`` is full; of all others, those whose
        mailbox is full do not get it.
        """

    def announce(self, worker: str, note: bytes, topic: str, wall: float) -> None:
        """Pass a note on to all others and keep it (:class:`Announce`)."""

    def announcements(self, since: float, wall: float) -> tuple[bytes, ...]:
        """Return what was announced since then (:class:`Announcements`)."""

    def receive(self, worker: str, timeout: float) -> list[bytes]:
        """Wait for notes to ``worker``; return them in order, none after ``timeout`` seconds.

        While it is called again and again the worker counts as there.  Returns nothing once the
        worker has left.  Raises StoreUnavailableError.
        """

    def leave(self, worker: str) -> None:
        """The worker goes: its streams are orphaned and its connections released at once.

        Ends a call of :meth:`receive` that waits.  Raises StoreUnavailableError.
        """


class Store(SessionStore, EventStore, Mailbox, Protocol):
    """All of that, and a batch at a time."""

    def secret(self) -> bytes:
        """Return the 32 random bytes that the workers share, made once and kept.

        Raises StoreUnavailableError.
        """

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[Outcome]:
        """Carry out steps in order; return their outcomes once they are durable.

        Never raises for a store that fails: the steps have StoreFailure as their outcome then.
        The worker counts as there.
        """

    def close(self) -> None:
        """Give up connections and files; what is kept stays kept."""


def carry_out(store: Store, worker: str, step: Step, wall: float) -> Outcome:
    """Carry out one step by the call of ``store`` that it stands for."""
    session = step.session
    try:
        match step:
            case StreamAppend():
                return store.append(worker, session, step.stream, step.data, step.ends, wall)
            case StreamRead():
                return store.read(worker, session, step.stream, step.after, step.limit, wall)
            case StreamBegin():
                return store.begin(worker, session, step.stream, step.request, step.limit, wall)
            case QueuePut():
                return store.put(session, step.data, step.once, wall)
            case QueueTake():
                return store.take(worker, session, step.stream, step.limit, wall)
            case StreamClaim():
                return store.claim(worker, session, step.stream, step.limit, wall)
            case StreamRelease():
                store.release(worker, session, step.stream, wall)
            case Post():
                store.post(worker, step.to, step.note)
            case Announce():
                store.announce(worker, step.note, step.topic, wall)
            case Announcements():
                return store.announcements(step.since, wall)
            case SessionTouch():
                return store.touch(session, wall)
            case SessionCalls():
                return store.calls(worker, session, step.calls, step.limit, wall)
            case SessionLoad():
                return store.load(session, wall)
            case SessionSave():
                return store.save(step.record, wall)
            case SessionDelete():
                return store.delete(session, wall)
            case _:
                return StoreFailure(f"no store knows the step {type(step).__name__}")
    except NoSessionError:
        return NoSession()
    except StepFailedError as refused:
        return StoreFailure(str(refused))
    return None


def ends(created: float, used: float | None, settings: StoreSettings) -> float:
    """When the time of a session is over; ``used`` None: never since it was made."""
    if used is None:
        return created + min(settings.unused, settings.idle, settings.absolute)
    return min(used + settings.idle, created + settings.absolute)


class _Envelope(Struct):
    id: msgspec.Raw | UnsetType = UNSET


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def is_request(data: bytes) -> bool:
    """Whether a message in a queue waits for an answer, so that it must not be dropped."""
    try:
        return _ENVELOPE.decode(data).id is not UNSET
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def wake(session: str, stream: int) -> bytes:
    """The note that a read or take would find something."""
    return msgspec.json.encode(Wake(session=session, stream=stream))


def moved(session: str, stream: int) -> bytes:
    """The note that a stream has its connection elsewhere."""
    return msgspec.json.encode(Moved(session=session, stream=stream))


def made_room(session: str) -> bytes:
    """The note that a session has ended because there were too many."""
    return msgspec.json.encode(Ended(session=session, reason=MADE_ROOM))


MADE_ROOM = "it made room for others"

LOST = msgspec.json.encode(Lost(session=""))
"""The note that sessions may be lost."""
