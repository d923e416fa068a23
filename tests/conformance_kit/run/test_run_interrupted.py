"""Ctrl-C in the middle of a run: it ends with what it has, and leaves no process.

All that the kit waits for is given ten minutes here: who waits for it is too late.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.clock import PATIENCE

ROOT = Path(__file__).parents[3]
RUN = (sys.executable, "-m", "mcpcore_transports.commands.main", "conformance")
CASES = ("--only", "basic/lifecycle/version-negotiation", "--only", "basic/index/requests")
LONG = ("--revision", "2025-06-18", "--timeout", "600", "--jobs", "1")

SIGNALS = pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)],
    ids=["SIGINT", "SIGINT as of a terminal", "SIGTERM"],
)


def started(side: str, report: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*RUN, side, *CASES, *LONG, "--report", f"json:{report}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"},
        start_new_session=True,
    )


def interrupt(process: subprocess.Popen[str], number: signal.Signals, *, to_all: bool) -> None:
    if to_all:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)


def ended(process: subprocess.Popen[str], report: Path) -> set[str]:
    """Wait for the end of a run that was interrupted; returns the verdicts of what was played."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    rows = json.loads(report.read_text())
    details = {row["detail"] for row in rows if row["verdict"] == "not played"}
    assert details == {"the run was interrupted"}
    assert re.search(r"; \d+ not played: the run was interrupted, in ", out)
    return {row["verdict"] for row in rows} - {"not played"}


@contextmanager
def alive(path: Path) -> Iterator[int]:
    """A FIFO; its end is heard when the last process is over that has opened it to write."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield reader
    finally:
        os.close(reader)


def heard(reader: int) -> bytes:
    """What comes next out of a FIFO; empty: its end."""
    ready, _, _ = select.select([reader], [], [], PATIENCE)
    assert ready, "nothing came"
    return os.read(reader, 4096)


# Servers


class Mute(ThreadingHTTPServer):
    """Takes handshakes, all as those of 2025-06-18, and any request; but no ping with an id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MuteHandler)
        self.asked = threading.Event()
        """Whether there was a ping, which is not answered."""
        self.over = threading.Event()


class MuteHandler(BaseHTTPRequestHandler):
    """One connection to it."""

    protocol_version = "HTTP/1.1"
    server: Mute

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        said: Any = json.loads(body)
        if said.get("method") == "initialize":
            info = {"name": "mute", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": info}
            self.reply(200, {"jsonrpc": "2.0", "id": said["id"], "result": result})
        elif said.get("method") == "ping" and said.get("id") is not None:
            self.server.asked.set()
            self.server.over.wait()
        elif "id" in said:
            self.reply(200, {"jsonrpc": "2.0", "id": said["id"], "result": {}})
        else:
            self.reply(202, None)

    def do_DELETE(self) -> None:
        self.reply(200, None)

    def reply(self, status: int, value: Any) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("mcp-session-id", "only-one")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.share(3)
@SIGNALS
def test_a_server_at_a_url(number: signal.Signals, to_all: bool, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    with Mute() as mute:
        threading.Thread(target=mute.serve_forever, daemon=True).start()
        process = started("server", report, f"http://127.0.0.1:{mute.server_port}/mcp")
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("looking at ")
            first = process.stderr.readline()
            assert mute.asked.wait(PATIENCE)
            interrupt(process, number, to_all=to_all)
            assert ended(process, report), first
        finally:
            process.kill()
            process.communicate()
            mute.over.set()
            mute.shutdown()


CLIENT = """
import os, signal, shlex, subprocess, sys, time

starts, fifo, *rest = sys.argv[1:]
with open(starts, "a") as file:
    file.write("one more\\n")
    number = file.tell() // len("one more\\n")
if number <= 2:
    os.execv(sys.executable, [sys.executable, "-m", "mcpcore_conformance.everything.client", *rest])
for each in (signal.SIGINT, signal.SIGTERM):
    signal.signal(each, signal.SIG_IGN)
writer = os.open(fifo, os.O_WRONLY)
if rest[-1].startswith("stdio:"):
    words = shlex.split(rest[-1].removeprefix("stdio:"))
    subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[writer])
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[writer])
os.write(writer, b"hangs")
time.sleep(600)
"""
"""Plays as it should when the kit looks at it and in the first case, and hangs in the second."""


@pytest.mark.share(3)
@SIGNALS
@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_a_client(transport: str, number: signal.Signals, to_all: bool, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    (tmp_path / "client.py").write_text(CLIENT)
    words = [sys.executable, str(tmp_path / "client.py"), f"{tmp_path}/starts", f"{tmp_path}/fifo"]
    with alive(tmp_path / "fifo") as reader:
        writer = os.open(tmp_path / "fifo", os.O_WRONLY)
        process = started("client", report, "--transport", transport, "--", *words)
        try:
            assert heard(reader) == b"hangs"
            os.close(writer)
            interrupt(process, number, to_all=to_all)
            assert ended(process, report) == {"passed"}
            assert heard(reader) == b"", "a process is left"
        finally:
            process.kill()
            process.communicate()
