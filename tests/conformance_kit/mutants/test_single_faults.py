"""One fault of a server is found by the few cases that are about it, and hides little else."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from conformance.mutants.fault import Fault
from conformance.mutants.faults import answers_to, asks, declines, results_of
from conformance.mutants.faulty_wire import FaultyStage
from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.apart import CURSOR, SCOPE, TTL
from mcpcore_conformance.kit.model import Binding, Result, Verdict
from mcpcore_conformance.kit.wire import Stage
from mcpcore_conformance.run.followers import HOMES
from mcpcore_conformance.run.plan import Settings
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.run.run import Listener
from mcpcore_conformance.run.servers import prepare, run_server
from mcpcore_conformance.run.stages import Subject
from mcpcore_conformance.subjects.core import CoreStage

OLD, NEW = "2025-11-25", "2026-07-28"
PING = HOMES["ping"]
OPENED = HOMES["initialize"]
FOUND = HOMES["server/discover"]
TOOLS = HOMES["tools/list"]
CALLED = HOMES["tools/call"]
ERRORS = HOMES["error"]
COMPLETED = HOMES["completion/complete"]
SHAPES = {
    HOMES[each]
    for each in (
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
Made = Callable[[], Fault]


def result(method: str, value: Any) -> Made:
    """Answer with this in the place of a good result."""
    return answers_to(method, lambda said: {**said, "result": value} if "result" in said else said)


def member(method: str, name: str, value: Any) -> Made:
    """Set a member of good results."""
    return results_of(method, lambda found: {**found, name: value})


def without(method: str, name: str) -> Made:
    """Leave a member out of good results."""
    return results_of(method, lambda found: {k: v for k, v in found.items() if k != name})


def refuses(method: str) -> Made:
    """Do not know a method."""
    error = {"code": -32601, "message": "no such method"}
    return answers_to(method, lambda said: {"jsonrpc": "2.0", "id": said["id"], "error": error})


def errors(edit: Callable[[Value], Value]) -> Made:
    """Edit errors."""
    return answers_to("", lambda said: edit(said) if "error" in said else said)


def coded(said: Value) -> Value:
    return {**said, "error": {**said["error"], "code": str(said["error"]["code"])}}


def texted(said: Value) -> Value:
    return {**said, "id": str(said["id"])} if "id" in said else said


def listed(found: Value) -> Value:
    return {**found, "tools": [{"name": "odd"}, *found["tools"]]}


def entry(found: Value) -> Value:
    return {**found, "capabilities": {**found["capabilities"], "tools": True}}


def drawn(found: Value) -> Value:
    """One tool more that only reads; the images of all tools are no base64."""
    if "tools" in found:
        return {**found, "tools": [_reading(each) for each in found["tools"]]}
    blocks = found.get("content", [])
    return {**found, "content": [_torn(each) for each in blocks]} if blocks else found


def _reading(tool: Value) -> Value:
    image = tool["name"] == "test_image_content"
    return {**tool, "annotations": {"readOnlyHint": True}} if image else tool


def _torn(block: Value) -> Value:
    return {**block, "data": "no base64!"} if block["type"] == "image" else block


def spoken(found: Value) -> Value:
    """The prompt with arguments is said by the system."""
    simple = "simple prompt" in repr(found)
    return found if simple else {**found, "messages": [{"role": "system", "content": []}]}


def hinted(name: str, value: Any) -> Made:
    """Set a hint of every result that has it."""
    return results_of("", lambda found: {**found, name: value} if name in found else found)


def ending(cursor: Any) -> Made:
    """Give a cursor that is no text on the last page of every list."""

    def last(found: Value) -> Value:
        lists = ("tools", "resources", "prompts", "resourceTemplates")
        page = any(isinstance(found.get(each), list) for each in lists)
        return {CURSOR: cursor, **found} if page else found

    return results_of("", last)


def schemas(schema: Any) -> Made:
    """Give the first tool another input schema."""

    def first(found: Value) -> Value:
        one, *others = found["tools"]
        return {**found, "tools": [{**one, "inputSchema": schema}, *others]}

    return results_of("tools/list", first)


TABLE: tuple[tuple[str, str, Made, set[str], int], ...] = (
    # what is wrong, where, how, the cases that fail, cases that pass nevertheless at least
    ("ping-number", OLD, result("ping", 5), {PING}, 220),
    ("ping-null", OLD, result("ping", None), {PING}, 220),
    ("ping-full", OLD, member("ping", "odd", 1), {PING}, 220),
    ("ping-unknown", OLD, refuses("ping"), {PING}, 220),
    ("initialize-number", OLD, result("initialize", 5), {OPENED}, 0),
    ("initialize-no-info", OLD, without("initialize", "serverInfo"), {OPENED}, 220),
    ("initialize-info", OLD, member("initialize", "serverInfo", "x"), {OPENED}, 220),
    ("initialize-words", OLD, member("initialize", "instructions", 5), {OPENED}, 220),
    ("initialize-no-version", OLD, without("initialize", "protocolVersion"), {OPENED}, 215),
    ("initialize-version", OLD, member("initialize", "protocolVersion", 20251125), {OPENED}, 215),
    ("initialize-array", OLD, member("initialize", "capabilities", []), {OPENED}, 80),
    ("initialize-tools", OLD, results_of("initialize", entry), {OPENED}, 220),
    ("ids-text", OLD, answers_to("", texted), {OPENED}, 0),
    ("discover-number", NEW, result("server/discover", 5), {FOUND}, 210),
    ("discover-unknown", NEW, refuses("server/discover"), {FOUND}, 210),
    ("discover-no-type", NEW, without("server/discover", "resultType"), {FOUND, TYPE}, 250),
    ("discover-text", NEW, member("server/discover", "supportedVersions", NEW), {FOUND}, 250),
    ("discover-array", NEW, member("server/discover", "capabilities", []), {FOUND}, 85),
    ("tools-number", OLD, result("tools/list", 5), {TOOLS}, 140),
    ("tools-null", NEW, member("tools/list", "tools", None), {TOOLS}, 150),
    (
        "tools-entry",
        OLD,
        results_of("tools/list", listed),
        {TOOLS},
        210,
    ),
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
    ("error-code", OLD, errors(coded), {ERRORS}, 170),
    ("error-code", NEW, errors(coded), {ERRORS}, 190),
    ("error-and-null", NEW, errors(lambda said: {**said, "result": None}), {ERRORS}, 190),
    ("all-meta", OLD, member("", "_meta", 5), {OPENED, *SHAPES, *ACCEPTED}, 180),
    ("all-meta", NEW, member("", "_meta", 5), {FOUND, *SHAPES}, 200),
)


def played(revision: str, *faults: Made, only: str = "") -> list[Result]:
    """A run of all cases on the core with faults, or of those whose ids begin so."""

    async def make(stack: AsyncExitStack) -> Stage:
        stage: Stage = await stack.enter_async_context(CoreStage())
        for fault in faults:
            stage = FaultyStage(stage, fault)
        return stage

    subjects = [Subject(Binding.CORE, "faulty", make)]
    cases = [case for case in all_cases() if case.id.startswith(only)]
    run = prepare(subjects, cases, Settings(revisions=(BY_NAME[revision],), named=True))
    anyio.run(run_server, run, subjects, Listener())
    return run.results


@pytest.mark.share(12)
@pytest.mark.parametrize(
    ("revision", "fault", "failed", "passed"),
    [pytest.param(*rest, id=f"{name}-{rest[0]}") for name, *rest in TABLE],
)
def test_a_fault_fails_the_cases_that_are_about_it(
    revision: str, fault: Made, failed: set[str], passed: int
) -> None:
    results = played(revision, fault)
    assert {each.case.id for each in results if each.verdict is Verdict.FAILED} == failed
    assert sum(each.verdict is Verdict.PASSED for each in results) >= passed
    assert sum(each.verdict is Verdict.WEAK for each in results) <= 2
    hidden = [each for each in results if each.verdict is Verdict.INCONCLUSIVE]
    named = (*failed, "initialize got ")
    assert [each.detail for each in hidden if not any(name in each.detail for name in named)] == []


def announces_nothing() -> Made:
    """Declare no list that changes, and no resources to subscribe to."""
    return member("server/discover", "capabilities", {"tools": {}, "resources": {}})


def fails(method: str) -> Made:
    """Answer with an internal error in the place of a result, and of any other error."""
    error = {"code": -32603, "message": "something went wrong"}
    return answers_to(method, lambda said: {"jsonrpc": "2.0", "id": said["id"], "error": error})


def calls_fail() -> Made:
    """Tools fail, whatever they are called with."""
    return member("tools/call", "isError", True)


PROMPTS = "server/prompts/implementation-considerations"
NO_LISTENING = declines(asks("subscriptions/listen"), -32603)


@pytest.mark.parametrize(
    ("revision", "faults", "only", "blamed"),
    [
        (NEW, (announces_nothing(), NO_LISTENING), "basic/patterns/subscriptions/", False),
        (NEW, (NO_LISTENING,), "basic/patterns/subscriptions/", True),
        (OLD, (calls_fail(),), "server/tools/calling-tools/no-arguments", False),
        (OLD, (fails("completion/complete"),), "server/utilities/completion/security/", False),
        (OLD, (fails("prompts/get"),), f"{PROMPTS}/further-argument", False),
    ],
    ids=["no-changes", "changes", "failing-tool", "internal", "failing-prompt"],
)
def test_what_need_not_be_its_fault_is_not_blamed_on_a_server(
    revision: str, faults: tuple[Made, ...], only: str, blamed: bool
) -> None:
    results = played(revision, *faults, only=only)
    assert results
    found = [each for each in results if each.verdict in (Verdict.FAILED, Verdict.WEAK)]
    assert bool(found) is blamed, found
