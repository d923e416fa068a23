"""Failover: the order of groups, sessions, and which failed requests may go elsewhere."""

import pytest

from mcpcore.policy.balancing import BalanceSettings, Standing, StandingChanged
from mcpcore.policy.failover import Failover, may_go_elsewhere
from mcpcore.policy.failures import RequestFailure

GROUPS = [{"a": 1.0, "b": 1.0}, {"c": 1.0}, {"d": 1.0}]


def choices(failover: Failover, without: set[str], *, sticky: bool = False) -> set[str | None]:
    found = set()
    for _ in range(50):
        name = failover.choose(now=0.0, sticky=sticky, without=without)
        found.add(name)
        if name is not None:
            failover.record(name, failed=None, now=0.0)
    return found


@pytest.mark.parametrize(
    ("without", "chosen"),
    [
        (set(), {"a", "b"}),
        ({"a"}, {"b"}),
        ({"a", "b"}, {"c"}),
        ({"a", "b", "c"}, {"d"}),
        ({"a", "b", "c", "d"}, {None}),
    ],
)
def test_a_group_is_used_when_those_before_it_are_not(
    without: set[str], chosen: set[str | None]
) -> None:
    assert choices(Failover(GROUPS, seed=b"s"), without) == chosen


@pytest.mark.parametrize(
    ("down", "chosen"),
    [
        ({"a"}, {"b"}),
        ({"a", "b"}, {"c"}),
        ({"a", "b", "c"}, {"d"}),
        ({"a", "b", "c", "d"}, {"a", "b"}),
        ({"c"}, {"a", "b"}),
    ],
)
def test_a_group_that_is_down_comes_last(down: set[str], chosen: set[str | None]) -> None:
    failover = Failover(GROUPS, seed=b"s")
    for name in down:
        failover.mark(name, False)
    assert choices(failover, set()) == chosen
    for name in down:
        failover.mark(name, True)
    assert choices(failover, set()) == {"a", "b"}


def test_a_session_stays_at_its_target_until_a_request_goes_elsewhere() -> None:
    failover = Failover(GROUPS, seed=b"s")
    (first,) = choices(failover, set(), sticky=True)
    assert first is not None
    (other,) = {"a", "b"} - {first}
    assert choices(failover, {first}, sticky=True) == {other}
    assert choices(failover, set(), sticky=True) == {other}


def test_what_is_picked_is_in_flight_only_once_it_begins() -> None:
    failover = Failover(GROUPS, seed=b"s")

    def picked() -> int:
        return sum(failover.pick(now=0.0) == "a" for _ in range(100))

    assert picked() > 30
    for _ in range(2):
        failover.begin("a")
    assert 0 < picked() < 40  # only if it is drawn twice
    assert failover.pick(now=0.0, without={"a", "b"}) == "c"
    assert failover.pick(now=0.0, without="abcd") is None
    assert failover.standings == dict.fromkeys("abcd", Standing.USABLE)


def test_failures_eject_a_target_and_are_told() -> None:
    failover = Failover(GROUPS, BalanceSettings(consecutive=1), seed=b"s")
    name = failover.choose(now=0.0, sticky=False)
    assert name is not None
    failover.record(name, failed=True, now=0.0)
    told = StandingChanged(target=name, before=Standing.USABLE, after=Standing.EJECTED)
    assert failover.next_event() == told
    assert failover.next_event() is None
    assert choices(failover, set()) == {"a", "b"} - {name}


@pytest.mark.parametrize("passing", [False, True])
@pytest.mark.parametrize("unsent", [False, True])
@pytest.mark.parametrize("blames", [False, True])
def test_a_request_goes_elsewhere_only_if_it_cannot_be_carried_out_twice(
    passing: bool, unsent: bool, blames: bool
) -> None:
    failure = RequestFailure(passing=passing, not_carried_out=unsent, blames_server=blames)
    assert may_go_elsewhere(failure, False) == unsent
    assert may_go_elsewhere(failure, True) == (unsent or passing or blames)
