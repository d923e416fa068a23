"""Whether the cases can be trusted: each passes on our program and notices its mutants."""

import sys
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Protocol

import anyio
from msgspec import Struct, field, structs

from conformance.kit.client_play import Between, play_client
from conformance.kit.client_talk import ClientTiming
from conformance.kit.discover import discover
from conformance.kit.features import Features
from conformance.kit.model import (
    OTHER_PRINCIPAL,
    Binding,
    Case,
    Result,
    Side,
    Strength,
    Verdict,
)
from conformance.kit.play import play
from conformance.kit.talk import Timing
from conformance.kit.wire import Stage
from conformance.mutants.client_faults import behind
from conformance.mutants.faults import FaultyStage
from conformance.mutants.model import Mutant
from conformance.run.plan import Settings, Unit
from conformance.run.stages import EVERYTHING_CLIENT, everything, written
from mcpcore.spec.revisions import BY_NAME, Revision

FIRST_CHOICE = (
    Binding.MEMORY,
    Binding.HTTP,
    Binding.STDIO,
    Binding.WS,
    Binding.SSE,
    Binding.TCP,
    Binding.UNIX,
    Binding.CORE,
)
"""Where a mutant is shown if it does not say: what costs least first."""
GUARDED = "basic/authorization"
"""A page whose cases are played on a reference server with a guard."""
PATIENCE = 2.0
"""Seconds for an answer of a mutant, at most: many have none; ours has what the settings say."""
NOTICED = {
    Strength.MUST: Verdict.FAILED,
    Strength.SHOULD: Verdict.WEAK,
    Strength.MAY: Verdict.INFORMATIONAL,
}
"""The verdict that shows that a case works."""


class Row(Struct, frozen=True, kw_only=True):
    """A case and a mutant that it has to notice."""

    case: Case
    mutant: Mutant
    binding: Binding
    revision: Revision
    verdict: Verdict
    """On the mutant."""
    detail: str
    ours: Verdict
    """On our program, in the same place."""
    ours_detail: str

    @property
    def killed(self) -> bool:
        """Whether the case notices the mutant."""
        return self.verdict in NOTICED.values()

    @property
    def proof(self) -> bool:
        """Whether this shows that the case works: it notices in full, and passes on ours."""
        return self.verdict is NOTICED[self.case.strength] and self.ours is Verdict.PASSED

    @property
    def problem(self) -> str:
        """What is wrong with this row; empty if nothing is."""
        if self.ours is not Verdict.PASSED:
            return f"{self.ours} on our own program: {self.ours_detail}"
        return "" if self.killed else f"the mutant survives: {self.verdict} {self.detail}".rstrip()


class Trial(Struct):
    """All rows, and what is wrong with the whole."""

    cases: Sequence[Case]
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Mutants that cannot be tried."""

    def unproven(self) -> list[Case]:
        """Cases of which no row shows that they work."""
        proven = {row.case.id for row in self.rows if row.proof}
        return [case for case in self.cases if case.id not in proven]

    @property
    def well(self) -> bool:
        """Whether every case is proven, no mutant survives, and nothing else is wrong."""
        return not (self.problems or self.unproven() or any(row.problem for row in self.rows))


class _Job(Struct, frozen=True):
    unit: Unit
    mutant: Mutant


def strays(cases: Sequence[Case], mutants: Sequence[Mutant]) -> list[str]:
    """What mutants say they kill and is no case."""
    known = {case.id for case in cases}
    return [
        f"{mutant.id} is said to kill {name}, which is no case"
        for mutant in mutants
        for name in mutant.kills
        if name not in known
    ]


async def try_mutants(
    cases: Sequence[Case],
    mutants: Sequence[Mutant],
    settings: Settings,
    told: Callable[[int, int], None] = lambda _done, _total: None,
) -> Trial:
    """Play each case against its mutants and against ours; ``told`` how many are done."""
    trial = Trial(cases)
    by_id = {case.id: case for case in cases}
    jobs: list[_Job] = []
    for mutant in mutants:
        for name in mutant.kills:
            if (case := by_id.get(name)) is not None:
                try:
                    jobs.append(_Job(_place(case, mutant), mutant))
                except ValueError as error:
                    trial.problems.append(str(error))
    async with AsyncExitStack() as stack:
        servers = _Servers(settings)
        for job in jobs:
            if job.unit.case.side is Side.SERVER:
                await servers.prepare(job.unit, stack)
        subjects: dict[Side, _Subjects] = {Side.SERVER: servers, Side.CLIENT: _Clients(settings)}
        await _try(trial, jobs, subjects, settings, lambda done: told(done, len(jobs)))
    order = {case.id: number for number, case in enumerate(cases)}
    trial.rows.sort(key=lambda row: (order[row.case.id], row.mutant.id))
    return trial


def _place(case: Case, mutant: Mutant) -> Unit:
    """Where to show it.  Raises ValueError if the case is not about that place."""
    revision = BY_NAME[mutant.revision] if mutant.revision else case.revisions.last
    candidates = [mutant.binding] if mutant.binding else FIRST_CHOICE
    for binding in candidates:
        in_process = binding in (Binding.MEMORY, Binding.CORE)
        played = binding in case.bindings and case.holds_in(revision)
        if played and not (in_process and (mutant.command or case.side is Side.CLIENT)):
            return Unit(case, revision, binding)
    raise ValueError(f"{mutant.id} is shown where {case.id} is not played")


class _Subjects(Protocol):
    """Our programs of one side, and their mutants."""

    async def ours(self, unit: Unit) -> Result:
        """Play a case on our own program."""

    async def mutant(self, unit: Unit, mutant: Mutant) -> Result:
        """Play a case on a mutant."""


async def _try(
    trial: Trial,
    jobs: Sequence[_Job],
    subjects: Mapping[Side, _Subjects],
    settings: Settings,
    told: Callable[[int], None],
) -> None:
    """Play the cases on ours, each where a mutant of it is shown, then on the mutants."""
    ours: dict[Hashable, Result] = {}

    async def play_ours(unit: Unit) -> None:
        ours[unit.key] = await subjects[unit.case.side].ours(unit)

    async def play_mutant(job: _Job) -> None:
        unit = job.unit
        result = await subjects[unit.case.side].mutant(unit, job.mutant)
        trial.rows.append(
            Row(
                case=unit.case,
                mutant=job.mutant,
                binding=unit.binding,
                revision=unit.revision,
                verdict=result.verdict,
                detail=result.detail,
                ours=ours[unit.key].verdict,
                ours_detail=ours[unit.key].detail,
            )
        )
        told(len(trial.rows))

    units = {job.unit.key: job.unit for job in jobs}
    await _at_once([partial(play_ours, unit) for unit in units.values()], settings.jobs)
    await _at_once([partial(play_mutant, job) for job in jobs], settings.jobs)


async def _at_once(works: Sequence[Callable[[], Awaitable[None]]], jobs: int) -> None:
    waiting = deque(works)

    async def work() -> None:
        while waiting:
            await waiting.popleft()()

    async with anyio.create_task_group() as tasks:
        for _ in range(jobs):
            tasks.start_soon(work)


def about_a_guard(case: Case) -> bool:
    """Whether a case is played on the reference server with a guard."""
    return case.page == GUARDED or OTHER_PRINCIPAL in case.needs


def _guarded(unit: Unit) -> bool:
    """Whether a case is about a server that lets in only who has a token."""
    return about_a_guard(unit.case)


class _Servers:
    """Our reference server on every binding that is needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.timing = Timing(answer=settings.timeout)
        self.hasty = Timing(answer=min(PATIENCE, settings.timeout))
        self.stages: dict[tuple[Binding, bool], Stage] = {}
        self.features: dict[tuple[Binding, Revision, bool], Features] = {}

    async def prepare(self, unit: Unit, stack: AsyncExitStack) -> None:
        """Be there, and be known, where a case is played."""
        guarded = _guarded(unit)
        if (unit.binding, guarded) not in self.stages:
            subject = everything(unit.binding, guarded=guarded)
            self.stages[unit.binding, guarded] = await subject.make(stack)
        if (unit.binding, unit.revision, guarded) not in self.features:
            found = await discover(self._stage(unit), unit.revision, self.timing)
            self.features[unit.binding, unit.revision, guarded] = found

    async def ours(self, unit: Unit) -> Result:
        """See :class:`_Subjects`."""
        return await self._play(unit, self._stage(unit), self.timing)

    def _stage(self, unit: Unit) -> Stage:
        return self.stages[unit.binding, _guarded(unit)]

    async def mutant(self, unit: Unit, mutant: Mutant) -> Result:
        """See :class:`_Subjects`."""
        if mutant.fault is not None:
            faulty = FaultyStage(self._stage(unit), mutant.fault)
            return await self._play(unit, faulty, self.hasty)
        async with AsyncExitStack() as stack:
            command = [sys.executable, *mutant.command]
            stage = await written(command, unit.binding).make(stack)
            found = await discover(stage, unit.revision, self.timing)
            speaks = found.revision == unit.revision.name
            return await self._play(unit, stage, self.hasty, found if speaks else None)

    async def _play(
        self, unit: Unit, stage: Stage, timing: Timing, features: Features | None = None
    ) -> Result:
        return await play(
            unit.case,
            stage,
            unit.revision,
            features or self.features[unit.binding, unit.revision, _guarded(unit)],
            timing=timing,
            seed=unit.seed(self.settings.seed),
            limit=self.settings.limit,
        )


class _Clients:
    """Our reference client."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def ours(self, unit: Unit) -> Result:
        """See :class:`_Subjects`."""
        return await self._play(unit, EVERYTHING_CLIENT, self.settings.timeout)

    async def mutant(self, unit: Unit, mutant: Mutant) -> Result:
        """See :class:`_Subjects`."""
        if mutant.client_fault is not None:
            between = behind(mutant.client_fault)
            return await self._play(unit, EVERYTHING_CLIENT, PATIENCE, between)
        return await self._play(unit, [sys.executable, *mutant.command], PATIENCE)

    async def _play(
        self,
        unit: Unit,
        command: Sequence[str],
        patience: float,
        between: Between | None = None,
    ) -> Result:
        return await play_client(
            unit.case,
            command,
            unit.binding,
            unit.revision,
            timing=structs.replace(ClientTiming(), answer=patience),
            seed=unit.seed(self.settings.seed),
            between=between,
        )
