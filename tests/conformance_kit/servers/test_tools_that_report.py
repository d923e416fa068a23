"""Progress and logs are judged whatever the tool that they come from is called."""

import pytest

from mcpcore_conformance.kit.model import Verdict
from tests.conformance_kit.runs import cases_of, ran
from tests.conformance_kit.servers.odd_stage import odd_subject

PROGRESS, LOGS = "basic/patterns/progress", "server/utilities/logging"
FLOW, ENDS = f"{PROGRESS}/progress-flow", f"{PROGRESS}/implementation-notes/ends-with-response"


@pytest.mark.share(4)
@pytest.mark.parametrize(
    ("page", "fault", "blamed"),
    [
        (PROGRESS, "none", set()),
        (PROGRESS, "reports backwards", {f"{FLOW}/increases", f"{FLOW}/only-grows"}),
        (PROGRESS, "reports in words", {f"{FLOW}/increases", f"{FLOW}/shape"}),
        (PROGRESS, "takes 0 for none", {f"{FLOW}/integer-token"}),
        (PROGRESS, "reports afterwards", {ENDS}),
        (LOGS, "none", set()),
        (
            LOGS,
            "deaf",
            {f"{LOGS}/log-levels/nothing-below-the-one-set", f"{LOGS}/setting-log-level/changed"},
        ),
        (
            LOGS,
            "loud",
            {f"{LOGS}/log-levels/known", f"{LOGS}/log-levels/nothing-below-the-one-set"},
        ),
    ],
)
def test_a_fault_is_found(page: str, fault: str, blamed: set[str]) -> None:
    about = ("progress-flow", "implementation-notes", "log-levels", "setting-log-level")
    cases = [each for each in cases_of(page) if each.section in about]
    run = ran(odd_subject(f"hurries, {fault}", ()), cases)
    applied = [each for each in run.results if each.verdict is not Verdict.NOT_APPLICABLE]
    found = {each.case.id for each in applied if each.verdict is not Verdict.PASSED}
    assert found == blamed
    seen = [each for each in applied if {"found:progress", "found:logs"} & {*each.case.needs}]
    assert len(seen) >= 3
