"""The invariants of a relay hold in many seeded schedules with faults."""

from collections import Counter

import pytest

from tests.relay.schedules import MORE_FROM, play
from tests.shares import Some


def run(seeds: range) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        outcomes += play(seed)
    return outcomes


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.long) for part in (1, 2, 3))]
)
@pytest.mark.parametrize("first", [0, MORE_FROM])
def test_schedules(part: int, first: int) -> None:
    outcomes = run(range(first + part * 100, first + part * 100 + 100))
    assert outcomes["ResultReceived"] > outcomes["RequestEnded"] > 0
    assert all(
        outcomes[each] > 0 for each in ("breaker", "log", "sign-in", "tasks/get", "tasks/cancel")
    )


def test_a_schedule_tells_what_happens_in_it() -> None:
    told: list[str] = []
    assert play(9, told) == play(9)
    for part in ('"method":"tools/call"', "0 of it", "breaks"):
        assert any(part in line for line in told)


@pytest.mark.parametrize("seed", [16322, 33621, 46971])
def test_a_sign_out_while_the_era_is_asked_for(seed: int) -> None:
    assert play(seed).total()  # what waited for the era waited for ever


@pytest.mark.parametrize("seed", [23269, 36736, 90787])
def test_a_request_comes_again_once_it_is_answered(seed: int) -> None:
    assert play(seed).total()  # it is another one then, which no relay can tell


@pytest.mark.parametrize("seed", [232373])
def test_a_resource_is_subscribed_to_again_while_the_server_is_asked(seed: int) -> None:
    assert play(seed).total()  # once the server refused, a request waited for ever


@pytest.mark.long
@pytest.mark.parametrize("first", [2000, MORE_FROM + 2000])
def test_many_schedules(some: Some, first: int) -> None:
    assert run(range(first, first + some.of(3_000)))["ResultReceived"] > 0
