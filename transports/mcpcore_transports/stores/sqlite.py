"""Store in a SQLite file, for the workers of one machine and for sessions that outlive them.

SQLite runs with a write-ahead log.  A batch of steps is one transaction, which is stored as a whole
or not at all.  With ``synchronous=NORMAL`` a confirmed step survives the death of every process: it
has been handed to the operating system.  A loss of power may take the last transactions, but never
damages the file.  ``synchronous=FULL`` waits for the disk each time.

Source: https://www.sqlite.org/wal.html and https://www.sqlite.org/pragma.html#pragma_synchronous
"""

import math
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
from msgspec import Struct, structs

from mcpcore.errors import NoSessionError, StepFailedError, StoreUnavailableError
from mcpcore.http.storing import (
    Announce,
    Announcements,
    LogPage,
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
)
from mcpcore_transports.stores.base import (
    RETURN,
    SECRET_SIZE,
    SPARED,
    SWEEPS,
    Grade,
    Outcome,
    StepHandler,
    StoreSettings,
    StreamStep,
    carry_out,
    ends,
    is_request,
    made_room,
    moved,
    wake,
)
from mcpcore_transports.stores.sqlite_file import SqliteFile, place_of_processes, process_is_gone

_SHORT_POLL = 0.001
"""Seconds between the first polls for notes; the pause doubles up to ``poll``."""

Synchronous = Literal["NORMAL", "FULL", "EXTRA"]
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


class SqliteStore:
    """Store that keeps everything in one file, which other processes may use at the same time.

    ``busy`` is the longest wait for another process that writes, ``poll`` the longest time until a
    note of another process is seen, both in seconds.  Safe to use from several threads.
    """

    def __init__(
        self,
        path: str | Path,
        settings: StoreSettings | None = None,
        *,
        synchronous: Synchronous = "NORMAL",
        busy: float = 5.0,
        poll: float = 0.02,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or StoreSettings()
        self._file = SqliteFile(path, synchronous, busy, undone=self._doubt_renewals)
        self._db = self._file.db
        self._poll = poll
        self._clock = clock
        self._here = place_of_processes()
        self._renewed: dict[str, float] = {}
        """Time of the last renewal of each worker of this process."""
        self._swept = 0.0

    def close(self) -> None:
        """See :class:`~mcpcore_transports.stores.base.Store`; waiting receivers are told."""
        self._file.close()

    def secret(self) -> bytes:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        made = secrets.token_bytes(SECRET_SIZE)
        with self._file.transaction():
            self._db.execute("INSERT OR IGNORE INTO facts VALUES ('secret', ?)", (made,))
            return bytes(self._file.value("SELECT value FROM facts WHERE name = 'secret'"))

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[Outcome]:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        try:
            with self._file.transaction():
                self._renew(worker)
                if not self._swept <= wall < self._swept + SWEEPS:
                    self._sweep(wall)
                    self._swept = wall
                return [carry_out(self, worker, step, wall) for step in steps]
        except StoreUnavailableError as error:
            return [StoreFailure(str(error))] * len(steps)
        except (sqlite3.Error, OverflowError, ValueError) as error:
            if len(steps) == 1:
                return [StoreFailure(f"SQLite: {error}")]
        # one step cannot be written: carry out each alone, so that the others do not fail with it
        return [outcome for step in steps for outcome in self.commit(worker, [step], wall)]

    # Sessions

    def _save(self, worker: str, step: SessionSave, wall: float) -> SessionRecord | bool | None:
        record = step.record
        key = self._find(record.id, wall)
        text = msgspec.json.encode(record)
        if key is not None:
            self._use(key, wall)
            changed = self._db.execute(
                "UPDATE sessions SET record = ?, version = ?, created = ?"
                " WHERE key = ? AND version < ?",
                (text, record.version, record.created, key, record.version),
            )
            return None if changed.rowcount else self._record(key)
        if record.version > 1:
            return False
        self._admit(record.owner, wall)
        self._db.execute(
            "INSERT INTO sessions (id, owner, record, version, created) VALUES (?, ?, ?, ?, ?)",
            (record.id, record.owner, text, record.version, record.created),
        )
        return None

    def _load(self, worker: str, step: SessionLoad, wall: float) -> SessionRecord | None:
        key = self._find(step.session, wall)
        if key is None:
            return None
        used = self._file.value("SELECT used FROM sessions WHERE key = ?", key)
        self._use(key, wall)
        return structs.replace(self._record(key), used=used)

    def _record(self, key: int) -> SessionRecord:
        text = self._file.value("SELECT record FROM sessions WHERE key = ?", key)
        return msgspec.json.decode(text, type=SessionRecord)

    def _touch(self, worker: str, step: SessionTouch, wall: float) -> bool:
        key = self._find(step.session, wall)
        if key is not None:
            self._use(key, wall, Grade.USED)
        return key is not None

    def _calls(self, worker: str, step: SessionCalls, wall: float) -> int | None:
        key = self._find(step.session, wall)
        if key is None:
            return None
        others: int = self._file.value(
            "SELECT coalesce(sum(calls), 0) FROM calls WHERE session = ? AND worker <> ?",
            key,
            worker,
        )
        granted = min(step.calls, max(0, step.limit - others))
        if granted:
            self._db.execute(
                "INSERT INTO calls (session, worker, calls) VALUES (?, ?, ?)"
                " ON CONFLICT (session, worker) DO UPDATE SET calls = excluded.calls",
                (key, worker, granted),
            )
        else:
            self._db.execute("DELETE FROM calls WHERE session = ? AND worker = ?", (key, worker))
        return granted

    def _delete(self, worker: str, step: SessionDelete, wall: float) -> bool:
        key = self._find(step.session, wall)
        if key is not None:
            self._remove(key)
        return key is not None

    # Streams

    def _begin(self, worker: str, step: StreamBegin, wall: float) -> bool | None:
        key = self._session(step.session, wall)
        if self._stream(step, wall) is not None:
            raise StepFailedError("a stream with this number exists")
        if step.request is None and self._full(key, step.limit):
            return False
        count = self._file.value("SELECT streams FROM sessions WHERE key = ?", key)
        if count >= self.settings.streams:
            self._make_room(key, wall)
        self._db.execute("UPDATE sessions SET streams = streams + 1 WHERE key = ?", (key,))
        self._db.execute(
            "INSERT INTO streams (session, number, request, writer, holder, rank, time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, step.stream, step.request, worker, worker, self._next_rank(key), wall),
        )
        return None

    def _append(self, worker: str, step: StreamAppend, wall: float) -> int | None:
        stream = self._stream(step, wall)
        if stream is None or stream.ended:
            return None
        if step.data or not step.ends:
            self._keep(stream, step.data, wall)
        self._db.execute(
            "UPDATE streams SET time = ?, ended = ?, orphaned = orphaned AND writer <> ?,"
            " armed = armed AND NOT ? WHERE key = ?",
            (wall, step.ends, worker, step.ends, stream.key),
        )
        self._wake_readers(step.session, stream.key, step.stream)
        if step.ends and stream.request is None:
            self._wake_carrier(step.session, stream.session)
        return stream.last

    def _read(self, worker: str, step: StreamRead, wall: float) -> LogPage | None:
        stream = self._stream(step, wall)
        if stream is None:
            return None
        entries: list[tuple[int, bytes]] = []
        size = 0
        for place, data in self._db.execute(
            "SELECT place, data FROM events WHERE stream = ? AND place > ? ORDER BY place",
            (stream.key, step.after),
        ):
            size += len(data)
            if entries and size > step.limit:
                break
            entries.append((place, data))
        if step.after >= stream.last and not stream.ended and not stream.orphaned:
            reading = "INSERT OR IGNORE INTO readers (stream, worker) VALUES (?, ?)"
        else:
            reading = "DELETE FROM readers WHERE stream = ? AND worker = ?"
        self._db.execute(reading, (stream.key, worker))
        return stream.page(entries)

    def _claim(self, worker: str, step: StreamClaim, wall: float) -> bool | None:
        stream = self._stream(step, wall)
        if stream is None:
            return None
        new = stream.request is None and stream.holder is None and not stream.ended
        if new and self._full(stream.session, step.limit):
            return False
        self._db.execute(
            "UPDATE streams SET holder = ?, rank = ?, time = ?,"
            " armed = armed AND holder IS ? WHERE key = ?",
            (worker, self._next_rank(stream.session), wall, worker, stream.key),
        )
        if stream.holder is not None and stream.holder != worker:
            self._stop_reading(stream.key, stream.holder)
            self._tell(stream.holder, moved(step.session, step.stream))
        self._wake_carrier(step.session, stream.session)
        return None

    def _release(self, worker: str, step: StreamRelease, wall: float) -> None:
        stream = self._stream(step, wall)
        if stream is None or stream.holder != worker:
            return
        self._db.execute(
            "UPDATE streams SET holder = NULL, armed = 0, time = ? WHERE key = ?",
            (wall, stream.key),
        )
        self._stop_reading(stream.key, worker)
        self._wake_carrier(step.session, stream.session)

    # The queue

    def _put(self, worker: str, step: QueuePut, wall: float) -> bool:
        key = self._session(step.session, wall)
        if step.once is not None and self._file.row(
            "SELECT 1 FROM once WHERE session = ? AND name = ?", key, step.once
        ):
            return False
        if not self._enqueue(key, step.data, is_request(step.data)):
            return False
        if step.once is not None:
            self._db.execute("INSERT INTO once (session, name) VALUES (?, ?)", (key, step.once))
            self._db.execute(
                "DELETE FROM once WHERE session = ? AND key <= (SELECT key FROM once"
                " WHERE session = ? ORDER BY key DESC LIMIT 1 OFFSET ?)",
                (key, key, self.settings.once),
            )
        self._wake_carrier(step.session, key)
        return True

    def _take(self, worker: str, step: QueueTake, wall: float) -> LogPage:
        stream = self._stream(step, wall)
        if stream is None:
            return LogPage(ended=True)
        if stream.holder != worker or stream.ended or stream.request is not None:
            return stream.page(())
        carrier = self._carrier(stream.session)
        entries: list[tuple[int, bytes]] = []
        if carrier is not None and carrier[0] == stream.key:
            queued = self._dequeue(stream.session, step.limit)
            entries += [(self._keep(stream, data, wall), data) for data in queued]
        if not entries:
            self._db.execute("UPDATE streams SET armed = 1 WHERE key = ?", (stream.key,))
            return stream.page(())
        self._db.execute("UPDATE streams SET armed = 0, time = ? WHERE key = ?", (wall, stream.key))
        self._wake_readers(step.session, stream.key, step.stream)
        # to keep the events may have dropped older ones
        row = self._file.row(f"{_STREAM} key = ?", stream.key)
        return (stream if row is None else StreamRow(*row)).page(entries)

    def _next_rank(self, session: int) -> int:
        rank: int = self._file.value(
            "UPDATE sessions SET ranks = ranks + 1 WHERE key = ? RETURNING ranks", session
        )
        return rank

    def _stop_reading(self, stream: int, worker: str) -> None:
        self._db.execute("DELETE FROM readers WHERE stream = ? AND worker = ?", (stream, worker))

    # Limits of number, size and age; beyond them the oldest is dropped first

    def _find(self, id: str, wall: float) -> int | None:
        """Return the key of a session, or None if it has ended."""
        row = self._file.row("SELECT key, created, used FROM sessions WHERE id = ?", id)
        if row is None:
            return None
        key, created, used = row
        if wall >= ends(created, used, self.settings):
            self._remove(key)
            return None
        return int(key)

    def _session(self, id: str, wall: float) -> int:
        key = self._find(id, wall)
        if key is None:
            raise NoSessionError
        return key

    def _stream(self, step: StreamStep, wall: float) -> StreamRow | None:
        """Return a stream; None for one that is unknown, or empty, idle and too old."""
        session = self._session(step.session, wall)
        self._expire(session, wall)
        row = self._file.row(f"{_STREAM} session = ? AND number = ?", session, step.stream)
        if row is None:
            return None
        stream = StreamRow(*row)
        if (
            stream.idle
            and wall >= stream.time + self.settings.age
            and not self._file.row("SELECT 1 FROM events WHERE stream = ? LIMIT 1", stream.key)
        ):
            self._forget(stream.key)
            return None
        return stream

    def _full(self, session: int, limit: int) -> bool:
        """Return True if ``limit`` GET streams of a session have a connection; 0 is no limit."""
        if not limit:
            return False
        count: int = self._file.value(
            "SELECT count(*) FROM streams WHERE session = ?"
            " AND request IS NULL AND holder IS NOT NULL AND NOT ended",
            session,
        )
        return count >= limit

    def _use(self, session: int, wall: float, least: Grade = Grade.AGREED) -> None:
        """Make a session the most recently used; raise its grade to ``least`` at least."""
        self._db.execute(
            "UPDATE sessions SET used = max(coalesce(used, ?1), ?1), grade = max(grade, ?3)"
            " WHERE key = ?2",
            (wall, session, least),
        )

    def _admit(self, owner: str, wall: float) -> None:
        """Make room for one more session: first among those of its owner, then among all."""
        own = self._file.value("SELECT count(*) FROM sessions WHERE owner = ?", owner)
        while own and own >= self.settings.sessions_per_client:
            self._make_way(wall, "owner = ?", owner)
            own -= 1
        while self._file.count and self._file.count >= self.settings.sessions:
            self._make_way(wall, "TRUE")
        self._file.count += 1

    def _make_way(self, wall: float, which: str, *values: str) -> None:
        """End the session that is dropped first when there are too many, among ``which``."""
        known = f"SELECT key, created, used FROM sessions WHERE {which}"  # noqa: S608
        for grade in Grade:
            row = self._file.row(
                f"{known} AND grade = ? ORDER BY used, key LIMIT 1", *values, grade
            )
            if row is not None and wall >= ends(row[1], row[2], self.settings):
                self._remove(row[0])
                return
        keys = [
            row[0]
            for row in self._db.execute(
                f"{known} ORDER BY grade, used, key LIMIT ?", (*values, SPARED + 1)
            )
        ]
        at_work = list(takewhile(lambda key: self._file.row(_BUSY, key, key) is not None, keys))
        key = keys[len(at_work)] if len(at_work) < len(keys) else at_work.pop(0)
        for other in at_work:
            self._use(other, wall, Grade.USED)
        id = self._file.value("SELECT id FROM sessions WHERE key = ?", key)
        self._remove(key)
        self._post_all("", made_room(id))

    def _remove(self, session: int) -> None:
        size = self._file.value("SELECT size + queue_bytes FROM sessions WHERE key = ?", session)
        self._file.size -= size
        self._file.count -= 1
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
        while row := self._file.row("SELECT session, time FROM events ORDER BY key LIMIT 1"):
            session, at = row
            if wall < at + settings.age:
                break
            self._expire(session, wall)
        for (key,) in self._db.execute(_OUTLIVED, (settings.age, wall)).fetchall():
            self._forget(key)

    def _expire(self, session: int, wall: float) -> None:
        """Drop the events of a session that are too old."""
        newest = None
        for key, at in self._db.execute(
            "SELECT key, time FROM events WHERE session = ? ORDER BY key", (session,)
        ):
            if wall < at + self.settings.age:
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
        self._file.size += len(data)
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
        while self._file.size > self.settings.total_bytes:
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
        self._file.size -= size

    def _make_room(self, session: int, wall: float) -> None:
        """Forget the idle streams that are too old, or else the oldest idle stream.

        Raises StepFailedError if no stream is idle.
        """
        age = self.settings.age
        old = self._db.execute(f"{_OUTLIVED} AND session = ?", (age, wall, session)).fetchall()
        for (key,) in old:
            self._forget(key)
        if old:
            return
        key = self._file.value(
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
        while row := self._file.row(
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
        self._file.size += size

    # Workers, and the notes that they leave each other.
    #
    # SQLite announces no changes.  Workers of this process are woken directly.  For notes of other
    # processes ``PRAGMA data_version`` is polled, with at most ``poll`` seconds between two polls.

    def _post(self, worker: str, step: Post, wall: float) -> None:
        if step.to is None:
            self._post_all(worker, step.note)
            return
        waiting = self._file.value(
            "SELECT (SELECT count(*) FROM notes WHERE worker = name AND posted)"
            " FROM workers WHERE name = ?",
            step.to,
        )
        if waiting is None:
            return
        if waiting >= self.settings.mailbox:
            raise StepFailedError(f"the mailbox of worker {step.to} is full")
        self._db.execute(
            "INSERT INTO notes (worker, posted, note) VALUES (?, 1, ?)", (step.to, step.note)
        )
        self._file.told = True

    def _post_all(self, worker: str, note: bytes) -> None:
        self._db.execute(
            "INSERT INTO notes (worker, posted, note) SELECT name, 1, ? FROM workers"
            " WHERE name <> ? AND (SELECT count(*) FROM notes WHERE worker = name AND posted) < ?",
            (note, worker, self.settings.mailbox),
        )
        self._file.told = True

    def _announce(self, worker: str, step: Announce, wall: float) -> None:
        self._post_all(worker, step.note)
        self._db.execute(
            "INSERT OR REPLACE INTO announcements (key, topic, time, note)"
            " VALUES ((SELECT coalesce(max(key), 0) + 1 FROM announcements), ?, ?, ?)",
            (step.topic, wall, step.note),
        )
        self._limit_announcements(wall)

    def _announcements(self, worker: str, step: Announcements, wall: float) -> tuple[bytes, ...]:
        self._limit_announcements(wall)
        rows = self._db.execute(
            "SELECT note FROM announcements WHERE time >= ? ORDER BY key", (step.since,)
        )
        return tuple(note for (note,) in rows)

    def _limit_announcements(self, wall: float) -> None:
        settings = self.settings
        count, size = self._db.execute(
            "SELECT count(*), coalesce(sum(length(note)), 0) FROM announcements"
        ).fetchone()
        for key, time_, length in self._db.execute(
            "SELECT key, time, length(note) FROM announcements ORDER BY key"
        ).fetchall():
            if (
                count <= settings.announcements
                and size <= settings.queue_bytes
                and wall < time_ + settings.idle
            ):
                return
            self._db.execute("DELETE FROM announcements WHERE key = ?", (key,))
            count, size = count - 1, size - length

    def receive(self, worker: str, timeout: float) -> list[bytes]:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        until = time.monotonic() + timeout
        pause = min(_SHORT_POLL, self._poll)
        self._renew(worker)
        seen: tuple[int, int] | None = None
        while True:
            rung = self._file.rung
            with self._file.lock:
                if worker not in self._renewed:
                    return []
                try:
                    state = rung, self._file.value("PRAGMA data_version")
                    notes = self._fetch(worker) if state != seen else []
                except sqlite3.Error as error:
                    raise StoreUnavailableError(f"SQLite: {error}") from error
            seen = state
            left = until - time.monotonic()
            if notes or left <= 0:
                return notes
            with self._file.bell:
                if self._file.rung == rung:
                    self._file.bell.wait(min(left, pause))
            pause = min(2 * pause, self._poll)
            if worker in self._renewed:
                self._renew(worker)

    def leave(self, worker: str) -> None:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        with self._file.transaction():
            self._renewed.pop(worker, None)
            self._forget_worker(worker)
            self._bury(worker)
        self._file.ring()

    def _fetch(self, worker: str) -> list[bytes]:
        rows = self._db.execute(
            "SELECT key, note FROM notes WHERE worker = ? ORDER BY key", (worker,)
        ).fetchall()
        if not rows:
            return []
        with self._file.transaction():
            self._db.execute(
                "DELETE FROM notes WHERE worker = ? AND key <= ?", (worker, rows[-1][0])
            )
        return [note for _, note in rows]

    def _renew(self, worker: str) -> None:
        """Renew the lease of a worker if it is due, and bury dead workers."""
        now = self._clock()
        with self._file.lock:
            before = self._renewed.get(worker)
            if before is not None and before <= now < before + self.settings.renew:
                return
            with self._file.transaction():
                self._db.execute(
                    "INSERT INTO workers (name, expires, place, process) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET expires = excluded.expires, buried = 0",
                    (worker, now + self.settings.lease, self._here, os.getpid()),
                )
                self._bury_expired(now)
            self._renewed[worker] = now

    def _bury_expired(self, now: float) -> None:
        for name, expires, place, process, buried in self._db.execute(
            "SELECT name, expires, place, process, buried FROM workers"
        ).fetchall():
            gone = place == self._here and process_is_gone(process)
            if not buried and (gone or now >= expires):
                self._db.execute("UPDATE workers SET buried = 1 WHERE name = ?", (name,))
                self._bury(name)
            if gone or now >= expires + RETURN * self.settings.lease:
                self._forget_worker(name)

    def _forget_worker(self, worker: str) -> None:
        self._db.execute("DELETE FROM workers WHERE name = ?", (worker,))
        self._db.execute("DELETE FROM notes WHERE worker = ?", (worker,))

    def _bury(self, worker: str) -> None:
        """Release the streams and quota of a dead worker; tell it so in case it comes back."""
        self._db.execute("DELETE FROM readers WHERE worker = ?", (worker,))
        self._db.execute("DELETE FROM calls WHERE worker = ?", (worker,))
        held = self._db.execute(
            "SELECT id, sessions.key, number FROM streams JOIN sessions"
            " ON sessions.key = session WHERE holder = ?",
            (worker,),
        ).fetchall()
        self._db.execute("UPDATE streams SET holder = NULL, armed = 0 WHERE holder = ?", (worker,))
        orphans = self._db.execute(
            "UPDATE streams SET orphaned = 1"
            " WHERE writer = ? AND request IS NOT NULL AND NOT ended AND NOT orphaned"
            " RETURNING (SELECT id FROM sessions WHERE sessions.key = session), key, number",
            (worker,),
        ).fetchall()
        for id, _, number in held:
            self._tell(worker, moved(id, number))
        for id, key, number in orphans:
            self._wake_readers(id, key, number)
        for id, session in {(id, session) for id, session, _ in held}:
            self._wake_carrier(id, session)

    def _doubt_renewals(self) -> None:
        """Renew all workers of this process again: the renewals may have been rolled back."""
        self._renewed = dict.fromkeys(self._renewed, -math.inf)

    def _tell(self, worker: str, note: bytes) -> None:
        self._db.execute(
            "INSERT INTO notes (worker, posted, note) SELECT name, 0, ? FROM workers"
            " WHERE name = ?",
            (note, worker),
        )
        self._file.told = True

    def _wake_readers(self, id: str, stream: int, number: int) -> None:
        for (worker,) in self._db.execute(
            "DELETE FROM readers WHERE stream = ? RETURNING worker", (stream,)
        ).fetchall():
            self._tell(worker, wake(id, number))

    def _carrier(self, session: int) -> tuple[int, int, str, bool] | None:
        """Return key, number, holder and ``armed`` of the stream that takes from the queue."""
        return self._file.row(
            "SELECT key, number, holder, armed FROM streams WHERE session = ?"
            " AND request IS NULL AND holder IS NOT NULL AND NOT ended ORDER BY rank DESC LIMIT 1",
            session,
        )

    def _wake_carrier(self, id: str, session: int) -> None:
        carrier = self._carrier(session)
        if carrier is None or not carrier[3]:
            return
        key, number, holder, _ = carrier
        if self._file.row("SELECT 1 FROM queue WHERE session = ? LIMIT 1", session):
            self._db.execute("UPDATE streams SET armed = 0 WHERE key = ?", (key,))
            self._tell(holder, wake(id, number))

    handlers: ClassVar[Mapping[type[Step], StepHandler]] = {
        SessionSave: _save,
        SessionLoad: _load,
        SessionTouch: _touch,
        SessionCalls: _calls,
        SessionDelete: _delete,
        StreamBegin: _begin,
        StreamAppend: _append,
        StreamRead: _read,
        StreamClaim: _claim,
        StreamRelease: _release,
        QueuePut: _put,
        QueueTake: _take,
        Post: _post,
        Announce: _announce,
        Announcements: _announcements,
    }
    """Method that carries out each kind of step."""
