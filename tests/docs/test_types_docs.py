"""The table of types on the page about tools says what schemas and values are."""

import datetime
import enum
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict

import attrs
import pytest
from msgspec import Meta, Struct

from mcpcore.service import Server
from mcpcore.service.content import is_content
from tests.service.calling import ask, call

pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")

PAGE = Path(__file__).parents[2] / "docs/how-to/features/tools.md"


class Color(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    x: int
    y: int = 0


class Options(TypedDict):
    depth: int
    deep: NotRequired[bool]


class Pair(NamedTuple):
    a: int
    b: str


class Guest(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    name: str


class Visitor:
    name: str

    def __init__(self, name: str) -> None:
        self.name = name


NAMES = {
    **{each.__name__: each for each in (Color, Level, Point, Options, Pair, Guest, Visitor)},
    **{each.__name__: each for each in (Decimal, Path, PurePath, PurePosixPath, Meta)},
    **{each.__name__: each for each in (datetime.datetime, datetime.date, datetime.time)},
    "timedelta": datetime.timedelta,
    "UUID": uuid.UUID,
    "UserId": NewType("UserId", int),
    "Any": Any,
    "Annotated": Annotated,
    "Literal": Literal,
    "Sequence": Sequence,
    "Mapping": Mapping,
    "Field": pydantic.Field,
    "PositiveInt": pydantic.PositiveInt,
    "SecretStr": pydantic.SecretStr,
}
TWINS: dict[str, list[Any]] = {
    "Color": [enum.Enum("Color", {"RED": "red", "BLUE": "blue"})],
    "Point": [
        attrs.make_class(
            "Point", {"x": attrs.field(type=int), "y": attrs.field(type=int, default=0)}
        ),
        type("Point", (Struct,), {"__annotations__": {"x": int, "y": int}, "y": 0}),
    ],
}
"""The other kinds of class that a row speaks of."""


def rows() -> list[Any]:
    """Name, schema (None if it is left to pydantic) and value of each type in the table."""
    head = "| Type | Schema | JSON |\n|---|---|---|\n"
    [table] = re.findall(re.escape(head) + r"((?:\|.*\n)+)", PAGE.read_text())
    found = []
    for line in table.splitlines():
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        schema, value = (json.loads(cell.strip("`")) if "`" in cell else None for cell in cells[1:])
        named, aside, _ = cells[0].partition("`, a")
        names = re.findall(r"`([^`]+)`", named + "`" if aside else named)
        found += [pytest.param(name, schema, value, id=name) for name in names]
    return found


def declared(type: Any, parameter: Any) -> tuple[Server, dict[str, Any]]:
    """A server with a tool that returns what it is given, and how that is listed."""
    server = Server("s")

    def echo(value: Any) -> Any:
        return type(**value) if type is Visitor else value

    echo.__annotations__ = {"value": parameter, "return": type}
    server.add_tool(echo)
    [listed] = ask(server, "tools/list")["tools"]
    return server, listed


@pytest.mark.parametrize(("name", "schema", "value"), rows())
def test_the_table_of_types(name: str, schema: Any, value: Any) -> None:
    for type in (eval(name, NAMES), *TWINS.get(name, ())):
        server, listed = declared(type, Any if type is Visitor else type)
        if schema is None:
            continue
        said = listed["inputSchema"]["properties"]["value"]
        if "$ref" in said:
            [said] = listed["inputSchema"]["$defs"].values()
        if type is not Visitor:
            assert said == schema
        content = is_content(type)
        assert listed.get("outputSchema") == (None if content else schema)
        result = call(server, "echo", {"value": value})
        if content and isinstance(value, str):
            [block] = result["content"]
            assert value == (block.get("text") or block["resource"]["blob"])
        else:
            assert result["structuredContent"] == value


def test_a_plain_class_is_for_results_only() -> None:
    with pytest.raises(TypeError, match=r"parameter 'value': type .* is not supported"):
        declared(Visitor, Visitor)


def test_the_table_has_all_of_them() -> None:
    assert len(rows()) > 35
