"""A server written with fastmcp, offering what the conformance kit and the official suite ask for.

Runs inside .venv-fastmcp only: ``fastmcp_server.py --stdio | --http HOST:PORT``.  The tools carry
the names of our reference server.
"""

import sys
from pathlib import Path
from typing import Any

import mcp_types as types
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Message
from fastmcp.tools import ToolResult
from mcp.shared.message import ServerMessageMetadata

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # what all servers share

from conformance.interop.sdk.rounds import form, missing, offer_rounds, sampling, texts
from conformance.interop.sdk.serving import (
    DEFAULTS_FORM,
    ENUMS_FORM,
    WATCHED,
    Ways,
    embedded,
    image,
    main,
    offer,
)

server = FastMCP(
    "fastmcp-everything",
    version="1.0.0",
    instructions="Offers what the drivers ask for.",
    list_page_size=20,
    cache_ttl=60_000,
    cache_scope="public",
)


async def announce(ctx: Context, kind: str) -> None:
    """Tell the clients what has changed."""
    if kind == "resource":
        params = types.ResourceUpdatedNotificationParams(uri=WATCHED)
        await ctx.send_notification(types.ResourceUpdatedNotification(params=params))
    changed = getattr(types, f"{kind.title()}ListChangedNotification")
    await ctx.send_notification(changed())


ways = Ways(server, Context, {"output_schema": None}, ToolError, announce, Message)
offer(ways)


@server.tool
async def test_multiple_content_types() -> ToolResult:
    """Return a text, an image and a resource."""
    text = types.TextContent(type="text", text="Multiple content types test:")
    return ToolResult([text, image(), embedded("test://mixed-content-resource")])


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


offer_rounds(ways)


async def run_stdio() -> None:
    """Serve one client on the standard streams."""
    await server.run_stdio_async(show_banner=False)


def app(stateless: bool) -> Any:
    """Make what serves HTTP."""
    return server.http_app(stateless_http=stateless, json_response=stateless)


if __name__ == "__main__":
    sys.exit(main(run_stdio, app, lambda: server.http_app(path="/sse", transport="sse")))
