"""All policies together, before servers with faults, on a clock that jumps from event to event.

Each seed is a world: calls that overlap, servers that refuse, lose answers, stall and recover.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from random import Random

import pytest
from msgspec import Struct, field

from mcpcore.engine.events import EndReason, Fault, FaultKind
from mcpcore.policy.balancing import Balancer, BalanceSettings, Standing
from mcpcore.policy.breaker import Breaker, BreakerSettings, Circuit, Permit
from mcpcore.policy.failures import RequestFailure, failure_of_end, failure_of_error
from mcpcore.policy.health import Condition, ConditionChanged, Health, ProbeDue
from mcpcore.policy.rates import Activity, Rate, RateLimits
from mcpcore.policy.retrying import RetriedCall, Retrying, RetrySettings
from mcpcore.spec.errors import BUSY, INTERNAL_ERROR, ErrorData
from mcpcore.spec.revisions import REVISIONS

SERVERS, CALLS = ("a", "b", "c"), 150
BUDGET = RetrySettings(attempts=4, budget_share=0.3, budget_rate=0.2, budget_size=5.0)

FAULTS: dict[str, tuple[RequestFailure, bool]] = {
    "connect": (failure_of_end(EndReason.CLOSED, Fault(FaultKind.CONNECT)), False),
    "limited": (failure_of_end(EndReason.REFUSED, Fault(FaultKind.STATUS, 429, 2.0)), False),
    "gateway": (failure_of_end(EndReason.REFUSED, Fault(FaultKind.STATUS, 503)), True),
    "lost": (failure_of_end(EndReason.CLOSED), True),
    "internal": (failure_of_error(ErrorData(INTERNAL_ERROR, "m")), True),
    "busy": (failure_of_error(ErrorData.make(BUSY, "m", {"retryAfterMs": 700})), False),
}
"""Failures of a server, and whether it has carried the request out by then."""


class Call(Struct, eq=False):
    number: int
    repeatable: bool
    state: RetriedCall
    carried_out: int = 0
    ends: list[str] = field(default_factory=list)


class World:
    """The calls of one caller to three servers."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.retrying = Retrying(BUDGET, seed=b"%d" % seed)
        weights = {name: self.chance.choice((1.0, 2.0)) for name in SERVERS}
        ejections = BalanceSettings(ejection_time=5.0, consecutive=3)
        self.balancer = Balancer(weights, ejections, seed=b"%d" % seed)
        breaking = BreakerSettings(consecutive=4, open_time=4.0, probe_time=6.0, min_calls=10)
        self.breakers = {name: Breaker(breaking, name=name) for name in SERVERS}
        self.health = {name: Health(self.chance.choice(REVISIONS), now=0.0) for name in SERVERS}
        self.limits = RateLimits({Activity.TOOLS: Rate(3, burst=3)})
        self.troubled: dict[str, float] = dict.fromkeys(SERVERS, 0.0)
        """Shares of requests that fail, by server."""
        self.probes = Counter[str]()
        """Calls in flight that were admitted as probes, by server."""
        self.calls: list[Call] = []
        self.retries: list[float] = []

    def at(self, delay: float, what: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._agenda, (self.now + delay, self._count, what))

    def run(self) -> None:
        for number in range(CALLS):
            self.at(self.chance.uniform(0, 60), partial(self.begin, number))
        for _ in range(12):
            self.at(self.chance.uniform(0, 60), self.trouble)
        self.at(0.0, self.tick)
        while self._agenda:
            self.now, _, what = heappop(self._agenda)
            what()

    def trouble(self) -> None:
        self.troubled[self.chance.choice(SERVERS)] = self.chance.choice((0.0, 0.3, 1.0))

    def tick(self) -> None:
        """Keep the deadlines of all policies; health goes by probes of its own."""
        self.balancer.handle_timeout(self.now)
        for name in SERVERS:
            self.breakers[name].handle_timeout(self.now)
            self.health[name].handle_timeout(self.now)
            for event in iter(self.health[name].next_event, None):
                if isinstance(event, ProbeDue) and self.chance.random() < 0.9:  # else it is lost
                    failed = self.chance.random() < self.troubled[name]
                    self.health[name].record(failed=failed, now=self.now)
                elif isinstance(event, ConditionChanged):
                    self.balancer.mark(name, up=event.after is Condition.UP)
        if self.now < 120:
            self.at(1.0, self.tick)

    def begin(self, number: int) -> None:
        repeatable, timeout = self.chance.random() < 0.5, self.chance.choice((None, 3.0, 20.0))
        state = self.retrying.begin(now=self.now, timeout=timeout)
        call = Call(number, repeatable, state)
        self.calls.append(call)
        if self.limits.admit(Activity.TOOLS, "ada", now=self.now) > 0:
            call.ends.append("limited here")
        else:
            self.attempt(call, set())

    def attempt(self, call: Call, tried: set[str]) -> None:
        assert call.state.deadline is None or self.now < call.state.deadline
        name = self.balancer.choose(now=self.now, without=tried)
        if name is None:
            call.ends.append("nobody is left")
            return
        breaker = self.breakers[name]
        permit = breaker.admit(now=self.now)
        if permit is None:
            self.balancer.record(name, failed=None, now=self.now)
            self.attempt(call, {*tried, name})
            return
        probe = breaker.state is Circuit.PROBING
        if probe:
            self.probes[name] += 1
            assert self.probes[name] == 1
        fault = None
        if self.chance.random() < self.troubled[name]:
            fault = self.chance.choice((*FAULTS, "cancelled"))
        call.carried_out += fault is None or (fault in FAULTS and FAULTS[fault][1])
        self.at(self.chance.uniform(0.01, 1.5), lambda: self.end(call, name, permit, fault, probe))

    def end(self, call: Call, name: str, permit: Permit, fault: str | None, probe: bool) -> None:
        if probe:
            self.probes[name] -= 1
        if fault == "cancelled":
            self.settle(name, permit, None)
            call.ends.append(fault)
            return
        failure = None if fault is None else FAULTS[fault][0]
        self.settle(name, permit, failure is not None and failure.blames_server)
        if failure is None:
            call.ends.append("answered")
            return
        delay = self.retrying.failed(call.state, failure, repeatable=call.repeatable, now=self.now)
        if delay is None:
            call.ends.append(str(fault))
            return
        self.retries.append(self.now)
        self.at(delay, lambda: self.attempt(call, set()))

    def settle(self, name: str, permit: Permit, failed: bool | None) -> None:
        self.breakers[name].record(permit, failed=failed, now=self.now)
        self.balancer.record(name, failed=failed, now=self.now)
        if failed is not None:
            self.health[name].record(failed=failed, now=self.now)


def check(seed: int) -> World:
    world = World(seed)
    world.run()
    assert len(world.calls) == CALLS
    for call in world.calls:
        assert len(call.ends) == 1, "every call ends exactly once"
        assert call.state.attempts <= BUDGET.attempts
        assert call.repeatable or call.carried_out <= 1, "not carried out twice"
    for first, since in enumerate(world.retries):
        seconds = world.retries[-1] - since
        allowed = BUDGET.budget_size + BUDGET.budget_share * CALLS + BUDGET.budget_rate * seconds
        assert len(world.retries) - first <= allowed
    assert all(target.in_flight == 0 for target in world.balancer._targets.values())
    assert not +world.probes
    return world


def test_a_hundred_worlds_keep_the_rules() -> None:
    ends, attempts = Counter[str](), Counter[int]()
    states, standings = set[Circuit](), set[Standing]()
    for seed in range(100):
        world = check(seed)
        ends.update(call.ends[0] for call in world.calls)
        attempts.update(call.state.attempts for call in world.calls)
        for breaker in world.breakers.values():
            states.update(event.after for event in iter(breaker.next_event, None))
        for event in iter(world.balancer.next_event, None):
            standings.add(getattr(event, "after", Standing.USABLE))
    # The worlds are worth looking at: everything occurs in them.
    assert {*FAULTS, "answered", "cancelled", "limited here", "nobody is left"} == ends.keys()
    assert set(attempts) == {1, 2, 3, 4}
    assert states == set(Circuit)
    assert standings == set(Standing)


@pytest.mark.long
@pytest.mark.repeats
@pytest.mark.parametrize("part", range(10))
def test_thousands_of_worlds_keep_the_rules(part: int) -> None:
    for seed in range(1000 + 200 * part, 1200 + 200 * part):
        check(seed)


def test_a_seed_is_a_world() -> None:
    assert [call.ends for call in check(7).calls] == [call.ends for call in check(7).calls]
