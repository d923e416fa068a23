"""The official Python SDK's in-memory client and server: CPU per sequential ``tools/call``.

Runs inside .venv-sdk only: ``python benchmarks/sdk_pair.py ERA CALLS`` with ERA ``legacy`` or
``modern`` prints the microseconds of CPU that one call took.
"""

import sys
import time

import anyio
import mcp_types as types
from mcp import Client
from mcp.server import Server

LISTED = types.ListToolsResult(
    tools=[types.Tool(name="echo", description="Echo", input_schema={"type": "object"})]
)


async def list_tools(ctx: object, params: object) -> types.ListToolsResult:
    """Offer one tool."""
    return LISTED


async def call_tool(ctx: object, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Answer with the argument."""
    text = (params.arguments or {})["text"]
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


async def measure(era: str, calls: int) -> float:
    """Run the calls and return microseconds of CPU for each."""
    server = Server("pair", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    async with Client(server, mode="legacy" if era == "legacy" else "auto") as client:
        for _ in range(200):
            await client.call_tool("echo", {"text": "hello"})
        began = time.process_time()
        for _ in range(calls):
            result = await client.call_tool("echo", {"text": "hello"})
        spent = time.process_time() - began
    if result.content[0].text != "hello":
        raise SystemExit(f"wrong answer: {result}")
    return spent / calls * 1e6


if __name__ == "__main__":
    print(anyio.run(measure, sys.argv[1], int(sys.argv[2])))
