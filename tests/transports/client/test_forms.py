"""Elicitation forms: what counts as a valid answer, and defaults."""

import sys
from enum import Enum
from typing import Annotated, Any, Literal, assert_type

import msgspec
import pytest
from msgspec import Meta, Raw, Struct

from mcpcore import Context
from mcpcore.errors import InvalidValue, Unsayable, ValidatorMissing
from mcpcore.spec.revisions import BY_NAME, LATEST, REVISIONS
from mcpcore_transports.server.contents import (
    _matcher,
    check_form,
    fill_defaults,
    form_for,
    form_problems,
)
from mcpcore_transports.server.elicitation import Elicit
from tests.spec.oracle import definitions, needs_schemas

TITLED = {"const": "a", "title": "A"}


def answer(**content: Any) -> Raw:
    return Raw(msgspec.json.encode({"action": "accept", "content": content}))


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
        ({"type": "string", "oneOf": [TITLED]}, "A", "f: expected one of a"),
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
        ({"type": "array", "items": {"anyOf": [TITLED]}}, ["b"], "f: expected one of a"),
        ({"type": "array", "minItems": 2}, ["a"], "f: expected at least 2 choices"),
        ({"type": "array", "maxItems": 1}, ["a", "b"], "f: expected at most 1 choices"),
        ({"type": "array"}, "a", "f: expected an array, got a string"),
        ({"type": "array"}, [1], "f: expected a string, got a number"),
        # Rules that no form may have say nothing.
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1, None),
        ({"type": "string", "minLength": "many"}, "x", None),
        ("string", 1, None),
    ],
)
def test_values(rules: Any, value: Any, problem: str | None) -> None:
    schema = {"type": "object", "properties": {"f": rules}}
    assert form_problems(schema, {"f": value, "unknown": 1}) == ([problem] if problem else [])


def test_required_fields() -> None:
    schema = {"properties": {"a": {"type": "string"}, "b": {}}, "required": ["a", "b"]}
    assert form_problems(schema, {"a": None}) == ["a: missing", "b: missing"]
    assert form_problems(schema, {"a": "x", "b": "y"}) == []


@pytest.mark.parametrize(
    ("format", "right", "wrong"),
    [
        ("date", ["2028-02-29"], ["2026-02-29", "20260728", "2026-W31-2", "2026-07-28T10:00:00Z"]),
        (
            "date-time",
            ["2026-07-28t10:00:00.123456789z", "2016-12-31T23:59:60-05:30"],
            ["2026-07-28", "20260728T100000Z", "2026-07-28T10:00:00", "2026-07-28T24:00:00Z"],
        ),
    ],
)
def test_times_are_those_of_rfc_3339(format: str, right: list[str], wrong: list[str]) -> None:
    schema = form(f={"type": "string", "format": format})
    accepted = [text for text in right + wrong if not form_problems(schema, {"f": text})]
    assert accepted == right


@pytest.mark.requirement("client/elicitation/defaults-filled")
def test_defaults_fill_what_was_left_out() -> None:
    schema = {
        "properties": {
            "name": {"type": "string", "default": "John Doe"},
            "verified": {"type": "boolean", "default": False},
            "age": {"type": "integer"},
            # What is no default, as no answer may hold it.
            "empty": {"type": "string", "default": None},
            "nested": {"type": "string", "default": {"a": 1}},
            "other": {"type": "string", "default": 5},
            "short": {"type": "string", "default": "", "minLength": 1},
        }
    }
    assert fill_defaults(schema, {"name": "Eve"}) == {"name": "Eve", "verified": False}


def form(*required: str, **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(required)}


RICH = form(
    "name",
    name={"type": "string", "title": "Name", "default": "Ada", "minLength": 1},
    age={"type": "integer", "default": 1},
    ok={"type": "boolean", "default": True},
    plain={"type": "string", "enum": ["a", "b"], "default": "a"},
    titled={"type": "string", "oneOf": [TITLED, {"const": "b", "title": "B"}]},
    older={"type": "string", "enum": ["a"], "enumNames": ["A"]},
)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, '"type": "object"'),
        ({"type": "object"}, '"properties"'),
        (form(a={"type": "object"}), "field 'a' of the form: Invalid enum value"),
        (form(a={}), "field 'a' of the form: .*missing required field `type`"),
        (form(a={"type": "string", "format": "uuid"}), "field 'a' of the form: Invalid enum"),
        (form(a={"type": "array"}), "a list holds choices only"),
        (form(a={"type": "array", "items": {"type": "string"}}), "a list holds choices only"),
        (form(a={"type": "array", "items": {"type": "integer"}}), "field 'a' of the form"),
        (form("b", a={"type": "string"}), "required field 'b'"),
    ],
)
def test_schemas_that_are_no_form(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_form(schema)
    with pytest.raises(ValueError, match=message):
        Elicit("?", schema)


class Tea(Enum):
    GREEN = "green"
    BLACK = "black"


class Maybe(Struct):
    n: int | None
    s: str | None = "s"


@pytest.mark.parametrize(
    ("type", "rules", "given", "value"),
    [
        (str, {"type": "string"}, "x", "x"),
        (int, {"type": "integer"}, 0, 0),
        (float, {"type": "number"}, 2, 2.0),
        (bool, {"type": "boolean"}, False, False),
        (Literal["b", "a"], {"type": "string", "enum": ["a", "b"]}, "b", "b"),
        (Tea, {"type": "string", "enum": ["black", "green"]}, "green", Tea.GREEN),
        (
            list[Literal["a", "b"]],
            {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
            ["a"],
            ["a"],
        ),
        (
            Annotated[int, Meta(ge=1, title="Days")],
            {"type": "integer", "title": "Days", "minimum": 1},
            1,
            1,
        ),
        (
            Annotated[str, Meta(pattern="^a+$")],
            {"type": "string", "pattern": "^a+$"},
            "a",
            "a",
        ),
    ],
)
def test_one_value_alone(type: Any, rules: Any, given: Any, value: Any) -> None:
    question: Elicit[Any] = Elicit("?", type)
    assert question.schema == form("value", value=rules)
    accepted = question.parse(answer(value=given))
    assert (accepted.content, accepted.data) == (value, value)
    assert question.parse(Raw(b'{"action": "decline"}')).content is None
    with pytest.raises(InvalidValue, match=r"form\.value: Missing required field"):
        question.parse(answer())


@pytest.mark.parametrize("type", [list[int], Literal[1, 2], dict[str, int], int | str, object])
def test_values_that_no_form_can_ask_for(type: Any) -> None:
    with pytest.raises(TypeError, match="a form "):
        Elicit("?", type)


def test_what_may_be_null_need_not_be_filled_in() -> None:
    assert Elicit("?", Maybe).parse(answer()).content == Maybe(None, "s")
    assert Elicit("?", Maybe).parse(answer(n=3, s="t")).content == Maybe(3, "t")
    alone = Elicit("?", int | None)
    assert_type(alone, Elicit[int | None])
    assert alone.parse(answer()).content is None


async def types_are_known(context: Context) -> None:
    """Not run, but checked."""
    assert_type((await context.elicit("?", int)).content, int | None)
    choice = await context.elicit("?", Literal["a", "b"])
    assert_type(choice.content, Literal["a", "b"] | None)
    assert_type((await context.elicit("?", list[Tea])).content, list[Tea] | None)


def test_older_revisions_get_older_forms() -> None:
    check_form(RICH)
    assert form_for(RICH, LATEST) is RICH
    assert form_for(RICH, BY_NAME["2025-06-18"]) == form(
        "name",
        name={"type": "string", "title": "Name", "minLength": 1},
        age={"type": "integer"},
        ok={"type": "boolean", "default": True},
        plain={"type": "string", "enum": ["a", "b"]},
        titled={"type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"]},
        older={"type": "string", "enum": ["a"], "enumNames": ["A"]},
    )


@needs_schemas
def test_older_forms_have_what_their_revision_has() -> None:
    row = BY_NAME["2025-06-18"]
    kinds = ("BooleanSchema", "EnumSchema", "NumberSchema", "StringSchema")
    known = {word for kind in kinds for word in definitions(row)[kind]["properties"]}
    assert "default" in known  # of a yes or no
    with_default = [kind for kind in kinds if "default" in definitions(row)[kind]["properties"]]
    assert with_default == ["BooleanSchema"]
    for rules in form_for(RICH, row)["properties"].values():
        assert rules.keys() <= known


def test_multiple_choices_cannot_be_said_before_2025_11_25() -> None:
    schema = form(many={"type": "array", "items": {"type": "string", "enum": ["a"]}})
    check_form(schema)
    with pytest.raises(Unsayable, match=r"2025-06-18 has no multiple choice.*'many'"):
        form_for(schema, BY_NAME["2025-06-18"])


# Patterns

STALL = "a" * 5_000 + "b"
"""With the pattern below, for ever for a matcher that backtracks."""
EVIL = {"type": "string", "pattern": "^(a+)+$"}


class Evil(Struct):
    word: Annotated[str, Meta(pattern="^(a+)+$")]
    other: Annotated[str, Meta(pattern="^b")] | None = None


def fields_of(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"word": "aaa"}, None),
        ({"word": "aaa", "other": "b"}, None),
        ({"word": STALL}, "word: a string of 5001 characters does not match the pattern"),
        ({"word": "ab"}, 'word: "ab" does not match the pattern'),
        ({"word": "a", "other": "a"}, 'other: "a" does not match the pattern'),
    ],
)
def test_patterns_of_forms(content: dict[str, Any], problem: str | None) -> None:
    answer = Raw(msgspec.json.encode({"action": "accept", "content": content}))
    by_type = Elicit("Well?", Evil)
    for revision in REVISIONS:
        asked = by_type.wire_params(revision)["requestedSchema"]["properties"]
        assert asked["word"]["pattern"] == "^(a+)+$"
    by_hand: Elicit[Any] = Elicit("Well?", by_type.schema)
    for question in (by_type, by_hand):
        if problem is None:
            assert question.parse(answer).accepted
        else:
            with pytest.raises(InvalidValue, match=problem):
                question.parse(answer)
    found = form_problems(by_type.schema, content)
    assert [each.startswith(problem or "") for each in found] == ([True] if problem else [])
    if problem is None:
        assert isinstance(by_type.parse(answer).content, Evil)


def test_patterns_that_cannot_be_matched_in_linear_time() -> None:
    lookahead = {"type": "string", "pattern": "(?=a)"}
    with pytest.raises(ValueError, match=r"field 'x' of the form: .*lookaround"):
        Elicit("Well?", fields_of(x=lookahead))
    Elicit("Well?", fields_of(x=lookahead), validate=False)
    # What a server asks for in its own way, it has to check itself.
    assert form_problems(fields_of(x=lookahead), {"x": "b"}) == []


def test_patterns_need_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcpcore_transports.schema", None)
    _matcher.cache_clear()
    for schema in (Evil, fields_of(x=EVIL)):
        with pytest.raises(ValidatorMissing, match=r"field .* of the form has a pattern"):
            Elicit("Well?", schema)
    assert form_problems(fields_of(x=EVIL), {"x": "b"}) == []
