"""One fault of a server is found by the few cases that are about it, and hides little else."""

from typing import Any

import pytest

from conformance.mutants.edits import drop, each, first, over, put, to, where
from conformance.mutants.fault import Breaks
from conformance.mutants.faults import answers_to, asks, declines, errors_of, fails, results_of
from mcpcore_conformance.kit.apart import CURSOR, SCOPE, TTL
from mcpcore_conformance.kit.model import Binding, Result, Verdict
from mcpcore_conformance.run.followers import HOMES
from mcpcore_conformance.run.registry import all_cases
from tests.conformance_kit.runs import NEW, OLD, faulty, ran

PING = HOMES["ping"]
OPENED = HOMES["initialize"]
FOUND = HOMES["server/discover"]
TOOLS = HOMES["tools/list"]
CALLED = HOMES["tools/call"]
ERRORS = HOMES["error"]
COMPLETED = HOMES["completion/complete"]
SHAPES = {
    HOMES[method]
    for method in (
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "prompts/list",
        "prompts/get",
    )
}
ACCEPTED = {HOMES["resources/subscribe"], HOMES["logging/setLevel"]}
TYPE = "basic/index/resulttype/named"
CALLS_APART = "basic/patterns/mrtr/client-requirements-basic-workflow/calls-apart"

Value = dict[str, Any]


def result(method: str, value: Any) -> Breaks:
    """Answer with this in the place of a good result."""
    return answers_to(method, over("result", to(value)))


def member(method: str, name: str, value: Any) -> Breaks:
    """Set a member of good results."""
    return results_of(method, put(**{name: value}))


def without(method: str, name: str) -> Breaks:
    """Leave a member out of good results."""
    return results_of(method, drop(name))


def drawn(found: Value) -> Value:
    """One tool more that only reads; the images of all tools are no base64."""
    hints = {"readOnlyHint": True}
    read = where(lambda tool: tool["name"] == "test_image_content", put(annotations=hints))
    torn = where(lambda block: block["type"] == "image", put(data="no base64!"))
    return dict(over("content", each(torn))(over("tools", each(read))(found)))


def spoken(found: Value) -> Value:
    """The prompt with arguments is said by the system."""
    simple = "simple prompt" in repr(found)
    return found if simple else {**found, "messages": [{"role": "system", "content": []}]}


def hinted(name: str, value: Any) -> Breaks:
    """Set a hint of every result that has it."""
    return results_of("", over(name, to(value)))


def ending(cursor: Any) -> Breaks:
    """Give a cursor that is no text on the last page of every list."""

    def last(found: Value) -> Value:
        lists = ("tools", "resources", "prompts", "resourceTemplates")
        page = any(isinstance(found.get(name), list) for name in lists)
        return {CURSOR: cursor, **found} if page else found

    return results_of("", last)


def schemas(schema: Any) -> Breaks:
    """Give the first tool another input schema."""
    return results_of("tools/list", over("tools", first(put(inputSchema=schema))))


def listed(tools: list[Value]) -> list[Value]:
    return [{"name": "odd"}, *tools]


def is_error(said: Value) -> bool:
    return "error" in said


FLAT = over("capabilities", put(tools=True))
TABLE: tuple[tuple[str, str, Breaks, set[str], int], ...] = (
    # what is wrong, where, how, the cases that fail, cases that pass nevertheless at least
    ("ping-number", OLD, result("ping", 5), {PING}, 220),
    ("ping-null", OLD, result("ping", None), {PING}, 220),
    ("ping-full", OLD, member("ping", "odd", 1), {PING}, 220),
    ("ping-unknown", OLD, fails("ping", -32601), {PING}, 220),
    ("initialize-number", OLD, result("initialize", 5), {OPENED}, 0),
    ("initialize-no-info", OLD, without("initialize", "serverInfo"), {OPENED}, 220),
    ("initialize-info", OLD, member("initialize", "serverInfo", "x"), {OPENED}, 220),
    ("initialize-words", OLD, member("initialize", "instructions", 5), {OPENED}, 220),
    ("initialize-no-version", OLD, without("initialize", "protocolVersion"), {OPENED}, 215),
    ("initialize-version", OLD, member("initialize", "protocolVersion", 20251125), {OPENED}, 215),
    ("initialize-array", OLD, member("initialize", "capabilities", []), {OPENED}, 80),
    ("initialize-tools", OLD, results_of("initialize", FLAT), {OPENED}, 220),
    ("ids-text", OLD, answers_to("", over("id", str)), {OPENED}, 0),
    ("discover-number", NEW, result("server/discover", 5), {FOUND}, 210),
    ("discover-unknown", NEW, fails("server/discover", -32601), {FOUND}, 210),
    ("discover-no-type", NEW, without("server/discover", "resultType"), {FOUND, TYPE}, 250),
    ("discover-text", NEW, member("server/discover", "supportedVersions", NEW), {FOUND}, 250),
    ("discover-array", NEW, member("server/discover", "capabilities", []), {FOUND}, 85),
    ("tools-number", OLD, result("tools/list", 5), {TOOLS}, 140),
    ("tools-null", NEW, member("tools/list", "tools", None), {TOOLS}, 150),
    ("tools-entry", OLD, results_of("tools/list", over("tools", listed)), {TOOLS}, 210),
    ("call-number", OLD, result("tools/call", 5), {CALLED}, 170),
    ("call-number", NEW, result("tools/call", 5), {CALLED}, 190),
    ("call-no-content", OLD, without("tools/call", "content"), {CALLED}, 220),
    ("call-no-content", NEW, without("tools/call", "content"), {CALLED, CALLS_APART}, 250),
    ("call-image", OLD, results_of("", drawn), {CALLED}, 220),
    ("call-image", NEW, results_of("", drawn), {CALLED}, 250),
    ("prompt-second", OLD, results_of("prompts/get", spoken), {HOMES["prompts/get"]}, 220),
    ("ttl", NEW, hinted("ttlMs", -1), {HOMES[TTL]}, 250),
    ("ttl-text", NEW, hinted("ttlMs", "5000"), {HOMES[TTL]}, 250),
    ("scope", NEW, hinted("cacheScope", "shared"), {HOMES[SCOPE]}, 250),
    ("cursor-null", OLD, ending(None), {HOMES[CURSOR]}, 215),
    ("cursor-number", OLD, ending(7), {HOMES[CURSOR]}, 215),
    ("completion-flat", OLD, result("completion/complete", {"values": []}), {COMPLETED}, 210),
    ("tools-schema-array", OLD, schemas({"type": "array"}), {TOOLS}, 150),
    ("tools-schema-null", OLD, schemas(None), {TOOLS}, 150),
    ("error-code", OLD, errors_of("", over("code", str)), {ERRORS}, 170),
    ("error-code", NEW, errors_of("", over("code", str)), {ERRORS}, 190),
    ("error-and-null", NEW, answers_to("", where(is_error, put(result=None))), {ERRORS}, 190),
    ("all-meta", OLD, member("", "_meta", 5), {OPENED, *SHAPES, *ACCEPTED}, 180),
    ("all-meta", NEW, member("", "_meta", 5), {FOUND, *SHAPES}, 200),
)


def played(revision: str, *faults: Breaks, only: str = "") -> list[Result]:
    """A run of all cases on the core with faults, or of those whose ids begin so."""
    cases = [case for case in all_cases() if case.id.startswith(only)]
    return ran(faulty(Binding.CORE, *faults), cases, revision).results


@pytest.mark.share(12)
@pytest.mark.parametrize(
    ("revision", "fault", "failed", "passed"),
    [pytest.param(*rest, id=f"{name}-{rest[0]}") for name, *rest in TABLE],
)
def test_a_fault_fails_the_cases_that_are_about_it(
    revision: str, fault: Breaks, failed: set[str], passed: int
) -> None:
    results = played(revision, fault)
    assert {each.case.id for each in results if each.verdict is Verdict.FAILED} == failed
    assert sum(each.verdict is Verdict.PASSED for each in results) >= passed
    assert sum(each.verdict is Verdict.WEAK for each in results) <= 2
    hidden = [each for each in results if each.verdict is Verdict.INCONCLUSIVE]
    named = (*failed, "initialize got ")
    assert [each.detail for each in hidden if not any(name in each.detail for name in named)] == []


NO_CHANGES = member("server/discover", "capabilities", {"tools": {}, "resources": {}})
"""Declares no list that changes, and no resources to subscribe to."""
CALLS_FAIL = member("tools/call", "isError", True)
COMPLETIONS = "server/utilities/completion/security/"
PROMPTS = "server/prompts/implementation-considerations"
NO_LISTENING = declines(asks("subscriptions/listen"), -32603)


@pytest.mark.parametrize(
    ("revision", "faults", "only", "blamed"),
    [
        (NEW, (NO_CHANGES, NO_LISTENING), "basic/patterns/subscriptions/", False),
        (NEW, (NO_LISTENING,), "basic/patterns/subscriptions/", True),
        (OLD, (CALLS_FAIL,), "server/tools/calling-tools/no-arguments", False),
        (OLD, (fails("completion/complete", -32603),), COMPLETIONS, False),
        (OLD, (fails("prompts/get", -32603),), f"{PROMPTS}/further-argument", False),
    ],
    ids=["no-changes", "changes", "failing-tool", "internal", "failing-prompt"],
)
def test_what_need_not_be_its_fault_is_not_blamed_on_a_server(
    revision: str, faults: tuple[Breaks, ...], only: str, blamed: bool
) -> None:
    results = played(revision, *faults, only=only)
    assert results
    found = [each for each in results if each.verdict in (Verdict.FAILED, Verdict.WEAK)]
    assert bool(found) is blamed, found
