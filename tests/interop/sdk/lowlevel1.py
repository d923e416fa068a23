"""A low-level server of the SDK 1.x, to be served by mcpcore; runs inside .venv-sdk1 only."""

from typing import Any

import mcp.types as types
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.lowlevel import Server

server = Server("low", version="1.0")
sessions: dict[int, Any] = {}
"""Sessions of all clients."""


@server.list_tools()
async def list_tools() -> list[types.Tool]:
    names = ("log", "all")
    return [types.Tool(name=name, inputSchema={"type": "object"}) for name in names]


@server.call_tool()
async def call_tool(name: str, arguments: dict[str, Any]) -> list[types.TextContent]:
    session = server.request_context.session
    sessions[id(session)] = session
    for each in sessions.values() if name == "all" else [session]:
        # without related_request_id: for the connection, not for the request
        await each.send_log_message("info", "called")
    return [types.TextContent(type="text", text=f"{name} {get_access_token()}")]
