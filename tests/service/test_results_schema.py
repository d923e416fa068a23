"""Every list, declaration and result against the official schema of every revision."""

from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from msgspec import Struct

from mcpcore.service import Audio, Embedded, Image, Server, ToolError, assistant, user
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.spec.types.content import ResourceLink, TextContent
from mcpcore.spec.types.tools import CallToolResult
from tests.service.calling import ask
from tests.spec.oracle import FOLDER, needs_schemas

PNG = b"\x89PNG\r\n\x1a\n"


class Weather(Struct):
    city: str
    degrees: float


def everything() -> Server:
    server = Server("s", page_size=3)

    @server.tool(
        title="T",
        icons=["https://example.com/i.png"],
        annotations={"readOnlyHint": True},
        meta={"com.example/k": 1},
    )
    def weather(city: str) -> Weather:
        """Tells the weather."""
        return Weather(city, 20.5)

    @server.tool
    def numbers(count: int = 3) -> list[int]:
        return list(range(count))

    @server.tool
    def maybe() -> int | None:
        return None

    @server.tool
    def media() -> list[Any]:
        link = ResourceLink(uri="file:///a", name="a")
        return ["x", Image(PNG), Audio(b"OggS"), Embedded("x", "t:x"), b"x", link]

    @server.tool
    def fails() -> str:
        raise ToolError("no")

    @server.tool
    def breaks() -> int:
        return "x"  # type: ignore[return-value]

    @server.tool
    def own() -> CallToolResult:
        return CallToolResult(content=[TextContent(text="x")], structured_content=[1])

    server.add_resource("t:text", "x", mime_type="text/plain", annotations={"priority": 0.5})
    server.add_resource("t:bytes", b"x")
    server.add_resource("t:item/{id}", lambda id: {"id": id}, name="item")
    server.add_prompt(lambda: "x", "plain")

    @server.prompt(title="T", icons=["https://example.com/i.png"])
    def rich(topic: str, tone: str = "kind") -> list[Any]:
        """Explains."""
        link = ResourceLink(uri="file:///a", name="a")
        return [user(topic), assistant(tone), Image(PNG), Audio(b"OggS"), link]

    @server.completion(prompt="rich", argument="topic")
    def topics(typed: str) -> list[str]:
        return [typed] * 200

    return server


REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("ListToolsResult", "tools/list", {}),
    ("ListResourcesResult", "resources/list", {}),
    ("ListResourceTemplatesResult", "resources/templates/list", {}),
    ("ListPromptsResult", "prompts/list", {}),
    ("CallToolResult", "tools/call", {"name": "weather", "arguments": {"city": "x"}}),
    ("CallToolResult", "tools/call", {"name": "numbers"}),
    ("CallToolResult", "tools/call", {"name": "maybe"}),
    ("CallToolResult", "tools/call", {"name": "media"}),
    ("CallToolResult", "tools/call", {"name": "fails"}),
    ("CallToolResult", "tools/call", {"name": "breaks"}),
    ("CallToolResult", "tools/call", {"name": "own"}),
    ("ReadResourceResult", "resources/read", {"uri": "t:text"}),
    ("ReadResourceResult", "resources/read", {"uri": "t:bytes"}),
    ("ReadResourceResult", "resources/read", {"uri": "t:item/5"}),
    ("GetPromptResult", "prompts/get", {"name": "plain"}),
    ("GetPromptResult", "prompts/get", {"name": "rich", "arguments": {"topic": "x"}}),
    (
        "CompleteResult",
        "completion/complete",
        {
            "ref": {"type": "ref/prompt", "name": "rich"},
            "argument": {"name": "topic", "value": "x"},
        },
    ),
]


def problems(definition: str, value: Any, revision: Revision) -> list[str]:
    document = msgspec.json.decode((FOLDER / revision.name / "schema.json").read_bytes())
    home = "$defs" if "$defs" in document else "definitions"
    schema = {home: document[home], "$ref": f"#/{home}/{definition}"}
    return [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(value)
    ]


@needs_schemas
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
@pytest.mark.parametrize(("definition", "method", "params"), REQUESTS)
def test_results(definition: str, method: str, params: dict[str, Any], revision: Revision) -> None:
    result = ask(everything(), method, params, revision)
    if revision.result_type:
        result["resultType"] = "complete"  # which the engine adds
    assert problems(definition, result, revision) == []
    if "nextCursor" in result:
        rest = ask(everything(), method, {"cursor": result["nextCursor"]}, revision)
        if revision.result_type:
            rest["resultType"] = "complete"
        assert problems(definition, rest, revision) == []


@needs_schemas
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
def test_capabilities(revision: Revision) -> None:
    server = everything()
    capabilities = msgspec.to_builtins(server.capabilities())
    assert problems("ServerCapabilities", capabilities, revision) == []
    assert problems("Implementation", msgspec.to_builtins(server.info), revision) == []
