"""The official SDKs against ours: no red cell, and the page says the same."""

import subprocess
from collections import defaultdict
from collections.abc import Hashable

import pytest

from conformance.interop.drivers.features import FEATURES
from conformance.interop.known import load
from conformance.interop.matrix import (
    ERAS,
    EVERY_LINE,
    LINES,
    Judged,
    Talk,
    foreign_talks,
    foreseen,
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


def _repetitions() -> set[Talk]:
    """An older revision over all transports but one, and an era through a gateway, in turns."""
    groups: dict[Hashable, list[Talk]] = defaultdict(list)
    for talk in TALKS:
        if talk.behind is talk.revision:
            groups[talk.client_name, talk.server_name].append(talk)
        elif talk.behind is None and talk.revision not in ERAS:
            groups[talk.line, talk.side, talk.revision].append(talk)
    return {
        talk
        for turn, group in enumerate(groups.values())
        for place, talk in enumerate(group)
        if place != turn % len(group)
    }


REPEATS = _repetitions()


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> dict[Talk, list[Judged]]:
    """What this run has of them, held once; without npm there are none with TypeScript."""
    if not all(line.installed for line in EVERY_LINE):
        try:
            done = subprocess.run(["make", "-C", str(ROOT), "sdk"], capture_output=True, text=True)
            problem = done.stderr.strip().splitlines()[-1:] if done.returncode else []
        except FileNotFoundError as missing:
            problem = [str(missing)]
        if not all(line.installed for line in LINES):
            pytest.skip(f"the official SDK is not installed and `make sdk` fails: {problem}")
    cases = [each for each in request.session.items if isinstance(each, pytest.Function)]
    chosen = {each.callspec.params["talk"] for each in cases if test_no_cell_is_red is each.obj}
    held = [talk for talk in TALKS if talk in chosen and talk.line.installed]
    return dict(run(held, FEATURES, load()))


@pytest.mark.parametrize(
    "talk",
    [pytest.param(each, marks=[pytest.mark.repeats] * (each in REPEATS)) for each in TALKS],
    ids=str,
)
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
    """What is left out of this run is there as it is known, as it would be red otherwise."""
    if not all(talk in outcomes or (talk in REPEATS and talk.line.installed) for talk in TALKS):
        pytest.skip("not every SDK is installed")
    cells = [cell for talk in TALKS for cell in outcomes.get(talk) or foreseen(talk, load())]
    written = REPORT.read_text(encoding="utf-8")
    assert written == markdown(cells, load()), (
        "write it again: python -m conformance.interop --write conformance/interop/report.md"
    )
