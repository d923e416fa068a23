"""The verdict on a run of the official suite, and the list of expected failures itself."""

from pathlib import Path

import pytest

from conformance.official.expected import EXPECTED_FILE, Entry, Expected, judge, load
from conformance.official.suite import Check, Scenario

OK = Check(id="a", status="SUCCESS")
INFO = Check(id="i", status="INFO")
BAD = Check(id="b", status="FAILURE", error_message="no")
WARN = Check(id="w", status="WARNING")


def entry(*scenarios: str, side: str = "server", revision: str = "2025-11-25") -> Entry:
    return Entry(side=side, revisions=[revision], scenarios=list(scenarios), reason="not built yet")


@pytest.mark.parametrize(
    ("checks", "entries", "unexpected", "stale", "expected"),
    [
        ([OK, INFO], [], [], [], []),
        ([OK, BAD], [], ["s:b"], [], []),
        ([OK, WARN], [], ["s:w"], [], []),
        ([OK, BAD], [entry("s")], [], [], ["s"]),
        ([OK, BAD], [entry("s:b")], [], [], ["s:b"]),
        ([BAD, WARN], [entry("s:b")], ["s:w"], [], ["s:b"]),
        ([OK], [entry("s")], [], ["s"], []),
        ([OK, BAD], [entry("s:a", "s:b")], [], ["s:a"], ["s:b"]),
        ([OK], [entry("other")], [], ["other"], []),
        ([INFO], [], ["s"], [], []),
        ([], [], ["s"], [], []),
        ([INFO], [entry("s")], [], [], []),
        ([INFO], [entry("s:b")], [], [], []),
        ([OK, BAD], [entry("s", side="client")], ["s:b"], [], []),
        ([OK, BAD], [entry("s", revision="2026-07-28")], ["s:b"], [], []),
        ([BAD, BAD], [entry("s", "s:b")], [], [], ["s", "s:b"]),
    ],
)
def test_judge(
    checks: list[Check],
    entries: list[Entry],
    unexpected: list[str],
    stale: list[str],
    expected: list[str],
) -> None:
    results = [Scenario("s", True, checks), Scenario("fine", True, [OK])]
    verdict = judge(results, Expected(expected=entries), side="server", revision="2025-11-25")
    assert verdict.unexpected == unexpected
    assert verdict.stale == stale
    assert sorted(verdict.expected) == sorted(expected)
    assert verdict.ok is (not unexpected and not stale)


@pytest.mark.parametrize(
    ("checks", "outcome"),
    [([OK, INFO], "pass"), ([INFO], "skip"), ([], "skip"), ([OK, BAD], "FAIL")],
)
def test_outcome(checks: list[Check], outcome: str) -> None:
    assert Scenario("s", True, checks).outcome == outcome


@pytest.mark.parametrize(
    ("checks", "stub", "unexpected", "stale", "expected"),
    [
        ([INFO], entry("s"), [], [], ["s"]),
        ([], entry("s"), [], [], ["s"]),
        ([OK], entry("s"), [], ["s"], []),
        ([BAD], entry("s"), ["s:b"], ["s"], []),
        ([INFO], entry("other"), ["s"], ["other"], []),
        ([INFO], entry("s", side="client"), ["s"], [], []),
        ([INFO], entry("s", revision="2026-07-28"), ["s"], [], []),
    ],
)
def test_scenarios_that_check_nothing(
    checks: list[Check], stub: Entry, unexpected: list[str], stale: list[str], expected: list[str]
) -> None:
    results = [Scenario("s", True, checks), Scenario("fine", True, [OK])]
    verdict = judge(results, Expected(stubs=[stub]), side="server", revision="2025-11-25")
    assert (verdict.unexpected, verdict.stale) == (unexpected, stale)
    assert list(verdict.expected) == expected


def test_scenario_that_could_not_run_fails() -> None:
    broken = Scenario("s", True, problem="no server")
    assert broken.outcome == "FAIL"
    assert judge([broken], Expected(), side="server", revision="2025-11-25").unexpected == ["s"]
    assert judge([broken], Expected(expected=[entry("s")]), side="server", revision="2025-11-25").ok


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('side = "proxy"\nrevisions = ["2025-11-25"]\nscenarios = ["s"]\nreason = "r"', "proxy"),
        ('side = "server"\nrevisions = ["2024-11-05"]\nscenarios = ["s"]\nreason = "r"', "2024"),
        ('side = "server"\nrevisions = ["2025-11-25"]\nscenarios = ["s"]\nreason = " "', "reason"),
        ('side = "server"\nrevisions = ["2025-11-25"]\nscenarios = ["s"]', "reason"),
        ('side = "server"\nwhy = "x"', "why"),
    ],
)
def test_bad_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    path.write_text(f"[[expected]]\n{text}\n")
    with pytest.raises(ValueError, match=message):
        load(path)


def test_our_list_is_well_formed_and_names_nothing_twice() -> None:
    named = [
        (item.side, revision, scenario)
        for item in (*load(EXPECTED_FILE).expected, *load(EXPECTED_FILE).stubs)
        for revision in item.revisions
        for scenario in item.scenarios
    ]
    assert len(named) == len(set(named))
