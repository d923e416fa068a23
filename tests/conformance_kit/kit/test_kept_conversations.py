"""Conversations that go from case to case: who opens them, and what is recorded of that."""

from pathlib import Path

import pytest

from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore_conformance.kit.model import LEGACY, Binding, Page, Verdict
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken
from mcpcore_conformance.reports.report import report_of
from mcpcore_conformance.reports.traces import write_traces
from mcpcore_conformance.run.expected import judge
from mcpcore_conformance.run.run import Run
from mcpcore_conformance.run.transcript import BEGINS
from mcpcore_conformance.trace import read
from mcpcore_conformance.trace.check import check
from mcpcore_conformance.trace.replay import replay
from tests.conformance_kit.runs import OLD, run_of
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]
EVERYTHING = (*PYTHON, "-m", "mcpcore_conformance.everything.server", "--stdio")
HANDSHAKES = [each for each in REVISIONS if each.handshake]


async def played(page: Page, revision: str) -> Run:
    return await run_of(EVERYTHING, page.cases, revision, jobs=1, timeout=20.0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("revision", HANDSHAKES, ids=str)
async def test_the_trace_of_a_failure_on_a_kept_conversation_is_whole(
    revision: Revision, tmp_path: Path
) -> None:
    page = Page("p")

    @page.server().must("a/opens", "-")
    async def opens(talk: ServerTalk) -> None:
        """Opens a conversation."""
        link = await talk.open()
        await link.ask("tools/list")

    @page.server().must("a/fails", "-")
    async def fails(talk: ServerTalk) -> None:
        """Goes on with it, and fails."""
        link = await talk.open()
        assert link.begun
        await link.ask("prompts/list")
        raise Broken("as it is")

    run = await played(page, revision.name)
    assert [each.verdict for each in run.results] == [Verdict.PASSED, Verdict.FAILED]
    report = report_of(run, judge(run, (), strict=False))
    (name,) = write_traces(report, str(tmp_path)).values()
    trace = read(name)
    records = [each.record for each in trace.entries]
    assert [(each.method, each.text == BEGINS) for each in records[:5]] == [
        ("initialize", False),
        (None, False),
        ("notifications/initialized", False),
        (None, True),
        ("prompts/list", False),
    ]
    # what the first case asked is not there; times go on and begin at 0
    assert "tools/list" not in [each.method for each in records]
    times = [each.time for each in records]
    assert times[0] == 0.0
    assert times == sorted(times)
    assert check(trace) == []
    remarks = [remark for step in replay(trace) for remark in step.remarks]
    assert remarks == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_conversation_that_a_case_has_opened_by_hand_serves_the_next_ones() -> None:
    page = Page("p")
    seen: list[bool] = []

    @page.server(LEGACY).must("a/by-hand", "-")
    async def by_hand(talk: ServerTalk) -> None:
        """Asks for initialize, and does not even say that it is ready."""
        link = await talk.connect()
        await link.ask("initialize", link.opening())

    @page.server(LEGACY).must("a/goes-on", "-")
    async def goes_on(talk: ServerTalk) -> None:
        """Has it."""
        link = await talk.open()
        seen.append(link.begun)
        assert link.welcome["serverInfo"]["name"] == "mcpcore-everything"
        await link.ask("tools/list")

    @page.server(LEGACY).must("a/spoils", "-")
    async def spoils(talk: ServerTalk) -> None:
        """Is the last to have it."""
        link = await talk.open()
        await link.request("initialize", link.opening())

    @page.server(LEGACY).must("a/odd", "-")
    async def odd(talk: ServerTalk) -> None:
        """Says something before, so that nobody goes on with it."""
        link = await talk.connect()
        await link.request("tools/list")
        await link.request("initialize", link.opening())

    @page.server(LEGACY).must("a/other", "-")
    async def other(talk: ServerTalk) -> None:
        """Opens one of its own."""
        seen.append((await talk.open()).begun)

    run = await played(page, OLD)
    assert [each.verdict for each in run.results] == [Verdict.PASSED] * 5
    assert seen == [True, False]
    assert {each.binding for each in run.results} == {Binding.STDIO}
