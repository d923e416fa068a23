"""A server written with fastmcp, offering what the conformance kit and the official suite ask for.

Runs inside .venv-fastmcp only: ``fastmcp_server.py --stdio | --http HOST:PORT``.  The tools carry
the names of our reference server.
"""

import functools
import sys
import warnings
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Message
from fastmcp.tools import ToolResult
from mcp.shared.message import ServerMessageMetadata
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # what all servers share

from conformance.interop.sdk.rounds import form, missing, offer, sampling, texts
from conformance.interop.sdk.serving import (
    DEFAULTS_FORM,
    ENUMS_FORM,
    PNG,
    WATCHED,
    WAV,
    WEATHER_ICON,
    main,
    proposals,
)

warnings.simplefilter("ignore")  # the SDK deprecates parts of the protocol that are served here

server = FastMCP(
    "fastmcp-everything",
    version="1.0.0",
    instructions="Offers what the drivers ask for.",
    list_page_size=20,
    cache_ttl=60_000,
    cache_scope="public",
)
cancelled: list[str] = []


class Weather(BaseModel):
    """Structured result."""

    city: str
    temperature: float


# Tools


@server.tool
async def test_simple_text() -> str:
    """Return one text."""
    return "This is a simple text response for testing."


@server.tool(output_schema=None)
async def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}!"


@server.tool(
    title="Weather",
    annotations=types.ToolAnnotations(read_only_hint=True),
    icons=[types.Icon(src=WEATHER_ICON)],
)
async def test_structured_output(city: str) -> Weather:
    """Return an object that follows an output schema."""
    return Weather(city=city, temperature=21.5)


@server.tool
async def test_error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


def image() -> types.ImageContent:
    """Make an image."""
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri: str) -> types.EmbeddedResource:
    """Make a resource with its contents."""
    contents = types.TextResourceContents(uri=uri, text="embedded", mime_type="text/plain")
    return types.EmbeddedResource(type="resource", resource=contents)


@server.tool
async def test_image_content() -> ToolResult:
    """Return an image."""
    return ToolResult([image()])


@server.tool
async def test_audio_content() -> ToolResult:
    """Return a sound."""
    return ToolResult([types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")])


@server.tool
async def test_resource_link() -> ToolResult:
    """Return a pointer to a resource."""
    link = types.ResourceLink(type="resource_link", uri="test://static-text", name="static-text")
    return ToolResult([link])


@server.tool
async def test_embedded_resource() -> ToolResult:
    """Return a resource with its contents."""
    return ToolResult([embedded("test://embedded-resource")])


@server.tool
async def test_multiple_content_types() -> ToolResult:
    """Return a text, an image and a resource."""
    text = types.TextContent(type="text", text="Multiple content types test:")
    return ToolResult([text, image(), embedded("test://mixed-content-resource")])


@server.tool
async def test_tool_with_progress(ctx: Context, seconds: float = 0.05) -> str:  # noqa: PT028
    """Report progress three times, and wait so many seconds after each."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed step {done} of 100")
        await anyio.sleep(seconds)
    return "done"


@server.tool
async def test_tool_with_logging(ctx: Context) -> str:
    """Send three log messages, if they are wanted."""
    for step in ("started", "processing", "finished"):
        await ctx.info(f"Tool execution {step}")
    return "logged"


@server.tool(output_schema=None)
async def test_wait(ctx: Context, seconds: float) -> str:
    """Wait, and remember if the wait was cancelled."""
    try:
        await ctx.report_progress(0, seconds)
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        cancelled.append(ctx.request_id)
        raise
    return "waited"


@server.tool(output_schema=None)
async def test_cancelled_count() -> str:
    """Count the waits that were cancelled."""
    return str(len(cancelled))


@server.tool
async def test_trigger_tool_change(ctx: Context) -> str:
    """Announce that the list of tools has changed."""
    await ctx.send_notification(types.ToolListChangedNotification())
    return "changed"


@server.tool
async def test_trigger_prompt_change(ctx: Context) -> str:
    """Announce that the list of prompts has changed."""
    await ctx.send_notification(types.PromptListChangedNotification())
    return "changed"


@server.tool
async def test_trigger_resource_change(ctx: Context) -> str:
    """Announce that the list of resources, and the watched one, have changed."""
    params = types.ResourceUpdatedNotificationParams(uri=WATCHED)
    await ctx.send_notification(types.ResourceUpdatedNotification(params=params))
    await ctx.send_notification(types.ResourceListChangedNotification())
    return "changed"


# Questions to the client

ANSWERS: dict[type, Any] = {
    types.ElicitRequest: types.ElicitResult,
    types.CreateMessageRequest: types.CreateMessageResult,
    types.ListRootsRequest: types.ListRootsResult,
}
"""Type of the answer to each question."""


async def ask(ctx: Context, state: str | None = None, **questions: Any) -> Any:
    """Ask the client: the answers by name, or an InputRequiredResult that the tool returns."""
    if ctx.session.can_send_request:
        related = ServerMessageMetadata(related_request_id=ctx.request_id)
        return {
            name: await ctx.session.send_request(each, ANSWERS[type(each)], metadata=related)
            for name, each in questions.items()
        }
    return missing(ctx, questions, state) or ctx.input_responses


Answer = str | types.InputRequiredResult


async def filled(ctx: Context, message: str, schema: dict[str, Any]) -> Answer:
    """Have a form filled in; repeat the answer."""
    found = await ask(ctx, form=form(message, schema))
    if isinstance(found, types.InputRequiredResult):
        return found
    return f"action={found['form'].action}, content={found['form'].content}"


@server.tool(output_schema=None)
async def test_elicitation(ctx: Context, message: str) -> Answer:
    """Ask the user and repeat the answer."""
    return await filled(ctx, message, texts("username", "email"))


@server.tool(output_schema=None)
async def test_elicitation_sep1034_defaults(ctx: Context) -> Answer:
    """Ask the user with a form full of defaults."""
    return await filled(ctx, "Please review", DEFAULTS_FORM)


@server.tool(output_schema=None)
async def test_elicitation_sep1330_enums(ctx: Context) -> Answer:
    """Ask the user to choose."""
    return await filled(ctx, "Please choose", ENUMS_FORM)


@server.tool(output_schema=None)
async def test_sampling(ctx: Context, prompt: str) -> Answer:
    """Ask the client's model and repeat the answer."""
    found = await ask(ctx, model=sampling(prompt))
    if isinstance(found, types.InputRequiredResult):
        return found
    return f"LLM response: {found['model'].content.text}"


@server.tool(output_schema=None)
async def test_list_roots(ctx: Context) -> Answer:
    """Name the client's roots."""
    found = await ask(ctx, roots=types.ListRootsRequest())
    if isinstance(found, types.InputRequiredResult):
        return found
    return " ".join(str(root.uri) for root in found["roots"].roots)


@server.tool(output_schema=None)
async def test_input_required_result_multi_round(ctx: Context) -> Answer:
    """Ask for one thing after the other."""
    for step, before in (("step1", None), ("step2", "step1")):
        if ctx.session.can_send_request or ctx.request_state == before:
            found = await ask(ctx, step, **{step: form(f"About {step}", texts("word"))})
            if isinstance(found, types.InputRequiredResult):
                return found
    return "both steps are done"


offer(functools.partial(server.tool, output_schema=None), server.prompt, Context)


@server.tool(output_schema=None)
async def test_ping_client(ctx: Context) -> str:
    """Ask whether the client is there."""
    await ctx.session.send_ping()
    return "the client is there"


# Resources, prompts, completion


@server.resource(
    "test://static-text",
    title="A text",
    mime_type="text/plain",
    annotations=types.Annotations(audience=["user"], priority=0.5),
)
def static_text() -> str:
    """Return a fixed text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """Return a fixed image."""
    return bytes.fromhex("89504e470d0a1a0a")


@server.resource(WATCHED, mime_type="text/plain")
def watched() -> str:
    """Return what can be subscribed to."""
    return "watched"


@server.resource("test://template/{id}/data", mime_type="text/plain")
def template(id: str) -> str:
    """Return a text made from the URI."""
    return f"data of {id}"


@server.prompt
def test_simple_prompt() -> str:
    """Return a prompt without arguments."""
    return "This is a simple prompt for testing."


@server.prompt(title="Two arguments")
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """Return a prompt made from its arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt
def test_prompt_with_image() -> list[Message]:
    """Return a prompt with an image in it."""
    return [Message(image())]


@server.prompt
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803
    """Return a prompt with a resource in it."""
    return [Message(embedded(resourceUri))]


@server.completion
async def complete(
    ref: types.PromptReference | types.ResourceTemplateReference,
    argument: types.CompletionArgument,
    context: types.CompletionContext | None,
) -> list[str]:
    """Complete any argument."""
    known = context.arguments if context else None
    return proposals(argument.name, argument.value, known)[:100]


async def run_stdio() -> None:
    """Serve one client on the standard streams."""
    await server.run_stdio_async(show_banner=False)


def app(stateless: bool) -> Any:
    """Make what serves HTTP."""
    return server.http_app(stateless_http=stateless, json_response=stateless)


if __name__ == "__main__":
    sys.exit(main(run_stdio, app, lambda: server.http_app(path="/sse", transport="sse")))
