"""Models of pydantic and its annotations, wherever a type is named: its own rules hold."""

import dataclasses
import datetime
import enum
import json
import math
import subprocess
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NewType, TypedDict, TypeVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import Meta, Struct

pydantic = pytest.importorskip("pydantic", minversion="2.10", reason="pydantic is not installed")

from pydantic import (  # noqa: E402
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Json,
    PositiveInt,
    RootModel,
    SecretStr,
    computed_field,
    conint,
    field_serializer,
    field_validator,
)
from pydantic.dataclasses import dataclass as checked_dataclass  # noqa: E402
from typing_extensions import TypeAliasType  # noqa: E402
from typing_extensions import TypedDict as OtherTypedDict  # noqa: E402

from mcpcore.errors import OutputMismatch  # noqa: E402
from mcpcore.service import Server, user  # noqa: E402
from mcpcore.service.custom_types import read_by_pydantic  # noqa: E402
from mcpcore.service.schema import form_schema  # noqa: E402
from mcpcore.spec.errors import INVALID_PARAMS, McpError  # noqa: E402
from mcpcore.spec.revisions import LATEST, REVISIONS, Revision  # noqa: E402
from mcpcore.spec.types.prompts import GetPromptResult  # noqa: E402
from mcpcore.spec.types.tools import CallToolResult  # noqa: E402
from mcpcore_transports.schema import compile_schema  # noqa: E402
from tests.service.calling import ask, call  # noqa: E402

T = TypeVar("T")
UserId = NewType("UserId", int)


class Address(BaseModel):
    street: str
    code: Annotated[str, Field(alias="postCode", pattern="^[0-9]+$")]


class User(BaseModel):
    """Somebody."""

    model_config = ConfigDict(extra="forbid")

    email: str = Field(min_length=3, description="Where to write.")
    home: Address | None = None
    born: datetime.date | None = None
    tags: set[str] = set()

    @field_validator("email")
    @classmethod
    def has_an_at(cls, email: str) -> str:
        if "@" not in email:
            raise ValueError("an address has an @")
        return email.lower()


ADA = {
    "email": "Ada@x",
    "home": {"street": "s", "postCode": "12"},
    "born": "1815-12-10",
    "tags": [],
}
ADA_SAID = {**ADA, "email": "ada@x"}
SHE = User.model_validate(ADA)
PLAIN = User(email="a@b")


class Node(BaseModel):
    name: str
    kids: list["Node"] = []


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: int | None = None


class Words(RootModel[list[str]]):
    pass


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    age: int


Pet = Annotated[Cat | Dog, Discriminator("kind")]


@checked_dataclass
class Checked:
    n: PositiveInt
    where: Path = Path(".")


@dataclasses.dataclass
class Plain:
    user: User
    note: str = ""


class Order(Struct):
    who: User
    others: list[User] = []
    by_name: dict[str, User] = {}
    spare: User | None = None


@attrs.define
class Parcel:
    to: User


class Card(TypedDict):
    user: User


class OtherCard(OtherTypedDict):
    user: User


class Box(Struct, Generic[T]):
    content: T


def tool(type: Any, returns: Any = str) -> tuple[Server, list[Any]]:
    """A server with the tool ``look``, and what it was called with."""
    server, seen = Server("s"), []

    def look(value: type) -> returns:
        seen.append(value)
        return value if returns is not str else "done"

    server.add_tool(look)
    return server, seen


def listed(server: Server, revision: Revision = LATEST) -> dict[str, Any]:
    [found] = ask(server, "tools/list", revision=revision)["tools"]
    Draft202012Validator.check_schema(found["inputSchema"])
    return dict(found)


def refused(server: Server, arguments: Any) -> str:
    result = call(server, "look", arguments)
    assert result["isError"] is True
    return str(result["content"][0]["text"])


READ: list[tuple[Any, Any, Any]] = [
    (User, ADA, SHE),
    (list[User], [ADA], [SHE]),
    (dict[str, User], {"a": ADA}, {"a": SHE}),
    (tuple[User, int], [ADA, 1], (SHE, 1)),
    (User | None, None, None),
    (User | int, 3, 3),
    (User | Address, ADA["home"], Address.model_validate(ADA["home"])),
    (Node, {"name": "a", "kids": [{"name": "b"}]}, Node(name="a", kids=[Node(name="b")])),
    (Page[User], {"items": [ADA]}, Page[User](items=[SHE])),
    (Words, ["a"], Words(["a"])),
    (Pet, {"kind": "dog", "age": 3}, Dog(kind="dog", age=3)),
    (list[Pet], [{"kind": "cat", "lives": 9}], [Cat(kind="cat", lives=9)]),
    (Checked, {"n": 1, "where": "a"}, Checked(1, Path("a"))),
    (Plain, {"user": ADA}, Plain(SHE)),
    (OtherCard, {"user": ADA}, {"user": SHE}),
    (Card, {"user": ADA}, {"user": SHE}),
    (Order, {"who": ADA, "others": [ADA]}, Order(SHE, [SHE])),
    (list[Order], [{"who": ADA, "by_name": {"a": ADA}}], [Order(SHE, [], {"a": SHE})]),
    (Parcel, {"to": ADA}, Parcel(SHE)),
    (Box[User], {"content": ADA}, Box(SHE)),
    (Box[list[User]], {"content": [ADA]}, Box([SHE])),
    (Annotated[int, Field(ge=1)], 3, 3),
    (Annotated[list[int], Field(max_length=2)], [1, 2], [1, 2]),
    (list[Annotated[int, Field(ge=1)]], [1], [1]),
    (Annotated[UserId, Field(ge=1)], 3, 3),
    (PositiveInt, 3, 3),
    (conint(ge=3), 3, 3),
    (SecretStr, "s", SecretStr("s")),
    (AnyUrl, "http://x/", AnyUrl("http://x/")),
    (Json[list[int]], "[1]", [1]),
    (Annotated[str, BeforeValidator(lambda text: text * 2)], "a", "aa"),
]  # fmt: skip


@pytest.mark.parametrize(("type", "wire", "value"), READ, ids=lambda row: str(row)[:40])
def test_parameters(type: Any, wire: Any, value: Any) -> None:
    server, seen = tool(type)
    schema = listed(server)["inputSchema"]
    assert Draft202012Validator(schema).is_valid({"value": wire})
    assert call(server, "look", {"value": wire})["content"] == [{"type": "text", "text": "done"}]
    assert seen == [value]


WRONG: list[tuple[Any, Any, str]] = [
    (User, {}, "arguments.value.email: Field required"),
    (User, {"email": "xx@", "more": 1}, "arguments.value.more: Extra inputs are not permitted"),
    (User, {"email": "xxx"}, "arguments.value.email: Value error, an address has an @"),
    (User, 3, "arguments.value: Input should be an object"),
    (User, {"email": "a@b", "home": {"street": 1}}, "arguments.value.home.street: Input should be a valid string; arguments.value.home.postCode: Field required"),  # noqa: E501
    (list[User], [ADA, {**ADA, "tags": ["a", 1]}], "arguments.value[1].tags[1]: Input should be a valid string"),  # noqa: E501
    (dict[str, Address], {"a b": {}}, "arguments.value.a b.street: Field required"),
    (dict[int, User], {"x": ADA}, "arguments.value.x: Input should be a valid integer"),
    (User | int, "x", "arguments.value: Input should be"),
    (User | int, {"email": 1}, "arguments.value.email: Input should be a valid string"),
    (Pet, {"kind": "dog", "age": "x"}, "arguments.value.age: Input should be a valid integer"),
    (Pet, {"kind": "emu"}, "arguments.value: Input tag 'emu' found"),
    (Node, {"name": "a", "kids": [{"name": 1}]}, "arguments.value.kids[0].name: Input should be a valid string"),  # noqa: E501
    (Checked, {"n": 0}, "arguments.value.n: Input should be greater than 0"),
    (Card, {"user": {"email": 1}}, "arguments.value.user.email: Input should be a valid string"),
    (Order, {"who": {"email": 1}}, "arguments.value.who.email: Input should be a valid string"),
    (Order, {"who": ADA, "others": [ADA, {"email": "xxx"}]}, "arguments.value.others[1].email: Value error, an address has an @"),  # noqa: E501
    (Order, {"who": 3}, "arguments.value.who: Input should be an object"),
    (Order, {}, "arguments.value.who: Missing required field"),
    (Annotated[int, Field(ge=1)], 0, "arguments.value: Input should be greater than or equal to 1"),
    (Json[list[int]], "[", "arguments.value: Invalid JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("type", "wire", "says"), WRONG, ids=lambda row: str(row)[:40])
def test_what_does_not_fit_is_named(type: Any, wire: Any, says: str) -> None:
    server, seen = tool(type)
    assert refused(server, {"value": wire}).startswith(says)
    assert seen == []


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
def test_in_every_revision(revision: Revision) -> None:
    server, _ = tool(User, User)
    found = listed(server, revision)
    assert ("outputSchema" in found) is revision.structured_content
    result = call(server, "look", {"value": ADA}, revision)
    assert json.loads(result["content"][0]["text"]) == ADA_SAID
    if revision.structured_content:
        assert result["structuredContent"] == ADA_SAID
    if revision.tool_errors_in_result:
        assert call(server, "look", {"value": {}}, revision)["isError"] is True
    else:
        with pytest.raises(McpError, match=r"arguments\.value\.email: Field required") as caught:
            call(server, "look", {"value": {}}, revision)
        assert caught.value.code == INVALID_PARAMS


def test_a_long_list_of_problems_is_cut() -> None:
    server, _ = tool(list[User])
    told = refused(server, {"value": [{}] * 1000})
    assert told.startswith("arguments.value[0].email: Field required; arguments.value[1].email")
    assert len(told) <= 500
    told = refused(server, {"value": [{}] * 1001})
    assert told == "arguments.value: 1001 problems, too many to name"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))  # noqa: E501  # fmt: skip
def test_anything_is_read_or_refused_by_name(value: Any) -> None:
    server, seen = tool(User | list[Node] | dict[int, Pet])
    result = call(server, "look", {"value": value})
    if seen:
        assert "isError" not in result
    else:
        assert result["content"][0]["text"].startswith("arguments.value")


@pytest.mark.parametrize("text", [b"1e999", b"9" * 5000, b"[" * 100 + b"]" * 100])
def test_json_that_python_cannot_read(text: bytes) -> None:
    server, seen = tool(Address)
    params = b'{"name":"look","arguments":{"value":{"street":%b}}}' % text
    result = ask(server, "tools/call", params)
    assert result["isError"] is True
    assert result["content"][0]["text"].startswith("arguments.value")
    assert seen == []


# Fields of parameters


def test_fields() -> None:
    server, seen = Server("s"), []

    @server.tool
    def search(
        words: Annotated[str, Field(description="What to look for.", examples=["tea"])],
        pages: Annotated[int, Field(ge=1, le=50, title="Pages")] = 10,
        sort: str = Field(default="new", description="How to sort."),
        depth: int = Field(3, ge=0),
        tags: list[str] = Field(default_factory=list),  # noqa: B008
        note: Annotated[str | None, Field(default=None)] = None,
        place: Path = Field(default=Path("a")),  # noqa: B008
        who: str = Field(description="Whose."),
        shade: Annotated[str, Field(default="red")] = "blue",
        *,
        plain: Annotated[int, "A number."] = 1,
    ) -> str:
        seen.append((words, pages, sort, depth, tags, note, place, who, shade, plain))
        return "done"

    schema = listed(server)["inputSchema"]
    assert schema["required"] == ["words", "who"]
    assert schema["properties"] == {
        "words": {"type": "string", "description": "What to look for.", "examples": ["tea"]},
        "pages": {"type": "integer", "minimum": 1, "maximum": 50, "title": "Pages", "default": 10},
        "sort": {"type": "string", "description": "How to sort.", "default": "new"},
        "depth": {"type": "integer", "minimum": 0, "default": 3},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "place": {"type": "string", "format": "path", "default": "a"},
        "who": {"type": "string", "description": "Whose."},
        "shade": {"type": "string", "default": "blue"},
        "plain": {"type": "integer", "description": "A number.", "default": 1},
    }
    for _ in range(2):
        call(server, "search", {"words": "tea", "who": "me"})
    first, second = seen
    assert first == ("tea", 10, "new", 3, [], None, Path("a"), "me", "blue", 1)
    assert first[4] is not second[4]  # the factory is called each time
    call(server, "search", {"words": "tea", "who": "me", "sort": "old", "tags": ["x"], "plain": 2})
    assert seen[-1] == ("tea", 10, "old", 3, ["x"], None, Path("a"), "me", "blue", 2)
    result = call(server, "search", {"words": "tea", "who": "me", "depth": -1})
    assert result["content"][0]["text"].startswith("arguments.depth: Input should be greater")
    result = call(server, "search", {"who": "me"})
    assert result["content"][0]["text"] == "arguments.words: Missing required field"


def test_defaults_that_are_models() -> None:
    server, seen = Server("s"), []

    @server.tool
    def look(user: User = PLAIN, odd: Annotated[Any, Field(title="O")] = Box) -> None:
        seen.append(user)

    properties = listed(server)["inputSchema"]["properties"]
    assert properties["user"]["default"] == {"email": "a@b", "home": None, "born": None, "tags": []}
    assert "default" not in properties["odd"]
    call(server, "look")
    assert seen == [PLAIN]


def test_descriptions_of_docstrings_go_to_models_as_well() -> None:
    server = Server("s")

    @server.tool
    def look(user: User | None, n: Annotated[int, Field(ge=0)]) -> None:
        """Look.

        Args:
            user: Who it is.
            n: How many.
        """

    properties = listed(server)["inputSchema"]["properties"]
    assert properties["user"]["description"] == "Who it is."
    assert properties["n"]["description"] == "How many."


def test_strings_for_prompts_and_templates() -> None:
    server = Server("s")

    @server.prompt
    def review(
        code: Annotated[str, Field(description="The code.")],
        lines: Annotated[int, Field(ge=1)] = 10,
        strict: bool = Field(default=False, description="Whether."),
        day: Annotated[datetime.date | None, Field(default=None)] = None,
    ) -> str:
        return repr((code, lines, strict, day))

    @server.resource("x:{n}")
    def read(n: PositiveInt) -> str:
        return repr(n)

    [found] = ask(server, "prompts/list")["prompts"]
    assert found["arguments"] == [
        {"name": "code", "description": "The code.", "required": True},
        {"name": "lines"},
        {"name": "strict", "description": "Whether."},
        {"name": "day"},
    ]

    def get(**arguments: str) -> str:
        params = {"name": "review", "arguments": arguments}
        return str(ask(server, "prompts/get", params)["messages"][0]["content"]["text"])

    assert get(code="1") == repr(("1", 10, False, None))
    given = get(code="x", lines="5", strict="true", day="2020-01-02")
    assert given == repr(("x", 5, True, datetime.date(2020, 1, 2)))
    with pytest.raises(McpError, match=r"arguments\.lines: Input should be greater") as caught:
        get(code="x", lines="0")
    assert caught.value.code == INVALID_PARAMS
    assert ask(server, "resources/read", {"uri": "x:3"})["contents"][0]["text"] == "3"
    with pytest.raises(McpError, match="not found"):
        ask(server, "resources/read", {"uri": "x:0"})
    with pytest.raises(TypeError, match="parameter 'user' cannot be made from a string"):
        server.add_prompt(_of_user)


def _of_user(user: User) -> str:
    return user.email


# Schemas


def test_the_schema_is_pydantics() -> None:
    server, _ = tool(User)
    told = listed(server)["inputSchema"]
    assert told == {
        "type": "object",
        "properties": {
            "value": {key: rule for key, rule in User.model_json_schema().items() if key != "$defs"}
        },
        "required": ["value"],
        "additionalProperties": False,
        "$defs": {"Address": Address.model_json_schema()},
    }


def test_what_is_written_may_have_another_schema_than_what_is_read() -> None:
    class Sum(BaseModel):
        model_config = ConfigDict(extra="forbid")

        a: int = 0
        price: float = Field(default=0, serialization_alias="cost", validation_alias="amount")

        @computed_field  # type: ignore[prop-decorator]
        @property
        def twice(self) -> int:
            return 2 * self.a

        @field_serializer("a")
        def as_text(self, a: int) -> str:
            return str(a)

    server, seen = tool(Sum, Sum)
    found = listed(server)
    assert found["inputSchema"]["properties"]["value"]["properties"].keys() == {"a", "amount"}
    assert found["outputSchema"]["properties"].keys() == {"a", "cost", "twice"}
    assert found["outputSchema"]["properties"]["a"]["type"] == "string"
    result = call(server, "look", {"value": {"a": 2, "amount": 1.5}})
    assert result["structuredContent"] == {"a": "2", "cost": 1.5, "twice": 4}
    assert Draft202012Validator(found["outputSchema"]).is_valid(result["structuredContent"])
    assert seen[0].price == 1.5

    class Wrapped(Struct):
        sum: Sum

    server, _ = tool(Wrapped, Wrapped)
    found = listed(server)
    assert found["outputSchema"]["properties"]["sum"]["properties"].keys() == {"a", "cost", "twice"}
    result = call(server, "look", {"value": {"sum": {"a": 2, "amount": 1}}})
    assert result["structuredContent"] == {"sum": {"a": "2", "cost": 1, "twice": 4}}


def of_another_module() -> tuple[type[BaseModel], type[BaseModel]]:
    """Models with the names of those above, and other members."""

    class Address(BaseModel):
        planet: str

    class User(BaseModel):
        home: Address | None = None

    return User, Address


def test_definitions_of_one_name() -> None:
    other_user, other_address = of_another_module()

    class Address(Struct):
        line: str

    server = Server("s")

    def look(a: list[User], b: Any, c: Address, d: list[User], e: Any, f: list[Pet]) -> None: ...

    look.__annotations__ |= {"b": list[other_user] | None, "e": list[other_address]}  # type: ignore[valid-type]
    server.add_tool(look)
    told = listed(server)["inputSchema"]
    validator = Draft202012Validator(told)
    right = {
        "a": [ADA],
        "b": [{"home": {"planet": "x"}}],
        "c": {"line": "x"},
        "d": [ADA],
        "e": [{"planet": "x"}],
        "f": [{"kind": "cat", "lives": 9}],
    }
    assert validator.is_valid(right)
    for name, wrong in {
        "a": [{"email": "a@b", "home": {"planet": "x"}}],
        "b": [{"home": {"street": "s", "postCode": "1"}}],
        "c": ADA["home"],
        "d": [{"email": "a@b", "home": {"planet": "x"}}],
        "e": [ADA["home"]],
        "f": [{"kind": "dog", "lives": 9}],
    }.items():
        assert not validator.is_valid({**right, name: wrong}), name
        assert refused(server, {**right, name: wrong}).startswith(f"arguments.{name}")
    assert call(server, "look", right) == {"content": []}
    # the same model twice is defined once
    assert told["properties"]["a"] == told["properties"]["d"]
    assert set(told["$defs"]) == {"Address", "Address_2", "Address_3", "Cat", "Dog", "User", "User_2"}  # noqa: E501  # fmt: skip
    mapping = told["properties"]["f"]["items"]["discriminator"]["mapping"]
    assert mapping == {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}


def test_discriminators_follow_their_definitions() -> None:
    class Cat(Struct):
        name: str

    server = Server("s")

    @server.tool
    def look(pet: Pet, cat: list[Cat]) -> None: ...

    told = listed(server)["inputSchema"]
    assert told["$defs"]["Cat"]["properties"].keys() == {"name"}
    assert told["properties"]["pet"]["discriminator"]["mapping"]["cat"] == "#/$defs/Cat_2"
    assert told["$defs"]["Cat_2"]["properties"].keys() == {"kind", "lives"}


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
def test_a_tree_as_a_result(revision: Revision) -> None:
    server, _ = tool(Node, list[Node])
    tree = {"name": "a", "kids": [{"name": "b", "kids": []}]}

    def forest(value: Node) -> list[Node]:
        return [value]

    server.add_tool(forest, "look", replace=True)
    result = call(server, "look", {"value": tree}, revision)
    if not revision.structured_content:
        return
    schema = listed(server, revision)["outputSchema"]
    said = [tree] if revision.any_structured_content else {"result": [tree]}
    assert result["structuredContent"] == said
    assert Draft202012Validator(schema).is_valid(said)
    wrong = json.loads(json.dumps(said).replace('"b"', "3"))
    assert not Draft202012Validator(schema).is_valid(wrong)


# Results


@pytest.mark.parametrize(("type", "wire", "value"), READ[:22], ids=lambda row: str(row)[:40])
def test_return_types(type: Any, wire: Any, value: Any) -> None:
    server, _ = tool(type, type)
    if type == User | None:
        return  # None is no content
    found = listed(server)
    result = call(server, "look", {"value": wire})
    assert "isError" not in result
    assert Draft202012Validator(found["outputSchema"]).is_valid(result["structuredContent"])
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


def returning(type: Any, value: Any) -> Server:
    server = Server("s")

    def look() -> Any:
        return value

    look.__annotations__["return"] = type
    server.add_tool(look)
    return server


def test_a_dict_in_the_place_of_a_model_is_checked() -> None:
    server = returning(User, {"email": "A@b"})
    assert call(server, "look")["structuredContent"]["email"] == "a@b"


class Number(BaseModel):
    x: float


class Constants(Number):
    model_config = ConfigDict(ser_json_inf_nan="constants")


def changed() -> User:
    user = User(email="a@b")
    user.tags = 3  # type: ignore[assignment]
    return user


@pytest.mark.parametrize(
    ("type", "value"),
    [
        (User, {"email": "no"}),
        (User, 3),
        (User, None),
        (list[User], [{"email": "a@b"}, {}]),
        (User, changed()),
        (Number, Number(x=math.nan)),
        (Constants, Constants(x=math.inf)),
        (Annotated[int, Field(ge=1)], 0),
        (Order, Order(changed())),
        (Annotated[CallToolResult, User], CallToolResult(content=[], structured_content={})),
    ],
)
def test_results_that_break_their_type(type: Any, value: Any) -> None:
    server = returning(type, value)
    prepared = server.prepare("tools/call", b'{"name":"look"}', LATEST)
    with pytest.raises(OutputMismatch) as caught:
        prepared.finish(prepared.call(None))
    told = call(server, "look")
    assert told["isError"] is True
    assert told["content"][0]["text"] == f"Internal error: {caught.value.rule}"


@pytest.mark.parametrize("type", [User, Order, Any])
@pytest.mark.parametrize("secret", ["hunter2", {"a": "hunter2, input_type=x"}])
def test_what_is_logged_of_a_wrong_result_names_the_member_alone(type: Any, secret: Any) -> None:
    she = User(email="a@b")
    she.tags = secret
    values = [Order(she)] if type is Order else [she, {"email": secret, "tags": [secret]}]
    for value in values[: 1 if type is Any else 2]:
        prepared = returning(type, value).prepare("tools/call", b'{"name":"look"}', LATEST)
        with pytest.raises(OutputMismatch, match=r"tags|email") as caught:
            prepared.finish(prepared.call(None))
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_null_is_no_reason_to_refuse() -> None:
    class Maybe(BaseModel):
        text: str | None = None
        x: float = 1.5

    value = Maybe(text=None)
    assert call(returning(Maybe, value), "look")["structuredContent"] == {"text": None, "x": 1.5}
    assert call(returning(Maybe, Maybe(text="NaN")), "look")["structuredContent"]["text"] == "NaN"


def test_models_go_out_wherever_values_do() -> None:
    server, ada = Server("s"), User.model_validate(ADA)
    server.add_tool(lambda: ada, "any")
    server.add_tool(lambda: {"users": [ada]}, "inner")
    server.add_tool(lambda: CallToolResult(content=[], structured_content=ada), "own")
    server.add_resource("x:y", lambda: ada)
    server.method("acme/user")(lambda: ada)
    server.method("acme/plain")(lambda: Plain(ada))
    server.method("acme/list")(lambda: Words(["a"]))
    server.add_prompt(lambda: GetPromptResult(messages=[user("x")], meta={"u": ada}), "p")
    assert call(server, "any")["structuredContent"] == ADA_SAID
    assert call(server, "inner")["structuredContent"] == {"users": [ADA_SAID]}
    assert call(server, "own")["structuredContent"] == ADA_SAID
    assert json.loads(ask(server, "resources/read", {"uri": "x:y"})["contents"][0]["text"])
    assert ask(server, "acme/user") == ADA_SAID
    assert ask(server, "acme/plain") == {"user": ADA_SAID, "note": ""}
    with pytest.raises(McpError, match="the result is no object"):
        ask(server, "acme/list")


def test_methods_of_extensions() -> None:
    server = Server("s")

    @server.method("acme/greet")
    def greet(user: User, times: Annotated[int, Field(ge=1)] = 1) -> dict[str, str]:
        return {"said": user.email * times}

    assert ask(server, "acme/greet", {"user": ADA, "more": 1}) == {"said": "ada@x"}
    with pytest.raises(McpError, match=r"params\.user\.email: Field required") as caught:
        ask(server, "acme/greet", {"user": {}})
    assert caught.value.code == INVALID_PARAMS


def test_an_exception_of_a_validator_is_no_fault_of_the_client() -> None:
    class Broken(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def fail(cls, x: int) -> int:
            raise KeyError("secret")

    server, _ = tool(Broken)
    with pytest.raises(KeyError):  # the runtime masks it
        call(server, "look", {"value": {"x": 1}})


# Forms


class Shade(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Form(BaseModel):
    name: str = Field(min_length=1, description="Yours.")
    nights: Annotated[int, Field(ge=1, le=30)] = 1
    shade: Shade = Shade.RED
    extras: list[Literal["tea", "bed"]] = []
    agreed: Literal["yes"] = "yes"
    mail: str | None = None


def test_forms() -> None:
    assert form_schema(Form) == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "title": "Name", "minLength": 1, "description": "Yours."},
            "nights": {"type": "integer", "title": "Nights", "minimum": 1, "maximum": 30, "default": 1},  # noqa: E501
            "shade": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "extras": {"type": "array", "title": "Extras", "items": {"type": "string", "enum": ["tea", "bed"]}, "default": []},  # noqa: E501
            "agreed": {"type": "string", "title": "Agreed", "enum": ["yes"], "default": "yes"},
            "mail": {"type": "string", "title": "Mail"},
        },
        "required": ["name"],
    }  # fmt: skip
    with pytest.raises(TypeError, match="field 'home': a form holds strings"):
        form_schema(User)
    with pytest.raises(TypeError, match="a form needs a type with named fields"):
        form_schema(Words)


# What cannot be


class Uncallable(BaseModel):
    call: Callable[[int], int]


class Ruled(Struct):
    n: Annotated[int, Field(ge=1)]


class Holding(Struct):
    checked: Checked


def refused_declarations() -> list[tuple[Any, str]]:
    from pydantic.v1 import BaseModel as OldModel

    class Old(OldModel):
        x: int

    return [
        (Old, "Old is a model of pydantic 1; those of 2 are supported"),
        (list[Old], "Old is a model of pydantic 1"),
        (Ruled, "FieldInfo is for pydantic, which knows nothing of Ruled: use msgspec.Meta, or"),
        (Annotated[list[Ruled], Field(max_length=1)], "which knows nothing of Ruled"),
        (Annotated[Order, Field(title="O")], "which knows nothing of Order"),
        (Annotated[int, Field(ge=1), Meta(le=3)], "which knows nothing of msgspec.Meta"),
        (Holding, "Checked, a dataclass, is for pydantic, which knows nothing of Holding"),
        (Uncallable, "pydantic: Cannot generate a JsonSchema"),
        (Annotated[int, Field(alias="other")], "it has an alias: call the parameter as"),
        (User | Order, "which knows nothing of Order|is not supported"),
    ]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="pydantic.v1 ends with Python 3.13")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("row", range(10))
def test_declarations_that_are_refused(row: int) -> None:
    type, says = refused_declarations()[row]
    server = Server("s")

    def look(value: Any) -> None: ...

    look.__annotations__["value"] = type
    with pytest.raises(TypeError, match=rf"tool 'look': .*({says})") as caught:
        server.add_tool(look)
    assert "\n" not in str(caught.value)


def test_names_that_only_others_find() -> None:
    """msgspec and pydantic resolve some annotations that ``typing`` does not."""

    class Inner(Struct):
        x: "int"

    class Outer(Struct):
        inner: "Inner"  # a local name

    with pytest.raises(NameError):
        typing.get_type_hints(Outer)
    assert read_by_pydantic(Outer) is None


PROGRAM = """
import sys
{imports}
from pathlib import Path
from mcpcore.service import Server
from mcpcore.spec.revisions import LATEST

server = Server("s")

@server.tool
def look(path: Path, n: int = 3) -> Path:
    return path / str(n)

prepared = server.prepare("tools/call", b'{{"name":"look","arguments":{{"path":"a"}}}}', LATEST)
print(bytes(prepared.finish(prepared.call(None))).decode())
print([name for name in ("pydantic", "pydantic.main", "attrs", "attr") if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("imports", "loaded"),
    [("", []), ("import pydantic", ["pydantic"]), ("import attrs", ["attrs", "attr"])],
)
def test_nothing_is_imported_for_who_has_no_such_types(imports: str, loaded: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(imports=imports)],
        capture_output=True,
        text=True,
        check=True,
    )
    result, modules = done.stdout.splitlines()
    assert json.loads(result)["structuredContent"] == str(Path("a/3"))
    assert modules == str(loaded)


def test_aliases_of_types() -> None:
    server, seen = tool(TypeAliasType("Users", list[User]))
    assert call(server, "look", {"value": [ADA]})["content"][0]["text"] == "done"
    assert seen == [[SHE]]
    assert refused(server, {"value": [{}]}).startswith("arguments.value[0].email: Field required")


ALIASES = """
type Age = Annotated[int, Meta(ge=0)]
type Several[T] = list[T]
type Users = Several[User]
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 has no type statement")
def test_type_statements() -> None:
    names: dict[str, Any] = {"Annotated": Annotated, "Meta": Meta, "User": User}
    exec(ALIASES, names)
    for alias, wire, value in (("Age", 3, 3), ("Users", [ADA], [SHE])):
        server, seen = tool(names[alias])
        assert call(server, "look", {"value": wire})["content"][0]["text"] == "done"
        assert seen == [value]


def test_a_model_cannot_hold_a_struct() -> None:
    with pytest.raises(Exception, match="Unable to generate pydantic-core schema"):
        type("M", (BaseModel,), {"__annotations__": {"order": Order}})


@pytest.mark.parametrize(
    "type",
    [int, Any, list[Meta], Path, Shade, Box[int], Literal["a"], UserId, Callable[[int], int]],
)
def test_all_other_types_are_not_pydantics(type: Any) -> None:
    assert read_by_pydantic(type) is None
    assert read_by_pydantic(list[type]) is None


def test_a_model_beside_a_pattern() -> None:
    server = Server("s", validator=compile_schema)

    @server.tool
    def look(user: User, word: Annotated[str, Meta(pattern="^a+$")], n: int = 1) -> str:
        return user.email

    assert call(server, "look", {"user": ADA, "word": "aa"})["content"][0]["text"] == "ada@x"
    assert refused(server, {"user": ADA, "word": "b"}).startswith("arguments.word")
    assert refused(server, {"user": {}, "word": "a"}).startswith("arguments.user.email")
