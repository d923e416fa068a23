"""A low-level server of the SDK 2.x, to be served by mcpcore; runs inside .venv-sdk only."""

from typing import Any

import anyio
import mcp_types as types
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.lowlevel import Server

holds, released = anyio.Event(), anyio.Event()
closed: list[str] = []
"""Tools whose requests are over, as the exit stack of their connections tells."""
sessions: dict[int, Any] = {}
"""Sessions of all clients."""


async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[types.Tool(name="log", input_schema={"type": "object"})])


async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    if params.name != "closed":
        ctx.session._connection.exit_stack.callback(closed.append, params.name)
    if params.name == "held":
        holds.set()
        await released.wait()
    if params.name == "release":
        ctx.session._connection.exit_stack.callback(released.set)
        await holds.wait()
    sessions[id(ctx.session._connection)] = ctx.session
    for each in sessions.values() if params.name == "all" else [ctx.session]:
        # without related_request_id: for the connection, not for the request
        await each.send_log_message("info", "called")
    told = params.name in ("closed", "held")
    text = f"{params.name} {closed if told else get_access_token()}"
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


server = Server("low", version="1.0", on_list_tools=list_tools, on_call_tool=call_tool)
