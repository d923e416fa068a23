"""Clients that can little, or leave something out: nothing is held against them but that."""

import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from msgspec import structs

from mcpcore.spec.revisions import BY_NAME, Revision
from mcpcore_conformance.kit.client_play import ClientFeatures, play_client
from mcpcore_conformance.kit.client_talk import ClientTalk, ClientTiming
from mcpcore_conformance.kit.model import Binding, Page, Result, Side, Verdict
from mcpcore_conformance.run.clients import Command, prepare_client, run_client
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener
from tests.conformance_kit.clients.small_client import CLIENT

pytestmark = pytest.mark.anyio
LEGACY, MODERN = BY_NAME["2025-11-25"], BY_NAME["2026-07-28"]
TIMING = ClientTiming(start=20.0, answer=10.0, exit=20.0, quiet=0.02)

OVER_HTTP = """
import json, os, sys, urllib.error, urllib.request

def ask(method, params, **headers):
    body = json.dumps({"jsonrpc": "2.0", "id": method, "method": method, "params": params})
    headers = {each.replace("_", "-"): value for each, value in headers.items()}
    accepted = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    request = urllib.request.Request(sys.argv[-1], body.encode(), {**accepted, **headers})
    try:
        with urllib.request.urlopen(request) as response:
            response.read()
    except urllib.error.HTTPError as error:
        error.read()

info = {"name": "small", "version": "1"}
ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info})
version = "2026-07-28"
own = {"protocolVersion": version, "clientCapabilities": {}, "clientInfo": info}
meta = {"_meta": {f"io.modelcontextprotocol/{each}": own[each] for each in own}}

def ask_again(method, params, **headers):
    of_method = {} if os.environ["HOW"] == "nameless" else {"Mcp_Method": method}
    ask(method, {**params, **meta}, Mcp_Protocol_Version=version, **of_method, **headers)

ask_again("tools/list", {})
if os.environ["MCP_CONFORMANCE_SCENARIO"] == "tools_call":
    arguments = {"name": "add_numbers", "arguments": {"a": 1, "b": 2}}
    ask_again("tools/call", arguments, Mcp_Name="add_numbers")
"""


async def ran(
    how: str,
    *places: str,
    client: str = CLIENT,
    binding: Binding = Binding.TCP,
    revisions: tuple[Revision, ...] = (LEGACY, MODERN),
) -> dict[tuple[str, str], Result]:
    """What a run of the cases of these places finds in a client, by id and revision."""
    clients = [case for case in all_cases() if case.side is Side.CLIENT]
    cases = [case for case in clients if case.id.startswith(places)]
    command = Command([sys.executable, "-c", client], env={**os.environ, "HOW": how})
    settings = Settings(revisions=revisions, timeout=10.0)
    run = prepare_client(command, [binding], cases, settings)
    await run_client(run, command, Listener())
    return {(each.case.id, each.revision): each for each in run.results}


async def test_a_client_that_leaves_where_it_gets_another_revision_does_not_speak_that() -> None:
    earlier = BY_NAME["2025-06-18"]
    found = await ran("of one revision", "basic/lifecycle", revisions=(earlier, LEGACY))
    verdicts = {
        name: {each.verdict for (_, revision), each in found.items() if revision == name}
        for name in (earlier.name, LEGACY.name)
    }
    assert verdicts[LEGACY.name] == {Verdict.PASSED, Verdict.NOT_APPLICABLE}
    assert verdicts[earlier.name] == {Verdict.NOT_APPLICABLE}
    said = "it asks for 2025-11-25, and leaves where the answer is 2025-06-18"
    assert found[INITIALIZED, earlier.name].detail.endswith(f"speak {earlier.name}: {said}")


@pytest.mark.parametrize("how", ["plain", "goes on"])
async def test_a_client_of_the_older_era_breaks_nothing_of_the_newer(how: str) -> None:
    found = await ran(how, "basic/lifecycle", "basic/versioning", "basic/index/requests")
    modern = [each for (_, revision), each in found.items() if revision == MODERN.name]
    assert len(modern) > 3
    assert {each.verdict for each in modern} == {Verdict.NOT_APPLICABLE}
    said = {
        "plain": "the client sent nothing but initialize: it has ended with status 1; refused",
        "goes on": "the client sent initialize, and then requests without _meta: it has ended",
    }
    assert {each.detail.partition(": ")[2].startswith(said[how]) for each in modern} == {True}
    legacy = {each.verdict for (_, revision), each in found.items() if revision == LEGACY.name}
    assert Verdict.PASSED in legacy
    assert Verdict.FAILED not in legacy


async def test_a_client_of_both_eras_may_try_initialize_first() -> None:
    found = await ran("both", "basic/index/_meta", "basic/index/requests")
    modern = {id: each for (id, revision), each in found.items() if revision == MODERN.name}
    tried = {f"basic/index/_meta/{each}" for each in ("client-required", "client-info")}
    assert {modern[each].verdict for each in tried} == {Verdict.PASSED}
    assert Verdict.FAILED not in {each.verdict for each in found.values()}


@pytest.mark.parametrize(("how", "failed"), [("named", 0), ("nameless", 1)])
async def test_initialize_is_not_asked_for_the_headers_of_the_newer_era(
    how: str, failed: int
) -> None:
    page = "basic/transports/streamable-http"
    places = (f"{page}/standard-request-headers/client", f"{page}/protocol-version-header/client")
    found = await ran(how, *places, client=OVER_HTTP, binding=Binding.HTTP)
    modern = Counter(each.verdict for (_, era), each in found.items() if era == MODERN.name)
    assert modern[Verdict.FAILED] == failed
    assert modern[Verdict.PASSED] == 3 - failed


INITIALIZED = "basic/lifecycle/initialization/client-sends-initialized"


async def test_a_client_that_never_says_that_it_is_ready_is_played_with_all_the_same() -> None:
    found = await ran("unready", "basic/lifecycle", "basic/index/requests", "basic/utilities/ping")
    result = found[INITIALIZED, LEGACY.name]
    assert (result.verdict, result.detail) == (
        Verdict.FAILED,
        "the client began with initialize, tools/list",
    )
    legacy = [each for (_, revision), each in found.items() if revision == LEGACY.name]
    assert [each.case.id for each in legacy if each.verdict is Verdict.FAILED] == [INITIALIZED]
    assert Verdict.INCONCLUSIVE not in {each.verdict for each in legacy}
    assert sum(each.verdict is Verdict.PASSED for each in legacy) > 8


async def opens(talk: ClientTalk) -> None:
    await talk.open()


async def succeeds(talk: ClientTalk) -> None:
    await talk.succeeded()


async def ends(talk: ClientTalk) -> None:
    await talk.finished()


async def calls(talk: ClientTalk) -> None:
    link = await talk.open()
    await link.expect("tools/call")


UNKNOWN = "the client does not know the scenario sse-retry"
FAILS = "it has ended with status 1; unknown scenario"


@pytest.mark.parametrize(
    ("how", "play", "verdict", "detail"),
    [
        ("ends", opens, Verdict.NOT_APPLICABLE, f"{UNKNOWN}: it has ended with status 0"),
        ("ends", ends, Verdict.NOT_APPLICABLE, f"{UNKNOWN}: it has ended with status 0"),
        ("fails", opens, Verdict.NOT_APPLICABLE, f"{UNKNOWN}: {FAILS}"),
        ("fails", succeeds, Verdict.NOT_APPLICABLE, f"{UNKNOWN}: {FAILS}"),
        (
            "plain",
            calls,
            Verdict.NOT_APPLICABLE,
            f"{UNKNOWN}, in which it makes no call: it has ended with status 0",
        ),
        ("plain and fails", succeeds, Verdict.FAILED, f"the client failed: {FAILS}"),
    ],
)
async def test_a_scenario_that_is_not_known_is_not_held_against_a_client(
    how: str, play: Callable[[ClientTalk], Awaitable[None]], verdict: Verdict, detail: str
) -> None:
    result = await scenario(how, play, ClientFeatures(revision=LEGACY.name))
    assert (result.verdict, result.detail) == (verdict, detail)


@pytest.mark.long
async def test_a_client_that_hangs_in_a_scenario_is_not_started_in_it_again() -> None:
    features = ClientFeatures(revision=LEGACY.name)
    timing = structs.replace(TIMING, start=0.5, exit=0.5)
    for detail in (": it is running", " before, and did not end"):
        result = await scenario("hangs", ends, features, timing)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert result.detail == f"the client did not connect in the scenario sse-retry{detail}"
    assert result.transcript == []


async def test_what_a_client_sent_and_is_no_message_is_shown() -> None:
    features = ClientFeatures(revision=LEGACY.name)
    result = await scenario("invalid", ends, features, name="tools_call")
    assert result.verdict is Verdict.FAILED
    assert result.detail == (
        "the client sent an invalid message: method has to be a string, not 5:"
        """ '{"jsonrpc":"2.0","method":5}'"""
    )


async def scenario(
    how: str,
    play: Callable[[ClientTalk], Awaitable[None]],
    features: ClientFeatures,
    timing: ClientTiming = TIMING,
    name: str = "sse-retry",
) -> Result:
    """Play a case of one scenario."""
    page = Page("p")

    async def played(talk: ClientTalk) -> None:
        """Something is tried."""
        await play(talk)

    page.client(scenario=name).must("a/case", "-")(played)
    return await play_client(
        page.cases[0],
        [sys.executable, "-c", CLIENT],
        Binding.TCP,
        LEGACY,
        features=features,
        timing=timing,
        env={**os.environ, "HOW": how},
    )
