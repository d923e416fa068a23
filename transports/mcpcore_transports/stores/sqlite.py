"""Store in SQLite: a file for the workers of one machine, or the memory of this process.

SQLite runs with a write-ahead log.  A batch of steps is one transaction, which is stored as a whole
or not at all.  With ``synchronous=NORMAL`` a confirmed step survives the death of every process: it
has been handed to the operating system.  A loss of power may take the last transactions, but never
damages the file.  ``synchronous=FULL`` waits for the disk each time.

Source: https://www.sqlite.org/wal.html and https://www.sqlite.org/pragma.html#pragma_synchronous
"""

import math
import os
import platform
import secrets
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle, takewhile
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from msgspec import Struct, structs

from mcpcore.errors import StoreUnavailableError
from mcpcore.http import storing
from mcpcore.http.storing import LogPage, NoSession, SessionRecord, Step, StoredTask, StoreFailure
from mcpcore_transports.stores import base
from mcpcore_transports.stores.sqlite_file import MEMORY, Synchronous, open_file

_SHORT_POLL = 0.001
"""Seconds between the first polls for notes; the pause doubles up to ``poll``."""

_IDLE = "(ended OR orphaned OR (request IS NULL AND holder IS NULL))"
"""SQL condition: nothing will be added to the stream unless a client comes back for it."""

_OPEN_GET = "session = ? AND request IS NULL AND holder IS NOT NULL AND NOT ended"
"""SQL condition for the GET streams of a session that have a connection."""

_DROP_OUTLIVED = (
    f"DELETE FROM streams WHERE {_IDLE} AND time + ? <= ?"  # noqa: S608
    " AND NOT EXISTS (SELECT 1 FROM events WHERE stream = streams.key)"
)

_DROP_EVENT = (
    "DELETE FROM events WHERE key = (SELECT min(key) FROM events)"
    " AND key < (SELECT max(key) FROM events)"
)

_DROP_NOTIFICATION = (
    "DELETE FROM queue WHERE key = (SELECT key FROM queue WHERE NOT request ORDER BY key LIMIT 1)"
)

_DROP_PROOFS = "DELETE FROM proofs WHERE until < ?"

_DROP_TASKS = "DELETE FROM tasks WHERE expires <= ?"

_TASK = (
    "SELECT key, worker, NOT EXISTS (SELECT 1 FROM workers WHERE name = worker AND NOT buried),"
    " task FROM tasks"
)

_BUSY = (
    f"SELECT 1 FROM streams WHERE session = ? AND NOT {_IDLE}"  # noqa: S608
    " UNION ALL SELECT 1 FROM calls WHERE session = ? LIMIT 1"
)
"""SQL query with a row if the session has an open GET stream or a request in progress."""


class _StepFailed(Exception):
    """Step that cannot be carried out and has changed nothing."""


class _SessionMissing(Exception):
    """Step for a session that does not exist (any more)."""


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
    version: int
    """Version of the record of the session."""

    def page(self, entries: Sequence[tuple[int, bytes]] = ()) -> LogPage:
        """Return entries and state of the stream as the outcome of a step."""
        return LogPage(
            entries=tuple(entries),
            lost=self.lost,
            last=self.last,
            ended=bool(self.ended),
            orphaned=bool(self.orphaned),
            request=self.request,
            version=self.version,
        )


_STREAM = (
    f"SELECT {', '.join(StreamRow.__struct_fields__[:-1])},"  # noqa: S608
    " (SELECT version FROM sessions WHERE sessions.key = session) FROM streams WHERE"
)


class SqliteStore:
    """Store that keeps everything in one file, which other processes may use at the same time.

    ``busy`` is the longest wait for another process that writes, ``poll`` the longest time until a
    note of another process is seen, both in seconds.  Safe to use from several threads.
    """

    def __init__(
        self,
        path: str | Path,
        settings: base.StoreSettings | None = None,
        *,
        synchronous: Synchronous = "NORMAL",
        busy: float = 5.0,
        poll: float = 0.02,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or base.StoreSettings()
        try:
            self._db = open_file(path, synchronous, busy)
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"SQLite: {path}: {error}") from error
        self._poll = poll
        self._clock = clock
        self._here = _place_of_processes()
        self._changed = threading.Condition(threading.RLock())
        """Lock of the connection; notified after a transaction that leaves notes."""
        self._told = False
        """True if the transaction leaves notes."""
        self._renewed: dict[str, float] = {}
        """Time of the last renewal of each worker of this process."""
        self._swept = 0.0

    def close(self) -> None:
        """See :class:`~mcpcore_transports.stores.base.Store`; waiting receivers are told."""
        with self._changed:
            self._db.close()
            self._changed.notify_all()

    def secret(self) -> bytes:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        made = secrets.token_bytes(base.SECRET_SIZE)
        with self._transaction():
            self._run("INSERT OR IGNORE INTO facts VALUES ('secret', ?)", made)
            return bytes(self._value("SELECT value FROM facts WHERE name = 'secret'"))

    def use_once(self, digest: bytes, *, party: str, until: float, wall: float) -> bool | None:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        with self._transaction():
            self._run(_DROP_PROOFS, wall)
            if self._row("SELECT 1 FROM proofs WHERE digest = ?", digest):
                return False
            everyone = self._value("SELECT value FROM facts WHERE name = 'proofs'")
            own = self._value("SELECT proofs FROM parties WHERE name = ?", party) or 0
            settings = self.settings
            if everyone >= settings.proofs or own >= settings.proofs_per_principal:
                return None
            self._run("INSERT INTO proofs VALUES (?, ?, ?)", digest, party, until)
            return True

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[base.StepOutcome]:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        try:
            with self._transaction():
                self._renew(worker)
                if not self._swept <= wall < self._swept + base.SWEEPS:
                    self._sweep(wall)
                    self._swept = wall
                return [self._carry_out(worker, step, wall) for step in steps]
        except StoreUnavailableError as error:
            return [StoreFailure(str(error))] * len(steps)
        except (sqlite3.Error, OverflowError, ValueError) as error:
            if len(steps) == 1:
                return [StoreFailure(f"SQLite: {error}")]
        # one step cannot be written: carry out each alone, so that the others do not fail with it
        return [outcome for step in steps for outcome in self.commit(worker, [step], wall)]

    def _carry_out(self, worker: str, step: Step, wall: float) -> base.StepOutcome:
        handler = self._handlers.get(type(step))
        if handler is None:
            return StoreFailure(f"no store knows the step {type(step).__name__}")
        try:
            return handler(self, worker, step, wall)
        except _SessionMissing:
            return NoSession()
        except _StepFailed as refused:
            return StoreFailure(str(refused))

    # Statements and transactions

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._db.execute(statement, values)

    def _row(self, statement: str, *values: object) -> Any:
        return self._db.execute(statement, values).fetchone()

    def _value(self, statement: str, *values: object) -> Any:
        """Return the first column of the first row, None if there is no row."""
        row = self._db.execute(statement, values).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run the block as one transaction, or as a part of the one that it is in.

        Every exception of the block rolls back.  Raises StoreUnavailableError.
        """
        with self._changed:
            try:
                inner = self._db.in_transaction
                if not inner:
                    self._run("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise StoreUnavailableError(f"SQLite: {error}") from error
            if inner:
                yield
                return
            self._told = False
            try:
                yield
                self._run("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):  # it may have rolled back already: a full disk
                    self._run("ROLLBACK")
                # the renewals may have been rolled back, too
                self._renewed = dict.fromkeys(self._renewed, -math.inf)
                values_at_fault = isinstance(error, sqlite3.DataError | sqlite3.ProgrammingError)
                if isinstance(error, sqlite3.Error) and not values_at_fault:
                    raise StoreUnavailableError(f"SQLite: {error}") from error
                raise
            if self._told:
                self._changed.notify_all()

    # Sessions

    def _save(
        self, worker: str, step: storing.SessionSave, wall: float
    ) -> SessionRecord | bool | None:
        record = step.record
        key = self._find(record.id, wall)
        text = msgspec.json.encode(record)
        if key is not None:
            self._use(key, wall)
            changed = self._run(
                "UPDATE sessions SET record = ?1, version = ?2 WHERE key = ?3 AND version < ?2",
                *(text, record.version, key),
            )
            return None if changed.rowcount else self._record(key)
        if record.version > 1:
            return False
        self._admit(record.owner, wall)
        self._run(
            "INSERT INTO sessions (id, owner, record, version, created) VALUES (?, ?, ?, ?, ?)",
            *(record.id, record.owner, text, record.version, base.begun(record, wall)),
        )
        return None

    def _load(self, worker: str, step: storing.SessionLoad, wall: float) -> SessionRecord | None:
        key = self._find(step.session, wall)
        if key is None:
            return None
        used = self._value("SELECT used FROM sessions WHERE key = ?", key)
        self._use(key, wall)
        return structs.replace(self._record(key), used=used)

    def _record(self, key: int) -> SessionRecord:
        text = self._value("SELECT record FROM sessions WHERE key = ?", key)
        return msgspec.json.decode(text, type=SessionRecord)

    def _touch(self, worker: str, step: storing.SessionTouch, wall: float) -> bool:
        key = self._find(step.session, wall)
        if key is not None:
            self._use(key, wall, base.Grade.USED)
        return key is not None

    def _calls(self, worker: str, step: storing.SessionCalls, wall: float) -> int | None:
        key = self._find(step.session, wall)
        if key is None:
            return None
        others: int = self._value(
            "SELECT coalesce(sum(calls), 0) FROM calls WHERE session = ? AND worker <> ?",
            *(key, worker),
        )
        granted = min(step.calls, max(0, step.limit - others))
        if granted:
            self._run("INSERT OR REPLACE INTO calls VALUES (?, ?, ?)", key, worker, granted)
        else:
            self._run("DELETE FROM calls WHERE session = ? AND worker = ?", key, worker)
        return granted

    def _delete(self, worker: str, step: storing.SessionDelete, wall: float) -> bool:
        key = self._find(step.session, wall)
        if key is not None:
            self._remove(key)
        return key is not None

    # Streams

    def _begin(self, worker: str, step: storing.StreamBegin, wall: float) -> bool | None:
        key = self._session(step.session, wall)
        if self._stream(step, wall) is not None:
            raise _StepFailed("a stream with this number exists")
        if step.request is None and self._full(key, step.limit):
            return False
        count = self._value("SELECT count(*) FROM streams WHERE session = ?", key)
        if count >= self.settings.streams:
            self._make_room(key, wall)
        self._run(
            "INSERT INTO streams (session, number, request, writer, holder, rank, time)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(key, step.stream, step.request, worker, worker, self._next_rank(key), wall),
        )
        return None

    def _append(self, worker: str, step: storing.StreamAppend, wall: float) -> int | None:
        stream = self._stream(step, wall)
        if stream is None or stream.ended:
            return None
        if step.data or not step.ends:
            self._keep(stream, step.data, wall)
        self._run(
            "UPDATE streams SET time = ?, ended = ?, orphaned = orphaned AND writer <> ?,"
            " armed = armed AND NOT ? WHERE key = ?",
            *(wall, step.ends, worker, step.ends, stream.key),
        )
        self._wake_readers(step.session, stream.key, step.stream)
        if step.ends and stream.request is None:
            self._wake_carrier(step.session, stream.session)
        return stream.last

    def _read(self, worker: str, step: storing.StreamRead, wall: float) -> LogPage | None:
        stream = self._stream(step, wall)
        if stream is None:
            return None
        entries: list[tuple[int, bytes]] = []
        size = 0
        for place, data in self._run(
            "SELECT place, data FROM events WHERE stream = ? AND place > ? ORDER BY place",
            *(stream.key, step.after),
        ):
            size += len(data)
            if entries and size > step.limit:
                break
            entries.append((place, data))
        if step.after >= stream.last and not stream.ended and not stream.orphaned:
            self._run("INSERT OR IGNORE INTO readers VALUES (?, ?)", stream.key, worker)
        else:
            self._stop_reading(stream.key, worker)
        return stream.page(entries)

    def _claim(self, worker: str, step: storing.StreamClaim, wall: float) -> bool | None:
        stream = self._stream(step, wall)
        if stream is None:
            return None
        new = stream.request is None and stream.holder is None and not stream.ended
        if new and self._full(stream.session, step.limit):
            return False
        self._run(
            "UPDATE streams SET holder = ?1, rank = ?2, time = ?3,"
            " armed = armed AND holder IS ?1 WHERE key = ?4",
            *(worker, self._next_rank(stream.session), wall, stream.key),
        )
        if stream.holder is not None and stream.holder != worker:
            self._stop_reading(stream.key, stream.holder)
            self._tell(stream.holder, base.moved(step.session, step.stream))
        self._wake_carrier(step.session, stream.session)
        return None

    def _release(self, worker: str, step: storing.StreamRelease, wall: float) -> None:
        stream = self._stream(step, wall)
        if stream is None or stream.holder != worker:
            return
        self._run(
            "UPDATE streams SET holder = NULL, armed = 0, time = ? WHERE key = ?", wall, stream.key
        )
        self._stop_reading(stream.key, worker)
        self._wake_carrier(step.session, stream.session)

    # The queue

    def _put(self, worker: str, step: storing.QueuePut, wall: float) -> bool:
        key = self._session(step.session, wall)
        if step.once is not None and self._row(
            "SELECT 1 FROM once WHERE session = ? AND name = ?", key, step.once
        ):
            return False
        if not self._enqueue(key, step.data, base.is_request(step.data)):
            return False
        if step.once is not None:
            self._run("INSERT INTO once (session, name) VALUES (?, ?)", key, step.once)
            self._run(
                "DELETE FROM once WHERE session = ?1 AND key <= (SELECT key FROM once"
                " WHERE session = ?1 ORDER BY key DESC LIMIT 1 OFFSET ?2)",
                *(key, self.settings.once),
            )
        self._wake_carrier(step.session, key)
        return True

    def _take(self, worker: str, step: storing.QueueTake, wall: float) -> LogPage:
        stream = self._stream(step, wall)
        if stream is None:
            return LogPage(ended=True)
        if stream.holder != worker or stream.ended or stream.request is not None:
            return stream.page()
        carrier = self._carrier(stream.session)
        entries: list[tuple[int, bytes]] = []
        if carrier is not None and carrier[0] == stream.key:
            queued = self._dequeue(stream.session, step.limit)
            entries += [(self._keep(stream, data, wall), data) for data in queued]
        if not entries:
            self._run("UPDATE streams SET armed = 1 WHERE key = ?", stream.key)
            return stream.page()
        self._run("UPDATE streams SET armed = 0, time = ? WHERE key = ?", wall, stream.key)
        self._wake_readers(step.session, stream.key, step.stream)
        # to keep the events may have dropped older ones
        return StreamRow(*self._row(f"{_STREAM} key = ?", stream.key)).page(entries)

    def _enqueue(self, session: int, data: bytes, request: bool) -> bool:
        """Put a message into the queue; return True if there was room."""
        settings, size = self.settings, len(data)
        queued, queue_bytes, requests, request_bytes = self._row(
            "SELECT count(*), coalesce(sum(length(data)), 0), coalesce(sum(request), 0),"
            " coalesce(sum(request * length(data)), 0) FROM queue WHERE session = ?",
            session,
        )
        if requests + 1 > settings.events or request_bytes + size > settings.queue_bytes:
            return False
        while queued + 1 > settings.events or queue_bytes + size > settings.queue_bytes:
            queued -= 1
            queue_bytes -= self._value(
                "DELETE FROM queue WHERE key = (SELECT min(key) FROM queue"
                " WHERE session = ? AND request = 0) RETURNING length(data)",
                session,
            )
        self._run(
            "INSERT INTO queue (session, request, data) VALUES (?, ?, ?)", session, request, data
        )
        self._limit_total()
        return True

    def _dequeue(self, session: int, limit: int) -> Iterator[bytes]:
        """Take messages off the queue, at most about ``limit`` bytes, at least one."""
        size = 0
        while row := self._row(
            "SELECT key, data FROM queue WHERE session = ? ORDER BY key LIMIT 1", session
        ):
            key, data = row
            if size and size + len(data) > limit:
                return
            size += len(data)
            self._run("DELETE FROM queue WHERE key = ?", key)
            yield data

    def _next_rank(self, session: int) -> int:
        rank: int = self._value(
            "UPDATE sessions SET ranks = ranks + 1 WHERE key = ? RETURNING ranks", session
        )
        return rank

    def _stop_reading(self, stream: int, worker: str) -> None:
        self._run("DELETE FROM readers WHERE stream = ? AND worker = ?", stream, worker)

    # Limits of number, size and age; beyond them the oldest is dropped first

    def _find(self, id: str, wall: float) -> int | None:
        """Return the key of a session, or None if it has ended."""
        row = self._row("SELECT key, created, used FROM sessions WHERE id = ?", id)
        if row is None:
            return None
        key, created, used = row
        if wall >= base.ends(created, used, self.settings):
            self._remove(key)
            return None
        return int(key)

    def _session(self, id: str, wall: float) -> int:
        key = self._find(id, wall)
        if key is None:
            raise _SessionMissing
        return key

    def _stream(self, step: Any, wall: float) -> StreamRow | None:
        """Return the stream of a step; None if it is unknown, or empty, idle and too old."""
        session = self._session(step.session, wall)
        self._expire(session, wall)
        row = self._row(f"{_STREAM} session = ? AND number = ?", session, step.stream)
        if row is None:
            return None
        stream, age = StreamRow(*row), self.settings.age
        outlived = (
            wall >= stream.time + age
            and self._run(f"{_DROP_OUTLIVED} AND key = ?", age, wall, stream.key).rowcount
        )
        return None if outlived else stream

    def _full(self, session: int, limit: int) -> bool:
        """Return True if ``limit`` GET streams of a session have a connection; 0 is no limit."""
        count = f"SELECT count(*) FROM streams WHERE {_OPEN_GET}"  # noqa: S608
        return limit > 0 and self._value(count, session) >= limit

    def _use(self, session: int, wall: float, least: base.Grade = base.Grade.AGREED) -> None:
        """Make a session the most recently used; raise its grade to ``least`` at least."""
        self._run(
            "UPDATE sessions SET used = max(coalesce(used, ?1), ?1), grade = max(grade, ?3)"
            " WHERE key = ?2",
            *(wall, session, least),
        )

    def _admit(self, owner: str, wall: float) -> None:
        """Make room for one more session: first among those of its owner, then among all."""
        for limit, which, *values in (
            (self.settings.sessions_per_client, "owner = ?", owner),
            (self.settings.sessions, "TRUE"),
        ):
            count = self._value(f"SELECT count(*) FROM sessions WHERE {which}", *values)  # noqa: S608
            for _ in range(min(count, count - limit + 1)):
                self._make_way(wall, str(which), *values)

    def _make_way(self, wall: float, which: str, *values: object) -> None:
        """End the session that is dropped first when there are too many, among ``which``."""
        known = f"SELECT key, created, used FROM sessions WHERE {which}"  # noqa: S608
        for grade in base.Grade:
            row = self._row(f"{known} AND grade = ? ORDER BY used, key LIMIT 1", *values, grade)
            if row is not None and wall >= base.ends(row[1], row[2], self.settings):
                self._remove(row[0])
                return
        rows = self._run(f"{known} ORDER BY grade, used, key LIMIT ?", *values, base.SPARED + 1)
        keys = [row[0] for row in rows]
        at_work = list(takewhile(lambda key: self._row(_BUSY, key, key) is not None, keys))
        key = keys[len(at_work)] if len(at_work) < len(keys) else at_work.pop(0)
        for other in at_work:
            self._use(other, wall, base.Grade.USED)
        id = self._value("SELECT id FROM sessions WHERE key = ?", key)
        self._remove(key)
        self._post_all("", base.made_room(id))

    def _remove(self, session: int) -> None:
        self._run("DELETE FROM sessions WHERE key = ?", session)

    def _sweep(self, wall: float) -> None:
        """Remove all sessions, events, streams, uses of proofs and tasks that are too old."""
        settings = self.settings
        for key, created, used in self._run("SELECT key, created, used FROM sessions").fetchall():
            if wall >= base.ends(created, used, settings):
                self._remove(key)
        while row := self._row("SELECT session, time FROM events ORDER BY key LIMIT 1"):
            session, at = row
            if wall < at + settings.age:
                break
            self._expire(session, wall)
        self._run(_DROP_OUTLIVED, settings.age, wall)
        self._run(_DROP_PROOFS, wall)
        self._run(_DROP_TASKS, wall)

    def _expire(self, session: int, wall: float) -> None:
        """Drop the oldest events of a session, up to the first that is not too old."""
        self._run(
            "DELETE FROM events WHERE session = ?1 AND key < coalesce((SELECT key FROM events"
            " WHERE session = ?1 AND time + ?2 > ?3 ORDER BY key LIMIT 1), 1 << 62)",
            *(session, self.settings.age, wall),
        )

    def _keep(self, stream: StreamRow, data: bytes, wall: float) -> int:
        """Add an event to a stream; return its position."""
        place = stream.last = stream.last + 1
        self._run(
            "INSERT INTO events (session, stream, place, time, data) VALUES (?, ?, ?, ?, ?)",
            *(stream.session, stream.key, place, wall, data),
        )
        kept, size = self._row("SELECT kept, size FROM sessions WHERE key = ?", stream.session)
        while kept > 1 and (kept > self.settings.events or size > self.settings.event_bytes):
            kept -= 1
            size -= self._value(
                "DELETE FROM events WHERE key = (SELECT min(key) FROM events WHERE session = ?)"
                " RETURNING length(data)",
                stream.session,
            )
        self._limit_total()
        return place

    def _limit_total(self) -> None:
        """Drop the oldest notification and the oldest event in turn while there is too much of all.

        A notification goes first, as nobody may have read an event yet, which may be an answer.
        The last event stays, and all requests do.
        """
        limit, vain = self.settings.total_bytes, 0
        oldest = cycle((_DROP_NOTIFICATION, _DROP_EVENT))
        while vain < 2 and self._value("SELECT value FROM facts WHERE name = 'bytes'") > limit:
            vain = 0 if self._run(next(oldest)).rowcount else vain + 1

    def _make_room(self, session: int, wall: float) -> None:
        """Forget the idle streams that are too old, and the oldest others up to a part of all.

        To look through thousands takes long, and is not to be done for each new one.  Raises
        _StepFailed if no stream is idle.
        """
        drop_outlived = f"{_DROP_OUTLIVED} AND session = ?"
        gone = self._run(drop_outlived, self.settings.age, wall, session).rowcount
        left = max(1, self.settings.streams // base.STREAMS_PART) - gone
        if left > 0:
            gone += self._run(
                "DELETE FROM streams WHERE key IN (SELECT key FROM streams"  # noqa: S608
                f" WHERE session = ? AND {_IDLE} ORDER BY key LIMIT ?)",
                *(session, left),
            ).rowcount
        if not gone:
            raise _StepFailed("the session has too many streams")

    # Tasks

    def _save_task(self, worker: str, step: storing.TaskSave, wall: float) -> bool | None:
        self._run(_DROP_TASKS, wall)
        found = self._row("SELECT ended, length(task), key FROM tasks WHERE id = ?", step.id)
        if step.new != (found is None) or (found is not None and found[0]):
            return False
        settings = self.settings
        grown = len(step.task) - (0 if found is None else found[1])
        size = self._value("SELECT value FROM facts WHERE name = 'task bytes'") + grown
        if size > settings.task_bytes and not (step.ended and grown <= base.TASK_END):
            return None
        if found is not None:
            self._run(
                "UPDATE tasks SET ended = ?, expires = ?, task = ? WHERE id = ?",
                *(step.ended, step.expires, step.task, step.id),
            )
            for (follower,) in self._run(
                "DELETE FROM followers WHERE task = ? RETURNING worker", found[2]
            ).fetchall():
                self._tell(follower, base.task_changed(step.id))
            return True
        everyones = self._value("SELECT count(*) FROM tasks")
        own = self._value("SELECT count(*) FROM tasks WHERE owner = ?", step.owner)
        if everyones >= settings.tasks or own >= settings.tasks_per_owner:
            return None
        self._run(
            "INSERT INTO tasks (id, owner, worker, ended, expires, task) VALUES (?, ?, ?, ?, ?, ?)",
            *(step.id, step.owner, worker, step.ended, step.expires, step.task),
        )
        return True

    def _load_task(self, worker: str, step: storing.TaskLoad, wall: float) -> StoredTask | None:
        found = self._tasks("id = ? AND expires > ?", step.id, wall)
        if found and step.follow:
            self._run("INSERT OR IGNORE INTO followers VALUES (?, ?)", found[0].number, worker)
        return found[0] if found else None

    def _list_tasks(
        self, worker: str, step: storing.TaskList, wall: float
    ) -> tuple[StoredTask, ...]:
        where = "owner = ? AND key > ? AND expires > ? ORDER BY key LIMIT ?"
        return self._tasks(where, step.owner, step.after, wall, step.limit)

    def _tasks(self, where: str, *values: object) -> tuple[StoredTask, ...]:
        found: list[StoredTask] = []
        size = 0
        for number, worker, gone, task in self._run(f"{_TASK} WHERE {where}", *values):
            size += len(task)
            if found and size > base.TASK_PAGE:
                break
            found.append(StoredTask(number=number, worker=worker, gone=bool(gone), task=task))
        return tuple(found)

    # Workers, and the notes that they leave each other.
    #
    # SQLite announces no changes.  Workers of this process are woken directly; for notes of other
    # processes the table is polled, with at most ``poll`` seconds between two polls.

    def _post(self, worker: str, step: storing.Post, wall: float) -> None:
        if step.to is None:
            self._post_all(worker, step.note)
            return
        waiting = self._value(
            "SELECT (SELECT count(*) FROM notes WHERE worker = name AND posted)"
            " FROM workers WHERE name = ?",
            step.to,
        )
        if waiting is None:
            return
        if waiting >= self.settings.mailbox:
            raise _StepFailed(f"the mailbox of worker {step.to} is full")
        self._tell(step.to, step.note, posted=True)

    def _post_all(self, worker: str, note: bytes) -> None:
        self._run(
            "INSERT INTO notes (worker, posted, note) SELECT name, 1, ? FROM workers"
            " WHERE name <> ? AND (SELECT count(*) FROM notes WHERE worker = name AND posted) < ?",
            *(note, worker, self.settings.mailbox),
        )
        self._told = True

    def _announce(self, worker: str, step: storing.Announce, wall: float) -> None:
        self._post_all(worker, step.note)
        self._run(
            "INSERT OR REPLACE INTO announcements (key, topic, time, note)"
            " VALUES ((SELECT coalesce(max(key), 0) + 1 FROM announcements), ?, ?, ?)",
            *(step.topic, wall, step.note),
        )
        self._limit_announcements(wall)

    def _announcements(
        self, worker: str, step: storing.Announcements, wall: float
    ) -> tuple[bytes, ...]:
        self._limit_announcements(wall)
        rows = self._run("SELECT note FROM announcements WHERE time >= ? ORDER BY key", step.since)
        return tuple(note for (note,) in rows)

    def _limit_announcements(self, wall: float) -> None:
        """Drop the announcements that are too old, and the oldest beyond the limits."""
        settings = self.settings
        self._run(
            "DELETE FROM announcements WHERE time + ? <= ? OR key IN (SELECT key FROM"
            " (SELECT key, row_number() OVER newer AS count, sum(length(note)) OVER newer AS size"
            " FROM announcements WINDOW newer AS (ORDER BY key DESC)) WHERE count > ? OR size > ?)",
            *(settings.idle, wall, settings.announcements, settings.queue_bytes),
        )

    def receive(self, worker: str, timeout: float) -> list[bytes]:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        until = time.monotonic() + timeout
        pause = min(_SHORT_POLL, self._poll)
        with self._changed:
            self._renew(worker)
            while worker in self._renewed:
                notes = self._fetch(worker)
                left = until - time.monotonic()
                if notes or left <= 0:
                    return notes
                self._changed.wait(min(left, pause))
                pause = min(2 * pause, self._poll)
                if worker in self._renewed:
                    self._renew(worker)
            return []

    def leave(self, worker: str) -> None:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        with self._transaction():
            self._renewed.pop(worker, None)
            self._run("DELETE FROM workers WHERE name = ?", worker)
            self._bury(worker)
            self._told = True  # for the worker, which may be waiting

    def _fetch(self, worker: str) -> list[bytes]:
        """Take the notes for a worker; a transaction is needed only if there are any."""
        try:
            rows = self._run(
                "SELECT key, note FROM notes WHERE worker = ? ORDER BY key", worker
            ).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"SQLite: {error}") from error
        if rows:
            with self._transaction():
                self._run("DELETE FROM notes WHERE worker = ? AND key <= ?", worker, rows[-1][0])
        return [note for _, note in rows]

    def _renew(self, worker: str) -> None:
        """Renew the lease of a worker if it is due, and bury dead workers."""
        now = self._clock()
        with self._changed:
            before = self._renewed.get(worker)
            if before is not None and before <= now < before + self.settings.renew:
                return
            with self._transaction():
                silent = self._value(
                    "SELECT count(*) FROM workers WHERE name = ? AND NOT buried AND expires <= ?",
                    *(worker, now),
                )
                self._run(
                    "INSERT INTO workers (name, expires, place, process) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET expires = excluded.expires, buried = 0",
                    *(worker, now + self.settings.lease, self._here, os.getpid()),
                )
                self._bury_expired(now, spared=silent > 0)
            self._renewed[worker] = now

    def _bury_expired(self, now: float, *, spared: bool) -> None:
        """Bury dead workers; ``spared``: give those that are late the time to come back.

        A worker that was itself silent spares them: perhaps the machine has slept.
        """
        latest = now + self.settings.lease  # later ones are of a clock that was set back
        self._run("UPDATE workers SET expires = ?1 WHERE expires > ?1", latest)
        for name, expires, place, process, buried in self._run(
            "SELECT name, expires, place, process, buried FROM workers"
        ).fetchall():
            gone = place == self._here and _process_is_gone(process)
            if spared and not buried and not gone and now >= expires:
                self._run("UPDATE workers SET expires = ? WHERE name = ?", latest, name)
                continue
            if not buried and (gone or now >= expires):
                self._run("UPDATE workers SET buried = 1 WHERE name = ?", name)
                self._bury(name)
            if gone or now >= expires + base.RETURN * self.settings.lease:
                self._run("DELETE FROM workers WHERE name = ?", name)

    def _bury(self, worker: str) -> None:
        """Release the streams and quota of a dead worker; tell it so in case it comes back."""
        self._run("DELETE FROM readers WHERE worker = ?", worker)
        self._run("DELETE FROM calls WHERE worker = ?", worker)
        held = self._run(
            "UPDATE streams SET holder = NULL, armed = 0 WHERE holder = ?"
            " RETURNING (SELECT id FROM sessions WHERE sessions.key = session), session, number",
            worker,
        ).fetchall()
        orphans = self._run(
            "UPDATE streams SET orphaned = 1"
            " WHERE writer = ? AND request IS NOT NULL AND NOT ended AND NOT orphaned"
            " RETURNING (SELECT id FROM sessions WHERE sessions.key = session), key, number",
            worker,
        ).fetchall()
        for id, _, number in held:
            self._tell(worker, base.moved(id, number))
        for id, key, number in orphans:
            self._wake_readers(id, key, number)
        for id, session in {(id, session) for id, session, _ in held}:
            self._wake_carrier(id, session)

    def _tell(self, worker: str, note: bytes, *, posted: bool = False) -> None:
        self._run(
            "INSERT INTO notes (worker, posted, note) SELECT name, ?, ? FROM workers"
            " WHERE name = ?",
            *(posted, note, worker),
        )
        self._told = True

    def _wake_readers(self, id: str, stream: int, number: int) -> None:
        waiting = self._run("DELETE FROM readers WHERE stream = ? RETURNING worker", stream)
        for (worker,) in waiting.fetchall():
            self._tell(worker, base.wake(id, number))

    def _carrier(self, session: int) -> Any:
        """Return key, number, holder and ``armed`` of the stream that takes from the queue."""
        return self._row(
            f"SELECT key, number, holder, armed FROM streams WHERE {_OPEN_GET}"  # noqa: S608
            " ORDER BY rank DESC LIMIT 1",
            session,
        )

    def _wake_carrier(self, id: str, session: int) -> None:
        carrier = self._carrier(session)
        if carrier is None or not carrier[3]:
            return
        key, number, holder, _ = carrier
        if self._row("SELECT 1 FROM queue WHERE session = ? LIMIT 1", session):
            self._run("UPDATE streams SET armed = 0 WHERE key = ?", key)
            self._tell(holder, base.wake(id, number))

    _handlers: ClassVar[Mapping[type[Step], Callable[..., base.StepOutcome]]] = {
        storing.SessionSave: _save,
        storing.SessionLoad: _load,
        storing.SessionTouch: _touch,
        storing.SessionCalls: _calls,
        storing.SessionDelete: _delete,
        storing.StreamBegin: _begin,
        storing.StreamAppend: _append,
        storing.StreamRead: _read,
        storing.StreamClaim: _claim,
        storing.StreamRelease: _release,
        storing.QueuePut: _put,
        storing.QueueTake: _take,
        storing.Post: _post,
        storing.Announce: _announce,
        storing.Announcements: _announcements,
        storing.TaskSave: _save_task,
        storing.TaskLoad: _load_task,
        storing.TaskList: _list_tasks,
    }


class MemoryStore(SqliteStore):
    """Store that keeps everything in this process, for its workers.  Safe to use from threads."""

    def __init__(
        self,
        settings: base.StoreSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # no other process leaves notes: what is polled for is the next renewal
        poll = (settings or base.StoreSettings()).renew
        super().__init__(MEMORY, settings, poll=poll, clock=clock)


def _place_of_processes() -> str:
    """Return a name of the machine and its process namespace, in which process ids are unique."""
    try:
        namespace = str(os.stat("/proc/self/ns/pid").st_ino)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        namespace = boot = ""
    return f"{platform.node()}/{boot}/{namespace}"


def _process_is_gone(process: int) -> bool:
    if sys.platform == "win32":  # signal 0 is Ctrl-C there; the lease tells of the end
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        pass
    return False
