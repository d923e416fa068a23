"""Our programs and their mutants, looked at and played with as a run does it."""

import sys
from collections.abc import Hashable, Sequence
from contextlib import AsyncExitStack
from typing import Protocol

from msgspec import structs

from conformance.mutants.client_fault import ClientBreaks, behind
from conformance.mutants.client_recorded import Passed, Recorder, changes
from conformance.mutants.faulty_wire import FaultyStage
from conformance.mutants.model import Mutant
from mcpcore.spec.revisions import Revision
from mcpcore_conformance.kit.bindings.staging import Staging
from mcpcore_conformance.kit.client_play import ClientFeatures, Tested, look_at_client, play_client
from mcpcore_conformance.kit.client_talk import ClientTiming
from mcpcore_conformance.kit.features import Features
from mcpcore_conformance.kit.model import OTHER_PRINCIPAL, Binding, Case, Result, Verdict
from mcpcore_conformance.kit.talk import Timing
from mcpcore_conformance.kit.wire import Stage
from mcpcore_conformance.run.clients import consider_client
from mcpcore_conformance.run.plan import Settings, Unit
from mcpcore_conformance.run.servers import CannotRun, consider, look_at_server, play_server
from mcpcore_conformance.run.stages import EVERYTHING_CLIENT, everything, written
from mcpcore_conformance.subjects.clients import HERE

PAGES = frozenset({"basic/authorization", "rfc6750", "rfc8705", "rfc9449", "rfc9728"})
"""Pages whose cases are played on a reference server with a guard."""
PATIENCE = 2.0
"""Seconds for an answer of a mutant, at most: many have none; ours has what the settings say."""


class Subjects(Protocol):
    """Our programs of one side, and their mutants."""

    async def ours(self, unit: Unit, *, again: bool = False) -> Result:
        """Play a case on our own program; ``again``: look at it anew, with nothing beside it."""

    async def mutant(self, unit: Unit, mutant: Mutant, *, again: bool = False) -> Result:
        """Play a case on a mutant; ``again``: with nothing beside it, and all the time of ours."""


def about_a_guard(case: Case) -> bool:
    """Whether a case is played on the reference server with a guard."""
    return case.page in PAGES or OTHER_PRINCIPAL in case.needs


def _guarded(unit: Unit) -> bool:
    """Whether a case is about a server that lets in only who has a token."""
    return about_a_guard(unit.case)


def _key(unit: Unit, mutant: str) -> Hashable:
    """Whoever has the same has the same features."""
    return mutant, unit.binding, unit.revision.name, _guarded(unit)


def _client_key(unit: Unit, mutant: str) -> Hashable:
    """Whoever has the same has the same features, as a client."""
    return mutant, unit.binding, unit.revision.name


class MutantServers:
    """Our reference server on every binding that is needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hasty = structs.replace(settings, timeout=min(PATIENCE, settings.timeout))
        self.stages: dict[tuple[Binding, bool], Stage] = {}
        self.found: dict[Hashable, Features] = {}
        """What was seen, by the mutant (None: ours) and the place."""

    async def prepare(self, unit: Unit, stack: AsyncExitStack) -> None:
        """Be there, where a case is played."""
        guarded = _guarded(unit)
        if (unit.binding, guarded) not in self.stages:
            subject = everything(unit.binding, guarded=guarded)
            stage = await subject.make(stack)
            if isinstance(stage, Staging):
                stage.patience = stage.unread = self.settings.timeout
            self.stages[unit.binding, guarded] = stage

    async def ours(self, unit: Unit, *, again: bool = False) -> Result:
        """See :class:`Subjects`."""
        if again:
            self.found.pop(_key(unit, ""), None)
        return await self._play(unit, self._stage(unit), self.settings, "")

    def _stage(self, unit: Unit) -> Stage:
        return self.stages[unit.binding, _guarded(unit)]

    async def mutant(self, unit: Unit, mutant: Mutant, *, again: bool = False) -> Result:
        """See :class:`Subjects`."""
        settings = self.settings if again else self.hasty
        if again:
            self.found.pop(_key(unit, mutant.id), None)
        if mutant.fault is not None:
            faulty = FaultyStage(self._stage(unit), mutant.fault)
            return await self._play(unit, faulty, settings, mutant.id)
        async with AsyncExitStack() as stack:
            command = [sys.executable, *mutant.command]
            stage = await written(command, unit.binding).make(stack)
            return await self._play(unit, stage, settings, mutant.id)

    async def _play(self, unit: Unit, stage: Stage, settings: Settings, mutant: str) -> Result:
        """Look at a server and play, as a run does it; ``mutant``: its id, or nothing."""
        key = _key(unit, mutant)
        try:
            if key not in self.found:
                self.found[key] = await self._look(unit.revision, stage)
        except CannotRun as error:
            return _not_run(unit, error)
        timing = Timing(answer=settings.timeout, start=settings.start)
        return await play_server(unit, stage, self.found[key], settings, timing)

    async def _look(self, revision: Revision, stage: Stage) -> Features:
        """See what a run of all revisions would see of this one.  Raises CannotRun."""
        settings = self.settings
        timing = Timing(answer=settings.timeout, start=settings.start)
        seen = {revision.name: await look_at_server(stage, revision, settings, timing)}
        if seen[revision.name].revision != revision.name and not settings.named:
            for each in settings.revisions:
                if each is not revision:
                    seen[each.name] = await look_at_server(stage, each, settings, timing)
        consider(seen, settings, stage)
        return seen[revision.name]


class MutantClients:
    """Our reference client; ``python`` are the words that start it, and its mutants."""

    def __init__(self, settings: Settings, python: Sequence[str]) -> None:
        self.settings = settings
        self.python = python
        self.client = (*python, *EVERYTHING_CLIENT[1:])
        self.found: dict[Hashable, ClientFeatures] = {}
        """What was seen, by the mutant (none: ours) and the place."""
        self.passed: dict[Hashable, Sequence[Passed]] = {}
        """What was said when ours was looked at, by the place."""

    async def ours(self, unit: Unit, *, again: bool = False) -> Result:
        """See :class:`Subjects`."""
        if again:
            self.found.pop(_client_key(unit, ""), None)
        return await self._play(unit, self._client(unit.binding), self.settings.timeout, "")

    async def mutant(self, unit: Unit, mutant: Mutant, *, again: bool = False) -> Result:
        """See :class:`Subjects`."""
        patience = self.settings.timeout if again else PATIENCE
        if again:
            self.found.pop(_client_key(unit, mutant.id), None)
        if mutant.client_fault is not None:
            fault = mutant.client_fault
            return await self._play(unit, self._client(unit.binding), patience, mutant.id, fault)
        return await self._play(unit, [*self.python, *mutant.command], patience, mutant.id)

    def _client(self, binding: Binding) -> Tested:
        """Ours, where it is met."""
        return HERE.get(binding, self.client)

    async def _play(
        self,
        unit: Unit,
        client: Tested,
        patience: float,
        mutant: str,
        fault: ClientBreaks | None = None,
    ) -> Result:
        """Look at a client and play, as a run does it; ``mutant``: its id, or nothing."""
        key = _client_key(unit, mutant)
        if key not in self.found:
            try:
                self.found[key] = await self._look(unit, client, fault)
            except CannotRun as error:
                return _not_run(unit, error)
        return await play_client(
            unit.case,
            client,
            unit.binding,
            unit.revision,
            features=self.found[key],
            timing=structs.replace(ClientTiming(), answer=patience),
            seed=unit.seed(self.settings.seed),
            between=None if fault is None else behind(fault),
        )

    async def _look(self, unit: Unit, client: Tested, fault: ClientBreaks | None) -> ClientFeatures:
        """See what a run of all revisions would see of this one.  Raises CannotRun."""
        here = unit.binding, unit.revision.name
        passed = self.passed.get(here)
        if fault is not None and passed is not None and not changes(fault, passed):
            return self.found[_client_key(unit, "")]
        recorder = Recorder()

        async def look(revision: Revision) -> ClientFeatures:
            return await look_at_client(
                client,
                unit.binding,
                revision,
                timing=structs.replace(ClientTiming(), answer=self.settings.timeout),
                between=behind(fault or (lambda: recorder)),
            )

        seen = {here: await look(unit.revision)}
        if seen[here].revision != unit.revision.name and not self.settings.named:
            for each in self.settings.revisions:
                if each is not unit.revision:
                    seen[unit.binding, each.name] = await look(each)
        consider_client(seen, self.settings, unit.case.id)
        if client is self._client(unit.binding) and fault is None:
            self.passed[here] = recorder.passed
        return seen[here]


def _not_run(unit: Unit, error: CannotRun) -> Result:
    """What a run that comes to nothing says of a case: nothing."""
    return Result(
        case=unit.case,
        revision=unit.revision.name,
        binding=unit.binding,
        verdict=Verdict.INCONCLUSIVE,
        detail=str(error),
    )
