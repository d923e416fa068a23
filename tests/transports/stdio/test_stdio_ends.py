"""A program that serves stdio ends promptly, in good order, and takes everything along."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpcore_transports.stdio.server import ProgramExit
from tests.clock import PATIENCE
from tests.transports.malformed import META, request
from tests.transports.remains import new_token, wait_gone, wait_held

PROGRAM = str(Path(__file__).with_name("tool_program.py"))
BACKENDS = ["asyncio", "trio"]
MOSTLY_ONE = ["asyncio", pytest.param("trio", marks=pytest.mark.long)]
"""Where the event loop makes little difference."""


def call(id: Any, name: str = "echo", **arguments: Any) -> bytes:
    message = request("tools/call", {"name": name, "arguments": arguments, "_meta": META}, id=id)
    return message + b"\n"


class Program:
    """The program, spoken to over pipes."""

    def __init__(self, process: subprocess.Popen[bytes], token: str) -> None:
        self.process = process
        self.token = token
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    def send(self, *messages: bytes) -> None:
        self.stdin.write(b"".join(messages))
        self.stdin.flush()

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.stdout.readline())
        return answer


@contextmanager
def program(backend: str, **options: Any) -> Iterator[Program]:
    token = new_token()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, PROGRAM, backend, token],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        **options,
    ) as process:
        try:
            yield Program(process, token)
        finally:
            process.kill()


def end_of_input(served: Program) -> None:
    served.stdin.close()


def closed_output(served: Program) -> None:
    served.stdout.close()


def terminated(served: Program) -> None:
    served.process.send_signal(signal.SIGTERM)


def interrupted(served: Program) -> None:
    served.process.send_signal(signal.SIGINT)


ENDS = [end_of_input, closed_output, terminated, interrupted]
BUSY = ["", "wait", "deaf", "block", "children"]


def check_end(backend: str, end: Callable[[Program], None], busy: str) -> None:
    """Check that a program that is busy ends, and all with it."""
    with program(backend) as served:
        if busy:
            served.send(call(1, busy))
        # What was answered before, and more than is written at once.
        served.send(*(call(id, text="x" * 100) for id in range(2, 300)))
        served.answer()
        if busy == "children":
            assert served.stderr.readline() == b"started\n"
            wait_held(served.token, 4)  # with the program itself
        end(served)
        rest = b"" if end is closed_output else served.stdout.read()
        served.process.wait(timeout=PATIENCE)
        assert served.process.returncode == 0
        assert wait_gone(served.token, timeout=0.0) == {}
        assert served.stderr.read() == b""
        if end is not closed_output:
            *answers, last = rest.splitlines()
            found = {json.loads(line)["id"] for line in answers}
            assert last == b"printed after serving" or busy == "deaf"
            missing = set(range(3, 300)) - found - {1}
            assert missing == set() or (busy == "deaf" and missing == {299})


@pytest.mark.share(4)
@pytest.mark.requirement("basic/transports/stdio/exit-on-eof")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("end", ENDS)
def test_it_ends_with_all_that_was_started(backend: str, end: Callable[[Program], None]) -> None:
    check_end(backend, end, "children")


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("busy", BUSY)
def test_it_ends_whatever_it_is_busy_with(
    backend: str, end: Callable[[Program], None], busy: str
) -> None:
    check_end(backend, end, busy)


@pytest.mark.parametrize("backend", MOSTLY_ONE)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_though_its_event_loop_is_held_up(
    backend: str, number: signal.Signals
) -> None:
    with program(backend) as served:
        served.send(call(1), call(2, "hold_up"))
        assert served.answer()["id"] == 1
        assert served.stderr.readline() == b"held up\n"
        served.process.send_signal(number)
        served.process.wait(timeout=PATIENCE)
    assert served.process.returncode == 0


def _wakeup() -> int:
    """Return the descriptor that the interpreter writes to when a signal comes; -1: none."""
    found = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(found)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_signal_just_before_the_loop_waits_ends_the_wait(backend: str) -> None:
    async def hear(signals: AsyncIterator[object] | None) -> None:
        assert signals is not None

        async def first() -> None:
            await anext(signals)

        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await anyio.wait_all_tasks_blocked()
            assert _wakeup() != -1
            signal.raise_signal(signal.SIGTERM)

    with ProgramExit(None, end_children=False).signals(0) as signals:
        anyio.run(hear, signals, backend=backend)
    assert _wakeup() == -1


@pytest.mark.parametrize("backend", MOSTLY_ONE)
def test_nobody_reads_anything_of_it(backend: str) -> None:
    """What it has printed can go nowhere, and that is no error at its exit."""
    with program(backend) as served:
        served.send(call(1, "chatter"))
        assert served.answer()["id"] == 1
        served.stderr.close()
        served.stdout.close()
        served.process.wait(timeout=PATIENCE)
    assert served.process.returncode == 0


@pytest.mark.parametrize("backend", MOSTLY_ONE)
def test_sockets_as_standard_streams(backend: str) -> None:
    """As some clients start their servers: a closed socket is noticed like a closed pipe."""
    stdin, their_stdin = socket.socketpair()
    stdout, their_stdout = socket.socketpair()
    with (
        stdin,
        stdout,
        their_stdin,
        their_stdout,
        subprocess.Popen(
            [sys.executable, PROGRAM, backend, "0"],
            stdin=their_stdin.fileno(),
            stdout=their_stdout.fileno(),
        ) as process,
    ):
        their_stdin.close()
        their_stdout.close()
        stdin.sendall(call(1))
        with stdout.makefile("rb") as lines:
            assert json.loads(lines.readline())["id"] == 1
        stdout.close()
        process.wait(timeout=PATIENCE)
    assert process.returncode == 0


@pytest.mark.requirement("basic/transports/stdio/stdout-clean")
@pytest.mark.parametrize("backend", MOSTLY_ONE)
@pytest.mark.parametrize("closed", [False, True])
def test_chatter_without_standard_error(backend: str, closed: bool) -> None:
    """Standard error may be closed from the start, and its number anybody's."""
    redirection = "2>&-" if closed else "2>/dev/null"
    command = f'exec "$0" "$1" "$2" 0 {redirection}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, PROGRAM, backend],
        input=call(1, "chatter") + call(2),
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
        check=True,
    )
    first, second, last = done.stdout.splitlines()
    assert [json.loads(first)["id"], json.loads(second)["id"]] == [1, 2]
    assert b"isError" not in first
    assert last == b"printed after serving"


@pytest.mark.parametrize("backend", MOSTLY_ONE)
@pytest.mark.parametrize("redirection", ["<&-", ">&-"])
def test_closed_standard_streams_are_refused(backend: str, redirection: str) -> None:
    """Their numbers may be those of the event loop's own descriptors by now."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$1" "$2" 0 {redirection}', sys.executable, PROGRAM, backend],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert b"LinkError: standard input or output cannot be used: it is closed" in done.stderr


@pytest.mark.parametrize("backend", MOSTLY_ONE)
def test_files_and_devices(backend: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"".join(call(id) for id in range(100)))
    with (tmp_path / "in").open("rb") as stdin, (tmp_path / "out").open("wb") as stdout:
        command = [sys.executable, PROGRAM, backend, "0"]
        subprocess.run(command, stdin=stdin, stdout=stdout, timeout=PATIENCE, check=True)
    *answers, _ = (tmp_path / "out").read_bytes().splitlines()
    assert [json.loads(answer)["id"] for answer in answers] == list(range(100))
    with Path("/dev/null").open("r+b") as nothing, Path("/dev/full").open("wb") as full:
        subprocess.run(command, stdin=nothing, stdout=nothing, timeout=PATIENCE, check=True)
        with (tmp_path / "in").open("rb") as stdin:
            done = subprocess.run(
                command,
                stdin=stdin,
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=PATIENCE,
                check=True,
            )
    assert done.stderr == b""
