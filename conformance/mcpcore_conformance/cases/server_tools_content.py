"""Cases of the page server/tools: every kind of content, and structured content."""

import json
from typing import Any

from mcpcore_conformance.kit.asking import call, failed
from mcpcore_conformance.kit.content import block, called, check_base64, check_mime_type
from mcpcore_conformance.kit.features import Tool
from mcpcore_conformance.kit.json_schema import value_problem
from mcpcore_conformance.kit.messages import Kind
from mcpcore_conformance.kit.model import (
    ALL,
    LEGACY_SINCE_2025_06_18,
    SINCE_2025_03_26,
    SINCE_2025_06_18,
    UNTIL_2025_03_26,
    Page,
)
from mcpcore_conformance.kit.shapes import result_problem
from mcpcore_conformance.kit.talk import ServerTalk
from mcpcore_conformance.kit.verdicts import check

page = Page("server/tools")

case = page.server(SINCE_2025_06_18, needs=("tools",))
MOST = 5
"""Tools with an output schema that a case calls, at most."""


@case.must(
    "text-content/given", "A block of type text with a text.", ALL, needs=("tool:test_simple_text",)
)
async def text_content(talk: ServerTalk) -> None:
    """A text comes as a block of type text."""
    result = await called(talk, "test_simple_text", {})
    check(block(result, "text")["text"], "the text is empty")


@case.must(
    "image-content/base64",
    "A block of type image with base64 data and a MIME type.",
    ALL,
    needs=("tool:test_image_content",),
)
async def image_content(talk: ServerTalk) -> None:
    """The data of an image is base64, with a MIME type."""
    found = block(await called(talk, "test_image_content", {}), "image")
    check(check_base64(found["data"], "data"), "the image is empty")
    check_mime_type(found["mimeType"], "mimeType")


@case.must(
    "audio-content/base64",
    "A block of type audio with base64 data and a MIME type.",
    SINCE_2025_03_26,
    needs=("tool:test_audio_content",),
)
async def audio_content(talk: ServerTalk) -> None:
    """The data of a sound is base64, with a MIME type."""
    found = block(await called(talk, "test_audio_content", {}), "audio")
    check(check_base64(found["data"], "data"), "the sound is empty")
    check_mime_type(found["mimeType"], "mimeType")


@case.must(
    "resource-links/given",
    "A block of type resource_link with a URI and a name.",
    needs=("tool:test_resource_link",),
)
async def resource_link(talk: ServerTalk) -> None:
    """A link to a resource has its URI and its name."""
    found = block(await called(talk, "test_resource_link", {}), "resource_link")
    check(":" in found["uri"], f"the link has the URI {found['uri']!r}")


@case.must(
    "tool-result/kinds-of-the-revision",
    "No block of a type that came with a later revision.",
    UNTIL_2025_03_26,
    needs=("tool:test_resource_link",),
)
async def kinds(talk: ServerTalk) -> None:
    """No content of a kind is sent that the revision does not have."""
    link = await talk.open()
    for name in ("test_resource_link", "test_audio_content"):
        if name not in talk.features.tools:
            continue
        reply = await call(link, talk.tool(name), {})
        if not failed(reply):
            problem = result_problem("tools/call", reply.result, talk.revision)
            check(not problem, f"{name}: {problem}")


@case.must(
    "embedded-resources/given",
    "A block of type resource with a URI, and a text or a blob.",
    ALL,
    needs=("tool:test_embedded_resource",),
)
async def embedded_resource(talk: ServerTalk) -> None:
    """An embedded resource has a URI, and a text or base64."""
    found = block(await called(talk, "test_embedded_resource", {}), "resource")["resource"]
    check(":" in found["uri"], f"the resource has the URI {found['uri']!r}")
    if "blob" in found:
        check_base64(found["blob"], "blob")


@case.should(
    "embedded-resources/capability",
    "The capability resources is declared.",
    needs=("tool:test_embedded_resource",),
)
async def embedding_capability(talk: ServerTalk) -> None:
    """A server that embeds resources implements resources."""
    block(await called(talk, "test_embedded_resource", {}), "resource")
    link = await talk.open()
    reply = await link.request("resources/list")
    check(
        reply.message is not None and reply.message.kind is Kind.RESULT,
        f"resources are embedded, and resources/list got {reply}",
    )


def _structured(talk: ServerTalk) -> list[Tool]:
    """Tools with an output schema that may be called."""
    found = [each for each in talk.features.plain_tools() if each.output_schema]
    return found[:MOST] or talk.skip(
        "no tool that only reads, or that --tool NAME has named, has an output schema"
    )


@case.must("output-schema/conforms", "structuredContent follows the outputSchema that was listed.")
async def output_conforms(talk: ServerTalk) -> None:
    """The structured result of a tool with an output schema follows it."""
    for tool in _structured(talk):
        result = await called(talk, tool.name, talk.arguments(tool))
        if result.get("isError"):
            continue
        check("structuredContent" in result, f"{tool.name} gives no structuredContent")
        problem = value_problem(result["structuredContent"], tool.output_schema)
        check(not problem, f"the structuredContent of {tool.name}: {problem}")


@case.should("structured-content/as-text", "A text block holds the same JSON.")
async def structured_as_text(talk: ServerTalk) -> None:
    """Structured content is also there as JSON in a text."""
    for tool in _structured(talk):
        result = await called(talk, tool.name, talk.arguments(tool))
        if result.get("isError") or "structuredContent" not in result:
            continue
        texts = [each["text"] for each in result["content"] if each["type"] == "text"]
        check(
            any(_same(text, result["structuredContent"]) for text in texts),
            f"no text of {tool.name} is the JSON of its structuredContent",
        )


def _same(text: str, value: Any) -> bool:
    try:
        return bool(json.loads(text) == value)
    except ValueError:
        return False


@case.must(
    "structured-content/object",
    "structuredContent is an object.",
    LEGACY_SINCE_2025_06_18,
)
async def structured_object(talk: ServerTalk) -> None:
    """Structured content is an object."""
    for tool in _structured(talk):
        result = await called(talk, tool.name, talk.arguments(tool))
        found = result.get("structuredContent", {})
        check(isinstance(found, dict), f"the structuredContent of {tool.name} is {found!r:.60}")
