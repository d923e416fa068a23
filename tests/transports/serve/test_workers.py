"""`mcpcore serve --workers N`: several processes on one address, watched and ended together."""

import os
import signal
import socket
import sys
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from mcpcore import (
    Callbacks,
    Client,
    ClientSettings,
    HttpClientLinkSettings,
    ServeSettings,
    connect,
)
from mcpcore.errors import CallFailed, WorkersFailed
from mcpcore_transports.commands.options import ServeOptions
from mcpcore_transports.commands.output import Failure
from mcpcore_transports.commands.processes import supervise, without
from mcpcore_transports.link import signal_child
from mcpcore_transports.serve.workers import LIFELINE, Supervisor, WorkersSettings, reserved
from tests.bindings.stories import children
from tests.clock import PATIENCE, patience, until
from tests.ports import free_port
from tests.transports.serving import gone, kill, serving

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT here"),
]


@pytest.fixture
def anyio_backend() -> str:
    """The loop of the tests; the processes are the same whichever it is."""
    return "asyncio"


async def text(client: Client, tool: str, **arguments: object) -> str:
    return (await client.call_tool(tool, arguments)).text


async def pids(url: str, count: int) -> set[int]:
    """Connect until so many processes have answered."""
    found: set[int] = set()
    with patience():
        while len(found) < count:
            async with connect(url, revision="2026-07-28") as client:
                found.add(int(await text(client, "pid")))
    return found


async def listens(port: int) -> bool:
    """Return True if somebody takes connections."""
    try:
        async with await anyio.connect_tcp("127.0.0.1", port):
            return True
    except OSError:
        return False


async def test_workers_share_an_address_and_a_dead_one_is_replaced() -> None:
    async with serving("--http", "127.0.0.1:0", "--workers", "2") as served:
        assert len(served.urls) == 1
        first = await pids(served.url, 2)
        assert served.process.pid not in first
        victim, other = sorted(first)
        kill(victim)
        await served.until("SIGKILL")
        await gone(victim)
        now: set[int] = set()
        with patience():
            while len(now - {victim}) < 2:
                now |= await pids(served.url, 1)
        assert other in now


async def test_a_session_is_everywhere_and_its_answers_find_their_questions() -> None:
    callbacks = Callbacks(elicitation=lambda params: {"name": "Ada"})
    # Connections that are kept may all lead to one process, for good.
    own = ClientSettings(http_link=HttpClientLinkSettings(idle_time=0.0))
    asked: Counter[str] = Counter()
    async with (
        serving("--http", "127.0.0.1:0", "--workers", "2") as served,
        connect(served.url, revision="2025-11-25", callbacks=callbacks, settings=own) as client,
    ):

        async def greet(number: int) -> None:
            said: list[str] = []
            result = await client.call_tool(
                "greet", {"number": number}, progress=lambda *each: said.append(str(each[2]))
            )
            assert result.text == f"Ada {number}"
            pid = said[0].split()[-1]
            assert said == [f"{when} {number} in {pid}" for when in ("before", "after")]
            asked[pid] += 1

        with patience():
            # each answer arrives where the question was asked as often as it does not
            while len(asked) < 2 or min(asked.values()) < 8:
                async with anyio.create_task_group() as group:
                    for number in range(4):
                        group.start_soon(greet, number)
        assert str(served.process.pid) not in asked


async def test_running_requests_end_when_told_to_stop() -> None:
    async with serving("--http", "127.0.0.1:0", "--workers", "2") as served:
        running = await pids(served.url, 2)
        async with connect(served.url, revision="2026-07-28") as client:
            begun = anyio.Event()
            answers: list[str] = []

            async def call() -> None:
                result = await client.call_tool(
                    "wait", {"seconds": 0.5}, progress=lambda *_: begun.set()
                )
                answers.append(result.text)

            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await begun.wait()
                served.process.terminate()
            assert answers == ["waited"]
            assert await served.ended() == 0
            for pid in running:
                await gone(pid)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGKILL, -9)])
async def test_workers_end_with_their_supervisor(number: signal.Signals, status: int) -> None:
    async with serving("--http", "127.0.0.1:0", "--workers", "2") as served:
        running = await pids(served.url, 2)
        served.process.send_signal(number)
        assert await served.ended() == status
        for pid in running:
            await gone(pid)


async def test_a_second_signal_ends_all_at_once_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    words = ("--http", "127.0.0.1:0", "--workers", "2", "--drain", "1000")
    async with serving(*words) as served:
        running = await pids(served.url, 2)
        assert len(os.listdir(tmp_path)) == 1
        async with connect(served.url, revision="2026-07-28") as client:
            begun = anyio.Event()

            async def call() -> None:
                with suppress(CallFailed):
                    await client.call_tool(
                        "wait", {"seconds": 1000.0}, progress=lambda *_: begun.set()
                    )

            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await begun.wait()
                served.process.terminate()
                with patience():
                    while await listens(served.port):  # noqa: ASYNC110 - nothing tells of that
                        await anyio.sleep(0.02)
                served.process.terminate()
                assert await served.ended() == 0
                group.cancel_scope.cancel()
        for pid in running:
            await gone(pid)
    assert os.listdir(tmp_path) == []


@pytest.mark.share(3)
@pytest.mark.parametrize(
    ("words", "app", "message"),
    [
        (["--http", "127.0.0.1:0"], "tests.transports.nowhere:server", "at its start"),
        (["--stdio"], "tests.transports.worker_app:server", "--workers is for --http alone"),
        (["--http", "nonsense"], "tests.transports.worker_app:server", "nonsense"),
        (
            ["--http", "127.0.0.1:0", "--store", "sqlite:a.db?sesions=5"],
            "tests.transports.worker_app:server",
            "has no option sesions",
        ),
        (
            ["--http", "127.0.0.1:0", "--store", "memory:"],
            "tests.transports.worker_app:server",
            "each process would have a store of its own",
        ),
    ],
)
async def test_what_cannot_start_says_why(words: list[str], app: str, message: str) -> None:
    async with serving(*words, "--workers", "2", ready=False, app=app) as served:
        assert await served.ended() != 0
        await served.until(message)


def test_without_a_folder_for_what_they_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(Failure, match="--tmpfs /tmp"):
        supervise((), ServeOptions(http=("127.0.0.1:0",), workers=2), ServeSettings())


async def test_an_address_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with serving("--http", address, "--workers", "2", ready=False) as served:
            assert await served.ended() == 3
            await served.until(f"cannot listen on {address}: address already in use")


async def test_an_address_is_reserved_without_taking_connections() -> None:
    with reserved("127.0.0.1", 0) as port:
        assert port > 0
        with pytest.raises(OSError, match="in use"), reserved("127.0.0.1", port):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    assert os.environ.get("MCPCORE_LIFELINE") is None


def test_an_address_is_reserved_while_connections_of_its_last_server_linger() -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)) as last,
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client,
    ):
        last.accept()[0].close()  # who closes first keeps the connection in TIME_WAIT
        assert client.recv(1) == b""
    with reserved("127.0.0.1", port) as found:
        assert found == port
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", port))
            worker.listen()
            with pytest.raises(OSError, match="in use"), reserved("127.0.0.1", port):
                pass


@pytest.mark.parametrize("given", [True, False])
def test_an_address_that_the_resolver_repeats_is_reserved_once(
    monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **how: 2 * resolve(*where, **how))
    port = free_port() if given else 0
    with reserved("127.0.0.1", port) as found:
        assert found == port or not given


def test_what_fails_while_an_address_is_reserved_is_left_as_it_is() -> None:
    with pytest.raises(FileNotFoundError, match=r"^something else$"), reserved("127.0.0.1", 0):
        raise FileNotFoundError("something else")


async def test_workers_that_fail_together_are_one_failure() -> None:
    supervisor = Supervisor([sys.executable, "-c", "raise SystemExit(7)"], 4)
    with patience(), pytest.raises(WorkersFailed, match="ended with status 7"):
        await supervisor.run()


async def test_a_worker_that_cannot_be_started_is_a_failure() -> None:
    supervisor = Supervisor(["/nowhere/worker"], 2)
    with patience(), pytest.raises(WorkersFailed, match="could not be started: No such"):
        await supervisor.run()


async def test_a_replacement_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    program, away = tmp_path / "worker", tmp_path / "away"
    program.write_text(
        f"#!{sys.executable} -IS\nimport os\nend = int(os.environ[{LIFELINE!r}])\n"
        'os.write(end, b"http://worker/\\n\\n")\nos.read(end, 1)\n'
    )
    program.chmod(0o700)
    said: list[str] = []
    changed = anyio.Event()

    def report(text: str) -> None:
        said.append(text)
        changed.set()

    async def until_said(words: str, times: int) -> list[str]:
        nonlocal changed
        while len(found := [text for text in said if words in text]) < times:
            changed = anyio.Event()
            await changed.wait()
        return found

    settings = WorkersSettings(backoff=0.01, longest_backoff=0.04, steady=60.0)
    supervisor = Supervisor([str(program)], 2, settings=settings, report=report)
    ready = anyio.Event()
    with patience():
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: supervisor.run(ready=lambda urls: ready.set()))
            await ready.wait()
            victim, other = supervisor.pids[1], supervisor.pids[2]
            program.rename(away)
            kill(victim)
            failed = await until_said("could not be started", 4)
            assert supervisor.pids == {2: other}
            assert supervisor.restarts == 0
            away.rename(program)
            await until(lambda: supervisor.restarts != 0)
            assert supervisor.pids.keys() == {1, 2}
            assert supervisor.pids[2] == other
            group.cancel_scope.cancel()
    # The first pause was that after the worker had ended.
    pauses = ["0.02", "0.04", "0.04", "0.04"]
    assert failed[:4] == [
        "worker 1 could not be started: No such file or directory; "
        f"it is started again in {pause} s"
        for pause in pauses
    ]
    assert not supervisor.pids


async def test_whoever_is_cancelled_at_the_start_of_a_worker_leaves_none() -> None:
    before = children()
    command = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
    supervisor = Supervisor(command, 1, settings=WorkersSettings(drain=0.5))
    for turns in range(12):
        async with anyio.create_task_group() as group:
            group.start_soon(supervisor.run)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert children() <= before, f"cancelled after {turns} turns of the loop"
        assert not supervisor.pids


async def test_a_signal_leaves_the_status_of_a_process_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signalled, waitpid = threading.Event(), os.waitpid

    def late(pid: int, options: int) -> tuple[int, int]:
        signalled.wait(PATIENCE)
        return waitpid(pid, options)

    monkeypatch.setattr(os, "waitpid", late)
    process = await anyio.open_process([sys.executable, "-c", "raise SystemExit(3)"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
    signal_child(process, signal.SIGTERM)
    signalled.set()
    assert await process.wait() == 3


def test_words_of_a_command_line_are_taken_out() -> None:
    words = ["serve", "a:b", "--http", "h:1", "--workers=2", "--drain", "3", "--http=h:2"]
    assert without(words, ("--http", "--workers")) == ["serve", "a:b", "--drain", "3"]
