"""Retries: the rules one by one, and any sequence of calls against a plain model of the budget."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mcpcore.policy.failures import RequestFailure
from mcpcore.policy.retrying import (
    NoRetry,
    RetriedCall,
    RetryDenied,
    Retrying,
    RetryPlanned,
    RetrySettings,
)

PASSING = RequestFailure(passing=True)
UNSENT = RequestFailure(passing=True, not_carried_out=True)


def waits(wait: float) -> RequestFailure:
    return RequestFailure(passing=True, wait=wait)


@pytest.mark.parametrize(
    ("failures", "settings", "call", "delays", "reason"),
    [
        ([PASSING] * 3, {}, {}, [0.5, 1.0, None], NoRetry.ATTEMPTS),
        ([PASSING] * 5, {"attempts": 5, "max_delay": 1.5}, {}, [0.5, 1.0, 1.5, 1.5, None], "..."),
        ([PASSING] * 2, {"attempts": 3, "growth": 1}, {}, [0.5, 0.5], None),
        ([PASSING], {"attempts": 1}, {}, [None], NoRetry.ATTEMPTS),
        ([RequestFailure()], {}, {}, [None], None),
        ([PASSING], {}, {"repeatable": False}, [None], NoRetry.UNSAFE),
        ([UNSENT, PASSING], {}, {"repeatable": False}, [0.5, None], NoRetry.UNSAFE),
        ([waits(4.0)], {}, {}, [4.5], None),
        (
            [PASSING, waits(0.1)],
            {"first_delay": 0, "max_wait": 0},
            {},
            [0.0, None],
            NoRetry.WAIT,
        ),
        ([waits(60.0), waits(60.1)], {}, {"timeout": None}, [60.5, None], NoRetry.WAIT),
        ([PASSING], {}, {"timeout": 0.51}, [0.5], None),
        ([PASSING], {}, {"timeout": 0.5}, [None], NoRetry.DEADLINE),
        ([waits(10.0)], {}, {"timeout": 10.0}, [None], NoRetry.DEADLINE),
        ([PASSING] * 2, {"budget_size": 1, "budget_rate": 0}, {}, [0.5, None], NoRetry.BUDGET),
    ],
)
def test_a_call_is_retried_by_the_rules(
    failures: list[RequestFailure],
    settings: dict[str, Any],
    call: dict[str, Any],
    delays: list[float | None],
    reason: Any,
) -> None:
    retrying = Retrying(RetrySettings(**settings))
    repeatable = call.get("repeatable", True)
    made = retrying.begin(now=0.0, timeout=call.get("timeout", 30.0))
    assert delays == [
        retrying.failed(made, each, repeatable=repeatable, now=0.0) for each in failures
    ]
    told = list(iter(retrying.next_event, None))
    for number, (event, delay) in enumerate(zip(told, delays, strict=False), 2):
        if delay is not None:
            assert event == RetryPlanned(attempt=number, delay=delay)
    denied = [event for event in told if isinstance(event, RetryDenied)]
    if reason is None:
        assert denied == []
    else:
        attempts = sum(delay is not None for delay in delays) + 1
        why = NoRetry.ATTEMPTS if reason == "..." else reason
        assert denied == [RetryDenied(attempts=attempts, reason=why)]


def test_each_retry_costs_one_of_the_budget() -> None:
    retrying = Retrying(RetrySettings(budget_share=0, budget_rate=0, budget_size=20))
    calls = [retrying.begin(now=0.0, timeout=None) for _ in range(30)]
    delays = [retrying.failed(call, PASSING, repeatable=True, now=0.0) for call in calls]
    assert delays == [0.5] * 20 + [None] * 10


def test_the_budget_is_that_of_all_calls_and_of_time() -> None:
    retrying = Retrying(RetrySettings(budget_share=0.25, budget_rate=0.5, budget_size=2.0))

    def granted(now: float, calls: int) -> int:
        made = [retrying.begin(now=now, timeout=None) for _ in range(calls)]
        return sum(
            retrying.failed(call, PASSING, repeatable=True, now=now) is not None for call in made
        )

    assert granted(0.0, 10) == 2  # what is saved up; it was full already
    assert granted(0.0, 3) == 0
    assert granted(0.0, 5) == 2  # a quarter of eight calls
    assert granted(1.0, 1) == 0
    assert granted(2.5, 1) == 1  # half a retry a second, and half of two calls
    assert granted(1000.0, 1) == 1
    assert granted(1000.0, 2) == 1  # no more than two were saved up
    assert granted(1000.0, 1) == 0


def test_the_jitter_is_full_and_repeatable() -> None:
    def delays(seed: bytes) -> list[float | None]:
        retrying = Retrying(RetrySettings(budget_size=1000), seed=seed)
        calls = [retrying.begin(now=0.0, timeout=None) for _ in range(500)]
        return [retrying.failed(call, PASSING, repeatable=True, now=0.0) for call in calls]

    made = delays(b"a")
    assert made == delays(b"a") != delays(b"b")
    known = [delay for delay in made if delay is not None]
    assert len(known) == 500
    assert 0 < min(known) < 0.02
    assert 0.48 < max(known) <= 0.5
    assert 0.2 < sum(known) / 500 < 0.3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"attempts": 0}, "attempts must be at least 1"),
        ({"growth": 0.5}, "growth must be at least 1"),
        ({"growth": float("nan")}, "growth must be"),
        ({"max_delay": -1}, "max_delay must be at least 0"),
        ({"budget_size": 0}, "budget_size must be above 0"),
    ],
)
def test_settings_are_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetrySettings(**wrong)


SHARE, RATE, SIZE, ATTEMPTS = 0.25, 0.5, 3.0, 3


class RetryMachine(RuleBasedStateMachine):
    """Calls in any interleaving.  The model: a list of times, and what was granted at each."""

    calls: Bundle[tuple[RetriedCall, list[float]]] = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.begun: list[float] = []
        self.granted: list[float] = []
        self.retrying = Retrying(
            RetrySettings(
                attempts=ATTEMPTS, budget_share=SHARE, budget_rate=RATE, budget_size=SIZE
            ),
            seed=b"seed",
        )

    @rule(target=calls, timeout=st.none() | st.integers(1, 9))
    def begin(self, timeout: int | None) -> tuple[RetriedCall, list[float]]:
        self.begun.append(self.now)
        call = self.retrying.begin(now=self.now, timeout=timeout)
        assert call.deadline == (None if timeout is None else self.now + timeout)
        return call, []

    @rule(
        made=consumes(calls),
        target=calls,
        passing=st.booleans(),
        repeatable=st.booleans(),
        unsent=st.booleans(),
        wait=st.none() | st.sampled_from((0.5, 5.0, 500.0)),
    )
    def fail(
        self,
        made: tuple[RetriedCall, list[float]],
        passing: bool,
        repeatable: bool,
        unsent: bool,
        wait: float | None,
    ) -> tuple[RetriedCall, list[float]]:
        call, retries = made
        failure = RequestFailure(passing=passing, not_carried_out=unsent, wait=wait)
        delay = self.retrying.failed(call, failure, repeatable=repeatable, now=self.now)
        if delay is not None:
            assert passing
            assert repeatable or unsent
            assert (wait or 0.0) <= delay <= (wait or 0.0) + 2 ** len(retries) * 0.5
            assert wait is None or wait <= 60
            assert call.deadline is None or self.now + delay < call.deadline
            retries.append(delay)
            self.granted.append(self.now)
            assert len(retries) < ATTEMPTS
        return made

    @rule(seconds=st.sampled_from((0.25, 1.0, 20.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_budget_holds(self) -> None:
        """In any stretch of time, retries are bounded by calls, time, and what was saved up."""
        for first, since in enumerate(self.granted):
            calls = sum(begun >= since for begun in self.begun)
            allowed = SIZE + SHARE * calls + RATE * (self.now - since)
            assert len(self.granted) - first <= allowed + 1e-9


TestRetryMachine = RetryMachine.TestCase
