"""The official suite against our reference programs: exactly the expected failures."""

import re
import subprocess

import pytest

from conformance.official import expected, suite

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

LEAST_PASSED = {
    ("server", "2025-11-25"): 20,
    ("server", "2026-07-28"): 20,
    ("client", "2025-03-26"): 2,
    ("client", "2025-11-25"): 25,
    ("client", "2026-07-28"): 39,
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
    results = list(suite.RUNNERS[side](revision, suite.requirements(revision, side)))
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
