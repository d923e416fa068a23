"""The server under torture: a little of everything, and each function of it can be made to fail."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
from msgspec import Struct

from mcpcore.service import Server
from mcpcore_transports.running.middleware import CallNext, Steps
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.middleware import Answer
from mcpcore_transports.server.settings import RuntimeSettings
from tests.torture.functions import fallible


class Point(Struct):
    """The form that is filled in."""

    x: int


def make_server(released: anyio.Event) -> Server:
    """Make a server whose tool ``wait`` does so until ``released``."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[str]:
        await anyio.lowlevel.checkpoint()
        yield "opened"
        await anyio.lowlevel.checkpoint()

    server = Server("torture", version="1", page_size=4, lifespan=lifespan)

    @server.tool
    @fallible
    def echo(text: str) -> str:
        return text

    @server.tool
    @fallible
    async def later(text: str) -> str:
        await anyio.lowlevel.checkpoint()
        return text

    @server.tool
    @fallible
    def steps(context: Context, count: int) -> str:
        """Report progress, and log."""
        for step in range(1, count + 1):
            context.progress(step, count)
        context.log("info", "stepped")
        return str(count)

    @server.tool
    @fallible
    async def ask(context: Context) -> str:
        answer = await context.elicit("Where?", Point)
        return f"{answer.action} {answer.content}"

    @server.tool
    async def wait(context: Context) -> str:
        context.progress(1)
        await released.wait()
        return "released"

    @server.tool
    @fallible
    def change() -> str:
        server.add_tool(echo, "for_a_moment")
        server.remove_tool("for_a_moment")
        return "changed"

    @server.resource("text://plain")
    @fallible
    def plain() -> str:
        return "plain text"

    @server.prompt
    @fallible
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    return server


def stamped(request: Context) -> Steps[Answer]:
    """Middleware that awaits nothing."""
    yield


async def guarded(request: Context, call_next: CallNext[Answer]) -> Answer:
    """Middleware that awaits."""
    await anyio.lowlevel.checkpoint()
    return await call_next()


def runtime(*, waits: bool, input_timeout: float) -> RuntimeSettings:
    """How handlers are run: inside of middleware, which ``waits`` or does not."""
    middleware = (guarded if waits else stamped,)
    return RuntimeSettings(middleware=middleware, input_timeout=input_timeout)
