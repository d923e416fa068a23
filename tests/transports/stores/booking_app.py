"""A server whose calls leave a line in the file that ``BOOKED`` names."""

import os

import anyio

from mcpcore import Server, types

server = Server("booking", version="1")


@server.tool
async def book(number: str) -> str:
    """Does what may not be done twice, and takes a moment for it."""
    file = os.open(os.environ["BOOKED"], os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{number}\n".encode())
    os.close(file)
    await anyio.sleep(0.01)
    return number


@server.tool(annotations=types.ToolAnnotations(read_only_hint=True))
async def look(number: str) -> str:
    """Does what may be done again."""
    await anyio.sleep(0.01)
    return number


@server.tool
def pid() -> str:
    """Says which process this is."""
    return str(os.getpid())
