"""The official SDKs against ours: no red cell, and the page says the same."""

import subprocess

import pytest

from conformance.interop.drivers.features import FEATURES
from conformance.interop.known import load
from conformance.interop.matrix import (
    EVERY_LINE,
    LINES,
    Judged,
    Talk,
    foreign_talks,
    no_gaps,
    relayed_talks,
    run,
    talks,
)
from conformance.interop.report import markdown
from conformance.interop.talk import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

REPORT = ROOT / "conformance" / "interop" / "report.md"
TALKS = [*talks(EVERY_LINE), *foreign_talks(EVERY_LINE), *relayed_talks(EVERY_LINE)]


@pytest.fixture(scope="module")
def outcomes() -> dict[Talk, list[Judged]]:
    """All conversations, held once; without npm there are none with the SDK in TypeScript."""
    if not all(line.installed for line in EVERY_LINE):
        try:
            done = subprocess.run(["make", "-C", str(ROOT), "sdk"], capture_output=True, text=True)
            problem = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except FileNotFoundError as missing:
            problem = [str(missing)]
        if not all(line.installed for line in LINES):
            pytest.skip(f"the official SDK is not installed and `make sdk` fails: {problem}")
    return dict(run([talk for talk in TALKS if talk.line.installed], FEATURES, load()))


@pytest.mark.parametrize("talk", TALKS, ids=str)
def test_no_cell_is_red(talk: Talk, outcomes: dict[Talk, list[Judged]]) -> None:
    if not talk.line.installed:
        pytest.skip(f"there is no SDK {talk.line.name}")
    cells = outcomes[talk]
    assert {cell.feature: cell.note for cell in cells if cell.verdict.red} == {}
    assert len(cells) > 20


def test_what_is_missing_is_missing_in_the_sdk(outcomes: dict[Talk, list[Judged]]) -> None:
    assert outcomes
    assert no_gaps(load(), [line for line in EVERY_LINE if line.installed]) == []


def test_the_report_is_up_to_date(outcomes: dict[Talk, list[Judged]]) -> None:
    if len(outcomes) < len(TALKS):
        pytest.skip("not every SDK is installed")
    cells = [cell for found in outcomes.values() for cell in found]
    written = REPORT.read_text(encoding="utf-8")
    assert written == markdown(cells, load()), (
        "write it again: python -m conformance.interop --write conformance/interop/report.md"
    )
