"""Campaigns in several processes, and their progress."""

import multiprocessing
import sys
import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from msgspec import Struct

from tests.simulation.campaign import Tally, campaign
from tests.simulation.mutations import apply

SILENCE = 10.0
"""Seconds between two lines about progress where there is no terminal."""


class Order(Struct, frozen=True):
    """What is to be played."""

    schedules: int
    first: int = 0
    jobs: int = 1
    seconds: float | None = None
    scenario: str | None = None
    only: tuple[str, ...] = ()
    failures: int = 3
    """After so many a job stops."""
    mutation: str | None = None


def play_all(order: Order, tell: Callable[[Tally], None]) -> Tally:
    """Play what was ordered, and tell on the way how far it is."""
    if order.jobs == 1:
        return _play(order, 0, tell)
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    jobs = [
        context.Process(target=_job, args=(order, number, results), daemon=True)
        for number in range(order.jobs)
    ]
    for job in jobs:
        job.start()
    latest = dict[int, Tally]()
    open_jobs = set(range(order.jobs))
    while open_jobs:
        try:
            number, last, tally = results.get(timeout=5.0)
        except Empty:
            if not all(jobs[number].is_alive() for number in open_jobs):
                raise RuntimeError("a job has ended without a word") from None
            continue
        latest[number] = tally
        if last:
            open_jobs.discard(number)
        tell(_together(latest))
    return _together(latest)


def _together(latest: dict[int, Tally]) -> Tally:
    total = Tally()
    for each in latest.values():
        total.join(each)
    return total


def _play(order: Order, number: int, tell: Any) -> Tally:
    if order.mutation is not None:
        apply(order.mutation)
    return campaign(
        order.first + number,
        len(range(number, order.schedules, order.jobs)),
        seconds=order.seconds,
        scenario=order.scenario,
        only=order.only,
        most_failures=order.failures,
        every=order.jobs,
        tell=tell,
    )


def _job(order: Order, number: int, results: Any) -> None:
    tally = _play(order, number, lambda tally: results.put((number, False, tally)))
    results.put((number, True, tally))


class Teller:
    """Progress on standard error, and failures at once.

    On a terminal progress is one line that changes, elsewhere a line now and then.
    """

    def __init__(self) -> None:
        self.latest = Tally()
        """What was told last, for a campaign that is interrupted."""
        self._failures = 0
        self._live = sys.stderr.isatty()
        self._told = time.monotonic() - SILENCE

    def __call__(self, tally: Tally) -> None:
        self.latest = tally
        for failure in tally.failures[self._failures :]:
            print(f"\n{failure.breach}\n  {failure.command}", file=sys.stderr)
        self._failures = len(tally.failures)
        if self._live:
            print(f"\r{tally.schedules} schedules", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._told >= SILENCE:
            self._told = time.monotonic()
            print(f"{tally.schedules} schedules", file=sys.stderr, flush=True)
