"""The rules of ``x-mcp-header``, and the walk over a schema's subschemas."""

from typing import Any

import pytest

from mcpcore.spec.json_schema import (
    SCHEMA,
    SCHEMA_LIST,
    SCHEMA_MAP,
    header_params,
    subschemas,
    walk,
)

MARK = {"type": "string", "x-mcp-header": "Region"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {}),
        ({"properties": {"a": MARK}}, {"Region": ("a",)}),
        (
            {
                "properties": {
                    "z": {"type": "integer", "x-mcp-header": "Z"},
                    "a": {"properties": {"b": {"type": "boolean", "x-mcp-header": "a.b"}}},
                }
            },
            {"Z": ("z",), "a.b": ("a", "b")},
        ),
        # A property that is called like a keyword is no keyword.
        ({"properties": {"items": MARK}}, {"Region": ("items",)}),
        # What is no schema holds no annotation.
        ({"properties": {"a": {"enum": [MARK], "default": MARK, "type": "string"}}}, {}),
        ({"properties": {"a": True}, "required": ["a"]}, {}),
    ],
)
def test_mirrored_arguments(schema: dict[str, Any], expected: dict[str, tuple[str, ...]]) -> None:
    found = header_params(schema)
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.requirement(
    "basic/transports/streamable-http/param-name-not-empty",
    "basic/transports/streamable-http/param-name-token",
    "basic/transports/streamable-http/param-name-no-controls",
    "basic/transports/streamable-http/param-name-unique",
    "basic/transports/streamable-http/param-type",
    "basic/transports/streamable-http/param-reachable",
)
@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (MARK, "the root"),
        ({"items": MARK}, "'items': only a property"),
        ({"properties": {"a": {"items": {"properties": {"b": MARK}}}}}, "'a.items.b': only"),
        ({"allOf": [{"properties": {"a": MARK}}]}, "only a property"),
        ({"$defs": {"a": MARK}}, "only a property"),
        ({"properties": {"a": MARK | {"x-mcp-header": "a b"}}}, "no header name"),
        ({"properties": {"a": MARK | {"x-mcp-header": ""}}}, "no header name"),
        ({"properties": {"a": MARK | {"x-mcp-header": 5}}}, "no header name"),
        ({"properties": {"a": MARK | {"type": "number"}}}, "not 'number'"),
        ({"properties": {"a": MARK | {"type": ["string"]}}}, "the type must be"),
        ({"properties": {"a": {"x-mcp-header": "A"}}}, "not None"),
        (
            {"properties": {"a": MARK, "b": MARK | {"x-mcp-header": "REGION"}}},
            "more than once",
        ),
    ],
)
def test_broken_rules(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        header_params(schema)


def test_a_deep_schema_needs_no_stack() -> None:
    schema: dict[str, Any] = {"type": "string", "x-mcp-header": "Deep"}
    for _ in range(5000):
        schema = {"properties": {"a": schema}}
    assert header_params(schema) == {"Deep": ("a",) * 5000}
    assert sum(1 for _ in walk(schema)) == 5001


@pytest.mark.requirement("basic/transports/streamable-http/param-reachable")
def test_every_keyword_with_subschemas_is_walked() -> None:
    leaf = {"title": "leaf"}
    for keyword in SCHEMA:
        assert list(subschemas({keyword: leaf})) == [((keyword,), leaf)]
    for keyword in SCHEMA_LIST:
        assert list(subschemas({keyword: [True, leaf]})) == [((keyword, "1"), leaf)]
    for keyword in SCHEMA_MAP:
        assert list(subschemas({keyword: {"x": leaf, "y": ["z"]}})) == [((keyword, "x"), leaf)]
    assert list(subschemas({"enum": [leaf], "const": leaf, "default": leaf})) == []
