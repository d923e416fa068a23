"""A server behind a gateway, also as a program: ``backend.py NAME REVISION ...`` on its streams."""

import os
import sys
from pathlib import Path

from mcpcore import Server, run
from mcpcore.spec.types.tools import ToolAnnotations
from mcpcore_transports.server.context import Context

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def backend(name: str = "backend") -> Server:
    """Make a server whose tools echo, ask, report progress, and end the process."""
    server = Server(name)

    @server.tool
    def echo(text: str) -> str:
        return f"{name}: {text}"

    @server.tool
    async def ask(context: Context) -> str:
        answer = await context.elicit("Your name?", FORM)
        return f"Hello {answer.content['name']}" if answer.content else "Hello nobody"

    @server.tool
    async def count(context: Context) -> str:
        for step in (1, 2):
            await context.report_progress(step, 2)
        return "counted"

    @server.tool
    def revision(context: Context) -> str:
        return context.revision.name

    @server.tool
    def process() -> str:
        return str(os.getpid())

    @server.tool
    def crash() -> str:
        os._exit(3)

    @server.tool(annotations=ToolAnnotations(idempotent_hint=True))
    def crash_once(file: str) -> str:
        if not os.path.exists(file):
            Path(file).touch()
            os._exit(3)
        return "done"

    server.add_resource(f"file:///{name}", "contents")
    return server


if __name__ == "__main__":
    run(backend(sys.argv[1]), stdio=True, revisions=sys.argv[2:])
