"""A server whose tools ask; as a program, ``seal_child.py SEAL``, it serves them on stdio."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from msgspec import Struct

from mcpcore.service import Server
from mcpcore_transports.serve.serve import ServeSettings, run
from mcpcore_transports.server import seal
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.settings import RuntimeSettings


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
    kind = getattr(seal, sys.argv[1])
    run(make_server(), stdio=True, settings=ServeSettings(runtime=RuntimeSettings(seal=kind())))
