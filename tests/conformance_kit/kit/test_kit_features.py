"""What the kit calls of what it finds."""

from typing import Any

import pytest

from mcpcore_conformance.kit.features import TEMPLATES, Features, Tool
from mcpcore_conformance.kit.headers import mirrored

READS: dict[str, Any] = {"readOnlyHint": True}
KEEPS: dict[str, Any] = {"destructiveHint": False}
DESTROYS: dict[str, Any] = {}


def tools(**annotations: dict[str, Any]) -> dict[str, Tool]:
    return {name: Tool(name, {}, annotations=found) for name, found in annotations.items()}


@pytest.mark.parametrize(
    ("found", "allowed", "called"),
    [
        ({"delete": DESTROYS}, (), None),
        ({"delete": {"destructiveHint": True}}, (), None),
        ({"delete": {"readOnlyHint": False}}, (), None),
        ({"delete": {"readOnlyHint": "true"}}, (), None),
        ({"delete": DESTROYS, "keep": KEEPS}, (), "keep"),
        ({"delete": DESTROYS, "keep": KEEPS, "read": READS}, (), "read"),
        ({"read": READS, "echo": DESTROYS}, (), "echo"),
        ({"delete": DESTROYS, "read": READS}, ("delete",), "delete"),
        ({"delete": DESTROYS}, ("other",), None),
        ({"echo": {"destructiveHint": True}, "add": DESTROYS}, (), "add"),
        ({"echo": {"destructiveHint": True}}, ("echo",), "echo"),
        ({"echo": {"destructiveHint": True, "readOnlyHint": True}}, (), "echo"),
        ({"delete": DESTROYS}, ("*",), "delete"),
        ({"delete": DESTROYS, "read": READS}, ("*",), "read"),
        ({}, ("*",), None),
    ],
)
def test_the_tool_that_is_called(
    found: dict[str, dict[str, Any]], allowed: tuple[str, ...], called: str | None
) -> None:
    tool = Features("2025-11-25", tools=tools(**found), allowed=allowed).plainest_tool()
    assert (tool and tool.name) == called


@pytest.mark.parametrize(
    ("found", "allowed", "may"),
    [
        ({}, (), False),
        ({"destructiveHint": True}, (), False),
        ({"destructiveHint": True}, ("other",), False),
        ({"destructiveHint": True}, ("tool",), True),
        ({"destructiveHint": True}, ("*",), True),
        ({"destructiveHint": True, "readOnlyHint": True}, (), True),
        ({"destructiveHint": False}, (), True),
    ],
)
def test_what_a_tool_says_of_itself(
    found: dict[str, Any], allowed: tuple[str, ...], may: bool
) -> None:
    features = Features("2025-11-25", tools=tools(tool=found), allowed=allowed)
    assert features.may_call(features.tools["tool"]) is may
    # a case that knows the name takes one that says nothing of itself
    assert (features.has("tool:tool") == "") is (may or not found)


@pytest.mark.parametrize(
    ("rules", "made"),
    [
        ({"type": "string"}, True),
        ({"type": "string", "minLength": 9}, True),
        ({"type": "string", "maxLength": 2}, False),
        ({"type": "string", "pattern": "x+"}, False),
        ({"$ref": "#/$defs/place"}, False),
        ({"$ref": "#/$defs/name"}, True),
        ({"type": "integer", "maximum": 0}, False),
        ({"type": "integer", "multipleOf": 5}, False),
        ({"type": "array", "minItems": 2}, False),
        ({"type": "object", "minProperties": 1}, False),
        ({"allOf": [{"enum": ["a", "b"]}]}, False),
        ({"not": {"type": "string"}}, False),
        # what is malformed asks for nothing
        ({"type": "string", "maxLength": "2"}, True),
        ({"type": "string", "allOf": 7}, True),
    ],
)
def test_arguments_have_to_be_made_up(rules: dict[str, Any], made: bool) -> None:
    schema = {
        "$defs": {"place": {"enum": ["home"]}, "name": {"type": "string"}},
        "properties": {"a": rules},
        "required": ["a"],
    }
    features = Features("2025-11-25", tools={"a": Tool("a", schema, annotations=READS)})
    assert (features.plainest_tool() is not None) is made
    assert bool(features.tried_tools(1)) is made


def test_a_tool_that_is_a_task_only_is_not_called_as_any_other() -> None:
    listed = {"execution": {"taskSupport": "required"}}
    features = Features("2025-11-25", tools={"a": Tool("a", {}, annotations=READS, listed=listed)})
    assert (features.plainest_tool(), features.plain_tools()) == (None, [])
    assert [each.name for each in features.tried_tools(1)] == ["a"]


MARKED = {"type": "string", "x-mcp-header": "Region"}


@pytest.mark.parametrize(
    ("schema", "reachable"),
    [
        ({"properties": {"a": MARKED}}, True),
        ({"properties": {"a": {"properties": {"b": MARKED}}}}, True),
        ({"properties": {"properties": MARKED}}, True),
        (MARKED, False),
        *(
            ({"properties": {"a": {keyword: {"properties": {"b": MARKED}}}}}, False)
            for keyword in ("items", "contains", "additionalProperties", "not", "if", "then")
        ),
        *(
            ({keyword: [{"properties": {"b": MARKED}}]}, False)
            for keyword in ("items", "prefixItems", "oneOf", "anyOf", "allOf")
        ),
        *(
            ({keyword: {"a": MARKED}}, False)
            for keyword in ("$defs", "definitions", "patternProperties", "dependentSchemas")
        ),
    ],
)
def test_where_an_argument_may_be_mirrored(schema: dict[str, Any], reachable: bool) -> None:
    assert [*mirrored(schema)] == [(MARKED, reachable)]


@pytest.mark.parametrize("schema", [None, 5, {"properties": 5}, {"anyOf": 5}, {"items": [5]}])
def test_nothing_of_a_malformed_schema_is_mirrored(schema: Any) -> None:
    assert [*mirrored(schema)] == []


@pytest.mark.parametrize(
    ("declared", "unlisted", "least", "legacy", "modern"),
    [
        ({}, set(), "", "ping", "server/discover"),
        ({"logging": {}, "completions": {}}, set(), "", "ping", "server/discover"),
        ({"prompts": {}}, set(), "", "prompts/list", "prompts/list"),
        ({"tools": {}, "prompts": {}}, {"tools/list"}, "", "prompts/list", "prompts/list"),
        ({"tools": {}}, {"tools/list"}, "", "tools/list", "tools/list"),
        ({}, set(), "resources/list", "resources/list", "resources/list"),
    ],
)
def test_the_request_that_is_made_where_any_will_do(
    declared: dict[str, Any], unlisted: set[str], least: str, legacy: str, modern: str
) -> None:
    features = Features("", capabilities=declared, unlisted=unlisted, least=least)
    assert features.harmless_request(modern=False) == (legacy, {})
    assert features.harmless_request(modern=True) == (modern, {})


def test_a_list_that_no_capability_promises_may_not_be_there() -> None:
    features = Features("2025-11-25", capabilities={"resources": {}})
    need = f"method:{TEMPLATES}"
    assert features.has(need) == ""
    features.unknown.add(TEMPLATES)
    assert features.has(need) == "the server has no resources/templates/list"
    assert features.has("method:resources/list") == ""
