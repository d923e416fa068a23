"""Balancing: the choices, and any sequence of outcomes against a plain model."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mcpcore.policy.balancing import (
    STANDING,
    Balancer,
    BalanceSettings,
    PanicChanged,
    Standing,
    StandingChanged,
    StandingSignal,
)

EVEN = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}


def fail(balancer: Balancer, target: str, times: int, now: float = 0.0) -> None:
    """End requests at a target that are in flight with failures, whoever was chosen."""
    for _ in range(times):
        balancer._targets[target].in_flight += 1
        balancer.record(target, failed=True, now=now)


@pytest.mark.parametrize("weights", [EVEN, {"a": 3.0, "b": 1.0}, {"a": 5e-324}])
def test_an_idle_target_is_chosen_by_its_weight(weights: dict[str, float]) -> None:
    balancer, chosen = Balancer(weights, seed=b"s"), Counter[str | None]()
    for _ in range(4000):
        target = balancer.choose(now=0.0)
        assert target is not None
        balancer.record(target, failed=False, now=0.0)
        chosen[target] += 1
    total = sum(weights.values())
    for name, weight in weights.items():
        assert chosen[name] == pytest.approx(4000 * weight / total, rel=0.1)


def test_the_less_busy_of_two_is_chosen() -> None:
    balancer = Balancer({"a": 2.0, "b": 1.0, "c": 1.0}, seed=b"s")
    busy = Counter(balancer.choose(now=0.0) for _ in range(400))
    assert busy["a"] == pytest.approx(200, abs=8)
    assert busy["b"] == pytest.approx(100, abs=8)


def test_the_load_of_a_target_is_relative_to_its_weight() -> None:
    balancer = Balancer({"a": 4.0, "b": 1.0}, seed=b"s")
    balancer._targets["a"].in_flight, balancer._targets["b"].in_flight = 3, 1
    chosen = Counter[str | None]()
    for _ in range(400):
        target = balancer.choose(now=0.0)
        assert target is not None
        balancer.record(target, failed=None, now=0.0)
        chosen[target] += 1
    assert 0 < chosen["b"] < 40  # only if it is drawn twice


def test_choices_follow_from_the_seed() -> None:
    def choices(seed: bytes) -> list[str | None]:
        balancer = Balancer(EVEN, seed=seed)
        return [balancer.choose(now=0.0) for _ in range(30)]

    assert choices(b"a") == choices(b"a") != choices(b"b")


def test_a_session_stays_at_its_target() -> None:
    balancer = Balancer(EVEN, BalanceSettings(consecutive=1, max_sessions=2), seed=b"s")
    first = balancer.choose(now=0.0, session="one")
    assert first is not None
    assert {balancer.choose(now=0.0, session="one") for _ in range(20)} == {first}
    fail(balancer, first, 1)
    assert balancer.choose(now=0.0, session="one") == first  # nobody else knows the session
    assert first not in {balancer.choose(now=0.0, session="two") for _ in range(20)}
    balancer.forget("one")
    assert balancer.choose(now=0.0, session="one") != first
    balancer.choose(now=0.0, session="two")
    balancer.choose(now=0.0, session="three")
    assert list(balancer._sessions) == ["two", "three"]


def test_targets_may_be_left_out() -> None:
    balancer = Balancer(EVEN, seed=b"s")
    assert {balancer.choose(now=0.0, without="abc") for _ in range(20)} == {"d"}
    assert balancer.choose(now=0.0, without="abcd") is None


def test_a_failing_target_is_ejected_for_longer_each_time() -> None:
    settings = BalanceSettings(consecutive=2, ejection_time=30.0, max_ejection_time=100.0)
    balancer = Balancer(EVEN, settings, seed=b"s")
    fail(balancer, "a", 1)
    assert balancer.deadline() is None
    now, times = 0.0, []
    for _ in range(4):
        fail(balancer, "a", 2, now)
        deadline = balancer.deadline()
        assert deadline is not None
        times.append(deadline - now)
        assert "a" not in {balancer.choose(now=deadline - 0.1) for _ in range(30)}
        now = deadline
        balancer.handle_timeout(now)
    assert times == [30.0, 60.0, 100.0, 100.0]
    assert "a" in {balancer.choose(now=now) for _ in range(300)}
    balancer._targets["a"].in_flight += 1
    balancer.record("a", failed=False, now=now)
    fail(balancer, "a", 2, now)
    assert balancer.deadline() == now + 30.0


def test_a_failure_during_an_ejection_does_not_prolong_it() -> None:
    balancer = Balancer(EVEN, BalanceSettings(consecutive=1, ejection_time=30.0), seed=b"s")
    fail(balancer, "a", 1)
    fail(balancer, "a", 3, now=10.0)
    assert balancer.deadline() == 30.0


@pytest.mark.parametrize(("share", "ejected"), [(0.0, 0), (0.25, 1), (0.5, 2), (0.7, 2), (1, 4)])
def test_no_more_are_ejected_than_allowed(share: float, ejected: int) -> None:
    settings = BalanceSettings(consecutive=1, max_ejected=share)
    balancer = Balancer(EVEN, settings, seed=b"s")
    for name in EVEN:
        fail(balancer, name, 3)
    assert sum(each.standing is Standing.EJECTED for each in balancer._targets.values()) == ejected


def test_too_few_usable_targets_are_a_panic() -> None:
    balancer = Balancer(EVEN, BalanceSettings(panic=0.5), seed=b"s")
    for name in "ab":
        balancer.mark(name, up=False)
    assert {balancer.choose(now=0.0) for _ in range(40)} == {"c", "d"}
    balancer.mark("c", up=False)
    assert balancer.panic
    assert {balancer.choose(now=0.0) for _ in range(200)} == set(EVEN)
    balancer.mark("c", up=True)
    assert {balancer.choose(now=0.0) for _ in range(200)} == {"c", "d"}
    told = list(iter(balancer.next_event, None))
    assert [each.panic for each in told if isinstance(each, PanicChanged)] == [True, False]


def test_without_panic_nobody_may_be_left() -> None:
    balancer = Balancer({"a": 1.0}, BalanceSettings(panic=0.0), seed=b"s")
    balancer.mark("a", up=False)
    assert balancer.choose(now=0.0) is None


@pytest.mark.parametrize(
    ("weights", "seed", "message"),
    [
        ({}, b"s", "^a balancer needs at least one target and a seed$"),
        (EVEN, b"", "^a balancer needs at least one target and a seed$"),
        ({"a": 0.0}, b"s", "the weight of a must be positive"),
        ({"a": float("inf")}, b"s", "the weight of a must be positive"),
        ({"a": float("nan")}, b"s", "the weight of a must be positive"),
    ],
)
def test_arguments_are_checked(weights: dict[str, float], seed: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Balancer(weights, seed=seed)


CONSECUTIVE, EJECTION = 2, 8.0


class BalanceMachine(RuleBasedStateMachine):
    """Requests in any order.  The model: for each target its failures in a row, and its state."""

    flights: Bundle[str | None] = Bundle("flights")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.balancer = Balancer(
            EVEN,
            BalanceSettings(
                consecutive=CONSECUTIVE, ejection_time=EJECTION, max_ejection_time=EJECTION
            ),
            seed=b"s",
        )
        self.in_flight = Counter[str]()
        self.failures = Counter[str]()
        self.ejected: dict[str, float] = {}
        self.down: set[str] = set()
        self.told = dict.fromkeys(EVEN, Standing.USABLE)

    def usable(self) -> set[str]:
        self.ejected = {name: end for name, end in self.ejected.items() if end > self.now}
        return EVEN.keys() - self.ejected.keys() - self.down

    @rule(target=flights, without=st.sets(st.sampled_from("abcd"), max_size=2))
    def choose(self, without: set[str]) -> str | None:
        chosen = self.balancer.choose(now=self.now, without=without)
        usable = self.usable()
        candidates = (EVEN.keys() if len(usable) < 2 else usable) - without
        assert chosen in candidates if candidates else chosen is None
        if chosen is not None:
            self.in_flight[chosen] += 1
        return chosen

    @rule(name=consumes(flights), failed=st.sampled_from((True, True, False, None)))
    def record(self, name: str | None, failed: bool | None) -> None:
        if name is None:
            return
        self.balancer.handle_timeout(self.now)
        self.balancer.record(name, failed=failed, now=self.now)
        usable = self.usable()
        self.in_flight[name] -= 1
        if failed is not None:
            self.failures[name] = self.failures[name] + 1 if failed else 0
        room = len(self.ejected) < 2
        if failed and self.failures[name] >= CONSECUTIVE and name in usable and room:
            self.failures[name] = 0
            self.ejected[name] = self.now + EJECTION

    @rule(name=st.sampled_from("abcd"), up=st.booleans())
    def mark(self, name: str, up: bool) -> None:
        self.balancer.handle_timeout(self.now)
        self.usable()
        self.balancer.mark(name, up=up)
        if up:
            self.down.discard(name)
        else:
            self.down.add(name)
            self.ejected.pop(name, None)

    @rule(seconds=st.sampled_from((1.0, 8.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_agrees_with_the_model(self) -> None:
        self.balancer.handle_timeout(self.now)
        usable = self.usable()
        for name, target in self.balancer._targets.items():
            assert target.in_flight == self.in_flight[name] >= 0
            assert (target.standing is Standing.USABLE) is (name in usable)
        assert self.balancer.deadline() == min(self.ejected.values(), default=None)
        assert self.balancer.panic is (len(usable) < 2)

    @invariant()
    def events_tell_of_every_change(self) -> None:
        for event in iter(self.balancer.next_event, None):
            if isinstance(event, StandingChanged):
                assert self.told[event.target] is event.before
                self.told[event.target] = event.after
                moves = [after for (state, _), after in STANDING.items() if state is event.before]
                assert event.after in moves
        standing = {name: each.standing for name, each in self.balancer._targets.items()}
        assert standing == self.told


TestBalanceMachine = BalanceMachine.TestCase


def test_the_table_has_every_signal() -> None:
    assert {signal for _, signal in STANDING} == set(StandingSignal)


@pytest.mark.parametrize("wrong", [{"consecutive": 0}, {"panic": -1}, {"max_sessions": 0}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        BalanceSettings(**wrong)
