"""Our own programs under the kit: played, judged, and kept as JUnit for pipelines."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec import structs

from conformance.mutants.subjects import about_a_guard
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore_conformance.kit.bindings.staging import Staging
from mcpcore_conformance.kit.bindings.stdio import StdioStage
from mcpcore_conformance.kit.model import Binding, Side, Verdict
from mcpcore_conformance.kit.wire import Stage
from mcpcore_conformance.reports.formats import FORMATS
from mcpcore_conformance.reports.junit import account
from mcpcore_conformance.reports.report import Report, report_of
from mcpcore_conformance.reports.traces import lines_of
from mcpcore_conformance.run.clients import Command, prepare_client, run_client
from mcpcore_conformance.run.expected import judge
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener, Run
from mcpcore_conformance.run.servers import prepare, run_server
from mcpcore_conformance.run.stages import EVERYTHING_CLIENT, Subject, everything, program
from mcpcore_conformance.run.transcript import records_of
from mcpcore_conformance.subjects.clients import HERE
from mcpcore_conformance.trace.check import check as check_trace
from mcpcore_conformance.trace.reading import parse
from tests.conformance_kit.kit.silence import CountedStage, Silence

FOLDER = Path(__file__).parents[2] / "build" / "reports"
"""Where reports are kept."""
MOST = 0.25
"""Processes for a case over stdio: to start them is most of what such a run takes."""
LONGEST_SILENCE = 60.0
"""Seconds for which the kit waits for what does not come, of all cases together."""
SETTINGS = Settings(jobs=8, timeout=20.0)
"""Patient, as machines that build things are slow."""

PARSING = ("rfc9112/", "rfc9110/section-5.5/", "rfc9110/section-15.5.9/half-a-head")
"""Beginnings of the names of cases about how, and how long, the bytes of HTTP messages are read."""


def _shown(subject: Subject, stages: list[Stage], silence: Silence) -> Subject:
    """A subject whose stage is put there when it is made, and counted."""

    async def make(stack: AsyncExitStack) -> Stage:
        stage = await subject.make(stack)
        if isinstance(stage, Staging):
            stage.patience = SETTINGS.timeout
        stages.append(stage)
        return CountedStage(stage, silence)

    return structs.replace(subject, make=make)


async def server_report(
    binding: Binding,
    revisions: Sequence[Revision] = REVISIONS,
    words: Sequence[str] = (),
    *,
    guarded: bool = False,
    framework: str = "",
    by: str = "",
) -> Report:
    """Play all cases against our server over a binding; ``guarded``: those about its guard.

    ``words`` start it as a program, if not as anybody would.  ``framework``: whose HTTP parser
    stands in front of it, and answers for how messages are taken apart.  ``by`` ends the name of
    what is kept.
    """
    settings = Settings(revisions=tuple(revisions), jobs=SETTINGS.jobs, timeout=SETTINGS.timeout)
    stages: list[Stage] = []
    silence = Silence()
    subject = program(words, binding) if words else everything(binding, guarded=guarded)
    subjects = [_shown(subject, stages, silence)]
    cases = [
        case
        for case in all_cases()
        if (not guarded or about_a_guard(case)) and not (framework and case.id.startswith(PARSING))
    ]
    run = prepare(subjects, cases, settings)
    await run_server(run, subjects, Listener())
    for stage in stages:
        if isinstance(stage, StdioStage):
            print(f"{stage.started} processes for {len(run.units)} cases", file=sys.stderr)
            assert stage.started < MOST * len(run.units)
    print(f"{silence.seconds:.1f} s of silence in {len(run.units)} cases", file=sys.stderr)
    if binding is not Binding.CORE:  # some can be played there only, and wait for hours
        assert silence.seconds < LONGEST_SILENCE
    name = f"server-{framework or binding}" + "-guarded" * guarded + by
    return _kept(run, name)


async def client_report(
    binding: Binding,
    revisions: Sequence[Revision] = REVISIONS,
    words: Sequence[str] = EVERYTHING_CLIENT,
) -> Report:
    """Play all cases against our client over a binding; ``words`` start it as a program."""
    settings = Settings(revisions=tuple(revisions), jobs=SETTINGS.jobs, timeout=SETTINGS.timeout)
    command = Command(words, here=HERE)
    run = prepare_client(command, [binding], all_cases(), settings)
    await run_client(run, command, Listener())
    return _kept(run, f"client-{binding}")


def _kept(run: Run, name: str) -> Report:
    report = report_of(run, judge(run, (), strict=True))
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"conformance-{name}.xml"
    path.write_text(FORMATS["junit"](report), "utf-8", "replace")
    print(f"{report.summary()} in {report.seconds:.1f} s: {path}", file=sys.stderr)
    blamed = [*_blamed(run, report)]
    assert blamed == [], "\n".join(blamed)
    return report


def _blamed(run: Run, report: Report) -> Iterator[str]:
    """What a check of the traces of all cases finds to be wrong with ours.

    A conversation may be kept from the case before, whose trace has what is cancelled late.
    """
    for result, entry in zip(run.results, report.entries, strict=True):
        if records := records_of(result):
            for found in check_trace(parse(lines_of(report, entry, records))):
                carried = found.rule == "cancel-own" and "never asked" in found.detail
                if carried or found.side != run.side:
                    continue
                yield f"{entry.case.id} ({entry.place}): {found}"


_UNTOLD = r"the server was not told "
EXCEPTIONS = {
    Binding.CORE: r"the server (has no|does not declare) |no (tool|resource) |\S+ gives no ",
    Binding.HTTP: rf"the server asks for no credentials|{_UNTOLD}"
    r"|the kit (has no token|was given no cred)",
    Binding.MEMORY: r"every list of the server fits on one page$",
    Binding.SSE: rf"the server does not speak 2026-07-28: |{_UNTOLD}",
    Binding.WS: _UNTOLD,
}
"""Why a case may not apply to our server: the server of the core offers little, those with a guard
are tried by a test of their own, and the one in memory has no short pages."""


def check(report: Report, side: Side, binding: Binding, revisions: Sequence[Revision]) -> None:
    """Every case has passed, in every revision that the binding has, but for the exceptions."""
    allowed = EXCEPTIONS.get(binding) if side is Side.SERVER else None
    wrong = [
        f"{entry.case.id} ({entry.place}) {entry.verdict}\n{account(entry)}"
        for entry in report.entries
        if entry.verdict is not Verdict.PASSED
        and not (
            entry.verdict is Verdict.NOT_APPLICABLE
            and allowed is not None
            and re.match(allowed, entry.detail)
        )
    ]
    assert wrong == [], "\n\n".join(wrong)
    assert report.complete
    for revision in revisions:
        counts = report.count((binding, revision.name))
        if binding is Binding.SSE and not revision.sessions:
            assert counts[Verdict.PASSED] == 0
            continue
        least = [
            case
            for case in all_cases()
            if case.side is side and case.holds_in(revision) and binding in case.bindings
        ]
        assert counts[Verdict.PASSED] > 0.5 * len(least), (revision, counts)
