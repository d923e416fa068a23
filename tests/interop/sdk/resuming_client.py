"""A client of the official SDK (either line) that calls a tool; run in the SDK's environment.

Prints what it heard and what it got, as JSON.
"""

import json
import sys

import anyio
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

heard = []


async def hear(params):
    heard.append(params.data)


async def main() -> None:
    async with (
        streamable_http_client(sys.argv[1]) as (read, write, *_),
        ClientSession(read, write, logging_callback=hear) as session,
    ):
        await session.initialize()
        for _ in range(2):
            try:
                result = await session.call_tool("work", {"count": 6})
                print(json.dumps([result.content[0].text, heard]), flush=True)
            except Exception as error:
                print(json.dumps([f"{type(error).__name__}: {error}", heard]), flush=True)
            heard.clear()


if __name__ == "__main__":
    anyio.run(main)
