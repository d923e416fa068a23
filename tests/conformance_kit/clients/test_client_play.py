"""Starting clients and judging them: what they are given, and how every end becomes a verdict."""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpcore.spec.revisions import BY_NAME, Span
from mcpcore_conformance.kit.client_launch import ClientProcess
from mcpcore_conformance.kit.client_play import (
    HOSTS,
    ClientFeatures,
    look_at_client,
    not_applicable,
    play_client,
)
from mcpcore_conformance.kit.client_talk import ClientTalk, ClientTiming
from mcpcore_conformance.kit.client_wire import Came, Ended
from mcpcore_conformance.kit.heard import Gone
from mcpcore_conformance.kit.hosts.lines import TcpHost
from mcpcore_conformance.kit.hosts.stdio import StdioHost
from mcpcore_conformance.kit.model import (
    ALL,
    LEGACY,
    MAY,
    MODERN,
    MUST,
    SHOULD,
    STREAMABLE,
    Binding,
    Case,
    Page,
    Result,
    Strength,
    Verdict,
)
from mcpcore_conformance.kit.verdicts import Broken, Inconclusive, NotApplicable

pytestmark = pytest.mark.anyio
OLD, NEW = BY_NAME["2025-11-25"], BY_NAME["2026-07-28"]
TIMING = ClientTiming(start=20.0, answer=10.0, exit=20.0, quiet=0.02)
OURS = (sys.executable, "-m", "mcpcore_conformance.everything.client")

TELLS = """
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ)]))
print("its last words", file=sys.stderr)
sys.exit(7)
"""
CONNECTS = """
import socket, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
with socket.create_connection((url.hostname, url.port)) as connection:
    connection.sendall(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\\n')
    sys.exit(0 if b'"id":1' in connection.recv(1000) else 1)
"""
STAYS = """
import subprocess, sys, time
child = '''
import socket, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
socket.create_connection((url.hostname, url.port)).recv(1)
'''
subprocess.Popen([sys.executable, "-c", child, sys.argv[1]])
time.sleep(600)
"""
DECLINES = """
import json, os, pathlib
context = json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])
pathlib.Path(context["report"]).write_text('{"unsupported": "it has no call for that"}')
"""


def program(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def case(
    play: Callable[[ClientTalk], Awaitable[None]],
    strength: Strength = MUST,
    revisions: Span = ALL,
    **more: Any,
) -> Case:
    page = Page("page")
    play.__doc__ = "It is tried."
    page.client(revisions, **more).of(strength, "a/case", "-")(play)
    return page.cases[0]


async def played(
    play: Callable[[ClientTalk], Awaitable[None]],
    source: str = CONNECTS,
    strength: Strength = MUST,
    **more: Any,
) -> Result:
    made = case(play, strength)
    return await play_client(made, program(source), Binding.TCP, OLD, timing=TIMING, **more)


# What a client is given


async def started(
    source: str,
    scenario: str = "tools_call",
    context: Mapping[str, Any] | None = None,
    host: TcpHost | StdioHost | None = None,
) -> tuple[ClientProcess, Ended, str]:
    async with host or TcpHost() as place:
        process = ClientProcess(program(source), place, OLD)
        try:
            await process.start(place.tasks, scenario, context or {})
            while True:
                found = await place.hear(20.0)
                assert found is not None
                if isinstance(found[1], Ended):
                    return process, found[1], place.address
        finally:
            await process.aclose()


async def test_a_client_is_started_as_the_contract_has_it() -> None:
    process, ended, address = await started(TELLS)
    arguments, environment = json.loads(process.output)
    assert arguments == [address]
    assert environment["MCP_CONFORMANCE_SCENARIO"] == "tools_call"
    assert environment["MCP_CONFORMANCE_PROTOCOL_VERSION"] == "2025-11-25"
    assert environment["MCP_CONFORMANCE_TRANSPORT"] == "tcp"
    assert environment["MCP_CONFORMANCE_ADDRESS"] == address
    context = json.loads(environment["MCP_CONFORMANCE_CONTEXT"])
    assert context == {"name": "tools_call", "address": address}, "there are no details"
    assert environment["PATH"] == os.environ["PATH"]
    assert ended.code == 7
    assert process.said() == "its last words"


async def test_details_are_in_the_context() -> None:
    process, _, address = await started(TELLS, "http-custom-headers", {"toolCalls": [1]})
    context = json.loads(json.loads(process.output)[1]["MCP_CONFORMANCE_CONTEXT"])
    assert context == {"name": "http-custom-headers", "address": address, "toolCalls": [1]}


async def test_a_script_says_where_to_report() -> None:
    process, _, _ = await started(TELLS, "script", {"steps": []})
    context = json.loads(json.loads(process.output)[1]["MCP_CONFORMANCE_CONTEXT"])
    assert context["steps"] == []
    assert not await anyio.Path(context["report"]).parent.exists(), "nothing is left behind"
    assert process.report() is None


async def test_over_stdio_the_context_has_the_command() -> None:
    host = StdioHost()
    process, _, address = await started(TELLS, host=host)
    arguments, environment = json.loads(process.output)
    assert arguments == [address]
    server = json.loads(environment["MCP_CONFORMANCE_CONTEXT"])["server"]
    assert environment["MCP_CONFORMANCE_ADDRESS"] == address
    assert [server["command"], *server["args"]] == host.command


@pytest.mark.parametrize(
    "place",
    [
        "os.environ['MCP_CONFORMANCE_ADDRESS']",
        "json.loads(os.environ['MCP_CONFORMANCE_CONTEXT'])['address']",
    ],
)
async def test_a_client_may_take_the_address_from_where_it_likes(place: str) -> None:
    async def play(talk: ClientTalk) -> None:
        await talk.succeeded()

    result = await played(play, "import json, os" + CONNECTS.replace("sys.argv[1]", place))
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")


async def test_a_client_that_stays_is_ended_with_all_that_it_started() -> None:
    async with TcpHost() as host:
        process = ClientProcess(program(STAYS), host, OLD)
        await process.start(host.tasks, "tools_call", {})
        found = await host.hear(20.0)
        assert found is not None
        assert isinstance(found[1], Came), "a process that the client has started"
        await process.aclose()
        found = await host.hear(20.0)
        assert found is not None
        assert isinstance(found[1], Gone)


async def test_pipes_are_closed_of_which_others_hold_the_other_end(tmp_path: Path) -> None:
    def pipes() -> set[tuple[str, str]]:
        open_now = Path("/proc/self/fd").iterdir()
        ends = [(each.name, os.readlink(each)) for each in open_now if each.is_symlink()]
        return {end for end in ends if end[1].startswith("pipe:")}

    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    holding = os.open(fifo, os.O_RDWR)  # for as long as this is open, what the client started stays
    source = f"import subprocess; subprocess.Popen(['cat', {str(fifo)!r}], start_new_session=True)"
    before = pipes()
    try:
        _, ended, _ = await started(source)
        await anyio.wait_all_tasks_blocked()
        assert ended.code == 0
        assert pipes() == before
    finally:
        os.close(holding)


async def test_a_command_that_does_not_exist() -> None:
    async def play(talk: ClientTalk) -> None:
        await talk.open()

    result = await play_client(case(play), ["/nowhere/client"], Binding.TCP, OLD)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "/nowhere/client cannot be started" in result.detail


# Verdicts


async def test_a_client_that_does_what_it_should_passes() -> None:
    async def play(talk: ClientTalk) -> None:
        await talk.succeeded()

    result = await played(play)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")
    assert (result.revision, result.binding) == ("2025-11-25", Binding.TCP)
    assert [each.kind for each in result.transcript][:2] == ["message", "message"]
    assert result.seconds > 0


@pytest.mark.parametrize(
    ("strength", "verdict"),
    [(MUST, Verdict.FAILED), (SHOULD, Verdict.WEAK), (MAY, Verdict.INFORMATIONAL)],
)
async def test_a_broken_clause_is_judged_by_its_strength(
    strength: Strength, verdict: Verdict
) -> None:
    async def play(talk: ClientTalk) -> None:
        talk.note("seen")
        raise Broken("as it says")

    result = await played(play, strength=strength)
    assert (result.verdict, result.detail) == (verdict, "as it says")
    assert result.notes == ["seen"]


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (NotApplicable("why"), Verdict.NOT_APPLICABLE),
        (Inconclusive("why"), Verdict.INCONCLUSIVE),
        (KeyError("why"), Verdict.INCONCLUSIVE),
    ],
)
async def test_other_ends(error: Exception, verdict: Verdict) -> None:
    async def play(talk: ClientTalk) -> None:
        raise error

    result = await played(play)
    assert result.verdict is verdict
    assert "why" in result.detail
    assert result.faulty is isinstance(error, KeyError)


async def test_a_should_within_a_must() -> None:
    async def play(talk: ClientTalk) -> None:
        talk.should(True, "one")
        talk.should(False, "two")
        talk.should(False, "three")

    result = await played(play)
    assert (result.verdict, result.detail) == (Verdict.WEAK, "two; three")


async def test_a_case_that_takes_too_long() -> None:
    async def play(talk: ClientTalk) -> None:
        link = await talk.accept()
        talk.serving.by["ping"] = lambda message: None
        await link.expect("tools/call", within=600.0)

    result = await played(play, limit=1.0)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "not over after 1 s" in result.detail


async def test_a_client_that_fails_shows_its_last_words() -> None:
    async def play(talk: ClientTalk) -> None:
        await talk.accept()

    result = await played(play, TELLS)
    assert result.verdict is Verdict.INCONCLUSIVE
    words = "the client did not connect in the scenario tools_call: it has ended with status 7;"
    assert result.detail == f"{words} its last words"
    assert any("its last words" in each for each in result.notes)


@pytest.mark.parametrize("wanted", ["accept", "open", "report", "step"])
async def test_a_script_that_the_client_cannot_do_does_not_apply(wanted: str) -> None:
    async def play(talk: ClientTalk) -> None:
        await getattr(talk, wanted)()

    made = case(play, scenario="script", context={"steps": [{"do": "listen"}]})
    result = await play_client(made, program(DECLINES), Binding.TCP, OLD, timing=TIMING)
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert result.detail == "the client cannot do it: it has no call for that"


async def test_a_case_may_start_the_client_more_than_once() -> None:
    seen: list[str] = []

    async def play(talk: ClientTalk) -> None:
        for _ in range(2):
            await talk.launch()
            link = await talk.accept()
            seen.append((await link.expect("ping")).method)
            await link.serve_one(link.seen[0])
            await talk.succeeded()

    result = await played(play)
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")
    assert seen == ["ping", "ping"]


# What applies


def features(revision: str = "2025-11-25", **capabilities: Any) -> ClientFeatures:
    return ClientFeatures(revision=revision, capabilities=capabilities)


@pytest.mark.parametrize(
    ("found", "need", "reason"),
    [
        (features(roots={}), "roots", ""),
        (features(roots={"listChanged": True}), "roots.listChanged", ""),
        (features(), "roots", "the client does not declare roots"),
        (features(roots={}), "roots.listChanged", "does not declare roots.listChanged"),
        (features(), "scenario:script", "does not know the scenario script"),
        (ClientFeatures(scenarios={"script"}), "scenario:script", ""),
        (ClientFeatures(scenarios={"script"}), "tool:script", "does not know the tool script"),
    ],
)
def test_what_a_case_needs(found: ClientFeatures, need: str, reason: str) -> None:
    assert found.has(need).endswith(reason)
    assert bool(found.has(need)) is bool(reason)


async def _play(talk: ClientTalk) -> None:
    raise AssertionError("it does not apply")


@pytest.mark.parametrize(
    ("made", "binding", "revision", "found", "reason"),
    [
        (case(_play, revisions=MODERN), Binding.HTTP, OLD, None, "not one of 2025-11-25"),
        (case(_play, bindings=STREAMABLE), Binding.STDIO, OLD, None, "not about stdio"),
        (case(_play, bindings=STREAMABLE), Binding.MEMORY, OLD, None, "not about memory"),
        (case(_play), Binding.SSE, NEW, None, "2026-07-28 has no HTTP+SSE"),
        (case(_play), Binding.HTTP, NEW, features(), "does not speak 2026-07-28"),
        (case(_play, needs=("roots",)), Binding.HTTP, OLD, features(), "does not declare roots"),
        (case(_play, needs=("roots",)), Binding.HTTP, OLD, features(roots={}), ""),
        (case(_play, revisions=LEGACY), Binding.SSE, OLD, None, ""),
    ],
)
async def test_what_does_not_apply_is_not_played(
    made: Case, binding: Binding, revision: Any, found: ClientFeatures | None, reason: str
) -> None:
    assert not_applicable(made, binding, revision, found).endswith(reason)
    if reason:
        result = await play_client(made, ["/nowhere"], binding, revision, features=found)
        assert result.verdict is Verdict.NOT_APPLICABLE
        assert result.detail.endswith(reason)


@pytest.mark.share(3)
@pytest.mark.parametrize("binding", [*HOSTS])
async def test_our_client_is_seen_as_it_is(binding: Binding) -> None:
    found = await look_at_client(OURS, binding, OLD, timing=TIMING)
    assert found.revision == "2025-11-25"
    assert found.scenarios == {"script"}
    assert {"roots", "sampling", "elicitation"} <= found.capabilities.keys()
    assert found.info["name"] == "mcpcore-everything-client"
    assert found.problems == []


async def test_a_client_without_scripts() -> None:
    source = """
import json, os, socket, sys, urllib.parse
if os.environ["MCP_CONFORMANCE_SCENARIO"] != "initialize":
    sys.exit("what?")
url = urllib.parse.urlsplit(sys.argv[1])
with socket.create_connection((url.hostname, url.port)) as connection:
    def say(**message):
        connection.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\\n")
    params = {"capabilities": {"roots": {}}, "clientInfo": {"name": "lone"}}
    say(id=1, method="initialize", params=params)
    connection.recv(65536)
    say(method="notifications/initialized")
"""
    found = await look_at_client(program(source), Binding.TCP, OLD, timing=TIMING)
    assert (found.revision, found.scenarios) == ("2025-11-25", set())
    assert (found.capabilities, found.info) == ({"roots": {}}, {"name": "lone"})


async def test_a_client_of_another_revision() -> None:
    found = await look_at_client(program(CONNECTS), Binding.TCP, OLD, timing=TIMING)
    assert found.revision == ""
    assert "did not initialize" in found.problems[0]
