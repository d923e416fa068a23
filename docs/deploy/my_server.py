"""A server to begin with."""

from mcpcore import Server

server = Server("my-server", version="1.0")


@server.tool
def add(a: int, b: int = 0) -> int:
    """Adds two numbers."""
    return a + b
