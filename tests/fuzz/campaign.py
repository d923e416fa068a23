"""Fuzzing several targets, each in processes of its own, and the table of what came of it."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.fuzz.worker import Found, Tally

_DONE = re.compile(r"cov: (\d+) ft: (\d+)")
_COUNT = re.compile(r"stat::number_of_executed_units: *(\d+)")
_RAW = re.compile(r"written to (\S+)")
_LATE = -1
"""What a process is said to have ended with that has not ended."""
_GRACE = 300.0
"""Seconds beyond its own that a process gets for starting, and for making inputs smaller."""


class Budget(Struct, frozen=True):
    """For one target: inputs, or seconds of a process."""

    seed: int
    seconds: float | None = None
    executions: int | None = None

    def arguments(self) -> list[str]:
        """The same as options of a worker."""
        options = ["--seed", str(self.seed)]
        if self.seconds is not None:
            options += ["--seconds", f"{self.seconds:g}"]
        if self.executions is not None:
            options += ["--executions", str(self.executions)]
        return options


def best_engine() -> str:
    """``guided`` where atheris is installed."""
    return "plain" if find_spec("atheris") is None else "guided"


def run(
    targets: list[str],
    budget: Budget,
    *,
    engine: str,
    folder: Path,
    jobs: int = 1,
    told: Callable[[Tally], None] = lambda tally: None,
) -> list[Tally]:
    """Fuzz ``targets``, ``jobs`` of them at a time; ``told`` of each once it is done."""

    def one(target: str) -> Tally:
        tally = _guided(target, budget, folder) if engine == "guided" else None
        tally = tally or _plain(target, budget, folder)
        told(tally)
        return tally

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, targets))


def _work(arguments: list[str], limit: float | None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.worker", *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, _LATE, "", f"no end within {limit:g} s")


def _limit(budget: Budget) -> float | None:
    return None if budget.seconds is None else budget.seconds + _GRACE


def _plain(target: str, budget: Budget, folder: Path) -> Tally:
    arguments = ["plain", target, "--keep", str(folder), *budget.arguments()]
    done = _work(arguments, _limit(budget))
    if done.returncode:
        report = done.stderr[-4000:]
        fault = Found(f"the process ended with {done.returncode}", report, "")
        return Tally(target, "plain", faults=[fault])
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Tally)


def _guided(target: str, budget: Budget, folder: Path) -> Tally:
    grown = folder / target / "corpus"
    before = len(list(grown.glob("*")))
    began = time.monotonic()
    arguments = ["guided", target, "--keep", str(folder), *budget.arguments()]
    done = _work(arguments, _limit(budget))
    tally = Tally(target, "guided", seconds=time.monotonic() - began)
    tally.new = len(list(grown.glob("*"))) - before
    said = done.stdout + done.stderr
    if count := _COUNT.search(said):
        tally.executions = int(count[1])
    if seen := _DONE.findall(said):
        tally.covered = int(seen[-1][1])
    if done.returncode:
        tally.faults.append(_explain(target, said, folder))
    return tally


def _explain(target: str, said: str, folder: Path) -> Found:
    """What atheris has ended with: run again by itself, which says more."""
    raw = _RAW.search(said)
    if raw is None:
        return Found("the process ended", said[-4000:], "")
    again = _work(["minimise", target, "--keep", str(folder), "--file", raw[1]], _GRACE)
    if again.returncode:
        return Found("it happens in a process of many inputs only", said[-4000:], raw[1])
    return msgspec.json.decode(again.stdout.splitlines()[-1], type=Found)


def table(tallies: list[Tally]) -> str:
    """The outcome for people."""
    head = ("target", "engine", "executions", "seconds", "a second", "features", "new", "faults")
    rows = [head]
    for tally in tallies:
        pace = tally.executions / tally.seconds if tally.seconds else 0.0
        rows.append(
            (
                tally.target,
                tally.engine,
                f"{tally.executions:,}",
                f"{tally.seconds:.1f}",
                f"{pace:,.0f}",
                f"{tally.covered:,}" if tally.covered else "-",
                str(tally.new) if tally.engine == "guided" else "-",
                str(len(tally.faults)),
            )
        )
    total = sum(tally.executions for tally in tallies)
    faults = sum(len(tally.faults) for tally in tallies)
    seconds = sum(tally.seconds for tally in tallies)
    rows.append(("all", "", f"{total:,}", f"{seconds:.1f}", "", "", "", str(faults)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for row in rows:
        first = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        others = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join([*first, *others]).rstrip())
    return "\n".join(lines)
