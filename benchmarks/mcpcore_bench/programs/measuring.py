"""How a program measures itself: warm-up, then CPU of this process in steady state.

This module and what it imports need the standard library alone: it is used in every environment.
"""

import asyncio
import json
import time
from array import array
from collections.abc import Callable, Coroutine, Iterable, Sequence
from statistics import median
from typing import Any

from mcpcore_bench.method.histogram import Histogram

TEXT = "x" * 200


Call = Callable[[], Coroutine[Any, Any, None]]
_WIDTH = "--width"
_CALLS = 100
"""Calls of a turn."""


def widened(words: Sequence[str]) -> tuple[int, list[str]]:
    """How many calls are to be in flight (``--width N`` comes first; 1), and the other words."""
    first, *rest = words
    return (int(rest[0]), rest[1:]) if first == _WIDTH else (1, [*words])


async def measured(call: Call, warm: float, seconds: float, width: int = 1) -> str:
    """Make calls and return a sample as JSON: CPU in microseconds a call.

    ``width``: so many are in flight, in as many tasks, on asyncio.
    """
    clock = time.perf_counter_ns
    await _together(call, clock() + int(warm * 1e9), array("q"), width)
    latencies = array("q")
    spent, began = time.process_time(), clock()
    await _together(call, began + int(seconds * 1e9), latencies, width)
    spent = time.process_time() - spent
    return sample(len(latencies), spent, (clock() - began) / 1e9, latencies)


async def added(plain: Call, call: Call, warm: float, seconds: float) -> str:
    """Make calls of two kinds in turns; return a sample: CPU that one of the second takes more."""
    clock = time.perf_counter
    turns: list[tuple[float, float]] = []
    until = begun = clock() + warm
    while not turns or clock() < until:
        turns.append((await _turn(plain), await _turn(call)))
        if until == begun and clock() >= until:
            turns, until = [], begun + seconds
    less, more = map(median, zip(*turns, strict=True))
    return json.dumps({"value": more - less, "facts": {"without": less}})


async def _turn(call: Call) -> float:
    """Make some calls; return the microseconds of CPU of one."""
    began = time.process_time()
    for _ in range(_CALLS):
        await call()
    return (time.process_time() - began) / _CALLS * 1e6


async def _together(call: Call, until: int, latencies: "array[int]", width: int) -> None:
    """Call until a moment has come, each task at least once: what a call opens is there then."""
    if width == 1:
        await _in_turn(call, until, latencies)
        return
    async with asyncio.TaskGroup() as tasks:
        for _ in range(width):
            tasks.create_task(_in_turn(call, until, latencies))


async def _in_turn(call: Call, until: int, latencies: "array[int]") -> None:
    clock = time.perf_counter_ns
    begun = clock()
    while True:
        await call()
        now = clock()
        latencies.append(now - begun)
        if now >= until:
            return
        begun = now


def sample(count: int, spent: float, wall: float, latencies: Iterable[int] = ()) -> str:
    """A sample as JSON, of so many units: microseconds a unit, from seconds of CPU and clock.

    ``latencies``: the nanoseconds that each took.
    """
    facts = {"rate": count / wall, "count": float(count), "busy": spent / wall}
    histogram = Histogram()
    histogram.record_all(latencies)
    latency = histogram.counts
    return json.dumps({"value": spent / count * 1e6, "facts": facts, "latency": latency})
