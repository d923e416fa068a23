"""The official Python SDK 2.x as a client; run as a script in its own environment.

``sdk_client.py WARM SECONDS URL`` calls over HTTP, ``sdk_client.py memory WARM SECONDS`` a server
of the SDK in the same process, ``sdk_client.py stdio PYTHON WARM SECONDS`` our raw server on stdio,
which PYTHON can run.  Prints a sample: CPU of this process.  ``--width N`` comes first: so many
calls in flight, and as many connections over HTTP (it has at most 100 otherwise).
"""

import logging
import sys
import warnings
from pathlib import Path

import anyio
import httpx2
import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import Server
from mcp.shared._httpx_utils import MCP_DEFAULT_SSE_READ_TIMEOUT, MCP_DEFAULT_TIMEOUT

sys.path[0] = str(Path(__file__).resolve().parents[1])
from mcpcore_bench.programs.measuring import TEXT, measured, widened

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)


async def on_list(ctx, params):
    """Offer one tool."""
    tool = types.Tool(name="echo", description="Echo.", input_schema={"type": "object"})
    return types.ListToolsResult(tools=[tool])


async def on_call(ctx, params):
    """Say it again."""
    text = params.arguments["text"]
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


async def main(width, target, mode, warm, seconds):
    """Measure."""
    async with Client(target, mode=mode) as client:
        await client.list_tools()

        async def call():
            result = await client.call_tool("echo", {"text": TEXT})
            if result.content[0].text != TEXT:
                raise SystemExit(f"wrong reply: {result}")

        print(await measured(call, warm, seconds, width))


def chosen():
    """Calls in flight, what to connect to and how, as the command line says, and the times."""
    width, (kind, *rest) = widened(sys.argv[1:])
    if kind == "memory":
        server = Server("memory", version="1", on_list_tools=on_list, on_call_tool=on_call)
        return width, server, "legacy", *map(float, rest)
    if kind == "stdio":
        args = ["-m", "mcpcore_bench.programs.raw_stdio", "--io", "blocking"]
        started = stdio_client(StdioServerParameters(command=rest[0], args=args))
        return width, started, "legacy", *map(float, rest[1:])
    target = rest[1] if width == 1 else connecting(rest[1], width)
    return width, target, "auto", float(kind), float(rest[0])


def connecting(url, width):
    """The SDK's transport with its own timeouts, and so many connections."""
    limits = httpx2.Limits(max_connections=width, max_keepalive_connections=width)
    timeout = httpx2.Timeout(MCP_DEFAULT_TIMEOUT, read=MCP_DEFAULT_SSE_READ_TIMEOUT)
    client = httpx2.AsyncClient(limits=limits, timeout=timeout)
    return streamable_http_client(url, http_client=client)


if __name__ == "__main__":
    anyio.run(main, *chosen())
