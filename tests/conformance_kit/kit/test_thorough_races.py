"""A thorough run races a thousand cancellations with their answers, and notices what is seldom."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from conformance.mutants.fault import Fault
from conformance.mutants.faults import asks
from conformance.mutants.faulty_wire import FaultyStage
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore_conformance.kit.messages import error
from mcpcore_conformance.kit.model import Binding, Result, Verdict
from mcpcore_conformance.kit.talk import Timing
from mcpcore_conformance.run.plan import Settings, Unit
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.servers import look_at_server, play_server
from mcpcore_conformance.run.stages import everything

PAIR = (BY_NAME["2025-11-25"], BY_NAME["2026-07-28"])
"""The newest revision of each era."""
(RACES,) = (
    each
    for each in all_cases()
    if each.id == "basic/patterns/cancellation/timing-considerations/races"
)
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


async def raced(
    binding: Binding, revision: Revision, fault: Callable[[], Fault], thorough: bool
) -> Result:
    settings = Settings(thorough=thorough, timeout=20.0)
    timing = Timing(answer=settings.timeout, start=settings.start)
    async with AsyncExitStack() as stack:
        stage = FaultyStage(await everything(binding).make(stack), fault)
        found = await look_at_server(stage, revision, settings, timing)
        unit = Unit(RACES, revision, binding)
        return await play_server(unit, stage, found, settings, timing)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("revision", PAIR, ids=lambda each: str(each.name))
@pytest.mark.parametrize("binding", [Binding.CORE, Binding.MEMORY])
def test_a_thousand_races_do_no_harm(binding: Binding, revision: Revision) -> None:
    counter = Counter()
    result = anyio.run(raced, binding, revision, counter, True)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")
    assert counter.seen == ALL


@pytest.mark.long
@pytest.mark.parametrize("revision", PAIR, ids=lambda each: str(each.name))
def test_what_goes_wrong_once_in_a_thousand_times_is_noticed(revision: Revision) -> None:
    few, all_of_them = Counter(answered=700), Counter(answered=700)
    assert anyio.run(raced, Binding.CORE, revision, few, False).verdict is Verdict.PASSED
    assert few.seen == FEW
    result = anyio.run(raced, Binding.CORE, revision, all_of_them, True)
    assert result.verdict is Verdict.FAILED
    assert "answered twice" in result.detail
