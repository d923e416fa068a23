"""The official suite against our reference programs: exactly the expected failures."""

import re
import subprocess
import sys
from contextlib import ExitStack
from functools import partial

import pytest

from conformance.official import expected, suite
from mcpcore_conformance.launch import serving
from tests.warm import PYTHON

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

GATEWAY = [sys.executable, "-m", "mcpcore_transports.commands.main", "gateway"]
CLIENT = (*PYTHON, *suite.CLIENT_COMMAND[1:])
"""Ours but for its start: each scenario has one of its own."""
LEAST_PASSED = {
    ("server", "2025-11-25"): 20,
    ("server", "2026-07-28"): 20,
    ("client", "2025-03-26"): 2,
    ("client", "2025-11-25"): 25,
    ("client", "2026-07-28"): 43,
}


@pytest.fixture(autouse=True)
def _tools() -> None:
    try:
        suite.require_tools()
    except suite.ToolsMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("revision", suite.REVISIONS)
@pytest.mark.parametrize("side", suite.SIDES)
def test_official_suite(side: str, revision: str) -> None:
    scenarios = suite.requirements(revision, side)
    play = partial(suite.run_client, command=CLIENT) if side == "client" else suite.run_server
    results = list(play(revision, scenarios))
    verdict = expected.judge(results, expected.load(), side=side, revision=revision)
    details = {
        result.name: result.problem or [check.error_message for check in result.failures]
        for result in results
        if result.outcome == "FAIL"
    }
    passed = sum(result.outcome == "pass" for result in results)
    assert verdict.unexpected == [], details
    assert verdict.stale == []
    assert passed >= LEAST_PASSED.get((side, revision), 0)


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
@pytest.mark.parametrize("up", ["http", "stdio"])
def test_scored_scenarios_through_a_gateway(up: str, revision: str) -> None:
    everything = suite.SERVER_COMMAND[:-2]
    # Else a server on a busy machine, which starts slowly, might be taken for a legacy one.
    gateway = [*GATEWAY, "--http", "127.0.0.1:0", "--server-revision", "2026-07-28"]
    scored = {name: True for name, each in suite.requirements(revision, "server").items() if each}
    assert len(scored) >= LEAST_PASSED["server", revision]
    with ExitStack() as stack:
        behind = ["--", *everything, "--stdio"]
        if up == "http":
            behind = stack.enter_context(serving(suite.SERVER_COMMAND))
        results = list(suite.run_server(revision, scored, command=[*gateway, *behind]))
    wrong = {
        each.name: each.problem or [check.error_message for check in each.failures]
        for each in results
        if each.outcome != "pass"
    }
    assert wrong == {}


def test_every_scenario_of_authorization_is_run() -> None:
    listing = subprocess.run(
        [str(suite.NODE), str(suite.SUITE), "list", "--client"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    there = set(re.findall(r"- (auth/\S+) \[", listing))
    run = {name for each in suite.REVISIONS for name in suite.requirements(each, "client")}
    assert len(there) == 33
    assert there <= run
