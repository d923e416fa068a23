"""Events of the policies that nobody takes."""

from collections.abc import Callable

import pytest

from mcpcore.engine.events import Event
from mcpcore.policy import EVENTS
from mcpcore.policy.balancing import Balancer
from mcpcore.policy.breaker import Breaker, BreakerSettings
from mcpcore.policy.failures import RequestFailure
from mcpcore.policy.health import Health
from mcpcore.policy.retrying import Retrying
from mcpcore.spec.revisions import LATEST


def balancing(times: int) -> Balancer:
    balancer = Balancer({"a": 1.0}, seed=b"s")
    for number in range(times):
        balancer.mark("a", up=number % 2 == 1)
    return balancer


def breaking(times: int) -> Breaker:
    breaker = Breaker(BreakerSettings(consecutive=1))
    for number in range(times):
        permit = breaker.admit(now=1000.0 * number)
        assert permit is not None
        breaker.record(permit, failed=True, now=1000.0 * number)
    return breaker


def probing(times: int) -> Health:
    health = Health(LATEST, now=0.0)
    for _ in range(2 * times):
        health.handle_timeout(health.deadline())
    return health


def retrying(times: int) -> Retrying:
    policy = Retrying()
    for _ in range(times):
        call = policy.begin(now=0.0, timeout=None)
        policy.failed(call, RequestFailure(passing=True), repeatable=False, now=0.0)
    return policy


@pytest.mark.parametrize("make", [balancing, breaking, probing, retrying])
def test_only_so_many_are_kept(
    make: Callable[[int], Balancer | Breaker | Health | Retrying],
) -> None:
    next_event: Callable[[], Event | None] = make(EVENTS + 5).next_event
    assert len(list(iter(next_event, None))) == EVENTS
