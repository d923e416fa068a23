"""What the tests of several workers serve."""

import os

import anyio
from msgspec import Struct

from mcpcore.service import Server
from mcpcore_transports.server.context import Context

server = Server("worker", version="1")


class Who(Struct):
    """Who is there."""

    name: str


@server.tool
def pid() -> str:
    """Says which process this is."""
    return str(os.getpid())


@server.tool
async def greet(context: Context, number: int) -> str:
    """Asks who is there, says something meanwhile, and greets."""
    context.progress(1, 2, f"before {number} in {os.getpid()}")
    answer = await context.elicit(f"Who is {number}?", Who)
    name = "nobody" if answer.content is None else answer.content.name
    context.progress(2, 2, f"after {number} in {os.getpid()}")
    return f"{name} {number}"


@server.tool
async def wait(context: Context, seconds: float) -> str:
    """Says so, takes its time, and answers."""
    context.progress(1)
    await anyio.sleep(seconds)
    return "waited"


@server.tool
async def publish() -> str:
    """Tells everybody that the list of tools has changed."""
    server.list_changed("tools")
    return str(os.getpid())


@server.tool
async def lines(context: Context, count: int, wait: float = 0) -> str:
    """Says so many lines, takes its time, and answers."""
    for line in range(count):
        context.info(line)
    await anyio.sleep(wait)
    return "said"
