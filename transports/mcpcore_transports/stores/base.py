"""Store protocol, its settings, and what all stores have in common.

A store is a plain blocking object.  The application calls :meth:`Store.commit` from one thread, a
batch of steps at a time, and :meth:`Store.receive` from another.  Several applications, in one
process or in many, may share one database behind it.  :mod:`mcpcore.http.storing` defines the
meaning of each step.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mcpcore.http.storing import (
    Ended,
    LogPage,
    Lost,
    Moved,
    SessionRecord,
    Step,
    StoreFailure,
    Wake,
)
from mcpcore.spec.bounds import check_numbers

Outcome = SessionRecord | LogPage | StoreFailure | tuple[bytes, ...] | bool | int | None
"""Outcome of a step; the class of the step defines which of these it has."""

SECRET_SIZE = 32
"""Bytes of the secret that the workers of a store share."""


class StoreSettings(Struct, frozen=True, kw_only=True):
    """Limits of a store: sizes in bytes, times in seconds; the same for all of its workers."""

    events: int = 1000
    """Maximum events kept per session, and messages in its queue; the oldest are dropped first."""
    event_bytes: int = 4 * 1024 * 1024
    """Maximum bytes of events kept per session; the newest event is kept, however long it is."""
    total_bytes: int = 256 * 1024 * 1024
    """Maximum bytes of events and messages of all sessions together (memory and SQLite)."""
    age: float = 300.0
    """Seconds for which events are kept, and streams that nothing writes to any more."""
    streams: int = 4096
    """Maximum streams per session; the oldest streams that are idle are dropped first."""
    queue_bytes: int = 256 * 1024
    """Maximum bytes in the queue of a session; old notifications are dropped, requests never."""
    once: int = 1000
    """Number of recent announcements remembered per session, to refuse duplicates."""
    sessions: int = 10_000
    """Maximum sessions at a time; the unused are dropped first, then the least recently used."""
    sessions_per_client: int = 1000
    """Maximum sessions of one owner (principal or address); beyond it one of its own is dropped."""
    unused: float = 60.0
    """Seconds after which a session ends that was not used again after ``initialize``."""
    idle: float = 1800.0
    """Seconds without use after which a session ends."""
    absolute: float = 86400.0
    """Maximum age of a session in seconds, however much it is used."""
    lease: float = 10.0
    """Seconds without a sign of life after which a worker counts as gone."""
    renew: float = 3.0
    """Seconds between two renewals of a worker's lease, approximately."""
    mailbox: int = 10_000
    """Maximum notes of other workers that wait for one worker; more are refused."""
    announcements: int = 200
    """Maximum announcements to everybody kept for sessions which no worker knows.

    Each is kept for ``idle`` seconds and all together take at most ``queue_bytes``; the oldest are
    dropped first.
    """

    def __post_init__(self) -> None:
        check_numbers(self, "once", "renew", "announcements")


class Grade(IntEnum):
    """Degree to which a session was used: if there are too many, the lowest grade is dropped first.

    Within a grade, the sessions that were made (if fresh) or used longest ago are dropped first.
    Sessions with an open GET stream or a request in progress are dropped last of all.
    """

    FRESH = 0
    """No use since the session was made."""
    AGREED = 1
    """Loaded or saved again, as in a handshake."""
    USED = 2
    """Touched by a request beyond the handshake."""


SPARED = 32
"""Maximum busy sessions that are passed over, and count as used, in the search for a victim."""

RETURN = 6
"""Leases without a sign of life after which a worker is forgotten with its mailbox."""

SWEEPS = 15.0
"""Seconds between two sweeps over all sessions."""


class Store(Protocol):
    """Storage of sessions with their event streams and queues, and of notes between workers."""

    def secret(self) -> bytes:
        """Return the 32 random bytes that the workers share, made once and kept.

        Raises StoreUnavailableError.
        """

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[Outcome]:
        """Carry out steps in order; return their outcomes once they are durable.

        ``wall`` is the time of the wall clock.  Never raises for a store that fails: the steps then
        have StoreFailure as their outcome.  Renews the lease of the worker.
        """

    def receive(self, worker: str, timeout: float) -> list[bytes]:
        """Wait for notes to ``worker``; return them in order, none after ``timeout`` seconds.

        Repeated calls keep the worker alive.  Returns an empty list once the worker has left.
        Raises StoreUnavailableError.
        """

    def leave(self, worker: str) -> None:
        """Remove a worker: its streams are orphaned and its connections released at once.

        Ends a waiting call of :meth:`receive`.  Raises StoreUnavailableError.
        """

    def close(self) -> None:
        """Close connections and files; stored data stays."""


def ends(created: float, used: float | None, settings: StoreSettings) -> float:
    """Return the time at which a session ends; ``used`` None: never used since it was made."""
    if used is None:
        return created + min(settings.unused, settings.idle, settings.absolute)
    return min(used + settings.idle, created + settings.absolute)


class _Envelope(Struct):
    id: msgspec.Raw | UnsetType = UNSET


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def is_request(data: bytes) -> bool:
    """Return True if a queued message is a request, which must not be dropped."""
    try:
        return _ENVELOPE.decode(data).id is not UNSET
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def wake(session: str, stream: int) -> bytes:
    """Return the note that a stream has something to read or to take."""
    return msgspec.json.encode(Wake(session=session, stream=stream))


def moved(session: str, stream: int) -> bytes:
    """Return the note that a stream has its connection at another worker."""
    return msgspec.json.encode(Moved(session=session, stream=stream))


def made_room(session: str) -> bytes:
    """Return the note that a session has ended because there were too many."""
    return msgspec.json.encode(Ended(session=session, reason=MADE_ROOM))


MADE_ROOM = "it made room for others"

LOST = msgspec.json.encode(Lost(session=""))
"""Note that sessions may be lost."""
