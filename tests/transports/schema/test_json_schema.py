"""JSON Schema: verdicts and words, what is refused, and that nothing takes long."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mcpcore import BadPattern, SchemaLimits, compile_schema

ROOT = Path(__file__).parents[3]
DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
DRAFT_2019 = "https://json-schema.org/draft/2019-09/schema"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_6 = "http://json-schema.org/draft-06/schema#"
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DIALECTS = [DRAFT_2020, DRAFT_2019, DRAFT_7, DRAFT_6, DRAFT_4]

Schema = dict[str, Any]


def in_dialect(dialect: str, **schema: Any) -> Schema:
    return {"$schema": dialect, **schema}


def nested(depth: int) -> Schema:
    schema: Schema = {}
    for _ in range(depth - 1):
        schema = {"not": schema}
    return schema


TREE = {
    "$id": "https://example.com/tree",
    "$dynamicAnchor": "node",
    "properties": {"data": True, "children": {"items": {"$dynamicRef": "#node"}}},
}
STRICT_TREE = {
    "$id": "https://example.com/strict-tree",
    "$dynamicAnchor": "node",
    "$ref": "tree",
    "unevaluatedProperties": False,
    "$defs": {"tree": TREE},
}
OLD_TREE = in_dialect(
    DRAFT_2019,
    **{
        "$id": "https://example.com/strict-tree",
        "$recursiveAnchor": True,
        "$ref": "tree",
        "unevaluatedProperties": False,
        "$defs": {
            "tree": {
                "$id": "https://example.com/tree",
                "$recursiveAnchor": True,
                "properties": {"children": {"items": {"$recursiveRef": "#"}}},
            }
        },
    },
)
LIST_OF = {
    "$id": "https://example.com/list",
    "items": {"$dynamicRef": "#item"},
    "$defs": {"any": {"$dynamicAnchor": "item"}},
}
EITHER_LIST = {
    "$id": "https://example.com/both",
    "properties": {"words": {"$ref": "words"}, "numbers": {"$ref": "numbers"}},
    "$defs": {
        "list": LIST_OF,
        "words": {
            "$id": "words",
            "$ref": "list",
            "$defs": {"item": {"$dynamicAnchor": "item", "type": "string"}},
        },
        "numbers": {
            "$id": "numbers",
            "$ref": "list",
            "$defs": {"item": {"$dynamicAnchor": "item", "type": "number"}},
        },
    },
}
"""The same resource, entered with two dynamic scopes."""

CASES: list[tuple[str, Schema, Any, list[str]]] = [
    ("empty", {}, {"a": 1}, []),
    # Types
    ("type", {"type": "object"}, [], [": expected object, got an array"]),
    ("types", {"type": ["string", "null"]}, 1.5, [": expected string or null, got 1.5"]),
    ("integer", {"type": "integer"}, 1.0, []),
    ("boolean is no number", {"type": "number"}, True, [": expected number, got true"]),
    ("big", {"type": "integer", "maximum": 10**30}, 10**29, []),
    ("bigger", {"maximum": 10}, 10**40, [": expected at most 10, got 1" + "0" * 40]),
    # Values
    ("enum", {"enum": [1, "a"]}, "b", [': expected one of 1, "a", got "b"']),
    ("enum of nothing", {"enum": []}, "b", [": expected nothing at all"]),
    ("enum equal", {"enum": [{"a": [1]}]}, {"a": [1.0]}, []),
    ("enum unequal", {"enum": [[True]]}, [1], [": expected one of an array, got an array"]),
    ("enum huge", {"enum": list(range(99_999))}, 99_998, []),
    (
        "enum huge, missed",
        {"enum": list(range(99_999))},
        -1,
        [": expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 or 99989 others, got -1"],
    ),
    ("const", {"const": None}, 0, [": expected null, got 0"]),
    ("const equal", {"const": {"a": 1}}, {"a": 1.0}, []),
    ("const unequal", {"const": False}, 0, [": expected false, got 0"]),
    # Numbers
    ("minimum", {"minimum": 1}, 0, [": expected at least 1, got 0"]),
    ("exclusive", {"exclusiveMaximum": 1}, 1, [": expected less than 1, got 1"]),
    (
        "exclusive in draft-04",
        in_dialect(DRAFT_4, minimum=1, exclusiveMinimum=True),
        1,
        [": expected more than 1, got 1"],
    ),
    ("multiple", {"multipleOf": 0.01}, 19.99, []),
    ("small multiple", {"multipleOf": 1e-8}, 12391239123, []),
    ("no multiple", {"multipleOf": 0.3}, 1, [": expected a multiple of 0.3, got 1"]),
    # Strings
    ("length in code points", {"maxLength": 1}, "😀", []),
    ("length", {"minLength": 2}, "é", [": expected at least 2 characters, got 1"]),
    ("pattern", {"pattern": "^a+$"}, "b", [': "b" does not match the pattern "^a+$"']),
    ("format is an annotation", {"format": "date"}, "never", []),
    ("format, in draft-07 too", in_dialect(DRAFT_7, format="email"), "never", []),
    ("content", in_dialect(DRAFT_7, contentEncoding="base64"), "!", []),
    # Arrays
    (
        "items",
        {"properties": {"a": {"items": {"type": "integer"}}}},
        {"a": [1, "x", 1.0, []]},
        ['a[1]: expected integer, got string "x"', "a[3]: expected integer, got an array"],
    ),
    (
        "2020-12 is the default",
        {"prefixItems": [{"type": "integer"}], "items": False},
        [1, 2],
        ["[1]: nothing may be here"],
    ),
    (
        "items by place",
        in_dialect(DRAFT_7, items=[{"type": "integer"}], additionalItems=False),
        [1, 2],
        [": expected at most 1 items, got 2"],
    ),
    (
        "more items",
        in_dialect(DRAFT_7, items=[True], additionalItems={"type": "integer"}),
        [1, "a"],
        ['[1]: expected integer, got string "a"'],
    ),
    ("any items, and no more", in_dialect(DRAFT_7, items=True, additionalItems=False), [1], []),
    ("more than none", in_dialect(DRAFT_6, additionalItems=False), [1], []),
    ("unique", {"uniqueItems": True}, [1, True, "1", [1], [True]], []),
    ("not unique", {"uniqueItems": True}, [{"a": 1}, {"a": 1.0}], [": some items are the same"]),
    (
        "contains",
        {"contains": {"type": "string"}},
        [1],
        [": expected at least 1 of the items to fit what it has to contain"],
    ),
    (
        "contains several",
        {"contains": {"type": "string"}, "minContains": 2, "maxContains": 3},
        ["a", 1],
        [": expected at least 2 and at most 3 of the items to fit what it has to contain"],
    ),
    ("contains none", {"contains": {"type": "string"}, "minContains": 0}, [1], []),
    (
        "unevaluated items",
        {"allOf": [{"prefixItems": [True]}], "unevaluatedItems": False},
        [1, 2],
        [": some items fit no part of the schema"],
    ),
    (
        "contained items are evaluated",
        {"contains": {"type": "string"}, "unevaluatedItems": False},
        ["a", "b"],
        [],
    ),
    (
        "other items are not",
        in_dialect(DRAFT_2019, contains={"type": "string"}, unevaluatedItems=False),
        ["a", 1],
        [": some items fit no part of the schema"],
    ),
    # Objects
    (
        "path",
        {"properties": {"user": {"properties": {"age": {"type": "integer"}}}}},
        {"user": {"age": "x"}},
        ['user.age: expected integer, got string "x"'],
    ),
    (
        "names in paths",
        {"additionalProperties": {"type": "integer"}},
        {"odd name": "", "7": "", "a/b~c": "", "ä": ""},
        [
            '["7"]: expected integer, got string ""',
            '["a/b~c"]: expected integer, got string ""',
            '["odd name"]: expected integer, got string ""',
            '["ä"]: expected integer, got string ""',
        ],
    ),
    (
        "required",
        {"required": ["a", "c"], "additionalProperties": False},
        {"b": 1},
        [': missing "a", "c"', ': unexpected "b"'],
    ),
    (
        "required and there, though unexpected",
        {"properties": {"a": {}}, "required": ["z"], "additionalProperties": False},
        {"z": 1},
        [': unexpected "z"'],
    ),
    (
        "names",
        {"propertyNames": {"pattern": "^[a-z]+$"}},
        {"A": 1},
        [': the name "A": "A" does not match the pattern "^[a-z]+$"'],
    ),
    ("no names", {"propertyNames": False}, {"a": 1}, [': the name "a": nothing may be here']),
    (
        "patterns of names",
        {"patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False},
        {"x-a": "b", "y": 1, "x-c": 2},
        [': unexpected "y"', 'x-a: expected integer, got string "b"'],
    ),
    (
        "two patterns that say the same",
        {"patternProperties": {"a": {"minimum": 1}, "\\u0061": {"maximum": 3}}},
        {"a": 5, "aa": 0},
        ["a: expected at most 3, got 5", "aa: expected at least 1, got 0"],
    ),
    ("false member", {"properties": {"a": False}}, {"a": 1}, ["a: nothing may be here"]),
    (
        "dependent members",
        {"dependentRequired": {"a": ["b"]}},
        {"a": 1},
        [': missing "b", which "a" requires'],
    ),
    (
        "dependent schemas",
        {"dependentSchemas": {"a": {"required": ["c"]}}},
        {"a": 1},
        [': missing "c"'],
    ),
    (
        "dependencies",
        in_dialect(DRAFT_7, dependencies={"a": ["b"], "c": {"required": ["d"]}}),
        {"a": 1, "c": 1},
        [': missing "b", which "a" requires', ': missing "d"'],
    ),
    ("dependencies have gone", {"dependencies": {"a": ["b"]}}, {"a": 1}, []),
    ("few", {"minProperties": 2}, {"a": 1}, [": expected at least 2 members, got 1"]),
    (
        "unevaluated members",
        {
            "allOf": [{"properties": {"a": True}}, {"patternProperties": {"^x": True}}],
            "anyOf": [{"properties": {"b": {"const": 1}}}, {"properties": {"c": {"const": 1}}}],
            "if": {"required": ["d"]},
            "then": {"properties": {"d": True}},
            "dependentSchemas": {"e": {"properties": {"e": True}}},
            "unevaluatedProperties": False,
        },
        {"a": 1, "x1": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1},
        [': unexpected "f"'],
    ),
    (
        "unevaluated members behind a failed branch",
        {
            "anyOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, True],
            "unevaluatedProperties": {"type": "integer"},
        },
        {"a": [], "b": 1},
        [': unexpected "a"'],
    ),
    (
        "unevaluated members of alternatives that both fit",
        {
            "oneOf": [{"properties": {"a": True}}, {"properties": {"b": True}}],
            "unevaluatedProperties": False,
        },
        {"a": 1},
        [": fits more than one of the alternatives", ': unexpected "a"'],
    ),
    # Combinations
    (
        "none of two",
        {"anyOf": [{"type": "integer"}, {"items": {"type": "string"}, "type": "array"}]},
        [1],
        [
            ": fits none of the alternatives (expected integer, got an array; "
            "[0]: expected string, got 1)"
        ],
    ),
    (
        "none of many",
        {"oneOf": [{"const": number} for number in range(5)]},
        7,
        [": fits none of the 5 alternatives"],
    ),
    ("two of two", {"oneOf": [{}, {}]}, 7, [": fits more than one of the alternatives"]),
    ("not", {"not": {"type": "string"}}, "", [": fits what it must not fit"]),
    ("nothing", {"not": True}, "", [": nothing may be here"]),
    ("if", {"if": {"minimum": 5}, "then": {"maximum": 7}, "else": {"minimum": 1}}, 6, []),
    (
        "then",
        {"if": {"minimum": 5}, "then": {"maximum": 7}, "else": {"minimum": 1}},
        8,
        [": expected at most 7, got 8"],
    ),
    (
        "else",
        {"if": {"minimum": 5}, "then": {"maximum": 7}, "else": {"minimum": 1}},
        0,
        [": expected at least 1, got 0"],
    ),
    # References
    (
        "anchor",
        {"$defs": {"a": {"$anchor": "here", "type": "string"}}, "$ref": "#here"},
        1,
        [": expected string, got 1"],
    ),
    (
        "resource",
        {
            "$id": "https://example.com/root",
            "$defs": {"a": {"$id": "other", "type": "string"}},
            "items": {"$ref": "other"},
        },
        [1],
        ["[0]: expected string, got 1"],
    ),
    (
        "urn",
        {
            "$id": "urn:example:root",
            "$defs": {"a": {"$id": "urn:example:a", "$defs": {"b": {"type": "string"}}}},
            "items": {"$ref": "urn:example:a#/$defs/b"},
        },
        [1],
        ["[0]: expected string, got 1"],
    ),
    (
        "pointer with escapes",
        {"$defs": {"a/b~c %": {"type": "string"}}, "$ref": "#/$defs/a~1b~0c%20%25"},
        1,
        [": expected string, got 1"],
    ),
    (
        "place that no keyword knows",
        {"components": {"a": {"items": {"type": "string"}}}, "$ref": "#/components/a"},
        [1],
        ["[0]: expected string, got 1"],
    ),
    ("to true", {"$defs": {"a": True}, "$ref": "#/$defs/a"}, 1, []),
    ("to false", {"$defs": {"a": False}, "$ref": "#/$defs/a"}, 1, [": nothing may be here"]),
    (
        "beside a reference",
        {"$defs": {"a": {"minimum": 1}}, "$ref": "#/$defs/a", "maximum": 3},
        5,
        [": expected at most 3, got 5"],
    ),
    (
        "beside a reference, long ago",
        in_dialect(
            DRAFT_7,
            **{
                "definitions": {"a": {"minimum": 1}},
                "items": {"$ref": "#/definitions/a", "maximum": 3},
            },
        ),
        [5],
        [],
    ),
    (
        "a reference long ago hides what is beside it",
        in_dialect(
            DRAFT_7,
            **{
                "$id": "http://example.com/a/",
                "definitions": {
                    "one": {"$id": "b", "type": "string"},
                    "two": {"$id": "http://example.com/c/", "$ref": "b"},
                    "other": {"$id": "http://example.com/c/b", "type": "number"},
                },
                "items": {"$ref": "#/definitions/two", "allOf": [{"$ref": "#/items"}]},
            },
        ),
        [1],
        ["[0]: expected string, got 1"],
    ),
    (
        "anchor by $id",
        in_dialect(
            DRAFT_7, definitions={"a": {"$id": "#here", "type": "string"}}, items={"$ref": "#here"}
        ),
        [1],
        ["[0]: expected string, got 1"],
    ),
    (
        "recursive",
        {"properties": {"next": {"$ref": "#"}}, "additionalProperties": False},
        {"next": {"next": {"x": 1}}},
        ['next.next: unexpected "x"'],
    ),
    (
        "meta-schema",
        {"$ref": DRAFT_2020},
        {"properties": {"a": {"type": 5}}},
        [
            "properties.a.type: fits none of the alternatives (expected one of "
            '"array", "boolean", "integer", "null", "number", "object", "string", got 5; '
            "expected array, got 5)"
        ],
    ),
    (
        "old meta-schema",
        in_dialect(DRAFT_7, items={"$ref": DRAFT_7}),
        [{"minLength": -1}],
        ["[0].minLength: expected at least 0, got -1"],
    ),
    (
        "a meta-schema's vocabulary",
        {"$ref": "https://json-schema.org/draft/2020-12/meta/validation"},
        {"minLength": -1},
        ["minLength: expected at least 0, got -1"],
    ),
    # Dynamic references
    (
        "dynamic as static",
        {
            "items": {"$dynamicRef": "#here"},
            "$defs": {"a": {"$dynamicAnchor": "here", "type": "string"}},
        },
        [1],
        ["[0]: expected string, got 1"],
    ),
    (
        "dynamic only where it starts as that",
        {
            "$id": "https://example.com/outer",
            "$defs": {
                "a": {"$dynamicAnchor": "here", "type": "string"},
                "b": {
                    "$id": "inner",
                    "items": {"$dynamicRef": "#here"},
                    "$defs": {"c": {"$anchor": "here", "type": "number"}},
                },
            },
            "$ref": "inner",
        },
        ["x"],
        ['[0]: expected number, got string "x"'],
    ),
    ("tree", TREE, {"children": [{"daat": 1}]}, []),
    (
        "strict tree",
        STRICT_TREE,
        {"children": [{"children": [{"daat": 1}]}]},
        ['children[0].children[0]: unexpected "daat"'],
    ),
    (
        "strict tree of 2019-09",
        OLD_TREE,
        {"children": [{"daat": 1}]},
        ['children[0]: unexpected "daat"'],
    ),
    (
        "two scopes",
        EITHER_LIST,
        {"words": ["a", 1], "numbers": [1, "a"]},
        ['numbers[1]: expected number, got string "a"', "words[1]: expected string, got 1"],
    ),
    (
        "$ref and $dynamicRef side by side",
        {
            "$defs": {
                "a": {"$dynamicAnchor": "here", "minimum": 1},
                "b": {"maximum": 3},
            },
            "items": {"$ref": "#/$defs/b", "$dynamicRef": "#here"},
        },
        [0, 2, 4],
        ["[0]: expected at least 1, got 0", "[2]: expected at most 3, got 4"],
    ),
    # Patterns
    ("runs away elsewhere", {"pattern": "(a+)+$"}, "a" * 5000 + "!", None),  # type: ignore[list-item]
    ("no match under not", {"not": {"pattern": "a{2}"}}, "ab", []),
    ("edge of a word", {"pattern": r"\bcat\b"}, "a cat.", []),
    ("property", {"pattern": r"^\p{Lu}\p{L}+$"}, "Österreich", []),
    ("end is the end", {"pattern": "^a$"}, "a\n", None),  # type: ignore[list-item]
    ("digits are ASCII", {"pattern": r"^\d$"}, "٣", None),  # type: ignore[list-item]
    ("surrogate in a pattern", {"pattern": r"^[\uD800-\uDFFF]*$"}, "a", None),  # type: ignore[list-item]
    ("pair of surrogates", {"pattern": r"^\uD83D\uDE00$"}, "😀", []),
]


@pytest.mark.requirement("basic/index/schema-2020-12", "basic/index/schema-declared-dialect")
@pytest.mark.parametrize(("schema", "value", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])  # fmt: skip # noqa: E501
def test_values(schema: Schema, value: Any, expected: list[str] | None) -> None:
    before = json.dumps([schema, value])
    check = compile_schema(schema)
    problems = check(value)
    if expected is None:
        (problem,) = problems
        assert "does not match the pattern" in problem
    else:
        assert problems == expected
    assert check(value) == problems
    assert json.dumps([schema, value]) == before


@pytest.mark.requirement("basic/index/schema-2020-12", "basic/index/schema-declared-dialect")
@pytest.mark.parametrize("dialect", [*DIALECTS, *(name.removesuffix("#") for name in DIALECTS)])
def test_dialects(dialect: str) -> None:
    definitions = {"a": {"type": "string"}, "b": {"$schema": dialect}}
    schema = in_dialect(dialect, definitions=definitions, items={"$ref": "#/definitions/a"})
    check = compile_schema(schema)
    assert check(["x"]) == []
    assert check([1]) == ["[0]: expected string, got 1"]


def chain(size: int, keyword: str, last: Any) -> Schema:
    """Definitions that each refer to the next twice."""
    steps: Schema = {
        f"a{number}": {keyword: [{"$ref": f"#/$defs/a{number + 1}"}] * 2} for number in range(size)
    }
    return {"$defs": {**steps, f"a{size}": last}, "$ref": "#/$defs/a0"}


def folded(size: int) -> Schema:
    schema: Schema = {"properties": {"z": {}}}
    for _ in range(size):
        schema = {"anyOf": [schema], "unevaluatedProperties": {}}
    return schema


@pytest.mark.requirement(
    "basic/index/schema-dialect-unsupported",
    "basic/index/schema-valid",
    "basic/index/ref-no-network",
    "basic/index/ref-fetch-opt-in",
    "basic/index/ref-unresolved",
    "basic/index/schema-bounds",
    "server/tools/refs-followed",
)
@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "nothing"}, "not a valid schema: type: fits none of the alternatives"),
        ({"type": ["string", "string"]}, "schema: type: fits none .*; some items are the same"),
        (
            {"properties": {"a": {"minimum": "x"}}},
            "not a valid schema: properties.a.minimum: expected number, got string",
        ),
        ({"items": [{}]}, "not a valid schema: items: expected object or boolean, got an array"),
        ({"anyOf": []}, "not a valid schema: anyOf: expected at least 1 items, got 0"),
        (
            {"properties": {"a": 5}},
            "not a valid schema: properties.a: expected object or boolean, got 5",
        ),
        ({"required": ["a", "a"]}, "not a valid schema: required: some items are the same"),
        ({"minLength": -1}, "not a valid schema: minLength: expected at least 0, got -1"),
        ({"multipleOf": 0}, "not a valid schema: multipleOf: expected more than 0, got 0"),
        ({"$anchor": "a b"}, 'not a valid schema: \\$anchor: "a b" does not match'),
        ({"$id": "a#b"}, 'not a valid schema: \\$id: "a#b" does not match'),
        (in_dialect(DRAFT_4, items=True), "not a valid schema: items: fits none"),
        (
            in_dialect(DRAFT_4, required=[]),
            "not a valid schema: required: expected at least 1 items",
        ),
        (in_dialect(DRAFT_4, exclusiveMinimum=1), "exclusiveMinimum: expected boolean, got 1"),
        ({"default": object()}, "the schema has no JSON form"),
        # Dialects
        (in_dialect("https://example.com/mine"), "'https://example.com/mine' is not supported"),
        (in_dialect("http://json-schema.org/schema#"), "is not supported; supported are: https"),
        ({"$schema": 5}, "5 is not supported"),
        ({"$defs": {"a": {"$schema": DRAFT_7}}}, "a schema of one dialect"),
        ({"$ref": DRAFT_7}, "leads nowhere within the schema, and references are not fetched"),
        # References
        ({"$ref": "#/$defs/none"}, "'#/\\$defs/none' leads nowhere"),
        ({"$ref": "#none"}, "'#none' leads nowhere"),
        ({"$ref": "#/required/0", "required": ["a"]}, "'#/required/0' leads nowhere"),
        ({"$ref": "other"}, "'other' leads nowhere"),
        ({"items": {"$ref": "http://127.0.0.1:9/x.json"}}, "references are not fetched"),
        ({"items": {"$ref": "https://example.com/x"}}, "references are not fetched"),
        ({"$defs": {"a": {"$ref": "file:///etc/passwd"}}}, "references are not fetched"),
        ({"$id": "file:///etc/", "$ref": "passwd"}, "references are not fetched"),
        ({"$id": "http://127.0.0.1:9/a", "$ref": "b"}, "references are not fetched"),
        ({"$dynamicRef": "https://example.com/#x"}, "references are not fetched"),
        ({"$ref": "https://json-schema.org/draft/2020-12/meta/none"}, "are not fetched"),
        ({"$id": "http://a/", "$ref": "http://[::1"}, "'http://\\[::1' is no URI reference"),
        ({"$defs": {"a": {"$id": "x"}, "b": {"$id": "x"}}}, "have the identifier 'x'"),
        # References without end
        ({"$ref": "#"}, "refers to itself without end"),
        ({"not": {"$ref": "#"}}, "refers to itself without end"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "refers to itself without end"),
        (
            {
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
                "$ref": "#/$defs/a",
            },
            "refers to itself without end",
        ),
        # Bounds
        (nested(65), "nested deeper than 64 levels"),
        (nested(10_000), "nested too deeply|no JSON form"),
        ({"const": json.loads("[" * 900 + "]" * 900)}, "nested too deeply"),
        ({"properties": {f"a{i}": {} for i in range(10_000)}}, "more than 10000 subschemas"),
        ({"description": "x" * 1024 * 1024}, "larger than 1048576 bytes"),
        # Patterns
        ({"pattern": "x" * 1001}, "'x{60}' is not supported: it is longer than 1000 characters"),
        ({"pattern": "(x{1000}){1000}"}, "RE2 refuses it \\(invalid repetition size"),
        ({"pattern": "("}, "is not supported: a group that does not end"),
        ({"pattern": r"(a)\1"}, "a backreference, which cannot be matched in linear time"),
        ({"pattern": r"^(?!a)[a-z]*$"}, "lookaround, which cannot be matched in linear time"),
        ({"properties": {"a": {"pattern": "*"}}}, "a quantifier behind nothing"),
        ({"patternProperties": {"(?=a)": {}}}, "lookaround, which cannot be matched in linear"),
        # A place that only a reference makes a schema is checked as well.
        ({"$ref": "#/x", "x": {"pattern": r"(a)\1"}}, "a backreference"),
        ({"$ref": "#/x", "x": {"items": {"type": 5}}}, "not a valid schema"),
    ],
)
def test_schemas_that_are_refused(schema: Schema, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        compile_schema(schema)
    assert len(str(caught.value)) < 600


@pytest.mark.requirement("basic/index/ref-no-network", "basic/index/ref-fetch-guarded")
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$schema"])
def test_nobody_is_asked_for_a_schema(keyword: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"
        with pytest.raises(ValueError, match=r"not (fetched|supported)"):
            compile_schema({keyword: url} if keyword == "$schema" else {"items": {keyword: url}})
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.requirement("basic/index/schema-bounds")
@pytest.mark.parametrize(
    ("limits", "fits", "does_not", "says"),
    [
        ({"schema_depth": 3}, nested(3), nested(4), "deeper than 3 levels"),
        ({"subschemas": 3}, nested(3), nested(4), "more than 3 subschemas"),
        ({"schema_size": 20}, {"title": "12345678"}, {"title": "123456789"}, "larger than 20"),
        ({"pattern_length": 3}, {"pattern": "abc"}, {"pattern": "abcd"}, "longer than 3"),
        (
            {"pattern_memory": 64 * 1024},
            {"properties": {"a": {"pattern": "^[a-z]+$"}, "b": {"pattern": "^b"}}},
            {"pattern": r"\p{L}{2}"},
            "pattern too large",
        ),
    ],
)
def test_limits_of_schemas(
    limits: dict[str, int], fits: Schema, does_not: Schema, says: str
) -> None:
    bounds = SchemaLimits(**limits)
    compile_schema(fits, limits=bounds)
    with pytest.raises(ValueError, match=says):
        compile_schema(does_not, limits=bounds)


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.requirement("basic/index/schema-bounds")
@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        ({"items": {"$ref": "#"}}, deep(129), [": nested deeper than 128 levels"]),
        ({"items": {"$ref": "#"}}, deep(100_000), [": nested deeper than 128 levels"]),
        ({}, deep(100_000), [": nested deeper than 128 levels"]),
        ({}, "x" * 5_000_000, [": larger than 4194304 members, items and characters together"]),
        ({}, [0] * 5_000_000, [": larger than 4194304 members, items and characters together"]),
        (
            {},
            {"x" * 5_000_000: 1},
            [": larger than 4194304 members, items and characters together"],
        ),
    ],
)
def test_limits_of_values(schema: Schema, value: Any, says: list[str]) -> None:
    assert compile_schema(schema)(value) == says


def test_values_at_the_limits() -> None:
    check = compile_schema({"items": {"$ref": "#"}})
    assert check(deep(128)) == []
    limits = SchemaLimits(value_depth=2, value_size=6)
    check = compile_schema({}, limits=limits)
    assert check([[1]]) == []
    assert check([[[]]]) == [": nested deeper than 2 levels"]
    assert check([1, 2, 3, 4, 5]) == []
    assert check({"abc": "de"})[0].startswith(": larger than 6 members")


MANY_STATES = "(x{0,30}y{0,30}[xyz]{0,30}){0,30}"
SHUFFLED = "".join("abcdefgh"[number * number * 7 // 13 % 8] for number in range(3000))
"""The same states hardly ever come again."""
TOO_MUCH = [": validating this takes too much work"]


@pytest.mark.requirement("basic/index/schema-bounds")
def test_work_is_a_setting() -> None:
    check = compile_schema({"items": {"type": "integer"}}, limits=SchemaLimits(steps=60))
    assert check([1] * 10) == []
    assert check([1] * 60) == TOO_MUCH
    assert check([1] * 10) == []


def grown(schema: Schema, depth: int) -> tuple[Schema, Any]:
    value: Any = 6
    for _ in range(depth):
        value = {"n": value}
    return schema, value


EXPLODES: list[tuple[Schema, Any, bool]] = [
    # Each level multiplies what is evaluated on the next.
    (
        *grown({"anyOf": [{"properties": {"n": {"$ref": "#"}}, "minimum": x} for x in (1, 2)]}, 60),
        True,
    ),
    (
        *grown({"oneOf": [{"properties": {"n": {"$ref": "#"}}, "minimum": x} for x in (1, 9)]}, 60),
        False,
    ),
    # Long values against many alternatives, or many choices.
    ({"items": {"anyOf": [{"const": n} for n in range(2000)]}}, list(range(-9000, 0)), False),
    ({"anyOf": [{"items": {"minimum": n}} for n in range(1000)]}, [-1] * 9000, False),
    ({"items": {"enum": [{"a": [n]} for n in range(20_000)]}}, [{"a": [-1]}] * 20_000, False),
    # Patterns, of which there are many, or that have many states at the same time.
    (
        {"patternProperties": {f"(a|b)*{n}": False for n in range(1000)}},
        {"ab" * 100 + f"{n}x": 1 for n in range(1000)},
        False,
    ),
    ({"items": {"pattern": f"^{MANY_STATES}$"}}, ["xyz" * 5000 + "!"] * 50, False),
    # Under not, what is given up must not become a verdict.
    ({"items": {"not": {"pattern": f"^{MANY_STATES}!$"}}}, ["xyz" * 5000 + "!"] * 50, False),
    ({"items": {"not": {"pattern": f"{MANY_STATES}!$"}}}, ["xyz" * 2000] * 50, True),
    ({"not": {"pattern": "(.{0,60}[a-z]){0,16}!$"}}, SHUFFLED + "!", False),
    ({"not": {"not": {"pattern": "(.{0,60}[a-z]){0,16}!$"}}}, SHUFFLED, False),
    # References that lead to twice as many, and members that are looked at again and again.
    (chain(40, "anyOf", {}), 1, True),
    (chain(40, "allOf", {}), 1, True),
    (chain(40, "oneOf", {}), 1, False),
    (folded(30), {"z": 1}, True),
]
STOPPED = {1, 3, 6, 12, 13}
"""Those whose work has no bound that could be afforded."""
FEWER = 20_000
"""Steps after which those are stopped: with those that there are by default, seconds later."""


@pytest.mark.requirement("basic/index/schema-bounds")
@pytest.mark.parametrize("number", range(len(EXPLODES)))
def test_the_verdict_is_right_or_refused(number: int) -> None:
    schema, value, valid = EXPLODES[number]
    limits = SchemaLimits(steps=FEWER) if number in STOPPED else SchemaLimits()
    problems = compile_schema(schema, limits=limits)(value)
    if number in STOPPED:
        assert problems == TOO_MUCH
    else:
        assert problems == TOO_MUCH or (not problems) is valid


@pytest.mark.parametrize(
    "schema",
    [
        # The loop is closed by the dynamic scope, which only a value brings about.
        {"$dynamicAnchor": "x", "anyOf": [{"$dynamicRef": "#x"}]},
        in_dialect(DRAFT_2019, **{"$recursiveAnchor": True, "not": {"$recursiveRef": "#"}}),
    ],
)
def test_references_without_end_that_only_a_value_shows(schema: Schema) -> None:
    assert compile_schema(schema)(1) == [": nested too deeply for this schema"]


def test_steps_are_counted_everywhere() -> None:
    """What is done for one keyword is never more than what is counted."""
    limits = SchemaLimits(steps=2_000)
    ten = {f"m{number}": number for number in range(2_100)}
    rows: list[tuple[Schema, Any]] = [
        ({"items": {}}, [0] * 2_100),
        ({"items": {"type": "integer"}}, [0] * 2_100),
        ({"contains": {"const": 1}}, [0] * 2_100),
        ({"uniqueItems": True}, list(range(2_100))),
        ({"additionalProperties": {}}, ten),
        ({"patternProperties": {"^x": {}}}, ten),
        ({"propertyNames": {}}, ten),
        ({"unevaluatedProperties": {}}, ten),
        ({"unevaluatedItems": {"type": "integer"}}, [0] * 2_100),
        ({"allOf": [{}] * 1_000, "unevaluatedProperties": {}}, {f"m{n}": n for n in range(100)}),
        ({"allOf": [{"minimum": 0}] * 2_100}, 1),
        ({"anyOf": [{"minimum": 9}] * 2_100}, 1),
        ({"const": [0] * 40_000}, [0] * 40_000),
        ({"enum": [[0] * 40_000]}, [0] * 40_000),
        ({"enum": [[number] for number in range(40_000)]}, 1),
        ({"required": [f"m{number}" for number in range(40_000)]}, {}),
        ({"pattern": "^a*$"}, "a" * 300_000),
    ]
    for schema, value in rows:
        assert compile_schema(schema, limits=limits)(value) == TOO_MUCH, str(schema)[:80]


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "^(a|a)*$", "(a|aa)+$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"],
)
def test_patterns_cannot_run_away(pattern: str) -> None:
    check = compile_schema({"items": {"pattern": pattern}})
    (problem,) = check(["a" * 50_000 + "!"])
    assert problem.startswith("[0]: a string of 50001 characters does not match the pattern")


def test_costly_equality() -> None:
    check = compile_schema({"uniqueItems": True})
    many = [{"a": [number]} for number in range(20_000)]
    assert check(many) == []
    assert check([*many, {"a": [7.0]}]) == [": some items are the same"]


def test_messages_are_bounded() -> None:
    huge = "x" * 1_000_000
    check = compile_schema({"type": "integer"})
    assert check(huge) == [": expected integer, got a string of 1000000 characters"]
    assert len(compile_schema({"items": {"type": "integer"}})(["x"] * 1000)) == 10
    (long,) = compile_schema({"additionalProperties": False})({"x" * 1000: 1})
    assert len(long) <= 300
    (long,) = compile_schema({"additionalProperties": {"type": "string"}})({"x" * 1000: 1})
    assert long == f'["{"x" * 60}..."]: expected string, got 1'
    # A long value that fits none of many alternatives is quoted by none of them.
    check = compile_schema({"anyOf": [{"type": "integer", "minimum": n} for n in range(500)]})
    (problem,) = check({"a": huge, "b": [huge]})
    assert problem.startswith(": ")
    assert len(problem) <= 300


def test_problems_of_large_values_are_found_as_well() -> None:
    check = compile_schema({"items": {"type": "integer"}})
    assert check([*([1] * 30_000), "x"]) == ['[30000]: expected integer, got string "x"']


def test_what_is_no_json() -> None:
    check = compile_schema({"type": "string", "pattern": "a"})
    assert len(check("\ud800")) == 1


def test_a_schema_can_be_used_by_several_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    check = compile_schema({"items": {"pattern": "^a[a-z]*$"}})
    value = ["a" * 500] * 20 + ["b"]
    with ThreadPoolExecutor(8) as pool:
        results = set(map(tuple, pool.map(check, [value] * 40)))
    assert results == {('[20]: "b" does not match the pattern "^a[a-z]*$"',)}


# What is installed

_MISSING = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
try:
    from mcpcore_transports.schema import compile_schema
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("missing", [["jsonschema"], ["re2"], ["jsonschema", "re2"]])
def test_without_the_extra(missing: list[str]) -> None:
    program = _MISSING.format(missing=missing)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "need the extra `schema`: pip install 'mcpcore[schema]'" in done.stdout


def test_a_pattern_is_refused_by_an_error_of_its_own() -> None:
    with pytest.raises(BadPattern, match=r"the pattern 'a\(\?=b\)' is not supported: lookaround"):
        compile_schema({"items": {"pattern": "a(?=b)"}})


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_part_of_a_schema_gets_away_from_our_keywords(dialect: str) -> None:
    """The library takes another class of validators for a part that names its dialect."""
    inner = in_dialect(dialect, pattern="^(a|aa)+$")
    schema = in_dialect(dialect, definitions={"a": inner}, items={"$ref": "#/definitions/a"})
    assert compile_schema(schema)(["a" * 2_000]) == []
    (problem,) = compile_schema(schema)(["a" * 2_000 + "!"])
    assert problem.startswith("[0]: a string of 2001 characters does not match")
    meta = in_dialect(dialect, items={"$ref": dialect.removesuffix("#")})
    assert compile_schema(meta)([{"minLength": -1}]) != []
