"""A program that is forked does what one does that is started, and ends with whom it stands for."""

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence

import pytest

from mcpcore_conformance.run.stages import EVERYTHING_CLIENT
from tests.clock import PATIENCE
from tests.warm import CLIENT, warm_program


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
