"""Import time: ``import mcpcore`` beside ``import mcp``, without the interpreter's own start."""

from collections.abc import Callable, Mapping

from benchmarks.measure import OURS, SDK, printed

TIMER = """
import time
began = time.perf_counter()
import {module}
print((time.perf_counter() - began) * 1e6)
"""


def imports(python: str, module: str) -> Callable[[], float]:
    """Return a run that measures one import in a fresh interpreter, in microseconds."""
    return lambda: printed([python, "-c", TIMER.format(module=module)])


VARIANTS: Mapping[str, Callable[[], float]] = {
    "import mcpcore": imports(OURS, "mcpcore"),
    "import mcp (official SDK)": imports(SDK, "mcp"),
}
