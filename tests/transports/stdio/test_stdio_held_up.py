"""A stdio server whose handlers hold up its event loop, and clients that go or do not read."""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import termios
from array import array
from collections.abc import Callable

import pytest

from tests.clock import PATIENCE
from tests.transports.stdio.test_stdio_ends import (
    BACKENDS,
    ENDS,
    MOSTLY_ONE,
    PROGRAM,
    Program,
    call,
    closed_output,
    program,
)


def test_what_is_ready_is_sent_before_a_handler_that_holds_up_the_loop() -> None:
    with program("asyncio") as served:
        served.send(call(1), call(2, "occupy"))
        assert served.stderr.readline() == b"held up\n"
        os.set_blocking(served.stdout.fileno(), False)
        assert json.loads(served.stdout.readline())["id"] == 1


@pytest.mark.share(4)
@pytest.mark.requirement("basic/transports/stdio/exit-on-eof")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("end", ENDS)
def test_it_ends_and_sends_what_is_ready(backend: str, end: Callable[[Program], None]) -> None:
    """The last answers, gathered after quick handlers, may be lost, but none between two others."""
    with program(backend) as served:
        served.send(*(call(id, text="x" * 100) for id in range(400)))
        assert [served.answer()["id"] for _ in range(400)] == list(range(400))
        # All of it is read at once.
        served.send(*(call(id) for id in range(400, 500)), call(500, "occupy"))
        assert served.stderr.readline() == b"held up\n"
        end(served)
        rest = b"" if end is closed_output else served.stdout.read()
        served.process.wait(timeout=PATIENCE)
        assert served.process.returncode == 0
        assert served.stderr.read() == b""
    if end is not closed_output:
        answered = [json.loads(line)["id"] for line in rest.splitlines()]
        assert answered == list(range(400, 400 + len(answered)))


@pytest.mark.parametrize("backend", MOSTLY_ONE)
def test_who_asks_and_goes_gets_all_answers(backend: str) -> None:
    """Together they take longer than a single one might."""
    calls = [call(0, "nap"), *(call(id) for id in range(1, 3000))]
    calls += [call(id, "nap") for id in range(3000, 3005)]
    done = subprocess.run(
        [sys.executable, PROGRAM, backend, "0"],
        input=b"".join(calls),
        stdout=subprocess.PIPE,
        timeout=PATIENCE * 2,
        check=True,
    )
    *answers, last = done.stdout.splitlines()
    assert [json.loads(answer)["id"] for answer in answers] == list(range(3005))
    assert last == b"printed after serving"


@pytest.mark.parametrize("backend", MOSTLY_ONE)
def test_who_reads_nothing_and_closes_its_end_is_not_waited_for(backend: str) -> None:
    with program(backend) as served:
        stdin = served.stdin.fileno()
        os.set_blocking(stdin, False)
        room = select.poll()
        room.register(stdin, select.POLLOUT)
        rest = b"".join(call(id, text="x" * 10_000) for id in range(1000))
        while room.poll(1000):  # until the server reads no more
            rest = rest[os.write(stdin, rest) :]
        assert rest
        served.stdin.close()
        served.process.wait(timeout=PATIENCE)
        assert served.process.returncode == 0
        assert served.stderr.read() == b""


@pytest.mark.requirement("basic/transports/stdio/stdout-clean")
@pytest.mark.parametrize("backend", MOSTLY_ONE)
@pytest.mark.parametrize("tool", ["chatter", "chatter_at_last"])
def test_chatter_when_standard_error_has_been_closed(backend: str, tool: str) -> None:
    """Unbuffered, as is usual in containers: what is printed is written at once."""
    with subprocess.Popen(
        [sys.executable, "-u", PROGRAM, backend, "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        served = Program(process, "0")
        served.send(call(1))
        assert served.answer()["id"] == 1
        if tool == "chatter":
            process.stderr.close()
            served.send(call(2, tool))
        else:
            served.send(call(2, tool))
            assert process.stderr.readline() == b"waiting\n"
            process.stderr.close()
        answer = served.answer()
        assert "isError" not in answer["result"]
        assert answer["result"]["content"][0]["text"] == "said"
        served.stdin.close()
        assert process.stdout.read() == b"printed after serving\n"
        process.wait(timeout=PATIENCE)
        assert process.returncode == 0


@pytest.mark.parametrize("backend", MOSTLY_ONE)
@pytest.mark.parametrize("number", [signal.SIGTERM, None])
def test_it_ends_though_nobody_reads_what_it_says(
    backend: str, number: signal.Signals | None
) -> None:
    with program(backend) as served:
        served.send(call(1), call(2, "shout"))
        assert served.answer()["id"] == 1
        said = array("i", [0])
        while said[0] < 60_000:  # until the pipe is full
            fcntl.ioctl(served.stderr, termios.FIONREAD, said)
        if number is None:
            served.stdin.close()
        else:
            served.process.send_signal(number)
        served.process.wait(timeout=PATIENCE)
        assert served.process.returncode == 0
