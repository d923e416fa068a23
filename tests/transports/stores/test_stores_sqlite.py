"""The SQLite store: its file, several that open it, and what cannot be written."""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import structs

from mcpcore.errors import StoreUnavailableError
from mcpcore.http.storing import (
    LogPage,
    QueuePut,
    SessionLoad,
    SessionSave,
    SessionTouch,
    Step,
    StoreFailure,
    StreamAppend,
    StreamBegin,
    StreamRead,
    TaskSave,
)
from mcpcore_transports.stores.base import StoreSettings
from mcpcore_transports.stores.sqlite import SqliteStore
from mcpcore_transports.stores.sqlite_file import Synchronous
from tests.transports.stores.store_stage import record

SAVE = SessionSave(token=1, session="s", record=record())
BEGIN = StreamBegin(token=1, session="s", stream=1, request=b"1")
LOAD = SessionLoad(token=1, session="s")


def append(data: bytes, stream: int = 1) -> StreamAppend:
    return StreamAppend(token=1, session="s", stream=stream, data=data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(path, busy=0.1)) as made:
        assert made.commit("a", [SAVE, BEGIN], 1000) == [None, None]
        yield made


def settings_of(store: SqliteStore, name: str) -> object:
    return store._db.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.mark.parametrize(("synchronous", "number"), [("NORMAL", 1), ("FULL", 2), ("EXTRA", 3)])
def test_how_safely_it_writes(path: Path, synchronous: str, number: int) -> None:
    with closing(SqliteStore(path, synchronous=cast("Synchronous", synchronous))) as store:
        assert settings_of(store, "journal_mode") == "wal"
        assert settings_of(store, "synchronous") == number


def test_what_is_kept_is_there_when_it_is_opened_again(path: Path, store: SqliteStore) -> None:
    assert store.commit("a", [append(b"x")], 1000) == [1]
    secret = store.secret()
    store.close()
    with closing(SqliteStore(path)) as again:
        assert again.commit("b", [LOAD], 1001) == [record()]
        assert again.secret() == secret
        step = StreamRead(token=1, session="s", stream=1, after=0, limit=10)
        (page,) = again.commit("b", [step], 1001)
        assert isinstance(page, LogPage)
        assert page.entries == ((1, b"x"),)


def test_a_new_file_is_for_its_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(SqliteStore(path)) as store:
            store.commit("a", [SAVE], 1000)
            modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {path.name + end: 0o600 for end in ("", "-wal", "-shm")}
    path.chmod(0o640)
    SqliteStore(path).close()
    assert path.stat().st_mode & 0o777 == 0o640


def test_many_open_a_new_file_together(path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        stores = list(threads.map(lambda _: SqliteStore(path, busy=20), range(8)))
    assert len({store.secret() for store in stores}) == 1
    for store in stores:
        store.close()


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")


def of_a_newer_version(path: Path) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def no_database(path: Path) -> None:
    path.write_bytes(b"something else " * 100)


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (of_another_program, "another program"),
        (of_a_newer_version, "version 99; this program knows version 9"),
        (no_database, "not a database"),
        (a_folder, "unable to open"),
    ],
)
def test_a_file_that_is_no_store_is_left_alone(
    path: Path, make: Callable[[Path], None], message: str
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreUnavailableError, match=message):
        SqliteStore(path)
    assert before == (path.read_bytes() if path.is_file() else None)


def test_a_file_that_somebody_else_writes_to_for_long(path: Path, store: SqliteStore) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        outcomes = store.commit("a", [append(b"x"), append(b"y")], 1000)
        assert outcomes == [StoreFailure("SQLite: database is locked")] * 2
        other.execute("ROLLBACK")
    assert store.commit("a", [append(b"x")], 1000) == [1]


def test_a_full_disk_loses_nothing_that_was_answered(store: SqliteStore) -> None:
    pages = settings_of(store, "page_count")
    assert store.commit("a", [append(b"before")], 1000) == [1]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    failed = store.commit("a", [append(b"z" * 100_000), append(b"y")], 1000)
    assert failed == [StoreFailure("SQLite: database or disk is full")] * 2
    store._db.execute("PRAGMA max_page_count = 1000000")
    assert store.commit("a", [append(b"after")], 1000) == [2]
    step = StreamRead(token=1, session="s", stream=1, after=0, limit=1000)
    (page,) = store.commit("a", [step], 1000)
    assert isinstance(page, LogPage)
    assert page.entries == ((1, b"before"), (2, b"after"))


def test_a_step_that_cannot_be_written_harms_no_other(store: SqliteStore) -> None:
    too_long = 1 << 70
    steps: list[Step] = [
        append(b"x"),
        append(b"y", stream=too_long),
        SessionTouch(token=1, session="\ud800"),
        append(b"z"),
    ]
    first, number, name, last = store.commit("a", steps, 1000)
    assert (first, last) == (1, 2)
    assert isinstance(number, StoreFailure)
    assert isinstance(name, StoreFailure)


def test_what_is_over_leaves_the_file(store: SqliteStore) -> None:
    store.commit("a", [append(b"x" * 1000) for _ in range(100)], 1000)
    store.use_once(b"1", party="ann", until=1600, wall=1000)
    about: dict[str, Any] = {
        "owner": "ann",
        "task": b"x" * 1000,
        "ended": True,
        "expires": 2000.0,
        "new": True,
    }
    assert store.commit("a", [TaskSave(token=1, session="", id="x", **about)], 1000) == [True]
    store.commit("a", [], 1000 + 86400)
    sessions = ("sessions", "streams", "events", "queue", "once", "readers")
    tables = (*sessions, "proofs", "parties", "tasks")
    for table in tables:
        (count,) = store._db.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert count == 0, table
    assert dict(store._db.execute("SELECT name, value FROM facts WHERE name <> 'secret'")) == {
        "bytes": 0,
        "proofs": 0,
        "task bytes": 0,
    }


def test_no_process_is_looked_for_where_that_would_be_a_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[int] = []
    monkeypatch.setattr(os, "kill", lambda process, number: signals.append(number))
    for platform in (sys.platform, "win32"):
        signals.clear()
        monkeypatch.setattr(sys, "platform", platform)
        with closing(SqliteStore(tmp_path / platform)) as store:
            assert store.commit("a", [], 1000) == []
        assert signals == ([] if platform == "win32" else [0])


def test_what_waits_in_queues_takes_no_more_than_all_may(tmp_path: Path) -> None:
    request, notification = b'{"id":1}', b'{"method":"n"}'.ljust(100)
    with closing(SqliteStore(tmp_path / "db", StoreSettings(total_bytes=1000))) as store:
        for name in map(str, range(20)):
            steps = [
                SessionSave(token=1, session=name, record=record(name)),
                QueuePut(token=1, session=name, data=request),
                QueuePut(token=1, session=name, data=notification),
            ]
            assert store.commit("a", steps, 1000) == [None, True, True]
        (size,) = store._db.execute("SELECT value FROM facts WHERE name = 'bytes'").fetchone()
        waiting = store._db.execute("SELECT session, request FROM queue ORDER BY key").fetchall()
    assert 900 < size <= 1000
    assert [session for session, asks in waiting if asks] == list(range(1, 21))
    assert [session for session, asks in waiting if not asks] == list(range(13, 21))


def test_answers_are_kept_though_much_waits_in_queues(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "db", StoreSettings(total_bytes=1000))) as store:
        for name in map(str, range(10)):
            put = QueuePut(token=1, session=name, data=b'{"method":"n"}'.ljust(100))
            store.commit("a", [SessionSave(token=1, session=name, record=record(name)), put], 1000)
        streams = [structs.replace(BEGIN, stream=number) for number in (1, 2, 3)]
        store.commit("a", [SAVE, *streams], 1000)
        for number in (1, 2, 3):
            store.commit("a", [append(b"x" * 90, number)], 1000)
        for number in (1, 2, 3):
            step = StreamRead(token=1, session="s", stream=number, after=0, limit=1000)
            (page,) = store.commit("a", [step], 1000)
            assert isinstance(page, LogPage)
            assert page.entries == ((1, b"x" * 90),)
