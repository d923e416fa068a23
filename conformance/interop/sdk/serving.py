"""What the servers of all libraries share: what they offer, their arguments and announcement.

The tools carry the names of our reference server.  A library says in :class:`Ways` how it does
what each does in its own way.
"""

import argparse
import base64
import logging
import socket
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import anyio
import uvicorn
from mcp import types
from mcp.shared.message import ServerMessageMetadata
from pydantic import BaseModel

from mcpcore_conformance.everything.media import png, wav

warnings.simplefilter("ignore")  # the SDK deprecates parts of the protocol that are served here

PNG = base64.b64encode(png()).decode()
WAV = base64.b64encode(wav()).decode()
WEATHER_ICON = "https://example.com/weather.png"
SIGN_IN = "https://example.com/sign-in"
WATCHED = "test://watched-resource"
PAGE = 2
"""Prompts on one page."""
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
DEFAULTS_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}
"""A default of every type."""
_TITLED = [{"const": "value1", "title": "First"}, {"const": "value2", "title": "Second"}]
ENUMS_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2"]},
        "titledSingle": {"type": "string", "oneOf": _TITLED},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
    },
    "required": ["untitledSingle"],
}
"""A choice of every kind."""
CONFIRM_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {"confirm": {"type": "boolean"}},
    "required": ["confirm"],
}
ADD: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
}
"""The arguments of the tool that the model is given."""

_WORDS = ("paris", "park", "party", "test", "tested", "testing")


async def complete(
    ref: types.PromptReference | types.ResourceTemplateReference,
    argument: types.CompletionArgument,
    context: types.CompletionContext | None,
) -> types.Completion:
    """Complete any argument."""
    first = ((context and context.arguments) or {}).get("arg1")
    words: Iterable[str] = _WORDS
    if argument.name == "id":
        words = map(str, range(1, 200))
    elif argument.name != "arg1" and first is not None:
        words = (f"{first}-1", f"{first}-2")
    return types.Completion(
        values=[each for each in words if each.startswith(argument.value)][:100]
    )


class Person(BaseModel):
    """What the elicitation asks for."""

    username: str
    email: str


class Word(BaseModel):
    """A form with one word."""

    response: str


class Weather(BaseModel):
    """A structured result."""

    city: str
    temperature: float


class Remembered:
    """What the SDK leaves to a server to know of its sessions."""

    def __init__(self) -> None:
        self.levels: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self.roots: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self.subscribed: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()

    def wants_info(self, session: Any) -> bool:
        """Whether log messages of the level info are wanted."""
        return LEVELS.index(self.levels.get(session, LEVELS[0])) <= LEVELS.index("info")

    def subscribe(self, session: Any, uri: Any) -> None:
        """Report the resource from now on."""
        self.subscribed.setdefault(session, set()).add(str(uri))

    def unsubscribe(self, session: Any, uri: Any) -> None:
        """Report it no more."""
        self.subscribed.setdefault(session, set()).discard(str(uri))

    def watches(self, session: Any) -> bool:
        """Whether the watched resource is reported."""
        return WATCHED in self.subscribed.get(session, ())


async def send(ctx: Any, question: Any, kind: type[BaseModel]) -> Any:
    """Ask the client on the stream of the call, by SDK 2.x."""
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    return await ctx.session.send_request(question, kind, metadata=related)


@dataclass(frozen=True)
class Ways:
    """How a library does what each does in its own way."""

    server: Any
    """What the decorators ``tool``, ``resource`` and ``prompt`` belong to."""
    context: type
    """Type of the argument that a tool gets for its request."""
    plain: dict[str, Any]
    """What its tools are told that have no structured output."""
    failure: type[Exception]
    """What a tool raises that fails."""
    announce: Callable[[Any, str], Awaitable[None]]
    """Tells the clients that the list of tools, prompts or resources has changed."""
    message: Callable[[Any], Any]
    """Makes a message of the user for a prompt."""
    session: Callable[[Any], Any]
    """Returns what lasts from one request of a client to the next."""
    send: Callable[[Any, Any, type[BaseModel]], Awaitable[Any]] = send
    """Asks the client; the answer is of the type given."""
    own: frozenset[str] = frozenset()
    """Tools that it has already, in its own way."""
    gates: bool = False
    """Whether it keeps back by itself what is below the level that the client has set."""
    remembered: Remembered = field(default_factory=Remembered)


def image() -> types.ImageContent:
    """Make an image."""
    return types.ImageContent(type="image", data=PNG, mimeType="image/png")


def embedded(uri: str) -> types.EmbeddedResource:
    """Make a resource with its contents."""
    contents = types.TextResourceContents(uri=uri, text="embedded", mimeType="text/plain")
    return types.EmbeddedResource(type="resource", resource=contents)


def question(prompt: str) -> list[types.SamplingMessage]:
    """Make a message for the model."""
    text = types.TextContent(type="text", text=prompt)
    return [types.SamplingMessage(role="user", content=text)]


def offer(ways: Ways) -> None:
    """Add the tools that ask the client for nothing, the resources and the prompts."""
    server, Context = ways.server, ways.context  # noqa: N806
    cancelled: list[Any] = []

    @server.tool()
    async def test_simple_text() -> str:
        """Return one text."""
        return "This is a simple text response for testing."

    @server.tool(**ways.plain)
    async def greet(name: str) -> str:
        """Greet somebody."""
        return f"Hello, {name}!"

    @server.tool(
        title="Weather",
        annotations=types.ToolAnnotations(readOnlyHint=True),
        icons=[types.Icon(src=WEATHER_ICON)],
    )
    async def test_structured_output(city: str) -> Weather:
        """Return an object that follows an output schema."""
        return Weather(city=city, temperature=21.5)

    @server.tool()
    async def test_error_handling() -> str:
        """Fail."""
        raise ways.failure("This tool intentionally returns an error for testing")

    @server.tool(**ways.plain)
    async def test_image_content() -> types.ImageContent:
        """Return an image."""
        return image()

    @server.tool(**ways.plain)
    async def test_audio_content() -> types.AudioContent:
        """Return a sound."""
        return types.AudioContent(type="audio", data=WAV, mimeType="audio/wav")

    @server.tool(**ways.plain)
    async def test_resource_link() -> types.ResourceLink:
        """Return a pointer to a resource."""
        named = {"uri": "test://static-text", "name": "static-text"}
        return types.ResourceLink(type="resource_link", mimeType="text/plain", **named)

    @server.tool(**ways.plain)
    async def test_embedded_resource() -> types.EmbeddedResource:
        """Return a resource with its contents."""
        return embedded("test://embedded-resource")

    @server.tool()
    async def test_tool_with_progress(ctx: Context, seconds: float = 0.05) -> str:
        """Report progress three times, and wait so many seconds after each."""
        for done in (0, 50, 100):
            await ctx.report_progress(done, 100, f"Completed step {done} of 100")
            await anyio.sleep(seconds)
        return "done"

    @server.tool()
    async def test_tool_with_logging(ctx: Context) -> str:
        """Send three log messages, if they are wanted."""
        if ways.gates or ways.remembered.wants_info(ways.session(ctx)):
            for step in ("started", "processing", "finished"):
                await ctx.info(f"Tool execution {step}")
        return "logged"

    @server.tool(**ways.plain)
    async def test_wait(ctx: Context, seconds: float) -> str:
        """Wait, and remember if the wait was cancelled."""
        try:
            await ctx.report_progress(0, seconds)
            await anyio.sleep(seconds)
        except anyio.get_cancelled_exc_class():
            cancelled.append(ctx.request_id)
            raise
        return "waited"

    @server.tool(**ways.plain)
    async def test_cancelled_count() -> str:
        """Count the waits that were cancelled."""
        return str(len(cancelled))

    for kind in ("tool", "prompt", "resource"):
        described = f"Announce that the list of {kind}s has changed."
        made = server.tool(name=f"test_trigger_{kind}_change", description=described)
        made(_announcing(ways, kind))

    @server.tool(**ways.plain)
    async def test_ping_client(ctx: Context) -> str:
        """Ask whether the client is there."""
        await ctx.session.send_ping()
        return "the client is there"

    @server.resource(
        "test://static-text",
        title="A text",
        mime_type="text/plain",
        annotations=types.Annotations(audience=["user"], priority=0.5),
    )
    def static_text() -> str:
        """Return a fixed text."""
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        """Return a fixed image."""
        return bytes.fromhex("89504e470d0a1a0a")

    @server.resource(WATCHED, mime_type="text/plain")
    def watched() -> str:
        """Return what can be subscribed to."""
        return "watched"

    @server.resource("test://template/{id}/data", mime_type="text/plain")
    def template(id: str) -> str:
        """Return a text made from the URI."""
        return f"data of {id}"

    @server.prompt()
    def test_simple_prompt() -> str:
        """Return a prompt without arguments."""
        return "This is a simple prompt for testing."

    @server.prompt(title="Two arguments")
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """Return a prompt made from its arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    def test_prompt_with_image() -> list[Any]:
        """Return a prompt with an image in it."""
        return [ways.message(image())]

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Any]:  # noqa: N803
        """Return a prompt with a resource in it."""
        return [ways.message(embedded(resourceUri))]

    server.completion()(complete)


def page_of(entries: list[Any], cursor: str | None, refusal: Exception) -> tuple[Any, str | None]:
    """Return a page of a list, and the next cursor.  Raises the refusal for an unknown cursor."""
    starts = {None: 0, **{f"after-{start}": start for start in range(PAGE, len(entries), PAGE)}}
    if cursor not in starts:
        raise refusal
    end = starts[cursor] + PAGE
    return entries[starts[cursor] : end], f"after-{end}" if end < len(entries) else None


def _announcing(ways: Ways, kind: str) -> Callable[..., Awaitable[str]]:
    async def trigger(ctx: ways.context) -> str:  # type: ignore[name-defined]  # the library's
        await ways.announce(ctx, kind)
        return "changed"

    return trigger


async def serve(app: Any, listener: socket.socket, url: str) -> None:
    """Serve an application at an address, and announce it."""
    # asyncio does this only for sockets it made itself; without it each answer waits for an ack
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    print(f"listening on {url}", file=sys.stderr, flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


def main(
    run_stdio: Callable[[], Awaitable[None]],
    make_app: Callable[[bool], Any],
    make_sse_app: Callable[[], Any],
) -> int:
    """Serve on the transport that the command line names; ``make_app`` is told if stateless."""
    parser = argparse.ArgumentParser()
    binding = parser.add_mutually_exclusive_group(required=True)
    binding.add_argument("--stdio", action="store_true")
    binding.add_argument("--http", metavar="HOST:PORT")
    binding.add_argument("--sse", metavar="HOST:PORT")
    parser.add_argument(
        "--stateless", action="store_true", help="HTTP without sessions, answers without streams"
    )
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if chosen.stdio:
        anyio.run(run_stdio)
        return 0
    if chosen.sse:
        app, address, url = make_sse_app(), chosen.sse, "sse+http://{}/sse"
    else:
        app, address, url = make_app(chosen.stateless), chosen.http, "http://{}/mcp"
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port)), backlog=128) as listener:
        host, port = listener.getsockname()[:2]
        anyio.run(serve, app, listener, url.format(f"{host}:{port}"))
    return 0
