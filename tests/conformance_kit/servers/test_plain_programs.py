"""Programs that are plain, slow or of one era, and in order: the kit finds no failures in them."""

import sys

import pytest
from msgspec import structs

from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.client_play import ClientFeatures, look_at_client, play_client
from mcpcore_conformance.kit.client_talk import ClientTalk, ClientTiming
from mcpcore_conformance.kit.model import Binding, Page, Verdict
from tests.conformance_kit.runs import NEW, OLD, cases_of, run_of
from tests.conformance_kit.servers.test_servers_that_go import HTTP, process
from tests.more_time import with_more_time

pytestmark = pytest.mark.anyio
MODERN = BY_NAME["2026-07-28"]
LEGACY = BY_NAME["2025-11-25"]
TIMING = ClientTiming(start=20.0, answer=10.0, exit=20.0, quiet=0.02)

INITIALIZES = """
import json, os, socket, sys, urllib.parse
if os.environ["MCP_CONFORMANCE_SCENARIO"] != "initialize":
    sys.exit("what?")
url = urllib.parse.urlsplit(sys.argv[1])
with socket.create_connection((url.hostname, url.port)) as connection:
    def ask(method, params):
        said = {"jsonrpc": "2.0", "id": method, "method": method, "params": params}
        connection.sendall(json.dumps(said).encode() + b"\\n")
        return json.loads(connection.makefile().readline())
    info = {"name": "lone", "version": "1"}
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
    refused = ask("initialize", opening)
"""
"""A client of the older era: all that it can do is initialize."""
GIVES_UP = """
    sys.exit("refused with %d" % refused["error"]["code"])
"""
GOES_ON = """
    assert "error" in refused
    name = "io.modelcontextprotocol/"
    declared = {"roots": {}}
    meta = {name + "protocolVersion": "2026-07-28", name + "clientCapabilities": declared}
    ask("tools/list", {"_meta": meta})
"""
CONNECT = """
import os, socket, sys, urllib.parse

def connect():
    url = urllib.parse.urlsplit(sys.argv[1])
    socket.create_connection((url.hostname, url.port)).close()

"""


def client(source: str) -> list[str]:
    return [sys.executable, "-c", INITIALIZES + source]


async def test_a_client_that_can_only_initialize_is_not_one_of_the_newer_era() -> None:
    found = await look_at_client(client(GIVES_UP), Binding.TCP, MODERN, timing=TIMING)
    assert found.heard
    assert not found.broken, "it has broken nothing of a revision that it does not speak"
    assert found.unspoken(MODERN.name).startswith(
        "the client does not speak 2026-07-28: the client sent nothing but initialize: "
    )


async def test_a_client_that_goes_on_after_initialize_was_refused_is_one_of_the_newer_era() -> None:
    found = await look_at_client(client(GOES_ON), Binding.TCP, MODERN, timing=TIMING)
    assert found.unspoken(MODERN.name) == ""
    assert found.capabilities == {"roots": {}}


@pytest.mark.parametrize(
    ("scenario", "speaks", "source", "verdict"),
    [
        ("sse-retry", True, "sys.exit('no such scenario')", Verdict.NOT_APPLICABLE),
        ("sse-retry", True, "", Verdict.NOT_APPLICABLE),
        ("sse-retry", False, "sys.exit('no such scenario')", Verdict.INCONCLUSIVE),
        ("sse-retry", True, "os.kill(os.getpid(), 9)", Verdict.INCONCLUSIVE),
        ("sse-retry", True, "connect()", Verdict.NOT_APPLICABLE),
        ("sse-retry", True, "connect(); sys.exit('what?')", Verdict.INCONCLUSIVE),
        ("initialize", True, "sys.exit('no such scenario')", Verdict.INCONCLUSIVE),
        ("script", True, "sys.exit('no such scenario')", Verdict.INCONCLUSIVE),
    ],
)
async def test_a_client_need_not_know_a_scenario(
    scenario: str, speaks: bool, source: str, verdict: Verdict
) -> None:
    page = Page("p")

    @page.client(scenario=scenario).must("a/case", "-")
    async def opens(talk: ClientTalk) -> None:
        """Waits for a client."""
        await talk.open()

    features = ClientFeatures(revision=LEGACY.name if speaks else MODERN.name)
    result = await play_client(
        structs.replace(page.cases[0], bare=True),
        [sys.executable, "-c", CONNECT + source],
        Binding.TCP,
        LEGACY,
        features=structs.replace(features, tried=True),
        timing=TIMING,
    )
    assert result.verdict is verdict
    if verdict is Verdict.NOT_APPLICABLE:
        assert result.detail.startswith("the client does not know the scenario sse-retry")
        assert ": it has ended with status " in result.detail


async def played(
    target: object, *ids: str, modern: bool, timeout: float
) -> dict[str, tuple[Verdict, str]]:
    """What comes of some cases, by the last part of their ids."""
    cases = cases_of(*ids)
    assert len(cases) == len(ids)
    run = await run_of(target, cases, NEW if modern else OLD, jobs=1, timeout=timeout)
    return {each.case.id.rpartition("/")[2]: (each.verdict, each.detail) for each in run.results}


NO_SUBSCRIPTIONS = """
import json, sys

def answer(said):
    if said["method"] == "server/discover":
        capabilities = json.loads(sys.argv[1])
        return {"result": {"supportedVersions": ["2026-07-28"], "capabilities": capabilities}}
    if said["method"] == "tools/list":
        return {"result": {"tools": []}}
    return {"error": {"code": -32601, "message": "no such method"}}

for line in sys.stdin:
    said = json.loads(line)
    if "id" in said:
        made = answer(said)
        if "result" in made:
            made["result"].update(resultType="complete", ttlMs=0, cacheScope="public")
            name = "io.modelcontextprotocol/serverInfo"
            made["result"]["_meta"] = {name: {"name": "plain", "version": "1"}}
        print(json.dumps({"jsonrpc": "2.0", "id": said["id"], **made}), flush=True)
"""
LISTENING = "basic/patterns/subscriptions/"
NONE = Verdict.NOT_APPLICABLE, "the server has no subscriptions"


async def test_a_server_need_not_have_subscriptions() -> None:
    found = await played(
        [sys.executable, "-c", NO_SUBSCRIPTIONS, '{"tools": {}}'],
        "basic/patterns/cancellation/behavior-requirements/ends-listen",
        LISTENING + "receiving-notifications/id-of-the-request",
        LISTENING + "opening-a-stream/malformed-filter",
        LISTENING + "opening-a-stream/stays-open",
        LISTENING + "acknowledgment/shape",
        modern=True,
        timeout=5.0,
    )
    assert {*found.values()} == {NONE}


async def test_a_server_that_announces_changes_has_subscriptions() -> None:
    found = await played(
        [sys.executable, "-c", NO_SUBSCRIPTIONS, '{"tools": {"listChanged": true}}'],
        LISTENING + "acknowledgment/declared-honoured",
        modern=True,
        timeout=5.0,
    )
    verdict, detail = found["declared-honoured"]
    assert verdict is Verdict.WEAK
    assert "-32601" in detail


SLOW = """
import json, sys, time

for line in sys.stdin:
    time.sleep(float(sys.argv[1]))
    said = json.loads(line)
    if "id" not in said:
        continue
    result = {"tools": []}
    if said["method"] == "initialize":
        info = {"name": "slow", "version": "1"}
        version = said["params"]["protocolVersion"]
        result = {"protocolVersion": version, "capabilities": {}, "serverInfo": info}
    print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result}), flush=True)
"""
"""Serves one message after the other, twenty of them in the time that the kit waits for one."""


async def test_a_server_may_be_slow() -> None:
    async def attempt(seconds: float) -> None:
        found = await played(
            [sys.executable, "-c", SLOW, str(seconds / 20)],
            "basic/patterns/cancellation/timing-considerations/races",
            modern=False,
            timeout=seconds,
        )
        assert found == {"races": (Verdict.PASSED, "")}

    await with_more_time(attempt, 1.0, 10.0)  # nor may it stand still for longer


@pytest.mark.parametrize(
    ("head", "outcome"),
    [
        ((), (Verdict.PASSED, "")),
        (("405", ""), (Verdict.PASSED, "")),
        (("500", ""), (Verdict.FAILED, "HEAD got status 500")),
        (("501", "it has none\r\n\r\n"), (Verdict.FAILED, "the response to HEAD has a body")),
        (("200", "it has none\r\n\r\n"), (Verdict.FAILED, "the response to HEAD has a body")),
    ],
)
async def test_a_server_need_not_implement_head(
    head: tuple[str, ...], outcome: tuple[Verdict, str]
) -> None:
    with process(HTTP, "0", "1000", *head) as port:
        found = await played(
            f"http://127.0.0.1:{port}/mcp",
            "rfc9110/section-9.3.2/head-without-body",
            modern=False,
            timeout=5.0,
        )
    assert found == {"head-without-body": outcome}
