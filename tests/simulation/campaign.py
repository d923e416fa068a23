"""Many schedules one after the other: counting, shrinking what fails, and the report of it."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct, field, structs, to_builtins

from tests.simulation.play import Outcome, play
from tests.simulation.schedule import SCENARIOS, Schedule, draw, shrink

REPORT = Path("build/reports/simulation.json")
EVERY = 16
"""So many schedules of a job are told of at a time: less than a second of it."""


class Failure(Struct):
    """A schedule that broke a rule, with as few faults and as little work as that takes."""

    breach: str
    command: str


class Tally(Struct):
    """What has been played."""

    schedules: int = 0
    requests: int = 0
    steps: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    scenarios: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    """Of processor time."""

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        schedule = outcome.schedule
        self.schedules += 1
        self.requests += outcome.requests
        self.steps += outcome.steps
        self.scenarios[schedule.scenario] = self.scenarios.get(schedule.scenario, 0) + 1
        for fault in schedule.faults:
            self.faults[fault.kind] = self.faults.get(fault.kind, 0) + 1

    def join(self, other: "Tally") -> None:
        """Add what somebody else has played."""
        for name in ("schedules", "requests", "steps", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.faults, other.faults), (self.scenarios, other.scenarios)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        self.failures += other.failures

    def text(self) -> str:
        """For people."""
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        rate = self.schedules / self.seconds if self.seconds else 0.0
        return (
            f"{self.schedules} schedules ({rate:.0f} a second of processor time), "
            f"{self.requests} requests, {self.steps} steps, "
            f"{sum(self.faults.values())} faults ({faults}), {len(self.failures)} failures"
        )

    def save(self, path: Path = REPORT) -> None:
        """Write the counts down."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(to_builtins(self), indent=2, sort_keys=True) + "\n")


def smallest(schedule: Schedule) -> Schedule:
    """Leave out the faults and the work that a failure does not need: the same rule is broken."""
    whole = play(schedule)
    if whole.breach is None:
        return schedule
    return shrink(schedule, whole.works, lambda each: play(each).rule == whole.rule)


def campaign(
    first: int,
    schedules: int,
    *,
    seconds: float | None = None,
    scenario: str | None = None,
    only: tuple[str, ...] = (),
    every: int = 1,
    most_failures: int = 3,
    tell: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Play the schedules of so many seeds, from ``first`` on each ``every``-th.

    Ends sooner after ``seconds`` by the clock, or ``most_failures``.
    """
    tally = Tally()
    began, used = time.monotonic(), time.process_time()
    for index in range(schedules):
        seed = first + index * every
        # Jobs take every second seed: all of them shall play all scenarios.
        name = scenario or SCENARIOS[index % len(SCENARIOS)]
        outcome = play(draw(seed, name, only))
        tally.add(outcome)
        if outcome.breach is not None:
            least = smallest(outcome.schedule)
            tally.failures.append(Failure(play(least).breach or "", least.command()))
            tell(structs.replace(tally))
            if len(tally.failures) >= most_failures:
                break
        tally.seconds = time.process_time() - used
        if seconds is not None and time.monotonic() - began >= seconds:
            break
        if index % EVERY == EVERY - 1:
            tell(structs.replace(tally))
    return tally
