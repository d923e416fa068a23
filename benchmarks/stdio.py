"""CPU of a stdio server per round trip: by readiness, through worker threads, the official SDK's.

The load asks and waits, one ``tools/call`` at a time, so that every message wakes the server.
What start-up costs is taken out by running each server with few and with many calls.
"""

import subprocess
from collections.abc import Callable, Mapping

from benchmarks.measure import OURS, SDK, cpu_of

CALLS = 3000
FEW = 200

INITIALIZE = (
    b'{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25",'
    b'"capabilities":{},"clientInfo":{"name":"load","version":"1"}}}\n'
)
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
CALL = (
    b'{"jsonrpc":"2.0","id":%d,"method":"tools/call",'
    b'"params":{"name":"echo","arguments":{"text":"hello"}}}\n'
)


def load(calls: int) -> Callable[[subprocess.Popen[bytes]], None]:
    """Return what feeds a server: the handshake, then ``calls`` sequential calls."""

    def feed(child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(INITIALIZE)
        child.stdin.flush()
        child.stdout.readline()
        child.stdin.write(INITIALIZED)
        for number in range(calls):
            child.stdin.write(CALL % number)
            child.stdin.flush()
            answer = child.stdout.readline()
            if b"hello" not in answer:
                raise RuntimeError(f"wrong answer: {answer!r}")

    return feed


def server(*command: str) -> Callable[[], float]:
    """Return a run that measures the CPU of one round trip, in microseconds."""

    def run() -> float:
        few, many = (cpu_of(command, load(calls)) for calls in (FEW, FEW + CALLS))
        return (many - few) / CALLS

    return run


VARIANTS: Mapping[str, Callable[[], float]] = {
    "our stdio server, by readiness": server(OURS, "-m", "benchmarks.stdio_server", "readiness"),
    "the same Peer, worker threads": server(OURS, "-m", "benchmarks.stdio_server", "threads"),
    "official SDK's stdio server": server(SDK, "benchmarks/sdk_stdio_server.py"),
}
