"""On event loops that asyncio has started: more than a pipe holds goes through it, both ways."""

import asyncio
import sys

from mcpcore.spec.types.content import TextContent
from transports.client import connect

SIZE = 1_000_000
PROGRAM = """
import asyncio
from mcpcore.service import Server
from transports.server import serve

server = Server("plain", version="1")

@server.tool
def twice(text: str) -> str:
    return text + text

asyncio.run(serve(server, stdio=True))
"""


async def _call() -> int:
    async with connect([sys.executable, "-c", PROGRAM]) as client:
        result = await client.call_tool("twice", {"text": "x" * SIZE})
    (content,) = result.content
    assert isinstance(content, TextContent)
    return len(content.text)


def test_large_messages_go_through() -> None:
    assert asyncio.run(asyncio.wait_for(_call(), 40)) == 2 * SIZE
