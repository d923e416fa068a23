"""A server that asks its client at odd times: no call is blamed but those that ask.

On virtual time, so that nothing depends on the machine; and as a program, over stdio and over HTTP.
"""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.spec.revisions import LEGACY
from mcpcore_conformance.kit.features import Features
from mcpcore_conformance.kit.model import Binding, Verdict
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Run
from tests.conformance_kit import runs
from tests.conformance_kit.runs import OLD, cases_of, findings
from tests.conformance_kit.servers.odd_http import odd_http
from tests.conformance_kit.servers.odd_stage import odd_subject
from tests.conformance_kit.servers.odd_times import NEEDS, OWN, SINCE, Schedule

ROOTS, SAMPLES, FORMS = "client/roots", "client/sampling", "client/elicitation"
NEGOTIATED = "basic/lifecycle/capability-negotiation"
RESULTS = "server/tools/calling-tools/result-shape"
SLOW = "there was nothing to look at: ponder takes longer than 5 s"
PLACED = (
    "basic/transports/listening-for-messages-from-the-server/requests-on-the-stream-of-the-call",
    "basic/transports/listening-for-messages-from-the-server/questions-on-their-stream",
)
ASKING = (
    *(f"{NEGOTIATED}/no-{each}" for each in ("roots", "sampling", "elicitation")),
    "basic/index/requests/server-id-fresh",
    "basic/utilities/ping/behavior-requirements/while-asking",
)


def ran(target: object, *wanted: str, revision: str = OLD, timeout: float = 5.0) -> Run:
    """A run of these cases, or those of these pages; of all but those of batches without any."""
    chosen = [each for each in cases_of(*wanted) if each.section != "batching"]
    return runs.ran(target, chosen, revision, timeout=timeout)


def passed(run: Run, page: str) -> int:
    return sum(each.case.page == page and each.verdict is Verdict.PASSED for each in run.results)


def asked_by(features: Features) -> dict[str, set[str]]:
    """What was found to ask, and for what."""
    return {each.name: {method for method, _ in each.kinds} for each in features.shown.askers}


def truth(revision: str) -> dict[str, set[str]]:
    """What really asks, as far as the revision has it."""
    can = {
        name: {each for each in methods if SINCE.get(each, "") <= revision}
        for name, methods in NEEDS.items()
    }
    # whoever cannot be asked first is not asked for the rest
    return {name: found for name, found in can.items() if len(found) == len(NEEDS[name])}


@pytest.mark.parametrize(
    "revision",
    [
        pytest.param(each.name, marks=pytest.mark.long) if each is not LEGACY[-1] else each.name
        for each in LEGACY
    ],
)
def test_no_call_is_blamed_for_what_it_has_not_asked(revision: str) -> None:
    run = ran(odd_subject(), revision=revision)
    assert findings(run) == {RESULTS: ("inconclusive", SLOW)}
    features = run.features[Binding.MEMORY, revision]
    assert asked_by(features) == truth(revision)
    assert {**features.pace.slow} == {("tools/call", "ponder"): 5.0}
    seen = {what: each.params["name"] for what, each in features.seen.by_kind.items()}
    assert seen == {"progress": "reindex", "logs": "sweep"}
    forms = revision >= SINCE["elicitation/create"]
    assert (passed(run, ROOTS), passed(run, SAMPLES)) >= (5, 6)
    assert passed(run, FORMS) >= (8 if forms else 0)


@pytest.mark.parametrize(
    ("fault", "blamed"),
    [
        (
            "asks everybody",
            {
                **{f"{NEGOTIATED}/no-{each}": "failed" for each in ("roots", "sampling")},
                f"{NEGOTIATED}/no-elicitation": "failed",
                f"{ROOTS}/implementation-guidelines/declared-only": "weak",
                f"{SAMPLES}/capabilities/declared-only": "failed",
                f"{FORMS}/capabilities/declared-only": "failed",
                f"{FORMS}/capabilities/no-forms": "failed",
            },
        ),
        (
            "silent about arguments",
            {
                "basic/index/error-codes/invalid-params": "weak",
                "server/tools/error-handling/malformed-arguments": "weak",
            },
        ),
        (
            "struck by errors",
            {
                f"{ROOTS}/error-handling/client-error": "weak",
                f"{SAMPLES}/error-handling/refusal": "failed",
                f"{FORMS}/error-handling/client-error": "failed",
            },
        ),
    ],
)
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)])
def test_what_is_wrong_is_found_all_the_same(
    fault: str, blamed: dict[str, str], whole: bool
) -> None:
    """Plays the pages of what is blamed, or all of them."""
    pages = {each.page for each in all_cases() if each.id in {RESULTS, *blamed}}
    found = findings(ran(odd_subject(fault), *(() if whole else pages)))
    assert found.pop(RESULTS) == ("inconclusive", SLOW)
    assert {id: verdict for id, (verdict, _) in found.items()} == blamed
    named = " ".join(detail for _, detail in found.values())
    assert not [each for each in ("brew", "ponder", "sweep", "reindex") if each in named]


def test_progress_that_comes_at_any_time_is_the_progress_of_no_call() -> None:
    page = "basic/patterns/progress"
    run = ran(odd_subject("reports of nothing"), page)
    found = findings(run)
    case = f"{page}/behavior-requirements/active-tokens-only"
    assert [id for id, (verdict, _) in found.items() if verdict == "failed"] == [case]
    other = {detail.partition(":")[0] for id, (_, detail) in found.items() if id != case}
    assert other == {"progress with tokens that nobody gave comes at any time"}
    assert passed(run, page) >= 5


def test_a_tool_that_never_goes_on_is_slow_and_asks_nothing_that_is_known() -> None:
    run = ran(odd_subject("never goes on"), *ASKING, ROOTS, SAMPLES, FORMS)
    assert findings(run) == {}
    features = run.features[Binding.MEMORY, OLD]
    assert asked_by(features) == {}
    told = [each.detail for each in run.results if each.case.id == f"{NEGOTIATED}/no-roots"]
    assert "count_roots takes longer than 5 s" in told[0]


def test_where_all_that_may_be_called_is_slow_nothing_is_silent() -> None:
    run = ran(odd_subject("only ponders"))
    found = findings(run)
    assert {verdict for verdict, _ in found.values()} == {"inconclusive"}
    assert all("ponder takes longer than 5 s" in detail for _, detail in found.values())
    assert len(found) < 5


def test_a_case_that_comes_upon_something_slow_goes_on_without_it() -> None:
    case = "server/tools/calling-tools/no-arguments"
    run = ran(odd_subject("ponders first"), case)
    [result] = run.results
    assert (result.verdict, result.detail) == (Verdict.PASSED, "")
    assert {*run.features[Binding.MEMORY, OLD].pace.slow} == {("tools/call", "ponder")}


times = st.floats(0.0, 3.0, allow_nan=False)
schedules = st.lists(
    st.tuples(times, st.floats(0.05, 3.0), st.sampled_from([row[2:] for row in OWN])).map(
        lambda row: (row[0], row[1], *row[2])
    ),
    max_size=4,
).map(tuple)


@given(schedules)
def test_whenever_a_server_asks_only_those_are_found_that_need_it(own: Schedule) -> None:
    run = ran(odd_subject(own=own), f"{ROOTS}/listing-roots/shape")
    assert findings(run) == {}
    assert asked_by(run.features[Binding.MEMORY, OLD]) == truth(OLD)


PROGRAM = str(Path(__file__).with_name("odd_times.py"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("ways", "blamed"),
    [
        ("hurries", set()),
        pytest.param(
            "hurries, asks everybody",
            {f"{NEGOTIATED}/no-roots", f"{NEGOTIATED}/no-sampling"},
            marks=pytest.mark.long,
        ),
    ],
)
def test_nor_is_a_program(ways: str, blamed: set[str]) -> None:
    wanted = [f"{NEGOTIATED}/no-{each}" for each in ("roots", "sampling")]
    wanted.append(f"{ROOTS}/listing-roots/answer-used")
    run = ran([sys.executable, PROGRAM, ways], *wanted, timeout=20.0)
    assert {*findings(run)} == blamed
    assert asked_by(run.features[Binding.STDIO, OLD]) == truth(OLD)
    assert passed(run, ROOTS) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("ways", "blamed"), [("hurries", set()), ("hurries, asks elsewhere", {*PLACED})]
)
def test_over_http_only_what_belongs_to_a_call_has_to_come_on_its_stream(
    ways: str, blamed: set[str]
) -> None:
    with odd_http(ways) as url:
        run = ran(url, *PLACED, f"{NEGOTIATED}/no-roots", timeout=20.0)
    assert {*findings(run)} == blamed
    assert asked_by(run.features[Binding.HTTP, OLD]) == truth(OLD)
    assert sum(each.verdict is Verdict.PASSED for each in run.results) == 3 - len(blamed)
