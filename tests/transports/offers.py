"""The same servers on every transport: for tests that must come out alike wherever they run.

As a program, ``offers.py NAME [REVISION...]``, it serves one of them on standard input and output.
"""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio
import anyio.from_thread
import anyio.lowlevel
from msgspec import Struct

from mcpcore.errors import InputUnavailable, ToolError
from mcpcore.service import Server
from mcpcore.spec.revisions import REVISIONS, parse_revisions
from mcpcore.spec.types.content import TextContent
from mcpcore.spec.types.prompts import GetPromptResult, PromptMessage
from mcpcore.spec.types.tools import CallToolResult
from mcpcore_transports.serve.serve import run
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.elicitation import Elicit, Input, ListRoots, Sample
from mcpcore_transports.server.notifications import NotificationContext
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.targets import MemoryTarget, StdioTarget, Target, parse_target
from tests.transports.served import ANY_PORT, served
from tests.warm import PYTHON

TRANSPORTS = ("memory", "stdio", "http", "ws", "unix")
EVERY_TRANSPORT = (*TRANSPORTS, "memory-wire", "tcp")
"""With those that have all but their bytes in common with others."""
PIDS = "OFFERS_PIDS"
"""The environment variable that names a file to which each process adds its id."""


def echo() -> Server:
    """A server with one tool."""
    server = Server("echo", version="1")

    @server.tool
    def echo(text: str) -> str:
        return text

    return server


class Person(Struct):
    """The form of these handlers."""

    name: str
    age: int = 30


def questions() -> Server:
    """Handlers that ask the client, each written once for all revisions."""
    server = Server("questions", version="1")

    @server.tool
    async def elicit(context: Context) -> str:
        answer = await context.elicit("Who are you?", Person)
        return f"{answer.action} {answer.content}"

    @server.tool
    async def sample(context: Context) -> str:
        return await _sampled(context, "Hello")

    @server.tool
    async def roots(context: Context) -> str:
        return " ".join(root.uri for root in await context.list_roots())

    @server.tool
    async def combined(context: Context) -> str:
        """One question after the other, where each depends on what came before."""
        [root, *_] = await context.list_roots()
        said = await _sampled(context, f"Summarize {root.uri}")
        if not context.supports("elicitation"):
            return said
        answer = await context.elicit(f"Is it right that {said}", Person)
        return f"{said} {answer.action} {answer.content and answer.content.name}"

    @server.tool
    async def gathered(context: Context) -> str:
        """Several at once."""
        wanted: dict[str, Input[Any]] = {"words": Sample("Hello", 10), "places": ListRoots()}
        if context.supports("elicitation"):
            wanted["who"] = Elicit("Who are you?", Person)
        answers = await context.gather_inputs(wanted)
        parts = [answers["words"].content.text, answers["places"][0].uri]
        if "who" in answers:
            parts.append(answers["who"].content.name)
        return " ".join(parts)

    @server.tool
    async def in_tasks(context: Context) -> str:
        """The same from tasks of the handler's own."""
        found: dict[str, str] = {}

        async def ask_model() -> None:
            found["words"] = await _sampled(context, "Hello")

        async def ask_places() -> None:
            found["places"] = (await context.list_roots())[0].uri

        async with anyio.create_task_group() as group:
            group.start_soon(ask_model)
            group.start_soon(ask_places)
        return f"{found['words']} {found['places']}"

    @server.tool
    async def reported(context: Context) -> list[Any]:
        """What is heard of the progress of questions; the client is told when it is."""
        heard: list[Any] = []

        def hear(value: float, total: float | None, message: str | None) -> None:
            heard.append([value, total, message])
            context.notify("notifications/acme/heard", {"value": value})

        async def hear_later(value: float, total: float | None, message: str | None) -> None:
            await anyio.lowlevel.checkpoint()
            hear(value, total, message)

        await context.sample("Hello", 10, progress=hear)
        if context.supports("elicitation"):
            await context.elicit("Who are you?", Person, progress=hear)
        await context.list_roots(progress=hear_later)
        return heard

    @server.tool
    async def remembered(context: Context) -> str:
        """What must not be done twice, between questions that may run the handler again."""
        first = await context.remember("first", _next, int)
        await context.list_roots()
        second = await context.remember("second", _next, int)
        await _sampled(context, f"{first} {second}")
        return f"{first} {second} {await context.remember('first', _next, int)}"

    return server


def tracing() -> Server:
    """Handlers that say which trace they belong to, and put another one into their result."""
    server = Server("tracing", version="1")
    back = {"traceparent": "00-1-3-01", "baggage": "from=server"}

    def heard(context: Context) -> str:
        meta = context.meta
        found = (meta.traceparent, meta.tracestate, meta.baggage)
        return ",".join(each or "" for each in found)

    @server.tool
    def call(context: Context) -> CallToolResult:
        return CallToolResult(content=[TextContent(text=heard(context))], meta=back)

    @server.tool
    async def ask(context: Context) -> CallToolResult:
        await context.list_roots()
        return CallToolResult(content=[TextContent(text=heard(context))], meta=back)

    @server.tool
    async def ask_all(context: Context, other: dict[str, Any] | None = None) -> str:
        """Asks whatever there is, with metadata of its own if it is given any."""
        await context.list_roots(meta=other)
        await context.sample("Hello", 10, meta=other)
        if context.supports("elicitation"):
            await context.elicit("Who are you?", Person, meta=other)
        return heard(context)

    @server.tool
    async def plain(context: Context, fail: bool = False) -> str:
        """Returns text, beside which the trace goes back."""
        context.result_meta.update(context.meta.trace)
        if fail:
            raise ToolError("no luck")
        return heard(context)

    @server.completion(prompt="prompt")
    def complete(context: Context, typed: str) -> list[str]:
        context.result_meta.update(context.meta.trace)
        return [heard(context)]

    @server.resource("trace://now")
    def read(context: Context) -> str:
        context.result_meta.update(context.meta.trace)
        return heard(context)

    @server.prompt
    def prompt(context: Context) -> GetPromptResult:
        message = PromptMessage(role="user", content=TextContent(text=heard(context)))
        return GetPromptResult(messages=[message], meta=back)

    return server


def listening() -> Server:
    """Functions that hear notifications, answer methods of an extension, and ping."""
    server = Server("listening", version="1")
    told: list[Any] = []
    more = anyio.Event()

    def keep(thing: Any) -> None:
        nonlocal more
        told.append(thing)
        more.set()
        more = anyio.Event()

    @server.notification("notifications/roots/list_changed")
    async def roots_changed(context: NotificationContext) -> None:
        await context.ping()
        keep([context.method, *[root.uri for root in await context.list_roots()]])

    @server.notification("notifications/acme/typing")
    def typing(where: str, speed: int = 1) -> None:
        keep([where, speed])

    @server.notification("notifications/acme/echo")
    def echo(context: NotificationContext) -> None:
        known = context.notify("notifications/acme/heard", {"value": 1})
        keep(["echo", known, context.notify("notifications/roots/list_changed")])

    @server.notification("notifications/acme/slow", thread=True)
    def slow(context: NotificationContext, word: str) -> None:
        anyio.from_thread.run_sync(keep, [word, context.method])

    @server.tool
    async def heard(count: int) -> list[Any]:
        """What was heard so far, once it is at least so much."""
        while len(told) < count:
            await more.wait()
        return told

    @server.method("acme/add")
    async def add(context: Context, a: int, b: int = 1) -> dict[str, Any]:
        return {"sum": a + b, "asked": context.method, "told": context.progress(1)}

    @server.method("acme/nothing", thread=True)
    def nothing() -> None:
        return None

    @server.method("acme/wrong")
    def wrong() -> list[int]:
        return [1]

    @server.tool
    def tell(context: Context) -> list[bool]:
        """Tells the client something of an extension, and something that only clients say."""
        sent = context.notify("notifications/acme/typing", {"where": "at the server"})
        return [sent, context.notify("notifications/roots/list_changed")]

    @server.notification("notifications/acme/look")
    async def look(context: NotificationContext) -> None:
        heard: list[float] = []

        def hear(value: float, total: float | None, message: str | None) -> None:
            heard.append(value)
            context.notify("notifications/acme/heard", {"value": value})

        await context.ask(ListRoots(), progress=hear)
        keep(["progress", *heard])

    ended: list[Any] = []

    @server.tool
    async def stuck(context: Context) -> None:
        """Waits for ever; ``endings`` tells why it did not."""
        context.progress(1)
        try:
            await anyio.sleep_forever()
        finally:
            ended.append([context.cancelled, context.cancel_reason])
            keep("over")

    @server.tool
    async def endings(count: int) -> list[Any]:
        """Why ``stuck`` ended, once it has so often."""
        while len(ended) < count:
            await more.wait()
        return ended

    @server.tool
    async def impatient(context: Context) -> str:
        """Asks two things, of which the client refuses one."""
        try:
            await context.gather_inputs({"no": Sample("Hello", 10), "slow": ListRoots()})
        except InputUnavailable as error:
            return str(error)
        return "answered"

    pingers: list[Callable[[float], Awaitable[None]]] = []

    @server.tool
    def watched(context: Context) -> None:
        pingers.append(context.pinger())

    @server.notification("notifications/acme/check")
    async def check() -> None:
        """Pings outside of any request."""
        try:
            await pingers[-1](10.0)
        except InputUnavailable as error:
            keep(str(error))
        else:
            keep("alive")

    @server.tool
    async def there(context: Context) -> str:
        try:
            await context.ping()
        except InputUnavailable as error:
            return str(error)
        return "there"

    return server


async def _sampled(context: Context, prompt: str) -> str:
    block = (await context.sample(prompt, 10)).content
    assert isinstance(block, TextContent)
    return block.text


_numbers = iter(range(1, 10_000))


def _next() -> int:
    return next(_numbers)


SERVERS: dict[str, Callable[[], Server]] = {
    "echo": echo,
    "questions": questions,
    "tracing": tracing,
    "listening": listening,
}


@asynccontextmanager
async def offered(
    transport: str,
    name: str,
    revisions: Sequence[str] | None = None,
    env: dict[str, str] | None = None,
) -> AsyncIterator[Target]:
    """Offer a server on a transport, restricted to revisions; yields what to connect to."""
    rows = REVISIONS if revisions is None else parse_revisions(revisions)
    if transport in ("memory", "memory-wire"):
        settings = RuntimeSettings(revisions=rows)
        yield MemoryTarget(SERVERS[name](), settings, wire=transport == "memory-wire")
        return
    if transport == "stdio":
        yield StdioTarget([*PYTHON, __file__, name, *(row.name for row in rows)], env)
        return
    with TemporaryDirectory(prefix="mcp-") as folder:
        address = f"{folder}/socket" if transport == "unix" else ANY_PORT
        binding: Any = {transport: address}
        async with served(SERVERS[name](), revisions=revisions, **binding) as site:
            yield parse_target(site.url)


if __name__ == "__main__":
    if PIDS in os.environ:
        with open(os.environ[PIDS], "a") as pids:
            pids.write(f"{os.getpid()}\n")
    run(SERVERS[sys.argv[1]](), revisions=sys.argv[2:])
