"""Programs that announce their address are started, watched and stopped."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from mcpcore_conformance.launch import LaunchError, serving, serving_at


def program(source: str) -> list[str]:
    return [sys.executable, "-c", f"import os, signal, sys, time\n{source}"]


ANNOUNCE = "print('noise\\nlistening on http://a:1/mcp', file=sys.stderr, flush=True)\n"


def test_yields_the_addresses_and_terminates(tmp_path: Path) -> None:
    mark = tmp_path / "stopped"
    source = f"""
def stop(*_):
    open({str(mark)!r}, "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
{ANNOUNCE}{ANNOUNCE.replace("http", "ws")}
signal.pause()
"""
    with serving(program(source), addresses=2) as urls:
        assert urls == ["http://a:1/mcp", "ws://a:1/mcp"]
        assert not mark.exists()
    assert mark.exists()


def test_kills_what_ignores_the_request_to_stop() -> None:
    source = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(f"listening on {os.getpid()}", file=sys.stderr, flush=True)
while True: signal.pause()
"""
    with serving(program(source), grace=0.1) as (pid,):
        os.kill(int(pid), 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), signal.SIGCONT)


def test_megabytes_on_stderr_do_not_block_it() -> None:
    source = "for _ in range(30000): print('x' * 99, file=sys.stderr)\n"
    with serving(program(source + ANNOUNCE + "signal.pause()")) as urls:
        assert len(urls) == 1


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sys.exit('no such port')", "ended with status 1\n  no such port"),
        (ANNOUNCE + "sys.exit(3)", "ended with status 3"),
        ("signal.pause()", "no address within 0.3 s"),
    ],
)
def test_failure_says_what_the_program_said(source: str, message: str) -> None:
    timeout = 0.3 if "pause" in source else 30.0
    with (
        pytest.raises(LaunchError, match=message),
        serving(program(source), addresses=2, timeout=timeout),
    ):
        pytest.fail("entered")


LISTENS = """
import pathlib, socket
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    pathlib.Path("told").write_text(os.environ["TOLD"])
    while True: server.accept()[0].close()
"""


def test_a_program_at_an_agreed_address_need_not_announce_it(
    tmp_path: Path, free_tcp_port: int
) -> None:
    command = [*program(LISTENS), str(free_tcp_port)]
    env = {**os.environ, "TOLD": "what it needs"}
    with serving_at(command, "127.0.0.1", free_tcp_port, env=env, cwd=tmp_path):
        with socket.create_connection(("127.0.0.1", free_tcp_port)) as connection:
            assert connection.recv(1) == b""
        assert (tmp_path / "told").read_text() == "what it needs"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_tcp_port))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("sys.exit('no such port')", "ended with status 1\n  no such port"),
        ("signal.pause()", "not at 127.0.0.1:[0-9]+ within 0.3 s"),
    ],
)
def test_what_does_not_listen_is_an_error(source: str, message: str, free_tcp_port: int) -> None:
    timeout = 0.3 if "pause" in source else 30.0
    with (
        pytest.raises(LaunchError, match=message),
        serving_at(program(source), "127.0.0.1", free_tcp_port, timeout=timeout),
    ):
        pytest.fail("entered")


def test_an_address_that_another_program_has_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host, port = taken.getsockname()
        with (
            pytest.raises(LaunchError, match=f"another program listens at {host}:{port}"),
            serving_at(program("sys.exit()"), host, port),
        ):
            pytest.fail("entered")
