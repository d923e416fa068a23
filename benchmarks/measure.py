"""Interleaved runs, and medians with their spread.

Everything is measured in child processes that run in turn (A, B, C, A, B, C, ...), so that a slow
minute of the machine falls on all of them.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

from msgspec import Struct, field

ROOT = Path(__file__).resolve().parents[1]
OURS = sys.executable
SDK = str(ROOT / ".venv-sdk" / "bin" / "python")


class Series(Struct):
    """The values of one variant, in microseconds."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles; the extremes where there are fewer than four values."""
        if len(self.values) < 4:
            return min(self.values), max(self.values)
        low, _, high = quantiles(self.values, n=4, method="inclusive")
        return low, high


def interleave(
    variants: Mapping[str, Callable[[], float]], rounds: int, told: Callable[[int], object]
) -> dict[str, Series]:
    """Run every variant in turn, ``rounds`` times; ``told`` gets the number of each round."""
    series = {name: Series() for name in variants}
    for number in range(1, rounds + 1):
        told(number)
        for name, run in variants.items():
            series[name].values.append(run())
    return series


def printed(command: Sequence[str]) -> float:
    """Run a child that prints one number, and return it.  Raises RuntimeError with its stderr."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def cpu_of(command: Sequence[str], feed: Callable[[subprocess.Popen[bytes]], None]) -> float:
    """Run a child, ``feed`` it, close its input, and return its CPU time in microseconds."""
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        feed(child)
        child.stdin.close()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if child.returncode is None:
            child.kill()
            child.wait()
        child.stdout.close()
    if child.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with status {child.returncode}")
    return (usage.ru_utime + usage.ru_stime) * 1e6
