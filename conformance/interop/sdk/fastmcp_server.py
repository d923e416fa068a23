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
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # what all servers share

from conformance.interop.sdk.asking import offer_questions, offer_visits
from conformance.interop.sdk.rounds import keep, offer_rounds
from conformance.interop.sdk.serving import WATCHED, Ways, embedded, image, main, offer

server = FastMCP(
    "fastmcp-everything",
    version="1.0.0",
    instructions="Offers what the drivers ask for.",
    list_page_size=4,
    cache_ttl=60_000,
    cache_scope="public",
)


def session_of(ctx: Any) -> Any:
    """What lasts from one request of a client to the next."""
    return ctx.session._connection


async def announce(ctx: Context, kind: str) -> None:
    """Tell the clients what has changed; in the modern era the transport knows who listens."""
    modern = ctx.session.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS
    if kind == "resource" and (modern or ways.remembered.watches(session_of(ctx))):
        params = types.ResourceUpdatedNotificationParams(uri=WATCHED)
        await ctx.send_notification(types.ResourceUpdatedNotification(params=params))
    changed = getattr(types, f"{kind.title()}ListChangedNotification")
    await ctx.send_notification(changed())


ways = Ways(
    server,
    Context,
    {"output_schema": None},
    ToolError,
    announce,
    Message,
    session_of,
    gates=True,
)
offer(ways)
offer_questions(ways)
offer_visits(ways)
offer_rounds(ways)
keep(server._mcp_server, ways)


@server.tool
async def test_multiple_content_types() -> ToolResult:
    """Return a text, an image and a resource."""
    text = types.TextContent(type="text", text="Multiple content types test:")
    return ToolResult([text, image(), embedded("test://mixed-content-resource")])


async def run_stdio() -> None:
    """Serve one client on the standard streams."""
    await server.run_stdio_async(show_banner=False)


def app(stateless: bool) -> Any:
    """Make what serves HTTP."""
    return server.http_app(stateless_http=stateless, json_response=stateless)


if __name__ == "__main__":
    sys.exit(main(run_stdio, app, lambda: server.http_app(path="/sse", transport="sse")))
