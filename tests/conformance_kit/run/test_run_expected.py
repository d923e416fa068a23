"""Failures that are known: new ones fail a run, and so do known ones that do not happen."""

import pytest

from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.reports.expectations import as_expectations
from mcpcore_conformance.reports.formats import FORMATS
from mcpcore_conformance.reports.report import report_of
from mcpcore_conformance.run.expected import BadExpectations, Expected, Judged, judge, read_expected
from mcpcore_conformance.run.run import Run
from tests.conformance_kit.run.results import R1, R2, case, result, run_of

ONE, TWO = case("a/one"), case("a/two")
CASES = [ONE, TWO]
V = Verdict


def judged(run: Run, *expected: Expected, strict: bool = False) -> list[Judged]:
    judgement = judge(run, expected, strict=strict)
    return [judgement[each] for each in run.results]


@pytest.mark.parametrize(
    ("verdict", "strict", "known", "means"),
    [
        (V.PASSED, False, False, Judged.FINE),
        (V.PASSED, False, True, Judged.UNEXPECTED_PASS),
        (V.FAILED, False, False, Judged.FAILURE),
        (V.FAILED, False, True, Judged.KNOWN),
        (V.WEAK, False, False, Judged.FINE),
        (V.WEAK, True, False, Judged.FAILURE),
        (V.WEAK, False, True, Judged.UNEXPECTED_PASS),
        (V.WEAK, True, True, Judged.KNOWN),
        (V.INFORMATIONAL, True, False, Judged.FINE),
        (V.INFORMATIONAL, True, True, Judged.UNEXPECTED_PASS),
        (V.INCONCLUSIVE, False, False, Judged.FINE),
        (V.INCONCLUSIVE, False, True, Judged.FINE),
        (V.INCONCLUSIVE, True, False, Judged.FAILURE),
        (V.INCONCLUSIVE, True, True, Judged.KNOWN),
        (V.NOT_APPLICABLE, True, False, Judged.FINE),
        (V.NOT_APPLICABLE, True, True, Judged.FINE),
    ],
)
def test_what_a_verdict_means(verdict: Verdict, strict: bool, known: bool, means: Judged) -> None:
    expected = [Expected(case=ONE.id, reason="known since long")] * known
    run = run_of(result(ONE, verdict), result(TWO, V.PASSED))
    assert judged(run, *expected, strict=strict) == [means, Judged.FINE]
    judgement = judge(run, expected, strict=strict)
    stale = known and verdict is V.NOT_APPLICABLE
    assert judgement.stale == [ONE.id] * stale
    assert judgement.well is (means in (Judged.FINE, Judged.KNOWN) and not stale)
    assert [*judgement.reasons.values()] == ["known since long"] * known


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("verdict", [*V])
def test_a_case_that_failed_itself_is_a_failure_whatever_is_expected(
    verdict: Verdict, strict: bool
) -> None:
    faulty = result(ONE, verdict, "the case itself failed")
    faulty.faulty = True
    run = run_of(faulty, result(TWO, V.PASSED))
    for expected in ([], [Expected(case=ONE.id)]):
        assert judged(run, *expected, strict=strict) == [Judged.FAILURE, Judged.FINE]
        assert not judge(run, expected, strict=strict).well
    report = report_of(run, judge(run, (), strict=strict))
    assert report.astray
    assert ONE.id not in as_expectations(report)


@pytest.mark.parametrize(
    ("verdicts", "undecided"),
    [
        ([], False),
        ([V.INCONCLUSIVE], True),
        ([V.INCONCLUSIVE, V.NOT_APPLICABLE], True),
        ([V.NOT_APPLICABLE], False),
        *(
            ([V.INCONCLUSIVE, each], False)
            for each in V
            if each not in (V.INCONCLUSIVE, V.NOT_APPLICABLE)
        ),
    ],
)
def test_a_run_in_which_nothing_is_found_out_is_not_well(
    verdicts: list[Verdict], undecided: bool
) -> None:
    results = [result(case(f"a/{number}"), each) for number, each in enumerate(verdicts)]
    run = run_of(*results)
    known = [
        Expected(case=each.case.id) for each in results if each.verdict is not V.NOT_APPLICABLE
    ]
    judgement = judge(run, known, strict=True)
    assert judgement.undecided is undecided
    report = report_of(run, judgement)
    assert report.astray is undecided
    assert (report.ended is not None) is undecided
    if undecided:
        assert not judgement.well
        for name in ("markdown", "html", "junit", "svg"):
            assert "inconclusive" in FORMATS[name](report)
        assert "<error " in FORMATS["junit"](report)


@pytest.mark.parametrize(
    ("expected", "matches"),
    [
        (Expected(case=ONE.id), True),
        (Expected(case="basic/x"), True),
        (Expected(case="basic/x/a"), True),
        (Expected(case="basic/*/one"), True),
        (Expected(case=TWO.id), False),
        (Expected(case=ONE.id, transports=("http", "ws")), True),
        (Expected(case=ONE.id, transports=("ws",)), False),
        (Expected(case=ONE.id, revisions=(R1,)), True),
        (Expected(case=ONE.id, revisions=(R2,)), False),
    ],
)
def test_what_an_entry_is_about(expected: Expected, matches: bool) -> None:
    wanted = Judged.KNOWN if matches else Judged.FAILURE
    assert judged(run_of(result(ONE, V.FAILED)), expected) == [wanted]


def test_an_entry_is_stale_only_where_nothing_of_it_applies() -> None:
    run = run_of(
        result(ONE, V.FAILED), result(ONE, V.NOT_APPLICABLE, revision=R2), result(TWO, V.PASSED)
    )
    assert judge(run, [Expected(case=ONE.id)], strict=True).well
    # not played at all: nothing can be said
    assert judge(run_of(result(TWO, V.PASSED)), [Expected(case=ONE.id)], strict=True).well
    idle = judge(run, [Expected(case=ONE.id), Expected(case=ONE.id, revisions=(R2,))], strict=True)
    assert idle.stale == [ONE.id]


TEXT = f"""
[[expected]]
case = "{ONE.id}"
transports = ["http"]
revisions = ["{R1}"]
reason = "it is old"

[[expected]]
case = "basic/x/a"
"""


def test_a_file_is_read() -> None:
    assert read_expected(TEXT, CASES) == (
        Expected(case=ONE.id, transports=("http",), revisions=(R1,), reason="it is old"),
        Expected(case="basic/x/a"),
    )
    assert read_expected("", CASES) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[expected]", "line 1"),
        ("expect = []", "unknown field `expect`"),
        ("[[expected]]\nreason = 'x'", "missing required field `case`"),
        (f"[[expected]]\ncase = '{ONE.id}'\nrevison = []", "revison"),
        (
            f"[[expected]]\ncase = '{ONE.id}'\nrevisions = ['2020-01-01']",
            "no revision '2020-01-01'",
        ),
        (f"[[expected]]\ncase = '{ONE.id}'\ntransports = ['htpp']", "no transport 'htpp'"),
        ("[[expected]]\ncase = 'basic/x/a/onne'", "did you mean basic/x/a/one"),
        ("[[expected]]\ncase = 3", "expected.*case"),
    ],
)
def test_a_file_that_cannot_be_used(text: str, said: str) -> None:
    with pytest.raises(BadExpectations, match=f"(?i){said}"):
        read_expected(text, CASES)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "detail", ["plain", 'with "quotes" \\ and\nlines', "\x7f\x00 \ud800 \N{GRINNING FACE}"]
)
def test_what_is_written_makes_the_run_well(strict: bool, detail: str) -> None:
    run = run_of(
        result(ONE, V.FAILED, detail),
        result(ONE, V.FAILED, detail, revision=R2),
        result(ONE, V.FAILED, detail, binding=Binding.WS),
        result(ONE, V.FAILED, detail, revision=R2, binding=Binding.WS),
        result(ONE, V.FAILED, detail, revision=R2, binding=Binding.STDIO),
        result(ONE, V.PASSED, binding=Binding.STDIO),
        result(TWO, V.WEAK, detail),
        result(TWO, V.INCONCLUSIVE, detail, revision=R2),
    )
    report = report_of(run, judge(run, (), strict=strict))
    assert not report.well
    text = as_expectations(report)
    expected = read_expected(text, CASES)
    assert judge(run, expected, strict=strict).well
    places = {(each.case, each.transports, each.revisions) for each in expected}
    wanted = {(ONE.id, ("http", "ws"), (R1, R2)), (ONE.id, ("stdio",), (R2,))}
    if strict:
        wanted.add((TWO.id, ("http",), (R1, R2)))
    assert places == wanted


def test_no_secret_is_written() -> None:
    run = run_of(result(ONE, V.FAILED, "it said Bearer abcdef0123456789"))
    text = as_expectations(report_of(run, judge(run, (), strict=False)))
    assert "abcdef0123456789" not in text
    assert "<hidden-1>" in text
