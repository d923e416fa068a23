"""Schemas as they are read: what is checked, what they may refer to; and when values are equal."""

import itertools
import json
from fractions import Fraction
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema.exceptions import SchemaError

from mcpcore_transports.schema import SchemaLimits, compile_schema
from mcpcore_transports.schema.keywords import WORK, WorkCount, canonical, divides
from mcpcore_transports.schema.validation import DIALECTS, Dialect, measure, quiet

ORACLES: dict[str, Any] = {
    "https://json-schema.org/draft/2020-12/schema": jsonschema.Draft202012Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema.Draft201909Validator,
    "http://json-schema.org/draft-07/schema": jsonschema.Draft7Validator,
    "http://json-schema.org/draft-06/schema": jsonschema.Draft6Validator,
    "http://json-schema.org/draft-04/schema": jsonschema.Draft4Validator,
}
each_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


# What keywords may hold: as the meta-schemas say

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 1.5, 2**70, "", "a", "string", "#", "#a", "a b",
    [], ["a"], ["a", "a"], ["string"], ["string", "string"], ["string", "null"], [1], [1, 1],
    [{}], [True], [{}, False], [{"type": "nope"}], [[]],
    {}, {"a": {}}, {"a": True}, {"a": []}, {"a": ["b"]}, {"a": ["b", "b"]}, {"a": [1]}, {"a": 5},
    {"type": "nope"}, {"minLength": -1}, {"a": {"type": "nope"}},
]  # fmt: skip


def is_sound(schema: dict[str, Any]) -> bool:
    try:
        compile_schema(schema)
    except ValueError:
        return False
    return True


@each_dialect
def test_keywords_hold_what_the_meta_schema_says(dialect: Dialect) -> None:
    """Schemas are checked without their subschemas, these apart: it must make no difference."""
    oracle = ORACLES[dialect.uri]
    skipped = {"$schema", "$ref", "$dynamicRef", "$recursiveRef", "pattern", "patternProperties"}
    words = {*oracle.VALIDATORS, *dialect.keywords, "$defs", "if", "prefixItems"} - skipped
    differ = []
    for word, value in itertools.product(sorted(words), VALUES):
        schema = {"$schema": dialect.uri, word: value}
        if word in ("exclusiveMinimum", "exclusiveMaximum") and dialect.alone:
            schema[word[9:].lower()] = 1
        try:
            oracle.check_schema(schema)
            expected = True
        except SchemaError:
            expected = False
        if is_sound(schema) is not expected:
            differ.append((word, value, expected))
    assert differ == []


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"properties": {"a": {"items": {"type": 5}}}}, "properties.a.items.type: "),
        ({"allOf": [{}, {"not": {"minimum": "x"}}]}, "allOf.1.not.minimum: "),
        ({"allOf": [{}, 5]}, r"allOf\[1\]: "),
        ({"$ref": "#/a/b", "a": {"b": {"type": 5}}}, "a.b.type: "),
        ({"$defs": {"x" * 1000: {"type": 5}}}, r"\$defs.x{60,}"),
    ],
)
def test_where_a_schema_is_not_sound(schema: dict[str, Any], path: str) -> None:
    with pytest.raises(ValueError, match=f"^not a valid schema: {path}") as caught:
        compile_schema(schema)
    assert len(str(caught.value)) < 700


@pytest.mark.share(3)
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [{"a": number} for number in range(60_000)]},
        {"$schema": "http://json-schema.org/draft-04/schema#",
         "enum": [{"a": number} for number in range(60_000)]},
        {"required": [f"a{number}" for number in range(60_000)]},
        {"allOf": [True] * 100_000},
        {"dependentRequired": {f"a{number}": [] for number in range(60_000)}},
    ],
)  # fmt: skip
def test_large_schemas_are_checked_in_little_time(schema: dict[str, Any]) -> None:
    assert len(compile_schema(schema)({"a": -1})) <= 1


@each_dialect
def test_only_its_own_meta_schemas_are_published(dialect: Dialect) -> None:
    names = {uri.removesuffix("#") for uri in dialect.published}
    assert dialect.uri in names
    assert not names & (set(DIALECTS) - {dialect.uri})
    assert all("$schema" not in dialect.published[uri].contents for uri in dialect.published)


@each_dialect
@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("http://127.0.0.1:9/x.json", "references are not fetched"),
        ("file:///etc/passwd", "references are not fetched"),
        ("#/definitions/none", "references are not fetched"),
        (5, "not a valid schema: "),
        (None, "not a valid schema: "),
    ],
)
def test_references_that_lead_nowhere(dialect: Dialect, reference: Any, says: str) -> None:
    for schema in ({"$ref": reference}, {"items": {"not": {"$ref": reference}}}):
        with pytest.raises(ValueError, match=says):
            compile_schema({"$schema": dialect.uri, **schema})


EMBEDDED = {
    "$id": "http://example.com/inner",
    "$defs": {"a": {"type": "integer"}},
    "items": {"$ref": "#/$defs/a"},
}


@pytest.mark.parametrize(
    ("schema", "fits", "does_not"),
    [
        ({"not": EMBEDDED}, ["x"], [1]),
        ({"if": EMBEDDED, "then": {"maxItems": 1}}, ["x", "y"], [1, 2]),
        ({"oneOf": [{"minItems": 2}, EMBEDDED]}, [1], [1, 2]),
        ({"contains": EMBEDDED}, [["x"], [1]], [["x"]]),
        ({"$ref": "http://example.com/inner", "$defs": {"b": EMBEDDED}}, [1], ["x"]),
    ],
)
def test_references_start_from_where_they_stand(
    schema: dict[str, Any], fits: Any, does_not: Any
) -> None:
    for root in (schema, {"$id": "http://example.com/root", "$defs": {"a": False}, **schema}):
        check = compile_schema(root)
        assert check(fits) == []
        assert check(does_not) != []


def test_the_schema_is_copied_and_left_alone() -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {"a": False}}
    before = json.dumps(schema)
    check = compile_schema(schema)
    assert json.dumps(schema) == before
    schema["properties"] = {}
    assert check({"a": 1}) == ["a: nothing may be here"]


@pytest.mark.timeout(600)
def test_a_schema_whose_parts_are_shared_is_as_large_as_it_would_be_written() -> None:
    shared: dict[str, Any] = {"type": "string"}
    for _ in range(40):
        shared = {"anyOf": [shared, shared]}
    with pytest.raises(ValueError, match="larger than 1048576 bytes"):
        compile_schema(shared)
    few: dict[str, Any] = {"type": "string"}
    assert compile_schema({"items": few, "contains": few})(["x"]) == []


def test_contained_items_are_evaluated_since_2020() -> None:
    rules = {"contains": {"type": "string"}, "unevaluatedItems": False}
    old = {"$schema": "https://json-schema.org/draft/2019-09/schema", **rules}
    assert compile_schema(rules)(["a", "b"]) == []
    assert compile_schema(old)(["a", "b"]) == [": some items fit no part of the schema"]


# The end of the stack


def called_at(depth: int, check: Any, value: Any) -> list[str]:
    return list(check(value)) if depth == 0 else called_at(depth - 1, check, value)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "schema",
    [
        {"items": {"$ref": "#"}},
        {"items": {"$dynamicRef": "#x"}, "$dynamicAnchor": "x", "unevaluatedItems": False},
        {
            "$schema": "https://json-schema.org/draft/2019-09/schema",
            "$recursiveAnchor": True,
            "items": {"anyOf": [{"$recursiveRef": "#"}]},
        },
    ],
)
def test_wherever_the_stack_ends_there_is_a_verdict(schema: dict[str, Any]) -> None:
    check = compile_schema(schema)
    value: list[Any] = []
    for _ in range(100):
        value = [value]
    found = {str(called_at(depth, check, value)) for depth in range(0, 700, 7)}
    assert found <= {"[]", "[': nested too deeply for this schema']"}
    assert len(found) == 2


@pytest.mark.parametrize("value", [{"a": [1]}, [{}], "x" * 101, "short", 1.5, None, True])
def test_values_that_the_library_quotes_say_little(value: Any) -> None:
    copied = quiet([value, {"a": value}])
    assert copied == [value, {"a": value}]
    assert json.dumps(copied) == json.dumps([value, {"a": value}])
    assert len(repr(copied)) <= 5
    assert len(repr(copied[0])) <= 7


@pytest.mark.parametrize(
    ("value", "size", "depth"),
    [(1, 1, 0), ("abc", 4, 0), ([], 1, 1), ([1, "a"], 4, 1), ({"ab": {"c": None}}, 6, 2)],
)
def test_measure(value: Any, size: int, depth: int) -> None:
    assert measure(value, SchemaLimits(value_size=size, value_depth=depth)) is None
    assert "larger" in (measure(value, SchemaLimits(value_size=size - 1)) or "")
    if depth:
        assert "deeper" in (measure(value, SchemaLimits(value_depth=depth - 1)) or "")


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=6,
)


def same(one: Any, other: Any) -> bool:
    """Equality by the definition, the slow way."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return type(one) is type(other) and bool(one == other)


@given(values, values)
def test_equality(one: Any, other: Any) -> None:
    WORK.set(WorkCount(10_000, {}, {}))
    assert canonical(one) == canonical(json.loads(json.dumps(one)))
    assert (canonical(one) == canonical(other)) is same(one, other)
    assert hash(canonical(one)) is not None


@given(st.integers(1, 10**6), st.integers(-3, 3), st.integers(-(10**6), 10**6), st.integers(-3, 3))
def test_division_is_decimal(divisor: int, by: int, value: int, of: int) -> None:
    written = float(f"{divisor}e{by}"), float(f"{value}e{of}")
    exact = (Fraction(value) * Fraction(10) ** of) / (Fraction(divisor) * Fraction(10) ** by)
    assert divides(*written) is (exact.denominator == 1)
