"""Tools: declared, listed, called, their results in every revision."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import msgspec
import pytest
from msgspec import Meta, Raw, Struct

from mcpcore.engine.bodies import decode_skim
from mcpcore.errors import OutputMismatch, PromptError, ResourceError, ToolError, ValidatorMissing
from mcpcore.service import Audio, Embedded, Image, Server, is_masked, mirrored
from mcpcore.service.task_settings import task_form
from mcpcore.service.tools import given_result
from mcpcore.spec.decoding import decode
from mcpcore.spec.errors import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, McpError
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY, REVISIONS, Revision
from mcpcore.spec.types.base import Annotations, Icon, Skim
from mcpcore.spec.types.content import (
    AudioContent,
    ContentBlock,
    ImageContent,
    ResourceLink,
    TextContent,
    UnknownContent,
)
from mcpcore.spec.types.tools import CallToolResult, ToolAnnotations
from mcpcore_transports.schema import compile_schema
from tests.service.calling import CONTEXT, Context, ask, call

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8


def listed(server: Server, revision: Revision = LATEST) -> dict[str, Any]:
    tools = ask(server, "tools/list", revision=revision)["tools"]
    return {tool["name"]: tool for tool in tools}


# Declaring


def test_the_ways_to_declare() -> None:
    server = Server("s")

    @server.tool
    def bare(a: int) -> str:
        """Bare."""
        return str(a)

    @server.tool()
    def called(a: int) -> str:
        return str(a)

    @server.tool("other/name", title="T", description="D")
    def function() -> str:
        """Not this."""
        return "x"

    server.add_tool(lambda: "x", "fourth")
    assert bare(1) == "1"
    assert called(2) == "2"
    assert function() == "x"
    tools = listed(server)
    assert list(tools) == ["bare", "called", "other/name", "fourth"]
    assert tools["bare"]["description"] == "Bare."
    assert "description" not in tools["called"]
    assert tools["other/name"]["title"] == "T"
    assert tools["other/name"]["description"] == "D"


def test_everything_that_a_declaration_says() -> None:
    server = Server("s")

    @server.tool(
        title="Title",
        icons=["https://example.com/i.png", Icon(src="data:image/png;base64,AA==", sizes=["any"])],
        annotations={"readOnlyHint": True, "title": "A"},
        meta={"com.example/x": 1},
    )
    def everything(a: Annotated[int, Meta(ge=1)], context: Context, b: str = "b") -> list[int]:
        """Does everything.

        Args:
            a: The a.
            b: The b.

        Returns:
            Nothing much.
        """
        return [a]

    server.add_tool(everything, "typed", annotations=ToolAnnotations(destructive_hint=False))
    assert listed(server)["everything"] == {
        "name": "everything",
        "title": "Title",
        "description": "Does everything.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "minimum": 1, "description": "The a."},
                "b": {"type": "string", "description": "The b.", "default": "b"},
            },
            "required": ["a"],
            "additionalProperties": False,
        },
        "outputSchema": {"type": "array", "items": {"type": "integer"}},
        "annotations": {"readOnlyHint": True, "title": "A"},
        "icons": [
            {"src": "https://example.com/i.png"},
            {"src": "data:image/png;base64,AA==", "sizes": ["any"]},
        ],
        "_meta": {"com.example/x": 1},
    }
    assert listed(server)["typed"]["annotations"] == {"destructiveHint": False}


def test_a_title_stands_where_the_revision_has_one() -> None:
    server = Server("s")
    server.add_tool(lambda: "x", "a", title="T")
    server.add_tool(lambda: "x", "b", title="T", annotations={"title": "A", "readOnlyHint": True})
    found = {}
    for revision in REVISIONS:
        tools = ask(server, "tools/list", revision=revision)["tools"]
        found[revision.name] = [(t.get("title"), t.get("annotations")) for t in tools]
    with_titles = [("T", None), ("T", {"title": "A", "readOnlyHint": True})]
    assert found == {
        "2024-11-05": [(None, None), (None, None)],
        "2025-03-26": [(None, {"title": "T"}), (None, {"title": "A", "readOnlyHint": True})],
        "2025-06-18": with_titles,
        "2025-11-25": with_titles,
        "2026-07-28": with_titles,
    }


@pytest.mark.requirement("server/tools/name-length", "server/tools/name-characters")
@pytest.mark.parametrize("name", ["a", "A-b_c.d/e0", "x" * 128])
def test_good_names(name: str) -> None:
    server = Server("s")
    server.add_tool(lambda: "x", name)
    assert list(listed(server)) == [name]


class Unknown:
    pass


def unknown_result() -> Unknown:
    return Unknown()


def unknown_argument(a: Unknown) -> str:
    return "x"


def yielding() -> Any:
    yield 1


async def yielding_late() -> Any:
    yield 1


def open_ended(**rest: Any) -> str:
    return "x"


def doubled(a: Annotated[str, mirrored("X")] = "", b: Annotated[str, mirrored("x")] = "") -> str:
    return a + b


def number(a: Annotated[float, mirrored("X")]) -> str:
    return str(a)


def nullable(a: Annotated[str | None, mirrored("X")]) -> str:
    return str(a)


@pytest.mark.requirement(
    "server/tools/name-length",
    "server/tools/name-characters",
    "server/tools/input-schema",
    "basic/index/schema-valid",
)
@pytest.mark.parametrize(
    ("function", "name", "options", "kind", "says"),
    [
        (lambda: "", "x" * 129, {}, ValueError, "tool 'x+': the name"),
        (lambda: "", "a b", {}, ValueError, "tool 'a b': the name"),
        (lambda: "", None, {}, ValueError, "tool '<lambda>': the name"),
        (lambda: "", "ä", {}, ValueError, "A-Z a-z 0-9"),
        (lambda: "", "a\n", {}, ValueError, "the name must be"),
        (Context(), None, {}, TypeError, "Context objects have no name"),
        (5, "x", {}, TypeError, "tool 'x': expected a function"),
        (unknown_argument, None, {}, TypeError, "tool 'unknown_argument': parameter 'a'.*Unknown"),
        (unknown_result, None, {}, TypeError, "tool 'unknown_result': return type.*Unknown"),
        (yielding, None, {}, TypeError, "tool 'yielding': a function that yields has no result"),
        (yielding_late, None, {}, TypeError, "return a list"),
        (open_ended, None, {}, TypeError, "rest has no schema; pass input_schema"),
        (doubled, None, {}, ValueError, "'x' is used more than once"),
        (number, None, {}, ValueError, "not 'number'"),
        (nullable, None, {}, ValueError, "tool 'nullable': x-mcp-header"),
        (lambda: "", "x", {"tilte": "T"}, TypeError, "tool 'x': there is no option 'tilte'"),
        (
            lambda: "",
            "x",
            {"timeout": 0, "thread": True},
            ValueError,
            "timeout must be above 0, not 0",
        ),
        (
            lambda: "",
            "x",
            {"timeout": 1},
            ValueError,
            "tool 'x': timeout is for coroutine functions, and others with thread=True",
        ),
        (lambda: "", "x", {"visible": False}, TypeError, "tool 'x': visible is a function"),
        (lambda: "", "x", {"icons": ["javascript:alert(1)"]}, ValueError, "tool 'x': icon"),
        (lambda: "", "x", {"icons": ["file:///x.png"]}, ValueError, "tool 'x': icon"),
        (lambda: "", "x", {"icons": ["data:text/html,x"]}, ValueError, "tool 'x': icon"),
        (lambda: "", "x", {"annotations": {"readOnlyHint": 1}}, ValueError, "readOnlyHint"),
        (lambda: "", "x", {"input_schema": {"type": "string"}}, ValueError, '"type": "object"'),
        (lambda: "", "x", {"input_schema": {}}, ValueError, '"type": "object"'),
        (
            lambda: "",
            "x",
            {"input_schema": {"type": "object", "properties": 5}},
            ValueError,
            "tool 'x': not a valid schema: properties",
        ),
        (lambda: "", "x", {"output_schema": {"type": "no"}}, ValueError, "not a valid schema"),
    ],
)
def test_what_cannot_be_declared(
    function: Any, name: str | None, options: Any, kind: type[Exception], says: str
) -> None:
    server = Server("s", validator=compile_schema)
    with pytest.raises(kind, match=says):
        server.add_tool(function, name, **options)
    assert listed(server) == {}
    assert server.header_params == {}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"input_schema": {"type": "object"}}, "tool 'x': the input"),
        ({"output_schema": {"type": "object"}}, "tool 'x': the output"),
    ],
)
def test_a_written_schema_needs_a_validator(options: Any, says: str) -> None:
    with pytest.raises(ValidatorMissing, match=says) as caught:
        Server("s").add_tool(lambda: "", "x", **options)
    assert "pip install 'mcpcore[schema]'" in str(caught.value)


def test_mirrored_arguments_are_kept_up_to_date() -> None:
    server = Server("s")
    live = server.header_params

    def query(region: Annotated[str, mirrored("Region")]) -> str:
        return region

    server.add_tool(query)
    assert live == {"query": {"Region": ("region",)}}
    with pytest.raises(ValueError, match="declared already"):
        server.add_tool(lambda: "", "query")
    assert live == {"query": {"Region": ("region",)}}
    server.add_tool(lambda: "", "query", replace=True)
    assert live == {}
    server.add_tool(query, replace=True)
    server.remove_tool("query")
    assert live == {}


# Calling


class Person(Struct):
    name: str
    age: int


def arguments_server() -> Server:
    server = Server("s")

    @server.tool
    def describe(user: Person, times: int = 1, *, context: Context, loud: bool = False) -> str:
        assert context is CONTEXT
        text = f"{user.name}, {user.age}" * times
        return text.upper() if loud else text

    @server.tool
    async def later(a: int) -> str:
        return f"later {a}"

    return server


def test_calls() -> None:
    server = arguments_server()
    user = {"name": "ann", "age": 4}
    for arguments, expected in (
        ({"user": user}, "ann, 4"),
        ({"user": user, "times": 2, "loud": True}, "ANN, 4ANN, 4"),
        ({"user": user, "times": 2.0}, "ann, 4ann, 4"),
    ):
        result = call(server, "describe", arguments)
        assert result == {"content": [{"type": "text", "text": expected}]}
    assert call(server, "later", {"a": 1})["content"][0]["text"] == "later 1"


def test_a_default_is_new_for_each_call() -> None:
    server = Server("s")

    @server.tool
    def add(word: str, to: list[list[str]] = [[]]) -> str:  # noqa: B006 - that is the test
        to[0].append(word)
        return ",".join(to[0])

    found = [call(server, "add", {"word": word})["content"][0]["text"] for word in "ab"]
    assert found == ["a", "b"]


BAD_ARGUMENTS: list[tuple[Any, str]] = [
    ({}, "arguments.user: Missing required field"),
    (None, "arguments.user: Missing required field"),
    ({"user": {"name": "a"}}, "arguments.user.age: Missing required field"),
    ({"user": {"name": "a", "age": "4"}}, "arguments.user.age: Expected int, got str"),
    ({"user": {"name": "a", "age": 4}, "time": 1}, "arguments.time: Unknown field"),
    ({"user": {"name": "a", "age": 4}, "context": 1}, "arguments.context: Unknown field"),
    ({"user": {"name": "a", "age": 4}, "times": None}, "arguments.times: Expected int, got null"),
]


@pytest.mark.requirement("server/tools/inputs-validated")
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.parametrize(("arguments", "says"), BAD_ARGUMENTS)
def test_bad_arguments(arguments: Any, says: str, revision: Revision) -> None:
    server = arguments_server()
    if revision.tool_errors_in_result:
        result = call(server, "describe", arguments, revision)
        assert result == {"content": [{"type": "text", "text": says}], "isError": True}
    else:
        with pytest.raises(McpError) as caught:
            call(server, "describe", arguments, revision)
        assert caught.value.code == INVALID_PARAMS
        assert caught.value.error.message == says


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.parametrize(
    ("params", "says"),
    [
        (b"{}", "params.name: Missing required field"),
        (b'{"name":5}', "params.name: Expected str, got int"),
        (b'{"name":"nobody"}', "Unknown tool: nobody"),
        (b'{"name":"nobody","arguments":[]}', "Unknown tool: nobody"),
        (b'{"name":"later","arguments":[]}', "params.arguments: Expected object"),
        (b'{"name":"later","arguments": null}', "params.arguments: Expected object"),
        (b'{"name":"later","arguments":"{}"}', "params.arguments: Expected object"),
        (b'{"name":"' + b"x" * 9999 + b'"}', "Unknown tool: xxx"),
    ],
)
def test_bad_params_are_errors_of_the_protocol(
    params: bytes, says: str, revision: Revision
) -> None:
    with pytest.raises(McpError, match=says) as caught:
        ask(arguments_server(), "tools/call", params, revision)
    assert caught.value.code == INVALID_PARAMS
    assert len(caught.value.error.message) <= 500


def test_whitespace_before_arguments() -> None:
    params = b'{ "name" : "later" , "arguments" : \n { "a" : 1 } }'
    assert ask(arguments_server(), "tools/call", params)["content"][0]["text"] == "later 1"


def test_unknown_method() -> None:
    with pytest.raises(McpError, match="Method not found: tools/destroy") as caught:
        ask(Server("s"), "tools/destroy")
    assert caught.value.code == METHOD_NOT_FOUND


# Schemas written by hand

WRITTEN = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"age": {"type": "integer", "minimum": 0}},
    "properties": {"name": {"type": "string"}, "ages": {"items": {"$ref": "#/$defs/age"}}},
    "required": ["name"],
    "if": {"properties": {"name": {"const": "x"}}},
    "then": {"required": ["ages"]},
}


def written_server() -> Server:
    server = Server("s", validator=compile_schema)

    @server.tool(input_schema=WRITTEN)
    def typed(name: str, ages: Sequence[int] = (), context: Context | None = None) -> str:
        assert context is CONTEXT
        return f"{name} {list(ages)}"

    @server.tool(input_schema=WRITTEN)
    def proxy(context: Context, name: str, **rest: Any) -> str:
        assert context is CONTEXT
        return f"{name} {rest}"

    return server


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("typed", {"name": "a"}, "a []"),
        ("typed", {"name": "a", "ages": [1.0, 2]}, "a [1, 2]"),
        ("typed", {"name": "a", "other": 1}, "a []"),
        ("proxy", {"name": "a"}, "a {}"),
        ("proxy", {"name": "a", "ages": [1], "other": None}, "a {'ages': [1], 'other': None}"),
    ],
)
def test_written_schema(tool: str, arguments: Any, expected: str) -> None:
    assert call(written_server(), tool, arguments)["content"][0]["text"] == expected


@pytest.mark.requirement("server/tools/inputs-validated")
@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("typed", {}, 'arguments: missing "name"'),
        ("typed", None, 'arguments: missing "name"'),
        ("typed", {"name": 5}, "arguments.name: expected string, got 5"),
        ("typed", {"name": "x"}, 'arguments: missing "ages"'),
        ("typed", {"name": "a", "ages": [1, -2]}, "arguments.ages[1]: expected at least 0"),
        ("typed", {"name": 5, "ages": ["x"]}, "; arguments.name: expected string, got 5"),
        ("typed", {"name": "a", "ages": "abc"}, "arguments.ages: Expected array, got str"),
        ("proxy", {"name": "a", "context": 1}, "arguments.context: the name is taken"),
    ],
)
def test_written_schema_refuses(tool: str, arguments: Any, says: str) -> None:
    result = call(written_server(), tool, arguments)
    assert result["isError"] is True
    assert says in result["content"][0]["text"]


def test_a_written_schema_is_listed_as_it_is() -> None:
    server = written_server()
    for revision in REVISIONS:
        assert listed(server, revision)["typed"]["inputSchema"] == WRITTEN


def test_many_problems_are_cut() -> None:
    server = Server("s", validator=lambda schema: lambda value: ["a: wrong" * 9] * 10_000)
    server.add_tool(lambda: "", "x", input_schema={"type": "object"})
    text = call(server, "x")["content"][0]["text"]
    assert text.startswith("arguments.a: wrong")
    assert len(text) <= 500


# Results


class Place(TypedDict):
    x: int


@dataclass
class Spot:
    x: int


BLOCK = {"type": "text", "text": "t"}
IMAGE = {"type": "image", "data": base64.b64encode(PNG).decode(), "mimeType": "image/png"}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


CONTENT: list[tuple[Any, list[dict[str, Any]]]] = [
    ("plain", [text("plain")]),
    ('q"\n\u2028é', [text('q"\n\u2028é')]),
    ("", [text("")]),
    (None, []),
    (TextContent(text="t"), [BLOCK]),
    (
        ImageContent(data="AA==", mime_type="image/x"),
        [{"type": "image", "data": "AA==", "mimeType": "image/x"}],
    ),
    (Image(PNG), [IMAGE]),
    ([Image(PNG), "words", TextContent(text="t")], [IMAGE, text("words"), BLOCK]),
    ((TextContent(text="t"), {"a": 1}, 2), [BLOCK, text('{"a":1}'), text("2")]),
    (
        b"\0\1",
        [
            {
                "type": "resource",
                "resource": {
                    "uri": "embedded:result",
                    "mimeType": "application/octet-stream",
                    "blob": "AAE=",
                },
            }
        ],
    ),
    (
        Embedded("a: 1", "file:///a.yaml", "text/yaml"),
        [
            {
                "type": "resource",
                "resource": {"uri": "file:///a.yaml", "mimeType": "text/yaml", "text": "a: 1"},
            }
        ],
    ),
]


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.parametrize(("value", "content"), CONTENT)
def test_content(value: Any, content: list[dict[str, Any]], revision: Revision) -> None:
    server = Server("s")
    server.add_tool(lambda: value, "x")
    assert call(server, "x", revision=revision) == {"content": content}


@pytest.mark.parametrize(
    ("data", "helper", "mime_type"),
    [
        (PNG, Image, "image/png"),
        (b"\xff\xd8\xff\xe0", Image, "image/jpeg"),
        (b"GIF89a", Image, "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", Image, "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", Audio, "audio/wav"),
        (b"OggS\0", Audio, "audio/ogg"),
        (b"fLaC\0", Audio, "audio/flac"),
        (b"ID3\3", Audio, "audio/mpeg"),
    ],
)
def test_types_of_media_are_recognised(
    data: bytes, helper: type[Image] | type[Audio], mime_type: str
) -> None:
    block = helper(data).block()
    assert block.mime_type == mime_type
    assert base64.b64decode(block.data) == data
    assert helper(b"?", "x/y").block().mime_type == "x/y"
    kind = mime_type.partition("/")[0]
    for format, subtype in (("PNG", "png"), ("wav", "wav"), ("jpg", "jpeg"), ("mp3", "mpeg")):
        assert helper(b"?", format=format).block().mime_type == f"{kind}/{subtype}"
    with pytest.raises(ValueError, match="pass mime_type"):
        helper(b"?").block()


def test_older_revisions_get_older_kinds_of_content() -> None:
    server = Server("s")
    audio = AudioContent(data="AA==", mime_type="audio/wav", annotations=Annotations(priority=1))
    link = ResourceLink(uri="file:///a", name="a", title="A", meta={"k": 1})
    plain = ResourceLink(uri="file:///b", name="b")
    server.add_tool(lambda: [audio, link, plain, "end"], "x")
    server.add_tool(lambda: CallToolResult(content=[audio, link]), "y")
    as_audio = {
        "type": "audio",
        "data": "AA==",
        "mimeType": "audio/wav",
        "annotations": {"priority": 1.0},
    }
    as_resource = {
        "type": "resource",
        "resource": {"uri": "embedded:audio", "blob": "AA==", "mimeType": "audio/wav"},
        "annotations": {"priority": 1.0},
    }
    as_text = text("A: file:///a")
    for revision in REVISIONS:
        content = call(server, "x", revision=revision)["content"]
        assert content[0] == (as_audio if revision.audio_content else as_resource)
        if revision.resource_links:
            assert [block["type"] for block in content[1:3]] == ["resource_link"] * 2
        else:
            assert content[1:3] == [as_text, text("b: file:///b")]
        assert content[3] == text("end")
        assert call(server, "y", revision=revision)["content"] == content[:2]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "a: file:///a"),
        ({"title": "A"}, "A: file:///a"),
        ({"description": "What it is."}, "a: file:///a\nWhat it is."),
        ({"mime_type": "text/plain"}, "a: file:///a\n(text/plain)"),
        ({"size": 0}, "a: file:///a\n(0 bytes)"),
        (
            {"title": "A", "description": "What.", "mime_type": "x/y", "size": 12},
            "A: file:///a\nWhat.\n(x/y, 12 bytes)",
        ),
    ],
)
def test_a_link_in_words_says_all_that_it_says(members: dict[str, Any], words: str) -> None:
    server = Server("s")
    server.add_tool(lambda: ResourceLink(uri="file:///a", name="a", **members), "x")
    for revision in REVISIONS:
        if not revision.resource_links:
            assert call(server, "x", revision=revision) == {"content": [text(words)]}


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.parametrize(
    "value",
    [
        UnknownContent(type="hologram", x=1),
        ["words", UnknownContent(type="hologram", x=1)],
        CallToolResult(content=[UnknownContent(type="hologram", x=1)]),
    ],
)
def test_content_of_no_revision_is_refused(value: Any, revision: Revision) -> None:
    server = Server("s")
    server.add_tool(lambda: value, "x")
    result = call(server, "x", revision=revision)
    assert result == broken(f"has content of a kind that {revision.name} cannot carry")
    prepared = server.prepare("tools/call", b'{"name":"x"}', revision)
    with pytest.raises(OutputMismatch, match="'hologram' is in no revision"):
        prepared.finish(value)


def test_icons_of_links_are_checked_like_those_of_declarations() -> None:
    server = Server("s")
    link = ResourceLink(uri="t:a", name="a", icons=[Icon(src="javascript:alert(1)")])
    server.add_tool(lambda: link, "x")
    rule = "has a link with an icon whose URI is neither https: nor data:image/"
    assert call(server, "x") == broken(rule)
    prepared = server.prepare("tools/call", b'{"name":"x"}', REVISIONS[-1])
    with pytest.raises(OutputMismatch, match="icon 'javascript:"):
        prepared.finish(link)
    as_text = call(server, "x", revision=REVISIONS[0])
    assert as_text == {"content": [text("a: t:a")]}


class Weather(Struct):
    city: str
    degrees: float = 0.0


def returns(annotation: Any, value: Any) -> Callable[[], Any]:
    def function() -> Any:
        return value

    function.__annotations__["return"] = annotation
    return function


STRUCTURED: list[tuple[Any, Any, Any, str]] = [
    (Weather, Weather("x"), {"city": "x", "degrees": 0.0}, "object"),
    (Weather, {"city": "x", "degrees": 1}, {"city": "x", "degrees": 1}, "object"),
    (Place, {"x": 1}, {"x": 1}, "object"),
    (Spot, Spot(1), {"x": 1}, "object"),
    (dict[str, int], {"a": 1}, {"a": 1}, "object"),
    (dict, {"a": [1]}, {"a": [1]}, "object"),
    (int, 5, 5, "integer"),
    (bool, True, True, "boolean"),
    (list[int], [1, 2], [1, 2], "array"),
    (list[str], ["a", "b"], ["a", "b"], "array"),
    (list[Weather], [Weather("x")], [{"city": "x", "degrees": 0.0}], "array"),
    (set[int], {1}, [1], "array"),
    (int | None, None, None, ""),
    (Weather | None, None, None, ""),
]


@pytest.mark.requirement("server/tools/structured-as-text")
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.parametrize(("annotation", "value", "expected", "kind"), STRUCTURED)
def test_structured_content(
    annotation: Any, value: Any, expected: Any, kind: str, revision: Revision
) -> None:
    server = Server("s")
    server.add_tool(returns(annotation, value), "x")
    schema = listed(server, revision)["x"].get("outputSchema")
    result = call(server, "x", revision=revision)
    assert msgspec.json.decode(result["content"][0]["text"]) == expected
    if not revision.structured_content:
        assert schema is None
        assert "structuredContent" not in result
        return
    assert compile_schema(schema)(result["structuredContent"]) == []
    if kind == "object" or revision.any_structured_content:
        assert result["structuredContent"] == expected
        assert schema.get("type", "") == kind
    else:
        assert result["structuredContent"] == {"result": expected}
        assert schema["type"] == "object"
        assert schema["required"] == ["result"]


@pytest.mark.parametrize(
    "annotation",
    [
        None,
        Any,
        object,
        str,
        bytes,
        Image,
        TextContent,
        ContentBlock,
        CallToolResult,
        list,
        tuple,
        list[Any],
        list[ContentBlock],
        list[Image | str],
        tuple[str, Image],
        tuple[Image, ...],
        Sequence[ContentBlock],
        str | None,
        str | Image,
        Annotated[str, "x"],
    ],
)
def test_content_has_no_output_schema(annotation: Any) -> None:
    server = Server("s")
    server.add_tool(returns(annotation, "x"), "x")
    assert "outputSchema" not in listed(server)["x"]
    assert call(server, "x") == {"content": [text("x")]}


def test_structured_can_be_asked_for_and_turned_off() -> None:
    server = Server("s")
    server.add_tool(returns(str, "x"), "yes", structured_output=True)
    server.add_tool(returns(Unknown, Weather("x")), "no", structured_output=False)
    assert listed(server)["yes"]["outputSchema"] == {"type": "string"}
    assert "outputSchema" not in listed(server)["no"]
    assert call(server, "yes") == {"content": [text("x")], "structuredContent": "x"}
    legacy = call(server, "yes", revision=LATEST_LEGACY)
    assert legacy == {"content": [text("x")], "structuredContent": {"result": "x"}}


def test_data_without_a_schema() -> None:
    server = Server("s")
    server.add_tool(lambda: {"a": 1}, "mapping")
    server.add_tool(lambda: [1, "x"], "list")
    server.add_tool(lambda: [], "empty")
    for revision in REVISIONS:
        mapping = call(server, "mapping", revision=revision)
        assert mapping["content"] == [text('{"a":1}')]
        assert mapping.get("structuredContent") == (
            {"a": 1} if revision.structured_content else None
        )
        for name, expected in (("list", [1, "x"]), ("empty", [])):
            result = call(server, name, revision=revision)
            assert msgspec.json.decode(result["content"][0]["text"]) == expected
            assert result.get("structuredContent") == (
                expected if revision.any_structured_content else None
            )


MASKED = {"content": [text("Internal error")], "isError": True}


def broken(rule: str) -> dict[str, Any]:
    """What the client is told of a result that breaks a rule."""
    return {"content": [text(f"Internal error: the result {rule}")], "isError": True}


SCHEMA = "does not meet the output schema"
FORM = "has no JSON form"


@pytest.mark.requirement("server/tools/output-conforms")
@pytest.mark.parametrize(
    ("annotation", "value", "told"),
    [
        (int, "5", broken(SCHEMA)),
        (int, None, broken(SCHEMA)),
        (float, math.nan, broken(FORM)),
        (Weather, {"degrees": 1}, broken(SCHEMA)),
        (Weather, Weather(5), broken(SCHEMA)),  # type: ignore[arg-type]
        (list[int], [1, None], broken(SCHEMA)),
        (Any, math.nan, broken(FORM)),
        (Any, {"a": math.inf}, broken(FORM)),
        (Any, "\ud800", MASKED),
        (Any, Unknown(), broken(FORM)),
        (Any, {"a": Unknown()}, broken(FORM)),
        (Any, Image(b"?"), MASKED),
        (Any, {(1, 2): 3}, broken(FORM)),
        (Place, "x", broken(SCHEMA)),
    ],
)
def test_output_that_is_wrong_names_the_rule(
    annotation: Any, value: Any, told: dict[str, Any]
) -> None:
    server = Server("s")
    server.add_tool(returns(annotation, value), "x")
    for revision in REVISIONS:
        assert call(server, "x", revision=revision) == told


def test_the_reason_is_there_for_the_log() -> None:
    server = Server("s")
    server.add_tool(returns(Weather, {"city": 5}), "x")
    prepared = server.prepare("tools/call", b'{"name":"x"}', LATEST)
    with pytest.raises(OutputMismatch, match=r"result.city: Expected str, got int") as caught:
        prepared.finish(prepared.call(None))
    assert is_masked(caught.value)


# Results that the handler makes itself

OUTPUT = {"type": "array", "items": {"type": "integer"}, "maxItems": 2}


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
def test_own_result(revision: Revision) -> None:
    server = Server("s", validator=compile_schema)
    own = CallToolResult(
        content=[TextContent(text="two")],
        structured_content=[1, 2],
        meta={"com.example/k": 1},
        result_type="strange",
    )
    server.add_tool(lambda: own, "schema", output_schema=OUTPUT)
    server.add_tool(lambda: own, "none")
    expected: dict[str, Any] = {"content": [text("two"), text("[1,2]")]}
    plain = dict(expected)
    if revision.any_structured_content:
        expected["structuredContent"] = plain["structuredContent"] = [1, 2]
    elif revision.structured_content:
        expected["structuredContent"] = {"result": [1, 2]}
    assert call(server, "schema", revision=revision) == expected
    assert call(server, "none", revision=revision) == plain
    assert own.structured_content == [1, 2]
    assert own.meta == {"com.example/k": 1}
    prepared = server.prepare("tools/call", b'{"name":"none"}', revision)
    prepared.finish(own)
    assert prepared.meta == {"com.example/k": 1}


ROWS = {"rows": [1, 2.5, "é"], "at": {"b": None, "a": True}}
ROWS_TEXT = '{"rows":[1,2.5,"é"],"at":{"b":null,"a":true}}'
LAID_OUT = '{\n "at": {"a": true, "b": null},\n "rows": [1, 2.5, "\\u00e9"]\n}'


@pytest.mark.requirement("server/tools/structured-as-text")
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.parametrize("is_error", [False, True])
@pytest.mark.parametrize("schema", [None, {"type": "object"}])
@pytest.mark.parametrize(
    ("value", "said", "texts"),
    [
        (ROWS, [], [ROWS_TEXT]),
        (ROWS, ["3 rows"], ["3 rows", ROWS_TEXT]),
        (ROWS, [ROWS_TEXT], [ROWS_TEXT]),
        (ROWS, ["3 rows", LAID_OUT], ["3 rows", LAID_OUT]),
        (ROWS, [ROWS_TEXT[:-1]], [ROWS_TEXT[:-1], ROWS_TEXT]),
        (ROWS, ["[" * 5000, ""], ["[" * 5000, "", ROWS_TEXT]),
        ({}, ["[]"], ["[]", "{}"]),
        ([1, 2], [], ["[1,2]"]),
        ([1, 2], ["two"], ["two", "[1,2]"]),
        ([1, 2], ["[1, 2]"], ["[1, 2]"]),
        ("words", [], ['"words"']),
        (Raw(b"null"), [], ["null"]),
        (True, ["1"], ["1", "true"]),
    ],
)
def test_structured_content_of_an_own_result_is_never_lost(
    value: Any,
    said: list[str],
    texts: list[str],
    schema: dict[str, Any] | None,
    is_error: bool,
    revision: Revision,
) -> None:
    server = Server("s", validator=compile_schema)
    own = CallToolResult(
        content=[TextContent(text=each) for each in said],
        structured_content=value,
        is_error=is_error,
    )
    options: dict[str, Any] = {} if schema is None else {"output_schema": schema}
    server.add_tool(lambda: own, "x", **options)
    result = call(server, "x", revision=revision)
    fits = isinstance(value, dict)
    if schema is not None and not fits and not is_error:
        assert result == broken(SCHEMA)
        return
    assert result["content"] == list(map(text, texts))
    if revision.any_structured_content or (revision.structured_content and fits):
        assert result["structuredContent"] == (None if isinstance(value, Raw) else value)
    else:
        assert "structuredContent" not in result
    assert own.content == [TextContent(text=each) for each in said]  # it may be sent again


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
def test_none_is_null_only_where_the_output_schema_has_null(revision: Revision) -> None:
    server = Server("s", validator=compile_schema)
    own = CallToolResult(content=[TextContent(text="nothing")], structured_content=None)
    server.add_tool(lambda: own, "free")
    server.add_tool(lambda: own, "list", output_schema={"type": "array"})
    server.add_tool(lambda: own, "null", output_schema={"type": ["array", "null"]})
    missing = "has no structured content, which the output schema asks for"
    assert call(server, "free", revision=revision) == {"content": [text("nothing")]}
    assert call(server, "list", revision=revision) == broken(missing)
    expected: dict[str, Any] = {"content": [text("nothing"), text("null")]}
    if revision.structured_content:
        expected["structuredContent"] = (
            None if revision.any_structured_content else {"result": None}
        )
    assert call(server, "null", revision=revision) == expected


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
def test_a_null_that_was_received_is_sent_on(revision: Revision) -> None:
    received = decode(b'{"content":[],"structuredContent":null}', CallToolResult)
    server = Server("s")
    server.add_tool(lambda: received, "x")
    expected: dict[str, Any] = {"content": [text("null")]}
    if revision.any_structured_content:
        expected["structuredContent"] = None
    assert call(server, "x", revision=revision) == expected
    assert received.is_structured


def test_structured_content_that_cannot_be_compared_is_said_as_it_is_written() -> None:
    own = CallToolResult(content=[TextContent(text="{}")], structured_content=Raw(b'{"a":1e999}'))
    result = bytes(given_result(own, None, LATEST))
    assert b'"text":"{\\"a\\":1e999}"' in result
    assert b'"structuredContent":{"a":1e999}' in result


@pytest.mark.requirement("server/tools/output-conforms")
def test_written_output_schema() -> None:
    server = Server("s", validator=compile_schema)
    server.add_tool(lambda: [1, 2], "good", output_schema=OUTPUT)
    server.add_tool(lambda: [1, 2, 3], "bad", output_schema=OUTPUT)
    server.add_tool(lambda: CallToolResult(content=[]), "missing", output_schema=OUTPUT)
    failed = CallToolResult(content=[TextContent(text="no")], is_error=True)
    server.add_tool(lambda: failed, "failed", output_schema=OUTPUT)
    server.add_tool(
        lambda: CallToolResult(content=[], structured_content=["x"]), "wrong", output_schema=OUTPUT
    )
    server.add_tool(
        lambda: CallToolResult(content=[], structured_content={"a": 1}, is_error=False), "free"
    )
    assert listed(server)["good"]["outputSchema"] == OUTPUT
    assert listed(server, LATEST_LEGACY)["good"]["outputSchema"] == {
        "type": "object",
        "properties": {"result": OUTPUT},
        "required": ["result"],
    }
    assert call(server, "good") == {"content": [text("[1,2]")], "structuredContent": [1, 2]}
    for name in ("bad", "wrong"):
        assert call(server, name) == broken(SCHEMA)
    endless = Raw(b"[1e999]")
    server.add_tool(lambda: endless, "endless", output_schema=OUTPUT)
    assert call(server, "endless") == broken(SCHEMA)
    missing = "has no structured content, which the output schema asks for"
    assert call(server, "missing") == broken(missing)
    assert call(server, "failed") == {"content": [text("no")], "isError": True}
    assert call(server, "free", revision=LATEST_LEGACY) == {
        "content": [text('{"a":1}')],
        "structuredContent": {"a": 1},
    }


# Failures


def raising(error: Exception) -> Callable[[], str]:
    def function() -> str:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ToolError("No such city."), "No such city."),
        (ResourceError("broken"), "broken"),
        (ToolError("\ud800"), "?"),
        (ValueError("secret"), "Internal error"),
        (KeyError("secret"), "Internal error"),
        (RecursionError("secret"), "Internal error"),
    ],
)
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
def test_errors_in_tools(error: Exception, message: str, revision: Revision) -> None:
    server = Server("s")
    server.add_tool(raising(error), "x")
    result = call(server, "x", revision=revision)
    assert result == {"content": [text(message)], "isError": True}
    assert is_masked(error) == (message == "Internal error")


def test_an_error_of_the_protocol_stays_one() -> None:
    server = Server("s")
    server.add_tool(raising(McpError(-32021, "sampling is needed", {"a": 1})), "x")
    with pytest.raises(McpError) as caught:
        call(server, "x")
    assert caught.value.error.data == Raw(b'{"a":1}')
    assert not is_masked(caught.value)


def test_errors_that_are_shown_have_codes() -> None:
    assert ToolError.code == ResourceError.code == INTERNAL_ERROR
    assert PromptError.code == INVALID_PARAMS


# Lists


def test_lists_are_cached_for_each_revision() -> None:
    server = Server("s", page_size=2, list_ttl_ms=7, list_cache_scope="private")
    for name in ("c", "a", "b"):
        server.add_tool(lambda: 1, name)
    first = server.prepare("tools/list", Raw(b"{}"), LATEST).result
    assert server.prepare("tools/list", Raw(b'{"cursor":null}'), LATEST).result is first
    page = msgspec.json.decode(bytes(first or b""))
    assert [tool["name"] for tool in page["tools"]] == ["c", "a"]
    assert (page["ttlMs"], page["cacheScope"]) == (7, "private")
    last = ask(server, "tools/list", {"cursor": page["nextCursor"]})
    assert [tool["name"] for tool in last["tools"]] == ["b"]
    assert (last["ttlMs"], last["cacheScope"]) == (7, "private")
    assert "ttlMs" not in ask(server, "tools/list", revision=LATEST_LEGACY)
    with pytest.raises(McpError, match=r"params\.cursor: Expected str"):
        ask(server, "tools/list", {"cursor": 5})
    with pytest.raises(McpError, match="cursor"):
        ask(server, "prompts/list", {"cursor": page["nextCursor"]})
    with pytest.raises(McpError, match="cursor"):
        ask(Server("other"), "tools/list", {"cursor": page["nextCursor"]})


def test_params_may_hold_what_is_not_known() -> None:
    server = Server("s")
    params: Mapping[str, Any] = {"_meta": {"progressToken": 1}, "other": [1]}
    assert ask(server, "tools/list", params)["tools"] == []


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.parametrize("page_size", [1, 2, 100])
@pytest.mark.parametrize("guarded", [False, True])
def test_tools_that_run_only_as_tasks_are_listed_where_there_are_tasks(
    guarded: bool, page_size: int, revision: Revision
) -> None:
    server = Server("s", page_size=page_size)
    everybody = {"visible": lambda principal: True} if guarded else {}

    async def work() -> str:
        return "x"

    for name, task in (("a", "required"), ("b", "optional"), ("c", "required"), ("d", "forbidden")):
        server.add_tool(work, name, task=task, **everybody)  # type: ignore[arg-type]
    names: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = ask(server, "tools/list", cursor, revision)
        names += [tool["name"] for tool in page["tools"]]
        assert 1 <= len(page["tools"]) <= page_size
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
    has_tasks = task_form(revision) is not None
    assert names == (["a", "b", "c", "d"] if has_tasks else ["b", "d"])


@pytest.mark.parametrize(
    "params",
    [
        b'{"name":"echo","arguments":{"text":"x"}}',
        b'{"name":"echo","arguments":{"text":"x"},"name":"none"}',
        b'{"name":"echo","arguments":{}}',
        b'{"name":"echo","arguments":[]}',
        b'{"name":"echo","arguments":null}',
        b'{"name":"echo"}',
        b'{"name":7,"arguments":{}}',
        b'{"name":"\\ud800"}',
        b'{"arguments":{"text":"x"}}',
        b"{}",
    ],
)
@pytest.mark.parametrize("revision", [REVISIONS[0], LATEST])
def test_what_the_engine_has_read_of_a_call_spares_a_look_and_changes_nothing(
    params: bytes, revision: Revision
) -> None:
    server = Server("skims")

    @server.tool
    def echo(text: str) -> str:
        return text

    def outcome(skim: Skim | None) -> object:
        try:
            prepared = server.prepare("tools/call", Raw(params), revision, None, skim)
        except McpError as error:
            return error.error
        return prepared.result or prepared.call(None)

    try:
        skim = decode_skim(params)
    except msgspec.MsgspecError:
        skim = Skim()  # such params are refused before
    assert outcome(skim) == outcome(None)
