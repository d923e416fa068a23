"""The server's side of stdio: over pipes, files and sockets here, and as a real process."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from mcpcore import ConnectionSettings, LinkError
from mcpcore.engine.events import ConnectionEnded, RequestCancelled
from mcpcore_transports.stdio.server import StdioServerLink
from mcpcore_transports.stream.descriptors import (
    DescriptorReader,
    LoopReader,
    ThreadReader,
    WaitReader,
    open_reader,
)
from mcpcore_transports.stream.settings import StdioSettings
from tests.clock import PATIENCE
from tests.transports.apps import ToolServer, make_server
from tests.transports.malformed import good
from tests.transports.sites import call
from tests.transports.wire import Lines

pytestmark = pytest.mark.anyio

CHILD = Path(__file__).with_name("child.py")
BACKENDS = ["asyncio", "trio"]


class Pipe:
    """The far ends of two pipes, as a byte stream."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink = source, sink
        self._open = {source, sink}
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

    def close_input(self) -> None:
        """Read no more."""
        self._close(self.source)

    def close_output(self) -> None:
        """Write no more."""
        self._close(self.sink)

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.remove(fd)
            os.close(fd)

    async def send(self, item: bytes) -> None:
        view = memoryview(item)
        while view:
            await anyio.wait_writable(self.sink)
            view = view[os.write(self.sink, view) :]

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.wait_readable(self.source)
        data = os.read(self.source, max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data


def descriptors() -> set[str]:
    """What is open in this process: number and target."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:
            continue
    return found


def linked(stdin: int, stdout: int, **settings: Any) -> tuple[ToolServer, StdioServerLink]:
    """A server, and its link on these descriptors."""
    app = ToolServer(make_server())
    settings = {"signals": False, **settings}
    app.link = link = StdioServerLink(
        app.peer, app, settings=StdioSettings(**settings), stdin=stdin, stdout=stdout
    )
    return app, link


class Served:
    def __init__(self, app: ToolServer, link: StdioServerLink, pipe: Pipe) -> None:
        self.app, self.link, self.pipe = app, link, pipe
        self.lines = Lines(pipe)


@asynccontextmanager
async def serve(*, redirect: bool = True, **settings: Any) -> AsyncIterator[Served]:
    """Serve on two pipes; afterwards no descriptor may have changed, leaked or lost its flags."""
    stdin, sink = os.pipe()
    source, stdout = os.pipe()
    connection = ConnectionSettings(**settings)
    app, link = linked(stdin, stdout, connection=connection, redirect=redirect)
    pipe = Pipe(source, sink)
    before = descriptors()
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(link.run)
            yield Served(app, link, pipe)
            await link.aclose()
        pipe.close_input()
        pipe.close_output()
        gone = {item for item in before if int(item.split()[0]) in (source, sink)}
        assert descriptors() == before - gone
        assert os.get_blocking(stdin)
        assert os.get_blocking(stdout)
    finally:
        pipe.close_input()
        pipe.close_output()
        os.close(stdin)
        os.close(stdout)


async def test_answers_larger_than_the_pipe_come_whole() -> None:
    async with serve() as served:
        fcntl.fcntl(served.pipe.source, fcntl.F_SETPIPE_SZ, 4096)
        await served.lines.send(call(1, size=1_000_000), call(2))
        assert len(await served.lines.line()) > 1_000_000
        assert (await served.lines.message())["id"] == 2


async def test_closed_output_ends_the_link_quietly() -> None:
    async with serve() as served:
        await served.lines.send(call(1, "hold"))
        await served.app.until(lambda: bool(served.app.held))
        served.pipe.close_input()
        await served.lines.send(call(2))
        await served.app.until(lambda: bool(served.app.of(ConnectionEnded)))
    assert len(served.app.of(RequestCancelled)) == 1
    [ended] = served.app.of(ConnectionEnded)
    assert ended.reason == "the other side no longer reads"


async def test_output_that_is_closed_while_it_is_full_ends_the_link() -> None:
    async with serve() as served:
        await served.lines.send(call(1, size=1_000_000))
        await anyio.wait_all_tasks_blocked()
        served.pipe.close_input()
        await served.app.until(lambda: bool(served.app.of(ConnectionEnded)))
    [ended] = served.app.of(ConnectionEnded)
    assert ended.reason == "the other side no longer reads"


async def test_files_may_stand_in_for_pipes(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"".join(call(id) + b"\n" for id in range(5000)))
    with (tmp_path / "in").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        app, link = linked(stdin.fileno(), stdout.fileno())
        await link.run()
    lines = (tmp_path / "out").read_bytes().splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(5000))
    assert app.ended


async def test_nothing_may_stand_in_for_input() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    app, link = linked(nothing, nothing)
    await link.run()
    os.close(nothing)
    assert app.ended


@pytest.mark.requirement("basic/transports/index/stdio-framing")
async def test_one_socket_may_be_both() -> None:
    near, far = socket.socketpair()
    with near, far:
        _, link = linked(near.fileno(), near.fileno())
        async with anyio.create_task_group() as tasks:
            await tasks.start(link.run)
            far.setblocking(False)
            lines = Lines(Pipe(far.fileno(), far.fileno()))
            await lines.send(call(1))
            assert (await lines.message())["id"] == 1
            far.shutdown(socket.SHUT_WR)
        assert near.getblocking()


async def test_closed_descriptors_are_an_error_in_words() -> None:
    source, sink = os.pipe()
    os.close(sink)
    app, link = linked(source, sink)
    before = descriptors()
    with pytest.raises(LinkError, match="standard input or output cannot be used"):
        await link.run()
    assert descriptors() == before
    assert app.ended
    os.close(source)


@pytest.mark.parametrize("kind", ["chosen", "waiting", "thread"])
async def test_readers_read_and_stop(kind: str, anyio_backend_name: str) -> None:
    source, sink = os.pipe()
    os.set_blocking(source, False)
    readers: dict[str, Callable[[int, int], DescriptorReader]] = {
        "chosen": open_reader,
        "waiting": WaitReader,
        "thread": ThreadReader,
    }
    reader = readers[kind](source, 8)
    if kind == "chosen":
        expected = LoopReader if anyio_backend_name == "asyncio" else WaitReader
        assert type(reader) is expected
    if kind == "thread":
        os.set_blocking(source, True)
    os.write(sink, b"0123456789")
    assert await reader.read() == b"01234567"
    await anyio.wait_all_tasks_blocked()  # nobody reads now: what is there must stay there
    assert await reader.read() == b"89"
    with anyio.move_on_after(0.01) as scope:
        await reader.read()
    assert scope.cancelled_caught
    os.write(sink, b"x")
    if kind != "thread":
        assert await reader.read() == b"x"
    os.close(sink)
    last = await reader.read()
    if kind == "thread" and last == b"x":  # unless the abandoned thread has taken it
        last = await reader.read()
    assert last == b""
    reader.close()
    reader.close()
    os.close(source)


async def test_handlers_that_keep_all_threads_do_not_keep_the_input() -> None:
    source, sink = os.pipe()
    threads = anyio.to_thread.current_default_thread_limiter()
    threads.total_tokens, before = 1, threads.total_tokens
    try:
        async with threads:
            os.write(sink, b"x")
            with anyio.fail_after(PATIENCE):
                assert await ThreadReader(source, 8).read() == b"x"
    finally:
        threads.total_tokens = before
        os.close(source)
        os.close(sink)


@contextmanager
def child(backend: str, *modes: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(CHILD), backend, *modes]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[bytes], *messages: bytes) -> list[dict[str, Any]]:
    """Send messages and read as many lines."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"".join(message + b"\n" for message in messages))
    process.stdin.flush()
    return [json.loads(process.stdout.readline()) for _ in messages]


@pytest.mark.requirement("basic/transports/stdio/stdout-clean")
@pytest.mark.parametrize("backend", BACKENDS)
def test_stray_output_goes_to_standard_error(backend: str) -> None:
    # More than the server reads at once: something is left to be stolen by whoever reads it.
    messages = b"".join(call(id, padding="x" * 1000) + b"\n" for id in range(200))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with child(backend, "chatty", env=env) as process:
        out, err = process.communicate(messages)
    assert process.returncode == 0
    *answers, last = out.splitlines()
    assert [json.loads(answer)["id"] for answer in answers] == list(range(200))
    assert last == b"printed after serving"
    assert b"printed while serving" in err
    assert b"said by a program" in err
    assert b"read '' from standard input" in err


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_whole_conversation_by_redirection(backend: str) -> None:
    with child(backend) as process:
        out, err = process.communicate(b"".join(call(id) + b"\n" for id in range(200)))
    lines = out.splitlines()
    assert [json.loads(line)["id"] for line in lines[:-1]] == list(range(200))
    assert lines[-1] == b"printed after serving"
    assert (process.returncode, err) == (0, b"after serving\n")


@pytest.mark.share(3)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(backend: str, number: int) -> None:
    with child(backend) as process:
        assert process.stdin is not None
        process.stdin.write(call(1, "hold") + b"\n")
        ask(process, good(2))
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (0, b"printed after serving\n", b"after serving\n")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_signal_ends_it_at_once(backend: str) -> None:
    with child(backend, "patient") as process:
        assert process.stdin is not None
        process.stdin.write(call(1, "hold") + b"\n")
        ask(process, good(2))
        process.send_signal(signal.SIGTERM)
        # Draining shows in the refusal of new work.
        while "error" not in ask(process, call(3))[0]:
            pass
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reader_that_leaves_is_no_error(backend: str) -> None:
    with child(backend) as process:
        ask(process, good(1))
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(good(2) + b"\n")
        process.stdin.flush()
        assert process.stderr.read().startswith(b"after serving\n")
        process.wait()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_flags_of_a_shared_terminal_are_restored(backend: str) -> None:
    parent, terminal = os.openpty()
    try:
        command = [sys.executable, str(CHILD), backend]
        with subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=subprocess.PIPE
        ) as process:
            os.write(parent, good(1) + b"\n\x04")  # end of input, as typed
            assert process.stderr is not None
            assert process.stderr.read() == b"after serving\n"
        assert process.returncode == 0
        assert os.get_blocking(terminal)
    finally:
        os.close(parent)
        os.close(terminal)
