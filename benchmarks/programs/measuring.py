"""How a program measures itself: warm-up, then CPU of this process in steady state.

This module imports the standard library alone: it is used in every environment.
"""

import json
import time
from collections.abc import Awaitable, Callable

TEXT = "x" * 200


async def measured(call: Callable[[], Awaitable[None]], warm: float, seconds: float) -> str:
    """Make calls, one at a time, and return a sample as JSON: CPU in microseconds a call."""
    clock = time.perf_counter
    until = clock() + warm
    while clock() < until:
        await call()
    count, spent, began = 0, time.process_time(), clock()
    until = began + seconds
    while clock() < until:
        await call()
        count += 1
    return sample(count, time.process_time() - spent, clock() - began)


def sample(count: int, spent: float, wall: float) -> str:
    """A sample as JSON, of so many units: microseconds a unit, from seconds of CPU and clock."""
    facts = {"rate": count / wall, "count": float(count), "busy": spent / wall}
    return json.dumps({"value": spent / count * 1e6, "facts": facts})
