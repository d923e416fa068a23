"""Elicitation forms: what counts as a valid answer, and defaults."""

from typing import Any

import pytest

from transports.forms import fill_defaults, form_problems


@pytest.mark.parametrize(
    ("rules", "value", "problem"),
    [
        ({"type": "string"}, "x", None),
        ({"type": "string"}, 12345, "f: expected a string, got a number"),
        ({"type": "string"}, True, "f: expected a string, got a boolean"),
        ({"type": "string"}, {}, "f: expected a string, got an object"),
        ({"type": "string", "minLength": 3}, "ab", "f: expected at least 3 characters"),
        ({"type": "string", "maxLength": 3}, "abcd", "f: expected at most 3 characters"),
        ({"type": "string", "enum": ["a", "b"]}, "a", None),
        ({"type": "string", "enum": ["a", "b"]}, "c", "f: expected one of a, b"),
        ({"type": "string", "oneOf": [{"const": "a", "title": "A"}]}, "A", "f: expected one of a"),
        ({"type": "string", "format": "email"}, "a@b.c", None),
        ({"type": "string", "format": "email"}, "ab", "f: expected the format email"),
        ({"type": "string", "format": "uri"}, "x:y", None),
        ({"type": "string", "format": "uri"}, "y", "f: expected the format uri"),
        ({"type": "string", "format": "date"}, "2026-07-28", None),
        ({"type": "string", "format": "date"}, "28.7.2026", "f: expected the format date"),
        ({"type": "string", "format": "date-time"}, "2026-07-28T10:00:00+00:00", None),
        ({"type": "string", "format": "date-time"}, "soon", "f: expected the format date-time"),
        ({"type": "integer"}, 3, None),
        ({"type": "integer"}, 3.0, None),
        ({"type": "integer"}, 3.5, "f: expected an integer, got a fraction"),
        ({"type": "integer"}, True, "f: expected an integer, got a boolean"),
        ({"type": "number"}, 3.5, None),
        ({"type": "number"}, "3.5", "f: expected a number, got a string"),
        ({"type": "number", "minimum": 2}, 1, "f: expected at least 2"),
        ({"type": "number", "maximum": 2}, 3, "f: expected at most 2"),
        ({"type": "boolean"}, False, None),
        ({"type": "boolean"}, 0, "f: expected a boolean, got a number"),
        ({"type": "array", "items": {"type": "string", "enum": ["a"]}}, ["a"], None),
        ({"type": "array", "items": {"enum": ["a"]}}, ["b"], "f: expected one of a"),
        ({"type": "array", "items": {"anyOf": [{"const": "a"}]}}, ["b"], "f: expected one of a"),
        ({"type": "array", "minItems": 2}, ["a"], "f: expected at least 2 choices"),
        ({"type": "array", "maxItems": 1}, ["a", "b"], "f: expected at most 1 choices"),
        ({"type": "array"}, "a", "f: expected an array, got a string"),
        ({"type": "array"}, [1], "f: expected a string, got a number"),
    ],
)
def test_values(rules: dict[str, Any], value: Any, problem: str | None) -> None:
    schema = {"type": "object", "properties": {"f": rules}}
    assert form_problems(schema, {"f": value, "unknown": 1}) == ([problem] if problem else [])


def test_required_fields() -> None:
    schema = {"properties": {"a": {"type": "string"}, "b": {}}, "required": ["a", "b"]}
    assert form_problems(schema, {"a": None}) == ["a: missing", "b: missing"]
    assert form_problems(schema, {"a": "x", "b": "y"}) == []


@pytest.mark.requirement("client/elicitation/defaults-filled")
def test_defaults_fill_what_was_left_out() -> None:
    schema = {
        "properties": {
            "name": {"type": "string", "default": "John Doe"},
            "verified": {"type": "boolean", "default": False},
            "age": {"type": "integer"},
        }
    }
    assert fill_defaults(schema, {"name": "Eve"}) == {"name": "Eve", "verified": False}
