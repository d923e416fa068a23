"""One fault of a program is one finding, of servers and of clients, by the kit and by pytest."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.client_talk import ENDLESS
from mcpcore_conformance.kit.model import Binding, Result, Side, Verdict
from mcpcore_conformance.run.clients import Command, prepare_client, run_client
from mcpcore_conformance.run.followers import HOMES, HOMES_OF_CLIENTS
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener, Run
from mcpcore_conformance.run.selection import select
from mcpcore_conformance.run.servers import prepare, run_server
from mcpcore_conformance.run.stages import subject_of
from mcpcore_transports.targets import parse_target
from tests.command import Done
from tests.conformance_kit.clients.small_client import CLIENT
from tests.conformance_kit.runs import run_of
from tests.warm import PYTHON

pytestmark = pytest.mark.usefixtures("warm_programs")

REVISION = BY_NAME["2025-11-25"]
NOTHING_ELSE = HOMES_OF_CLIENTS["noise"]
MESSAGES, IDS, ARRAYS = (HOMES_OF_CLIENTS[each] for each in ("message", "id", "array"))
PLACES = ("basic/index", "basic/lifecycle", "basic/transports/stdio", "basic/utilities/ping")
STRICT = "fails, of one revision"
"""Ways of the client: it plays no scenario that it does not know, and speaks one revision."""


def of(results: list[Result], *verdicts: Verdict) -> list[str]:
    """The cases with these verdicts."""
    return [each.case.id for each in results if each.verdict in verdicts]


async def run_on_client(how: str, places: Sequence[str], timeout: float) -> Run:
    """A run of cases on the client with that fault."""
    cases = [each for each in select(all_cases(), places) if each.side is Side.CLIENT]
    command = Command([sys.executable, "-c", CLIENT], env={**os.environ, "HOW": f"{STRICT}, {how}"})
    settings = Settings(revisions=(REVISION,), timeout=timeout)
    run = prepare_client(command, [Binding.TCP], cases, settings)
    await run_client(run, command, Listener())
    return run


@pytest.mark.anyio
@pytest.mark.share(7)
@pytest.mark.parametrize(
    ("how", "failed", "passed"),
    [
        ("none", [], 15),
        # what is no message at all is passed over by the other cases
        ("banner", [NOTHING_ELSE], 14),
        ("log", [NOTHING_ELSE], 14),
        # what is meant by a broken message is seen by the other cases all the same
        ("version", [MESSAGES], 14),
        ("other", [MESSAGES], 14),
        ("params", [MESSAGES], 14),
        ("answer", [MESSAGES], 14),
        ("null", [IDS], 14),
        ("float", [IDS], 14),
        ("batch", [ARRAYS], 14),
        ("cursor", ["basic/index/requests/client-params"], 14),
        ("meta", ["basic/index/requests/client-params"], 14),
        ("reason", ["basic/index/notifications/client-params"], 14),
        ("any id", ["basic/index/responses/client-unknown-id"], 14),
    ],
)
async def test_a_fault_of_the_messages_of_a_client(
    how: str, failed: list[str], passed: int
) -> None:
    run = await run_on_client(how, PLACES, 10.0)
    assert of(run.results, Verdict.FAILED, Verdict.WEAK) == failed
    assert len(of(run.results, Verdict.PASSED)) >= passed
    hidden = [each for each in run.results if each.verdict is Verdict.INCONCLUSIVE]
    assert [each.detail for each in hidden] == []


@pytest.mark.long
@pytest.mark.anyio
async def test_a_client_that_does_not_end_fails_in_no_case_that_is_about_something_else() -> None:
    run = await run_on_client("stays", PLACES[:2], 1.0)
    assert of(run.results, Verdict.FAILED, Verdict.WEAK) == []
    hidden = [each for each in run.results if each.verdict is Verdict.INCONCLUSIVE]
    assert len(hidden) > 4
    assert {each.detail.partition(",")[0] for each in hidden} == {ENDLESS.partition(",")[0]}


STUBBORN = """
import json, signal, sys, time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
for line in sys.stdin:
    said = json.loads(line)
    result = {}
    if said.get("method") == "initialize":
        version = said["params"]["protocolVersion"]
        result = {"protocolVersion": version, "capabilities": {}}
        result["serverInfo"] = {"name": "stubborn", "version": "1"}
    if "id" in said:
        print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result}), flush=True)
time.sleep(600)
"""


@pytest.mark.long
@pytest.mark.anyio
async def test_a_server_that_does_not_end() -> None:
    places = ("basic/transports/stdio/shutdown", "basic/lifecycle/stdio")
    cases = [each for each in select(all_cases(), places) if each.side is Side.SERVER]
    run = await run_of([sys.executable, "-c", STUBBORN], cases, timeout=1.0)
    found = {HOMES["end of input"], HOMES["SIGTERM"]}
    assert {*of(run.results, Verdict.FAILED, Verdict.WEAK)} == found
    hidden = [each.detail for each in run.results if each.verdict is Verdict.INCONCLUSIVE]
    assert len(hidden) > 4
    assert [
        each for each in hidden if not any(f"what {home} finds" in each for home in found)
    ] == []


MISSHAPEN = """
import json, sys

for line in sys.stdin:
    said = json.loads(line)
    answer = {"error": {"code": -32600, "message": "not initialized"}}
    if said.get("method") == "initialize":
        answer = {"result": "welcome"}
    if "id" in said:
        print(json.dumps({"jsonrpc": "2.0", "id": said["id"], **answer}), flush=True)
"""


@pytest.mark.anyio
async def test_what_a_server_declines_is_not_held_against_it_where_another_revision_is_odd() -> (
    None
):
    places = ("basic/lifecycle", "server/discover", "basic/transports/stdio/stdio")
    cases = [each for each in select(all_cases(), places) if each.side is Side.SERVER]
    subjects = [subject_of(parse_target([sys.executable, "-c", MISSHAPEN]))]
    run = prepare(subjects, cases, Settings(timeout=10.0))
    await run_server(run, subjects, Listener())
    assert {*of(run.results, Verdict.FAILED)} == {HOMES["initialize"]}
    modern = {each.verdict for each in run.results if each.revision == "2026-07-28"}
    assert modern == {Verdict.NOT_APPLICABLE}


def by_pytest(folder: Path, *words: str) -> Done:
    """Run the client's cases as tests."""
    (folder / "client.py").write_text(CLIENT)
    command = [
        *(*PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-q", *words),
        *("--mcp-client", f"{sys.executable} client.py", "--mcp-transport", "tcp"),
        *("--mcp-revision", REVISION.name, "--mcp-only", "basic/index/*/client-*"),
        *("--mcp-only", "basic/transports/stdio"),
    ]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "HOW": f"{STRICT}, version"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize("words", [("-p", "no:xdist"), ("-p", "xdist", "-n", "2")])
def test_by_pytest_it_is_one_failed_test(words: tuple[str, ...], tmp_path: Path) -> None:
    if "xdist" in words:
        pytest.importorskip("xdist")
    done = by_pytest(tmp_path, *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"FAILED mcp-client::{MESSAGES}" in done.stdout
    assert "1 failed, " in done.stdout
    assert " skipped" in done.stdout


def test_where_the_case_about_it_is_deselected_the_others_fail(tmp_path: Path) -> None:
    done = by_pytest(tmp_path, "-p", "no:xdist", "-k", "client-id")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED mcp-client::basic/index/requests/client-id-fresh[" in done.stdout
