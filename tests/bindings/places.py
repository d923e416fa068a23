"""The bindings, each as a row: where the workbench is offered on it, and what it can do.

A server that several tests share runs in a process of its own, one for each event loop; what is in
memory is made for each test.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from msgspec import Struct

from mcpcore.engine.config import Limits
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore_transports.http1.settings import DriverName, ParserName
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.targets import MemoryTarget, StdioTarget, parse_target
from tests.bindings.workbench import make_workbench
from tests.clock import PATIENCE
from tests.forks import launcher

HERE = Path(__file__).parent
LEGACY, MODERN = "2025-11-25", "2026-07-28"
ERAS = (LEGACY, MODERN)
ROOMY = Limits(message_size=32 * 1024 * 1024, in_flight=2000)
"""Limits under which the largest messages of the behaviours pass."""


class Binding(Struct, frozen=True):
    """What tells one binding from the others, as far as behaviours depend on it."""

    name: str
    connected: bool = True
    """One connection carries the conversation, and its end is the end of the conversation; over
    HTTP each request has its own, and in the legacy era the session outlives them."""
    ordered: bool = True
    """What a client says arrives in the order in which it was said; a POST may overtake another."""
    bytes: bool = True
    """There are bytes between the two sides, so that a side can be spoken by hand."""
    half_close: bool = False
    """A client can finish writing and still read its answers."""
    process: bool = False
    """The server is a process that the client starts."""
    until: str = MODERN
    """The last revision that has it."""
    why: str = ""
    """Why there is no later one."""

    def has(self, revision: Revision) -> bool:
        """Whether the binding is there in a revision."""
        return revision.name <= self.until


BINDINGS = {
    row.name: row
    for row in (
        Binding("memory", bytes=False),
        Binding("memory-wire", bytes=False),
        Binding("stdio", half_close=True, process=True),
        Binding("tcp", half_close=True),
        Binding("unix", half_close=True),
        Binding("ws"),
        Binding("http", connected=False, ordered=False),
        Binding("sse", ordered=False, until=LEGACY, why="HTTP+SSE has no modern era"),
    )
}


class HttpWay(Struct, frozen=True):
    """A way in which HTTP is served, other than what ``http`` is on an event loop."""

    driver: DriverName = "auto"
    parser: ParserName = "auto"
    parsed: bool = False
    """The parser reads usual heads, too."""
    backends: tuple[str, ...] = ("asyncio", "trio")
    uvloop: bool = False
    """On that loop of asyncio, of which there is a process of its own."""
    skips: Mapping[str, str] = {}
    """Behaviour to the reason why it is not tried."""


WITHOUT_UVLOOP = "" if find_spec("uvloop") else "uvloop (extra speed) is not installed"
"""Why nothing is tried on it, if nothing is."""
ASGI, WSGI = "asgi", "wsgi"
HTTP_WAYS = {
    "http-h11": HttpWay("asyncio", "h11", parsed=True, backends=("asyncio",)),
    "http-h11-plain": HttpWay("asyncio", "h11", backends=("asyncio",)),
    "http-httptools": HttpWay("asyncio", "httptools", parsed=True, backends=("asyncio",)),
    "http-anyio": HttpWay("anyio", "h11", parsed=True, backends=("asyncio",)),
    "http-anyio-httptools": HttpWay("anyio", "httptools", parsed=True),
    "http-uvloop": HttpWay("asyncio", "httptools", backends=("asyncio",), uvloop=True),
    ASGI: HttpWay(),
    WSGI: HttpWay(
        backends=("asyncio",),
        skips={"a_thousand_in_flight": "Werkzeug's server has a thread for each, for a minute"},
    ),
}
"""They are tried in the long run.  ``http`` itself is on asyncio the driver of asyncio with the
parser that is installed, on trio that on streams of anyio with h11; with uvloop it is the whole of
the extra ``speed``; ASGI is under uvicorn on the one and under hypercorn on the other, WSGI
under Werkzeug's server, in whose thread it has a loop of asyncio of its own."""


class House:
    """The processes that serve the workbench on one event loop, started when first needed."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._room = tempfile.TemporaryDirectory(prefix="mcp-", ignore_cleanup_errors=True)
        self._socket = Path(self._room.name, "zygote")
        self._numbers = count()
        self._processes: dict[subprocess.Popen[str], Path] = {}
        """Each with the file of its standard error."""
        self._zygote: subprocess.Popen[str] | None = None
        self._urls: dict[str, str] = {}

    def target(self, name: str) -> Any:
        """What a client connects to on this binding."""
        if name == "memory":
            return MemoryTarget(make_workbench(), RuntimeSettings(limits=ROOMY))
        if name == "memory-wire":
            return MemoryTarget(make_workbench(), RuntimeSettings(limits=ROOMY), wire=True)
        if name == "stdio":
            if self._zygote is None:
                self._zygote = self._start("zygote.py", str(self._socket))
                assert self._line(self._zygote) == "ready"
            return StdioTarget(launcher(self._socket))
        if name not in self._urls:
            way = HTTP_WAYS.get(name)
            if way is None:
                self._meet(self._start("network.py", str(Path(self._room.name, "unix"))))
            else:
                self._meet(self._start("network_ways.py", "uvloop" if way.uvloop else "usual"))
        return parse_target(self._urls[name])

    def _meet(self, network: "subprocess.Popen[str]") -> None:
        """Hear where a process serves."""
        while (line := self._line(network)) != "ready":
            binding, _, url = line.partition(" ")
            self._urls[binding] = url

    def url(self, name: str) -> str:
        """Where a binding of the network is, in the words of a URL."""
        self.target(name)
        return self._urls[name]

    def zygote(self) -> Path:
        """The socket where servers on pipes are made."""
        self.target("stdio")
        return self._socket

    def servers(self) -> set[str]:
        """The processes that serve on pipes."""
        if self._zygote is None:
            return set()
        pid = self._zygote.pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())

    def _start(self, program: str, *words: str) -> "subprocess.Popen[str]":
        path = Path(self._room.name, f"log {next(self._numbers)}")
        with path.open("w") as log:
            process = subprocess.Popen(
                [sys.executable, str(HERE / program), self.backend, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._processes[process] = path
        return process

    def _line(self, process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, self._end(process, process.wait(PATIENCE))
        return line.strip()

    def _end(self, process: "subprocess.Popen[str]", status: int) -> str:
        """Tell how a process has ended, with the end of its standard error."""
        log = self._processes[process].read_text()
        return f"{process.args!r} ended with status {status}: {log[-8000:]}"

    def close(self) -> None:
        """End the processes: each ends with its standard input."""
        for process in self._processes:
            with process:
                assert process.stdin is not None
                process.stdin.close()
                try:
                    status = process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise
                assert status == 0, self._end(process, status)
        self._room.cleanup()


def revision(name: str) -> Revision:
    """The row of a revision."""
    return BY_NAME[name]
