"""What each revision knows of each type, against the official schemas; and values cut to it."""

import copy
from typing import Any

import msgspec
import pytest

from mcpcore.spec import types
from mcpcore.spec.members import known_members, unknown_members
from mcpcore.spec.revisions import BY_NAME, LATEST, REVISIONS, Revision
from tests.spec.oracle import definitions, needs_schemas, properties, typed, wire_fields

by_revision = pytest.mark.parametrize("revision", REVISIONS, ids=lambda row: str(row.name))

SENT: tuple[type[msgspec.Struct], ...] = (
    types.Annotations,
    types.AudioContent,
    types.CallToolResult,
    types.CompleteParams,
    types.CompleteResult,
    types.CreateMessageParams,
    types.CreateMessageResult,
    types.ElicitResult,
    types.EmbeddedResource,
    types.GetPromptResult,
    types.Icon,
    types.ImageContent,
    types.Implementation,
    types.ListRootsResult,
    types.Prompt,
    types.PromptArgument,
    types.PromptMessage,
    types.PromptReference,
    types.ReadResourceResult,
    types.Resource,
    types.ResourceLink,
    types.ResourceTemplate,
    types.Root,
    types.SamplingMessage,
    types.TextContent,
    types.Tool,
    types.ToolAnnotations,
    types.ToolResultContent,
    types.ToolUseContent,
)
"""What applications make and the other side reads."""

ENGINE = {"_meta", "resultType", "ttlMs", "cacheScope"}
"""Members that the engine and the service write by other rules."""


@needs_schemas
@by_revision
def test_the_table_is_that_of_the_schemas(revision: Revision) -> None:
    checked = 0
    for entry in typed(revision):
        if entry.struct not in SENT:
            continue
        checked += 1
        fields = wire_fields(entry.struct)
        known = properties(revision, entry.schema).keys()
        skipped = ENGINE if entry.struct.__name__.endswith(("Params", "Result")) else set()
        lacking = {
            field.name
            for wire, field in fields.items()
            if wire not in known and wire not in skipped
        }
        assert unknown_members(entry.struct, revision) == lacking, (entry.where, revision.name)
    assert checked >= 12


@needs_schemas
def test_the_forms_of_elicitation() -> None:
    row = BY_NAME["2025-06-18"]
    known = definitions(row)["ElicitRequest"]["properties"]["params"]["properties"].keys()
    fields = {
        field.name for wire, field in wire_fields(types.ElicitParams).items() if wire in known
    }
    assert fields | {"meta"} | unknown_members(types.ElicitParams, row) == set(
        types.ElicitParams.__struct_fields__
    )


def rich() -> types.CallToolResult:
    annotations = types.Annotations(priority=1, last_modified="2025-01-01")
    text = types.TextContent(text="x", annotations=annotations, meta={"k": 1})
    resource = types.TextResourceContents(uri="t:x", text="x", meta={"k": 1})
    icons = [types.Icon(src="https://x.test/i.png")]
    link = types.ResourceLink(uri="t:x", name="x", icons=icons)
    return types.CallToolResult(
        content=[text, types.EmbeddedResource(resource=resource, meta={"k": 1}), link],
        structured_content={"icons": [1], "_meta": {}},
        meta={"k": 1},
    )


@pytest.mark.parametrize(
    ("revision", "gone"),
    [
        ("2024-11-05", {"lastModified", "_meta", "icons", "structuredContent"}),
        ("2025-06-18", {"icons"}),
        ("2025-11-25", set()),
        ("2026-07-28", set()),
    ],
)
def test_unknown_members_go_at_any_depth(revision: str, gone: set[str]) -> None:
    result = rich()
    before = copy.deepcopy(result)
    cut = known_members(result, BY_NAME[revision])
    assert result == before, "the value itself must not change"
    assert (cut is result) == (not gone)

    def without(tree: Any, top: bool = False) -> Any:
        if isinstance(tree, list):
            return [without(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        return {
            name: value if name == "structuredContent" else without(value)
            for name, value in tree.items()
            if name not in gone or (top and name == "_meta")
        }

    wanted = without(msgspec.to_builtins(before), top=True)
    assert msgspec.to_builtins(cut) == wanted


def test_types_of_users_are_cut_like_those_they_extend() -> None:
    class Mine(types.Tool, kw_only=True):
        extra: int = 1

    tool = Mine(name="t", input_schema={}, title="T")
    assert known_members(tool, BY_NAME["2025-03-26"]).title is None
    assert known_members(tool, LATEST) is tool


def test_lists() -> None:
    prompts = [types.Prompt(name="a"), types.Prompt(name="b", title="B")]
    assert known_members(prompts, LATEST) is prompts
    cut = known_members(prompts, BY_NAME["2024-11-05"])
    assert cut[0] is prompts[0]
    assert cut[1] == types.Prompt(name="b")
