"""What an HTTP server keeps outside of its process: records, steps and answers, as data.

An :class:`~mcpcore.http.server.HttpServer` keeps its sessions and their events in memory.  A
:class:`~mcpcore.http.stored.StoredHttpServer` asks its owner for everything that must outlive the
process or be seen by others: a :class:`Step` is an event of ``next_event()``, and its owner answers
with ``stored(token, outcome, now=...)``.  Steps are carried out in the order in which they were
made; what depends on one leaves only when it has been answered.  Nothing here knows what a store
is made of.

The servers that share a store are its *workers*.  A session belongs to none of them: each makes
itself a view of it when a request needs one.  A request belongs to the worker that runs it.

An event stream is an append-only log with positions from 1.  The stream of a request is written
by the worker that runs it.  What belongs to no request goes into the *queue* of its session; the
newest GET stream that is open, at whichever worker, is the *carrier*, and takes from the queue
what it brings, so that each message is on exactly one stream.

Source: the Streamable HTTP pages of 2025-03-26 to 2025-11-25, "Session Management" and
"Resumability and Redelivery".
"""

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

from mcpcore.engine.events import Event

StreamNumber = int
"""Names a stream within its session: random, at most 59 bits, so that no two workers collide."""


class StoreBinding(Struct, frozen=True, kw_only=True):
    """How a server takes part in a store."""

    worker: str
    """Its name among those that share the store: up to 64 letters, digits, ``-`` and ``_``.

    A new one for each start of a process: what was owed under an old name is owed by nobody.
    """
    secret: bytes
    """At least 32 random bytes that all workers share; event ids are authenticated with it."""
    epoch: float = 0.0
    """What to add to ``now`` for the wall clock, in seconds since 1970."""
    idle: float | None = None
    """The store ends a session that it has not heard of for so many seconds; None: not known."""
    absolute: float | None = None
    """The store ends a session at this age; None: not known."""


class SessionRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session as it is written down (JSON): what another process needs to take it up.

    Times are of the wall clock, in seconds since 1970, as they outlive the process.
    """

    id: str
    principal: str | None = None
    owner: str = ""
    """Whose share of the sessions it takes: a principal or an address; "" is an owner as well."""
    revision: str
    client_info: Raw | UnsetType = UNSET
    capabilities: Raw
    initialized: bool = False
    log_level: str | None = None
    subscriptions: tuple[str, ...] = ()
    """The URIs that the client has subscribed to."""
    created: float
    """When the session was made; stays as it was in all versions."""
    version: int = 1
    """Grows with each change; an older record never replaces a newer one."""
    used: float | None = None
    """In the outcome of a SessionLoad: when the session was used before that, None if never."""


class LogPage(Struct, frozen=True, kw_only=True):
    """A part of a stream, in order."""

    entries: tuple[tuple[int, bytes], ...] = ()
    """Position and JSON text of each event."""
    lost: int = 0
    """The position of the newest event that is not kept any more; 0: all are kept."""
    last: int = 0
    """The position of the newest event of the stream."""
    ended: bool = False
    """Nothing will be added to the stream."""
    orphaned: bool = False
    """Not ended, but the worker that would write to it is gone."""
    request: bytes | None = None
    """The id, as JSON, of the request that the stream answers; None: it belongs to none."""


class Step(Event, frozen=True, kw_only=True):
    """Something to be done in the store; answered by ``stored(token, outcome, now=...)``.

    Each class says what its outcome is.  If the store fails, the outcome is a
    :class:`StoreFailure`, which ends what depended on the step, with a clear error.  Steps on the
    streams or the queue of a session that is not there have the outcome :class:`NoSession`.
    """

    token: int
    session: str


class SessionSave(Step, frozen=True, kw_only=True):
    """Write a session down.  Must be durable before it is answered.

    Outcome: None if that was done.  The SessionRecord that stands there if its version is not lower
    (two workers changed the session at once); it is left as it is.  False if ``record.version`` is
    above 1 and there is no such session any more.
    """

    record: SessionRecord


class SessionLoad(Step, frozen=True, kw_only=True):
    """Find a session.  Outcome: its SessionRecord, or None.

    Somebody has asked for the session: it is not over for being unused any more.
    """


class SessionTouch(Step, frozen=True, kw_only=True):
    """The session was used, for more than a handshake.  Outcome: whether it is still there."""


class SessionCalls(Step, frozen=True, kw_only=True):
    """This worker works on up to ``calls`` requests of the session at a time; 0: on none.

    All workers together may have ``limit``.  Outcome: how many this one may have from now on, which
    is ``calls`` or as many as there is room for; None without the session.  What a worker had is
    free again when it is gone.
    """

    calls: int
    limit: int


class SessionDelete(Step, frozen=True, kw_only=True):
    """Remove a session with all that is kept of it.  Outcome: whether it was there."""


class StreamBegin(Step, frozen=True, kw_only=True):
    """A stream begins, written by this worker.  Outcome: None.

    ``request`` is the id, as JSON, of the request that it answers; None makes it a GET stream,
    which then is the newest of its session and so its carrier.  If so many GET streams of the
    session have a connection as ``limit`` says (0: any number), at all workers together, nothing
    is done and the outcome is False.
    """

    stream: StreamNumber
    request: bytes | None = None
    limit: int = 0


class StreamAppend(Step, frozen=True, kw_only=True):
    """Add an event to a stream; ``ends``: it is the last.

    Outcome: its position; None if the stream has ended or is unknown (nothing was added).  Must be
    durable before it is answered.  ``data`` empty with ``ends``: only ends it, outcome ``last``.
    """

    stream: StreamNumber
    data: bytes
    ends: bool = False


class StreamRead(Step, frozen=True, kw_only=True):
    """Read what follows on position ``after``, at most about ``limit`` bytes (at least one event).

    Outcome: a LogPage, or None for an unknown stream.  If nothing follows, this worker is told with
    a ``wake`` note once something does (once for each such read), or once the stream is orphaned.
    """

    stream: StreamNumber
    after: int
    limit: int


class QueuePut(Step, frozen=True, kw_only=True):
    """Put a message that belongs to no request into the queue of a session.

    Within bounds: the oldest notifications go first.  With ``once``, a second put with the same
    value does nothing: so what every worker announces arrives once.  Wakes the worker of the
    carrier.  Outcome: whether it was put.
    """

    data: bytes
    once: str | None = None


class QueueTake(Step, frozen=True, kw_only=True):
    """Move what waits in the queue onto GET stream ``stream``, at most about ``limit`` bytes.

    Outcome: a LogPage with what was moved, ``last`` as in a read; None for an unknown stream.
    Nothing moves unless the stream is the carrier and has its connection at this worker.  If
    nothing moved, this worker is woken once something can (also when the stream becomes carrier).
    """

    stream: StreamNumber
    limit: int


class StreamRelease(Step, frozen=True, kw_only=True):
    """GET stream ``stream`` has lost its connection and carries no longer.  Outcome: None.

    The next newest that is open becomes the carrier; the stream can still be read.
    """

    stream: StreamNumber


class StreamClaim(Step, frozen=True, kw_only=True):
    """GET stream ``stream`` has a connection at this worker (again), as the newest.  Outcome: None.

    A connection that it had elsewhere is told to let go: that worker gets a ``moved`` note.
    For the stream of a request likewise: its writer goes on writing, but sends no longer.
    ``limit`` as for StreamBegin, for a GET stream that had no connection.
    """

    stream: StreamNumber
    limit: int = 0


class Post(Step, frozen=True, kw_only=True):
    """Pass a note on to another worker, or with ``to`` None to all others.  Outcome: None.

    What is for a worker that is gone, or never was, is dropped.  ``session`` is "" where the note
    concerns none.  The note is ours: the store does not look into it.
    The receiving owner calls ``note(data, now=...)``.
    """

    to: str | None
    note: bytes


class Announce(Step, frozen=True, kw_only=True):
    """Pass a note on to all others, and keep it for sessions that nobody knows now.  Outcome: None.

    It takes the place of an earlier one with the same ``topic``.  Those that are kept are bounded
    in number and size, and by the time for which a session lives without being used.
    """

    note: bytes
    topic: str


class Announcements(Step, frozen=True, kw_only=True):
    """What was announced since a time of the wall clock.  Outcome: the notes, oldest first."""

    since: float


class StoreFailure(Struct, frozen=True):
    """The outcome of a step that could not be carried out."""

    reason: str


class NoSession(StoreFailure, frozen=True):
    """The outcome of a step on a session that is not there (any more): the store is well."""

    reason: str = "there is no such session (any more)"


class Note(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="note"):
    """What one worker tells another, or a store tells a worker, as JSON."""

    session: str


class Wake(Note, frozen=True, kw_only=True, tag="wake"):
    """Made by the store: a read or take of ``stream`` would now find something."""

    stream: StreamNumber


class Moved(Note, frozen=True, kw_only=True, tag="moved"):
    """Made by the store: ``stream`` has a connection at another worker."""

    stream: StreamNumber


class Forwarded(Note, frozen=True, kw_only=True, omit_defaults=True, tag="message"):
    """An answer, a cancellation or progress that concerns a request at another worker."""

    message: Raw
    principal: str | None = None


class Ended(Note, frozen=True, kw_only=True, tag="ended"):
    """The session is gone; made by the store for those that had to make room."""

    reason: str


class Changed(Note, frozen=True, kw_only=True, tag="changed"):
    """The session has a newer record."""

    record: SessionRecord


class Announced(Note, frozen=True, kw_only=True, omit_defaults=True, tag="announced"):
    """Everybody shall hear of a change: ``session`` is ""; ``once`` names the announcement."""

    method: str
    params: Raw | UnsetType = UNSET
    meta: dict[str, Any] = {}
    once: str


class HangUp(Note, frozen=True, kw_only=True, omit_defaults=True, tag="hang up"):
    """Whoever has the connection of ``stream`` shall close it; None: of all GET streams."""

    stream: StreamNumber | None = None
    retry: float
    """After so many seconds the client is to come back."""


class Lost(Note, frozen=True, kw_only=True, tag="lost"):
    """Made by the store: it may have lost sessions; ``session`` is ""."""


AnyNote = Wake | Moved | Forwarded | Ended | Changed | Announced | HangUp | Lost

__all__ = [
    "Announce",
    "Announced",
    "Announcements",
    "AnyNote",
    "Changed",
    "Ended",
    "Forwarded",
    "HangUp",
    "LogPage",
    "Lost",
    "Moved",
    "NoSession",
    "Note",
    "Post",
    "QueuePut",
    "QueueTake",
    "SessionCalls",
    "SessionDelete",
    "SessionLoad",
    "SessionRecord",
    "SessionSave",
    "SessionTouch",
    "Step",
    "StoreBinding",
    "StoreFailure",
    "StreamAppend",
    "StreamBegin",
    "StreamClaim",
    "StreamNumber",
    "StreamRead",
    "StreamRelease",
    "Wake",
]
