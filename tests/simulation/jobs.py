"""A campaign in several processes."""

import multiprocessing
import sys
import time
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


def play_all(order: Order) -> Tally:
    """Play what was ordered, and tell on the way how far it is."""
    if order.jobs == 1:
        return _play(order, 0, _Teller())
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    jobs = [
        context.Process(target=_job, args=(order, number, results), daemon=True)
        for number in range(order.jobs)
    ]
    for job in jobs:
        job.start()
    tell, latest = _Teller(), dict[int, Tally]()
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


class _Teller:
    """Tells how far it is, and at once what has failed.

    On a terminal that is one line which changes, elsewhere a line at first, and then now and then.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._live = sys.stderr.isatty()
        self._told = time.monotonic() - SILENCE

    def __call__(self, tally: Tally) -> None:
        for failure in tally.failures[self._failures :]:
            print(f"\n{failure.breach}\n  {failure.command}", file=sys.stderr)
        self._failures = len(tally.failures)
        if self._live:
            print(f"\r{tally.schedules} schedules", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self._told >= SILENCE:
            self._told = time.monotonic()
            print(f"{tally.schedules} schedules", file=sys.stderr, flush=True)
