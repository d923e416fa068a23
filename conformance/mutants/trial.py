"""Whether the cases can be trusted: each passes on our program and notices its mutants."""

import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial

from msgspec import Struct, field

from conformance.mutants.model import Mutant
from conformance.mutants.subjects import MutantClients, MutantServers, Subjects
from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.model import Binding, Case, Result, Side, Strength, Verdict
from mcpcore_conformance.run.plan import Settings, Unit
from mcpcore_conformance.run.run import at_once

PROGRAMS = (
    Binding.HTTP,
    Binding.STDIO,
    Binding.WS,
    Binding.SSE,
    Binding.TCP,
    Binding.UNIX,
    Binding.CORE,
)
FIRST_CHOICE = {Side.SERVER: (Binding.MEMORY, *PROGRAMS), Side.CLIENT: PROGRAMS}
"""Where a mutant is shown if it does not say; of servers, what costs least comes first."""
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
    again: bool = False
    """It was played once more, alone."""

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


class Unproven(Struct, frozen=True):
    """A case that no mutant fails somewhere."""

    case: Case
    place: str
    """An era or a revision."""


class Trial(Struct):
    """All rows, and what is wrong with the whole."""

    cases: Sequence[Case]
    settings: Settings
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Mutants that cannot be tried."""

    def unproven(self) -> list[Unproven]:
        """Cases of which no row shows that they work, and where that is to be shown."""
        proven = {(row.case.id, self.place(row.revision)) for row in self.rows if row.proof}
        return [
            Unproven(case, place)
            for case in self.cases
            for place in dict.fromkeys(
                self.place(each) for each in self.settings.revisions if case.holds_in(each)
            )
            if (case.id, place) not in proven
        ]

    def place(self, revision: Revision) -> str:
        """Where a case has to be proven once: in each era, or in each revision that was named."""
        if self.settings.named:
            return revision.name
        return "the modern era" if revision.modern else "the legacy era"

    @property
    def well(self) -> bool:
        """Whether every case is proven, no mutant survives, and nothing else is wrong."""
        return not (self.problems or self.unproven() or any(row.problem for row in self.rows))


class _Job(Struct, frozen=True):
    unit: Unit
    mutant: Mutant


def strays(cases: Sequence[Case], mutants: Sequence[Mutant]) -> list[str]:
    """What mutants say they kill and is no case, and cases that no mutant says it kills."""
    known = {case.id for case in cases}
    killed = {name: mutant.id for mutant in mutants for name in mutant.kills}
    return [
        *(
            f"{killed[name]} is said to kill {name}, which is no case"
            for name in killed.keys() - known
        ),
        *(f"no mutant is said to kill {name}" for name in known - killed.keys()),
    ]


async def try_mutants(
    cases: Sequence[Case],
    mutants: Sequence[Mutant],
    settings: Settings,
    told: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    choice: Sequence[Binding] = (),
    python: Sequence[str] = (sys.executable,),
) -> Trial:
    """Play each case against its mutants and against ours; ``told`` how many are done.

    ``choice``: where those are shown that do not say, in the place of FIRST_CHOICE.  ``python``
    starts clients.
    """
    trial = Trial(cases, settings)
    by_id = {case.id: case for case in cases}
    jobs: list[_Job] = []
    for mutant in mutants:
        for name in mutant.kills:
            if (case := by_id.get(name)) is not None:
                units = _units(case, mutant, settings, choice or FIRST_CHOICE[case.side])
                jobs += [_Job(unit, mutant) for unit in units]
                if not units and not settings.named:
                    trial.problems.append(f"{mutant.id} is shown where {case.id} is not played")
    async with AsyncExitStack() as stack:
        servers = MutantServers(settings)
        for job in jobs:
            if job.unit.case.side is Side.SERVER:
                await servers.prepare(job.unit, stack)
        subjects: dict[Side, Subjects] = {
            Side.SERVER: servers,
            Side.CLIENT: MutantClients(settings, python),
        }
        await _try(trial, jobs, subjects, settings, lambda done: told(done, len(jobs)))
    order = {case.id: number for number, case in enumerate(cases)}
    trial.rows.sort(key=lambda row: (order[row.case.id], row.mutant.id, row.revision.position))
    return trial


def _units(case: Case, mutant: Mutant, settings: Settings, choice: Sequence[Binding]) -> list[Unit]:
    """Where to show it: in each era, the newest revision there is, or in all that were named."""
    revisions = [
        each for each in settings.revisions if case.holds_in(each) and each in mutant.revisions
    ]
    if not settings.named:
        eras = [[each for each in revisions if each.modern is modern] for modern in (False, True)]
        revisions = [era[-1] for era in eras if era]
    binding = _binding(case, mutant, choice)
    return [] if binding is None else [Unit(case, each, binding) for each in revisions]


def _binding(case: Case, mutant: Mutant, choice: Sequence[Binding]) -> Binding | None:
    """Over what to show it; None if the case is not about that."""
    for binding in [mutant.binding] if mutant.binding else choice:
        in_process = binding in (Binding.MEMORY, Binding.CORE)
        if binding in case.bindings and not (in_process and mutant.command):
            return binding
    return None


async def _try(
    trial: Trial,
    jobs: Sequence[_Job],
    subjects: Mapping[Side, Subjects],
    settings: Settings,
    told: Callable[[int], None],
) -> None:
    """Play the cases on ours, each where a mutant of it is shown, then on the mutants.

    A mutant that survives is played once more, alone.  A program that is slow, as the machine has
    much else to do, may not come to its mistake within the time of a case, and looks right.
    """
    ours: dict[Hashable, Result] = {}
    survivors: list[_Job] = []

    async def play_ours(unit: Unit, *, again: bool = False) -> None:
        ours[unit.key] = await subjects[unit.case.side].ours(unit, again=again)

    async def play_mutant(job: _Job, *, again: bool = False) -> None:
        unit = job.unit
        result = await subjects[unit.case.side].mutant(unit, job.mutant, again=again)
        row = Row(
            case=unit.case,
            mutant=job.mutant,
            binding=unit.binding,
            revision=unit.revision,
            verdict=result.verdict,
            detail=result.detail,
            ours=ours[unit.key].verdict,
            ours_detail=ours[unit.key].detail,
            again=again,
        )
        if not (row.killed or again):
            survivors.append(job)
            return
        trial.rows.append(row)
        told(len(trial.rows))

    units = {job.unit.key: job.unit for job in jobs}
    await at_once([partial(play_ours, unit) for unit in units.values()], settings.jobs)
    late = [unit for unit in units.values() if ours[unit.key].verdict is not Verdict.PASSED]
    await at_once([partial(play_ours, unit, again=True) for unit in late], 1)
    await at_once([partial(play_mutant, job) for job in jobs], settings.jobs)
    await at_once([partial(play_mutant, job, again=True) for job in survivors], 1)
