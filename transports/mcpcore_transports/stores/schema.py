"""File of :class:`~mcpcore_transports.stores.sqlite.SqliteStore`: its tables, and opening it."""

import os
import platform
import sqlite3
import time
from contextlib import closing
from pathlib import Path

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


def prepare(path: str | Path, synchronous: str, busy: float) -> sqlite3.Connection:
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
