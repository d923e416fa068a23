"""Clients on virtual time: every case for clients on the core, and nothing that waits."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

import anyio
import pytest
from msgspec import structs

from conformance.mutants.registry import all_mutants
from conformance.mutants.trial import try_mutants
from mcpcore.spec.revisions import BY_NAME, REVISIONS, Revision
from mcpcore_conformance.kit.client_play import look_at_client, play_client
from mcpcore_conformance.kit.client_steps import call, listen, pause, script, together
from mcpcore_conformance.kit.client_talk import ClientTalk, ClientTiming
from mcpcore_conformance.kit.hosts.core import Door, End
from mcpcore_conformance.kit.model import Binding, Case, Page, Result, Side, Verdict
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.subjects.core import at_once
from mcpcore_conformance.subjects.core_client import CoreClient
from tests.command import mcpcore_here
from tests.conformance_kit import ours
from tests.shares import Some

OLD, NEW = BY_NAME["2025-11-25"], BY_NAME["2026-07-28"]
HOURS = ClientTiming(start=3600.0, answer=3600.0, exit=3600.0)
"""So long nobody could wait in a test."""
CASES = [each for each in all_cases() if each.side is Side.CLIENT]
ON_CORE = [each for each in CASES if Binding.CORE in each.bindings]


def case(
    play: Callable[[ClientTalk], Awaitable[None]], context: dict[str, Any] | None = None
) -> Case:
    page = Page("page")
    play.__doc__ = "It is tried."
    scenario = "tools_call" if context is None else "script"
    page.client(scenario=scenario, context=context or {}).must("a/case", "-")(play)
    return page.cases[0]


# All cases


def test_every_case_that_is_not_of_one_binding_alone_is_played_on_the_core() -> None:
    elsewhere = {Binding.HTTP, Binding.STDIO, Binding.WS, Binding.SSE}
    left_out = {each.id for each in CASES if Binding.CORE not in each.bindings}
    alone = {each.id for each in CASES if len(each.bindings & elsewhere) == 1}
    assert left_out <= alone
    assert len(ON_CORE) > 100


@pytest.mark.timeout(1800)
def test_our_client() -> None:
    report = anyio.run(ours.client_report, Binding.CORE)
    ours.check(report, Side.CLIENT, Binding.CORE, REVISIONS)
    assert {entry.verdict for entry in report.entries} == {Verdict.PASSED}


@pytest.mark.anyio
@pytest.mark.parametrize("revision", REVISIONS, ids=str)
async def test_nothing_waits_for_an_event_loop(revision: Revision) -> None:
    timing = structs.replace(HOURS, quiet=0.15)
    wanted = [each for each in ON_CORE if each.holds_in(revision)]
    results = [
        at_once(play_client(each, CoreClient, Binding.CORE, revision, timing=timing))
        for each in wanted
    ]
    assert {result.verdict for result in results} == {Verdict.PASSED}


def declared() -> Iterator[Any]:
    """The mutants that edit traffic, as far as it is that of the core: of lines on one channel."""
    named = {each.id for each in ON_CORE}
    for mutant in all_mutants():
        kills = tuple(name for name in mutant.kills if name in named)
        if kills and mutant.client_fault is not None and mutant.binding in (None, Binding.STDIO):
            yield structs.replace(mutant, kills=kills, binding=None)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("share", [4, pytest.param(1, marks=pytest.mark.long)])
def test_the_mutants_are_noticed(share: int) -> None:
    mutants = Some(share)(declared(), lambda mutant: mutant.id)
    settings = structs.replace(ours.SETTINGS, jobs=1)
    trial = anyio.run(partial(try_mutants, ON_CORE, mutants, settings, choice=(Binding.CORE,)))
    assert {row.binding for row in trial.rows} == {Binding.CORE}
    problems = {f"{row.case.id}: {row.mutant.id}": row.problem for row in trial.rows if row.problem}
    assert problems == {}
    assert trial.problems == []
    unproven = [(each.case.id, each.place) for each in trial.unproven()]
    assert share > 1 or unproven == []


# What the kit sees of a client of this process


class Plain:
    """A client without a core: says what it is told to, and hears."""

    says: tuple[bytes, ...] = ()
    code: int | None = None
    """With which it leaves when it has said everything."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.server: End | None = None
        self.heard = b""
        self.stopped = False
        self.at: list[float] = []

    def start(self, scenario: str, revision: str, context: Mapping[str, Any]) -> None:
        self.server = self.door.connect(self)
        for each in self.says:
            self.server.receive(each)
        self.leave()

    def leave(self) -> None:
        if self.code is not None:
            assert self.server is not None
            self.server.close()
            self.door.leave(self.code)

    def receive(self, data: bytes) -> None:
        self.heard += data

    def close(self) -> None:
        self.heard += b"<closed>"

    def deadline(self) -> float | None:
        return None

    def pass_time(self) -> None:
        raise AssertionError("nothing is due")

    def report(self) -> bytes | None:
        return None

    def said(self) -> str:
        return "its last words"

    def stop(self) -> None:
        self.stopped = True


PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


class InPieces(Plain):
    says = (b"\r\n" + PING[:9], PING[9:] + b"\n\n" + PING.replace(b"1,", b"2,"))
    code = 3


class Stays(Plain):
    says = (PING + b"\n",)


async def played(
    play: Callable[[ClientTalk], Awaitable[None]], client: Any, revision: Revision = OLD
) -> Result:
    return await play_client(case(play), client, Binding.CORE, revision, timing=HOURS)


@pytest.mark.anyio
async def test_lines_come_in_pieces_and_the_last_one_without_an_end() -> None:
    async def play(talk: ClientTalk) -> None:
        link = await talk.accept()
        ended = await talk.finished()
        check([each.id for each in link.seen] == [1, 2], f"heard {link.seen}")
        check(ended.code == 3, f"it ended with {ended.code}")
        check(link.gone is not None, "the connection is there")
        check(not await link.say({"jsonrpc": "2.0"}), "something could be said")

    result = await played(play, InPieces)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")
    assert [each.kind for each in result.transcript if not each.sent] == ["message"] * 4 + ["close"]


@pytest.mark.anyio
async def test_a_client_that_does_not_end_is_waited_for_and_stopped() -> None:
    made: list[Stays] = []

    def make(door: Door) -> Stays:
        made.append(Stays(door))
        return made[-1]

    async def play(talk: ClientTalk) -> None:
        link = await talk.accept()
        await link.drop()
        await talk.finished()

    result = await played(play, make)
    assert result.verdict is Verdict.FAILED
    assert result.detail == "the client did not end within 3600 s"
    assert result.seconds >= 3600
    assert made[0].stopped
    assert made[0].heard.endswith(b"<closed>")


@pytest.mark.anyio
async def test_an_error_is_told_with_what_was_said() -> None:
    async def play(talk: ClientTalk) -> None:
        await talk.succeeded()

    result = await played(play, InPieces)
    assert result.verdict is Verdict.FAILED
    assert "status 3; its last words" in result.detail
    assert result.notes == ["stderr: its last words"]


@pytest.mark.anyio
async def test_it_can_be_killed_and_started_again() -> None:
    async def play(talk: ClientTalk) -> None:
        for _ in range(2):
            await talk.launch()
            link = await talk.accept()
            talk.stop(9)
            ended = await talk.finished()
            check(ended.code == -9, f"it ended with {ended.code}")
            check(link.gone is not None, "the connection is there")
        talk.stop(9)
        check(len(talk.links) == 2, f"there were {len(talk.links)} connections")

    result = await played(play, Stays)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")


@pytest.mark.anyio
@pytest.mark.parametrize("revision", [OLD, NEW], ids=str)
async def test_our_client_is_seen_as_it_is(revision: Revision) -> None:
    found = await look_at_client(CoreClient, Binding.CORE, revision, timing=HOURS)
    assert found.revision == revision.name
    assert found.scenarios == {"script"}
    assert {"roots", "sampling", "elicitation"} <= found.capabilities.keys()
    assert found.info.get("name") == ("mcpcore-everything-client" if revision is OLD else None)
    assert (found.problems, found.noisy, found.endless) == ([], False, False)


# Time


STEPS = script(
    together(call(timeout=5), pause(7), call(cancel_after=2), call(timeout=9, progress=True)),
    {"do": "wait", "notification": "notifications/never", "timeout": 40},
    listen(tools=True, timeout=30),
)


@pytest.mark.anyio
async def test_time_is_that_of_the_dialogue() -> None:
    async def play(talk: ClientTalk) -> None:
        link = await talk.open()
        calls = [await link.expect("tools/call") for _ in range(3)]
        await talk.advance(4.0)
        token = calls[-1].params["_meta"]["progressToken"]
        progress = {"progressToken": token, "progress": 1}
        await link.notify("notifications/progress", progress, about=calls[-1])
        await talk.advance(8.0)
        await link.serve_one(calls[-1])
        await link.acknowledge(await link.expect("subscriptions/listen"))
        report = await talk.report()
        ends = [each.failure for each in report.steps[0].steps[::2]]
        check(ends == ["timeout", "cancelled"], f"the calls ended with {ends}")
        late = report.steps[0].steps[3]
        check(late.good, f"the call with progress ended with {late}")
        check([each["progress"] for each in late.progress] == [1], f"heard {late.progress}")
        check(report.steps[1].failure == "timeout", f"the wait ended with {report.steps[1]}")
        check(report.steps[2].good, f"listening ended with {report.steps[2]}")
        check(talk.host.now() == 12.0 + 40.0 + 30.0, f"it is {talk.host.now()}")

    made = case(play, STEPS)
    result = await play_client(made, CoreClient, Binding.CORE, NEW, timing=HOURS)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")


# The command


CORE = ("--transport", "core", "mcpcore_conformance.everything.client:main")


def test_the_command_checks_the_core() -> None:
    only = ("--only", "basic/utilities/ping", "--report", "json", "--strict")
    done = mcpcore_here("conformance", "client", *only, *CORE)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {(row["transport"], row["verdict"]) for row in rows} == {("core", "passed")}
    assert len(rows) == 3 * 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--transport", "core", "--", "x"), "cannot be met over core; there are"),
        (
            (*CORE, "--cwd", "/"),
            "--cwd does nothing for mcpcore_conformance.everything.client:main",
        ),
        ((*CORE, "--", "x"), "-- does nothing for mcpcore_conformance.everything.client:main"),
        (("--only", "docs/websocket", *CORE), "none of these cases is about that transport"),
    ],
)
def test_what_the_command_refuses(words: tuple[str, ...], said: str) -> None:
    done = mcpcore_here("conformance", "client", *words)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
