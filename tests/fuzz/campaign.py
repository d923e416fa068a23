"""Fuzzing several targets, each in processes of its own, and the table of what came of it."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tests.faults.processes import Workers
from tests.fuzz.worker import Found, Tally

_DONE = re.compile(r"cov: (\d+) ft: (\d+)")
_COUNT = re.compile(r"stat::number_of_executed_units: *(\d+)")
_RAW = re.compile(r"written to (\S+)")
_RAISED = re.compile(r"=== Uncaught Python exception: ===\n(.*?)(?:\n\n|\Z)", re.DOTALL)
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
    budgets: Mapping[str, Budget],
    *,
    engine: str,
    folder: Path,
    jobs: int = 1,
    told: Callable[[Tally], None] = lambda tally: None,
) -> list[Tally]:
    """Fuzz targets, each with its budget, ``jobs`` at a time; ``told`` of each once it is done."""
    workers = Workers()

    def one(target: str) -> Tally:
        budget = budgets[target]
        tally = _guided(workers, target, budget, folder) if engine == "guided" else None
        tally = tally or _plain(workers, target, budget, folder)
        told(tally)
        return tally

    return workers.each(one, budgets, jobs)


def _worker(workers: Workers, arguments: list[str], limit: float | None) -> Any:
    command = [sys.executable, "-m", "tests.fuzz.worker", *arguments]
    return workers.run(command, limit, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _limit(budget: Budget) -> float | None:
    return None if budget.seconds is None else budget.seconds + _GRACE


def _plain(workers: Workers, target: str, budget: Budget, folder: Path) -> Tally:
    arguments = ["plain", target, "--keep", str(folder), *budget.arguments()]
    done = _worker(workers, arguments, _limit(budget))
    if done.returncode and workers.interrupted:
        return Tally(target, "plain")
    if done.returncode:
        report = done.stderr[-4000:]
        fault = Found(f"the process ended with {done.returncode}", report, "")
        return Tally(target, "plain", faults=[fault])
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Tally)


def _guided(workers: Workers, target: str, budget: Budget, folder: Path) -> Tally:
    grown = folder / target / "corpus"
    before = len(list(grown.glob("*")))
    began = time.monotonic()
    arguments = ["guided", target, "--keep", str(folder), *budget.arguments()]
    done = _worker(workers, arguments, _limit(budget))
    tally = Tally(target, "guided", seconds=time.monotonic() - began)
    tally.new = len(list(grown.glob("*"))) - before
    said = done.stdout + done.stderr
    if count := _COUNT.search(said):
        tally.executions = int(count[1])
    if seen := _DONE.findall(said):
        tally.covered = int(seen[-1][1])
    if done.returncode and not workers.interrupted:
        tally.faults.append(explain(workers, target, said, folder))
    return tally


def explain(workers: Workers, target: str, said: str, folder: Path) -> Found:
    """What atheris has ended with: run again by itself, which says more."""
    raw = _RAW.search(said)
    if raw is None:
        return Found("the process ended", said[-4000:], "")
    again = _worker(workers, ["minimise", target, "--keep", str(folder), "--file", raw[1]], _GRACE)
    if again.returncode:
        raised = _RAISED.search(said)  # before all that is told of the process
        report = raised[1] if raised is not None else said[-4000:]
        return Found("it happens in a process of many inputs only", report, raw[1])
    return msgspec.json.decode(again.stdout.splitlines()[-1], type=Found)


def table(tallies: list[Tally]) -> str:
    """The outcome for people."""
    head = (
        *("target", "engine", "executions", "messages", "seconds"),
        *("a second", "features", "new", "faults"),
    )
    rows = [head]
    for tally in tallies:
        pace = tally.executions / tally.seconds if tally.seconds else 0.0
        rows.append(
            (
                tally.target,
                tally.engine,
                f"{tally.executions:,}",
                f"{tally.messages:,}" if tally.messages else "-",
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
    messages = sum(tally.messages for tally in tallies)
    told = f"{messages:,}" if messages else "-"
    rows.append(("all", "", f"{total:,}", told, f"{seconds:.1f}", "", "", "", str(faults)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for row in rows:
        first = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        others = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join([*first, *others]).rstrip())
    return "\n".join(lines)
