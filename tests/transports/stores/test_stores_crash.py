"""Processes that share a store and are killed: what was answered stays, and the others notice."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import structs

from mcpcore.errors import StoreUnavailableError
from mcpcore.http.storing import (
    LogPage,
    Post,
    SessionLoad,
    SessionRecord,
    SessionSave,
    StoreFailure,
    StreamAppend,
    StreamBegin,
    StreamRead,
    Wake,
)
from mcpcore_transports.stores.base import LOST, Store, StoreSettings, open_store
from tests.clock import PATIENCE
from tests.transports.redis_server import redis_server
from tests.transports.stores.store_child import ROOMY
from tests.transports.stores.store_stage import decoded, record

ROOT = Path(__file__).parents[3]


@contextmanager
def child(url: str, worker: str, what: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.transports.stores.store_child", url, worker, what],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def answered_until_killed(processes: list[subprocess.Popen[str]], lines: int) -> list[int]:
    """Kill the processes once the first has printed so many lines; return the last each printed."""
    outputs = [process.stdout for process in processes]
    assert outputs[0] is not None
    for _ in range(lines):
        outputs[0].readline()
    for process in processes:
        process.kill()
    last = []
    for process, output in zip(processes, outputs, strict=True):
        assert output is not None
        whole = [line for line in output if line.endswith("\n")]
        process.wait()
        last.append(int(whole[-1]) if whole else 0)
    last[0] = max(last[0], lines)
    return last


def check_kept(store: Store, session: str, answered: int) -> None:
    """Everything up to a position is there, whole and in order."""
    places: list[int] = []
    while True:
        step = StreamRead(token=1, session=session, stream=1, after=len(places), limit=1 << 20)
        (page,) = store.commit("reader", [step], time.time())
        assert isinstance(page, LogPage), page
        if not page.entries:
            break
        for place, data in page.entries:
            places.append(place)
            assert data == b"event %d" % place
    assert places == list(range(1, page.last + 1))
    assert page.last >= answered


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'store.db'}"
    else:
        with redis_server() as server:
            yield server.url


@pytest.mark.share(2)
def test_what_was_answered_survives_killed_processes(url: str) -> None:
    chance = random.Random(7)
    for turn in range(4):
        names = [f"one{turn}", f"two{turn}"]
        with child(url, names[0], "append") as one, child(url, names[1], "append") as two:
            lasts = answered_until_killed([one, two], chance.randrange(1, 900))
        store = open_store(url, ROOMY)
        for name, answered in zip(names, lasts, strict=True):
            if answered:
                check_kept(store, name, answered)
        store.close()


def test_what_redis_has_written_down_survives_its_own_death() -> None:
    chance = random.Random(11)
    with redis_server(append_only=True) as server:
        for turn in range(3):
            name = f"one{turn}"
            with child(server.url, name, "append") as process:
                assert process.stdout is not None
                for _ in range(chance.randrange(1, 500)):
                    process.stdout.readline()
                server.kill()
                (answered,) = answered_until_killed([process], 0)
            server.start()
            store = open_store(server.url, ROOMY)
            check_kept(store, name, answered)
            store.close()


def test_a_killed_worker_is_missed_at_once_on_the_same_machine(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'store.db'}"
    patient = StoreSettings(lease=3600, renew=0)
    store = open_store(url, patient)
    with child(url, "lost", "append") as process:
        answered_until_killed([process], 1)
    end = time.time() + PATIENCE
    page = None
    while time.time() < end and not (isinstance(page, LogPage) and page.orphaned):
        step = StreamRead(token=1, session="lost", stream=1, after=0, limit=1)
        (page,) = store.commit("reader", [step], time.time())
    assert isinstance(page, LogPage)
    assert page.orphaned
    store.close()


def test_processes_pass_notes_on(url: str) -> None:
    store = open_store(url)
    store.receive("parent", 0)
    with child(url, "one", "echo") as one, child(url, "two", "echo") as two:
        for process in (one, two):
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n"
        steps = [
            Post(token=1, session="", to=to, note=b"%d" % number)
            for number, to in enumerate(["one", "two", None, "one"])
        ]
        assert store.commit("parent", steps, time.time()) == [None] * 4
        found: list[bytes] = []
        end = time.monotonic() + PATIENCE
        while len(found) < 5 and time.monotonic() < end:
            found += store.receive("parent", 1)
    assert [note for note in found if note.startswith(b"one")] == [b"one 0", b"one 2", b"one 3"]
    assert [note for note in found if note.startswith(b"two")] == [b"two 1", b"two 2"]
    store.close()


def test_a_lease_ends_by_the_clock_of_redis() -> None:
    # A machine that stands still may let a short one end before it is looked at.
    assert lease_ends(0.3) or lease_ends(6.0)


def lease_ends(seconds: float) -> bool:
    """Check that the lease of a worker that says nothing more ends; False if it had already."""
    settings = StoreSettings(lease=seconds, renew=seconds / 3)
    with redis_server() as server:
        one, other = open_store(server.url, settings), open_store(server.url, settings)
        one.commit(
            "a",
            [
                SessionSave(token=1, session="s", record=record(created=time.time())),
                StreamBegin(token=1, session="s", stream=1, request=b"1"),
            ],
            time.time(),
        )
        step = StreamRead(token=1, session="s", stream=1, after=0, limit=1)
        (page,) = other.commit("b", [step], time.time())
        assert isinstance(page, LogPage)
        if page.orphaned:
            one.close()
            other.close()
            return False
        # worker a says nothing more
        notes = other.receive("b", PATIENCE)
        assert [decoded(note) for note in notes] == [Wake(session="s", stream=1)]
        (page,) = other.commit("b", [step], time.time())
        assert isinstance(page, LogPage)
        assert page.orphaned
        one.close()
        other.close()
    return True


@pytest.mark.parametrize("append_only", [False, True])
def test_redis_goes_away_and_comes_back(append_only: bool) -> None:
    load = SessionLoad(token=1, session="s")
    with redis_server(append_only=append_only) as server:
        store = open_store(server.url)
        secret = store.secret()
        save = SessionSave(token=1, session="s", record=record(created=time.time()))
        begin = StreamBegin(token=1, session="s", stream=1, request=b"1")
        append = StreamAppend(token=1, session="s", stream=1, data=b"x")
        read = StreamRead(token=1, session="s", stream=1, after=1, limit=1)
        assert store.commit("a", [save, begin, append], time.time()) == [None, None, 1]
        store.commit("a", [read], time.time())
        assert store.receive("a", 0) == []
        for _ in range(2):
            server.kill()
            for outcome in store.commit("a", [load, load], time.time()):
                assert isinstance(outcome, StoreFailure)
                assert outcome.reason.startswith("Redis: ")
            with pytest.raises(StoreUnavailableError, match="Redis: "):
                store.receive("a", 5)
            server.start()
            found = store.commit("a", [load], time.time())
            if append_only:
                (kept,) = found
                assert isinstance(kept, SessionRecord)
                assert structs.replace(kept, used=None) == save.record
                assert store.commit("a", [read], time.time()) == [
                    LogPage(last=1, request=b"1", version=1)
                ]
            else:
                assert found == [None]
            # a new process learns the secret of those that were there before
            other = open_store(server.url)
            assert other.secret() == secret
            assert other.commit("b", [Post(token=1, session="", to="a", note=b"n")], 0) == [None]
            assert store.receive("a", PATIENCE) == [LOST, b"n"]
            other.close()
        store.close()
