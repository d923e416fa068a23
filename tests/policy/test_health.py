"""Health of servers: by requests first, by probes when there are none; against a plain model."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mcpcore.policy.health import (
    CONDITION,
    Condition,
    ConditionChanged,
    ConditionSignal,
    Health,
    HealthSettings,
    ProbeDue,
)
from mcpcore.spec.methods import lookup
from mcpcore.spec.revisions import LATEST, REVISIONS, Revision

DOWN_AFTER, UP_AFTER, INTERVAL, PROBE_TIME = 3, 2, 30.0, 10.0


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda each: each.name)
def test_a_probe_is_a_request_of_the_revision(revision: Revision) -> None:
    health = Health(revision, now=0.0)
    health.handle_timeout(INTERVAL)
    event = health.next_event()
    assert isinstance(event, ProbeDue)
    assert event.method == ("server/discover" if revision.modern else "ping")
    assert lookup(event.method, "client", revision) is not None


def test_requests_make_probes_needless() -> None:
    health = Health(LATEST, now=0.0)
    for now in range(0, 300, 20):
        health.handle_timeout(now)
        health.record(failed=False, now=now)
    assert list(iter(health.next_event, None)) == [
        ConditionChanged(before=Condition.UNKNOWN, after=Condition.UP)
    ]


def test_a_server_that_answers_no_probe_is_down() -> None:
    health, now = Health(LATEST, now=0.0), 0.0
    for _ in range(2 * DOWN_AFTER):
        assert health.condition is Condition.UNKNOWN
        now = health.deadline()
        health.handle_timeout(now)
    assert health.condition is Condition.DOWN
    assert now == DOWN_AFTER * (INTERVAL + PROBE_TIME)


class HealthMachine(RuleBasedStateMachine):
    """Outcomes and silence.  The model: the outcomes in a row, and the time of the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        settings = HealthSettings(down_after=DOWN_AFTER, up_after=UP_AFTER)
        self.health = Health(LATEST, settings, now=0.0)
        self.row: list[bool] = []
        self.heard = 0.0
        self.probed: float | None = None
        self.condition = self.told = Condition.UNKNOWN
        self.probes = 0

    def take(self, failed: bool) -> None:
        self.heard, self.probed = self.now, None
        self.row = [*self.row, failed] if self.row[-1:] == [failed] else [failed]
        if failed and len(self.row) >= DOWN_AFTER:
            self.condition = Condition.DOWN
        if not failed and len(self.row) >= UP_AFTER:
            self.condition = Condition.UP

    @rule(failed=st.booleans())
    def record(self, failed: bool) -> None:
        self.health.record(failed=failed, now=self.now)
        self.take(failed)

    @rule()
    def postpone(self) -> None:
        self.health.postpone(self.now)
        self.heard, self.probed = self.now, None

    @rule(seconds=st.sampled_from((5.0, 10.0, 29.0, 31.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.health.handle_timeout(self.now)
        if self.probed is not None:
            if self.now >= self.probed + PROBE_TIME:
                self.take(True)
        elif self.now >= self.heard + INTERVAL:
            self.probed = self.now
            self.probes += 1

    @invariant()
    def it_agrees_with_the_model(self) -> None:
        for event in iter(self.health.next_event, None):
            if isinstance(event, ProbeDue):
                self.probes -= 1
            elif isinstance(event, ConditionChanged):
                assert event.before is self.told is not event.after
                self.told = event.after
        assert self.probes == 0
        assert self.health.condition is self.condition is self.told
        later = self.heard + INTERVAL if self.probed is None else self.probed + PROBE_TIME
        assert self.health.deadline() == later


TestHealthMachine = HealthMachine.TestCase


def test_the_table_is_whole() -> None:
    assert set(CONDITION) == {(state, each) for state in Condition for each in ConditionSignal}


@pytest.mark.parametrize("wrong", [{"interval": 0.0}, {"down_after": 0}, {"up_after": 0}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        HealthSettings(**wrong)
