"""Workers that share a SQLite file, and the notes that they leave each other in it."""

import math
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from mcpcore.errors import StepFailedError, StoreUnavailableError
from mcpcore_transports.stores.base import StoreSettings, moved, wake
from mcpcore_transports.stores.schema import place_of_processes, process_is_gone
from mcpcore_transports.stores.sqlite_file import SqliteFile

_RETURN = 6
"""Leases without a sign of life after which a worker is forgotten with its mailbox."""
_SHORT_POLL = 0.001
"""Seconds between the first polls for notes; the pause doubles up to ``poll``."""


class SqliteMail(SqliteFile):
    """Mailbox in a SQLite file: see :class:`~mcpcore_transports.stores.base.Mailbox`.

    SQLite announces no changes.  Workers of this process are woken directly.  For notes of other
    processes ``PRAGMA data_version`` is polled, with at most ``poll`` seconds between two polls.
    """

    def __init__(
        self,
        path: str | Path,
        settings: StoreSettings,
        *,
        synchronous: str,
        busy: float,
        poll: float,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(path, settings, synchronous, busy)
        self._poll = poll
        self._clock = clock
        self._here = place_of_processes()
        self._renewed: dict[str, float] = {}
        """Time of the last renewal of each worker of this process."""

    def post(self, worker: str, to: str | None, note: bytes) -> None:
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
        with self._transaction():
            if to is None:
                self._db.execute(
                    "INSERT INTO notes (worker, posted, note) SELECT name, 1, ? FROM workers"
                    " WHERE name <> ?"
                    " AND (SELECT count(*) FROM notes WHERE worker = name AND posted) < ?",
                    (note, worker, self.settings.mailbox),
                )
            else:
                waits = self._value(
                    "SELECT (SELECT count(*) FROM notes WHERE worker = name AND posted)"
                    " FROM workers WHERE name = ?",
                    to,
                )
                if waits is None:
                    return
                if waits >= self.settings.mailbox:
                    raise StepFailedError(f"the mailbox of worker {to} is full")
                self._db.execute(
                    "INSERT INTO notes (worker, posted, note) VALUES (?, 1, ?)", (to, note)
                )
            self._told = True

    def announce(self, worker: str, note: bytes, topic: str, wall: float) -> None:
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
        with self._transaction():
            self.post(worker, None, note)
            self._db.execute(
                "INSERT OR REPLACE INTO announcements (key, topic, time, note)"
                " VALUES ((SELECT coalesce(max(key), 0) + 1 FROM announcements), ?, ?, ?)",
                (topic, wall, note),
            )
            self._limit_announcements(wall)

    def announcements(self, since: float, wall: float) -> tuple[bytes, ...]:
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
        with self._transaction():
            self._limit_announcements(wall)
            rows = self._db.execute(
                "SELECT note FROM announcements WHERE time >= ? ORDER BY key", (since,)
            ).fetchall()
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
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
        until = time.monotonic() + timeout
        pause = min(_SHORT_POLL, self._poll)
        self._renew(worker)
        seen: tuple[int, int] | None = None
        while True:
            rung = self._rung
            with self._lock:
                if worker not in self._renewed:
                    return []
                try:
                    state = rung, self._value("PRAGMA data_version")
                    notes = self._fetch(worker) if state != seen else []
                except sqlite3.Error as error:
                    raise StoreUnavailableError(f"SQLite: {error}") from error
            seen = state
            left = until - time.monotonic()
            if notes or left <= 0:
                return notes
            with self._bell:
                if self._rung == rung:
                    self._bell.wait(min(left, pause))
            pause = min(2 * pause, self._poll)
            if worker in self._renewed:
                self._renew(worker)

    def leave(self, worker: str) -> None:
        """See :class:`~mcpcore_transports.stores.base.Mailbox`."""
        with self._transaction():
            self._renewed.pop(worker, None)
            self._forget_worker(worker)
            self._bury(worker)
        self._ring()

    def _fetch(self, worker: str) -> list[bytes]:
        rows = self._db.execute(
            "SELECT key, note FROM notes WHERE worker = ? ORDER BY key", (worker,)
        ).fetchall()
        if not rows:
            return []
        with self._transaction():
            self._db.execute(
                "DELETE FROM notes WHERE worker = ? AND key <= ?", (worker, rows[-1][0])
            )
        return [note for _, note in rows]

    def _renew(self, worker: str) -> None:
        """Renew the lease of a worker if it is due, and bury dead workers."""
        now = self._clock()
        with self._lock:
            before = self._renewed.get(worker)
            if before is not None and before <= now < before + self.settings.renew:
                return
            with self._transaction():
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
            if gone or now >= expires + _RETURN * self.settings.lease:
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

    def _undo(self) -> None:
        super()._undo()
        # the renewals of this process's workers may have been rolled back
        self._renewed = dict.fromkeys(self._renewed, -math.inf)

    def _tell(self, worker: str, note: bytes) -> None:
        self._db.execute(
            "INSERT INTO notes (worker, posted, note) SELECT name, 0, ? FROM workers"
            " WHERE name = ?",
            (note, worker),
        )
        self._told = True

    def _wake_readers(self, id: str, stream: int, number: int) -> None:
        for (worker,) in self._db.execute(
            "DELETE FROM readers WHERE stream = ? RETURNING worker", (stream,)
        ).fetchall():
            self._tell(worker, wake(id, number))

    def _carrier(self, session: int) -> tuple[int, int, str, bool] | None:
        """Return key, number, holder and ``armed`` of the stream that takes from the queue."""
        return self._row(
            "SELECT key, number, holder, armed FROM streams WHERE session = ?"
            " AND request IS NULL AND holder IS NOT NULL AND NOT ended ORDER BY rank DESC LIMIT 1",
            session,
        )

    def _wake_carrier(self, id: str, session: int) -> None:
        carrier = self._carrier(session)
        if carrier is None or not carrier[3]:
            return
        key, number, holder, _ = carrier
        if self._row("SELECT 1 FROM queue WHERE session = ? LIMIT 1", session):
            self._db.execute("UPDATE streams SET armed = 0 WHERE key = ?", (key,))
            self._tell(holder, wake(id, number))
