"""Limits of number, size and age in a SQLite file; beyond them the oldest is dropped first."""

from collections.abc import Iterator, Sequence
from itertools import takewhile

from msgspec import Struct

from mcpcore.errors import NoSessionError, StepFailedError
from mcpcore.http.storing import LogPage
from mcpcore_transports.stores.base import SPARED, Grade, ends, made_room
from mcpcore_transports.stores.sqlite_mail import SqliteMail

_IDLE = "(ended OR orphaned OR (request IS NULL AND holder IS NULL))"
"""SQL condition: nothing will be added to the stream unless a client comes back for it."""
_OUTLIVED = (
    f"SELECT key FROM streams WHERE {_IDLE} AND time + ? <= ?"  # noqa: S608
    " AND NOT EXISTS (SELECT 1 FROM events WHERE stream = streams.key)"
)

_BUSY = (
    f"SELECT 1 FROM streams WHERE session = ? AND NOT {_IDLE}"  # noqa: S608
    " UNION ALL SELECT 1 FROM calls WHERE session = ? LIMIT 1"
)
"""SQL query with a row if the session has an open GET stream or a request in progress."""


class StreamRow(Struct):
    """A row of the table ``streams``."""

    key: int
    session: int
    number: int
    request: bytes | None
    holder: str | None
    time: float
    last: int
    lost: int
    ended: bool
    orphaned: bool

    def page(self, entries: Sequence[tuple[int, bytes]]) -> LogPage:
        """Return entries and state of the stream as the outcome of a step."""
        return LogPage(
            entries=tuple(entries),
            lost=self.lost,
            last=self.last,
            ended=bool(self.ended),
            orphaned=bool(self.orphaned),
            request=self.request,
        )

    @property
    def idle(self) -> bool:
        """True if nothing will be added to the stream unless a client comes back for it."""
        return bool(self.ended or self.orphaned or (self.request is None and self.holder is None))


_STREAM = f"SELECT {', '.join(StreamRow.__struct_fields__)} FROM streams WHERE"  # noqa: S608


class SqliteLimits(SqliteMail):
    """Sessions and events in a SQLite file, with their limits."""

    def _find(self, id: str, wall: float) -> int | None:
        """Return the key of a session, or None if it has ended."""
        row = self._row("SELECT key, created, used FROM sessions WHERE id = ?", id)
        if row is None:
            return None
        key, created, used = row
        if wall >= ends(created, used, self.settings):
            self._remove(key)
            return None
        return int(key)

    def _there(self, id: str, wall: float) -> int:
        key = self._find(id, wall)
        if key is None:
            raise NoSessionError
        return key

    def _stream(self, id: str, number: int, wall: float) -> StreamRow | None:
        """Return a stream; None for one that is unknown, or empty, idle and too old."""
        session = self._there(id, wall)
        self._expire(session, wall)
        row = self._row(f"{_STREAM} session = ? AND number = ?", session, number)
        if row is None:
            return None
        stream = StreamRow(*row)
        if (
            stream.idle
            and wall >= stream.time + self.settings.age
            and not self._row("SELECT 1 FROM events WHERE stream = ? LIMIT 1", stream.key)
        ):
            self._forget(stream.key)
            return None
        return stream

    def _full(self, session: int, limit: int) -> bool:
        """Return True if ``limit`` GET streams of a session have a connection; 0 is no limit."""
        if not limit:
            return False
        count: int = self._value(
            "SELECT count(*) FROM streams WHERE session = ?"
            " AND request IS NULL AND holder IS NOT NULL AND NOT ended",
            session,
        )
        return count >= limit

    def _again(self, stream: StreamRow) -> StreamRow:
        row = self._row(f"{_STREAM} key = ?", stream.key)
        return stream if row is None else StreamRow(*row)

    def _use(self, session: int, wall: float, least: Grade = Grade.AGREED) -> None:
        """Make a session the most recently used; raise its grade to ``least`` at least."""
        self._db.execute(
            "UPDATE sessions SET used = max(coalesce(used, ?1), ?1), grade = max(grade, ?3)"
            " WHERE key = ?2",
            (wall, session, least),
        )

    def _admit(self, owner: str, wall: float) -> None:
        """Make room for one more session: first among those of its owner, then among all."""
        own = self._value("SELECT count(*) FROM sessions WHERE owner = ?", owner)
        while own and own >= self.settings.sessions_per_client:
            self._make_way(wall, "owner = ?", owner)
            own -= 1
        while self._count and self._count >= self.settings.sessions:
            self._make_way(wall, "TRUE")
        self._count += 1

    def _make_way(self, wall: float, which: str, *values: str) -> None:
        """End the session that is dropped first when there are too many, among ``which``."""
        known = f"SELECT key, created, used FROM sessions WHERE {which}"  # noqa: S608
        for grade in Grade:
            row = self._row(f"{known} AND grade = ? ORDER BY used, key LIMIT 1", *values, grade)
            if row is not None and wall >= ends(row[1], row[2], self.settings):
                self._remove(row[0])
                return
        keys = [
            row[0]
            for row in self._db.execute(
                f"{known} ORDER BY grade, used, key LIMIT ?", (*values, SPARED + 1)
            )
        ]
        at_work = list(takewhile(lambda key: self._row(_BUSY, key, key) is not None, keys))
        key = keys[len(at_work)] if len(at_work) < len(keys) else at_work.pop(0)
        for other in at_work:
            self._use(other, wall, Grade.USED)
        id = self._value("SELECT id FROM sessions WHERE key = ?", key)
        self._remove(key)
        self.post("", None, made_room(id))

    def _remove(self, session: int) -> None:
        size = self._value("SELECT size + queue_bytes FROM sessions WHERE key = ?", session)
        self._size -= size
        self._count -= 1
        self._db.execute(
            "DELETE FROM readers WHERE stream IN (SELECT key FROM streams WHERE session = ?)",
            (session,),
        )
        for statement in (
            "DELETE FROM events WHERE session = ?",
            "DELETE FROM streams WHERE session = ?",
            "DELETE FROM queue WHERE session = ?",
            "DELETE FROM once WHERE session = ?",
            "DELETE FROM calls WHERE session = ?",
            "DELETE FROM sessions WHERE key = ?",
        ):
            self._db.execute(statement, (session,))

    def _sweep(self, wall: float) -> None:
        """Remove all sessions, events and streams that are too old."""
        settings = self.settings
        for key, created, used in self._db.execute(
            "SELECT key, created, used FROM sessions"
        ).fetchall():
            if wall >= ends(created, used, settings):
                self._remove(key)
        while row := self._row("SELECT session, time FROM events ORDER BY key LIMIT 1"):
            session, time = row
            if wall < time + settings.age:
                break
            self._expire(session, wall)
        for (key,) in self._db.execute(
            _OUTLIVED,
            (settings.age, wall),
        ).fetchall():
            self._forget(key)

    def _expire(self, session: int, wall: float) -> None:
        """Drop the events of a session that are too old."""
        newest = None
        for key, time in self._db.execute(
            "SELECT key, time FROM events WHERE session = ? ORDER BY key", (session,)
        ):
            if wall < time + self.settings.age:
                break
            newest = key
        if newest is not None:
            self._evict(session, newest)

    def _keep(self, stream: StreamRow, data: bytes, wall: float) -> int:
        """Add an event to a stream; return its position."""
        place = stream.last = stream.last + 1
        self._db.execute(
            "INSERT INTO events (session, stream, place, time, data) VALUES (?, ?, ?, ?, ?)",
            (stream.session, stream.key, place, wall, data),
        )
        self._db.execute("UPDATE streams SET last = ? WHERE key = ?", (place, stream.key))
        kept, size = self._db.execute(
            "UPDATE sessions SET kept = kept + 1, size = size + ? WHERE key = ?"
            " RETURNING kept, size",
            (len(data), stream.session),
        ).fetchone()
        self._size += len(data)
        settings = self.settings
        if kept > 1 and (kept > settings.events or size > settings.event_bytes):
            newest = None
            for key, length in self._db.execute(
                "SELECT key, length(data) FROM events WHERE session = ? ORDER BY key",
                (stream.session,),
            ):
                if kept <= 1 or (kept <= settings.events and size <= settings.event_bytes):
                    break
                newest, kept, size = key, kept - 1, size - length
            if newest is not None:
                self._evict(stream.session, newest)
        self._limit_total()
        return place

    def _limit_total(self) -> None:
        while self._size > self.settings.total_bytes:
            rows = self._db.execute(
                "SELECT key, session FROM events ORDER BY key LIMIT 2"
            ).fetchall()
            if len(rows) < 2:
                break
            self._evict(rows[0][1], rows[0][0])

    def _evict(self, session: int, newest: int) -> None:
        """Drop the events of a session up to the key ``newest``."""
        count = size = 0
        for stream, place, number, length in self._db.execute(
            "SELECT stream, max(place), count(*), sum(length(data)) FROM events"
            " WHERE session = ? AND key <= ? GROUP BY stream",
            (session, newest),
        ).fetchall():
            self._db.execute("UPDATE streams SET lost = ? WHERE key = ?", (place, stream))
            count += number
            size += length
        self._db.execute("DELETE FROM events WHERE session = ? AND key <= ?", (session, newest))
        self._less(session, count, size)

    def _less(self, session: int, count: int, size: int) -> None:
        self._db.execute(
            "UPDATE sessions SET kept = kept - ?, size = size - ? WHERE key = ?",
            (count, size, session),
        )
        self._size -= size

    def _make_room(self, session: int, wall: float) -> None:
        """Forget the idle streams that are too old, or else the oldest idle stream.

        Raises StepFailedError if no stream is idle.
        """
        old = self._db.execute(
            f"{_OUTLIVED} AND session = ?",
            (self.settings.age, wall, session),
        ).fetchall()
        for (key,) in old:
            self._forget(key)
        if old:
            return
        key = self._value(
            f"SELECT key FROM streams WHERE session = ? AND {_IDLE} ORDER BY key LIMIT 1",  # noqa: S608
            session,
        )
        if key is None:
            raise StepFailedError("the session has too many streams")
        self._forget(key)

    def _forget(self, stream: int) -> None:
        count, size = self._db.execute(
            "SELECT count(*), coalesce(sum(length(data)), 0) FROM events WHERE stream = ?",
            (stream,),
        ).fetchone()
        self._db.execute("DELETE FROM events WHERE stream = ?", (stream,))
        self._db.execute("DELETE FROM readers WHERE stream = ?", (stream,))
        (session,) = self._db.execute(
            "DELETE FROM streams WHERE key = ? RETURNING session", (stream,)
        ).fetchone()
        self._db.execute("UPDATE sessions SET streams = streams - 1 WHERE key = ?", (session,))
        self._less(session, count, size)

    def _enqueue(self, session: int, data: bytes, request: bool) -> bool:
        """Put a message into the queue; return True if there was room."""
        settings, size = self.settings, len(data)
        queued, queue_bytes, requests, request_bytes = self._db.execute(
            "SELECT queued, queue_bytes, requests, request_bytes FROM sessions WHERE key = ?",
            (session,),
        ).fetchone()
        if requests + 1 > settings.events or request_bytes + size > settings.queue_bytes:
            return False
        while queued + 1 > settings.events or queue_bytes + size > settings.queue_bytes:
            key, length = self._db.execute(
                "SELECT key, length(data) FROM queue WHERE session = ? AND request = 0"
                " ORDER BY key LIMIT 1",
                (session,),
            ).fetchone()
            self._dequeued(session, key, False, length)
            queued -= 1
            queue_bytes -= length
        self._db.execute(
            "INSERT INTO queue (session, request, data) VALUES (?, ?, ?)", (session, request, data)
        )
        self._count_queue(session, 1, request, size)
        self._limit_total()
        return True

    def _dequeue(self, session: int, limit: int) -> Iterator[bytes]:
        """Take messages off the queue, at most about ``limit`` bytes, at least one."""
        size = 0
        taken = 0
        while row := self._row(
            "SELECT key, request, data FROM queue WHERE session = ? ORDER BY key LIMIT 1", session
        ):
            key, request, data = row
            size += len(data)
            if taken and size > limit:
                return
            self._dequeued(session, key, request, len(data))
            taken += 1
            yield data

    def _dequeued(self, session: int, key: int, request: bool, size: int) -> None:
        self._db.execute("DELETE FROM queue WHERE key = ?", (key,))
        self._count_queue(session, -1, request, -size)

    def _count_queue(self, session: int, count: int, request: bool, size: int) -> None:
        self._db.execute(
            "UPDATE sessions SET queued = queued + ?1, queue_bytes = queue_bytes + ?2,"
            " requests = requests + ?1 * ?3, request_bytes = request_bytes + ?2 * ?3"
            " WHERE key = ?4",
            (count, size, request, session),
        )
        self._size += size
