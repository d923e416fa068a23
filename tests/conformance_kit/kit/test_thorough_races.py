"""A thorough run races a thousand cancellations with their answers, and notices what is seldom."""

from typing import Any

import pytest

from conformance.mutants.fault import Breaks, Fault
from conformance.mutants.faults import asks
from mcpcore_conformance.kit.messages import error
from mcpcore_conformance.kit.model import Binding, Result, Verdict
from tests.conformance_kit.runs import NEW, OLD, cases_of, faulty, ran

RACES = cases_of("basic/patterns/cancellation/timing-considerations/races")
ALL, FEW = 1000, 20


class Counter:
    """Makes faults that count cancellations, and answer one of them, if any."""

    def __init__(self, answered: int = 0) -> None:
        self.seen = 0
        self.answered = answered

    def __call__(self) -> Fault:
        return _Counting(self)


class _Counting(Fault):
    counter: Counter

    def said(self, value: Any, payload: bytes) -> bytes | None:
        if asks("notifications/cancelled")(value):
            self.counter.seen += 1
            if self.counter.seen == self.counter.answered:
                self.answer(error(value["params"]["requestId"], -32800, "Request cancelled"))
        return payload


def raced(binding: Binding, revision: str, fault: Breaks, thorough: bool) -> Result:
    run = ran(faulty(binding, fault), RACES, revision, thorough=thorough, timeout=20.0)
    (result,) = run.results
    return result


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("revision", [OLD, NEW])
@pytest.mark.parametrize("binding", [Binding.CORE, Binding.MEMORY])
def test_a_thousand_races_do_no_harm(binding: Binding, revision: str) -> None:
    counter = Counter()
    result = raced(binding, revision, counter, True)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")
    assert counter.seen == ALL


@pytest.mark.long
@pytest.mark.parametrize("revision", [OLD, NEW])
def test_what_goes_wrong_once_in_a_thousand_times_is_noticed(revision: str) -> None:
    few, all_of_them = Counter(answered=700), Counter(answered=700)
    assert raced(Binding.CORE, revision, few, False).verdict is Verdict.PASSED
    assert few.seen == FEW
    result = raced(Binding.CORE, revision, all_of_them, True)
    assert result.verdict is Verdict.FAILED
    assert "answered twice" in result.detail
