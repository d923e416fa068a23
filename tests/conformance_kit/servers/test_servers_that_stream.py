"""Streams, event ids, polling and progress are judged whatever the tools of a server are called."""

from collections.abc import Sequence
from functools import partial

import pytest

from mcpcore_conformance.kit.model import Case, Result, Verdict
from mcpcore_conformance.run.registry import all_cases
from tests.conformance_kit.runs import FINE, cases_of, ran
from tests.conformance_kit.servers.streaming_programs import READS, Streaming, streaming
from tests.conformance_kit.servers.test_polling_servers import about_the_protocol

RESUMED = "basic/transports/resumability-and-redelivery"
SENT = "basic/transports/sending-messages-to-the-server"
PROGRESS = "basic/patterns/progress"
UNIQUE = f"{RESUMED}/ids-unique"
NAMING = f"{RESUMED}/ids-name-their-stream"
REPLAYED = f"{RESUMED}/replayed"
EXACTLY = f"{RESUMED}/exactly-what-followed"
AFTER = f"{RESUMED}/after-the-end"
APART = f"{RESUMED}/no-other-stream"
OTHERS = f"{RESUMED}/no-other-session"
MADE_UP = f"{RESUMED}/made-up-ids"
UNKNOWN = "basic/transports/session-management/unknown-post"
KEPT = f"{SENT}/disconnect-is-no-cancellation"
RETRY, POLLING, PRIMING = f"{SENT}/retry-before-closing", f"{SENT}/polling", f"{SENT}/priming"
CALLS = ("look_up", "reindex")
FOUND = {"found:progress", "found:event-ids", "found:polling"}
LATER = "the clause is not one of"
rare = partial(pytest.param, marks=pytest.mark.long)


def played(server: Streaming, cases: Sequence[Case]) -> dict[str, Result]:
    """What came of the cases, by their ids."""
    run = ran(f"http://{server.authority}/mcp", cases, server.revision, timeout=3.0)
    return {each.case.id: each for each in run.results}


def findings(results: dict[str, Result]) -> dict[str, Verdict]:
    return {id: each.verdict for id, each in results.items() if each.verdict not in FINE}


def about_streams() -> list[Case]:
    """The cases of streams that are picked up, and of progress."""
    places = (f"{RESUMED}/", f"{SENT}/", f"{PROGRESS}/")
    return [each for each in all_cases() if each.id.startswith(places)]


@pytest.mark.parametrize("polls", [False, True])
def test_a_right_server_is_not_blamed(polls: bool) -> None:
    with streaming(polls=polls) as server:
        results = played(server, about_streams())
    assert findings(results) == {}
    needed = {each.case.id for each in results.values() if FOUND & {*each.case.needs}}
    passed = {id for id in needed if results[id].verdict is Verdict.PASSED}
    unpolled = set() if polls else {RETRY, POLLING}
    assert needed - passed == unpolled | {each for each in needed if LATER in results[each].detail}
    assert {*server.called} == {*CALLS}


def test_a_server_may_count_its_events_and_sessions_may_have_digits_alone() -> None:
    with streaming("ids of its own") as server:
        results = played(server, cases_of(MADE_UP, UNKNOWN, OTHERS))
    assert findings(results) == {}
    assert results[MADE_UP].verdict is results[UNKNOWN].verdict is Verdict.PASSED


@pytest.mark.long
@pytest.mark.parametrize("polls", [False, True])
def test_nor_is_it_by_other_cases(polls: bool) -> None:
    cases = [each for each in all_cases() if about_the_protocol(each)]
    with streaming(polls=polls) as server:
        results = played(server, cases)
    assert findings(results) == {}
    assert "wipe" not in server.called


@pytest.mark.share(4)
@pytest.mark.parametrize(
    ("fault", "polls", "blamed"),
    [
        ("leaks", False, {OTHERS}),
        rare("leaks", True, {OTHERS}),
        rare("counts by stream", False, {UNIQUE, NAMING, APART}),
        ("replays all", False, {EXACTLY}),
        rare("replays all", True, {EXACTLY}),
        ("repeats", False, {NAMING, EXACTLY}),
        rare("of other streams", False, {NAMING, APART}),
        rare("forgets", False, {NAMING, REPLAYED, EXACTLY, AFTER, KEPT}),
        rare("takes any id", False, {MADE_UP}),
        rare("cancels", False, {KEPT}),
        rare("no retry", True, {RETRY}),
        rare("not primed", False, {PRIMING}),
        ("backwards", False, {f"{PROGRESS}/progress-flow/increases"}),
        rare("late", False, {f"{PROGRESS}/implementation-notes/ends-with-response", EXACTLY}),
        rare(
            "tokens as texts",
            False,
            {
                f"{PROGRESS}/progress-flow/integer-token",
                f"{PROGRESS}/behavior-requirements/own-tokens",
            },
        ),
        rare("unasked", False, {f"{PROGRESS}/behavior-requirements/not-asked-for"}),
    ],
)
def test_a_wrong_server_is_found(fault: str, polls: bool, blamed: set[str]) -> None:
    with streaming(fault, polls=polls) as server:
        found = findings(played(server, about_streams()))
    assert found.keys() == blamed
    assert Verdict.INCONCLUSIVE not in found.values()
    assert {*server.called} == {*CALLS}


@pytest.mark.long
def test_a_server_that_never_gives_what_it_is_polled_for_is_found() -> None:
    with streaming("forgets", polls=True) as server:
        found = findings(played(server, cases_of(POLLING)))
    assert found == {POLLING: Verdict.WEAK}


@pytest.mark.long
def test_what_was_answered_should_be_kept_for_who_has_lost_it() -> None:
    with streaming("keeps nothing") as server:
        found = findings(played(server, cases_of(EXACTLY, AFTER)))
    assert found == {AFTER: Verdict.WEAK}


def test_without_a_tool_that_may_be_called_other_requests_will_do() -> None:
    cases = [each for each in about_streams() if each.id.startswith(RESUMED)]
    with streaming("counts by stream", tools={"wipe": {}}) as server:
        found = findings(played(server, cases))
    assert found.keys() == {UNIQUE, NAMING, APART}
    assert not server.called


def test_a_tool_that_reports_once_only_reports_nothing_that_can_be_waited_for() -> None:
    with streaming("once", tools={"reindex": {"annotations": READS}}) as server:
        results = played(server, cases_of(PROGRESS))
    assert findings(results) == {}
    increases = results[f"{PROGRESS}/progress-flow/increases"]
    assert increases.verdict is Verdict.NOT_APPLICABLE
    assert increases.detail.endswith("nor what reports progress among what may be called")


def test_no_tool_is_tried_where_no_case_wants_it() -> None:
    with streaming() as server:
        assert findings(played(server, cases_of("server/tools/listing-tools/shape"))) == {}
    assert not server.called
