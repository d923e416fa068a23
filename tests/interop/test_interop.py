"""Both lines of the official SDK against ours: no red cell, and the page in docs/ says the same."""

import subprocess

import pytest
from msgspec import structs

from conformance.interop.drivers.features import FEATURES
from conformance.interop.known import load
from conformance.interop.matrix import LINES, Judged, Talk, no_gaps, run, talks
from conformance.interop.report import markdown
from conformance.interop.talk import ROOT
from mcpcore.spec.revisions import REVISIONS

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

REPORT = ROOT / "conformance" / "interop" / "report.md"


@pytest.fixture(scope="module")
def outcomes() -> dict[Talk, list[Judged]]:
    """All conversations, held once."""
    if not all(line.installed for line in LINES):
        try:
            done = subprocess.run(["make", "-C", str(ROOT), "sdk"], capture_output=True, text=True)
            problem = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except FileNotFoundError as missing:
            problem = [str(missing)]
        if not all(line.installed for line in LINES):
            pytest.skip(f"the official SDK is not installed and `make sdk` fails: {problem}")
    return dict(run(talks(), FEATURES, load()))


@pytest.mark.parametrize("talk", talks(), ids=str)
def test_no_cell_is_red(talk: Talk, outcomes: dict[Talk, list[Judged]]) -> None:
    cells = outcomes[talk]
    assert {cell.feature: cell.note for cell in cells if cell.verdict.red} == {}
    assert len(cells) > 20


@pytest.mark.parametrize(
    "talk",
    [
        structs.replace(talk, gateway=True)
        for talk in talks(transports=("http",), revisions=[REVISIONS[-2], REVISIONS[-1]])
    ],
    ids=str,
)
def test_a_gateway_between_them_changes_nothing(
    talk: Talk, outcomes: dict[Talk, list[Judged]]
) -> None:
    assert outcomes  # the SDK is installed
    [(_, cells)] = run([talk], FEATURES, load())
    assert {cell.feature: cell.note for cell in cells if cell.verdict.red} == {}
    assert len(cells) > 20


def test_what_is_missing_is_missing_in_the_sdk(outcomes: dict[Talk, list[Judged]]) -> None:
    assert outcomes
    assert no_gaps(load()) == []


def test_the_report_is_up_to_date(outcomes: dict[Talk, list[Judged]]) -> None:
    cells = [cell for found in outcomes.values() for cell in found]
    written = REPORT.read_text(encoding="utf-8")
    assert written == markdown(cells, load()), (
        "write it again: python -m conformance.interop --write conformance/interop/report.md"
    )
