"""A server whose tools ask; as a program it serves them on standard input and output."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from msgspec import Struct

from mcpcore.service import Server
from transports.context import Context
from transports.server import run


class Consent(Struct):
    ok: bool


def make_server() -> Server:
    server = Server("asking")

    @server.tool("ask")
    @server.tool("ask_too")
    @server.prompt("ask")
    async def ask(context: Context, what: str) -> str:
        kept = await context.remember("kept", lambda: what)
        answer = await context.elicit("Shall I?", Consent, key="go")
        return f"{kept} {answer.action}"

    @server.tool
    def plain() -> str:
        return "plain"

    return server


if __name__ == "__main__":
    run(make_server(), stdio=True)
