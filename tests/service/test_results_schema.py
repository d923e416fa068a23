"""Every list, declaration and result against the official schema of every revision."""

from functools import cache
from typing import Annotated, Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from msgspec import Meta, Struct

from mcpcore.errors import ToolError
from mcpcore.service import Audio, Embedded, Image, Server, assistant, user
from mcpcore.spec.members import known_members
from mcpcore.spec.revisions import REVISIONS, Revision
from mcpcore.spec.types.base import Annotations, Icon
from mcpcore.spec.types.content import (
    AudioContent,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from mcpcore.spec.types.tools import CallToolResult
from tests.service.calling import ask
from tests.spec.oracle import FOLDER, needs_schemas

OPEN = {"ServerCapabilities"}
"""Definitions that take members of others on purpose."""

ANNOTATIONS = {"audience": ["user"], "priority": 1, "lastModified": "2025-01-12T15:00:58Z"}
ICON = "https://example.com/i.png"
META = {"com.example/k": 1}
PNG = b"\x89PNG\r\n\x1a\n"


class Weather(Struct):
    city: str
    degrees: float


def every_block() -> list[Any]:
    annotations = Annotations(priority=0.5, last_modified="2025-01-12T15:00:58Z")
    resource = TextResourceContents(uri="t:x", text="x", meta=META)
    more: dict[str, Any] = {"annotations": annotations, "meta": META}
    return [
        TextContent(text="x", **more),
        ImageContent(data="AA==", mime_type="image/png", **more),
        AudioContent(data="AA==", mime_type="audio/wav", **more),
        EmbeddedResource(resource=resource, **more),
        ResourceLink(uri="t:x", name="x", title="X", size=1, icons=[Icon(src=ICON)], **more),
    ]


def everything() -> Server:
    server = Server(
        "s",
        version="1",
        title="S",
        description="D",
        website_url="https://example.com",
        icons=[ICON],
        page_size=3,
    )

    @server.tool(
        title="T", icons=[ICON], annotations={"readOnlyHint": True}, meta=META, task="optional"
    )
    def weather(city: str) -> Weather:
        """Tells the weather."""
        return Weather(city, 20.5)

    @server.tool(title="N")
    def numbers(count: int = 3) -> list[int]:
        return list(range(count))

    @server.tool
    def maybe() -> int | None:
        return None

    @server.tool
    def media() -> list[Any]:
        link = ResourceLink(uri="file:///a", name="a")
        return ["x", Image(PNG), Audio(b"OggS"), Embedded("x", "t:x"), b"x", link, *every_block()]

    @server.tool
    def fails() -> str:
        raise ToolError("no")

    @server.tool
    def breaks() -> int:
        return "x"  # type: ignore[return-value]

    @server.tool
    def own() -> CallToolResult:
        return CallToolResult(content=every_block(), structured_content=[1])

    server.add_resource(
        "t:text",
        "x",
        title="T",
        mime_type="text/plain",
        annotations=ANNOTATIONS,
        icons=[ICON],
        meta=META,
    )
    server.add_resource("t:bytes", b"x")
    server.add_resource(
        "t:item/{id}",
        lambda id: {"id": id},
        name="item",
        title="I",
        mime_type="application/json",
        annotations=ANNOTATIONS,
        icons=[ICON],
        meta=META,
    )
    contents = TextResourceContents(uri="t:own", text="x", mime_type="text/x", meta=META)
    server.add_resource("t:own", lambda: contents, name="own")
    server.add_prompt(lambda: "x", "plain")

    @server.prompt(title="T", icons=[ICON], meta=META)
    def rich(
        topic: Annotated[str, Meta(title="The topic", description="What about")], tone: str = "kind"
    ) -> list[Any]:
        """Explains."""
        link = ResourceLink(uri="file:///a", name="a")
        return [user(topic), assistant(tone), Image(PNG), Audio(b"OggS"), link, *every_block()]

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
    ("ReadResourceResult", "resources/read", {"uri": "t:own"}),
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


def closed(schema: Any) -> Any:
    """A schema that refuses members which it does not name, but where JSON Schema may stand."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {
        name: value if name in ("inputSchema", "outputSchema") else closed(value)
        for name, value in schema.items()
    }
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        copy.setdefault("additionalProperties", False)
    return copy


@cache
def validator(definition: str, revision: Revision) -> Draft202012Validator:
    document = msgspec.json.decode((FOLDER / revision.name / "schema.json").read_bytes())
    home = "$defs" if "$defs" in document else "definitions"
    definitions = document[home] if definition in OPEN else closed(document[home])
    return Draft202012Validator({home: definitions, "$ref": f"#/{home}/{definition}"})


def problems(definition: str, value: Any, revision: Revision) -> list[str]:
    found = validator(definition, revision).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in found]


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


@needs_schemas
@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)
def test_identity(revision: Revision) -> None:
    info = known_members(everything().info, revision)
    assert problems("Implementation", msgspec.to_builtins(info), revision) == []


@needs_schemas
def test_the_oracle_sees_members_of_later_revisions() -> None:
    tool = {"name": "t", "inputSchema": {"type": "object"}, "title": "T"}
    assert problems("Tool", tool, REVISIONS[-1]) == []
    assert problems("Tool", tool, REVISIONS[0]) != []
