"""Cost of a hop: CPU and memory of a gateway's process, and the time it adds to a call.

``python -m benchmarks.gateway_hop [CALLS]`` prints three tables: one call in flight, through the
proxies of others too where they are installed; many calls in flight at a time; idle sessions.  The
proxies are fastmcp's, of ``.venv-fastmcp``, and ``mcp-proxy``, if it is on the PATH.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio

from mcpcore import Client, ClientSettings, HttpClientLinkSettings, connect
from mcpcore_bench.load.http_wire import Place, Replies, open_session
from mcpcore_bench.load.jobs import Command
from mcpcore_bench.load.server import PATIENCE, cpu, listening, resident, stop

LEGACY, MODERN = "2025-11-25", "2026-07-28"
SERVER = "mcpcore_conformance.everything.server:server"
TOOL = "test_simple_text"
_MCPCORE = (sys.executable, "-m", "mcpcore_transports.commands.main")
_SERVE = (*_MCPCORE, "serve", SERVER)
_HTTP = ("--http", "127.0.0.1:0")
_FASTMCP = Path(__file__).parents[1] / ".venv-fastmcp/bin/fastmcp"
_WARM, _SLOW = 50, 100
_FLIGHT, _WAIT = 1000, 0.05
_SESSIONS = 1000

Measured = tuple[float, list[float]]
"""CPU of the process for a call, and the sorted times of the calls, in seconds."""


def gateway(revision: str, *behind: str) -> Command:
    """Return the command of our gateway; ``behind``: a URL, or words of a command behind --."""
    return Command((*_MCPCORE, "gateway", "--server-revision", revision, *_HTTP, *behind))


@contextmanager
def proxying(words: Sequence[str | Path]) -> Iterator[tuple[int, str]]:
    """Run the proxy of others: its process and its URL.  ``{port}`` is that of its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(word).replace("{port}", str(port)) for word in words]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process.pid, f"http://127.0.0.1:{port}/mcp"
    finally:
        stop(process)


# One call in flight


async def calls(url: str, revision: str, count: int, process: int) -> Measured:
    """Make calls, one after the other."""
    async with connect(url, revision=revision) as client:
        for _ in range(min(_WARM, count)):
            await client.call_tool(TOOL)
        before, times = cpu(process), list[float]()
        for _ in range(count):
            began = time.perf_counter()
            await client.call_tool(TOOL)
            times.append(time.perf_counter() - began)
        return (cpu(process) - before) / count, sorted(times)


def show(name: str, made: Measured) -> None:
    """Print a row of calls."""
    each, times = made
    p50, p99 = times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3
    print(f"| {name} | {each * 1e6:.0f} us | {p50:.2f} / {p99:.2f} ms |", flush=True)


def one_in_flight(revision: str, count: int) -> None:
    """Print the rows of a revision."""
    stdio = ("--", *_SERVE, "--stdio")
    with listening(Command((*_SERVE, *_HTTP))) as (process, url):
        show(f"server alone, {revision}", anyio.run(calls, url, revision, count, process))
        with listening(gateway(revision, url)) as (hop, front):
            show(f"HTTP to HTTP, {revision}", anyio.run(calls, front, revision, count, hop))
        if _FASTMCP.exists():
            words = (_FASTMCP, "run", url, "--transport", "http", "--port", "{port}", "--no-banner")
            of_others(f"fastmcp, HTTP to HTTP, {revision}", words, revision, count)
    with listening(gateway(revision, *stdio)) as (hop, front):
        show(f"HTTP to stdio, {revision}", anyio.run(calls, front, revision, count, hop))
    found = shutil.which("mcp-proxy")
    if found is not None and revision == LEGACY:  # it speaks no other era
        of_others("mcp-proxy, HTTP to stdio", (found, "--port", "{port}", *stdio), LEGACY, count)


def of_others(name: str, words: Sequence[str | Path], revision: str, count: int) -> None:
    """Print the row of the proxy of others, of fewer calls as each takes them so much longer."""
    with proxying(words) as (hop, front):
        try:
            show(name, anyio.run(calls, front, revision, min(count, _SLOW), hop))
        except Exception as error:
            print(f"| {name} | fails: {type(error).__name__} | |", flush=True)


# Many calls in flight


async def crowd(url: str, revision: str, process: int) -> tuple[list[float], int]:
    """Make calls that wait, all at a time; return their times, and the files of the process."""
    times: list[float] = []

    async def call(client: Client) -> None:
        began = time.perf_counter()
        await client.call_tool("test_wait", {"seconds": _WAIT})
        times.append(time.perf_counter() - began)

    settings = ClientSettings(http_link=HttpClientLinkSettings(connections=_FLIGHT))
    async with connect(url, revision=revision, settings=settings) as client:
        for _ in range(2):  # the first time, the connections are opened
            times.clear()
            async with anyio.create_task_group() as group:
                for _ in range(_FLIGHT):
                    group.start_soon(call, client)
        return sorted(times), len(os.listdir(f"/proc/{process}/fd"))


def many_in_flight(revision: str) -> None:
    """Print the row of a revision."""
    with listening(Command((*_SERVE, *_HTTP))) as (process, url):
        direct, _ = anyio.run(crowd, url, revision, process)
        with listening(gateway(revision, url)) as (hop, front):
            through, files = anyio.run(crowd, front, revision, hop)
    p50, hopped = direct[_FLIGHT // 2] * 1e3, through[_FLIGHT // 2] * 1e3
    print(f"| {revision} | {p50:.0f} ms | {hopped:.0f} ms | {hopped / p50:.2f} | {files} |")


# Idle sessions


def session_size(process: int, url: str) -> float:
    """Open legacy sessions; return the memory that each takes of the process, in bytes."""
    place = Place.of(url)
    with place.connect() as connection:
        replies = Replies(connection)
        for _ in range(_WARM):
            open_session(place, connection, replies)
        before = resident(process)
        for _ in range(_SESSIONS):
            open_session(place, connection, replies)
        return (resident(process) - before) / _SESSIONS


def sessions() -> None:
    """Print the row of idle sessions."""
    with listening(Command((*_SERVE, *_HTTP))) as (process, url):
        alone = session_size(process, url)
        with listening(gateway(LEGACY, url)) as (hop, front):
            print(f"| {alone / 1e3:.1f} kB | {session_size(hop, front) / 1e3:.1f} kB |")


def main() -> None:
    """Measure all that the tables tell."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print("| way | CPU of the process for a call | p50 / p99 of the call |\n|---|---|---|")
    for revision in (LEGACY, MODERN):
        one_in_flight(revision, count)
    flight = f"{_FLIGHT} calls of {_WAIT * 1e3:.0f} ms in flight"
    print(f"\n| {flight} | p50, direct | p50, through it | ratio | open files of it |")
    print("|---|---|---|---|---|")
    for revision in (LEGACY, MODERN):
        many_in_flight(revision)
    print("\n| idle session of the server | of the gateway |\n|---|---|")
    sessions()


if __name__ == "__main__":
    main()
