"""How fast the machine is, while a run goes on: the same small work again and again.

A machine has phases: what was measured in a slower one than something else costs more than that
without being dearer.  The rows themselves are not corrected; the run says how far it went.
"""

import time
from collections.abc import Callable

from msgspec import structs

from mcpcore_bench.load.jobs import AnyJob, HttpCalls
from mcpcore_bench.method.samples import Phase, Sample
from mcpcore_bench.runner import run_job
from mcpcore_bench.subjects import SUBJECTS

SUBJECT = "raw-protocol"
"""It is there wherever ours is, and changes with Python and h11 alone."""
SHARE = 0.015
"""Of the time of a run, at most, but for the looks at its beginning and at its end."""


class Pace:
    """Looks at the machine, and keeps what it finds."""

    def __init__(
        self,
        phases: list[Phase],
        *,
        quick: bool = False,
        clock: Callable[[], float] = time.monotonic,
        measure: Callable[[AnyJob], Sample] | None = None,
    ) -> None:
        """``phases``: where looks are kept; ``measure``: what runs a job."""
        self._phases, self._clock, self._measure = phases, clock, measure or run_job
        job = HttpCalls(server=SUBJECTS[SUBJECT].command(), replies="any", warm=0.1, seconds=0.3)
        self._job = structs.replace(job, warm=0.05, seconds=0.1) if quick else job
        self._began = clock()
        self._next = self._began

    def look(self, row: str = "") -> None:
        """Measure; ``row``: the one under way.  Raises RunFailed."""
        before = self._clock()
        try:
            value = self._measure(self._job).value
        finally:
            # Where it takes long, or fails after a while, it is done the more seldom.
            after = self._clock()
            self._next = after + (after - before) / SHARE
        self._phases.append(Phase(round(before - self._began, 1), value, row))

    def look_if_due(self, row: str = "") -> None:
        """The same, unless it is too early for another one.  Raises RunFailed."""
        if self._clock() >= self._next:
            self.look(row)
