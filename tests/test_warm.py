"""A program that is forked does what one does that is started, and ends with whom it stands for."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mcpcore_conformance.run.stages import EVERYTHING_CLIENT
from tests.clock import PATIENCE
from tests.warm import CLIENT, PYTHON, warm_program


@pytest.fixture(scope="module")
def warm() -> Iterator[Sequence[str]]:
    with warm_program(CLIENT) as words:
        yield words


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(PATIENCE)
        yield made


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"http://{host}:{port}/mcp"


def met(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.settimeout(PATIENCE)
    return connection


@pytest.mark.parametrize("words", [[], ["gopher://nowhere"]])
def test_output_and_status_are_those_of_the_program(
    words: Sequence[str], warm: Sequence[str], listener: socket.socket
) -> None:
    words = words or [address(listener)]
    listener.close()  # nobody is there
    forked, started = (
        subprocess.run([*client, *words], capture_output=True, timeout=PATIENCE)
        for client in (warm, EVERYTHING_CLIENT)
    )
    assert forked.returncode == started.returncode == 1
    assert forked.stdout == started.stdout
    ends = [done.stderr.splitlines()[-1] for done in (forked, started)]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("revision", "method"), [("2025-11-25", b"initialize"), ("2026-07-28", b"server/discover")]
)
def test_its_environment_is_that_of_whom_it_stands_for(
    revision: str, method: bytes, warm: Sequence[str], listener: socket.socket
) -> None:
    """... and it ends with it."""
    given = {**os.environ, "MCP_CONFORMANCE_PROTOCOL_VERSION": revision}
    with subprocess.Popen([*warm, address(listener)], env=given) as process, met(listener) as sock:
        said = b""
        while method not in said:
            data = sock.recv(65536)
            assert data, said
            said += data
        process.kill()
        while sock.recv(65536):
            pass


SAYS = "import os, sys; print(__name__, sys.argv, sys.path[0] or os.getcwd(), sys.stdin.read())"
HEEDS = """
import os, signal, sys

def leave(number, frame):
    print(number, flush=True)
    os._exit(number)

signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.usefixtures("warm_programs")
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("-c", SAYS, "a", "-b"), 0),
        (("says.py", "a"), 0),
        (("-m", "says", "a"), 0),
        (("-W", "error", "-c", "import warnings; warnings.warn('so')"), 1),
        (("-c", "raise SystemExit(7)"), 7),
        (("-c", "raise SystemExit('so')"), 1),
        (("-c", "import os; os._exit(5)"), 5),
        (("-c", "1 / 0"), 1),
    ],
)
def test_words_are_those_of_python(words: Sequence[str], status: int, tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text(SAYS)
    forked, started = (
        subprocess.run(
            [*python, *words],
            cwd=tmp_path,
            input="in",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        for python in (PYTHON, (sys.executable,))
    )
    assert forked.returncode == started.returncode == status
    assert forked.stdout == started.stdout
    assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]


@pytest.mark.usefixtures("warm_programs")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_a_program_that_waits(number: signal.Signals) -> None:
    with subprocess.Popen(
        [*PYTHON, "-c", HEEDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"{int(number)}\n"
        assert process.wait(PATIENCE) == number
