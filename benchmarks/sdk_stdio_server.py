"""A minimal stdio server written with the official Python SDK; runs inside .venv-sdk only."""

import anyio
from mcp.server import Server
from mcp.server.stdio import stdio_server
from sdk_pair import call_tool, list_tools


async def main() -> None:
    """Serve one tool until the end of input."""
    server = Server("stdio", version="1", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (received, sent):
        await server.run(received, sent, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main)
