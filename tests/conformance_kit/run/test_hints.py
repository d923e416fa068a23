"""Where nothing is heard of a program it is said what happened, and what may help."""

import shlex
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from trustme import CA

from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.run.hints import hint, hint_of_client
from tests.conformance_kit.run.test_run_cli import conformance
from tests.conformance_kit.servers.test_servers_that_are_shut import answering

ONE = ("--revision", "2025-06-18", "--only", "basic/lifecycle", "--timeout", "1")

ANSWERS = """
import json, sys
def answer(line):
    said = json.loads(line)
    if "id" in said:
        print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": {}}))
"""
LATE = "what it wrote came when its input had ended, and not before: it has to flush its output"
PROGRAMS = [
    ("ends", "", "with status 0", "does it need an option for that, such as --stdio"),
    ("fails", "raise OSError('Connection refused')", "with status 1", "it has failed before"),
    ("killed", "import os; os.kill(os.getpid(), 9)", "with status -9", "a signal has ended it"),
    ("quiet", "sys.stdin.read()", "got no answer", "writes nothing to its standard output: is"),
    ("unflushed", "for line in sys.stdin: answer(line)", "got no answer", LATE),
    ("reads all", "for line in [*sys.stdin]: answer(line)", "got no answer", LATE),
]


@pytest.mark.share(6)
@pytest.mark.parametrize(
    ("program", "happened", "helps"), [each[1:] for each in PROGRAMS], ids=[p[0] for p in PROGRAMS]
)
def test_a_server_that_is_not_heard_over_stdio(
    program: str, happened: str, helps: str, tmp_path: Path
) -> None:
    path = tmp_path / "server.py"
    path.write_text(ANSWERS + program)
    done = conformance("server", *ONE, "--", sys.executable, str(path))
    assert done.returncode == 3
    assert f"{happened}" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("  ")
    assert helps in done.stderr.splitlines()[-1]
    assert ("--timeout SECONDS" in done.stderr) == (happened == "got no answer")


@pytest.mark.parametrize("side", ["server", "client"])
@pytest.mark.parametrize(
    ("name", "happened", "helps"),
    [
        ("nothing", "no such file or directory", "is the command spelled right"),
        ("script", "permission denied", "may it be run (chmod +x)"),
        ("odd", "exec format error", "does it need its interpreter"),
    ],
)
def test_a_command_that_cannot_be_started(
    side: str, name: str, happened: str, helps: str, tmp_path: Path
) -> None:
    (tmp_path / "script").write_text("print()")
    (tmp_path / "odd").write_text("print()")
    (tmp_path / "odd").chmod(0o755)
    command = str(tmp_path / name)
    done = conformance(side, *ONE, "--", command)
    assert done.returncode == 3
    assert f"{command} cannot be started: {happened}\n" in done.stderr
    assert helps in done.stderr.splitlines()[-1]


@contextmanager
def listening(tls: CA | None = None) -> Iterator[int]:
    """A port that takes connections, does a handshake of TLS if it can, and says nothing."""
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    taken.append(connection)
                    if context is not None:
                        taken.append(context.wrap_socket(connection, server_side=True))
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in taken:
                each.close()


@pytest.mark.parametrize("scheme", ["http", "ws", "tcp"])
def test_nobody_is_there(scheme: str, free_tcp_port: int) -> None:
    done = conformance("server", *ONE, f"{scheme}://127.0.0.1:{free_tcp_port}/")
    assert "connection refused" in done.stderr
    assert "nobody listens there: does the server run" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_the_host_has_no_such_name(scheme: str) -> None:
    done = conformance("server", *ONE, f"{scheme}://nobody.invalid/mcp")
    assert done.returncode == 3
    assert "is the name of the host right?" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("scheme", ["https", "wss", "tls"])
def test_the_certificate_is_of_somebody_unknown(scheme: str) -> None:
    with listening(CA()) as port:
        done = conformance("server", *ONE, f"{scheme}://127.0.0.1:{port}/")
    assert "its certificate is not trusted: " in done.stderr
    assert "--cacert FILE" in done.stderr.splitlines()[-1]


def test_there_is_no_tls() -> None:
    with answering(200, b"") as place:
        done = conformance("server", *ONE, f"https://{place}/mcp")
    assert "no TLS: " in done.stderr
    assert "http:// in the place of https://" in done.stderr.splitlines()[-1]


def test_it_takes_connections_and_says_nothing() -> None:
    with listening() as port:
        done = conformance("server", *ONE, f"tcp://127.0.0.1:{port}")
    assert "it takes connections and says nothing" in done.stderr.splitlines()[-1]


def test_a_page_is_told_by_its_type() -> None:
    with answering(200, b"<html>hello</html>") as place:
        done = conformance("server", *ONE, f"http://{place}/mcp")
        piped = conformance("server", *ONE, f"sse+http://{place}/sse")
    assert "got HTTP status 200 with text/html, and without a message" in done.stdout
    assert "that is no event stream of HTTP+SSE" in piped.stderr.splitlines()[-1]


CLIENTS = [
    ("quiet", "import time; time.sleep(60)", "as its last argument, and was not heard there"),
    ("ends", "", "it is to connect to the server whose address is its last argument"),
    ("fails", "raise SystemExit(3)", "it has failed before it connected"),
    (
        "odd",
        "import sys, urllib.request as r; r.urlopen(sys.argv[-1], timeout=9)",
        "its first message was neither initialize nor",
    ),
]


@pytest.mark.share(4)
@pytest.mark.parametrize(
    ("program", "helps"), [each[1:] for each in CLIENTS], ids=[each[0] for each in CLIENTS]
)
def test_a_client_that_is_not_heard(program: str, helps: str) -> None:
    done = conformance(*("client", *ONE[:-1], "0.5", "--", sys.executable, "-c", program))
    assert done.returncode == 3, done.stdout
    assert helps in done.stderr.splitlines()[-1], shlex.join(done.args)


def test_what_a_program_says_is_not_taken_for_what_happened() -> None:
    said = ["initialize got no answer", "standard error: connection refused"]
    assert "flush" in hint(Binding.STDIO, said, silent=True)
    assert hint(Binding.STDIO, said, silent=False) == ""
    assert hint_of_client(["something else"]) == ""
