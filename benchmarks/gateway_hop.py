"""Cost of a hop: CPU of a gateway's process for a call, and the time it adds to the call.

``python -m benchmarks.gateway_hop [CALLS]`` prints a table; one call is in flight at a time.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio

from mcpcore import connect

MCPCORE = [sys.executable, "-m", "mcpcore_transports.commands.main"]
LEGACY, MODERN = "2025-11-25", "2026-07-28"
SERVER = "mcpcore_conformance.everything.server:server"
TOOL = "test_simple_text"
_WARM = 50
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def started(words: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Run a command; yield its URL and process id."""
    process = subprocess.Popen([*MCPCORE, *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = next(filter(None, (re.match("listening on (.*)", each) for each in process.stderr)))
        yield line[1], process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.stderr.close()
        process.wait()


def cpu(process: int) -> float:
    """Return the seconds of CPU that a process has used (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def calls(url: str, revision: str, count: int, process: int) -> tuple[float, list[float]]:
    """Make calls; return the CPU of a process for each in seconds, and the sorted times."""
    async with connect(url, revision=revision) as client:
        for _ in range(_WARM):
            await client.call_tool(TOOL)
        before, times = cpu(process), list[float]()
        for _ in range(count):
            began = time.perf_counter()
            await client.call_tool(TOOL)
            times.append(time.perf_counter() - began)
        return (cpu(process) - before) / count, sorted(times)


def show(name: str, made: tuple[float, list[float]]) -> None:
    """Print a row."""
    each, times = made
    p50, p99 = times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3
    print(f"| {name} | {each * 1e6:.0f} us | {p50:.2f} / {p99:.2f} ms |", flush=True)


def main() -> None:
    """Measure the calls of both eras, without a gateway and through one."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print("| way | CPU of the process for a call | p50 / p99 of the call |\n|---|---|---|")
    for revision in (LEGACY, MODERN):
        pin = ("--server-revision", revision)
        with started(["serve", SERVER, "--http", "127.0.0.1:0"]) as (url, process):
            show(f"server alone, {revision}", anyio.run(calls, url, revision, count, process))
            with started(["gateway", url, *pin, "--http", "127.0.0.1:0"]) as (front, hop):
                show(f"HTTP to HTTP, {revision}", anyio.run(calls, front, revision, count, hop))
        behind = ("--", *MCPCORE, "serve", SERVER, "--stdio")
        with started(["gateway", *pin, "--http", "127.0.0.1:0", *behind]) as (front, hop):
            show(f"HTTP to stdio, {revision}", anyio.run(calls, front, revision, count, hop))


if __name__ == "__main__":
    main()
