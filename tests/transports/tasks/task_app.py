"""What the tests of tasks at several workers serve."""

import anyio

from mcpcore.service import Server

server = Server("tasks", version="1")


@server.tool(task="required", task_poll=0.02)
async def wait(seconds: float) -> str:
    """Takes its time."""
    await anyio.sleep(seconds)
    return "waited"
