"""Schemas from type hints: what they say, and that what they say is what is checked."""

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, Required, TypedDict
from typing import TypeVar as Variable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import Meta, Struct

from mcpcore.errors import InvalidValue
from mcpcore.service.handlers import Handler, values_type
from mcpcore.service.reading import explain, read, shorten
from mcpcore.service.schema import (
    form_schema,
    gather_definitions,
    input_schema,
    mirrored,
    output_schema,
)
from mcpcore.spec.json_schema import is_object_schema, wrap_schema
from mcpcore.spec.types.base import Annotations

T = Variable("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Person(Struct):
    """A person."""

    name: str
    age: Annotated[int, Meta(ge=0)] = 0
    boss: "Person | None" = None


class Closed(Struct, forbid_unknown_fields=True):
    x: int


class Box(Struct, Generic[T]):
    content: T


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    depth: Required[int]
    deep: bool


class Pair(NamedTuple):
    a: int
    b: str


def schema_of(function: Callable[..., Any], **descriptions: str) -> dict[str, Any]:
    parameters = Handler(function).parameters
    return input_schema(values_type(parameters), parameters, descriptions)


def test_parameters() -> None:
    def function(
        a: int,
        b: Annotated[str, Meta(min_length=1, description="meta", title="B")],
        c: Annotated[float, "words"] = 1.5,
        d: Color = Color.RED,
        e: list[int] = [1, 2],  # noqa: B006
        f: int | None = None,
        g: int = None,  # type: ignore[assignment]  # noqa: RUF013
        h: datetime.date = datetime.date(2020, 1, 2),
        i: Literal["x", "y"] = "x",
        j: Literal[1, 2] = 1,
        k: Any = (1, 2),
        m: str = "m",
        n: Any = object,
    ) -> None: ...

    assert schema_of(function, a="the a", b="not used", m="the m") == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "the a"},
            "b": {"type": "string", "minLength": 1, "description": "meta", "title": "B"},
            "c": {"type": "number", "description": "words", "default": 1.5},
            "d": {"$ref": "#/$defs/Color", "default": "red"},
            "e": {"type": "array", "items": {"type": "integer"}, "default": [1, 2]},
            "f": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "g": {"type": "integer"},
            "h": {"type": "string", "format": "date", "default": "2020-01-02"},
            "i": {"type": "string", "enum": ["x", "y"], "default": "x"},
            "j": {"type": "integer", "enum": [1, 2], "default": 1},
            "k": {"default": [1, 2]},
            "m": {"type": "string", "description": "the m", "default": "m"},
            "n": {},
        },
        "required": ["a", "b"],
        "additionalProperties": False,
        "$defs": {"Color": {"title": "Color", "type": "string", "enum": ["blue", "red"]}},
    }


def test_no_parameters() -> None:
    assert schema_of(lambda: None) == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_mirrored_parameter() -> None:
    def function(region: Annotated[str, mirrored("Region")]) -> None: ...

    rules = schema_of(function)["properties"]["region"]
    assert rules == {"type": "string", "x-mcp-header": "Region"}


class Unknown:
    pass


def test_a_parameter_without_a_schema_is_named() -> None:
    def function(a: int, b: list[Unknown]) -> None: ...

    with pytest.raises(TypeError, match=r"parameter 'b': .*Unknown"):
        schema_of(function)


def test_parameters_that_do_not_go_together() -> None:
    def function(a: Person | Point) -> None: ...

    with pytest.raises(TypeError, match="parameter 'a': "):
        schema_of(function)


PERSON = {
    "title": "Person",
    "description": "A person.",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "default": 0},
        "boss": {"anyOf": [{"$ref": "#/$defs/Person"}, {"type": "null"}], "default": None},
    },
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("type", "expected"),
    [
        (int, {"type": "integer"}),
        (Person, {**PERSON, "$defs": {"Person": PERSON}}),
        (
            list[Person],
            {
                "type": "array",
                "items": {"$ref": "#/$defs/Person"},
                "$defs": {"Person": PERSON},
            },
        ),
        (
            Closed,
            {
                "title": "Closed",
                "type": "object",
                "properties": {"x": {"type": "integer"}},
                "required": ["x"],
                "additionalProperties": False,
            },
        ),
        (
            Box[Color],
            {
                "title": "Box[Color]",
                "type": "object",
                "properties": {"content": {"$ref": "#/$defs/Color"}},
                "required": ["content"],
                "$defs": {"Color": {"title": "Color", "type": "string", "enum": ["blue", "red"]}},
            },
        ),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
    ],
)
def test_results(type: Any, expected: dict[str, Any]) -> None:
    schema = output_schema(type)
    Draft202012Validator.check_schema(schema)
    assert json.dumps(schema, sort_keys=True) == json.dumps(expected, sort_keys=True)


# What is said of classes and their fields


class Visit(Struct, tag_field="kind", tag="visit"):
    """One visit.

        Indented as in the code.

    The second paragraph.

    Attributes:
        when: When it began,
            in the visitor's time.
        where: Not used, the annotation says it.
        other: There is no such field.

    Raises:
        Nothing: of interest here.
    """

    when: datetime.datetime
    where: Annotated[str, "The place."]
    length: Annotated[int, Meta(description="Minutes."), "not used"] = 0
    note: Annotated[str, Meta(max_length=9)] | None = None


class LongVisit(Visit, tag="long"):
    """A long one.

    Attributes:
        until: When it ended.
    """

    until: datetime.datetime | None = None
    other: int = 0


@dataclasses.dataclass
class Spot:
    """A spot.

    :param x: To the right.
    """

    x: Annotated[int, "overrides"]
    y: int = 0


@dataclasses.dataclass
class Bare:
    x: int


class Settings(TypedDict, total=False):
    """Settings.

    Args:
        deep: How deep.
    """

    deep: Required[int]
    name: Annotated[str, "The name."]
    sure: Required[Annotated[bool, "Really?"]]


class Cell(NamedTuple):
    """A cell.

    Attributes:
        row: From the top.
    """

    row: int
    column: Annotated[int, "From the left."]


class Mood(enum.Enum):
    """A mood,
    for what it is worth.
    """

    GOOD = "good"


class Documented(Struct, Generic[T]):
    """Holds one.

    Attributes:
        it: What it holds.
    """

    it: T


class Silent(Struct):
    """
    Attributes:
        x: Only fields are described.
    """

    x: int


def test_docstrings_and_annotations_of_fields() -> None:
    schema = output_schema(Visit)
    Draft202012Validator.check_schema(schema)
    assert schema["description"] == (
        "One visit.\n\n    Indented as in the code.\n\nThe second paragraph."
    )
    assert schema["properties"] == {
        "kind": {"type": "string", "enum": ["visit"]},
        "when": {
            "type": "string",
            "format": "date-time",
            "description": "When it began, in the visitor's time.",
        },
        "where": {"type": "string", "description": "The place."},
        "length": {"type": "integer", "description": "Minutes.", "default": 0},
        "note": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}], "default": None},
    }


@pytest.mark.parametrize(
    ("hint", "description", "fields"),
    [
        (Spot, "A spot.", {"x": "overrides", "y": None}),
        (Bare, None, {"x": None}),
        (Settings, "Settings.", {"deep": "How deep.", "name": "The name.", "sure": "Really?"}),
        (Documented[int], "Holds one.", {"it": "What it holds."}),
        (Silent, None, {"x": "Only fields are described."}),
        (
            LongVisit,
            "A long one.",
            {
                "when": "When it began, in the visitor's time.",
                "where": "The place.",
                "until": "When it ended.",
                "other": None,
            },
        ),
    ],
)
def test_what_is_said_of_fields(
    hint: Any, description: str | None, fields: dict[str, str | None]
) -> None:
    schema = output_schema(hint)
    assert schema.get("description") == description
    assert {name: schema["properties"][name].get("description") for name in fields} == fields


def test_what_is_said_of_the_rest() -> None:
    assert [each.get("description") for each in output_schema(Cell)["prefixItems"]] == [
        "From the top.",
        "From the left.",
    ]
    assert output_schema(Mood)["description"] == "A mood,\nfor what it is worth."
    assert output_schema(Annotated[Spot, Meta(description="Mine.")])["description"] == "Mine."


class Tagged(Struct, array_like=True, tag="t"):
    """Told.

    Attributes:
        x: The x.
    """

    x: int
    y: datetime.time


class Holding(TypedDict):
    inner: Visit


WRAPPINGS: list[Any] = [
    Visit,
    list[Visit],
    tuple[int, Visit],
    tuple[Visit, ...],
    dict[str, Visit],
    Visit | None,
    Visit | int,
    int | Visit | None,
    Visit | LongVisit,
    Visit | LongVisit | None,
    Visit | LongVisit | list[int] | int | None,
    Annotated[Visit, Meta(description="mine")] | None,
    Documented[Visit],
    msgspec.defstruct("Outer", [("inner", list[dict[str, Visit | None]])]),
    Holding,
]


@pytest.mark.parametrize("hint", WRAPPINGS, ids=str)
def test_wherever_a_class_stands(hint: Any) -> None:
    schema = output_schema(hint)
    Draft202012Validator.check_schema(schema)
    visit = schema.get("$defs", {}).get("Visit", schema)
    assert visit["properties"]["where"]["description"] == "The place."
    assert visit["properties"]["when"]["format"] == "date-time"


def test_absence_of_a_member_of_the_protocol_is_no_null() -> None:
    schema = output_schema(Annotations)
    assert schema["properties"]["priority"] == {"type": "number"}
    assert schema["properties"]["lastModified"] == {"type": "string"}
    assert schema["properties"]["audience"]["default"] == []


def test_fields_behind_a_tag() -> None:
    schema = output_schema(Tagged)
    assert schema["description"] == "Told."
    assert schema["prefixItems"] == [
        {"enum": ["t"], "type": "string"},
        {"type": "integer", "description": "The x."},
        {"type": "string", "format": "time"},
    ]


@pytest.mark.parametrize(
    ("hint", "format"),
    [
        (datetime.datetime, "date-time"),
        (Annotated[datetime.datetime, Meta(tz=True)], "date-time"),
        (Annotated[datetime.datetime, Meta(tz=False)], None),  # without the offset it is none
        (datetime.date, "date"),
        (datetime.time, "time"),
        (datetime.timedelta, "duration"),
        (uuid.UUID, "uuid"),
        (decimal.Decimal, "decimal"),
        (Annotated[datetime.datetime, Meta(extra_json_schema={"format": "own"})], "own"),
    ],
)
def test_formats(hint: Any, format: str | None) -> None:
    assert output_schema(hint).get("format") == format
    assert output_schema(list[hint])["items"].get("format") == format
    assert output_schema(hint | None)["anyOf"][0].get("format") == format
    assert output_schema(dict[str, hint])["additionalProperties"].get("format") == format
    assert output_schema(tuple[int, hint])["prefixItems"][1].get("format") == format

    def function(when: hint) -> None: ...

    assert schema_of(function)["properties"]["when"].get("format") == format


# What is said is what is checked

TYPES: list[Any] = [
    int,
    float,
    bool,
    str,
    None,
    int | None,
    int | str,
    Color,
    Level,
    Literal["a", "b"],
    Literal[1, 2],
    Literal["a", 1],
    Literal["a", None],
    list[int],
    tuple[int, str],
    set[int],
    dict[str, int],
    Person,
    Closed,
    Point,
    Options,
    Pair,
    Box[int],
    list[Person],
    Annotated[int, Meta(ge=0, lt=10, multiple_of=2)],
    Annotated[str, Meta(min_length=1, max_length=2, pattern="^a")],
    Annotated[list[int], Meta(min_length=1, max_length=2)],
    Any,
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.floats(-3, 12, width=16)
    | st.sampled_from(["", "a", "b", "aa", "aab", "red"])
)
members = st.sampled_from(["name", "age", "boss", "x", "y", "depth", "deep", "content", "other"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(members, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.requirement("basic/index/schema-recommended")
@given(st.sampled_from(TYPES), values)
def test_what_the_schema_says_is_what_is_checked(type: Any, value: Any) -> None:
    schema = output_schema(type)
    assert schema == json.loads(json.dumps(schema))
    try:
        read(msgspec.json.Decoder(type), msgspec.json.encode(value), "value")
        accepted = True
    except InvalidValue:
        accepted = False
    if type == set[int] and isinstance(value, list) and len(set(map(repr, value))) < len(value):
        return  # repeated items are dropped instead of refused
    assert Draft202012Validator(schema).is_valid(value) == accepted


@given(st.sampled_from(TYPES), values)
def test_wrapping_changes_the_place_and_nothing_else(type: Any, value: Any) -> None:
    schema = output_schema(type)
    wrapped = wrap_schema(schema)
    Draft202012Validator.check_schema(wrapped)
    assert is_object_schema(wrapped)
    assert wrapped["required"] == ["result"]
    plain = Draft202012Validator(schema).is_valid(value)
    assert Draft202012Validator(wrapped).is_valid({"result": value}) == plain


def test_definitions_that_are_written_alike_may_mean_others() -> None:
    def schema(value: int) -> dict[str, Any]:
        person = {"properties": {"color": {"$ref": "#/$defs/Color"}}}
        return {"$ref": "#/$defs/Person", "$defs": {"Person": person, "Color": {"const": value}}}

    whole = {"properties": {"a": schema(1), "b": schema(2), "c": schema(1)}}
    gather_definitions(whole)
    check = Draft202012Validator(whole)
    right = {"a": {"color": 1}, "b": {"color": 2}, "c": {"color": 1}}
    assert check.is_valid(right)
    for name in right:
        assert not check.is_valid({**right, name: {"color": 3 - right[name]["color"]}})
    assert len(whole["$defs"]) == 4


def test_wrapping_moves_references() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "integer"}, "c": {"$anchor": "c"}},
        "anyOf": [{"$ref": "#/$defs/a"}, {"items": {"$ref": "#"}, "minItems": 1}, True],
        "prefixItems": [{"$ref": "#c"}],
        "not": {"const": {"$ref": "#/stays"}},
        "if": {"$id": "urn:own", "$ref": "#/stays"},
        "properties": {"d": {"$dynamicRef": "#"}},
    }
    before = json.dumps(schema)
    wrapped = wrap_schema(schema)
    assert json.dumps(schema) == before
    assert list(wrapped) == ["$schema", "type", "properties", "required"]
    assert wrapped["properties"]["result"] == {
        "$defs": {
            "a": {"$ref": "#/properties/result/$defs/b"},
            "b": {"type": "integer"},
            "c": {"$anchor": "c"},
        },
        "anyOf": [
            {"$ref": "#/properties/result/$defs/a"},
            {"items": {"$ref": "#/properties/result"}, "minItems": 1},
            True,
        ],
        "prefixItems": [{"$ref": "#c"}],
        "not": {"const": {"$ref": "#/stays"}},
        "if": {"$id": "urn:own", "$ref": "#/stays"},
        "properties": {"d": {"$dynamicRef": "#/properties/result"}},
    }


# Messages


class Nested(Struct, forbid_unknown_fields=True):
    user: Person
    n: dict[int, list[int]] = {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[]", "it: Expected object, got array"),
        (b"{}", "it.user: Missing required field"),
        (b'{"user":1}', "it.user: Expected object, got int"),
        (b'{"user":{}}', "it.user.name: Missing required field"),
        (b'{"user":{"name":5}}', "it.user.name: Expected str, got int"),
        (b'{"user":{"name":"x","age":-1}}', "it.user.age: Expected int >= 0"),
        (b'{"user":{"name":"x","age":1.5}}', "it.user.age: Expected int, got float"),
        (b'{"user":{"name":"x","boss":{"name":[]}}}', "it.user.boss.name: Expected str, got array"),
        (b'{"user":{"name":"x"},"zz":1}', "it.zz: Unknown field"),
        (b'{"user":{"name":"x"},"a`b":1}', "it.a`b: Unknown field"),
        (b'{"user":{"name":"x"},"n":{"1":[0,"x"]}}', "it.n[...][1]: Expected int, got str"),
        (b'{"user":{"name":"x"},"n":{"x":[]}}', "it.n: Expected int, got str (as a key)"),
        (b'{"user":', "it: Input data was truncated"),
        (b'{"user":{"name":"\xff"}}', ("it: 'utf-8' codec can't decode", "it: Invalid UTF-8")),
        (b'{"user":' + b"[" * 100_000, "it"),
    ],
)
def test_messages_name_the_field(text: bytes, says: str | tuple[str, ...]) -> None:
    """As msgspec words them, which has changed with 0.23."""
    with pytest.raises(InvalidValue) as caught:
        read(msgspec.json.Decoder(Nested), text, "it")
    assert str(caught.value).replace("int | null", "int").startswith(says)


def test_a_whole_number_is_an_integer() -> None:
    decoder = msgspec.json.Decoder(dict[str, list[int]])
    assert read(decoder, b'{"a":[1.0,2e2,-0.0]}', "it") == {"a": [1, 200, 0]}
    with pytest.raises(InvalidValue, match=r"it\[...\]\[1\]: Expected int, got float"):
        read(decoder, b'{"a":[1.0,1.5]}', "it")
    with pytest.raises(InvalidValue, match="Expected int, got str"):
        read(decoder, b'{"a":[1.0,"x"]}', "it")
    assert read(decoder, b'{"a":[1e300]}', "it") == {"a": [int(1e300)]}
    many = b'{"a":[%b]}' % b",".join([b"1e19"] * 1000)
    assert read(decoder, many, "it") == {"a": [10**19] * 1000}
    with pytest.raises(InvalidValue, match="Expected int, got float"):  # it would be 300 kB
        read(decoder, many.replace(b"19", b"300"), "it")
    with pytest.raises(InvalidValue, match=r"it\[...\]\[0\]: Number out of range"):
        read(decoder, b'{"a":[1e999]}', "it")
    with pytest.raises(InvalidValue, match="got float"):
        read(decoder, b'{"a":[1.5e0]}', "it")


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, b"3.0", 3),
        (Annotated[int, Meta(ge=0, multiple_of=2)], b"4e0", 4),
        (int | str, b"1.0", 1),
        (int | None, b"1.0", 1),
        (Literal[1, 2], b"2.0", 2),
        (Level, b"2.0", Level.HIGH),
        (Annotated[list[int], Meta(max_length=1)], b"[5.0]", [5]),
    ],
)
def test_whole_numbers_wherever_there_are_integers(hint: Any, text: bytes, value: Any) -> None:
    assert Draft202012Validator(output_schema(hint)).is_valid(json.loads(text))
    assert read(msgspec.json.Decoder(hint), text, "it") == value


def test_a_value_too_deep_to_be_looked_through_again() -> None:
    class Open(Struct):
        x: int
        y: Any

    text = b'{"x":1.0,"y":' + b"[" * 900 + b"]" * 900 + b"}"
    with pytest.raises(InvalidValue, match="it: "):
        read(msgspec.json.Decoder(Open), text, "it")


def test_long_names_are_cut() -> None:
    with pytest.raises(InvalidValue) as caught:
        read(msgspec.json.Decoder(Closed), b'{"x":1,"' + b"y" * 10_000 + b'":1}', "it")
    assert len(str(caught.value)) == 500
    assert shorten("a" * 500) == "a" * 500
    assert explain(msgspec.ValidationError("Just this"), "it") == "it: Just this"


# Forms


class Everything(Struct):
    """A form.

    Attributes:
        name: Who.
    """

    name: str
    mail: Annotated[str, Meta(max_length=9, extra_json_schema={"format": "email"})]
    color: Color
    choice: Literal["a", "b"]
    many: Annotated[list[Color], Meta(min_length=1)]
    day: datetime.date
    token: Annotated[str, Meta(extra_json_schema={"format": "uuid"}, pattern="x")]
    age: Annotated[int, Meta(ge=0, description="Years.")] = 30
    score: float = 95.5
    agreed: bool = True
    nick: str | None = None
    maybe: Optional[int] = 3  # noqa: UP045
    status: Color = Color.RED


def test_form() -> None:
    assert form_schema(Everything) == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "Who."},
            "mail": {"type": "string", "maxLength": 9, "format": "email"},
            "color": {"type": "string", "enum": ["blue", "red"]},
            "choice": {"type": "string", "enum": ["a", "b"]},
            "many": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "string", "enum": ["blue", "red"]},
            },
            "day": {"type": "string", "format": "date"},
            "token": {"type": "string", "pattern": "x"},
            "age": {"type": "integer", "description": "Years.", "minimum": 0, "default": 30},
            "score": {"type": "number", "default": 95.5},
            "agreed": {"type": "boolean", "default": True},
            "nick": {"type": "string"},
            "maybe": {"type": "integer", "default": 3},
            "status": {"type": "string", "enum": ["blue", "red"], "default": "red"},
        },
        "required": ["name", "mail", "color", "choice", "many", "day", "token"],
    }


class AllOptional(TypedDict, total=False):
    a: int


def test_form_of_optional_fields() -> None:
    assert form_schema(AllOptional) == {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    "hint",
    [
        Person,
        list[int],
        list[str],
        dict[str, int],
        int | str,
        None,
        Any,
        tuple[int, str],
        Level,
        list[Level],
    ],
)
def test_fields_that_no_form_can_hold(hint: Any) -> None:
    form = msgspec.defstruct("Form", [("good", str), ("bad", hint)])
    with pytest.raises(TypeError, match="field 'bad': a form holds"):
        form_schema(form)


@pytest.mark.parametrize("type", [int, list[str], dict[str, int], Any])
def test_what_is_no_form(type: Any) -> None:
    with pytest.raises(TypeError, match="a form needs a type with named fields"):
        form_schema(type)
