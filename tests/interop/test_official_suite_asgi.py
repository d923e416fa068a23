"""The official suite against the reference server behind ASGI: no other failures than without."""

import sys

import pytest

from conformance.official import expected, suite

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

COMMAND = (sys.executable, "-m", "tests.transports.serve.asgi_everything")
LEAST_SCORED = 20


@pytest.fixture(autouse=True)
def _tools() -> None:
    try:
        suite.require_tools()
    except suite.ToolsMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("revision", suite.REVISIONS[-1:])
def test_official_suite(revision: str) -> None:
    scenarios = suite.requirements(revision, "server")
    results = list(suite.run_server(revision, scenarios, command=COMMAND))
    verdict = expected.judge(results, expected.load(), side="server", revision=revision)
    details = {
        result.name: result.problem or [check.error_message for check in result.failures]
        for result in results
        if result.outcome == "FAIL"
    }
    assert verdict.unexpected == [], details
    assert verdict.stale == []
    assert sum(result.outcome == "pass" for result in results if result.scored) >= LEAST_SCORED
