"""File of a store in SQLite: its tables, and how it is opened.

Source: https://www.sqlite.org/wal.html and https://www.sqlite.org/lang_createtrigger.html
"""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from mcpcore.errors import StoreUnavailableError

Synchronous = Literal["NORMAL", "FULL", "EXTRA"]

MEMORY = ":memory:"
"""Path of a store that is in no file."""
VERSION = 9
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
INSERT INTO facts VALUES ('bytes', 0);
INSERT INTO facts VALUES ('proofs', 0);
INSERT INTO facts VALUES ('task bytes', 0);

CREATE TABLE proofs (
    digest BLOB PRIMARY KEY, party TEXT NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX proofs_by_end ON proofs (until);
CREATE TABLE parties (name TEXT PRIMARY KEY, proofs INTEGER NOT NULL) WITHOUT ROWID;

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
    kept INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0
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

CREATE TABLE readers (stream INTEGER, worker TEXT, PRIMARY KEY (stream, worker)) WITHOUT ROWID;

CREATE TABLE events (
    key INTEGER PRIMARY KEY, session INTEGER, stream INTEGER, place INTEGER, time REAL, data BLOB
);
CREATE INDEX events_by_session ON events (session);
CREATE INDEX events_by_stream ON events (stream, place);

CREATE TABLE queue (key INTEGER PRIMARY KEY, session INTEGER, request INTEGER, data BLOB);
CREATE INDEX queue_by_session ON queue (session, request);

CREATE TABLE once (key INTEGER PRIMARY KEY, session INTEGER, name TEXT, UNIQUE (session, name));
CREATE INDEX once_by_session ON once (session);

CREATE TABLE calls (
    session INTEGER, worker TEXT, calls INTEGER, PRIMARY KEY (session, worker)
) WITHOUT ROWID;

CREATE TABLE announcements (key INTEGER PRIMARY KEY, topic TEXT UNIQUE, time REAL, note BLOB);

CREATE TABLE workers (
    name TEXT PRIMARY KEY, expires REAL, place TEXT, process INTEGER, buried INTEGER DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE tasks (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT,
    worker TEXT NOT NULL,
    ended INTEGER NOT NULL,
    expires REAL NOT NULL,
    task BLOB NOT NULL
);
CREATE INDEX tasks_by_owner ON tasks (owner);
CREATE INDEX tasks_by_end ON tasks (expires);
CREATE TABLE followers (task INTEGER, worker TEXT, PRIMARY KEY (task, worker)) WITHOUT ROWID;

CREATE TABLE notes (key INTEGER PRIMARY KEY, worker TEXT, posted INTEGER, note BLOB);
CREATE INDEX notes_by_worker ON notes (worker);

CREATE TRIGGER proof_used AFTER INSERT ON proofs BEGIN
    UPDATE facts SET value = value + 1 WHERE name = 'proofs';
    INSERT INTO parties VALUES (new.party, 1) ON CONFLICT (name) DO UPDATE SET proofs = proofs + 1;
END;
CREATE TRIGGER proof_dropped AFTER DELETE ON proofs BEGIN
    UPDATE facts SET value = value - 1 WHERE name = 'proofs';
    UPDATE parties SET proofs = proofs - 1 WHERE name = old.party;
    DELETE FROM parties WHERE name = old.party AND proofs = 0;
END;
CREATE TRIGGER task_made AFTER INSERT ON tasks BEGIN
    UPDATE facts SET value = value + length(new.task) WHERE name = 'task bytes';
END;
CREATE TRIGGER task_changed AFTER UPDATE ON tasks BEGIN
    UPDATE facts SET value = value + length(new.task) - length(old.task) WHERE name = 'task bytes';
END;
CREATE TRIGGER task_dropped AFTER DELETE ON tasks BEGIN
    UPDATE facts SET value = value - length(old.task) WHERE name = 'task bytes';
    DELETE FROM followers WHERE task = old.key;
END;
CREATE TRIGGER event_kept AFTER INSERT ON events BEGIN
    UPDATE sessions SET kept = kept + 1, size = size + length(new.data) WHERE key = new.session;
    UPDATE streams SET last = new.place WHERE key = new.stream;
    UPDATE facts SET value = value + length(new.data) WHERE name = 'bytes';
END;
CREATE TRIGGER event_dropped AFTER DELETE ON events BEGIN
    UPDATE sessions SET kept = kept - 1, size = size - length(old.data) WHERE key = old.session;
    UPDATE streams SET lost = max(lost, old.place) WHERE key = old.stream;
    UPDATE facts SET value = value - length(old.data) WHERE name = 'bytes';
END;
CREATE TRIGGER queued AFTER INSERT ON queue BEGIN
    UPDATE facts SET value = value + length(new.data) WHERE name = 'bytes';
END;
CREATE TRIGGER dequeued AFTER DELETE ON queue BEGIN
    UPDATE facts SET value = value - length(old.data) WHERE name = 'bytes';
END;
CREATE TRIGGER stream_dropped AFTER DELETE ON streams BEGIN
    DELETE FROM events WHERE stream = old.key;
    DELETE FROM readers WHERE stream = old.key;
END;
CREATE TRIGGER session_dropped AFTER DELETE ON sessions BEGIN
    DELETE FROM streams WHERE session = old.key;
    DELETE FROM queue WHERE session = old.key;
    DELETE FROM once WHERE session = old.key;
    DELETE FROM calls WHERE session = old.key;
END;
CREATE TRIGGER worker_dropped AFTER DELETE ON workers BEGIN
    DELETE FROM notes WHERE worker = old.name;
END;
"""


def open_file(path: str | Path, synchronous: Synchronous, busy: float) -> sqlite3.Connection:
    """Open the file, and create the tables if it is new; a new file is for its owner alone.

    Raises StoreUnavailableError for the file of another program or of another version,
    sqlite3.Error for a file that cannot be opened.
    """
    if str(path) != MEMORY:
        # The secret and all messages are in it.  SQLite gives its other files the same mode.
        with suppress(OSError):  # it exists, or SQLite says why it cannot
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    db = sqlite3.connect(
        path, timeout=busy, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        db.execute("BEGIN IMMEDIATE")  # another process may be creating the tables
        _make_tables(db, path)
        db.execute("COMMIT")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
        _journal(db, busy)
    except BaseException:
        db.close()
        raise
    return db


def _make_tables(db: sqlite3.Connection, path: str | Path) -> None:
    """Create the tables if there are none.  Raises StoreUnavailableError for foreign ones."""
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if not tables:
        statement = ""
        for line in _TABLES.splitlines():
            statement += line
            if sqlite3.complete_statement(statement):
                db.execute(statement)
                statement = ""
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")
    elif db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise StoreUnavailableError(f"{path} is the database of another program")
    elif version != VERSION:
        raise StoreUnavailableError(
            f"{path} is a store of version {version}; this program knows version {VERSION}"
        )


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
        if mode not in ("wal", "memory"):
            raise sqlite3.OperationalError(f"a write-ahead log is not possible here, only {mode}")
        return
