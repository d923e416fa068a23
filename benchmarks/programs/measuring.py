"""How a program measures itself: warm-up, then CPU of this process in steady state.

This module and what it imports need the standard library alone: it is used in every environment.
"""

import json
import time
from array import array
from collections.abc import Awaitable, Callable, Iterable

from benchmarks.method.histogram import Histogram

TEXT = "x" * 200


async def measured(call: Callable[[], Awaitable[None]], warm: float, seconds: float) -> str:
    """Make calls, one at a time, and return a sample as JSON: CPU in microseconds a call."""
    clock = time.perf_counter_ns
    until = clock() + int(warm * 1e9)
    while clock() < until:
        await call()
    latencies = array("q")
    spent, began = time.process_time(), clock()
    until, begun = began + int(seconds * 1e9), began
    while begun < until:
        await call()
        now = clock()
        latencies.append(now - begun)
        begun = now
    spent = time.process_time() - spent
    return sample(len(latencies), spent, (begun - began) / 1e9, latencies)


def sample(count: int, spent: float, wall: float, latencies: Iterable[int] = ()) -> str:
    """A sample as JSON, of so many units: microseconds a unit, from seconds of CPU and clock.

    ``latencies``: the nanoseconds that each took.
    """
    facts = {"rate": count / wall, "count": float(count), "busy": spent / wall}
    histogram = Histogram()
    histogram.record_all(latencies)
    latency = histogram.counts
    return json.dumps({"value": spent / count * 1e6, "facts": facts, "latency": latency})
