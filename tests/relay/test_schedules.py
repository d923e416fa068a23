"""The invariants of a relay hold in many seeded schedules with faults."""

from collections import Counter

import pytest

from tests.relay.schedules import play
from tests.shares import Some


def run(seeds: range) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        outcomes += play(seed)
    return outcomes


@pytest.mark.parametrize(
    "part", [0, 1, *(pytest.param(part, marks=pytest.mark.long) for part in (2, 3))]
)
def test_schedules(part: int) -> None:
    outcomes = run(range(part * 100, part * 100 + 100))
    assert outcomes["ResultReceived"] > outcomes["RequestEnded"] > 0
    assert all(
        outcomes[each] > 0 for each in ("breaker", "log", "sign-in", "tasks/get", "tasks/cancel")
    )


@pytest.mark.long
def test_many_schedules(some: Some) -> None:
    assert run(range(2000, 2000 + some.of(18_000)))["ResultReceived"] > 0
