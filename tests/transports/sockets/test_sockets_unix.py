"""Unix sockets: the file, who may connect, and what a start and an end leave behind."""

import ctypes
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest

from mcpcore import ClientSettings, ServeSettings, SocketSettings, connect, serve
from mcpcore.errors import BadTarget, LinkError
from mcpcore_transports.sockets.unix import (
    LONGEST_PATH,
    Credentials,
    checked_path,
    credentials,
    credentials_bsd,
    listen_unix,
    not_welcome,
)
from mcpcore_transports.targets import UnixTarget, parse_target
from tests.clock import PATIENCE
from tests.transports.malformed import good
from tests.transports.offers import echo
from tests.transports.served import served

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place whose path is short."""
    with TemporaryDirectory(prefix="mcp-") as name:
        yield Path(name)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def make_stale(path: Path) -> int:
    """Leave a socket file behind at which nobody listens; its inode."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    return path.stat().st_ino


def answers(path: Path) -> bool:
    """Whether there is a server, spoken to without our client."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(path))
        sock.sendall(good(1) + b"\n")
        return bool(json.loads(sock.makefile().readline())["id"] == 1)


async def is_served(path: Path) -> bool:
    return await anyio.to_thread.run_sync(answers, path)


@pytest.mark.parametrize("mask", [0, 0o077, 0o777])
@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({}, 0o600),
        ({"users": None}, 0o666),
        ({"users": []}, 0o600),
        ({"users": frozenset()}, 0o600),
        ({"users": range(0)}, 0o600),
        ({"users": (os.geteuid(),)}, 0o600),
        ({"users": (NOBODY,)}, 0o666),
        ({"users": None, "mode": 0o660}, 0o660),
    ],
)
async def test_permissions_do_not_depend_on_the_umask(
    settings: dict[str, Any], mode: int, mask: int, folder: Path
) -> None:
    path = folder / "s"
    with umask(mask):
        made = ServeSettings(socket=SocketSettings(**settings))
        async with served(echo(), unix=str(path), settings=made):
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert os.umask(mask) == mask
            assert await is_served(path)
    assert not path.exists()


async def test_a_stale_file_is_replaced(folder: Path) -> None:
    path = folder / "s"
    stale = make_stale(path)
    keep = os.open(path, os.O_PATH)  # so that its inode is not given to the new one
    async with served(echo(), unix=str(path)):
        assert path.stat().st_ino != stale
        assert await is_served(path)
    os.close(keep)
    assert not path.exists()


async def test_a_server_that_is_alive_keeps_its_file(folder: Path) -> None:
    path = folder / "s"
    async with served(echo(), unix=str(path)):
        identity = path.stat().st_ino
        for _ in range(2):
            with pytest.raises(LinkError, match="another server is listening there"):
                await serve(echo(), unix=str(path))
        assert path.stat().st_ino == identity
        assert await is_served(path)


async def test_a_server_whose_queue_is_full_is_alive(folder: Path) -> None:
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        clients = []
        try:
            while True:
                client = socket.socket(socket.AF_UNIX)
                clients.append(client)
                client.setblocking(False)
                client.connect(str(path))
        except BlockingIOError:
            pass
        with pytest.raises(LinkError, match="another server is listening there"):
            await serve(echo(), unix=str(path))
        for client in clients:
            client.close()
    assert path.exists()


def make_file(path: Path) -> None:
    path.write_text("precious")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_link(path: Path) -> None:
    (path.parent / "precious").write_text("precious")
    path.symlink_to("precious")


def make_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [make_file, make_folder, make_link, make_dangling, make_pipe])
async def test_what_is_no_socket_is_kept(make: Callable[[Path], None], folder: Path) -> None:
    path = folder / "s"
    make(path)
    before = path.lstat()
    with pytest.raises(LinkError, match="no socket"):
        await serve(echo(), unix=str(path))
    assert path.lstat().st_ino == before.st_ino
    assert path.lstat().st_mode == before.st_mode


async def test_a_link_to_a_stale_socket_is_kept(folder: Path) -> None:
    make_stale(folder / "stale")
    (folder / "s").symlink_to("stale")
    with pytest.raises(LinkError, match="no socket"):
        await serve(echo(), unix=str(folder / "s"))
    assert (folder / "stale").exists()


async def test_a_socket_of_another_type_is_kept(folder: Path) -> None:
    path = folder / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(LinkError, match="another server is listening there"):
            await serve(echo(), unix=str(path))
    assert path.exists()


async def test_a_file_that_is_no_longer_ours_is_kept(folder: Path) -> None:
    path = folder / "s"
    async with served(echo(), unix=str(path)):
        path.rename(folder / "moved")
        make_stale(path)
        theirs = path.stat().st_ino
    assert path.stat().st_ino == theirs
    async with served(echo(), unix=str(path)):
        path.unlink()
    assert not path.exists()


async def test_of_servers_that_start_at_once_one_wins(folder: Path) -> None:
    path = folder / "s"
    make_stale(path)
    won, lost = [], []

    async def begin() -> None:
        try:
            won.append(await listen_unix(str(path)))
        except LinkError as error:
            lost.append(str(error))

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(begin)
    [file] = won
    assert len(lost) == 7
    assert all("another server" in text for text in lost)
    file.remove()
    file.listener.close()


@pytest.mark.parametrize(
    ("place", "reason"),
    [("nowhere/s", "no such file or directory"), ("file/s", "not a directory")],
)
async def test_a_place_that_is_none(place: str, reason: str, folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(LinkError, match=reason) as failure:
        await serve(echo(), unix=str(folder / place))
    assert str(folder / place) in str(failure.value)


async def test_relative_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    async with served(echo(), unix="a s%c#?") as state:
        assert state.url == f"unix://{folder}/a%20s%25c%23%3F"
        for target in (state.url, UnixTarget("a s%c#?")):
            async with connect(target) as client:
                assert (await client.call_tool("echo", {"text": "x"})).content


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "needs a path"),
        ("@name", "abstract"),
        ("\0name", "abstract"),
        ("/a\0b", "NUL"),
        ("/tmp/", "directory"),
        ("/" + "x" * LONGEST_PATH, "too long"),
        ("/" + "é" * 60, "has 121 bytes, of which the system takes"),
    ],
)
async def test_paths_that_are_none(path: str, reason: str) -> None:
    with pytest.raises(BadTarget, match=reason):
        await serve(echo(), unix=path)
    with pytest.raises(BadTarget, match=reason):
        await connect(UnixTarget(path)).__aenter__()


async def test_the_longest_path(folder: Path) -> None:
    path = folder / ("x" * (LONGEST_PATH - len(str(folder)) - 1))
    assert checked_path(path) == str(path)
    async with served(echo(), unix=str(path)) as state, connect(state.url) as client:
        assert (await client.call_tool("echo", {"text": "x"})).content


async def test_a_directory_that_somebody_keeps_locked(folder: Path) -> None:
    settings = ServeSettings(socket=SocketSettings(lock_time=0.05))
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with pytest.raises(LinkError, match="its directory has been locked"):
            await serve(echo(), unix=str(folder / "s"), settings=settings)
    finally:
        os.close(held)
    async with served(echo(), unix=str(folder / "s")):
        assert await is_served(folder / "s")


PROGRAM = """
import sys
from tests.transports.offers import echo
from mcpcore_transports.serve.serve import run
run(echo(), unix=sys.argv[1], on_listening=lambda url: print(url, flush=True))
"""


def start(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"unix://{path}\n"
    return process


def end(process: "subprocess.Popen[str]", number: int) -> int:
    with process:
        process.send_signal(number)
        return process.wait(PATIENCE)


def test_signals_remove_the_file_and_kill_leaves_it_to_the_next(folder: Path) -> None:
    path = folder / "s"
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start(path)
        assert answers(path)
        assert end(process, number) == 0
        assert not path.exists()
    assert end(start(path), signal.SIGKILL) == -signal.SIGKILL
    assert path.exists()
    process = start(path)
    assert answers(path)
    assert end(process, signal.SIGTERM) == 0
    assert not path.exists()


ASK = """
import os, socket, sys
os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[2]))
sock = socket.socket(socket.AF_UNIX)
try:
    sock.connect(sys.argv[1])
except PermissionError:
    print("not permitted")
else:
    try:
        sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\\n')
    except OSError:
        pass
    print(sock.makefile().readline().strip())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "not permitted"),
        ({"mode": 0o666}, f"user {NOBODY} is not allowed here"),
        ({"users": (1, 2)}, f"user {NOBODY} is not allowed here"),
        ({"users": (1, NOBODY)}, '"result":{}'),
        ({"users": None}, '"result":{}'),
    ],
)
async def test_other_users(settings: dict[str, Any], said: str, folder: Path) -> None:
    os.chmod(folder, 0o711)
    path = str(folder / "s")
    async with served(echo(), unix=path, settings=ServeSettings(socket=SocketSettings(**settings))):
        done = await anyio.run_process([sys.executable, "-c", ASK, path, str(NOBODY)])
        assert said in done.stdout.decode()


SERVE_AS = """
import os, socket, sys
os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[2]))
sock = socket.socket(socket.AF_UNIX)
sock.bind(sys.argv[1])
sock.listen()
print("ready", flush=True)
peer, _ = sock.accept()
print(len(peer.recv(100)), flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("users", [(), (NOBODY,)])
async def test_a_client_sends_nothing_to_the_server_of_another_user(
    users: tuple[int, ...], folder: Path
) -> None:
    os.chmod(folder, 0o777)
    path = folder / "s"
    with subprocess.Popen(  # noqa: ASYNC220 - it is waited for where it says something
        [sys.executable, "-c", SERVE_AS, str(path), str(NOBODY)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        settings = ClientSettings(socket=SocketSettings(users=users))
        with pytest.raises(Exception, match="closed|reset" if users else "not to be trusted"):
            await connect(UnixTarget(str(path)), settings=settings).__aenter__()
        assert (process.stdout.readline() == "0\n") == (not users)


# Who is at the other end


def test_the_system_says_who_is_there() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = credentials(ours)
        assert found is not None
        assert (found.uid, found.gid, found.pid) == (os.getuid(), os.getgid(), os.getpid())


def test_what_bsd_says() -> None:
    kind = ctypes.CFUNCTYPE(
        ctypes.c_int,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_uint32),
        ctypes.POINTER(ctypes.c_uint32),
    )

    class Library:
        """A C library with getpeereid(3), as the BSDs and macOS have."""

        def __init__(self, status: int) -> None:
            def ask(fd: int, uid: Any, gid: Any) -> int:
                uid[0], gid[0] = 1000 + fd, 2**32 - 2
                return status

            self.getpeereid = kind(ask)

    ours, theirs = socket.socketpair()
    with ours, theirs:
        found = credentials_bsd(ours, Library(0))
        assert found is not None
        assert (found.uid, found.gid, found.pid) == (1000 + ours.fileno(), 2**32 - 2, None)
        with pytest.raises(OSError, match="not connected"):
            credentials_bsd(ours, Library(-1))
        assert credentials_bsd(ours, object()) is None


def test_who_is_welcome() -> None:
    me, other = Credentials(os.geteuid(), 0), Credentials(os.geteuid() + 1, 0)
    assert not_welcome(me, ()) is None
    assert not_welcome(me, (5,)) is None
    assert not_welcome(other, (other.uid,)) is None
    assert not_welcome(other, None) is None
    assert not_welcome(None, None) is None
    assert "not allowed" in (not_welcome(other, ()) or "")
    assert "does not tell" in (not_welcome(None, (5,)) or "")


async def test_clients_that_find_nobody(folder: Path) -> None:
    path = folder / "s"
    with pytest.raises(LinkError, match="no such socket file"):
        await connect(f"unix://{path}").__aenter__()
    make_stale(path)
    with pytest.raises(LinkError, match="connection refused"):
        await connect(f"unix://{path}").__aenter__()
    (folder / "file").touch()
    with pytest.raises(LinkError, match="connection refused"):
        await connect(f"unix://{folder}/file").__aenter__()


@pytest.mark.parametrize(
    "url", ["unix:x", "unix://x/y", "unix:", "unix://", "unix:///a?b", "unix:///a#b"]
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(BadTarget, match=r"three slashes|%3F"):
        parse_target(url)
