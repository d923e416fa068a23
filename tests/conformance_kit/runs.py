"""Runs of the kit on one server and in one revision: our own with faults, a program, or a URL."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anyio

from conformance.mutants.fault import Breaks
from conformance.mutants.faulty_wire import FaultyStage
from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.model import Binding, Case, Verdict
from mcpcore_conformance.kit.wire import Stage
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener, Run
from mcpcore_conformance.run.servers import prepare, run_server
from mcpcore_conformance.run.stages import Subject, everything, subject_of
from mcpcore_transports.targets import parse_target

OLD, NEW = "2025-11-25", "2026-07-28"
"""The newest revision of each era."""
FINE = (Verdict.PASSED, Verdict.NOT_APPLICABLE)


def cases_of(*places: str) -> list[Case]:
    """Those cases, and those of these pages; every case if none is named."""
    return [each for each in all_cases() if not places or {each.id, each.page} & {*places}]


def faulty(binding: Binding, *faults: Breaks) -> Subject:
    """Our server over a binding, broken in these ways."""

    async def make(stack: AsyncExitStack) -> Stage:
        stage = await everything(binding).make(stack)
        for fault in faults:
            stage = FaultyStage(stage, fault)
        return stage

    return Subject(binding, "our server with faults", make)


async def run_of(
    target: object,
    cases: Sequence[Case],
    revision: str = OLD,
    listener: Listener | None = None,
    **settings: Any,
) -> Run:
    """Play cases on a subject, or on what a URL or a command leads to."""
    subjects = [target if isinstance(target, Subject) else subject_of(parse_target(target))]
    run = prepare(subjects, cases, Settings(revisions=(BY_NAME[revision],), **settings))
    await run_server(run, subjects, listener or Listener())
    return run


def ran(target: object, cases: Sequence[Case], revision: str = OLD, **settings: Any) -> Run:
    """The same, where no loop runs."""
    return anyio.run(partial(run_of, target, cases, revision, **settings))


def findings(run: Run) -> dict[str, tuple[Verdict, str]]:
    """Verdicts and details of what is neither passed nor not applicable, by their cases."""
    return {
        each.case.id: (each.verdict, each.detail)
        for each in run.results
        if each.verdict not in FINE
    }


def passed(run: Run) -> set[str]:
    """Cases that have passed."""
    return {each.case.id for each in run.results if each.verdict is Verdict.PASSED}
