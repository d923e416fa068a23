"""A server written with the official Python SDK, offering what the demonstration calls.

Runs inside .venv-sdk only, and imports nothing of this project:
``.venv-sdk/bin/python conformance/demo/sdk_server.py --stdio | --http HOST:PORT``.
The tools carry the names of our everything server, so that one driver suits both.
"""

import argparse
import functools
import socket
import sys
import warnings
from typing import Annotated

import anyio
import mcp_types as types
import uvicorn
from mcp.server import NotificationOptions
from mcp.server.mcpserver import Context, Elicit, ListRoots, MCPServer, Resolve, Sample
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import BaseModel

warnings.simplefilter("ignore")  # the SDK deprecates parts of the protocol that are served here

WATCHED = "test://watched-resource"

server = MCPServer("sdk-everything", version="1.0.0", log_level="ERROR")
cancelled: list[str] = []


class Person(BaseModel):
    """What the elicitation asks for."""

    username: str
    email: str


class Weather(BaseModel):
    """A structured result."""

    city: str
    temperature: float


@server.tool()
async def test_simple_text() -> str:
    """Return one text."""
    return "This is a simple text response for testing."


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    """Report progress three times."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
    return "done"


@server.tool()
async def test_structured_output(city: str) -> Weather:
    """Return an object that follows an output schema."""
    return Weather(city=city, temperature=21.5)


@server.tool()
async def test_error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


def ask_person(message: str) -> Elicit[Person]:
    """Ask the user who they are."""
    return Elicit(message, Person)


@server.tool()
async def test_elicitation(message: str, person: Annotated[Person, Resolve(ask_person)]) -> str:
    """Ask the user and repeat the answer."""
    return f"User response: {person.username}"


def ask_model(prompt: str) -> Sample:
    """Ask the client's model."""
    content = types.TextContent(type="text", text=prompt)
    return Sample([types.SamplingMessage(role="user", content=content)], max_tokens=100)


@server.tool()
async def test_sampling(
    prompt: str, answer: Annotated[types.CreateMessageResult, Resolve(ask_model)]
) -> str:
    """Ask the client's model and repeat the answer."""
    content = answer.content
    return f"LLM response: {content.text if content.type == 'text' else content.type}"


def ask_roots() -> ListRoots:
    """Ask for the client's roots."""
    return ListRoots()


@server.tool()
async def test_list_roots(roots: Annotated[types.ListRootsResult, Resolve(ask_roots)]) -> str:
    """Name the client's roots."""
    return " ".join(str(root.uri) for root in roots.roots)


@server.tool()
async def test_wait(ctx: Context, seconds: float) -> str:
    """Wait, and remember if the wait was cancelled."""
    try:
        await ctx.report_progress(0, seconds)
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        cancelled.append(ctx.request_id)
        raise
    return "waited"


@server.tool()
async def test_cancelled_count() -> int:
    """Say how many waits were cancelled."""
    return len(cancelled)


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    """Send three log messages."""
    for step in ("started", "processing", "finished"):
        await ctx.info(f"Tool execution {step}")
    return "logged"


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    """Announce that the list of tools has changed, to either era."""
    await ctx.notify_tools_changed()
    if ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
        await ctx.session.send_tool_list_changed()
    return "changed"


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """Return a fixed text."""
    return "This is the content of the static text resource."


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


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """Return a prompt made from its arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.completion()
async def complete(
    ref: types.PromptReference | types.ResourceTemplateReference,
    argument: types.CompletionArgument,
    context: types.CompletionContext | None,
) -> types.Completion:
    """Complete any argument with words that start as it does."""
    words = ["test", "testing", "tested", "other"]
    return types.Completion(values=[word for word in words if word.startswith(argument.value)])


async def accept(ctx: object, params: object) -> types.EmptyResult:
    """Agree to a legacy request whose effect the tools above do not depend on."""
    return types.EmptyResult()


def offer_legacy() -> None:
    """Serve and declare what the handshake era has and MCPServer has no way to ask for."""
    low = server._lowlevel_server
    low.create_initialization_options = functools.partial(
        low.create_initialization_options, NotificationOptions(tools_changed=True)
    )
    low.add_request_handler("resources/subscribe", types.SubscribeRequestParams, accept)
    low.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, accept)
    low.add_request_handler("logging/setLevel", types.SetLevelRequestParams, accept)


async def serve_http(host: str, port: int) -> None:
    """Serve Streamable HTTP and announce the address on stderr."""
    listener = socket.create_server((host, port), backlog=128)
    # asyncio does this only for sockets it made itself; without it each answer waits for an ack
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(server.streamable_http_app(host=host), log_level="error")
    print(f"listening on http://{host}:{port}/mcp", file=sys.stderr, flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    """Serve on the transport that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    binding = parser.add_mutually_exclusive_group(required=True)
    binding.add_argument("--stdio", action="store_true")
    binding.add_argument("--http", metavar="HOST:PORT")
    chosen = parser.parse_args()
    offer_legacy()
    if chosen.stdio:
        anyio.run(server.run_stdio_async)
    else:
        host, _, port = chosen.http.rpartition(":")
        anyio.run(serve_http, host, int(port))


if __name__ == "__main__":
    main()
