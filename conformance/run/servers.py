"""Checking a server: look at it in each revision, then play every case."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from time import monotonic

import anyio

from conformance.kit.bindings.staging import Staging
from conformance.kit.discover import discover
from conformance.kit.features import Features
from conformance.kit.model import Binding, Case, Result, Side
from conformance.kit.play import not_applicable, play
from conformance.kit.talk import Timing
from conformance.kit.wire import Stage
from conformance.run.plan import Settings, Unit, plan
from conformance.run.run import UNHEARD, Listener, Run, Silence, only_one, side_by_side
from conformance.run.stages import Subject
from mcpcore.spec.revisions import Revision


class CannotRun(Exception):
    """There is no server to check; the message says why."""


def prepare(subjects: Sequence[Subject], cases: Sequence[Case], settings: Settings) -> Run:
    """Plan a run.  Raises ValueError if two subjects have one binding."""
    targets: dict[Binding, str] = {}
    for subject in subjects:
        if subject.binding in targets:
            raise ValueError(f"two servers over {subject.binding}; a run has one of each binding")
        targets[subject.binding] = subject.target
    units = plan(cases, Side.SERVER, [*targets], settings.revisions)
    return Run(side=Side.SERVER, targets=targets, settings=settings, units=units)


async def run_server(run: Run, subjects: Sequence[Subject], listener: Listener) -> None:
    """Play a run that was prepared for these subjects; ``run`` holds what came of it.

    May be cancelled: what was opened is closed, and what is done stays in ``run``.  Raises
    CannotRun if no server is there, or none that speaks one of the revisions, and CannotStart.
    """
    started = monotonic()
    try:
        async with AsyncExitStack() as stack:
            stages = {subject.binding: await subject.make(stack) for subject in subjects}
            await Servers(run, stages, listener).run()
    except BaseExceptionGroup as group:
        raise only_one(group) from None
    finally:
        run.seconds = monotonic() - started
        run.sort()


class Servers:
    """The servers of a run, and how they are looked at and played with."""

    def __init__(self, run: Run, stages: dict[Binding, Stage], listener: Listener) -> None:
        self.run_ = run
        self.stages = stages
        self.listener = listener
        self.timing = Timing(answer=run.settings.timeout, start=run.settings.start)
        for stage in stages.values():
            if isinstance(stage, Staging):
                stage.patience = run.settings.timeout

    async def run(self) -> None:
        """Look, then play."""
        await self.look()
        self.listener.planned(self.run_.units)
        await side_by_side(self.run_, self.play, self.listener)

    async def look(self) -> None:
        """See what each server speaks and offers.  Raises CannotRun."""
        slots = anyio.CapacityLimiter(self.run_.settings.jobs)
        silence = Silence()

        async def look(stage: Stage, revision: Revision) -> None:
            async with slots:
                found = Features(revision="", problems=[UNHEARD], silent=True)
                if not silence.given_up(stage.binding):
                    found = await self._discovered(stage, revision)
                silence.learn(stage.binding, silent=found.silent)
            found.allowed = self.run_.settings.tools
            self.run_.features[stage.binding, revision.name] = found
            self.listener.looked(stage.binding, revision, found)

        async with anyio.create_task_group() as tasks:
            for stage in self.stages.values():
                self.listener.looks(stage.binding, self.run_.targets[stage.binding])
                for revision in self.run_.settings.revisions:
                    tasks.start_soon(look, stage, revision)
        self._check_there()

    async def _discovered(self, stage: Stage, revision: Revision) -> Features:
        with anyio.move_on_after(self.run_.settings.limit):
            return await discover(stage, revision, self.timing)
        return Features(
            revision="", problems=[f"no end after {self.run_.settings.limit:g} seconds"]
        )

    def _check_there(self) -> None:
        """See that every binding has a server that speaks one of the revisions."""
        for binding, stage in self.stages.items():
            found = {
                each.name: self.run_.features[binding, each.name]
                for each in self.run_.settings.revisions
            }
            if not any(features.revision == name for name, features in found.items()):
                names = ", ".join(found)
                why = dict.fromkeys(each for one in found.values() for each in one.problems)
                raise CannotRun(
                    f"{stage.target} speaks none of {names} over {binding}"
                    + "".join(f"\n  {each}" for each in why)
                )

    def reason(self, unit: Unit) -> str:
        """Why a case does not apply to what was found; empty if it does."""
        found = self.run_.features[unit.binding, unit.revision.name]
        return not_applicable(unit.case, self.stages[unit.binding], unit.revision, found)

    async def play(self, unit: Unit) -> Result:
        """Play one case; what it takes is told in real time, wherever it is played."""
        started = monotonic()
        result = await play(
            unit.case,
            self.stages[unit.binding],
            unit.revision,
            self.run_.features[unit.binding, unit.revision.name],
            timing=self.timing,
            seed=unit.seed(self.run_.settings.seed),
            thorough=self.run_.settings.thorough,
            limit=self.run_.settings.limit,
        )
        result.seconds = monotonic() - started
        return result
