"""The kit's reading of JSON Schema against a validator, and against its own rows."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from mcpcore_conformance.kit.json_schema import schema_problem, value_problem

NAMES = st.sampled_from(["a", "b", "c"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, 1.0, 2.5])
    | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
KINDS = ["null", "boolean", "object", "array", "number", "string", "integer"]
KIND = st.sampled_from(KINDS)


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(KINDS)
            | st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
            "const": VALUES,
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "minLength": st.integers(0, 2),
            "maximum": st.integers(-2, 2),
            "exclusiveMinimum": st.integers(-2, 2),
            "multipleOf": st.integers(1, 3),
            "pattern": st.sampled_from(["^a", "b$", "ab"]),
            "required": st.lists(NAMES, unique=True, max_size=2),
            "properties": st.dictionaries(NAMES, inner, max_size=2),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b"]), inner, max_size=1),
            "additionalProperties": inner,
            "maxProperties": st.integers(0, 2),
            "items": inner,
            "prefixItems": some,
            "minItems": st.integers(0, 2),
            "uniqueItems": st.booleans(),
            "contains": inner,
            "allOf": some,
            "anyOf": some,
            "oneOf": some,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "$ref": st.sampled_from(["#/$defs/one", "#there"]),
        },
    )


PLAIN: st.SearchStrategy[Any] = st.booleans() | st.builds(dict)
SCHEMAS: st.SearchStrategy[Any] = st.recursive(PLAIN, _schemas, max_leaves=5)


@settings(max_examples=400)
@given(SCHEMAS, st.sampled_from(KINDS), VALUES)
def test_a_value_follows_a_schema_as_the_validator_has_it(
    schema: Any, kind: str, value: Any
) -> None:
    if isinstance(schema, dict):
        here = {"$anchor": "there", "minLength": 1, "type": ["string", "object", "array"]}
        schema = {**schema, "$defs": {"one": {"type": kind}, "two": here}}
    assert not schema_problem(schema)
    good = Draft202012Validator(schema).is_valid(value)
    assert good is not bool(value_problem(value, schema)), value_problem(value, schema)


@pytest.mark.parametrize(
    ("value", "step", "good"),
    [(4, 2, True), (3, 2, False), (4.0, 2, True), (0.5, 1, False), (0.5, 2**1100, True)],
)
def test_multiples(value: float, step: int, good: bool) -> None:
    # what cannot be told without rounding is left alone
    assert (value_problem(value, {"multipleOf": step}) == "") is good


@pytest.mark.parametrize("schema", [{"enum": 5}, {"minLength": "x"}, {"patternProperties": ["a"]}])
@pytest.mark.parametrize("value", ["kit", {"a": 1}])
def test_a_malformed_schema_rules_nothing_out(schema: Any, value: Any) -> None:
    assert value_problem(value, schema) == ""


WRONG: list[tuple[Any, str]] = [
    (None, "neither an object nor a boolean"),
    ({"type": "text"}, ".type is 'text'"),
    ({"type": ["string", None]}, ".type is None"),
    ({"type": []}, ".type is an empty array"),
    ({"properties": []}, ".properties has to be an object"),
    ({"properties": {"a": {"type": 1}}}, ".properties.a.type is 1"),
    ({"required": "a"}, ".required has to be an array"),
    ({"required": ["a", "a"]}, "names a member twice"),
    ({"minLength": -1}, "at least 0"),
    ({"minimum": "1"}, "has to be a number"),
    ({"enum": "a"}, ".enum has to be an array"),
    ({"anyOf": []}, ".anyOf has to be an array with elements"),
    ({"items": {"$ref": 1}}, ".items.$ref has to be a string"),
    ({"$defs": {"a": {"not": 1}}}, ".$defs.a.not is neither"),
]


@pytest.mark.parametrize(("schema", "problem"), WRONG)
def test_what_is_no_schema(schema: Any, problem: str) -> None:
    assert problem in schema_problem(schema)


def test_old_dialects_are_not_judged() -> None:
    draft_07 = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": 1}]}
    assert not schema_problem(draft_07)


def test_references_to_elsewhere_are_let_through() -> None:
    assert not value_problem(1, {"$ref": "https://example.com/schema"})


def test_a_schema_that_refers_to_itself_ends() -> None:
    assert not value_problem(1, {"$ref": "#"})


def test_a_schema_that_branches_without_end_is_given_up() -> None:
    assert not value_problem(1, {"allOf": [{"$ref": "#"}, {"$ref": "#"}]})
