"""The manifest of requirements and the tests agree, in both directions."""

import re
from pathlib import Path

import pytest

from mcpcore_conformance.requirements import REQUIREMENTS, Duty, Requirement, Side, Strength
from mcpcore_conformance.requirements.__main__ import main
from mcpcore_conformance.requirements.evidence import Evidence, MarkerError, claims
from mcpcore_conformance.requirements.model import ALL, read_clauses
from mcpcore_conformance.requirements.report import coverage, problems

ROOT = Path(__file__).parent.parent
FOLDER = "conformance/mcpcore_conformance/requirements"


def row(
    identifier: str = "basic/page/rule",
    duty: Duty = Duty.ENGINE,
    reason: str = "",
    strength: Strength = Strength.MUST,
) -> Requirement:
    return Requirement(
        id=identifier,
        text="Something holds.",
        revisions=ALL,
        side=Side.BOTH,
        strength=strength,
        clause="basic/page#section",
        duty=duty,
        reason=reason,
    )


def test_every_requirement_has_its_test_and_every_marker_its_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = ROOT / "conformance/mcpcore_conformance/requirements/report.md"
    status = main(["--tests", str(ROOT / "tests"), "--check", str(report)])
    told = capsys.readouterr()
    assert told.err == ""
    assert "2026-07-28" in told.out
    assert status == 0


def test_ids_are_unique() -> None:
    ids = [row.id for row in REQUIREMENTS]
    assert len(ids) == len(set(ids))


def well_formed(row: Requirement) -> bool:
    part, _, name = row.id.partition("/")
    return (
        part in {"basic", "client", "server"}
        and name.replace("/", "").replace("-", "").isalnum()
        and row.clause.startswith(f"{part}/")
        and row.text.endswith(".")
        and "\n" not in row.text + row.reason
        and row.revisions.first in row.revisions
        and row.revisions.last in row.revisions
        and (row.duty is Duty.ENGINE or bool(row.reason))
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a | MUST | server | .. | #", "not enough values"),
        ("a | MAY | server | .. | # | It holds.", "'MAY' is not a valid Strength"),
        ("a | MUST | host | .. | # | It holds.", "'host' is not a valid Side"),
        ("a | MUST | server | 2023-01-01.. | # | It holds.", "2023-01-01"),
        ("a | MUST | server |  | # | It holds.", "''"),
        ("a | MUST | server | .. | # | It holds. | nobody: why", "'nobody' is not a valid Duty"),
        ("a | MUST | server | .. | # | It holds. | application: @none", "'@none'"),
    ],
)
def test_a_line_that_is_no_clause_is_named(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match="^line 3 of the clauses: .*" + re.escape(problem)):
        read_clauses(f"# Clauses\n== basic/page\n{line}\n")


def test_no_reason_stands_for_the_test_of_a_must() -> None:
    musts = [row for row in REQUIREMENTS if row.strength is Strength.MUST]
    assert [row.id for row in musts if row.duty is Duty.ENGINE and row.reason] == []


def test_rows_are_well_formed() -> None:
    assert [row.id for row in REQUIREMENTS if not well_formed(row)] == []


@pytest.mark.parametrize(
    ("rows", "evidence", "problem"),
    [
        ([row()], [], "basic/page/rule: MUST without a test, which no reason replaces"),
        ([row(reason="hard to show")], [], "basic/page/rule: MUST without a test, which no"),
        ([row(strength=Strength.SHOULD)], [], "basic/page/rule: SHOULD without"),
        (
            [row(duty=Duty.APPLICATION, reason="theirs")],
            [Evidence("basic/page/rule", "test_a.py", 3, "test_a")],
            "test_a.py:3: basic/page/rule is not the engine's (application)",
        ),
        (
            [row(reason="nothing to see")],
            [Evidence("basic/page/rule", "test_a.py", 3, "test_a")],
            "test_a.py:3: basic/page/rule says that it is not tested",
        ),
        (
            [],
            [Evidence("basic/page/rule", "test_a.py", 3, "test_a")],
            "test_a.py:3: there is no requirement 'basic/page/rule'",
        ),
    ],
)
def test_problems_are_seen(rows: list[Requirement], evidence: list[Evidence], problem: str) -> None:
    found = problems(rows, evidence)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_what_is_in_order_is_no_problem() -> None:
    rows = [row(), row("basic/page/theirs", Duty.APPLICATION, "theirs")]
    assert problems(rows, [Evidence("basic/page/rule", "test_a.py", 3, "test_a")]) == []


SOURCE = """
import pytest

CASES = [pytest.param(1, marks=pytest.mark.requirement("a/b"))]
proves = pytest.mark.requirement
ROWS = [(proves("a/f"), 1)]

@pytest.mark.anyio
@pytest.mark.requirement("a/c", "a/d")
async def test_one() -> None:
    pass

class TestTwo:
    @pytest.mark.parametrize("x", [1])
    @pytest.mark.requirement("a/e")
    def test_three(self) -> None:
        pass
"""


def test_markers_are_read_from_decorators_and_tables() -> None:
    assert claims(SOURCE, "test_a.py") == [
        Evidence("a/b", "test_a.py", 4, ""),
        Evidence("a/f", "test_a.py", 6, ""),
        Evidence("a/c", "test_a.py", 9, "test_one"),
        Evidence("a/d", "test_a.py", 9, "test_one"),
        Evidence("a/e", "test_a.py", 15, "test_three"),
    ]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("@pytest.mark.requirement('a')\ndef helper(): pass", "t.py:1: helper is no test"),
        ("@pytest.mark.requirement()\ndef test_a(): pass", "t.py:1: the marker takes"),
        ("@pytest.mark.requirement(x='a')\ndef test_a(): pass", "t.py:1: the marker takes"),
        ("@pytest.mark.requirement(NAME)\ndef test_a(): pass", "t.py:1: a requirement id"),
    ],
)
def test_markers_that_prove_nothing_are_refused(source: str, error: str) -> None:
    with pytest.raises(MarkerError) as raised:
        claims(source, "t.py")
    assert str(raised.value).startswith(error)


def test_coverage_counts_by_duty_and_strength() -> None:
    rows = [
        row("basic/page/a"),
        row("basic/page/b"),
        row("basic/page/c", strength=Strength.SHOULD, reason="nothing to see"),
        row("basic/page/d", Duty.APPLICATION, "theirs"),
        row("basic/page/e", Duty.AUTHORIZATION, "theirs"),
    ]
    lines = coverage(rows, {"basic/page/a"}).splitlines()
    assert lines[2] == "| 2024-11-05 | 5 | 1 of 2 | 0 of 1 | 1 | 1 |"
    assert len(lines) == 2 + 5


def test_the_command_writes_and_checks_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "report.md"
    arguments = ["--tests", str(tmp_path)]
    assert main([*arguments, "--write", str(target)]) == 1, "no row has a test there"
    assert main([*arguments, "--check", str(target)]) == 1
    assert "out of date" not in capsys.readouterr().err
    target.write_text("old", encoding="utf-8")
    assert main([*arguments, "--check", str(target)]) == 1
    assert f"{target} is out of date: write it again with --write\n" in capsys.readouterr().err


def test_the_command_fails_where_tests_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--tests", str(tmp_path)]) == 1
    assert "MUST without a test" in capsys.readouterr().err


def test_the_command_shows_the_tests_of_a_requirement(capsys: pytest.CaptureFixture[str]) -> None:
    tests = str(ROOT / "tests" / "engine")
    assert main(["--tests", tests, "--show", "basic/index/result-id"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert f"{tests}/test_requests.py::test_ids_are_echoed_in_type_and_value" in shown
    with pytest.raises(SystemExit):
        main(["--tests", tests, "--show", "basic/index/no-such-row"])
    assert "no such requirement" in capsys.readouterr().err
