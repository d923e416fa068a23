"""Stores of tokens: versions, locks, files that nobody else may read, processes that race."""

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from mcpcore.auth.needs import Stored
from mcpcore.errors import AuthorizationError, ExtraMissingError
from mcpcore_transports.auth.file_store import DAMAGED, FileTokens, default_folder
from mcpcore_transports.auth.keyring_store import KeyringTokens
from mcpcore_transports.auth.stores import MemoryTokens, TokenStore
from mcpcore_transports.client.client import Client
from mcpcore_transports.commands.options import ConnectOptions
from mcpcore_transports.commands.output import Failure
from mcpcore_transports.commands.target import converse
from mcpcore_transports.running.functions import let_wait
from mcpcore_transports.targets import parse_target
from tests.clock import PATIENCE, Clock, patience, turns, until
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

ROOT = Path(__file__).parents[3]
ONE, TWO = b'{"token": "one"}', b'{"token": "two"}'


class Ring:
    """A keyring of the system, in memory."""

    def __init__(self) -> None:
        keyring = pytest.importorskip("keyring")
        kept: dict[tuple[str, str], str] = {}

        class Backend(keyring.backend.KeyringBackend):  # type: ignore[misc, name-defined]
            priority = 1
            broken = False
            person: threading.Event | None = None
            asking = answered = 0

            def ask(self) -> None:
                if self.person is not None:
                    self.asking += 1
                    self.person.wait(PATIENCE)
                    self.answered += 1

            def get_password(self, service: str, username: str) -> str | None:
                self.ask()
                if self.broken:
                    raise keyring.errors.KeyringLocked("secret words")
                return kept.get((service, username))

            def set_password(self, service: str, username: str, password: str) -> None:
                if self.broken:
                    raise OSError("secret words")
                kept[service, username] = password

            def delete_password(self, service: str, username: str) -> None:
                del kept[service, username]

        self.kept = kept
        self.backend = Backend()
        keyring.set_keyring(self.backend)


@pytest.fixture
def ring() -> Iterator[Ring]:
    keyring = pytest.importorskip("keyring")
    before = keyring.get_keyring()
    yield Ring()
    keyring.set_keyring(before)


@pytest.fixture(params=["memory", "file", "keyring"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TokenStore:
    if request.param == "memory":
        return MemoryTokens()
    if request.param == "file":
        return FileTokens(tmp_path / "tokens")
    request.getfixturevalue("ring")
    return KeyringTokens(folder=tmp_path / "tokens")


async def test_a_record_is_replaced_by_who_knows_its_version(store: TokenStore) -> None:
    assert await store.load("key") == Stored()
    assert await store.save("key", ONE, 0) == Stored(ONE, 1)
    assert await store.load("key") == Stored(ONE, 1)
    assert await store.save("key", TWO, 0) == Stored(ONE, 1)
    assert await store.save("key", None, 0) == Stored(ONE, 1)  # the loser removes nothing
    assert await store.save("key", TWO, 1) == Stored(TWO, 2)
    assert await store.load("other") == Stored()
    assert await store.save("key", None, 2) == Stored(None, 3)
    assert await store.load("key") == Stored(None, 3)
    assert await store.save("key", ONE, 0) == Stored(None, 3)  # of before it was removed
    assert await store.save("key", ONE, 3) == Stored(ONE, 4)


async def test_a_lock_is_held_by_one_task(store: TokenStore) -> None:
    inside: list[int] = []
    most = 0

    async def work(number: int) -> None:
        nonlocal most
        async with store.lock("key"):
            inside.append(number)
            most = max(most, len(inside))
            await turns(5)
            inside.remove(number)

    with patience():
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(work, number)
    assert most == 1


async def test_a_lock_is_held_by_one_thread(store: TokenStore, anyio_backend_name: str) -> None:
    inside = most = 0

    async def work() -> None:
        nonlocal inside, most
        async with store.lock("key"):
            inside += 1
            most = max(most, inside)
            await anyio.sleep(0.01)
            inside -= 1

    async def run() -> None:
        await let_wait(partial(anyio.run, work, backend=anyio_backend_name))

    with patience():
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(run)
    assert most == 1


async def test_a_lock_is_of_a_key_and_released_by_a_cancellation(store: TokenStore) -> None:
    waiting: list[int] = []

    async def wait() -> None:
        with scope:
            waiting.append(1)
            async with store.lock("key"):
                waiting.append(2)

    scope = anyio.CancelScope()
    async with store.lock("key"):
        with patience():
            async with store.lock("other"):
                pass
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await turns()
                scope.cancel()
    assert waiting == [1]
    with anyio.move_on_after(0):
        async with store.lock("key"):
            await anyio.sleep_forever()
    with patience():
        async with store.lock("key"):
            pass


async def test_who_waits_for_the_lock_of_another_process_says_so_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = FileTokens(tmp_path / "tokens"), FileTokens(tmp_path / "tokens")
    taken = anyio.Event()

    async def take() -> None:
        async with other.lock("key"):
            taken.set()

    async with anyio.create_task_group() as tasks:
        async with one.lock("key"):
            tasks.start_soon(take)
            await turns()
            await clock.skip(2)
            assert caplog.messages == []
            await clock.skip(30)
        await clock.skip(1)
        await taken.wait()
    (message,) = caplog.messages
    assert "it may be asking a person" in message


# Files


def only_file(folder: Path) -> Path:
    (found,) = folder.glob("*.json")
    return found


@pytest.mark.requirement("basic/authorization/security-considerations/token-storage")
async def test_only_the_user_can_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = FileTokens(tmp_path / "a" / "tokens")
        async with store.lock("https://mcp.example/mcp ../../x"):
            await store.save("https://mcp.example/mcp ../../x", ONE, 0)
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    files = list(store.folder.iterdir())
    assert len(files) == 3  # the record, its lock, the lock of writing
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "example" not in file.name


def _link(file: Path) -> None:
    aside = file.parent.parent / "aside"
    file.rename(aside)
    file.symlink_to(aside)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def _foreign(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(file, 12345, 12345)


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "link": (_link, "is a link"),
    "readable": (lambda file: file.chmod(0o644), "others can read"),
    "group": (lambda file: file.chmod(0o640), "others can read"),
    "folder": (_folder, "no file|directory"),
    "pipe": (_pipe, "no file"),
    "foreign": (_foreign, "another user"),
}


@pytest.mark.parametrize("what", SPOILT)
async def test_a_spoilt_file_is_refused(what: str, tmp_path: Path) -> None:
    store = FileTokens(tmp_path / "tokens")
    await store.save("key", ONE, 0)
    spoil, why = SPOILT[what]
    file = only_file(store.folder)
    spoil(file)
    with pytest.raises(AuthorizationError, match=why) as caught:
        await store.load("key")
    assert str(file) in str(caught.value)
    assert "one" not in str(caught.value)
    with pytest.raises(AuthorizationError, match=why):
        await store.save("key", TWO, 1)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-3],
    "huge": lambda data: b" " * (1 << 21),
    "other": lambda data: data.replace(b'"key":"key"', b'"key":"k"'),
    "list": lambda data: b"[]",
}


@pytest.mark.parametrize("what", DAMAGES)
async def test_a_damaged_file_is_replaced_by_the_next_record(what: str, tmp_path: Path) -> None:
    store = FileTokens(tmp_path / "tokens")
    await store.save("key", ONE, 0)
    file = only_file(store.folder)
    file.write_bytes(DAMAGES[what](file.read_bytes()))
    assert await store.load("key") == DAMAGED
    assert await store.save("key", TWO, 7) == DAMAGED
    assert await store.save("key", TWO, DAMAGED.version) == Stored(TWO, 1)
    assert await store.load("key") == Stored(TWO, 1)


@pytest.mark.parametrize("what", [name for name in SPOILT if name != "pipe"] + ["junk"])
async def test_a_spoilt_file_hides_no_other(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileTokens(tmp_path / "tokens")
    await store.save("key", ONE, 0)
    file = only_file(store.folder)
    await store.save("other", TWO, 0)
    if what == "junk":
        file.write_bytes(b"junk")
    else:
        SPOILT[what][0](file)
    found, (wrong,) = await store.entries()
    assert found == {"other": Stored(TWO, 1)}
    assert wrong.startswith(f"{file}: ")
    assert wrong.endswith("remove it")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert wrong in caplog.text


async def test_a_store_that_is_not_there_has_no_records(tmp_path: Path) -> None:
    store = FileTokens(tmp_path / "tokens")
    assert await store.entries() == ({}, [])
    assert list(store.folder.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["write.lock", "key.lock", "folder", "file", "shared"])
async def test_a_spoilt_place_is_refused(name: str, tmp_path: Path) -> None:
    store, aside = FileTokens(tmp_path / "tokens"), tmp_path / "aside"
    if name == "folder":
        aside.mkdir()
        store.folder.symlink_to(aside)
    elif name == "file":
        store.folder.write_text("")
    else:
        async with store.lock("key"):
            pass
        await store.save("other", ONE, 0)
        if name == "shared":
            store.folder.chmod(0o777)
        else:
            (lock,) = (
                file
                for file in store.folder.glob("*.lock")
                if (file.name == "write.lock") is (name == "write.lock")
            )
            lock.unlink()
            lock.symlink_to(aside)
    with pytest.raises(AuthorizationError, match="tokens cannot be kept in"):
        async with store.lock("key"):
            await store.save("key", ONE, 0)
    assert not aside.is_file()
    if name == "shared":
        with pytest.raises(AuthorizationError, match="others can write to it"):
            await store.load("other")
        with pytest.raises(AuthorizationError, match="others can write to it"):
            await store.entries()


async def test_a_place_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some network file systems are."""
    fcntl = pytest.importorskip("fcntl")
    store = FileTokens(tmp_path / "tokens")

    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(AuthorizationError, match=r"cannot be kept in .*lock: No locks available"):
        await store.save("key", ONE, 0)
    with pytest.raises(AuthorizationError, match=r"cannot be kept in .*lock: No locks available"):
        async with store.lock("key"):
            pass


async def test_a_record_is_kept_where_folders_are_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, real = FileTokens(tmp_path / "tokens"), os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    assert await store.save("key", ONE, 0) == Stored(ONE, 1)
    assert await store.load("key") == Stored(ONE, 1)


async def test_a_crash_within_a_write_leaves_the_old_record(tmp_path: Path) -> None:
    store = FileTokens(tmp_path / "tokens")
    await store.save("key", ONE, 0)
    only_file(store.folder).with_suffix(".new").write_bytes(b'{"key": "key", "vers')
    assert await store.load("key") == Stored(ONE, 1)
    assert await store.save("key", TWO, 1) == Stored(TWO, 2)
    assert list(store.folder.glob("*.new")) == []


def test_the_usual_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "mcpcore" / "tokens"
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("", "state"):  # one below the working folder is not valid, says the standard
        monkeypatch.setenv("XDG_STATE_HOME", name)
        assert default_folder() == tmp_path / ".local" / "state" / "mcpcore" / "tokens"
    assert FileTokens().folder == default_folder()


def test_a_user_without_a_folder_has_no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(_: int) -> None:
        raise KeyError

    pwd = pytest.importorskip("pwd")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(AuthorizationError, match="set XDG_STATE_HOME"):
        FileTokens()
    with pytest.raises(Failure, match=r"127\.0\.0\.1:1"):  # nobody needs tokens for this
        converse(parse_target("http://127.0.0.1:1/mcp"), ConnectOptions(), Client.ping)


# Processes


def child(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*PYTHON, "-m", "tests.transports.auth.auth_child", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


async def race(processes: "list[subprocess.Popen[str]]") -> list[str]:
    """Let processes begin together once all are ready; return what each said."""
    said: list[str] = []

    def run() -> None:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said.extend(process.communicate(timeout=PATIENCE)[0] for process in processes)

    with patience():
        await anyio.to_thread.run_sync(run)
    return said


@pytest.mark.parametrize("count", [2, 5])
async def test_processes_take_turns(count: int, tmp_path: Path) -> None:
    folder = str(tmp_path / "tokens")
    processes = [child("count", folder, "4") for _ in range(count)]
    for process in processes:
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    found = await FileTokens(tmp_path / "tokens").load("key")
    assert (json.loads(found.record or b""), found.version) == (4 * count, 4 * count)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
async def test_a_process_that_was_forked_meanwhile_holds_no_lock(tmp_path: Path) -> None:
    store = FileTokens(tmp_path / "tokens", lock_time=1)
    with child("fork", str(store.folder)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "released\n"
        async with store.lock("key"):
            pass


async def test_a_killed_process_leaves_a_whole_record_and_no_lock(tmp_path: Path) -> None:
    store = FileTokens(tmp_path / "tokens")
    for lines in (2, 5):
        with child("write", str(store.folder)) as process:
            assert process.stdout is not None
            for _ in range(lines):
                process.stdout.readline()
            process.kill()
            process.wait()
        found = await store.load("key")
        number, text = json.loads(found.record or b"")
        assert number >= lines
        assert text == "x" * (number % 50) * 1000
        with patience():
            await store.save("key", b"[0, 0]", found.version)


async def test_a_full_disk_leaves_the_old_record(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    store = FileTokens(tmp_path / "tokens")
    await store.save("key", ONE, 0)
    said, _ = child("full", str(store.folder)).communicate(timeout=PATIENCE)
    assert "cannot be kept" in said
    assert await store.load("key") == Stored(ONE, 1)
    assert list(store.folder.glob("*.new")) == []


# The keyring


async def test_a_keyring_that_does_not_open(ring: Ring, tmp_path: Path) -> None:
    store = KeyringTokens(folder=tmp_path)
    ring.backend.broken = True
    with pytest.raises(AuthorizationError, match=r"the keyring cannot be used: \w+$"):
        await store.load("key")
    with pytest.raises(AuthorizationError, match=r"the keyring cannot be used: \w+$"):
        await store.save("key", ONE, 0)


@pytest.mark.parametrize("task", ["load", "save"])
async def test_nobody_who_is_cancelled_waits_for_a_keyring_that_asks(
    task: str, ring: Ring, tmp_path: Path
) -> None:
    store, person = KeyringTokens(folder=tmp_path), threading.Event()
    ring.backend.person = person
    work = partial(store.load, "key") if task == "load" else partial(store.save, "key", ONE, 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await until(lambda: ring.backend.asking)
        tasks.cancel_scope.cancel()
    assert ring.backend.answered == 0
    person.set()
    assert (await store.save("other", ONE, 0)).record == ONE


async def test_a_record_that_is_written_late_replaces_no_newer_one(
    ring: Ring, tmp_path: Path
) -> None:
    store, person = KeyringTokens(folder=tmp_path), threading.Event()
    ring.backend.person, later = person, list[Stored]()

    async def save() -> None:
        later.append(await KeyringTokens(folder=tmp_path).save("key", TWO, 0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.save, "key", ONE, 0)
        await until(lambda: ring.backend.asking)
        tasks.cancel_scope.cancel()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(save)
        await turns()
        person.set()
    assert later == [Stored(ONE, 1)]  # that of the first, which nobody waited for any more
    assert await store.load("key") == Stored(ONE, 1)


async def test_a_damaged_entry_of_the_keyring(ring: Ring, tmp_path: Path) -> None:
    store = KeyringTokens(folder=tmp_path)
    await store.save("key", ONE, 0)
    ring.kept["mcpcore", "key"] = '{"key": "other", "version": 1}'
    assert await store.load("key") == DAMAGED
    assert await store.save("key", TWO, DAMAGED.version) == Stored(TWO, 1)


def test_the_keyring_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ExtraMissingError, match=r"mcpcore\[keyring\]"):
        KeyringTokens()


async def test_the_folder_may_be_a_text(tmp_path: Path) -> None:
    store = FileTokens(str(tmp_path / "tokens"))
    await store.save("key", b"1", 0)
    assert (await FileTokens(tmp_path / "tokens").load("key")).record == b"1"


@pytest.mark.parametrize("kind", [FileTokens, KeyringTokens])
async def test_a_lock_that_is_held_is_waited_for_as_long_as_is_set(
    kind: Any, ring: Ring, tmp_path: Path
) -> None:
    holder, other = FileTokens(tmp_path), kind(folder=tmp_path, lock_time=0.0)
    async with holder.lock("key"):
        with patience(), pytest.raises(AuthorizationError, match="the lock of the tokens for too"):
            async with other.lock("key"):
                pass
    async with other.lock("key"):
        pass


async def test_a_write_waits_for_another_process_as_long_as_is_set_and_can_be_cancelled(
    tmp_path: Path,
) -> None:
    with child("hold", str(tmp_path / "tokens")) as process:
        try:
            assert process.stdout is not None
            assert await anyio.to_thread.run_sync(process.stdout.readline) == "held\n"
            store = FileTokens(tmp_path / "tokens")
            with patience(), anyio.move_on_after(0.1) as scope:
                await store.save("key", ONE, 0)
            assert scope.cancelled_caught
            hasty = FileTokens(tmp_path / "tokens", lock_time=0.0)
            with patience(), pytest.raises(AuthorizationError, match="for too long"):
                await hasty.save("key", ONE, 0)
        finally:
            process.kill()
    with patience():
        assert await store.save("key", ONE, 0) == Stored(ONE, 1)
