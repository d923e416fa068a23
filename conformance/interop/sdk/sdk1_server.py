"""A server written with the official Python SDK 1.x, offering what the drivers ask for.

Runs inside .venv-sdk1 only: ``sdk1_server.py --stdio | --http HOST:PORT``.  The tools carry the
names of our reference server.  FastMCP has no way to ask for some parts of the protocol: those are
added to the low-level server below it.
"""

import sys
from pathlib import Path
from typing import Any

import anyio
from mcp import McpError, types
from mcp.server.fastmcp import Context, FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.server.fastmcp.prompts.base import UserMessage
from mcp.server.lowlevel import NotificationOptions
from mcp.shared.message import ServerMessageMetadata
from pydantic import AnyUrl

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # what all servers share

from conformance.interop.sdk.asking import offer_questions, offer_visits
from conformance.interop.sdk.serving import CONFIRM_FORM, WATCHED, Ways, main, offer, page_of

server = FastMCP("sdk1-everything", instructions="Offers what the drivers ask for.")
low = server._mcp_server
low.version = "1.0.0"


async def announce(ctx: Context, kind: str) -> None:
    """Tell the client what has changed."""
    if kind == "resource" and remembered.watches(ctx.session):
        await ctx.session.send_resource_updated(AnyUrl(WATCHED))
    await getattr(ctx.session, f"send_{kind}_list_changed")()


async def send(ctx: Context, question: Any, kind: type[Any]) -> Any:
    """Ask the client; in this line nothing ties a question for roots to the call."""
    if isinstance(question, types.ListRootsRequest):
        return await ctx.session.list_roots()
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    return await ctx.session.send_request(types.ServerRequest(question), kind, metadata=related)


ways = Ways(
    server,
    Context,
    {"structured_output": False},
    ToolError,
    announce,
    UserMessage,
    lambda ctx: ctx.session,
    send,
)
remembered = ways.remembered
offer(ways)
offer_questions(ways)
offer_visits(ways)


async def forget_roots(notification: types.RootsListChangedNotification) -> None:
    """Take note that roots have changed."""
    remembered.roots.clear()


# What FastMCP has no way to ask for


@low.list_prompts()
async def list_prompts(request: types.ListPromptsRequest) -> types.ListPromptsResult:
    """List the prompts in pages."""
    cursor = request.params.cursor if request.params else None
    refusal = McpError(types.ErrorData(code=types.INVALID_PARAMS, message="no such cursor"))
    prompts, more = page_of(await server.list_prompts(), cursor, refusal)
    return types.ListPromptsResult(prompts=prompts, nextCursor=more)


@low.set_logging_level()
async def set_level(level: types.LoggingLevel) -> None:
    """Remember the session's level."""
    remembered.levels[low.request_context.session] = level


@low.subscribe_resource()
async def subscribe(uri: AnyUrl) -> None:
    """Report the resource from now on."""
    remembered.subscribe(low.request_context.session, uri)


@low.unsubscribe_resource()
async def unsubscribe(uri: AnyUrl) -> None:
    """Report it no more."""
    remembered.unsubscribe(low.request_context.session, uri)


low.notification_handlers[types.RootsListChangedNotification] = forget_roots

# Tasks

TASKS = {
    "slow_compute": types.TASK_OPTIONAL,
    "confirm_delete": types.TASK_OPTIONAL,
    "failing_job": types.TASK_REQUIRED,
}


async def work(task: Any, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
    """Do what a tool does that runs as a task."""
    if name == "slow_compute":
        await anyio.sleep(arguments.get("seconds", 1))
        text = f"{arguments.get('label') or 'the computation'} took its time"
    elif name == "confirm_delete":
        answer = await task.elicit(f"Delete {arguments['filename']}?", CONFIRM_FORM)
        done = (answer.content or {}).get("confirm")
        text = f"{arguments['filename']} was {'deleted' if done else 'kept'}"
    else:
        raise ToolError("This job fails, always")
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


@low.list_tools()
async def list_tools() -> list[types.Tool]:
    """List FastMCP's tools and those that run as tasks."""
    tasks = [
        types.Tool(
            name=name,
            inputSchema={"type": "object"},
            execution=types.ToolExecution(taskSupport=mode),
        )
        for name, mode in TASKS.items()
    ]
    return [*await server.list_tools(), *tasks]


call_plainly = low.request_handlers[types.CallToolRequest]


async def call_tool(request: types.CallToolRequest) -> types.ServerResult:
    """Call a tool, as a task where that is asked for."""
    experimental = low.request_context.experimental
    name, arguments = request.params.name, request.params.arguments or {}
    experimental.validate_task_mode(TASKS.get(name))
    if not experimental.is_task:
        return await call_plainly(request)
    return types.ServerResult(await experimental.run_task(lambda task: work(task, name, arguments)))


low.request_handlers[types.CallToolRequest] = call_tool
low.experimental.enable_tasks()

make_options = low.create_initialization_options


def options(*given: Any, **more: Any) -> Any:
    """Declare what FastMCP declares, changes of the lists, and subscriptions."""
    made = make_options(NotificationOptions(True, True, True), *given[1:], **more)
    made.capabilities.resources.subscribe = True  # the SDK says False whatever there is
    return made


low.create_initialization_options = options


def app(stateless: bool) -> Any:
    """Make what serves HTTP."""
    server.settings.stateless_http = server.settings.json_response = stateless
    return server.streamable_http_app()


if __name__ == "__main__":
    sys.exit(main(server.run_stdio_async, app, server.sse_app))
