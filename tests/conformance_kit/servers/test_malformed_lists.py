"""Servers whose lists are malformed: cases find it or pass it over, and none fails itself."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.mutants.edits import over, put
from conformance.mutants.fault import Breaks
from conformance.mutants.faults import own_messages, results_of
from conformance.mutants.faulty_wire import FaultyStage
from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.discover import discover
from mcpcore_conformance.kit.features import ANY_TOOL, Features, sample_form, sampled
from mcpcore_conformance.kit.headers import for_arguments
from mcpcore_conformance.kit.model import Binding, Case, Page, Result, Side, Verdict
from mcpcore_conformance.kit.play import ITSELF, not_applicable, play
from mcpcore_conformance.kit.talk import ServerTalk, Timing
from mcpcore_conformance.run.registry import all_cases
from mcpcore_conformance.subjects.core import CoreStage
from tests.conformance_kit.run.test_run_cli import conformance
from tests.conformance_kit.spoiling import changed, places

PAIR = ("2025-11-25", "2026-07-28")
"""The newest revision of each era."""
CASES = [case for case in all_cases() if case.side is Side.SERVER and Binding.CORE in case.bindings]
SHAPES = {
    "tools": "server/tools/listing-tools/shape",
    "prompts": "server/prompts/listing-prompts/shape",
    "resources": "server/resources/listing-resources/shape",
    "resourceTemplates": "server/resources/resource-templates/shape",
}
"""The case that finds what is wrong with the shape of a list."""
METHODS = {
    "tools": "tools/list",
    "prompts": "prompts/list",
    "resources": "resources/list",
    "resourceTemplates": "resources/templates/list",
}
INPUT = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "x-mcp-header": "A", "minLength": 4},
        "b": {"enum": ["x"]},
        "c": {"anyOf": [{"type": "string"}]},
        "d": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "e": {"type": "object", "properties": {"f": {"type": "integer"}}, "required": ["f"]},
        "g": {"type": ["string"]},
    },
    "required": ["a", "b", "c", "d", "e", "g"],
    "$defs": {"h": {}},
    "additionalProperties": False,
    "anyOf": [{}],
}
GOOD: dict[str, dict[str, Any]] = {
    "tools": {
        "name": "test_simple_text",
        "inputSchema": INPUT,
        "outputSchema": {"type": "object", "properties": {"a": {"type": "string"}}},
        "annotations": {"readOnlyHint": True},
        "icons": [{"src": "https://a.example/icon", "sizes": ["1x1"]}],
        "execution": {"taskSupport": "optional"},
    },
    "prompts": {
        "name": "test_prompt_with_arguments",
        "arguments": [{"name": "arg1", "required": True}, {"name": "arg2"}],
    },
    "resources": {
        "uri": "test://static-text",
        "name": "text",
        "mimeType": "text/plain",
        "size": 5,
        "annotations": {"lastModified": "2020-01-01", "audience": ["user"], "priority": 1},
    },
    "resourceTemplates": {"uriTemplate": "test://template/{id}/data", "name": "template"},
}
"""An entry of each list, with all that a case may look at."""


def listing(member: str, found: Any, revision: str, cases: Sequence[Case] = CASES) -> list[Result]:
    """Play cases on a server that lists this in front of what it lists anyhow.

    Anything but an array takes the place of the list.
    """

    def edit(result: dict[str, Any]) -> dict[str, Any]:
        whole = [*found, *result[member]] if isinstance(found, list) else found
        return {**result, member: whole}

    return spoilt(results_of(METHODS[member], edit), revision, cases)


def spoilt(breaks: Breaks, revision: str, cases: Sequence[Case]) -> list[Result]:
    """Play cases on a server with that fault."""

    async def played() -> list[Result]:
        async with CoreStage() as core:
            stage = FaultyStage(core, breaks)
            spoken = BY_NAME[revision]
            features = await discover(stage, spoken, Timing())
            features.allowed = (ANY_TOOL,)
            return [
                await play(case, stage, spoken, features) for case in cases if case.holds_in(spoken)
            ]

    return anyio.run(played)


def check(results: Sequence[Result]) -> None:
    """No case has failed itself."""
    assert len(results) > 200
    assert [f"{each.case.id}: {each.detail}" for each in results if ITSELF in each.detail] == []


def tool(**changes: Any) -> dict[str, Any]:
    return {"name": "odd", "inputSchema": {"type": "object"}, **changes}


def taking(properties: Any, required: Any = ("a",)) -> dict[str, Any]:
    """A tool with a schema of these parts."""
    needed = list(required) if isinstance(required, tuple) else required
    return tool(inputSchema={"type": "object", "properties": properties, "required": needed})


TABLE: tuple[tuple[str, Any], ...] = (
    ("prompts", [{"name": {}}]),
    ("prompts", [{"name": ["a"]}]),
    ("prompts", [{}]),
    ("prompts", [7, None, "x", ["a"]]),
    ("prompts", {"a": 1}),
    ("prompts", None),
    ("prompts", [{"name": "\ud800"}]),
    ("prompts", [{"name": "odd", "arguments": {"a": 1}}]),
    ("prompts", [{"name": "odd", "arguments": ["a"]}]),
    ("prompts", [{"name": "odd", "arguments": 5}]),
    ("prompts", [{"name": "odd", "arguments": [{"name": {}, "required": True}]}]),
    ("prompts", [{"name": "odd", "arguments": [{"required": True}]}]),
    ("resources", [{"uri": ["a"], "name": "odd"}]),
    ("resources", [{"uri": {"a": 1}, "name": "odd"}]),
    ("resources", [{"name": "odd"}]),
    ("resources", "x"),
    ("resources", [{"uri": "test://static-text", "name": "odd", "mimeType": ["a"], "size": "x"}]),
    ("resources", [{"name": "odd", "size": 5, "annotations": {"lastModified": {}}}]),
    ("resourceTemplates", [{"uriTemplate": [], "name": "odd"}]),
    ("resourceTemplates", [{"uriTemplate": {}, "name": "odd", "mimeType": 5}]),
    ("resourceTemplates", [{}]),
    ("resourceTemplates", 5),
    ("tools", [tool(name={})]),
    ("tools", [tool(name=5)]),
    ("tools", [{"name": "odd"}]),
    ("tools", [tool(inputSchema=5)]),
    ("tools", [tool(icons=5)]),
    ("tools", [tool(icons=[5])]),
    ("tools", [tool(outputSchema=["a"], annotations={"readOnlyHint": True})]),
    ("tools", [tool(annotations=["a"])]),
    ("tools", [tool(execution=5)]),
    ("tools", [taking([])]),
    ("tools", [taking(5)]),
    ("tools", [taking({"a": 5})]),
    ("tools", [taking({"a": {"enum": 5}})]),
    ("tools", [taking({"a": {"anyOf": {}, "type": []}})]),
    ("tools", [taking({"a": {"anyOf": [5]}})]),
    ("tools", [taking({"a": {"type": {"a": 1}}})]),
    ("tools", [taking({"a": {"type": "string", "minLength": "x"}})]),
    ("tools", [taking({"a": {"type": "string", "minLength": 10**12}})]),
    ("tools", [taking({"a": {"type": "array", "minItems": "x", "items": 5}})]),
    ("tools", [taking({"a": {"type": "string", "x-mcp-header": {"a": 1}}})]),
    ("tools", [taking({"a": {"type": ["string"], "x-mcp-header": "A\r\nB"}})]),
    ("tools", [taking({"a": {}}, required=5)]),
    ("tools", [taking({"a": {}}, required=[{}, 5, ["a"]])]),
    ("tools", [tool(inputSchema={"type": "object", "$defs": ["a"], "additionalProperties": 5})]),
    ("tools", [5, None]),
    ("tools", {"a": 1}),
)


@pytest.mark.share(12)
@pytest.mark.turns("revision")
@pytest.mark.parametrize("revision", PAIR)
@pytest.mark.parametrize(("member", "found"), TABLE, ids=[json.dumps(row)[:60] for row in TABLE])
def test_no_case_fails_itself(member: str, found: Any, revision: str) -> None:
    check(listing(member, found, revision))


COMPLETION = "server/utilities/completion/completion-results"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
HONOURED = "basic/patterns/subscriptions/acknowledgment"


def acknowledging(wanted: Any) -> Breaks:
    """Acknowledge with that as what is honoured."""
    return own_messages(ACKNOWLEDGED, over("params", put(notifications=wanted)))


@pytest.mark.parametrize(
    ("breaks", "revision", "page", "found"),
    [
        (
            results_of("completion/complete", put(completion=found)),
            PAIR[1],
            "server/utilities/completion/",
            f"{COMPLETION}/shape",
        )
        for found in ({}, {"values": None}, {"values": [], "total": "x"})
    ]
    + [
        (acknowledging(found), PAIR[1], f"{HONOURED}/", f"{HONOURED}/shape")
        for found in (None, 5, {"resourceSubscriptions": True})
    ]
    + [
        (
            results_of("resources/read", put(contents=None)),
            PAIR[0],
            "server/resources/",
            "server/resources/reading-resources/shape",
        ),
        (
            own_messages("elicitation/create", over("params", put(requestedSchema=None))),
            PAIR[0],
            "client/elicitation/",
            "client/elicitation/form-mode-elicitation-requests/shape",
        ),
    ],
)
def test_nor_does_one_by_another_malformed_message(
    breaks: Breaks, revision: str, page: str, found: str
) -> None:
    results = spoilt(breaks, revision, [case for case in CASES if case.id.startswith(page)])
    assert [f"{each.case.id}: {each.detail}" for each in results if each.faulty] == []
    assert found in {each.case.id for each in results if each.verdict is Verdict.FAILED}


FOUND: tuple[tuple[str, Any], ...] = (
    ("prompts", [{"name": {}}]),
    ("prompts", [{"name": "odd", "arguments": {"a": 1}}]),
    ("prompts", [{"name": "odd", "arguments": ["a"]}]),
    ("prompts", None),
    ("resources", [{"uri": ["a"], "name": "odd"}]),
    ("resourceTemplates", [{"uriTemplate": [], "name": "odd"}]),
    ("tools", [tool(name=5)]),
    ("tools", [tool(icons=5)]),
    ("tools", [taking([])]),
    ("tools", [taking({"a": 5})]),
    ("tools", [taking({"a": {}}, required=5)]),
)


@pytest.mark.parametrize(("member", "found"), FOUND, ids=[json.dumps(row)[:60] for row in FOUND])
def test_what_is_malformed_is_found(member: str, found: Any) -> None:
    cases = [case for case in CASES if case.id == SHAPES[member]]
    [result] = listing(member, found, PAIR[0], cases)
    assert result.verdict is Verdict.FAILED


JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, 5, True, "", "x", "\ud800", [], ["a"], [{}], {}, {"a": 1}, 10**30]
)
SPOILT = st.sampled_from([*METHODS]).flatmap(
    lambda member: st.tuples(
        st.just(member),
        st.builds(
            changed, st.just(GOOD[member]), st.sampled_from([(), *places(GOOD[member])]), JUNK
        ),
    )
)


@pytest.mark.long
@pytest.mark.timeout(1800)
@given(SPOILT, st.sampled_from(PAIR))
@settings(max_examples=10)
def test_no_case_fails_itself_whatever_is_listed(row: tuple[str, Any], revision: str) -> None:
    member, entry = row
    check(listing(member, [entry], revision))


SCHEMAS: tuple[Any, ...] = (
    {"properties": [], "required": ["a"]},
    {"properties": {"a": 5}, "required": ["a"]},
    {"properties": {"a": {"enum": 5}}, "required": ["a"]},
    {"properties": {"a": {"enum": {}}}, "required": ["a"]},
    {"properties": {"a": {"oneOf": 5, "anyOf": [[]]}}, "required": ["a"]},
    {"properties": {"a": {"type": []}}, "required": ["a"]},
    {"properties": {"a": ["b"]}, "required": ["a", {}, 5]},
    {"properties": {"a": {"type": "string", "minLength": []}}, "required": ["a"]},
    {"properties": 5, "required": "a"},
)


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_arguments_are_made_up_for_malformed_schemas(schema: dict[str, Any]) -> None:
    made = sampled(schema)
    assert made == ({} if schema["required"] == "a" else {"a": "kit"})
    assert set(sample_form(schema)) <= {"a"}
    assert for_arguments(schema, {"a": "kit"}) == {}


@pytest.mark.parametrize("schema", [None, 5, [], {"properties": ["a"]}])
def test_a_form_without_fields_is_filled(schema: Any) -> None:
    assert sample_form(schema) == {}


def test_a_text_of_any_length_is_not_made_up() -> None:
    rules = {"type": "string", "minLength": 10**12}
    assert sampled({"properties": {"a": rules}, "required": ["a"]}) is None


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("Region", {"mcp-param-region": "kit"}),
        ("A\r\nB", {}),
        ("", {}),
        ("Région", {}),
        (["a"], {}),
    ],
)
def test_only_what_may_be_a_header_is_one(name: Any, headers: dict[str, str]) -> None:
    schema = {"properties": {"a": {"type": "string", "x-mcp-header": name}}}
    assert for_arguments(schema, {"a": "kit"}) == headers


def case_of(need: str) -> Case:
    """A case that needs something."""

    async def served(talk: ServerTalk) -> None:
        """The server is asked for nothing."""

    page = Page("odd")
    page.server(needs=(need,)).must("of/it", "-")(served)
    return page.cases[0]


def test_a_case_whose_needs_cannot_be_told_fails_itself_alone() -> None:
    revision = BY_NAME[PAIR[0]]
    features = Features(PAIR[0])

    async def played() -> list[Result]:
        async with CoreStage() as stage:
            assert not_applicable(case_of("odd:thing"), stage, revision, features) == ""
            return [
                await play(case_of(need), stage, revision, features)
                for need in ("odd:thing", "tool:odd")
            ]

    first, second = anyio.run(played)
    assert first.verdict is Verdict.INCONCLUSIVE
    assert first.detail.startswith(ITSELF)
    assert (first.faulty, second.faulty) == (True, False)
    assert (second.verdict, second.detail) == (Verdict.NOT_APPLICABLE, "the server has no tool odd")


PROGRAM = """
import json
import sys

LISTS = {
    "prompts/list": {"prompts": [{"name": {}}]},
    "resources/list": {"resources": [{"uri": ["a"]}]},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": []}]},
}
for line in sys.stdin:
    said = json.loads(line)
    if "id" not in said:
        continue
    result = LISTS.get(said["method"], {})
    if said["method"] == "initialize":
        offers = {"prompts": {}, "resources": {}}
        info = {"name": "odd", "version": "1"}
        version = said["params"]["protocolVersion"]
        result = {"protocolVersion": version, "capabilities": offers, "serverInfo": info}
    print(json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result}), flush=True)
"""


def test_a_run_ends_with_its_report(tmp_path: Path) -> None:
    path = tmp_path / "server.py"
    path.write_text(PROGRAM)
    only = [word for page in ("prompts", "resources") for word in ("--only", f"server/{page}")]
    command = ("--revision", PAIR[0], "--timeout", "2", "--", sys.executable, str(path))
    done = conformance("server", "--report", "json", *only, *command)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    rows = {row["id"]: row for row in json.loads(done.stdout)}
    failed = {case for case, row in rows.items() if row["verdict"] == "failed"}
    assert {SHAPES["prompts"], SHAPES["resources"], SHAPES["resourceTemplates"]} <= failed
    assert [row for row in rows.values() if ITSELF in row["detail"]] == []
