"""Clients of this process, met in memory: as programs are, and without one."""

import json
from collections.abc import Awaitable, Callable

import anyio
import pytest

from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore_conformance.kit.client_play import look_at_client, play_client
from mcpcore_conformance.kit.client_talk import ClientTalk, ClientTiming
from mcpcore_conformance.kit.hosts.memory import InMemory, Visit
from mcpcore_conformance.kit.model import LINES, Binding, Case, Page, Result, Side, Verdict
from mcpcore_conformance.kit.verdicts import check
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.subjects.memory import memory_streams
from mcpcore_conformance.subjects.memory_client import MEMORY_CLIENT
from tests.command import mcpcore_here

pytestmark = pytest.mark.anyio
OLD, NEW = BY_NAME["2025-11-25"], BY_NAME["2026-07-28"]
TIMING = ClientTiming(start=20.0, answer=20.0, exit=20.0, quiet=0.02)
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
STDIO = "basic/transports/stdio"
QUICK = (
    "basic/index/messages/client-json-rpc",
    "client/elicitation/form-mode-security/client-validates",
    "client/roots/root-list-changes/client-notifies",
    f"{STDIO}/basic-transports-stdio/client-takes-pieces",
    f"{STDIO}/basic-transports-stdio/client-takes-long-lines",
    f"{STDIO}/unexpected-termination/client-notices",
    f"{STDIO}/backward-compatibility/client-falls-back",
    "server/tools/output-schema/client-validates",
)
"""Cases that do not wait for what does not come."""


async def played(
    play: Callable[[ClientTalk], Awaitable[None]], client: Callable[[Visit], Awaitable[str]]
) -> Result:
    page = Page("page")
    play.__doc__ = "It is tried."
    page.client(bindings=LINES).must("a/case", "-")(play)
    return await play_client(page.cases[0], InMemory(client), Binding.MEMORY, OLD, timing=TIMING)


def units() -> list[tuple[Case, Revision]]:
    found = [each for each in all_cases() if each.id in QUICK]
    assert len(found) == len(QUICK)
    return [(each, one) for each in found for one in (OLD, NEW) if each.holds_in(one)]


@pytest.mark.parametrize(
    ("case", "revision"), units(), ids=lambda each: each.id if isinstance(each, Case) else str(each)
)
async def test_our_client_passes(case: Case, revision: Revision) -> None:
    result = await play_client(case, MEMORY_CLIENT, Binding.MEMORY, revision, timing=TIMING)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")


def test_every_case_of_lines_is_one_of_memory() -> None:
    for case in all_cases():
        if case.side is Side.CLIENT:
            assert (Binding.MEMORY in case.bindings) is (Binding.CORE in case.bindings)


async def test_our_client_is_seen_as_it_is() -> None:
    found = await look_at_client(MEMORY_CLIENT, Binding.MEMORY, OLD, timing=TIMING)
    assert (found.revision, found.scenarios) == ("2025-11-25", {"script"})
    assert found.info["name"] == "mcpcore-everything-client"
    assert (found.problems, found.noisy, found.endless) == ([], False, False)


async def test_what_is_said_last_is_heard_before_the_end() -> None:
    async def client(visit: Visit) -> str:
        ours, theirs = memory_streams()
        visit.enter(theirs)
        await ours.send(PING[:9])
        await ours.send(PING[9:] + b"\n" + PING.replace(b"1,", b"2,"))
        await ours.aclose()
        return f"{visit.scenario} of {visit.revision} went wrong"

    async def play(talk: ClientTalk) -> None:
        link = await talk.accept()
        ended = await talk.finished()
        check([each.id for each in link.seen] == [1, 2], f"heard {link.seen}")
        check(link.gone is not None, "the connection is there")
        check(ended.code == 1, f"it ended with {ended.code}")
        await talk.succeeded()

    result = await played(play, client)
    assert result.verdict is Verdict.FAILED
    assert result.detail.endswith("status 1; tools_call of 2025-11-25 went wrong")
    assert result.notes == ["stderr: tools_call of 2025-11-25 went wrong"]


async def test_who_crashes_has_failed() -> None:
    async def client(visit: Visit) -> str:
        raise KeyError("why")

    async def play(talk: ClientTalk) -> None:
        await talk.succeeded()

    result = await played(play, client)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "did not connect" in result.detail
    assert "status 1" in result.detail
    assert "KeyError: 'why'" in result.detail


async def test_it_can_be_killed_and_started_again() -> None:
    async def client(visit: Visit) -> str:
        ours, theirs = memory_streams()
        visit.enter(theirs)
        try:
            await ours.send(PING + b"\n")
            await anyio.sleep_forever()
        finally:
            await ours.aclose()
        return ""

    async def play(talk: ClientTalk) -> None:
        for _ in range(2):
            await talk.launch()
            link = await talk.accept()
            await link.expect("ping")
            talk.stop(9)
            ended = await talk.finished()
            check(ended.code == -9, f"it ended with {ended.code}")
            check(link.gone is not None, "the connection is there")
        talk.stop(9)

    result = await played(play, client)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")


def test_the_command_checks_our_client_in_memory(capfd: pytest.CaptureFixture[str]) -> None:
    name = "mcpcore_conformance.everything.client:main"
    words = ("--only", "basic/utilities/ping", "--report", "json", "--strict", "--timeout", "60")
    done = mcpcore_here("conformance", "client", "--transport", "memory", *words, name)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {(row["transport"], row["verdict"]) for row in rows} == {("memory", "passed")}
    assert "broke a rule" not in done.stderr + capfd.readouterr().err
