"""The adapter of the jsonschema library: dialects, references, bounds, messages."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from transports.json_schema import MAX_DEPTH, compile_schema

ROOT = Path(__file__).parents[2]
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


@pytest.mark.requirement("basic/index/schema-2020-12")
@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({}, {"a": 1}, []),
        ({"type": "object"}, {}, []),
        ({"type": "object"}, [], [": [] is not of type 'object'"]),
        (
            {"properties": {"user": {"properties": {"age": {"type": "integer"}}}}},
            {"user": {"age": "x"}},
            ["user.age: 'x' is not of type 'integer'"],
        ),
        (
            {"properties": {"a": {"items": {"type": "integer"}}}},
            {"a": [1, "x", 1.0, []]},
            ["a[1]: 'x' is not of type 'integer'", "a[3]: [] is not of type 'integer'"],
        ),
        ({"items": {"minimum": 1}}, [0], ["[0]: 0 is less than the minimum of 1"]),
        (
            {"required": ["a"], "additionalProperties": False},
            {"b": 1},
            [
                ": 'a' is a required property",
                ": Additional properties are not allowed ('b' was unexpected)",
            ],
        ),
        # 2020-12 is the default
        (
            {"prefixItems": [{"type": "integer"}], "items": False},
            [1, 2],
            [": Expected at most 1 item but found 1 extra: 2"],
        ),
        (
            {"$schema": DRAFT_7, "items": [{"type": "integer"}], "additionalItems": False},
            [1, 2],
            [": Additional items are not allowed (2 was unexpected)"],
        ),
        (
            {
                "$schema": DRAFT_7,
                "definitions": {"a": {"$schema": DRAFT_7, "type": "string"}},
                "properties": {"x": {"$ref": "#/definitions/a"}},
            },
            {"x": 1},
            ["x: 1 is not of type 'string'"],
        ),
        # References within the schema
        (
            {"$defs": {"a": {"$anchor": "here", "type": "string"}}, "$ref": "#here"},
            1,
            [": 1 is not of type 'string'"],
        ),
        (
            {
                "$id": "https://example.com/root",
                "$defs": {"a": {"$id": "other", "type": "string"}},
                "items": {"$ref": "other"},
            },
            [1],
            ["[0]: 1 is not of type 'string'"],
        ),
        (
            {"properties": {"next": {"$ref": "#"}}, "additionalProperties": False},
            {"next": {"next": {"x": 1}}},
            ["next.next: Additional properties are not allowed ('x' was unexpected)"],
        ),
        (
            {"$ref": "https://json-schema.org/draft/2020-12/schema"},
            {"type": 5},
            ["type: 5 is not valid under any of the given schemas"],
        ),
        ({"format": "date"}, "never", []),
    ],
)
def test_values(schema: dict[str, Any], value: Any, expected: list[str]) -> None:
    before = json.dumps(schema)
    check = compile_schema(schema)
    assert check(value) == expected
    assert check(value) == expected
    assert json.dumps(schema) == before


DIALECTS = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    DRAFT_7,
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-04/schema",
]


@pytest.mark.requirement("basic/index/schema-2020-12", "basic/index/schema-declared-dialect")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects(dialect: str) -> None:
    schema = {"$schema": dialect, "definitions": {"a": {"type": "string"}}, "items": {"$ref": "#/definitions/a"}}  # fmt: skip # noqa: E501
    check = compile_schema(schema)
    assert check(["x"]) == []
    assert check([1]) == ["[0]: 1 is not of type 'string'"]


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"not": schema}
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
        ({"type": "nothing"}, "not a valid schema: type: 'nothing' is not valid"),
        ({"properties": {"a": {"minimum": "x"}}}, "not a valid schema: properties.a.minimum"),
        ({"$schema": "https://example.com/mine"}, "'https://example.com/mine' is not supported"),
        ({"$schema": 5}, "5 is not supported"),
        ({"$defs": {"a": {"$schema": DRAFT_7}}}, "a schema of one dialect"),
        ({"$ref": "#/$defs/none"}, "'#/\\$defs/none' leads nowhere"),
        ({"$ref": "#none"}, "'#none' leads nowhere"),
        ({"items": {"$ref": "http://127.0.0.1:9/x.json"}}, "references are not fetched"),
        ({"$defs": {"a": {"$ref": "file:///etc/passwd"}}}, "references are not fetched"),
        ({"$dynamicRef": "https://example.com/#x"}, "references are not fetched"),
        (nested(MAX_DEPTH + 1), "nested deeper than 64 levels"),
        ({"properties": {f"a{i}": {} for i in range(10_000)}}, "more than 10000 subschemas"),
    ],
)
def test_schemas_that_are_refused(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        compile_schema(schema)


@pytest.mark.requirement("basic/index/schema-bounds")
def test_bounds_are_settings() -> None:
    assert compile_schema(nested(MAX_DEPTH))({}) is not None
    with pytest.raises(ValueError, match="deeper than 3"):
        compile_schema(nested(4), max_depth=3)
    with pytest.raises(ValueError, match="more than 3"):
        compile_schema(nested(4), max_subschemas=3)
    check = partial(compile_schema, max_steps=10)({"items": {"type": "integer"}})
    assert check([1] * 9) == []
    assert check([1] * 10) == [": validating this takes too much work"]
    assert check([1] * 9) == []


def test_references_cannot_multiply_the_work() -> None:
    steps: dict[str, Any] = {
        f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)
    }
    check = compile_schema({"$defs": {**steps, "a40": False}, "$ref": "#/$defs/a0"})
    assert check(1) == [": validating this takes too much work"]


@pytest.mark.parametrize(
    "pattern",
    [
        "^x-",
        "^[a-z]+$",
        "^[+*{]*$",
        r"^\(\+\*\{\)\*$",
        "^(a|b|c)$",
        "^[]a]{3}$",
        "colou?r",
        "(?:a|b)?",
    ],
)
def test_harmless_patterns_of_others(pattern: str) -> None:
    check = compile_schema({"pattern": pattern}, trusted=False)
    assert check("x" * 2000) == compile_schema({"pattern": pattern})("x" * 2000)
    assert check("x" * 2001) == []
    assert check(5) == []


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a|a)*$",
        "(a|a){9,}$",
        "a*a*$",
        "[^@]+@[^@]+",
        r"(a)\1",
        "(?P<a>x)(?P=a)",
        "a?" * 9 + "a" * 9,
    ],
)
def test_patterns_of_others_that_could_run_away(pattern: str) -> None:
    assert compile_schema({"pattern": pattern})("!") is not None
    with pytest.raises(ValueError, match="could take very long"):
        compile_schema({"properties": {"a": {"pattern": pattern}}}, trusted=False)
    with pytest.raises(ValueError, match="could take very long"):
        compile_schema({"patternProperties": {pattern: {}}}, trusted=False)


def test_names_of_others() -> None:
    schema = {"patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False}
    check = compile_schema(schema, trusted=False)
    assert check({"x-a": 1}) == []
    assert len(check({"x-a": "b", "y": 1})) == 2
    with pytest.raises(ValueError, match="could take very long"):
        compile_schema({"patternProperties": {"a+": {}}}, trusted=False)


@pytest.mark.parametrize("pattern", ["(", "[", "\\p{L}", "*"])
def test_patterns_that_python_does_not_know(pattern: str) -> None:
    schemas: list[dict[str, Any]] = [{"pattern": pattern}, {"patternProperties": {pattern: {}}}]
    for schema in schemas:
        with pytest.raises(ValueError, match="not a valid schema"):
            compile_schema(schema)


def test_steps_are_counted_behind_a_reference_to_the_root() -> None:
    schema = {
        "$schema": DIALECTS[0],
        "properties": {"next": {"$ref": "#"}},
        "items": {"minimum": 0},
    }
    check = compile_schema(schema, max_steps=50)
    assert check({"next": [1] * 5}) == []
    assert check({"next": [1] * 50}) == [": validating this takes too much work"]


def test_a_schema_without_end() -> None:
    (problem,) = compile_schema({"$ref": "#"})(1)
    assert "refers to itself without end" in problem


def test_messages_are_bounded() -> None:
    assert compile_schema({"type": "integer"})("x" * 1000) == [
        ": the value is not of type 'integer'"
    ]
    many = compile_schema({"items": {"type": "integer"}})(["x"] * 1000)
    assert len(many) == 10
    (long,) = compile_schema({"additionalProperties": False})({"x" * 1000: 1})
    assert len(long) == 300


def test_a_missing_extra_is_named() -> None:
    program = "\n".join(
        [
            "import sys",
            "sys.modules['jsonschema'] = None",
            "try:",
            "    import transports.json_schema",
            "except ImportError as error:",
            "    print(error)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "pip install mcpcore[schema]" in done.stdout
