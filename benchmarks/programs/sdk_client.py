"""The official Python SDK 2.x as a client; run as a script in its own environment.

``sdk_client.py WARM SECONDS URL`` calls over HTTP; ``sdk_client.py memory WARM SECONDS`` calls a
server of the SDK in the same process.  Prints a sample: CPU of this process.
"""

import logging
import sys
import warnings
from pathlib import Path

import anyio
import mcp_types as types
from mcp import Client
from mcp.server import Server

sys.path[0] = str(Path(__file__).resolve().parents[2])
from benchmarks.programs.measuring import TEXT, measured

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


async def main(target, mode, warm, seconds):
    """Measure."""
    async with Client(target, mode=mode) as client:
        await client.list_tools()

        async def call():
            result = await client.call_tool("echo", {"text": TEXT})
            if result.content[0].text != TEXT:
                raise SystemExit(f"wrong reply: {result}")

        print(await measured(call, warm, seconds))


if __name__ == "__main__":
    if sys.argv[1] == "memory":
        server = Server("memory", version="1", on_list_tools=on_list, on_call_tool=on_call)
        anyio.run(main, server, "legacy", float(sys.argv[2]), float(sys.argv[3]))
    else:
        anyio.run(main, sys.argv[3], "auto", float(sys.argv[1]), float(sys.argv[2]))
