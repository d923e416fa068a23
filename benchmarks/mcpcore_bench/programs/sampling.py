"""Where the CPU time of a program goes, by layer: a look at the stack each millisecond of CPU.

What is written in C counts for the Python function that has called it, system calls included.  The
programs that are measured import this module, so that what only looks take is imported for them.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from types import FrameType

VARIABLE = "MCPCORE_BENCH_PROFILE"
"""Names the file that the counts are to be written to; unset: nothing is counted."""
INTERVAL = 0.001
_PACKAGES = {"mcpcore_transports": "transports", "mcpcore_bench": "benchmarks"}
_ROOMS = ("wire", "spec", "engine", "http", "service")
_LIBRARIES = ("anyio", "trio", "h11", "wsproto", "msgspec")


def layer_of(file: str) -> str:
    """The layer that a source file belongs to."""
    parts = file.split(os.sep)
    for package, layer in _PACKAGES.items():
        if package in parts:
            return layer
    if parts[-2:-1] == ["mcpcore"]:
        return "mcpcore"
    for package, room in pairwise(parts):
        if package == "mcpcore" and room in _ROOMS:
            return f"mcpcore/{room}"
    for library in _LIBRARIES:
        if library in parts:
            return library
    if "asyncio" in parts or parts[-1] == "selectors.py":
        return "asyncio"
    return "the rest"


class Sampler:
    """Counts looks by layer."""

    def __init__(self) -> None:
        self.layers: Counter[str] = Counter()
        self._known: dict[str, str] = {}

    def look(self, _: int, frame: FrameType | None) -> None:
        """Take a look (a signal handler)."""
        if frame is not None:
            file = frame.f_code.co_filename
            layer = self._known.get(file)
            if layer is None:
                layer = self._known[file] = layer_of(file)
            self.layers[layer] += 1


@contextmanager
def sampled() -> Iterator[None]:
    """Count while the context lasts, if the environment says so."""
    file = os.environ.get(VARIABLE)
    if file is None or sys.platform == "win32":
        yield
        return
    import json
    import resource

    sampler = Sampler()
    signal.signal(signal.SIGPROF, sampler.look)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        used = resource.getrusage(resource.RUSAGE_SELF)
        kernel = used.ru_stime / (used.ru_utime + used.ru_stime)
        with open(file, "w") as sink:
            json.dump({"layers": sampler.layers, "kernel": kernel}, sink)
