"""Patterns in type hints: matched in linear time, wherever a text of others arrives."""

import datetime
import decimal
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import msgspec
import pytest
from msgspec import Meta, Struct

from mcpcore.errors import InvalidValue, ToolError, ValidatorMissing
from mcpcore.service import Server
from mcpcore.service.reading import ValueReader
from mcpcore.service.schema import output_schema
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, McpError
from mcpcore.spec.revisions import LATEST, REVISIONS, Revision
from mcpcore_transports.schema import compile_schema
from tests.service.calling import ask, call

Evil = Annotated[str, Meta(pattern="^(a+)+$")]
STALL = "a" * 5_000 + "b"
"""For a matcher that backtracks this is as good as for ever."""
Code = Annotated[str, Meta(pattern="^[A-Z]{2}$", max_length=5)]
T = TypeVar("T")


class Inner(Struct):
    evil: Evil


def servant(validator: Any = compile_schema) -> Server:
    """A server in which the pattern stands wherever one can stand."""
    server = Server("s", validator=validator)

    @server.tool
    def tool(x: Evil = "a", inner: Inner | None = None) -> str:
        return x if inner is None else inner.evil

    @server.tool(input_schema={"type": "object"})
    def by_hand(x: Evil) -> str:
        return x

    @server.tool(structured_output=True)
    def output(n: int) -> Evil:
        return "a" * 5_000 + "b" * n

    @server.prompt
    def prompt(x: Evil) -> str:
        return x

    @server.resource("t://{x}")
    def template(x: Evil) -> str:
        return x

    @server.method("acme/method")
    def method(x: Evil) -> dict[str, str]:
        return {"x": x}

    @server.notification("notifications/acme/said")
    def said(x: Evil) -> None:
        raise ToolError(x)

    return server


WRONG = "does not match the pattern"


@pytest.mark.timeout(600)
@pytest.mark.requirement("basic/index/schema-bounds")
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
@pytest.mark.parametrize("arguments", [{"x": STALL}, {"inner": {"evil": STALL}}])
def test_arguments_of_tools(arguments: dict[str, Any], revision: Revision) -> None:
    server = servant()
    if not revision.tool_errors_in_result:
        with pytest.raises(McpError, match=WRONG) as caught:
            call(server, "tool", arguments, revision)
        assert caught.value.code == INVALID_PARAMS
        return
    result = call(server, "tool", arguments, revision)
    assert result["isError"] is True
    path = "arguments.x" if "x" in arguments else "arguments.inner"
    assert result["content"][0]["text"].startswith(f"{path}: ")
    assert WRONG in result["content"][0]["text"]


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5000], ids=["float", "int"])
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
def test_a_number_that_cannot_be_read_beside_a_pattern(number: bytes, revision: Revision) -> None:
    server, says = servant(), "(?i)out of range"
    params = b'{"name":"tool","arguments":{"inner":{"evil":"a","junk":%b}}}' % number
    if revision.tool_errors_in_result:
        result = ask(server, "tools/call", params, revision)
        assert result["isError"] is True
        assert re.search(says, result["content"][0]["text"])
    else:
        with pytest.raises(McpError, match=says) as caught:
            ask(server, "tools/call", params, revision)
        assert caught.value.code == INVALID_PARAMS
    with pytest.raises(McpError, match=says) as caught:
        ask(server, "acme/method", b'{"x":"a","junk":%b}' % number, revision)
    assert caught.value.code == INVALID_PARAMS


@pytest.mark.timeout(600)
def test_everywhere_else() -> None:
    server = servant()
    assert WRONG in str(call(server, "by_hand", {"x": STALL}))
    rule = "Internal error: the result does not meet the output schema"
    assert call(server, "output", {"n": 1})["content"][0]["text"] == rule
    assert call(server, "output", {"n": 0})["structuredContent"] == "a" * 5_000
    with pytest.raises(McpError, match=f"arguments.x: .*{WRONG}"):
        ask(server, "prompts/get", {"name": "prompt", "arguments": {"x": STALL}})
    with pytest.raises(McpError) as caught:
        ask(server, "resources/read", {"uri": f"t://{STALL}"})
    assert caught.value.code != INTERNAL_ERROR
    with pytest.raises(McpError, match=f"params.x: .*{WRONG}"):
        ask(server, "acme/method", {"x": STALL})
    listener = server.listener("notifications/acme/said")
    assert listener is not None
    with pytest.raises(McpError, match=f"params.x: .*{WRONG}"):
        listener.bind(msgspec.json.encode({"x": STALL}))


def test_what_matches_arrives_as_its_type() -> None:
    server = servant()
    for arguments, text in (({}, "a"), ({"x": "aaa"}, "aaa"), ({"inner": {"evil": "aa"}}, "aa")):
        assert call(server, "tool", arguments)["content"][0]["text"] == text
    assert call(server, "by_hand", {"x": "aa", "more": 1})["content"][0]["text"] == "aa"
    got = ask(server, "prompts/get", {"name": "prompt", "arguments": {"x": "aa"}})
    assert got["messages"][0]["content"]["text"] == "aa"
    assert ask(server, "resources/read", {"uri": "t://aa"})["contents"][0]["text"] == "aa"
    assert ask(server, "acme/method", {"x": "aa", "more": 1})["x"] == "aa"
    [tool] = [each for each in ask(server, "tools/list")["tools"] if each["name"] == "tool"]
    assert tool["inputSchema"]["properties"]["x"]["pattern"] == "^(a+)+$"


def tool(x: Evil) -> None:
    return None


def output() -> Inner:
    return Inner("a")


@pytest.mark.parametrize(
    ("declare", "what"),
    [
        (lambda server: server.add_tool(tool, "x"), "tool 'x': the input"),
        (lambda server: server.add_tool(output, "x"), "tool 'x': the output"),
        (lambda server: server.add_prompt(tool, "x"), "prompt 'x': the input"),
        (lambda server: server.add_resource("t://{x}", tool), "resource 't://{x}': the input"),
        (lambda server: server.method("acme/x")(tool), "acme/x: the input"),
        (lambda server: server.notification("notifications/x")(tool), "notifications/x: the input"),
    ],
)
def test_without_a_validator_it_is_refused(declare: Callable[[Server], Any], what: str) -> None:
    with pytest.raises(ValidatorMissing) as caught:
        declare(Server("s"))
    assert str(caught.value).startswith(f"{what} has a type with a pattern, which needs a valid")
    declare(Server("s", validator=compile_schema))


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Annotated[str, Meta(pattern="(?=a)")], "not supported: lookaround"),
        (Annotated[str, Meta(pattern=r"(a)\1")], "not supported"),
    ],
)
def test_a_pattern_that_takes_backtracking_is_refused(annotation: Any, message: str) -> None:
    def function(x: Any) -> None:
        return None

    function.__annotations__["x"] = annotation
    for declare in (Server.add_tool, Server.add_prompt):
        with pytest.raises(ValueError, match=f"'function'.*{message}"):
            declare(Server("s", validator=compile_schema), function)


# Of every type that msgspec knows


class Renamed(Struct, rename="camel", forbid_unknown_fields=True):
    country_code: Code
    other_codes: list[Code] = msgspec.field(default_factory=lambda: ["XX"])
    anything: Any = 7


class Dog(Struct, tag="dog"):
    code: Code


class Cat(Struct, tag="cat"):
    lives: int = 9


class Row(Struct, array_like=True):
    code: Code
    count: int = 1


class Box(Struct, Generic[T]):
    inside: T


@dataclass
class Data:
    code: Code
    more: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.code == "NO":
            raise ValueError("not this one")


class Typed(TypedDict):
    code: Code
    maybe: NotRequired[Code]


class Pair(NamedTuple):
    code: Code
    size: int = 0


class Plain(Struct):
    n: int


READ: list[tuple[Any, Any, Any, list[Any]]] = [
    (Code, "DE", "DE", ["de", "DEX", 5]),
    (Code | None, None, None, ["de"]),
    (list[Code], ["DE", "FR"], ["DE", "FR"], [["DE", "fr"], "DE"]),
    (Annotated[list[Code], Meta(max_length=1)], ["DE"], ["DE"], [["DE", "FR"]]),
    (Sequence[Code], ["DE"], ["DE"], [["x"]]),
    (set[Code], ["DE"], {"DE"}, [["x"]]),
    (frozenset[Code], ["DE"], frozenset({"DE"}), [["x"]]),
    (tuple[Code, ...], ["DE", "FR"], ("DE", "FR"), [["x"]]),
    (tuple[Code, int], ["DE", 1], ("DE", 1), [["x", 1], ["DE", "1"], ["DE"]]),
    (dict[Code, int], {"DE": 1}, {"DE": 1}, [{"x": 1}, {"DE": "1"}]),
    (Mapping[str, Code], {"x": "DE"}, {"x": "DE"}, [{"x": "x"}]),
    (Renamed, {"countryCode": "DE"}, Renamed("DE", ["XX"], 7), [{"countryCode": "x"}]),
    (
        Renamed,
        {"countryCode": "DE", "otherCodes": ["FR"], "anything": [1]},
        Renamed("DE", ["FR"], [1]),
        [{"countryCode": "DE", "otherCodes": ["x"]}, {"countryCode": "DE", "extra": 1}, {}],
    ),
    (Dog | Cat, {"type": "dog", "code": "DE"}, Dog("DE"), [{"type": "dog", "code": "x"}]),
    (Dog | Cat, {"type": "cat"}, Cat(9), [{"type": "cow"}]),
    (list[Row], [["DE"], ["FR", 2]], [Row("DE"), Row("FR", 2)], [[["x"]], [["DE", "2"]]]),
    (Box[Code], {"inside": "DE"}, Box("DE"), [{"inside": "x"}, {"inside": 1}]),
    (Box[Box[Code]], {"inside": {"inside": "DE"}}, Box(Box("DE")), [{"inside": {"inside": "x"}}]),
    (Data, {"code": "DE"}, Data("DE"), [{"code": "x"}, {"code": "NO"}, {}]),
    (list[Data], [{"code": "DE", "more": [1]}], [Data("DE", [1])], [[{"code": "DE", "more": 1}]]),
    (Typed, {"code": "DE"}, {"code": "DE"}, [{"code": "x"}, {"code": "DE", "maybe": "x"}, {}]),
    (Typed, {"code": "DE", "maybe": "FR"}, {"code": "DE", "maybe": "FR"}, [{"maybe": "FR"}]),
    (Pair, ["DE"], Pair("DE"), [["x"], ["DE", "1"]]),
    (
        tuple[Code, Plain, Literal["a", 1], bool, float, bytes, datetime.date, Any],
        ["DE", {"n": 1}, "a", True, 1.5, "AA==", "2026-01-02", [1]],
        ("DE", Plain(1), "a", True, 1.5, b"\0", datetime.date(2026, 1, 2), [1]),
        [["DE", {"n": 1}, "b", True, 1.5, "AA==", "2026-01-02", [1]]],
    ),
    (
        tuple[Code, uuid.UUID, decimal.Decimal, Annotated[datetime.datetime, Meta(tz=True)]],
        ["DE", str(uuid.UUID(int=1)), "1.5", "2026-01-02T03:04:05Z"],
        (
            "DE",
            uuid.UUID(int=1),
            decimal.Decimal("1.5"),
            datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
        ),
        [["DE", str(uuid.UUID(int=1)), "1.5", "2026-01-02T03:04:05"]],
    ),
]


@pytest.mark.parametrize(("annotation", "json", "value", "wrong"), READ)
def test_types_are_read_without_their_patterns(
    annotation: Any, json: Any, value: Any, wrong: list[Any]
) -> None:
    reader: ValueReader[Any] = ValueReader(
        annotation, lambda: output_schema(annotation), compile_schema, "it"
    )
    assert reader.type is not annotation
    found = reader.read(msgspec.json.encode(json), "it")
    assert found == value
    assert type(found) is type(value)
    assert msgspec.json.decode(msgspec.json.encode(json), type=annotation) == value
    for each in wrong:
        with pytest.raises(InvalidValue, match=r"^it[.:\[]"):
            reader.read(msgspec.json.encode(each), "it")


def test_a_type_without_patterns_is_read_as_it_is() -> None:
    def unasked() -> dict[str, Any]:
        raise AssertionError("nobody needs the schema")

    reader = ValueReader(Plain, unasked, None, "it")
    assert reader.type is Plain
    assert reader.read(b'{"n":1}', "it") == Plain(1)


class Node(Struct):
    code: Code
    children: "list[Node]" = []


@dataclass
class Odd:
    code: Code
    made: int = field(init=False, default=1)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [(Node, "Node has a pattern and contains itself"), (Odd, "'made' is no parameter")],
)
def test_types_that_have_no_twin_are_refused(annotation: Any, message: str) -> None:
    def function(x: Any) -> None:
        return None

    function.__annotations__["x"] = annotation
    with pytest.raises(TypeError, match=f"tool 'function': .*{message}"):
        Server("s", validator=compile_schema).add_tool(function)


def test_a_default_is_the_authors_own() -> None:
    server = Server("s", validator=compile_schema)

    @server.prompt
    def prompt(x: Code = "", n: int = 0) -> str:
        return f"{x} {n}"

    assert (
        ask(server, "prompts/get", {"name": "prompt", "arguments": {"n": "5"}}, LATEST)["messages"][
            0
        ]["content"]["text"]
        == " 5"
    )
