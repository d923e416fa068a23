"""Store in a SQLite file, for the workers of one machine and for sessions that outlive them.

SQLite runs with a write-ahead log.  A batch of steps is one transaction, which is stored as a whole
or not at all.  With ``synchronous=NORMAL`` a confirmed step survives the death of every process: it
has been handed to the operating system.  A loss of power may take the last transactions, but never
damages the file.  ``synchronous=FULL`` waits for the disk each time.

Source: https://www.sqlite.org/wal.html and https://www.sqlite.org/pragma.html#pragma_synchronous
"""

import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import structs

from mcpcore.errors import StepFailedError, StoreUnavailableError
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
from mcpcore_transports.stores.sqlite_limits import SqliteLimits

Synchronous = Literal["NORMAL", "FULL", "EXTRA"]

_SWEEPS = 15.0
"""Seconds between two sweeps over all sessions."""


class SqliteStore(SqliteLimits):
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
        super().__init__(
            path,
            settings or StoreSettings(),
            synchronous=synchronous,
            busy=busy,
            poll=poll,
            clock=clock,
        )
        self._swept = 0.0

    def secret(self) -> bytes:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        made = secrets.token_bytes(SECRET_SIZE)
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO facts VALUES ('secret', ?)", (made,))
            return bytes(self._value("SELECT value FROM facts WHERE name = 'secret'"))

    def commit(self, worker: str, steps: Sequence[Step], wall: float) -> list[Outcome]:
        """See :class:`~mcpcore_transports.stores.base.Store`."""
        try:
            with self._transaction():
                self._renew(worker)
                if not self._swept <= wall < self._swept + _SWEEPS:
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

    def save(self, record: SessionRecord, wall: float) -> SessionRecord | bool | None:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        with self._transaction():
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

    def load(self, session: str, wall: float) -> SessionRecord | None:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        with self._transaction():
            key = self._find(session, wall)
            if key is None:
                return None
            used = self._value("SELECT used FROM sessions WHERE key = ?", key)
            self._use(key, wall)
            return structs.replace(self._record(key), used=used)

    def _record(self, key: int) -> SessionRecord:
        text = self._value("SELECT record FROM sessions WHERE key = ?", key)
        return msgspec.json.decode(text, type=SessionRecord)

    def touch(self, session: str, wall: float) -> bool:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        with self._transaction():
            key = self._find(session, wall)
            if key is not None:
                self._use(key, wall, Grade.USED)
            return key is not None

    def calls(self, worker: str, session: str, calls: int, limit: int, wall: float) -> int | None:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        with self._transaction():
            key = self._find(session, wall)
            if key is None:
                return None
            others: int = self._value(
                "SELECT coalesce(sum(calls), 0) FROM calls WHERE session = ? AND worker <> ?",
                key,
                worker,
            )
            granted = min(calls, max(0, limit - others))
            if granted:
                self._db.execute(
                    "INSERT INTO calls (session, worker, calls) VALUES (?, ?, ?)"
                    " ON CONFLICT (session, worker) DO UPDATE SET calls = excluded.calls",
                    (key, worker, granted),
                )
            else:
                self._db.execute(
                    "DELETE FROM calls WHERE session = ? AND worker = ?", (key, worker)
                )
            return granted

    def delete(self, session: str, wall: float) -> bool:
        """See :class:`~mcpcore_transports.stores.base.SessionStore`."""
        with self._transaction():
            key = self._find(session, wall)
            if key is not None:
                self._remove(key)
            return key is not None

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
        with self._transaction():
            key = self._there(session, wall)
            if self._stream(session, stream, wall) is not None:
                raise StepFailedError("a stream with this number exists")
            if request is None and self._full(key, limit):
                return False
            count = self._value("SELECT streams FROM sessions WHERE key = ?", key)
            if count >= self.settings.streams:
                self._make_room(key, wall)
            self._db.execute("UPDATE sessions SET streams = streams + 1 WHERE key = ?", (key,))
            self._db.execute(
                "INSERT INTO streams (session, number, request, writer, holder, rank, time)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key, stream, request, worker, worker, self._next_rank(key), wall),
            )
            return None

    def append(
        self, worker: str, session: str, stream: int, data: bytes, ends: bool, wall: float
    ) -> int | None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        with self._transaction():
            found = self._stream(session, stream, wall)
            if found is None or found.ended:
                return None
            if data or not ends:
                self._keep(found, data, wall)
            self._db.execute(
                "UPDATE streams SET time = ?, ended = ?, orphaned = orphaned AND writer <> ?,"
                " armed = armed AND NOT ? WHERE key = ?",
                (wall, ends, worker, ends, found.key),
            )
            self._wake_readers(session, found.key, stream)
            if ends and found.request is None:
                self._wake_carrier(session, found.session)
            return found.last

    def read(
        self, worker: str, session: str, stream: int, after: int, limit: int, wall: float
    ) -> LogPage | None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        with self._transaction():
            found = self._stream(session, stream, wall)
            if found is None:
                return None
            page: list[tuple[int, bytes]] = []
            size = 0
            for place, data in self._db.execute(
                "SELECT place, data FROM events WHERE stream = ? AND place > ? ORDER BY place",
                (found.key, after),
            ):
                size += len(data)
                if page and size > limit:
                    break
                page.append((place, data))
            if after >= found.last and not found.ended and not found.orphaned:
                reading = "INSERT OR IGNORE INTO readers (stream, worker) VALUES (?, ?)"
            else:
                reading = "DELETE FROM readers WHERE stream = ? AND worker = ?"
            self._db.execute(reading, (found.key, worker))
            return found.page(page)

    def claim(self, worker: str, session: str, stream: int, limit: int, wall: float) -> bool | None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        with self._transaction():
            found = self._stream(session, stream, wall)
            if found is None:
                return None
            new = found.request is None and found.holder is None and not found.ended
            if new and self._full(found.session, limit):
                return False
            self._db.execute(
                "UPDATE streams SET holder = ?, rank = ?, time = ?,"
                " armed = armed AND holder IS ? WHERE key = ?",
                (worker, self._next_rank(found.session), wall, worker, found.key),
            )
            if found.holder is not None and found.holder != worker:
                self._stop_reading(found.key, found.holder)
                self._tell(found.holder, moved(session, stream))
            self._wake_carrier(session, found.session)
            return None

    def release(self, worker: str, session: str, stream: int, wall: float) -> None:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        with self._transaction():
            found = self._stream(session, stream, wall)
            if found is None or found.holder != worker:
                return
            self._db.execute(
                "UPDATE streams SET holder = NULL, armed = 0, time = ? WHERE key = ?",
                (wall, found.key),
            )
            self._stop_reading(found.key, worker)
            self._wake_carrier(session, found.session)

    # The queue

    def put(self, session: str, data: bytes, once: str | None, wall: float) -> bool:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        with self._transaction():
            key = self._there(session, wall)
            if once is not None and self._row(
                "SELECT 1 FROM once WHERE session = ? AND name = ?", key, once
            ):
                return False
            if not self._enqueue(key, data, is_request(data)):
                return False
            if once is not None:
                self._db.execute("INSERT INTO once (session, name) VALUES (?, ?)", (key, once))
                self._db.execute(
                    "DELETE FROM once WHERE session = ? AND key <= (SELECT key FROM once"
                    " WHERE session = ? ORDER BY key DESC LIMIT 1 OFFSET ?)",
                    (key, key, self.settings.once),
                )
            self._wake_carrier(session, key)
            return True

    def take(self, worker: str, session: str, stream: int, limit: int, wall: float) -> LogPage:
        """See :class:`~mcpcore_transports.stores.base.EventStore`."""
        with self._transaction():
            found = self._stream(session, stream, wall)
            if found is None:
                return LogPage(ended=True)
            if found.holder != worker or found.ended or found.request is not None:
                return found.page(())
            carrier = self._carrier(found.session)
            page = (
                [
                    (self._keep(found, data, wall), data)
                    for data in self._dequeue(found.session, limit)
                ]
                if carrier is not None and carrier[0] == found.key
                else []
            )
            if not page:
                self._db.execute("UPDATE streams SET armed = 1 WHERE key = ?", (found.key,))
                return found.page(())
            self._db.execute(
                "UPDATE streams SET armed = 0, time = ? WHERE key = ?", (wall, found.key)
            )
            self._wake_readers(session, found.key, stream)
            return self._again(found).page(page)

    def _next_rank(self, session: int) -> int:
        rank: int = self._value(
            "UPDATE sessions SET ranks = ranks + 1 WHERE key = ? RETURNING ranks", session
        )
        return rank

    def _stop_reading(self, stream: int, worker: str) -> None:
        self._db.execute("DELETE FROM readers WHERE stream = ? AND worker = ?", (stream, worker))
