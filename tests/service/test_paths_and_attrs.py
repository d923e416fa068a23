"""Paths, attrs classes and plain classes where types of Python are named."""

import pathlib
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, ClassVar, NamedTuple, NotRequired, Optional, TypedDict

import attrs
import msgspec
import pytest
from msgspec import Meta, Struct

from mcpcore.errors import InvalidValue
from mcpcore.service import Server
from mcpcore.service.reading import ValueReader
from mcpcore.service.schema import form_schema, output_schema
from mcpcore.spec.errors import INVALID_PARAMS, McpError
from mcpcore.spec.revisions import LATEST, REVISIONS
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_transports.schema import compile_schema
from tests.service.calling import ask, call

PATH = {"type": "string", "format": "path"}


class Place(Struct):
    where: Path = Path(".")
    others: list[Path] = []
    by_name: dict[str, PurePath] = {}
    maybe: Path | None = None


@attrs.define
class Copy:
    source: Path
    target: Path = Path("copies")


class Marked(TypedDict):
    at: Path
    note: NotRequired[PurePosixPath]


class Span(NamedTuple):
    first: Path
    last: Path


def schemas(server: Server, name: str) -> tuple[dict[str, Any], Any]:
    [found] = [tool for tool in ask(server, "tools/list")["tools"] if tool["name"] == name]
    return found["inputSchema"], found.get("outputSchema")


@pytest.mark.parametrize("kind", [Path, PurePath, PurePosixPath, PureWindowsPath])
def test_a_path_is_a_string(kind: type[PurePath]) -> None:
    server, seen = Server("s"), []

    @server.tool
    def look(path: kind, other: kind = kind("a/b"), maybe: Optional[kind] = None) -> kind:  # type: ignore[valid-type]  # noqa: B008, UP045
        seen.append((path, other, maybe))
        return path

    told, output = schemas(server, "look")
    assert told["properties"] == {
        "path": PATH,
        "other": {**PATH, "default": str(kind("a/b"))},
        "maybe": {"anyOf": [PATH, {"type": "null"}], "default": None},
    }
    assert told["required"] == ["path"]
    assert output == PATH
    result = call(server, "look", {"path": "c/d.txt", "maybe": "e"})
    assert result["structuredContent"] == str(kind("c/d.txt"))
    assert seen == [(kind("c/d.txt"), kind("a/b"), kind("e"))]
    assert all(isinstance(each, kind) for each in seen[0])


@pytest.mark.parametrize(
    ("type", "value", "wire"),
    [
        (Place, Place(Path("x"), [Path("y")], {"z": PurePath("w")}), None),
        (Place, Place(), {"where": ".", "others": [], "by_name": {}, "maybe": None}),
        (Copy, Copy(Path("a")), {"source": "a", "target": "copies"}),
        (Marked, {"at": Path("a"), "note": PurePosixPath("b")}, {"at": "a", "note": "b"}),
        (Span, Span(Path("a"), Path("b")), ["a", "b"]),
        (list[Path], [Path("a")], ["a"]),
        (dict[Path, int], {Path("a"): 1}, {"a": 1}),
        (tuple[Path, int], (Path("a"), 1), ["a", 1]),
    ],
)
def test_members(type: Any, value: Any, wire: Any) -> None:
    server = Server("s")

    @server.tool
    def echo(value: type) -> type:
        seen.append(value)
        return value

    seen: list[Any] = []
    wire = wire or msgspec.to_builtins(value, enc_hook=str)
    assert call(server, "echo", {"value": wire})["structuredContent"] == wire
    assert seen == [value]


def test_defaults_of_members_are_shown_as_they_would_be_sent() -> None:
    class Odd(Struct):
        place: Path = Path("here")
        thing: Any = object()

    told = output_schema(Odd)["properties"]
    assert told == {"place": {**PATH, "default": "here"}, "thing": {}}
    assert output_schema(Copy)["properties"]["target"] == {**PATH, "default": "copies"}
    assert output_schema(Place)["properties"]["where"] == {**PATH, "default": "."}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"place": {"where": 3}}, "arguments.place.where: Expected str, got int"),
        ({"place": {"others": ["a", {}]}}, "arguments.place.others[1]: Expected str, got object"),
        ({"place": {}, "path": None}, "arguments.path: Expected str, got null"),
        ({"place": {}, "path": []}, "arguments.path: Expected str, got array"),
    ],
)
def test_what_is_no_path(arguments: Any, says: str) -> None:
    server = Server("s")
    server.add_tool(lambda place, path: "", "look")

    @server.tool(name="look", replace=True)
    def look(place: Place, path: Path = Path(".")) -> str:
        raise AssertionError("never called")

    result = call(server, "look", arguments)
    assert result == {"content": [{"type": "text", "text": says}], "isError": True}


def test_text_or_a_path_is_text() -> None:
    server, seen = Server("s"), []

    @server.tool
    def look(path: str | Path, other: Path | str | None = None) -> str | Path:
        seen.append((path, other))
        return path

    told, output = schemas(server, "look")
    assert told["properties"]["path"] == {"type": "string"}
    assert output is None
    assert call(server, "look", {"path": "a"})["content"] == [
        {"type": "text", "text": "a"},
    ]
    assert seen == [("a", None)]


def test_a_path_beside_another_type_is_refused() -> None:
    def look(path: Path | int) -> None: ...

    with pytest.raises(TypeError, match=r"tool 'look': Type unions .* is not supported"):
        Server("s").add_tool(look)


def test_a_path_of_another_system() -> None:
    foreign = pathlib.WindowsPath if Path is not pathlib.WindowsPath else pathlib.PosixPath

    def look(path: Any) -> None: ...

    look.__annotations__["path"] = foreign
    with pytest.raises(TypeError, match=r"tool 'look': parameter 'path': type .* is not supported"):
        Server("s").add_tool(look)


def test_where_values_arrive_as_strings() -> None:
    server = Server("s")

    @server.prompt
    def review(path: Path, beside: PurePosixPath = PurePosixPath("x")) -> str:  # noqa: B008
        assert isinstance(path, Path)
        return f"{path.name} {beside}"

    @server.resource("file:///{+path}")
    def read(path: PurePosixPath) -> str:
        return path.suffix

    @server.method("acme/look")
    def look(path: Path) -> Any:
        return {"parent": path.parent}

    got = ask(server, "prompts/get", {"name": "review", "arguments": {"path": "a/b.py"}})
    assert got["messages"][0]["content"]["text"] == "b.py x"
    assert ask(server, "resources/read", {"uri": "file:///a/b.py"})["contents"][0]["text"] == ".py"
    assert ask(server, "acme/look", {"path": "a/b"}) == {"parent": "a"}
    with pytest.raises(McpError, match=r"params\.path: Expected str, got int") as caught:
        ask(server, "acme/look", {"path": 1})
    assert caught.value.code == INVALID_PARAMS


def test_paths_go_out_wherever_values_do() -> None:
    server = Server("s")
    server.add_tool(lambda: {"where": Path("a/b")}, "any")
    server.add_tool(lambda: CallToolResult(content=[], structured_content=Path("a")), "own")
    server.add_resource("x:y", lambda: [Path("a")])
    assert call(server, "any")["structuredContent"] == {"where": "a/b"}
    assert call(server, "own")["structuredContent"] == "a"
    assert ask(server, "resources/read", {"uri": "x:y"})["contents"][0]["text"] == '["a"]'


def test_a_path_beside_a_pattern() -> None:
    class File(Struct):
        path: Path
        suffix: Annotated[str, Meta(pattern="^[a-z]+$")]

    reader = ValueReader(File, lambda: output_schema(File), compile_schema, "it")
    assert reader.read(b'{"path": "a", "suffix": "b"}', "file") == File(Path("a"), "b")
    assert reader.convert({"path": "a", "suffix": "b"}, "file") == File(Path("a"), "b")
    with pytest.raises(InvalidValue, match=r"file\.suffix"):
        reader.read(b'{"path": "a", "suffix": "B"}', "file")


def test_a_form_with_a_path() -> None:
    form = form_schema(Copy)
    assert form == {
        "type": "object",
        "properties": {
            "source": {"type": "string"},
            "target": {"type": "string", "default": "copies"},
        },
        "required": ["source"],
    }


def test_a_type_that_nobody_can_read() -> None:
    server = Server("s")
    server.method("acme/look")(_take_bare)
    with pytest.raises(McpError, match=r"params\.value: Expected Bare, got dict"):
        ask(server, "acme/look", {"value": {}})
    with pytest.raises(TypeError, match=r"a form cannot hold this type: type .* is not supported"):
        form_schema(Bare)
    with pytest.raises(TypeError, match=r"parameter 'value': type .* is not supported"):
        server.add_tool(_take_bare)


# attrs, as msgspec has it


def loud(unit: str) -> str:
    return unit.upper()


@attrs.define
class Size:
    """A size.

    Attributes:
        width: In pixels.
    """

    width: int = attrs.field(validator=attrs.validators.gt(0))
    height: Annotated[int, Meta(ge=1)] = 1
    unit: str = attrs.field(default="px", converter=loud)
    tags: list[str] = attrs.field(factory=list)


@attrs.frozen
class Screen:
    name: str
    sizes: list[Size]

    def __attrs_post_init__(self) -> None:
        if not self.sizes:
            raise ValueError("a screen has at least one size")


def test_attrs() -> None:
    server, seen = Server("s"), []

    @server.tool
    def show(screen: Screen) -> Size:
        seen.append(screen)
        return screen.sizes[0]

    told, output = schemas(server, "show")
    assert output["properties"] == told["$defs"]["Size"]["properties"]
    # msgspec tells of an empty factory since 0.23.
    assert told["$defs"]["Size"]["properties"]["tags"].pop("default", []) == []
    assert told["$defs"]["Size"] == {
        "title": "Size",
        "description": "A size.",
        "type": "object",
        "properties": {
            "width": {"type": "integer", "description": "In pixels."},
            "height": {"type": "integer", "minimum": 1, "default": 1},
            "unit": {"type": "string", "default": "px"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["width"],
    }
    size = {"width": 3, "height": 2, "unit": "em", "tags": []}
    result = call(server, "show", {"screen": {"name": "a", "sizes": [size]}})
    assert result["structuredContent"] == size  # converters are not run
    assert [(each.name, each.sizes[0].unit) for each in seen] == [("a", "em")]


@pytest.mark.parametrize(
    ("screen", "says"),
    [
        ({"name": "a", "sizes": []}, "arguments.screen: a screen has at least one size"),
        ({"name": "a", "sizes": [{"width": "x"}]}, "arguments.screen.sizes[0].width: Expected int"),
        ({"name": "a", "sizes": [{"width": 0}]}, "arguments.screen.sizes[0]: 'width' must be > 0"),
        ({"name": "a"}, "arguments.screen.sizes: Missing required field"),
    ],
)
def test_attrs_that_do_not_fit(screen: Any, says: str) -> None:
    server = Server("s")

    @server.tool
    def show(screen: Screen) -> None: ...

    result = call(server, "show", {"screen": screen})
    assert result["isError"] is True
    assert result["content"][0]["text"].startswith(says)


# Plain classes, and what a result is checked against


class Plain:
    """A user."""

    name: str
    home: Path
    age: int | None = None
    kind: ClassVar[str] = "user"
    _hidden: int = 0

    def __init__(self, name: str, home: Path, age: Any = None) -> None:
        self.name, self.home, self.age = name, home, age


class Bare:
    def __init__(self) -> None:
        self.name = "x"


def test_a_plain_class_with_annotations_as_a_result() -> None:
    server = Server("s")

    @server.tool
    def user(age: Any = 3) -> Plain:
        return Plain("Ada", Path("/home"), age)

    assert schemas(server, "user")[1] == {
        "title": "Plain",
        "description": "A user.",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "home": PATH,
            "age": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        },
        "required": ["name", "home"],
    }
    result = call(server, "user")
    assert result["structuredContent"] == {"name": "Ada", "home": "/home", "age": 3}
    told = call(server, "user", {"age": "old"})
    assert told["isError"] is True
    assert "does not meet the output schema" in told["content"][0]["text"]


def _take_bare(value: Bare) -> None: ...


Unknown = type("Unknown", (), {"__annotations__": {"name": "NotImported"}})


@pytest.mark.parametrize("cls", [Bare, complex, Unknown])
def test_other_classes_are_no_result(cls: type) -> None:
    def user() -> Any: ...

    user.__annotations__["return"] = cls
    with pytest.raises(TypeError, match=r"tool 'user': return type: .* is not supported"):
        Server("s").add_tool(user)


class Status(Struct):
    status: str


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: str(revision.name))
def test_a_result_of_its_own_with_a_declared_structure(revision: Any) -> None:
    server = Server("s")

    @server.tool
    def check(status: Any) -> Annotated[CallToolResult, Status]:
        text = TextContent(text="done")
        return CallToolResult(content=[text], structured_content={"status": status})

    @server.tool
    def words() -> Annotated[CallToolResult, "what it says"]:
        return CallToolResult(content=[TextContent(text="done")])

    listed = ask(server, "tools/list", revision=revision)["tools"]
    assert [tool.get("outputSchema") for tool in listed] == [
        output_schema(Status) if revision.structured_content else None,
        None,
    ]
    result = call(server, "check", {"status": "ok"}, revision)
    assert [block["text"] for block in result["content"]] == ["done", '{"status":"ok"}']
    assert result.get("structuredContent") == (
        {"status": "ok"} if revision.structured_content else None
    )
    assert call(server, "check", {"status": 3}, revision)["isError"] is True
    assert call(server, "words", None, revision)["content"] == [{"type": "text", "text": "done"}]
    assert LATEST.structured_content
