"""The machine is looked at when a run begins and ends, and between for a small part of its time."""

import sys

import pytest

from mcpcore_bench.load.jobs import AnyJob
from mcpcore_bench.method.samples import Phase, Sample
from mcpcore_bench.pace import SHARE, Pace
from mcpcore_bench.runner import RunFailed


class Clock:
    """A clock that goes on when it is told to, and a look at the machine that takes a second."""

    def __init__(self, *costs: float | None) -> None:
        """``costs``: what is found; None: nothing, as it fails."""
        self.now = 1000.0
        self._costs = list(costs)

    def __call__(self) -> float:
        return self.now

    def measure(self, job: AnyJob) -> Sample:
        self.now += 1.0
        cost = self._costs.pop(0)
        if cost is None:
            raise RunFailed("no luck")
        return Sample(cost)


def looking(clock: Clock) -> tuple[Pace, list[Phase]]:
    phases: list[Phase] = []
    return Pace(phases, clock=clock, measure=clock.measure), phases


def test_looks_know_their_moment_and_their_row() -> None:
    clock = Clock(60.0, 80.0, 70.0)
    pace, phases = looking(clock)
    pace.look()
    clock.now += 500
    pace.look_if_due("http")
    clock.now += 0.25
    pace.look()
    assert phases == [Phase(0.0, 60.0), Phase(501.0, 80.0, "http"), Phase(502.2, 70.0)]


def test_they_take_a_small_part_of_the_time() -> None:
    clock = Clock(*(60.0,) * 1000)
    pace, phases = looking(clock)
    pace.look()
    for _ in range(5000):
        clock.now += 1.0
        pace.look_if_due("http")
    spent = len(phases) - 1
    assert spent / (clock.now - 1001.0) == pytest.approx(SHARE, rel=0.05)


def test_a_look_that_failed_is_not_made_again_at_once() -> None:
    clock = Clock(None, 60.0)
    pace, phases = looking(clock)
    with pytest.raises(RunFailed, match="no luck"):
        pace.look()
    clock.now += 1 / SHARE - 1
    pace.look_if_due()
    assert phases == []
    clock.now += 1
    pace.look_if_due()
    assert [phase.value for phase in phases] == [60.0]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs epoll and /proc")
def test_a_look_measures_what_is_there_wherever_ours_is() -> None:
    phases: list[Phase] = []
    Pace(phases, quick=True).look("http")
    (phase,) = phases
    assert phase.row == "http"
    assert phase.value > 0
