"""Whether the cases can be trusted: each passes on our program and notices its mutants."""

import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import anyio
from msgspec import Struct, field

from conformance.kit.discover import discover
from conformance.kit.features import Features
from conformance.kit.model import Binding, Case, Result, Strength, Verdict
from conformance.kit.play import play
from conformance.kit.talk import Timing
from conformance.kit.wire import Stage
from conformance.mutants.faults import FaultyStage
from conformance.mutants.model import Mutant
from conformance.run.plan import Settings, Unit
from conformance.run.stages import everything, written
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
        bindings = dict.fromkeys(job.unit.binding for job in jobs)
        stages = {each: await everything(each).make(stack) for each in bindings}
        await _Trial(trial, stages, settings, lambda done: told(done, len(jobs))).run(jobs)
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
        if played and not (mutant.command and in_process):
            return Unit(case, revision, binding)
    raise ValueError(f"{mutant.id} is shown where {case.id} is not played")


class _Trial:
    def __init__(
        self,
        trial: Trial,
        stages: dict[Binding, Stage],
        settings: Settings,
        told: Callable[[int], None],
    ) -> None:
        self.trial, self.stages, self.settings, self.told = trial, stages, settings, told
        self.timing = Timing(answer=settings.timeout)
        self.features: dict[tuple[Binding, str], Features] = {}
        self.ours: dict[tuple[str, str, Binding], Result] = {}

    async def run(self, jobs: Sequence[_Job]) -> None:
        """Look at ours wherever it is needed, play the cases on it, then on the mutants."""
        units = {(job.unit.binding, job.unit.revision.name): job.unit for job in jobs}
        await self._at_once([partial(self._look, unit) for unit in units.values()])
        mine = {job.unit.key: job.unit for job in jobs}
        await self._at_once([partial(self._play_ours, unit) for unit in mine.values()])
        await self._at_once([partial(self._try, job) for job in jobs])

    async def _at_once(self, works: Sequence[Callable[[], Awaitable[None]]]) -> None:
        waiting = deque(works)

        async def work() -> None:
            while waiting:
                await waiting.popleft()()

        async with anyio.create_task_group() as tasks:
            for _ in range(self.settings.jobs):
                tasks.start_soon(work)

    async def _look(self, unit: Unit) -> None:
        found = await discover(self.stages[unit.binding], unit.revision, self.timing)
        self.features[unit.binding, unit.revision.name] = found

    async def _play_ours(self, unit: Unit) -> None:
        self.ours[unit.key] = await self._play(unit, self.stages[unit.binding])

    async def _try(self, job: _Job) -> None:
        unit, mutant = job.unit, job.mutant
        if mutant.command:
            async with AsyncExitStack() as stack:
                stage = await written([sys.executable, *mutant.command], unit.binding).make(stack)
                found = await discover(stage, unit.revision, self.timing)
                speaks = found.revision == unit.revision.name
                result = await self._play(unit, stage, found if speaks else None)
        else:
            assert mutant.fault is not None
            result = await self._play(unit, FaultyStage(self.stages[unit.binding], mutant.fault))
        ours = self.ours[unit.key]
        self.trial.rows.append(
            Row(
                case=unit.case,
                mutant=mutant,
                binding=unit.binding,
                revision=unit.revision,
                verdict=result.verdict,
                detail=result.detail,
                ours=ours.verdict,
                ours_detail=ours.detail,
            )
        )
        self.told(len(self.trial.rows))

    async def _play(self, unit: Unit, stage: Stage, features: Features | None = None) -> Result:
        return await play(
            unit.case,
            stage,
            unit.revision,
            features or self.features[unit.binding, unit.revision.name],
            timing=self.timing,
            seed=unit.seed(self.settings.seed),
            limit=self.settings.limit,
        )
