"""The circuit breaker: its rules, and any interleaving of calls against a plain model."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mcpcore.policy.breaker import (
    CIRCUIT,
    Breaker,
    BreakerSettings,
    Circuit,
    CircuitChanged,
    CircuitSignal,
    Permit,
)


def call(breaker: Breaker, failed: bool | None, now: float) -> bool:
    """Make a call that ends at once; return False if it was not admitted."""
    permit = breaker.admit(now=now)
    if permit is not None:
        breaker.record(permit, failed=failed, now=now)
    return permit is not None


def state(breaker: Breaker) -> Circuit:
    """Return its state, in a form that a type checker does not narrow."""
    return breaker.state


def opened(**settings: Any) -> Breaker:
    breaker = Breaker(BreakerSettings(consecutive=1, **settings), name="add")
    assert call(breaker, True, 0.0)
    assert state(breaker) is Circuit.OPEN
    return breaker


@pytest.mark.parametrize(
    ("outcomes", "settings", "opens"),
    [
        ([True] * 4, {}, False),
        ([True] * 5, {}, True),
        ([True] * 4 + [False] + [True] * 4, {}, False),
        ([True] * 4 + [None] + [True], {}, True),
        ([True, False] * 9 + [False], {}, False),
        ([True, False] * 10, {}, False),  # a success does not open it
        ([True, False] * 10 + [True], {}, True),
        ([True, False, False] * 30 + [True], {}, False),
        ([True, False] * 20 + [True], {"rate": 1.1}, False),
        ([False] * 3 + [True], {"rate": 0.25, "min_calls": 4}, True),
        ([False] * 3 + [True], {"rate": 0.26, "min_calls": 4}, False),
    ],
)
def test_it_opens_by_failures_in_a_row_and_by_their_share(
    outcomes: list[bool | None], settings: dict[str, Any], opens: bool
) -> None:
    breaker = Breaker(BreakerSettings(**settings))
    for outcome in outcomes:
        assert call(breaker, outcome, 0.0)
    assert (breaker.state is Circuit.OPEN) is opens


@pytest.mark.parametrize(
    ("outcomes", "opens"),
    [
        ("a" * 50, False),
        ("aaaab", True),
        ("abcde", True),
        ("aaaa.b", False),  # somebody has got a result
        ("aaab.", False),
        ("----a", False),
        ("----a-", True),
        ("a." * 30 + "b", False),  # in no rate
        ("ab." * 30 + "b", False),
    ],
)
def test_failures_that_may_be_those_of_a_party_count_with_those_of_others(
    outcomes: str, opens: bool
) -> None:
    """A dot is a success, a hyphen a failure that is the server's own."""
    breaker = Breaker(BreakerSettings())
    for each in outcomes:
        permit = breaker.admit(now=0.0)
        assert permit is not None
        party = each if each.isalpha() else None
        breaker.record(permit, failed=each != ".", now=0.0, party=party)
    assert (breaker.state is Circuit.OPEN) is opens


def test_the_share_is_that_of_the_window() -> None:
    breaker = Breaker(BreakerSettings(window=30.0, min_calls=4, rate=0.5))
    for now in (0.0, 2.9):  # within a tenth of it, so that they leave it together
        for outcome in (True, False):
            assert call(breaker, outcome, now)
    for outcome in (True, False, True):
        assert call(breaker, outcome, 30.0)
        assert state(breaker) is Circuit.CLOSED
    call(breaker, True, 30.0)
    assert state(breaker) is Circuit.OPEN


def test_what_is_young_stays_in_the_window_when_what_is_old_leaves_it() -> None:
    breaker = Breaker(BreakerSettings(window=30.0, min_calls=4, rate=0.5))
    for outcome, now in ((False, 0.0), (True, 3.0), (False, 3.0), (False, 30.0)):
        assert call(breaker, outcome, now)
    assert state(breaker) is Circuit.CLOSED
    call(breaker, True, 30.0)
    assert state(breaker) is Circuit.OPEN


@pytest.mark.parametrize("settings", [{"consecutive": 3}, {"min_calls": 3}])
def test_what_opened_it_does_not_count_again(settings: dict[str, int]) -> None:
    breaker = Breaker(BreakerSettings(**{"consecutive": 100, **settings}, open_time=10.0))
    for _ in range(3):
        assert call(breaker, True, 0.0)
    assert state(breaker) is Circuit.OPEN
    assert call(breaker, False, 10.0)
    for _ in range(2):
        assert call(breaker, True, 10.0)
        assert state(breaker) is Circuit.CLOSED


def test_exactly_one_probe() -> None:
    breaker = opened(open_time=10.0)
    assert not call(breaker, False, 9.9)
    probe = breaker.admit(now=10.0)
    assert probe is not None
    assert [breaker.admit(now=10.0 + each) for each in range(20)] == [None] * 20
    breaker.record(probe, failed=False, now=31.0)
    assert state(breaker) is Circuit.CLOSED
    assert call(breaker, False, 31.0)


def test_each_failed_probe_prolongs_the_time() -> None:
    breaker = opened(open_time=0.5, growth=3.0, max_open_time=2.5)
    now, times = 0.0, []
    for _ in range(4):
        deadline = breaker.deadline()
        assert deadline is not None
        times.append(deadline - now)
        now = deadline
        assert call(breaker, True, now)
    assert times == [0.5, 1.5, 2.5, 2.5]
    assert call(breaker, False, now + 2.5)
    assert call(breaker, True, now + 2.5)
    assert breaker.deadline() == now + 3.0  # after a success it begins anew


@pytest.mark.parametrize(
    ("parties", "times"),
    [
        ("ab", [10.0, 20.0, 40.0, 80.0]),  # a, then b: it is the server's fault
        ("abc", [10.0, 20.0, 40.0, 80.0]),
        ("a", [10.0, 30.0, 70.0, 150.0]),  # nobody else is there
    ],
)
def test_a_failed_probe_opens_it_again_whosever_it_was(parties: str, times: list[float]) -> None:
    breaker = Breaker(BreakerSettings(consecutive=2, open_time=10.0, growth=2.0))
    admitted: list[float] = []
    breaker.record(Permit(0), failed=True, now=0.0, party="b")
    breaker.record(Permit(0), failed=True, now=0.0, party="a")
    for now in map(float, range(160)):
        for party in parties:
            permit = breaker.admit(now=now, party=party)
            if permit is not None:
                breaker.record(permit, failed=True, now=now, party=party)
                admitted.append(now)
    assert admitted[:4] == times


def test_a_party_whose_probes_fail_keeps_no_other_from_the_server() -> None:
    """It asks again and again, and gets the first probe whenever there is one for it."""
    breaker = opened(open_time=10.0, growth=2.0)
    waits: list[float] = []
    for _ in range(20):
        now = breaker.deadline()
        assert now is not None
        permit = breaker.admit(now=now, party="eve")
        if permit is None:
            break
        breaker.record(permit, failed=True, now=now, party="eve")
        waits.append(now)
    assert waits == [10.0]
    assert breaker.admit(now=20.0, party="ann") is not None


@pytest.mark.parametrize(("several", "opens"), [(False, False), (True, True)])
def test_failures_of_one_party_count_if_it_may_be_several(several: bool, opens: bool) -> None:
    breaker = Breaker(BreakerSettings(consecutive=2, min_calls=4))
    for failed in (True, True, True, False, True, True, True, True):
        assert breaker.state is Circuit.CLOSED
        breaker.record(Permit(0), failed=failed, now=0.0, party="x", several=several)
    assert (state(breaker) is Circuit.OPEN) is opens


@pytest.mark.parametrize("how", ["cancelled", "forgotten"])
def test_a_probe_without_an_outcome_gives_way_to_another(how: str) -> None:
    breaker = opened(open_time=10.0, probe_time=5.0)
    probe = breaker.admit(now=10.0)
    assert probe is not None
    if how == "cancelled":
        breaker.record(probe, failed=None, now=11.0)
    else:
        assert breaker.deadline() == 15.0
        breaker.handle_timeout(14.9)
        assert state(breaker) is Circuit.PROBING
        breaker.handle_timeout(15.0)
    assert state(breaker) is Circuit.HALF_OPEN
    assert breaker.deadline() is None
    other = breaker.admit(now=15.0)
    assert other is not None
    breaker.record(probe, failed=False, now=16.0)  # too late
    assert state(breaker) is Circuit.PROBING
    breaker.record(other, failed=False, now=16.0)
    assert state(breaker) is Circuit.CLOSED


def test_a_call_from_before_says_nothing_of_now() -> None:
    breaker = Breaker(BreakerSettings(consecutive=1, open_time=10.0))
    slow, late = breaker.admit(now=0.0), breaker.admit(now=0.0)
    assert slow is not None
    assert late is not None
    assert call(breaker, True, 1.0)
    breaker.record(slow, failed=False, now=2.0)
    assert state(breaker) is Circuit.OPEN
    assert call(breaker, False, 11.0)
    breaker.record(late, failed=True, now=12.0)
    assert state(breaker) is Circuit.CLOSED


def test_every_change_is_an_event() -> None:
    breaker = opened(open_time=10.0)
    call(breaker, True, 10.0)
    call(breaker, False, 30.0)
    states = [Circuit.CLOSED, Circuit.OPEN, *[Circuit.HALF_OPEN, Circuit.PROBING, Circuit.OPEN]]
    states += [Circuit.HALF_OPEN, Circuit.PROBING, Circuit.CLOSED]
    assert list(iter(breaker.next_event, None)) == [
        CircuitChanged(name="add", before=before, after=after) for before, after in pairwise(states)
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"consecutive": 0}, "consecutive must be at least 1"),
        ({"open_time": 0.0}, "open_time must be above 0"),
        ({"growth": 0.5}, "growth must be at least 1"),
    ],
)
def test_settings_are_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BreakerSettings(**wrong)


CONSECUTIVE, OPEN_TIME, PROBE_TIME = 3, 8.0, 5.0


class BreakerMachine(RuleBasedStateMachine):
    """Calls that overlap in any way.  The model has the state, and the one permit that counts."""

    permits: Bundle[Permit | None] = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(
            BreakerSettings(
                consecutive=CONSECUTIVE,
                rate=2.0,
                open_time=OPEN_TIME,
                growth=1.0,
                probe_time=PROBE_TIME,
            )
        )
        self.current: list[Permit] = []
        """Permits whose outcome counts: those of this time of being closed, or the probe's."""
        self.failures = 0
        self.closed = True
        self.opens_at = 0.0
        self.probe_until: float | None = None

    def pass_time(self) -> None:
        if self.probe_until is not None and self.now >= self.probe_until:
            self.probe_until, self.opens_at, self.current = None, self.now, []

    @rule(target=permits)
    def admit(self) -> Permit | None:
        self.pass_time()
        permit = self.breaker.admit(now=self.now)
        allowed = self.closed or (self.now >= self.opens_at and self.probe_until is None)
        assert (permit is not None) is allowed
        if permit is not None:
            if not self.closed:
                self.probe_until, self.current = self.now + PROBE_TIME, []
            self.current.append(permit)
        return permit

    @rule(permit=consumes(permits), failed=st.none() | st.booleans())
    def record(self, permit: Permit | None, failed: bool | None) -> None:
        if permit is None:
            return
        counts = permit in self.current
        self.breaker.record(permit, failed=failed, now=self.now)
        if not counts:
            return
        self.current.remove(permit)
        if self.closed:
            if failed is not None:
                self.failures = self.failures + 1 if failed else 0
            if self.failures == CONSECUTIVE:
                self.closed, self.opens_at, self.current = False, self.now + OPEN_TIME, []
        else:
            self.probe_until, self.current = None, []
            self.opens_at = self.now + OPEN_TIME if failed else self.now
            if failed is False:
                self.closed, self.failures = True, 0

    @rule(seconds=st.sampled_from((0.5, 3.0, 8.0)), told=st.booleans())
    def wait(self, seconds: float, told: bool) -> None:
        self.now += seconds
        if told:
            self.breaker.handle_timeout(self.now)
            self.pass_time()

    @invariant()
    def the_table_holds(self) -> None:
        for event in iter(self.breaker.next_event, None):
            moves = [after for (before, _), after in CIRCUIT.items() if before is event.before]
            assert event.after in moves

    @invariant()
    def it_is_closed_with_the_model(self) -> None:
        assert (self.breaker.state is Circuit.CLOSED) is self.closed


TestBreakerMachine = BreakerMachine.TestCase


def test_the_table_has_every_signal() -> None:
    assert {signal for _, signal in CIRCUIT} == set(CircuitSignal)
