"""Cost of telemetry: the time that a call takes in memory with it, beside one without.

``python -m benchmarks.telemetry_cost [CALLS]`` prints a table.  Both sides are in one process; the
kinds take turns, and each number is the median of the turns.
"""

import sys
import time
from collections.abc import Sequence
from statistics import median

import anyio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider

from mcpcore import (
    MemoryTarget,
    PrometheusMeters,
    RuntimeSettings,
    Server,
    connect,
    observe_answers,
    observe_sessions,
)

_TURNS = 9
_GOALS = {"off": 0, "metrics": 8, "no-op spans": 15, "recorded spans": 60}
"""Goals by kind, in µs a call, of a server."""


def _settings(kind: str) -> RuntimeSettings:
    """Return the settings of a server with one kind of telemetry."""
    if kind == "off":
        return RuntimeSettings()
    tracers, meters = NoOpTracerProvider(), PrometheusMeters()
    if kind == "no-op spans":  # with metrics for nobody, as without the SDK
        answers = observe_answers()
        return RuntimeSettings(middleware=(answers,), observer=observe_sessions())
    if kind == "recorded spans":
        recording = TracerProvider()
        recording.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
        answers = observe_answers(tracers=recording, meters=meters)
    else:
        answers = observe_answers(tracers=tracers, meters=meters)
    return RuntimeSettings(middleware=(answers,), observer=observe_sessions(meters=meters))


async def _seconds(server: Server, kind: str, calls: int) -> float:
    """Return the seconds of a call."""
    async with connect(MemoryTarget(server, _settings(kind))) as client:
        for _ in range(calls // 10):
            await client.call_tool("add", {"a": 2})
        began = time.perf_counter()
        for _ in range(calls):
            await client.call_tool("add", {"a": 2})
        return (time.perf_counter() - began) / calls


async def measure(calls: int) -> dict[str, float]:
    """Return the seconds of a call by kind of telemetry."""
    server = Server("cost", version="1")

    @server.tool
    def add(a: int) -> str:
        return str(a)

    found: dict[str, list[float]] = {kind: [] for kind in _GOALS}
    for _ in range(_TURNS):
        for kind, times in found.items():
            times.append(await _seconds(server, kind, calls))
    return {kind: median(times) for kind, times in found.items()}


def main(words: Sequence[str]) -> None:
    """Print the table."""
    found = anyio.run(measure, int(words[0]) if words else 1000)
    print(f"{'server':<16}{'µs a call':>10}{'more':>8}{'goal':>6}{'ratio':>8}")
    for kind, seconds in found.items():
        more, ratio = (seconds - found["off"]) * 1e6, seconds / found["off"]
        print(f"{kind:<16}{seconds * 1e6:>10.1f}{more:>8.1f}{_GOALS[kind]:>6}{ratio:>8.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
