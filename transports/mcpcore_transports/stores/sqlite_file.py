"""File of :class:`~mcpcore_transports.stores.sqlite.SqliteStore`: tables, opening, transactions."""

import os
import platform
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from mcpcore.errors import StoreUnavailableError

VERSION = 4
"""Version of the tables; kept in ``PRAGMA user_version``."""
_APPLICATION = 0x6D637063
"""Value of ``PRAGMA application_id``, so that the file of another program is never touched."""
_JOURNAL_BYTES = 64 * 1024 * 1024
"""Bytes to which the write-ahead log is cut down after a checkpoint."""

# The columns `session` and `stream` hold the key of a row of that table: sessions and streams have
# small integer keys, so that the rows of events stay short.  An index of a table with an integer
# key ends with that key, and so lists the rows in the order in which they were made.
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
INSERT INTO facts VALUES ('bytes', 0), ('sessions', 0);

CREATE TABLE sessions (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    record BLOB NOT NULL,
    version INTEGER NOT NULL,
    created REAL NOT NULL,
    used REAL,
    grade INTEGER NOT NULL DEFAULT 0,
    ranks INTEGER NOT NULL DEFAULT 0,
    streams INTEGER NOT NULL DEFAULT 0,
    kept INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0,
    queued INTEGER NOT NULL DEFAULT 0,
    queue_bytes INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL DEFAULT 0,
    request_bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX sessions_by_use ON sessions (grade, used);
CREATE INDEX sessions_by_owner ON sessions (owner, grade, used);

CREATE TABLE streams (
    key INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    number INTEGER NOT NULL,
    request BLOB,
    writer TEXT NOT NULL,
    holder TEXT,
    rank INTEGER NOT NULL,
    time REAL NOT NULL,
    last INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0,
    orphaned INTEGER NOT NULL DEFAULT 0,
    armed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (session, number)
);
CREATE INDEX carriers ON streams (session, rank)
    WHERE request IS NULL AND holder IS NOT NULL AND NOT ended;

CREATE TABLE readers (
    stream INTEGER NOT NULL,
    worker TEXT NOT NULL,
    PRIMARY KEY (stream, worker)
) WITHOUT ROWID;

CREATE TABLE events (
    key INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    place INTEGER NOT NULL,
    time REAL NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX events_by_session ON events (session);
CREATE INDEX events_by_stream ON events (stream, place);

CREATE TABLE queue (
    key INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    request INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX queue_by_session ON queue (session, request);

CREATE TABLE once (
    key INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (session, name)
);
CREATE INDEX once_by_session ON once (session);

CREATE TABLE calls (
    session INTEGER NOT NULL,
    worker TEXT NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (session, worker)
) WITHOUT ROWID;

CREATE TABLE announcements (
    key INTEGER PRIMARY KEY,
    topic TEXT NOT NULL UNIQUE,
    time REAL NOT NULL,
    note BLOB NOT NULL
);

CREATE TABLE workers (
    name TEXT PRIMARY KEY,
    expires REAL NOT NULL,
    place TEXT NOT NULL,
    process INTEGER NOT NULL,
    buried INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE notes (
    key INTEGER PRIMARY KEY,
    worker TEXT NOT NULL,
    posted INTEGER NOT NULL,
    note BLOB NOT NULL
);
CREATE INDEX notes_by_worker ON notes (worker);
"""


class SqliteFile:
    """SQLite file that several threads of this process use, one transaction at a time.

    ``undone`` is called when a transaction was rolled back.
    """

    def __init__(
        self, path: str | Path, synchronous: str, busy: float, *, undone: Callable[[], None]
    ) -> None:
        self._undone = undone
        self.lock = threading.RLock()
        """Lock of the connection and of the attributes below."""
        self._inside = False
        """True while a transaction runs."""
        self.size = 0
        """Bytes of events and queued messages, while a transaction runs."""
        self.count = 0
        """Number of sessions, while a transaction runs."""
        self.told = False
        """True if the transaction leaves notes."""
        self.bell = threading.Condition()
        """Condition notified after a transaction of this process has left notes."""
        self.rung = 0
        try:
            self.db = _opened(path, synchronous, busy)
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"SQLite: {path}: {error}") from error

    def close(self) -> None:
        """Close the file; waiting receivers raise StoreUnavailableError."""
        with self.lock:
            self.db.close()
        self.ring()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block as one transaction; within another transaction, as a part of it.

        Every exception of the block rolls back.  Raises StoreUnavailableError.
        """
        with self.lock:
            if self._inside:
                yield
                return
            try:
                self.db.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise StoreUnavailableError(f"SQLite: {error}") from error
            self.told = False
            self._inside = True
            try:
                self.size, self.count = before = self._totals()
                yield
                self._finish(before)
            except BaseException as error:
                self._undo()
                values_at_fault = isinstance(error, sqlite3.DataError | sqlite3.ProgrammingError)
                if isinstance(error, sqlite3.Error) and not values_at_fault:
                    raise StoreUnavailableError(f"SQLite: {error}") from error
                raise
            finally:
                self._inside = False
        if self.told:
            self.ring()

    def _totals(self) -> tuple[int, int]:
        (size,), (count,) = self.db.execute(
            "SELECT value FROM facts WHERE name IN ('bytes', 'sessions') ORDER BY name"
        )
        return size, count

    def _finish(self, before: tuple[int, int]) -> None:
        if before != (self.size, self.count):
            self.db.execute(
                "UPDATE facts SET value = CASE name WHEN 'bytes' THEN ? ELSE ? END"
                " WHERE name IN ('bytes', 'sessions')",
                (self.size, self.count),
            )
        self.db.execute("COMMIT")

    def _undo(self) -> None:
        # SQLite may have rolled back already, as for a full disk
        with suppress(sqlite3.Error):
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
        self._undone()

    def ring(self) -> None:
        """Wake the receivers of this process."""
        with self.bell:
            self.rung += 1
            self.bell.notify_all()

    def row(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        """Return the first row, None if there is none."""
        row: tuple[Any, ...] | None = self.db.execute(statement, values).fetchone()
        return row

    def value(self, statement: str, *values: object) -> Any:
        """Return the first column of the first row, None if there is no row."""
        row = self.row(statement, *values)
        return None if row is None else row[0]


def _opened(path: str | Path, synchronous: str, busy: float) -> sqlite3.Connection:
    """Open the file, and create the tables if it is new.

    Raises StoreUnavailableError for the file of another program or of another version,
    sqlite3.Error for a file that cannot be opened.
    """
    db = sqlite3.connect(
        path, timeout=busy, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        db.execute("BEGIN")  # a consistent view: another process may be creating the tables
        _is_made(db, path)  # check before anything is changed
        db.execute("COMMIT")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
        _journal(db, busy)
        with closing(db.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            if not _is_made(db, path):
                _make(cursor)
            cursor.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _journal(db: sqlite3.Connection, busy: float) -> None:
    # Of processes that open a new file together, all but one fail at once with "locked".
    until = time.monotonic() + busy
    while True:
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise sqlite3.OperationalError(f"a write-ahead log is not possible here, only {mode}")
        return


def _is_made(db: sqlite3.Connection, path: str | Path) -> bool:
    """Return True if the tables exist.  Raises StoreUnavailableError for foreign tables."""
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    application = db.execute("PRAGMA application_id").fetchone()[0]
    if application == _APPLICATION:
        if version != VERSION:
            raise StoreUnavailableError(
                f"{path} is a store of version {version}; this program knows version {VERSION}"
            )
        return True
    if tables:
        raise StoreUnavailableError(f"{path} is the database of another program")
    return False


def _make(cursor: sqlite3.Cursor) -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            cursor.execute(statement)
    cursor.execute(f"PRAGMA application_id = {_APPLICATION}")
    cursor.execute(f"PRAGMA user_version = {VERSION}")


def place_of_processes() -> str:
    """Return a name of the machine and its process namespace, in which process ids are unique."""
    try:
        namespace = str(os.stat("/proc/self/ns/pid").st_ino)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        namespace = boot = ""
    return f"{platform.node()}/{boot}/{namespace}"


def process_is_gone(process: int) -> bool:
    """Return True if this machine has no process with this id."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
