"""Servers far away: a case of what has to happen while a call runs is sure that the call ran.

Every message is on its way for 300 ms, to the server and back, on virtual time: nothing waits.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, cast

import anyio
import pytest

from conformance.mutants.fault import Fault, Value
from conformance.mutants.faults import asks
from conformance.mutants.faulty_wire import FaultyStage
from conformance.mutants.registry import all_mutants
from conformance.mutants.trial import NOTICED
from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore_conformance.kit.heard import Heard
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.model import Binding, Case, Result, Verdict
from mcpcore_conformance.kit.talk import Timing
from mcpcore_conformance.kit.wire import Overrides, Stage, Wire
from mcpcore_conformance.run.plan import Settings, Unit
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.servers import look_at_server, play_server
from mcpcore_conformance.subjects.core import CoreStage

FAR = 0.3
"""Seconds of one way."""
PAIR = (BY_NAME["2025-11-25"], BY_NAME["2026-07-28"])
"""The newest revision of each era."""
REPORTS = (
    "basic/patterns/progress/implementation-notes/ends-with-cancellation",
    "basic/patterns/cancellation/transport-specific-cancellation/nothing-after",
)
RACES = (
    *REPORTS,
    "basic/patterns/cancellation/behavior-requirements/others-unaffected",
    "basic/patterns/cancellation/behavior-requirements/id-type",
    "basic/patterns/cancellation/behavior-requirements/own-requests",
    "basic/index/requests/duplicate-of-slow",
)
"""Cases with a call that has to run when something else is read."""
Send = Callable[[], Awaitable[object]]


class FarWire:
    """A wire on which everything takes its time."""

    def __init__(self, stage: "FarStage", wire: Wire) -> None:
        self._stage = stage
        self._wire = wire
        self._out: deque[tuple[float, Send]] = deque()
        self._back: deque[tuple[float, Heard]] = deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    async def say(self, payload: bytes, *, headers: Overrides | None = None) -> int:
        self._later(partial(self._wire.say, payload, headers=headers))
        return 0

    async def write(self, data: bytes) -> None:
        self._later(partial(cast("Any", self._wire).write, data))

    def _later(self, send: Send) -> None:
        self._out.append((self._stage.now() + FAR, send))

    async def hear(self, within: float) -> Heard | None:
        await self._stage.pass_until(self._stage.now() + within, self)
        return self._back.popleft()[1] if self.arrived() else None

    async def close(self) -> None:
        self._stage.wires.remove(self)
        await self._wire.close()

    def arrived(self) -> bool:
        return bool(self._back) and self._back[0][0] <= self._stage.now()

    def due(self) -> Iterable[float]:
        """When something arrives, or happens at the other end."""
        ahead: tuple[float | None, ...] = (
            self._out[0][0] if self._out else None,
            self._back[0][0] if self._back else None,
            cast("Any", self._wire).deadline,
        )
        return (each for each in ahead if each is not None and each > self._stage.now())

    async def deliver(self) -> None:
        """Hand over what has arrived there, and take what comes of it."""
        while self._out and self._out[0][0] <= self._stage.now():
            await self._out.popleft()[1]()
        while (heard := await self._wire.hear(0.0)) is not None:
            self._back.append((self._stage.now() + FAR, heard))


class FarStage:
    """A server far away from a stage on virtual time."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.wires: list[FarWire] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def now(self) -> float:
        return self._stage.now()

    async def pause(self, seconds: float) -> None:
        await self.pass_until(self.now() + seconds)

    async def pass_until(self, time: float, wire: FarWire | None = None) -> None:
        """Let time pass until then, or until something has arrived on that wire."""
        while True:
            for each in [*self.wires]:
                await each.deliver()
            if self.now() >= time or (wire is not None and wire.arrived()):
                return
            ahead = min([time, *(due for each in self.wires for due in each.due())])
            await self._stage.pause(ahead - self.now())

    async def connect(self, revision: Revision, *, log: Log, **options: Any) -> Wire:
        self.wires.append(FarWire(self, await self._stage.connect(revision, log=log, **options)))
        return cast("Wire", self.wires[-1])


async def played(case: Case, revision: Revision, fault: Callable[[], Fault] = Fault) -> Result:
    settings = Settings()
    timing = Timing(answer=settings.timeout, start=settings.start)
    async with CoreStage() as core:
        stage = cast("Stage", FarStage(FaultyStage(core, fault)))
        found = await look_at_server(stage, revision, settings, timing)
        unit = Unit(case, revision, Binding.CORE)
        return await play_server(unit, stage, found, settings, timing)


def held(names: Iterable[str]) -> list[Any]:
    """Those cases, in each era that they are about."""
    return [
        pytest.param(case, revision, id=f"{case.id.rpartition('/')[2]}-{revision.name}")
        for case in all_cases()
        for revision in PAIR
        if case.id in names and case.holds_in(revision)
    ]


def test_there_are_such_cases() -> None:
    assert {*RACES} <= {case.id for case in all_cases()}


@pytest.mark.parametrize(("case", "revision"), held(RACES))
def test_what_is_right_passes_far_away(case: Case, revision: Revision) -> None:
    result = anyio.run(played, case, revision)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")
    assert result.seconds > 4 * FAR


@pytest.mark.parametrize(("case", "revision"), held(RACES))
def test_what_is_wrong_is_noticed_far_away(case: Case, revision: Revision) -> None:
    faults = [
        each.fault
        for each in all_mutants()
        if case.id in each.kills and revision in each.revisions and each.fault is not None
    ]
    assert faults
    for fault in faults:
        result = anyio.run(played, case, revision, fault)
        assert result.verdict is NOTICED[case.strength], (fault, result.detail)


class Fixed(Fault):
    """Has a tool that reports in pauses of its own."""

    def message(self, value: Value) -> Iterable[Value | bytes]:
        for tool in value.get("result", {}).get("tools", ()):
            tool["inputSchema"].get("properties", {}).pop("seconds", None)
        return (value,)


class Deaf(Fixed):
    """Does not hear of cancellations either."""

    def said(self, value: Any, payload: bytes) -> bytes | None:
        return None if asks("notifications/cancelled")(value) else payload


@pytest.mark.parametrize("fault", [Fixed, Deaf])
@pytest.mark.parametrize(("case", "revision"), held(REPORTS))
def test_a_call_that_is_over_before_its_cancellation_arrives_shows_nothing(
    case: Case, revision: Revision, fault: type[Fault]
) -> None:
    result = anyio.run(played, case, revision, fault)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.detail.startswith("the call was over before its cancellation could be read")
