"""Rate limits: token buckets against a plain model."""

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.policy.rates import Activity, Rate, RateLimits


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6)), max_size=40),
)
def test_never_more_than_the_rate_and_the_burst(
    amount: int, burst: int, calls: list[tuple[str, int]]
) -> None:
    """In any stretch of time a caller gets at most a burst and what the rate adds to it."""
    limits = RateLimits({Activity.TOOLS: Rate(amount, per=4, burst=burst)})
    now, admitted = 0.0, dict[str, list[float]](a=[], b=[])
    for caller, pause in calls:
        now += pause / 8
        wait = limits.admit(Activity.TOOLS, caller, now=now)
        if wait == 0.0:
            admitted[caller].append(now)
        else:
            assert 0 < wait <= 4 / amount + 1e-9
            # What it promises holds: at that time, and not before.
            again = RateLimits({Activity.TOOLS: Rate(amount, per=4, burst=burst)})
            for then in admitted[caller]:
                assert again.admit(Activity.TOOLS, caller, now=then) == 0.0
            assert again.admit(Activity.TOOLS, caller, now=now + wait * 0.99) > 0.0
            assert again.admit(Activity.TOOLS, caller, now=now + wait + 1e-9) == 0.0
    for times in admitted.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                allowed = burst + (times[last] - times[first]) * amount / 4
                assert last - first + 1 <= allowed + 1e-6


@given(st.integers(1, 5), st.integers(1, 5))
def test_a_full_bucket_gives_its_burst(amount: int, burst: int) -> None:
    limits = RateLimits({Activity.PROGRESS: Rate(amount, burst=burst)})
    for start in (0.0, 100.0):
        given = [limits.admit(Activity.PROGRESS, "a", now=start) for _ in range(burst + 1)]
        assert given[:-1] == [0.0] * burst
        assert given[-1] == pytest.approx(1 / amount)
    assert limits.refused == {Activity.PROGRESS: 2}


def test_callers_and_activities_have_buckets_of_their_own() -> None:
    limits = RateLimits({Activity.TOOLS: Rate(1), Activity.LOGGING: Rate(1)})
    assert limits.admit(Activity.TOOLS, "a", now=0.0) == 0.0
    assert limits.admit(Activity.TOOLS, "b", now=0.0) == 0.0
    assert limits.admit(Activity.LOGGING, "a", now=0.0) == 0.0
    assert limits.admit(Activity.TOOLS, "a", now=0.0) == 1.0
    assert [limits.admit(Activity.COMPLETION, "a", now=0.0) for _ in range(99)] == [0.0] * 99


@pytest.mark.parametrize(("options", "callers"), [({"callers": 2}, 2), ({}, 10_000)])
def test_only_so_many_callers_are_remembered(options: dict[str, int], callers: int) -> None:
    limits = RateLimits({Activity.TOOLS: Rate(1)}, **options)  # type: ignore[arg-type]
    names = [str(number) for number in range(callers + 1)]
    for caller in (*names, "0"):  # it was forgotten when the last came
        assert limits.admit(Activity.TOOLS, caller, now=0.0) == 0.0
    assert limits.admit(Activity.TOOLS, names[-1], now=0.0) == 1.0


@pytest.mark.parametrize("wrong", [{"amount": 0}, {"per": -1}, {"burst": 0}, {"amount": 1e999}])
def test_rates_are_positive(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"the {next(iter(wrong))} of a rate must be positive"):
        Rate(**{"amount": 1, **wrong})


@pytest.mark.parametrize(("every", "own"), [(1.0, 4.0), (4.0, 1.0)])
def test_a_call_waits_for_the_slower_of_two_rates(every: float, own: float) -> None:
    per_tool = {"add": Rate(1, per=own)}
    limits = RateLimits({Activity.TOOLS: Rate(1, per=every)}, per_tool=per_tool)
    admit = partial(limits.admit, Activity.TOOLS, "a")
    assert admit(now=0.0, tool="add") == 0.0
    assert admit(now=0.0, tool="add") == 4.0
    assert admit(now=0.0, tool="sub") == every
    assert limits.refused == {Activity.TOOLS: 2, "add": 1}
    assert admit(now=4.0, tool="add") == 0.0


def test_there_is_room_for_a_caller() -> None:
    with pytest.raises(ValueError, match="callers must be at least 1"):
        RateLimits({}, callers=0)
    assert RateLimits({}, callers=1).admit(Activity.TOOLS, "a", now=0.0) == 0.0
