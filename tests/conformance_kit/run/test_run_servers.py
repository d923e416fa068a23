"""Runs against servers in this process: what becomes of each way to end, and of a run cut short."""

import sys
from collections.abc import Sequence

import anyio
import pytest

from mcpcore.errors import BadTarget
from mcpcore.service import Server
from mcpcore.spec.revisions import BY_NAME, REVISIONS
from mcpcore_conformance.kit.features import Features
from mcpcore_conformance.kit.model import LEGACY, Binding, Page, Result, Side, Verdict
from mcpcore_conformance.kit.pace import Pace
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive
from mcpcore_conformance.run.plan import Settings, Unit
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import UNHEARD, Listener, Run
from mcpcore_conformance.run.servers import CannotRun, prepare, run_server
from mcpcore_conformance.run.stages import (
    CannotStart,
    Subject,
    everything,
    module,
    program,
    subject_of,
)
from mcpcore_transports.targets import parse_target
from tests.more_time import with_more_time

pytestmark = pytest.mark.anyio

ONE = (BY_NAME["2025-11-25"],)
TWO = (BY_NAME["2025-06-18"], BY_NAME["2026-07-28"])


def subject() -> Subject:
    server = Server("mine", version="1")

    @server.tool
    def add(a: int, b: int) -> int:
        return a + b

    return module(server, "mine:server", Binding.MEMORY)


class Heard(Listener):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.verdicts: list[Verdict] = []

    def planned(self, units: Sequence[Unit]) -> None:
        self.said.append(f"planned {len(units)}")

    def looks(self, binding: Binding, target: str) -> None:
        self.said.append(f"looks {binding} {target}")

    def looked(self, binding: Binding, revision: object, features: Features) -> None:
        self.said.append(f"looked {binding} {features.revision}")

    def began(self, unit: Unit) -> None:
        self.said.append(f"began {unit.case.id}")

    def ended(self, unit: Unit, result: Result) -> None:
        assert result.case is unit.case
        self.said.append(f"ended {unit.case.id}")
        self.verdicts.append(result.verdict)


async def run_of(page: Page, settings: Settings, listener: Listener | None = None) -> Run:
    subjects = [subject()]
    run = prepare(subjects, page.cases, settings)
    await run_server(run, subjects, listener or Listener())
    return run


def endings() -> Page:
    page = Page("p")

    @page.server().must("a/passes", "-")
    async def passes(talk: ServerTalk) -> None:
        """Passes."""
        link = await talk.open()
        await link.ask(*talk.any_request())

    case = page.server()
    for add in (case.must, case.should, case.may):

        @add(f"a/broken-{add.__name__}", "-")
        async def broken(talk: ServerTalk) -> None:
            """Is broken."""
            raise Broken("as it is")

    @page.server().must("a/weak", "-")
    async def weak(talk: ServerTalk) -> None:
        """Is weak."""
        talk.should(False, "one thing")
        talk.should(False, "another")

    @page.server().must("a/skipped", "-")
    async def skipped(talk: ServerTalk) -> None:
        """Is skipped."""
        talk.skip("there is none")

    @page.server().must("a/unclear", "-")
    async def unclear(talk: ServerTalk) -> None:
        """Is unclear."""
        raise Inconclusive("who knows")

    @page.server().must("a/wrong", "-")
    async def wrong(talk: ServerTalk) -> None:
        """Is itself wrong."""
        raise ZeroDivisionError

    @page.server(needs=("tool:subtract",)).must("a/needs", "-")
    async def needs(talk: ServerTalk) -> None:
        """Needs what is not there."""

    @page.server(LEGACY).must("a/legacy", "-")
    async def legacy(talk: ServerTalk) -> None:
        """Is of the first era."""

    return page


ENDINGS = {
    "passes": Verdict.PASSED,
    "broken-must": Verdict.FAILED,
    "broken-should": Verdict.WEAK,
    "broken-may": Verdict.INFORMATIONAL,
    "weak": Verdict.WEAK,
    "skipped": Verdict.NOT_APPLICABLE,
    "unclear": Verdict.INCONCLUSIVE,
    "wrong": Verdict.INCONCLUSIVE,
    "needs": Verdict.NOT_APPLICABLE,
}


@pytest.mark.parametrize("jobs", [1, 5])
async def test_every_ending_is_a_verdict(jobs: int) -> None:
    listener = Heard()
    run = await run_of(endings(), Settings(revisions=TWO, jobs=jobs), listener)
    verdicts = {
        revision: {
            result.case.id.removeprefix("p/a/"): result.verdict
            for result in run.results
            if result.revision == revision
        }
        for revision in ("2025-06-18", "2026-07-28")
    }
    assert verdicts == {
        "2025-06-18": {**ENDINGS, "legacy": Verdict.PASSED},
        "2026-07-28": ENDINGS,
    }
    details = {result.case.id.removeprefix("p/a/"): result.detail for result in run.results}
    assert details["broken-must"] == "as it is"
    assert details["weak"] == "one thing; another"
    assert details["skipped"] == "there is none"
    assert details["unclear"] == "who knows"
    assert "ZeroDivisionError" in details["wrong"]
    assert details["needs"] == "the server has no tool subtract"
    assert run.complete
    assert run.count()[Verdict.PASSED] == 3
    # in the order of the plan, whoever was first
    assert [result.case.id for result in run.results] == [unit.case.id for unit in run.units]
    ids = sorted(unit.case.id for unit in run.units)
    assert sorted(word[6:] for word in listener.said if word.startswith("began")) == ids
    assert sorted(word[6:] for word in listener.said if word.startswith("ended")) == ids
    assert listener.said[0] == "looks memory mine:server"
    assert listener.said[3] == f"planned {len(ids)}"
    assert sorted(listener.said[1:3]) == ["looked memory 2025-06-18", "looked memory 2026-07-28"]


async def test_cases_are_side_by_side_and_no_more_than_asked() -> None:
    page = Page("p")
    here, most, gate = 0, 0, anyio.Event()

    for number in range(6):

        @page.server().must(f"a/n{number}", "-")
        async def together(talk: ServerTalk) -> None:
            """Waits for another two."""
            nonlocal here, most
            here += 1
            most = max(most, here)
            if here == 3:
                gate.set()
            await gate.wait()
            here -= 1

    run = await run_of(page, Settings(revisions=ONE, jobs=3))
    assert run.count() == {Verdict.PASSED: 6}
    assert most == 3


async def test_cases_that_never_wait_leave_others_their_turn() -> None:
    page = Page("p")
    turns, seen = 0, []

    for number in range(20):

        @page.server().must(f"a/n{number}", "-")
        async def hasty(talk: ServerTalk) -> None:
            """Does not wait."""
            seen.append(turns)

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_turns)
        run = await run_of(page, Settings(revisions=ONE, jobs=2))
        tasks.cancel_scope.cancel()
    assert run.complete
    assert len({*seen}) >= 5  # one or two at a time; whose turn is next, trio leaves to chance


async def test_a_case_that_does_not_end_is_inconclusive() -> None:
    page = Page("p")

    @page.server().must("a/endless", "-")
    async def endless(talk: ServerTalk) -> None:
        """Never ends."""
        link = await talk.open()
        await link.ask(*talk.any_request())
        await anyio.sleep_forever()

    async def attempt(seconds: float) -> None:
        run = await run_of(page, Settings(revisions=ONE, case_limit=seconds))
        (result,) = run.results
        assert (result.verdict, result.detail) == (
            Verdict.INCONCLUSIVE,
            f"the case was not over after {seconds} s",
        )
        assert result.transcript

    await with_more_time(attempt, 0.2, 6.5)  # it has to have said something in it


async def test_a_run_that_is_cut_short_keeps_what_is_done() -> None:
    page = Page("p")
    closed = anyio.Event()

    @page.server().must("a/done", "-")
    async def done(talk: ServerTalk) -> None:
        """Is done."""

    @page.server().must("a/stuck", "-")
    async def stuck(talk: ServerTalk) -> None:
        """Is stuck."""
        await talk.open()
        scope.cancel()
        try:
            await anyio.sleep_forever()
        finally:
            closed.set()

    @page.server().must("a/never", "-")
    async def never(talk: ServerTalk) -> None:
        """Is never begun."""

    subjects = [subject()]
    run = prepare(subjects, page.cases, Settings(revisions=ONE, jobs=1))
    with anyio.CancelScope() as scope:
        await run_server(run, subjects, Listener())
    assert [result.case.id for result in run.results] == ["p/a/done"]
    assert closed.is_set()
    assert not run.complete


async def test_cases_get_seeds_of_their_own() -> None:
    page = Page("p")
    ids: list[object] = []

    for slug in ("a/one", "a/two"):

        @page.server().must(slug, "-")
        async def chooses(talk: ServerTalk) -> None:
            """Chooses an id."""
            ids.append(talk.fresh_id())

    settings = Settings(revisions=TWO, jobs=1)
    await run_of(page, settings)
    await run_of(page, settings)
    assert len({*ids}) == 4
    assert ids[:4] == ids[4:]
    await run_of(page, Settings(revisions=TWO, jobs=1, seed=7))
    assert not {*ids[8:]} & {*ids[:8]}


async def test_a_server_that_is_not_there_cannot_be_checked(free_tcp_port: int) -> None:
    subjects = [subject_of(parse_target(f"http://127.0.0.1:{free_tcp_port}/mcp"))]
    page = endings()
    run = prepare(subjects, page.cases, Settings(revisions=TWO))
    with pytest.raises(CannotRun, match="speaks none of 2025-06-18, 2026-07-28 over http"):
        await run_server(run, subjects, Listener())
    assert run.results == []


MUTE = "import sys\nfor _ in sys.stdin: pass"
"""Reads, and never answers."""


async def test_a_server_of_which_nothing_is_heard_is_given_up() -> None:
    subjects = [subject_of(parse_target([sys.executable, "-c", MUTE]))]
    run = prepare(subjects, endings().cases, Settings(jobs=1, timeout=0.1))
    listener = Heard()
    with pytest.raises(CannotRun) as raised:
        await run_server(run, subjects, listener)
    found = [run.features[Binding.STDIO, each.name] for each in REVISIONS]
    assert [each.silent for each in found] == [True] * 5
    # two of them have waited, and those that came after them have not
    assert sorted(each.problems == [UNHEARD] for each in found) == [False, False, True, True, True]
    assert " got no answer\n" in str(raised.value)
    assert f"\n  {UNHEARD}" in str(raised.value)
    assert listener.said[0] == f"looks stdio {subjects[0].target}"
    assert run.unplayed() == run.units


@pytest.mark.long
async def test_what_is_silent_in_some_revisions_only_is_looked_at_in_all() -> None:
    program = """
import json, sys
for line in sys.stdin:
    said = json.loads(line)
    asked = said.get("params", {}).get("protocolVersion")
    if asked in ("2025-11-25", "2024-11-05") and "id" in said:
        info = {"name": "s", "version": "1"}
        result = {"protocolVersion": asked, "capabilities": {}, "serverInfo": info}
        print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result}), flush=True)
"""
    subjects = [subject_of(parse_target([sys.executable, "-c", program]))]
    run = prepare(subjects, [], Settings(jobs=1, timeout=1.0))
    await run_server(run, subjects, Listener())
    spoken = {each.name for each in REVISIONS if run.features[Binding.STDIO, each.name].revision}
    assert spoken == {"2024-11-05", "2025-11-25"}


async def test_a_list_that_is_not_answered_is_the_last_that_is_asked_for() -> None:
    program = """
import json, sys
for line in sys.stdin:
    said = json.loads(line)
    if said.get("method") == "initialize":
        result = {"protocolVersion": "2025-11-25", "serverInfo": {"name": "s", "version": "1"}}
        result["capabilities"] = {"tools": {}, "resources": {}, "prompts": {}}
        print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result}), flush=True)
"""
    subjects = [subject_of(parse_target([sys.executable, "-c", program]))]
    run = prepare(subjects, [], Settings(revisions=ONE, timeout=0.5))
    await run_server(run, subjects, Listener())
    assert run.features[Binding.STDIO, "2025-11-25"].problems == ["tools/list got no answer"]


async def test_a_run_knows_how_long_each_binding_took() -> None:
    page = Page("p")

    @page.server().must("a/one", "-")
    async def one(talk: ServerTalk) -> None:
        """Takes a while."""
        await talk.advance(0.2)

    run = await run_of(page, Settings(revisions=TWO, jobs=1))
    assert run.took.keys() == {Binding.MEMORY}
    assert 0.4 <= run.took[Binding.MEMORY] <= run.seconds


def test_a_run_says_where_a_server_needs_more_time() -> None:
    paces = {
        "2025-03-26": Pace(longest=1.9, silent=True),
        "2025-06-18": Pace(longest=2.1),
        "2025-11-25": Pace(longest=2.1, silent=True),
    }
    places = {
        (Binding.STDIO, name): Features(revision="", pace=pace) for name, pace in paces.items()
    }
    settings = Settings(timeout=4.0)
    run = Run(side=Side.SERVER, targets={}, settings=settings, units=[], features=places)
    assert [each.partition(" s: ")[0] for each in run.slow()] == [
        "stdio 2025-11-25: some answers took more than 2"
    ]


async def test_a_program_that_does_not_start_is_said() -> None:
    subjects = [subject(), program(["/nonexistent/server"], Binding.HTTP)]
    run = prepare(subjects, endings().cases, Settings(revisions=ONE))
    with pytest.raises(CannotStart, match="nonexistent"):
        await run_server(run, subjects, Listener())


def test_two_servers_of_one_binding_are_refused() -> None:
    with pytest.raises(ValueError, match="two servers over memory"):
        prepare([subject(), subject()], endings().cases, Settings())


@pytest.mark.parametrize(
    ("target", "binding", "found"),
    [
        ("http://h/mcp", None, Binding.HTTP),
        ("http://h/sse", Binding.SSE, Binding.SSE),
        ("sse+http://h/sse", None, Binding.SSE),
        ("wss://h/mcp", None, Binding.WS),
        ("tcp://h:1", None, Binding.TCP),
        ("tls://h:1", None, Binding.TCP),
        ("unix:///a", Binding.UNIX, Binding.UNIX),
        (["python"], None, Binding.STDIO),
        (Server("s", version="1"), None, Binding.MEMORY),
    ],
)
def test_targets_have_bindings(target: object, binding: Binding | None, found: Binding) -> None:
    assert subject_of(parse_target(target), binding=binding).binding is found


@pytest.mark.parametrize(
    ("target", "binding"),
    [("http://h/mcp", Binding.WS), ("ws://h/mcp", Binding.SSE), (["python"], Binding.HTTP)],
)
def test_a_target_cannot_be_over_another_binding(target: object, binding: Binding) -> None:
    with pytest.raises(BadTarget, match=f"not over {binding}"):
        subject_of(parse_target(target), binding=binding)


@pytest.mark.parametrize("thorough", [False, True])
async def test_cases_know_whether_the_run_is_thorough(thorough: bool) -> None:
    page = Page("p")

    @page.server().must("a/one", "-")
    async def one(talk: ServerTalk) -> None:
        """Says it."""
        talk.note(f"thorough: {talk.thorough}")

    run = await run_of(page, Settings(revisions=ONE, thorough=thorough))
    assert run.results[0].notes == [f"thorough: {thorough}"]


async def test_a_thousand_races_do_no_harm_to_the_core() -> None:
    cases = [case for case in all_cases() if case.id.endswith("timing-considerations/races")]
    subjects = [everything(Binding.CORE)]
    run = prepare(subjects, cases, Settings(revisions=TWO, thorough=True))
    await run_server(run, subjects, Listener())
    assert [(each.verdict, each.detail) for each in run.results] == [(Verdict.PASSED, "")] * 2
