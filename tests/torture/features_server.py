"""A server that has one of everything that a server can have; all of it may fail."""

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
from msgspec import Struct

from mcpcore import RateLimits, Server
from mcpcore.errors import InputUnavailable
from mcpcore_transports.server.composing import Outcomes, branch, parallel, pipeline
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.elicitation import Elicit, ElicitUrl, Input, ListRoots, Sample
from mcpcore_transports.server.notifications import NotificationContext
from tests.torture.functions import fallible
from tests.torture.server import Point
from tests.torture.users import FallibleServer

NOTE = "notifications/acme/note"
SUM = "acme/sum"
SIGN_IN = "sign-in"
SKILL = b"---\nname: refunds\ndescription: Pays back\n---\nSee note.md.\n"


class Total(Struct):
    """A structured result."""

    sum: int


async def _pass() -> None:
    await anyio.lowlevel.checkpoint()


_begin, _end = fallible(_pass, "lifespan.begin"), fallible(_pass, "lifespan.end")


@asynccontextmanager
async def _opened() -> AsyncIterator[str]:
    await _begin()
    yield "opened"
    await _end()


def make_features(soon: float) -> Server:
    """Make it; clients have ``soon`` seconds to answer."""
    opening = fallible(_opened, "lifespan.open")
    server = FallibleServer("features", version="1", page_size=2, lifespan=opening)
    signed_in: list[str] = []

    @server.tool
    def echo(text: str) -> str:
        return text

    @server.tool
    def total(values: list[int]) -> Total:
        return Total(sum(values))

    @server.tool(thread=True)
    def threaded(context: Context) -> str:
        context.log("info", "from a thread")
        context.progress(1)
        return "threaded"

    @server.tool(visible=lambda principal: True)
    def shown() -> str:
        server.list_changed("tools")
        return "shown"

    @server.tool
    async def asks(context: Context) -> str:
        """Ask everything at once."""
        wanted: dict[str, Input[Any]] = {
            "form": Elicit("Where?", Point),
            "url": ElicitUrl("Look", "https://site.test/look", elicitation_id="look"),
            "model": Sample("Hello", 10),
            "roots": ListRoots(),
        }
        heard = dict.fromkeys(wanted, _reported) if context.revision.server_requests else None
        first = await context.remember("first", functools.partial(_made, 1), int)
        found = await context.gather_inputs(wanted, progress=heard)
        parts = found["form"].content.x, found["model"].content.text, found["roots"][0].uri
        return f"{first} {parts[0]} {parts[1]} {parts[2]}"

    @server.tool
    async def asks_singly(context: Context) -> str:
        """Ask everything, one after the other."""
        url = await context.elicit_url("Look", "https://site.test/look", elicitation_id="single")
        model = await context.sample("Hello", 10)
        roots = await context.list_roots()
        return f"{url.action} {model.content.text} {roots[0].uri}"  # type: ignore[union-attr]

    @server.tool
    async def asks_again(context: Context) -> str:
        """Ask what is answered wrongly at first."""
        answer = await context.elicit("Not the first time", Point)
        return answer.action

    @server.tool
    async def sign_in(context: Context) -> str:
        """Have the user make a visit first."""
        if not signed_in:
            complete = context.elicitation_completer(SIGN_IN)
            signed_in.append(SIGN_IN)
            server_tells.append(complete)
            context.url_elicitation_required(
                ElicitUrl("Sign in", "https://site.test/in", elicitation_id=SIGN_IN)
            )
        return "signed in"

    server_tells: list[Any] = []

    @server.tool
    def visited() -> str:
        for complete in server_tells:
            complete()
        return str(len(server_tells))

    @server.tool
    async def much(context: Context) -> str:
        """Send much, and wait until it was taken."""
        for step in range(1, 20):
            context.log("debug", "x" * 100)
            context.progress(step)
            await context.drained()
            await context.room()
        return "sent"

    @server.tool
    async def pings(context: Context) -> str:
        if context.revision.server_requests:
            await context.ping(timeout=soon)
            await context.pinger()(soon)
        return "pinged"

    @server.tool
    def touch() -> str:
        server.resource_updated("text://plain")
        return "touched"

    @server.tool
    def move() -> str:
        server.add_prompt(greet, "for_a_moment")
        server.remove_prompt("for_a_moment")
        server.add_resource("moment://", "text")
        server.remove_resource("moment://")
        return "moved"

    async def twice(value: int) -> int:
        await anyio.lowlevel.checkpoint()
        return 2 * value

    async def squared(value: int) -> int:
        await anyio.lowlevel.checkpoint()
        return value**2

    def larger(outcomes: Outcomes) -> str:
        return max(outcomes.results, key=lambda name: int(outcomes.results[name]))

    parts = pipeline(parallel(twice, squared), larger)
    server.tool(branch(lambda value: value > 0, {True: parts}, default=twice), name="composed")

    @server.health_check
    async def well() -> None:
        await anyio.lowlevel.checkpoint()

    @server.resource("text://plain")
    async def plain() -> str:
        await anyio.lowlevel.checkpoint()
        return "plain text"

    @server.resource("items://{name}", thread=True)
    def items(name: str) -> str:
        return f"item {name}"

    async def page() -> str:
        await anyio.lowlevel.checkpoint()
        return "<!doctype html>"

    server.add_app("ui://page", page)
    server.add_skills({"refunds/SKILL.md": SKILL, "refunds/note.md": b"Kindly."})

    @server.prompt
    def greet(name: str) -> str:
        return f"Hello, {name}!"

    @server.completion(prompt="greet", argument="name")
    def names(typed: str) -> list[str]:
        return [name for name in ("Ada", "Alan") if name.startswith(typed)]

    @server.completion(template="items://{name}")
    async def item_names(typed: str) -> list[str]:
        await anyio.lowlevel.checkpoint()
        return ["one"]

    @server.method(SUM)
    async def add_up(values: list[int]) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return {"sum": sum(values)}

    @server.notification(NOTE)
    async def heard(context: NotificationContext, value: int) -> None:
        if context.revision is not None:
            # A client that has left over HTTP cannot be told from one that takes its time.
            with anyio.move_on_after(soon), suppress(InputUnavailable):
                await context.list_roots()
                await context.ping(timeout=soon)

    @server.notification("notifications/roots/list_changed", thread=True)
    def roots_changed() -> None:
        pass

    return server


@fallible
def _reported(*values: object) -> None:
    pass


@fallible
async def _made(value: int) -> int:
    await anyio.lowlevel.checkpoint()
    return value


def limiter() -> RateLimits:
    """What limits nothing, but is asked."""
    return RateLimits({})
