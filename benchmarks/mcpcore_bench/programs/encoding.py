"""Raw limit: what encoding progress events takes, with their frames, and nothing else.

``python -m mcpcore_bench.programs.encoding WARM SECONDS`` prints a sample: CPU of this process.
"""

import sys
import time

from mcpcore_bench.programs.measuring import sample
from mcpcore_bench.programs.raw_http import chunk, framed

EVENTS = 1000
"""In one write."""


def together() -> bytes:
    """Encode as many as the load generator asks a server for."""
    return chunk(b"".join([framed(7, number, EVENTS) for number in range(1, EVENTS + 1)]))


def main(warm: float, seconds: float) -> None:
    """Measure."""
    until = time.perf_counter() + warm
    while time.perf_counter() < until:
        together()
    count, spent, began = 0, time.process_time(), time.perf_counter()
    while time.perf_counter() < began + seconds:
        together()
        count += EVENTS
    print(sample(count, time.process_time() - spent, time.perf_counter() - began))


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
