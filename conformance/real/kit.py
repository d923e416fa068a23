"""The kit against a server of the table, and its findings against what somebody has read."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from msgspec import Struct, field

from conformance.peers.checked import Checked, unchecked
from conformance.peers.findings import NOTABLE, gather
from conformance.peers.warm import warm
from conformance.real.install import NPM
from conformance.real.processes import NotStarted
from conformance.real.scene import Scene, started
from conformance.real.table import Package, ServerProgram
from mcpcore import SseTarget, parse_target
from mcpcore_conformance.kit.model import Case, Result
from mcpcore_conformance.launch import LaunchError
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.run import Listener
from mcpcore_conformance.run.servers import CannotRun, prepare, run_server
from mcpcore_conformance.run.stages import subject_of

FOREIGN = "rfc9112"
"""The page of which the HTTP server below a library is in charge."""
TIMEOUT = 45.0
"""Seconds for an answer: programs that are started side by side take their time."""

FEW = 4
"""Cases at a time that are played once more."""


class Checks(Struct):
    """What the kit plays, what is known of it, and what came of it."""

    cases: Sequence[Case]
    checked: Sequence[Checked]
    packages: dict[str, Package]
    jobs: int = 12
    """Cases at a time of one server; most of them wait for what does not come."""
    results: list[tuple[str, Result]] = field(default_factory=list)
    """By names of peers."""


async def play(made: Scene, checks: Checks) -> list[str]:
    """Run the kit against the server of a scene; return what is not as it was read.

    What is not is played once more, with little beside it: that a machine was too busy is no
    finding.  Raises NotStarted.
    """
    row = made.row
    revisions = {row.peer: [row.revision_name]}
    async with _server(made, checks) as target:
        results = await _played(target, checks.cases, made, checks.jobs)
        problems = unchecked(
            gather((row.peer, each) for each in results), checks.checked, revisions
        )
        if problems:
            words = {word for problem in problems for word in problem.split()}
            again = [case for case in checks.cases if case.id in words]
            second = await _played(target, again, made, FEW)
            played = {each.case.id for each in second}
            results = [each for each in results if each.case.id not in played] + second
            found = gather((row.peer, each) for each in results)
            problems = unchecked(found, checks.checked, revisions)
    for each in results:
        if each.verdict not in NOTABLE:
            each.transcript = []
    here = row.peer, row.revision_name
    checks.results = [
        *(each for each in checks.results if (each[0], each[1].revision) != here),
        *((row.peer, each) for each in results),
    ]
    return problems


@asynccontextmanager
async def _server(made: Scene, checks: Checks) -> AsyncIterator[list[str]]:
    program = made.row.program
    assert isinstance(program, ServerProgram)
    command = program.kit_command or program.command
    in_python = program.package and checks.packages[program.package].place != NPM
    if made.row.transport != "stdio" or not in_python:
        async with started(made, command) as target:
            yield target
        return
    # its library takes longer to import than most cases
    words = [made.facts["python"], *made.fill(command)]
    host = warm(words, made.program_env)
    try:
        target = await anyio.to_thread.run_sync(host.__enter__)
    except LaunchError as error:
        raise NotStarted(str(error)) from None
    try:
        yield made.words(target)
    finally:
        host.__exit__(None, None, None)


async def _played(target: list[str], cases: Sequence[Case], made: Scene, jobs: int) -> list[Result]:
    revision = made.row.revision
    assert revision is not None
    where = parse_target(target if len(target) > 1 else target[0])
    if made.row.transport == "sse":
        where = SseTarget(target[0])
    settings = Settings(revisions=(revision,), jobs=jobs, timeout=TIMEOUT)
    subjects = [subject_of(where)]
    run = prepare(subjects, cases, settings)
    try:
        await run_server(run, subjects, Listener())
    except CannotRun as error:
        raise NotStarted(str(error)) from None
    return run.results
