"""Differences between descriptions: which kind, at which place, and a rename is none of two."""

import doctest
from typing import Any, cast

import pytest

from mcpcore.policy import differences
from mcpcore.policy.differences import (
    DifferenceKind,
    ServerDescription,
    compare_servers,
    describe_server,
    pinned,
)
from mcpcore.spec import types
from mcpcore.spec.json_schema import wrap_schema


def tool(**members: Any) -> ServerDescription:
    return ServerDescription(tools={"t": {"name": "t", **members}})


def told(before: ServerDescription, after: ServerDescription) -> list[str]:
    return [
        f"{each.kind.value} {each.place.removeprefix('/tools/t/')}"
        for each in compare_servers(before, after)
    ]


S = dict[str, Any]
TEXTS = ("title", "description", "$comment", "examples", "default", "deprecated")
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
NUMBER = {"type": "number"}
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


@pytest.mark.parametrize(
    ("before", "after", "inward", "outward"),
    [
        ({"type": "string"}, {"type": ["string", "null"]}, "additive", "breaking"),
        ({"type": "integer"}, {"type": "string"}, "breaking", "breaking"),
        ({"type": "integer"}, {}, "additive", "breaking"),
        ({}, {"enum": ["a"]}, "breaking", "additive"),
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, "breaking", "additive"),
        *(({each: 5}, {each: 9}, "additive", "breaking") for each in UPPER),
        *(({each: 5}, {each: 9}, "breaking", "additive") for each in LOWER),
        ({"maximum": 9}, {"maximum": 5}, "breaking", "additive"),
        ({"minLength": 9}, {"minLength": 5}, "additive", "breaking"),
        ({"minLength": 5}, {"minLength": "x"}, "breaking", "breaking"),
        *(({each: "a"}, {}, "additive", "breaking") for each in ("pattern", "format", "const")),
        *(({}, {each: 5}, "breaking", "additive") for each in (*UPPER, *LOWER)),
        *(({each: 5}, {}, "additive", "breaking") for each in (*UPPER, *LOWER)),
        ({}, {"pattern": "a"}, "breaking", "breaking"),
        ({"allOf": [{}]}, {"allOf": []}, "breaking", "breaking"),
        *(({each: "a"}, {each: "b"}, "risky", "risky") for each in TEXTS),
        ({"required": ["a"]}, {"required": []}, "additive", "breaking"),
        ({}, {"required": ["a"]}, "breaking", "additive"),
        ({"required": ["a", "b"]}, {"required": ["b", "c"]}, "breaking", "breaking"),
    ],
)
def test_schemas(before: S, after: S, inward: str, outward: str) -> None:
    for member, kind in (("inputSchema", inward), ("outputSchema", outward)):
        one, other = ({"items": {"properties": {"p": each}}} for each in (before, after))
        (difference,) = told(tool(**{member: one}), tool(**{member: other}))
        keyword = next(iter(before | after))
        assert difference == f"{kind} {member}/items/properties/p/{keyword}"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"description": "a"}, {"description": "b"}, ["risky description"]),
        ({"title": "a"}, {}, ["risky title"]),
        ({}, {"_meta": {"ui": {"resourceUri": "ui://x"}}}, ["risky _meta"]),
        ({"mimeType": "a/b"}, {"mimeType": "a/c"}, ["breaking mimeType"]),
        ({"outputSchema": {}}, {}, ["breaking outputSchema"]),
        ({}, {"outputSchema": {}}, ["additive outputSchema"]),
        ({"outputSchema": NUMBER}, {"outputSchema": wrap_schema(NUMBER)}, []),  # in another era
        ({"outputSchema": wrap_schema(NUMBER)}, {"outputSchema": NUMBER}, []),
        (
            {"outputSchema": NUMBER},
            {"outputSchema": wrap_schema({})},
            [
                "breaking outputSchema/type",
                "additive outputSchema/properties/result",
                "additive outputSchema/required",
            ],
        ),
        (
            {"annotations": {"readOnlyHint": True}},
            {"annotations": {"readOnlyHint": False}},
            ["breaking annotations/readOnlyHint"],
        ),
        (
            {"annotations": {}},
            {"annotations": {"destructiveHint": False}},
            ["risky annotations/destructiveHint"],
        ),
        ({}, {"annotations": {"destructiveHint": True}}, []),  # the default
        (
            {"annotations": {"openWorldHint": False, "idempotentHint": True}},
            {"annotations": {}},
            ["breaking annotations/idempotentHint", "breaking annotations/openWorldHint"],
        ),
        ({"inputSchema": {"type": ["a", "b"]}}, {"inputSchema": {"type": ["b", "a"]}}, []),
        (
            {"inputSchema": {"properties": {"a": {}}}},
            {"inputSchema": {"properties": {"a/~b": {}}}},
            ["breaking inputSchema/properties/a", "additive inputSchema/properties/a~1~0b"],
        ),
        (
            {"inputSchema": {"properties": {"a": True}}},
            {"inputSchema": {"properties": {"a": False}}},
            ["breaking inputSchema/properties/a"],
        ),
        (
            {"arguments": [{"name": "a"}]},
            {"arguments": [{"name": "a", "required": True, "description": "x"}]},
            ["breaking arguments/required", "risky arguments/properties/a/description"],
        ),
    ],
)
def test_declarations(before: S, after: S, expected: list[str]) -> None:
    assert told(tool(**before), tool(**after)) == expected


def test_names_that_come_go_and_change() -> None:
    def described(*names: str, text: str = "x") -> ServerDescription:
        prompts = {name: {"name": name, "description": name[0]} for name in names}
        return ServerDescription(instructions=text, prompts=prompts)

    found = compare_servers(described("a1", "b1"), described("a2", "c1", text="y"))
    assert [(each.kind.value, each.place, each.text) for each in found] == [
        ("breaking", "/prompts/a2", "renamed from 'a1'"),
        ("breaking", "/prompts/b1", "removed"),
        ("risky", "/instructions", "'x' became 'y'"),
        ("additive", "/prompts/c1", "added"),
    ]
    assert compare_servers(described("a1"), described("a1")) == []
    twins = compare_servers(described("a1", "a2", "a3"), described("a4"))
    assert [(each.place, each.text) for each in twins] == [
        ("/prompts/a2", "removed"),
        ("/prompts/a3", "removed"),
        ("/prompts/a4", "renamed from 'a1'"),
    ]


def test_a_description_holds_what_a_model_reads() -> None:
    meta = {"ui": {"resourceUri": "ui://x"}, "com.example/count": 1}
    listed = types.Tool(name="t", input_schema={"type": "object"}, meta=meta)
    assert pinned(listed) == {
        "name": "t",
        "inputSchema": {"type": "object"},
        "_meta": {"ui": {"resourceUri": "ui://x"}},
    }
    template = types.ResourceTemplate(uri_template="a:{b}", name="r", mime_type="a/b")
    prompt = types.Prompt(name="p", arguments=[types.PromptArgument(name="a")])
    whole = describe_server(
        instructions="x", tools=[listed], prompts=[prompt], resource_templates=[template]
    )
    assert (whole.instructions, list(whole.tools), list(whole.prompts)) == ("x", ["t"], ["p"])
    assert whole.prompts == {"p": {"name": "p", "arguments": [{"name": "a"}]}}
    assert whole.resource_templates == {
        "a:{b}": {"uriTemplate": "a:{b}", "name": "r", "mimeType": "a/b"}
    }
    assert compare_servers(whole, whole) == []
    moved = describe_server(
        resource_templates=[types.ResourceTemplate(uri_template="c:{b}", name="s", mime_type="a/b")]
    )
    (renamed,) = compare_servers(describe_server(resource_templates=[template]), moved)
    assert renamed.text == "renamed from 'a:{b}'"


def test_resources_are_compared_but_for_what_changes_with_their_content() -> None:
    def listed(uri: str = "a:b", **members: Any) -> ServerDescription:
        return describe_server(resources=[types.Resource(uri=uri, name="r", **members)])

    def told_of(*two: ServerDescription) -> list[tuple[str, str]]:
        return [(each.kind.value, each.text) for each in compare_servers(*two)]

    modified = types.Annotations(last_modified="2026-01-01T00:00:00Z")
    assert told_of(listed(), listed(size=5, annotations=modified)) == []
    assert told_of(listed(), listed("a:c")) == [("breaking", "renamed from 'a:b'")]
    assert told_of(listed(), ServerDescription()) == [("breaking", "removed")]
    assert told_of(ServerDescription(), listed()) == [("additive", "added")]
    assert told_of(listed(), listed(mime_type="a/b")) == [("breaking", "added")]
    assert told_of(listed(), listed(title="T")) == [("risky", "added")]


def test_a_text_is_one_short_line() -> None:
    (found,) = compare_servers(tool(description="a\u202e\n"), tool(description="b" * 999))
    assert found.text.startswith(r"'a\u202e\n' became 'bbb")
    assert len(found.text) < 500


def test_a_deep_schema_needs_no_deep_stack() -> None:
    one: S = {"description": "a"}
    other: S = {"description": "b"}
    for _ in range(150):
        one, other = {"items": one}, {"items": other}
    assert len(told(tool(inputSchema=one), tool(inputSchema=other))) == 1


def test_examples() -> None:
    assert doctest.testmod(differences).failed == 0


@pytest.mark.parametrize("odd", [5, "x", True, [5], [{}], [{"name": 5}]])
@pytest.mark.parametrize("list", ["tools", "prompts"])
def test_members_of_another_form_break(list: str, odd: Any) -> None:
    fields = {
        "tools": ("annotations", "inputSchema", "outputSchema"),
        "prompts": ("arguments",),
    }
    for field in fields[list]:
        sound: Any = [{"name": "a"}] if list == "prompts" else {"type": "object"}
        one, other = (
            ServerDescription(**{list: cast(Any, {"t": {"name": "t", field: value}})})
            for value in (sound, odd)
        )
        for before, after in ((one, other), (other, one)):
            [difference] = compare_servers(before, after)
            assert difference.kind is DifferenceKind.BREAKING
            assert difference.place == f"/{list}/t/{field}"
        assert compare_servers(other, other) == []
