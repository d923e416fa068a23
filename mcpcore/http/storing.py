"""Data of an HTTP server outside of its process: records, steps and outcomes.

An :class:`~mcpcore.HttpServer` with a :class:`StoreBinding` asks the application for all that
must outlive the process or be visible to others::

    while (event := server.next_event()) is not None:
        if isinstance(event, Step):
            batch.append(event)             # later: server.stored(event.token, outcome, now=...)
    server.note(data, now=clock())          # from the mailbox of this worker

Steps are carried out in the order in which they were made.  The servers that share a store are its
*workers*; each makes itself a replica of a session when a request needs one.

An event stream is a log with positions from 1.  The stream of a request is written by the worker
that runs it.  Messages that belong to no request go into the *queue* of the session.  The newest
open GET stream, at any worker, is the *carrier* and takes them from there.  Source: the Streamable
HTTP pages, "Session Management" and "Resumability and Redelivery".
"""

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore.engine.events import Event
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.capabilities import ClientCapabilities

StreamNumber = int
"""Number of a stream within its session: random, at most 59 bits, so that no two workers
collide."""


class StoreBinding(Struct, frozen=True, kw_only=True):
    """Membership of a server in a store: its name there, and the common secret and limits."""

    worker: str
    """Name of the worker: up to 64 letters, digits, ``-`` and ``_``; new for each start."""
    secret: bytes
    """At least 32 random bytes that all workers share; event ids are authenticated with it."""
    epoch: float = 0.0
    """Seconds to add to ``now`` to get the wall clock, which counts seconds since 1970."""
    idle: float | None = None
    """Seconds without use after which the store ends a session; None: not known."""
    absolute: float | None = None
    """Age in seconds at which the store ends a session; None: not known."""


class SessionRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Stored session (JSON), which another process can continue; times are of the wall clock."""

    id: str
    principal: str | None = None
    owner: str = ""
    """Quota key of the session: a principal or an address; "" is a key as well."""
    scopes: tuple[str, ...] = ()
    """Scopes of all requests in the session together; so are ``roles``."""
    roles: tuple[str, ...] = ()
    revision: str
    client_info: Raw | UnsetType = UNSET
    capabilities: Raw
    initialized: bool = False
    log_level: str | None = None
    subscriptions: tuple[str, ...] = ()
    """URIs that the client has subscribed to."""
    created: float
    """Time at which the session was opened; the same in all versions."""
    version: int = 1
    """Version, which grows with each change; an older record never replaces a newer one."""
    used: float | None = None
    """In the outcome of a SessionLoad: time of the last use before it, None if never used."""


class LogPage(Struct, frozen=True, kw_only=True):
    """Part of a stream, in order."""

    entries: tuple[tuple[int, bytes], ...] = ()
    """Position and JSON text of each event."""
    lost: int = 0
    """Position of the newest event that is no longer kept; 0: all are kept."""
    last: int = 0
    """Position of the newest event of the stream."""
    ended: bool = False
    """True if no event will be added to the stream."""
    orphaned: bool = False
    """True if the stream has not ended, but the worker that would write to it is gone."""
    request: bytes | None = None
    """Id, as JSON, of the request that the stream answers; None: it belongs to none."""
    version: int = 0
    """Version of the session's record when the page was read; 0: not known."""


class Step(Event, frozen=True, kw_only=True):
    """Step to carry out in the store; answered by ``stored(token, outcome, now=...)``.

    Each class documents its outcome.  If the store fails, it is a :class:`StoreFailure`.  Steps on
    the streams or the queue of a missing session have the outcome :class:`NoSession`.
    """

    token: int
    session: str


class SessionSave(Step, frozen=True, kw_only=True):
    """Write a session record.  It must be durable before the step is answered.

    Outcome: None if that was done.  The stored SessionRecord if its version is not lower, which is
    left as it is.  False if ``record.version`` is above 1 and there is no such session any more.
    """

    record: SessionRecord


class SessionLoad(Step, frozen=True, kw_only=True):
    """Load a session, which no longer counts as unused.  Outcome: its SessionRecord, or None."""


class SessionTouch(Step, frozen=True, kw_only=True):
    """Note that a session was used, beyond a handshake.  Outcome: True if it still exists."""


class SessionCalls(Step, frozen=True, kw_only=True):
    """Reserve up to ``calls`` requests in flight for this worker in a session; 0 releases them.

    All workers together may have ``limit``; the share of one that is gone is free.  Outcome: the
    number that this worker may have now: ``calls``, or the room there is; None without session.
    """

    calls: int
    limit: int


class SessionDelete(Step, frozen=True, kw_only=True):
    """Remove a session with all its data.  Outcome: True if it existed."""


class StreamBegin(Step, frozen=True, kw_only=True):
    """Begin a stream that this worker writes.  Outcome: None.

    ``request``: id, as JSON, that it answers; None: a GET stream, which becomes the carrier.  If
    ``limit`` GET streams of the session (0: any number) have a connection, at all workers together,
    nothing is done and the outcome is False.
    """

    stream: StreamNumber
    request: bytes | None = None
    limit: int = 0


class StreamAppend(Step, frozen=True, kw_only=True):
    """Add an event to a stream; ``ends``: it is the last.  Must be durable before it is answered.

    Outcome: its position; None if the stream has ended or is unknown.  Empty ``data`` only ends it.
    """

    stream: StreamNumber
    data: bytes
    ends: bool = False


class StreamRead(Step, frozen=True, kw_only=True):
    """Read the events after position ``after``, at most about ``limit`` bytes (at least one event).

    Outcome: a LogPage, or None for an unknown stream.  An empty one is followed by a ``wake`` note.
    """

    stream: StreamNumber
    after: int
    limit: int


class QueuePut(Step, frozen=True, kw_only=True):
    """Put a message that belongs to no request into the queue of a session.

    The queue is bounded: the oldest notifications go first.  With ``once``, a second put with the
    same value does nothing.  Wakes the worker of the carrier.  Outcome: True if it was put.
    """

    data: bytes
    once: str | None = None


class QueueTake(Step, frozen=True, kw_only=True):
    """Move messages from the queue onto GET stream ``stream``, at most about ``limit`` bytes.

    Outcome: a LogPage with them, ``last`` as in a read; None for an unknown stream.  Nothing moves
    unless the stream is the carrier and connected at this worker, which is woken once it can.
    """

    stream: StreamNumber
    limit: int


class StreamRelease(Step, frozen=True, kw_only=True):
    """Release GET stream ``stream``, which has lost its connection, as carrier.  Outcome: None."""

    stream: StreamNumber


class StreamClaim(Step, frozen=True, kw_only=True):
    """Claim a stream for a new connection at this worker, as the newest.  Outcome: None.

    A worker that has an older connection of it gets a ``moved`` note and closes it.  The writer of
    the stream of a request goes on writing, but sends no longer.  ``limit`` as for StreamBegin.
    """

    stream: StreamNumber
    limit: int = 0


class Post(Step, frozen=True, kw_only=True):
    """Pass a note on to another worker, or with ``to`` None to all others.  Outcome: None.

    A note for a worker that is gone is dropped.  ``session`` is "" if the note concerns none.
    """

    to: str | None
    note: bytes


class Announce(Step, frozen=True, kw_only=True):
    """Pass a note on to all others, and keep it for sessions not loaded now.  Outcome: None.

    It replaces an earlier one with the same ``topic``.  Kept notes are bounded in number and size.
    """

    note: bytes
    topic: str


class Announcements(Step, frozen=True, kw_only=True):
    """Read the announcements since a time of the wall clock.  Outcome: the notes, oldest first."""

    since: float


class TaskSave(Step, frozen=True, kw_only=True):
    """Write a task; ``new``: one that this worker begins.  It must be durable before the answer.

    Outcome: True if that was done, None if there is no room for it.  False if it has ended, which
    is final, or is not there any more.  ``session`` is "", as in all steps about tasks.
    """

    id: str
    owner: str | None
    task: bytes
    ended: bool
    expires: float
    """Time of the wall clock at which it is removed."""
    new: bool = False


class TaskLoad(Step, frozen=True, kw_only=True):
    """Load a task.  Outcome: a StoredTask, or None.

    ``follow``: this worker gets a ``task changed`` note when the task is written next.
    """

    id: str
    follow: bool = False


class TaskList(Step, frozen=True, kw_only=True):
    """List at most ``limit`` tasks of an owner with numbers above ``after``, in their order.

    Of long ones there may be fewer, at least one.  Outcome: a tuple of StoredTask.
    """

    owner: str
    after: int
    limit: int


class StoredTask(Struct, frozen=True, kw_only=True):
    """Task in a store."""

    number: int
    """Position in the order of creation."""
    worker: str
    """Name of the worker that has begun it and runs it."""
    gone: bool
    """True if nothing was heard of that worker for the time of its lease."""
    task: bytes


class NoteReceived(Event, frozen=True, kw_only=True):
    """Note of the application at another worker, sent with ``post_note``."""

    sender: str
    content: Raw


class NoteLost(Event, frozen=True, kw_only=True):
    """Note of our application that the store has failed to pass on; it may arrive all the same."""

    content: Raw
    reason: str


class SessionRestored(Event, frozen=True, kw_only=True):
    """Session that another process has begun or changed, as it is now.

    Its handshake is complete; no Ready follows.  A change made here is undone if the store fails.
    """

    session: str
    principal: str | None
    revision: Revision
    capabilities: ClientCapabilities
    log_level: str | None
    """Level that the client has set; None if it has set none."""
    subscriptions: tuple[str, ...]
    """URIs that the client has subscribed to."""


class SessionForgotten(Event, frozen=True, kw_only=True):
    """Session that this process no longer has; it may go on elsewhere, or be restored here."""

    session: str


class StoreFailure(Struct, frozen=True):
    """Outcome of a step that could not be carried out."""

    reason: str


class NoSession(StoreFailure, frozen=True):
    """Outcome of a step on a missing session; the store itself has not failed."""

    reason: str = "there is no such session (any more)"


class Note(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="note"):
    """Note from one worker to another, or from a store to a worker, as JSON."""

    session: str


class Wake(Note, frozen=True, kw_only=True, tag="wake"):
    """Made by the store: a read or take of ``stream`` would now find events."""

    stream: StreamNumber


class Moved(Note, frozen=True, kw_only=True, tag="moved"):
    """Made by the store: ``stream`` has a connection at another worker."""

    stream: StreamNumber


class Forwarded(Note, frozen=True, kw_only=True, omit_defaults=True, tag="message"):
    """Response, cancellation or progress that concerns a request at another worker."""

    message: Raw
    principal: str | None = None


class Said(Note, frozen=True, kw_only=True, tag="said"):
    """Note of the application at worker ``sender``; ``session`` is ""."""

    sender: str
    content: Raw


class Ended(Note, frozen=True, kw_only=True, tag="ended"):
    """A session has ended; made by the store for those that had to make room."""

    reason: str


class Changed(Note, frozen=True, kw_only=True, tag="changed"):
    """A session has a newer record."""

    record: SessionRecord


class Announced(Note, frozen=True, kw_only=True, omit_defaults=True, tag="announced"):
    """Broadcast of a notification to all sessions: ``session`` is ""; ``once`` is its name."""

    method: str
    params: Raw | UnsetType = UNSET
    meta: dict[str, Any] = {}
    once: str


class HangUp(Note, frozen=True, kw_only=True, omit_defaults=True, tag="hang up"):
    """Order to close the connection of ``stream``; None: of all GET streams."""

    stream: StreamNumber | None = None
    retry: float
    """Seconds after which the client is to come back."""


class Lost(Note, frozen=True, kw_only=True, tag="lost"):
    """Made by the store: it may have lost sessions; ``session`` is ""."""


class TaskTold(Note, frozen=True, kw_only=True, omit_defaults=True, tag="task"):
    """A task of the worker has answers of its client, or problems in place of answers, by key.

    Without any, it was ended by another worker.  ``session`` is "".
    """

    task: str
    answers: dict[str, Raw] = {}
    problems: dict[str, str] = {}


class TaskChanged(Note, frozen=True, kw_only=True, tag="task changed"):
    """Made by the store: a task that the worker follows was written; ``session`` is ""."""

    task: str


AnyNote = Wake | Moved | Forwarded | Said | Ended | Changed | Announced | HangUp | Lost
