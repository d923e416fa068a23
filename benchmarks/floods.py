"""Floods against a server of ours: what they cost it, and how an honest client fares beside them.

``python -m benchmarks floods [--scale 0.1]`` starts a server as a process for each flood, twice:
once stopping short of the limit that it is about, once going over it.  Memory is the resident set
as the operating system counts it.
"""

import json
import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from statistics import quantiles
from typing import Any

from msgspec import Struct
from rich.console import Console
from rich.table import Table

from benchmarks.measure import OURS, ROOT

SPARE = 200
"""Descriptors of a process that are not for connections."""
HEALTHY_CALLS = 400
PIPELINE = 50
TARGETS = {"idle connections": 12.0, "calls": 8.0, "sessions": 4.0}
"""Kilobytes each, at most."""
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
HELD = {
    "connections": 100_000,
    "connections_per_client": 100_000,
    "idle_time": 600.0,
    "head_time": 600.0,
}


def most_connections() -> int:
    """How many connections a process can hold, its limit raised as far as it goes."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - SPARE


# Requests, as bytes


def post(body: Mapping[str, Any], **headers: str) -> bytes:
    """A POST of a JSON-RPC message."""
    data = json.dumps(body).encode()
    lines = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Content-Length": str(len(data)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + data


def modern(method: str, **params: Any) -> bytes:
    """A request of 2026-07-28."""
    meta = {**META, **params.pop("meta", {})}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    named = {"Mcp_Name": params["name"]} if "name" in params else {}
    return post(body, MCP_Protocol_Version=MODERN, Mcp_Method=method, **named)


def call(name: str, **meta: Any) -> bytes:
    """A call of a tool."""
    return modern("tools/call", name=name, arguments={}, meta=meta)


def delete(session: str) -> bytes:
    """The end of a session."""
    return f"DELETE /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: {session}\r\n\r\n".encode()


INITIALIZE = post(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "flood", "version": "1"},
        },
    }
)
QUICK = call("quick")
LISTEN = modern("subscriptions/listen", notifications={"toolsListChanged": True})
POUR = call("pour", **{"io.modelcontextprotocol/logLevel": "debug"})


class Victim:
    """A server in a process of its own."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        command = [OURS, "-m", "benchmarks.flood_server", json.dumps(settings)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise SystemExit(f"the server did not start: {line!r}")
        self.port = int(line.split()[-1])

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    @property
    def memory(self) -> float:
        """Resident, in kilobytes."""
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1000

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def busy_share(self, seconds: float) -> float:
        """The share of a CPU that it uses just now."""
        before = self.cpu
        time.sleep(seconds)
        return (self.cpu - before) / seconds

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@contextmanager
def victim(settings: Mapping[str, Any]) -> Iterator[Victim]:
    """Have a server for as long as the context lasts."""
    server = Victim(settings)
    try:
        yield server
    finally:
        server.close()


def answer(connection: socket.socket) -> bytes:
    """Read one response with a Content-Length; b"" if the server closes instead."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return data
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        while len(body) < length:
            body += connection.recv(65536)
    except (ConnectionError, TimeoutError):
        return data
    return head + b"\r\n\r\n" + body


def is_ok(response: bytes) -> bool:
    """Whether a response is a success."""
    return response.startswith(b"HTTP/1.1 200 ")


def blocks_in_use(server: Victim) -> int:
    """How much the server has in use, in blocks."""
    with server.connect() as connection:
        connection.sendall(call("in_use"))
        body = answer(connection).partition(b"\r\n\r\n")[2]
    return int(json.loads(body)["result"]["content"][0]["text"])


class Healthy:
    """An honest client: one call after the other, on a connection that it has had before."""

    def __init__(self, server: Victim) -> None:
        self.connection = server.connect()
        self.failures = 0
        self.times: list[float] = []

    def run(self, calls: int = HEALTHY_CALLS) -> None:
        """Make so many calls, and keep how long each took, in milliseconds."""
        for _ in range(calls):
            began = time.perf_counter()
            self.connection.sendall(QUICK)
            response = answer(self.connection)
            self.times.append((time.perf_counter() - began) * 1000)
            self.failures += not is_ok(response)

    def percentile(self, share: int) -> float:
        """For instance 99: how long all but one of a hundred took at most."""
        return quantiles(self.times, n=100, method="inclusive")[share - 1]


class Figures(Struct, kw_only=True):
    """What a flood did.  Memory in kilobytes, times in milliseconds."""

    flood: str
    count: int
    over: bool
    held: int
    """How many of what was asked for are held by the server at last."""
    refused: int
    """How many of them it refused, as too many."""
    each: float
    """Memory of one that is held."""
    healthy_p50: float
    healthy_p99: float
    healthy_failures: int
    memory_before: float
    memory_held: float
    memory_after: float
    blocks: float
    """Blocks of memory in use after all have gone, by those before.  The process itself may stay
    larger: what its allocators have once had they keep for the next flood."""
    cpu_held: float
    """Share of a CPU while the flood is held."""
    cpu_after: float


Attack = tuple[list[socket.socket], int, int]
"""Connections to be held, how many the server has taken, and how many it has refused."""


class Flood(Struct, frozen=True):
    """One kind of flood: the limit it is about, and what it sends."""

    name: str
    count: int
    settings: Callable[[int, bool], dict[str, Any]]
    """From how many there will be, and whether too many, to what differs from the defaults."""
    attack: Callable[[Victim, int, bool], "Attack"]
    """Goes over the limit if so asked."""
    base: Callable[[Victim, int], list[socket.socket]] | None = None
    """What is there before, and does not count."""
    connections: bool = True
    """Each takes a connection."""
    gone_after: float = 3.0
    """Seconds after which nothing of it is left, once its clients have left."""


def _connections(server: Victim, count: int, request: bytes) -> Attack:
    """Open connections with one request each."""
    held: list[socket.socket] = []
    refused = 0
    for _ in range(count):
        connection = server.connect()
        try:
            connection.sendall(request)
            taken = is_ok(connection.recv(65536))
        except ConnectionError:
            taken = False
        if taken:
            held.append(connection)
        else:
            refused += 1
            connection.close()
    return held, len(held), refused


def _idle(server: Victim, count: int, over: bool) -> Attack:
    return _connections(server, count, QUICK)


def _listening(server: Victim, count: int, over: bool) -> Attack:
    return _connections(server, count, LISTEN)


def _unread(server: Victim, count: int, over: bool) -> Attack:
    """All that is asked for is taken; those who do not read are closed when it is too much."""
    held: list[socket.socket] = []
    for _ in range(count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(POUR)
        held.append(connection)
    time.sleep(12)  # until all of them have more to read than anybody holds for them
    return held, 0 if over else count, count if over else 0


def _initialize(server: Victim, count: int, over: bool) -> Attack:
    """No one is refused: others end instead."""
    connection = server.connect()
    for start in range(0, count, PIPELINE):
        many = min(PIPELINE, count - start)
        connection.sendall(INITIALIZE * many)
        data = b""
        while data.count(b'"jsonrpc"') < many:
            data += connection.recv(1 << 20)
        assert data.count(b"HTTP/1.1 200 ") == many
    return [connection], min(count, _most_sessions(count, over)), 0


def _most_sessions(count: int, over: bool) -> int:
    return max(count // 10, 1) if over else count


def _base(server: Victim, count: int) -> list[socket.socket]:
    return _connections(server, count, QUICK)[0]


def _slow(server: Victim, count: int, over: bool) -> Attack:
    """Short of the limit as modern clients, over it in sessions that have more than their share."""
    connections = _based.pop(server.port)
    request = call("slow")
    for number, connection in enumerate(connections):
        if over:
            if number % min(SESSION, count) == 0:
                connection.sendall(INITIALIZE)
                head = answer(connection).partition(b"\r\n\r\n")[0]
                session = head.partition(b"mcp-session-id: ")[2].partition(b"\r\n")[0].decode()
            params = {"name": "slow", "arguments": {}}
            body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
            request = post(body, Mcp_Session_Id=session)
            _opened.add(session)
        connection.sendall(request)
    time.sleep(2 + count / 500)  # the server has to read them all, and to begin their streams
    refused = 0
    for connection in connections:
        connection.setblocking(False)
        with suppress(BlockingIOError):
            refused += b'"code":-32000' in connection.recv(65536)
    return connections, len(connections) - refused, refused


UNUSED = 10.0
"""What the sessions of the flood have, in seconds; a minute is the default."""
SESSION = 1_000
"""Calls of one session at most; a tenth of them is too much."""
_based: dict[int, list[socket.socket]] = {}
_opened: set[str] = set()
"""Sessions whose calls go on when their clients leave, until they are deleted."""

FLOODS = {
    flood.name: flood
    for flood in (
        Flood(
            "idle connections",
            10_000,
            lambda count, over: {"link": {"connections": count * 9 // 10 if over else count + 9}},
            _idle,
        ),
        Flood(
            "event streams",
            5_000,
            lambda count, over: {"link": {"connections": count * 9 // 10 if over else count + 9}},
            _listening,
        ),
        Flood(
            "unread streams",
            500,
            lambda count, over: {
                "http": {"max_queued": 128 * 1024},
                "queued": 128 * 1024,
                "link": {"write_time": 4.0 if over else 60.0},
            },
            _unread,
        ),
        Flood(
            "sessions",
            100_000,
            lambda count, over: {
                "http": {
                    "max_sessions": _most_sessions(count, over),
                    "sessions_per_client": count,
                    "session_unused": UNUSED,
                }
            },
            _initialize,
            connections=False,
            gone_after=UNUSED + 3.0,
        ),
        Flood(
            "calls",
            10_000,
            lambda count, over: {"in_flight": min(SESSION, count) * 9 // 10},
            _slow,
            _base,
        ),
    )
}


def run(name: str, count: int, *, over: bool) -> Figures:
    """Run one flood: short of its limit, or over it."""
    flood = FLOODS[name]
    if flood.connections:
        count = min(count, most_connections())
    elif not over:
        count = count // 10  # as many as there may be
    settings = flood.settings(count, over)
    settings["link"] = {**HELD, **settings.get("link", {})}
    with victim(settings) as server:
        warm = Healthy(server)
        warm.run(200)
        blocks = blocks_in_use(server)
        based: list[socket.socket] = []
        if flood.base is not None:
            based = _based[server.port] = flood.base(server, count)
            time.sleep(6)  # what idle connections remember is forgotten by then
        healthy = Healthy(server)
        before = server.memory
        held, taken, refused = flood.attack(server, count, over)
        healthy.run()
        memory = server.memory
        cpu_held = server.busy_share(1.0)
        figures = Figures(
            flood=name,
            count=count,
            over=over,
            held=taken,
            refused=refused,
            each=(memory - before) / max(taken, 1),
            healthy_p50=healthy.percentile(50),
            healthy_p99=healthy.percentile(99),
            healthy_failures=healthy.failures,
            memory_before=before,
            memory_held=memory,
            memory_after=0.0,
            blocks=0.0,
            cpu_held=cpu_held,
            cpu_after=0.0,
        )
        for connection in (*held, *based):
            connection.close()
        while _opened:
            with server.connect() as connection:
                connection.sendall(delete(_opened.pop()))
                answer(connection)
        time.sleep(flood.gone_after)
        healthy.run(200)
        figures.healthy_failures = healthy.failures
        figures.blocks = blocks_in_use(server) / blocks
        figures.memory_after = server.memory
        figures.cpu_after = server.busy_share(2.0)
        healthy.connection.close()
        warm.connection.close()
        return figures


def show(console: Console, all_figures: list[Figures]) -> None:
    """Print what was measured."""
    table = Table(title="Floods", title_justify="left", title_style="bold")
    table.add_column("flood")
    for heading in (
        "sent",
        "limit",
        "held",
        "refused",
        "kB each",
        "healthy p50",
        "p99",
        "failed",
        "MB before",
        "held",
        "after",
        "in use",
        "CPU held",
        "after",
    ):
        table.add_column(heading, justify="right")
    for row in all_figures:
        table.add_row(
            row.flood,
            f"{row.count:,}",
            "over" if row.over else "short",
            f"{row.held:,}",
            f"{row.refused:,}",
            f"{row.each:.1f}",
            f"{row.healthy_p50:.1f} ms",
            f"{row.healthy_p99:.1f} ms",
            str(row.healthy_failures),
            f"{row.memory_before / 1000:.0f}",
            f"{row.memory_held / 1000:.0f}",
            f"{row.memory_after / 1000:.0f}",
            f"{row.blocks:.1%}",
            f"{row.cpu_held:.0%}",
            f"{row.cpu_after:.0%}",
        )
    console.print(table)
    for row in all_figures:
        most = TARGETS.get(row.flood)
        if most is not None and not row.over:
            verdict = "[green]met[/]" if row.each <= most else "[red]MISSED[/]"
            console.print(f"  {row.flood}: {row.each:.1f} kB each (target {most:g}, {verdict})")


def main(scale: float) -> int:
    """Run all floods and print figures; 0 if no honest client was refused."""
    console = Console(width=150)
    found: list[Figures] = []
    for name in FLOODS:
        for over in (False, True):
            count = max(20, round(FLOODS[name].count * scale))
            with console.status(f"{name}: {count:,}, {'over' if over else 'short of'} the limit"):
                found.append(run(name, count, over=over))
    show(console, found)
    return 0 if not any(row.healthy_failures for row in found) else 1
