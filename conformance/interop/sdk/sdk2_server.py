"""A server written with the official Python SDK 2.x, offering what the drivers ask for.

Runs inside .venv-sdk only: ``sdk2_server.py --stdio | --http HOST:PORT``.  The tools carry the
names of our reference server.  MCPServer has no way to ask for some parts of the handshake era:
those are added to the low-level server below it.
"""

import functools
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal
from weakref import WeakKeyDictionary

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server import NotificationOptions
from mcp.server.caching import CacheHint
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, Elicit, ListRoots, MCPServer, Resolve, Sample
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import UrlElicitationRequiredError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import BaseModel, Field

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # what both lines share

from conformance.interop.sdk.serving import (
    ADD,
    LEVELS,
    PAGE,
    PNG,
    WATCHED,
    WAV,
    WEATHER_ICON,
    main,
    proposals,
)

warnings.simplefilter("ignore")  # the SDK deprecates parts of the protocol that are served here

HINT = CacheHint(ttl_ms=60_000, scope="public")
server = MCPServer(
    "sdk2-everything",
    version="1.0.0",
    instructions="Offers what the drivers ask for.",
    log_level="CRITICAL",
    cache_hints={"tools/list": HINT, "resources/read": HINT},
)
low = server._lowlevel_server
cancelled: list[str] = []
levels: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
known_roots: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
subscribed: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
visited: set[str] = set()


def legacy(ctx: Context) -> bool:
    """Whether the request belongs to the handshake era."""
    return ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS


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


class Defaults(BaseModel):
    """A form full of defaults."""

    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Literal["active", "inactive"] = "active"
    verified: bool = True


TITLED = [{"const": "value1", "title": "First"}, {"const": "value2", "title": "Second"}]


class Choices(BaseModel):
    """A form with a choice of every kind."""

    untitledSingle: Literal["option1", "option2"]  # noqa: N815
    titledSingle: Annotated[str, Field(json_schema_extra={"oneOf": TITLED})]  # noqa: N815
    untitledMulti: list[Literal["option1", "option2"]]  # noqa: N815


# Tools


@server.tool()
async def test_simple_text() -> str:
    """Return one text."""
    return "This is a simple text response for testing."


@server.tool(structured_output=False)
async def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}!"


@server.tool(
    title="Weather",
    annotations=types.ToolAnnotations(read_only_hint=True),
    icons=[types.Icon(src=WEATHER_ICON)],
)
async def test_structured_output(city: str) -> Weather:
    """Return an object that follows an output schema."""
    return Weather(city=city, temperature=21.5)


@server.tool()
async def test_error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool(structured_output=False)
async def test_image_content() -> types.ImageContent:
    """Return an image."""
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


@server.tool(structured_output=False)
async def test_audio_content() -> types.AudioContent:
    """Return a sound."""
    return types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")


@server.tool(structured_output=False)
async def test_resource_link() -> types.ResourceLink:
    """Return a pointer to a resource."""
    return types.ResourceLink(
        type="resource_link", uri="test://static-text", name="static-text", mime_type="text/plain"
    )


@server.tool(structured_output=False)
async def test_embedded_resource() -> types.EmbeddedResource:
    """Return a resource with its contents."""
    resource = types.TextResourceContents(
        uri="test://embedded-resource", text="embedded", mime_type="text/plain"
    )
    return types.EmbeddedResource(type="resource", resource=resource)


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    """Report progress three times."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed step {done} of 100")
    return "done"


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    """Send three log messages, if they are wanted."""
    if levels.get(ctx.session._connection, 0) <= LEVELS.index("info"):
        for step in ("started", "processing", "finished"):
            await ctx.info(f"Tool execution {step}")
    return "logged"


@server.tool(structured_output=False)
async def test_wait(ctx: Context, seconds: float) -> str:
    """Wait, and remember if the wait was cancelled."""
    try:
        await ctx.report_progress(0, seconds)
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        cancelled.append(ctx.request_id)
        raise
    return "waited"


@server.tool(structured_output=False)
async def test_cancelled_count() -> str:
    """Say how many waits were cancelled."""
    return str(len(cancelled))


@server.tool(structured_output=False)
async def test_x_mcp_header(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
) -> str:
    """Take an argument that is mirrored into a header, which the SDK compares."""
    return f"region: {region}"


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    """Announce that the list of tools has changed."""
    await ctx.notify_tools_changed()
    if legacy(ctx):
        await ctx.session.send_tool_list_changed()
    return "changed"


@server.tool()
async def test_trigger_prompt_change(ctx: Context) -> str:
    """Announce that the list of prompts has changed."""
    await ctx.notify_prompts_changed()
    if legacy(ctx):
        await ctx.session.send_prompt_list_changed()
    return "changed"


@server.tool()
async def test_trigger_resource_change(ctx: Context) -> str:
    """Announce that the list of resources, and the watched one, have changed."""
    await ctx.notify_resource_updated(WATCHED)
    await ctx.notify_resources_changed()
    if legacy(ctx):
        if WATCHED in subscribed.get(ctx.session._connection, ()):
            await ctx.session.send_resource_updated(WATCHED)
        await ctx.session.send_resource_list_changed()
    return "changed"


# Tools that ask the client


@server.tool(structured_output=False)
async def test_ping_client(ctx: Context) -> str:
    """Ask whether the client is there."""
    await ctx.session.send_ping()
    return "the client is there"


def ask_person(message: str) -> Elicit[Person]:
    """Ask the user who they are."""
    return Elicit(message, Person)


@server.tool()
async def test_elicitation(
    message: str, person: Annotated[ElicitationResult[Person], Resolve(ask_person)]
) -> str:
    """Ask the user and repeat the answer."""
    return f"action={person.action}, content={getattr(person, 'data', None)}"


def ask_review() -> Elicit[Defaults]:
    """Ask the user to look through the form."""
    return Elicit("Please review", Defaults)


@server.tool()
async def test_elicitation_sep1034_defaults(
    answer: Annotated[ElicitationResult[Defaults], Resolve(ask_review)],
) -> str:
    """Ask the user with a form full of defaults."""
    return f"action={answer.action}, content={answer.data}"


def ask_choice() -> Elicit[Choices]:
    """Ask the user to choose."""
    return Elicit("Please choose", Choices)


@server.tool()
async def test_elicitation_sep1330_enums(
    answer: Annotated[ElicitationResult[Choices], Resolve(ask_choice)],
) -> str:
    """Ask the user to choose."""
    return f"action={answer.action}, content={answer.data}"


SIGN_IN = "https://example.com/sign-in"


@server.tool(structured_output=False)
async def test_elicitation_url(ctx: Context) -> str | types.InputRequiredResult:
    """Ask the user to visit a page."""
    visit = f"visit-{ctx.request_id}"
    if legacy(ctx):
        answer = await ctx.elicit_url("Please sign in", SIGN_IN, visit)
        if answer.action == "accept":
            await ctx.session.send_elicit_complete(visit, ctx.request_id)
        return f"action={answer.action}"
    if not ctx.input_responses:
        params = types.ElicitRequestURLParams(message="Please sign in", url=SIGN_IN)
        return types.InputRequiredResult(
            input_requests={"visit": types.ElicitRequest(params=params)}, request_state="visiting"
        )
    return f"action={ctx.input_responses['visit'].action}"


@server.tool(structured_output=False)
async def test_url_elicitation_required() -> str:
    """Refuse to work until the visit has ended."""
    if visited:
        visited.clear()
        return "signed in"
    wanted = types.ElicitRequestURLParams(
        message="Please sign in first", url=SIGN_IN, elicitation_id="visit-first"
    )
    raise UrlElicitationRequiredError([wanted])


@server.tool(structured_output=False)
async def test_finish_visit(ctx: Context) -> str:
    """End the visit that test_url_elicitation_required waits for."""
    visited.add("visit-first")
    await ctx.session.send_elicit_complete("visit-first", ctx.request_id)
    return "the user has signed in"


def ask_first() -> Elicit[Person]:
    """Ask for a person."""
    return Elicit("Step 1: who are you?", Person)


def ask_second(first: Annotated[Person, Resolve(ask_first)]) -> Elicit[Word]:
    """Ask for something that depends on the person."""
    return Elicit(f"Step 2: what is your favourite insect, {first.username}?", Word)


@server.tool()
async def test_input_required_result_multi_round(
    first: Annotated[ElicitationResult[Person], Resolve(ask_first)],
    second: Annotated[ElicitationResult[Word], Resolve(ask_second)],
) -> str:
    """Ask for one thing after the other."""
    return f"step 1: {first.action}, step 2: {second.action}"


def question(prompt: str) -> list[types.SamplingMessage]:
    """Make a message for the model."""
    content = types.TextContent(type="text", text=prompt)
    return [types.SamplingMessage(role="user", content=content)]


def ask_model(prompt: str) -> Sample:
    """Ask the client's model."""
    return Sample(question(prompt), max_tokens=100)


@server.tool()
async def test_sampling(
    prompt: str, answer: Annotated[types.CreateMessageResult, Resolve(ask_model)]
) -> str:
    """Ask the client's model and repeat the answer."""
    return f"LLM response: {answer.content.text}"


def ask_model_with_tools() -> Sample:
    """Ask the client's model, and give it a tool that it must use."""
    return Sample(
        question("Two and two?"),
        max_tokens=100,
        tools=[types.Tool(name="add", input_schema=ADD)],
        tool_choice=types.ToolChoice(mode="required"),
    )


@server.tool(structured_output=False)
async def test_sampling_with_tools(
    answer: Annotated[types.CreateMessageResultWithTools, Resolve(ask_model_with_tools)],
) -> str:
    """Say what the model wants to be called."""
    (use,) = answer.content_as_list
    given = " ".join(f"{name}={value}" for name, value in use.input.items())
    return f"the model uses {use.name} with {given}"


def ask_roots(ctx: Context) -> ListRoots | None:
    """Ask for the roots, unless they are known and the client has not said that they changed."""
    return None if legacy(ctx) and ctx.session._connection in known_roots else ListRoots()


@server.tool(structured_output=False)
async def test_list_roots(
    ctx: Context, roots: Annotated[types.ListRootsResult | None, Resolve(ask_roots)]
) -> str:
    """Name the client's roots."""
    if roots is None:
        return known_roots[ctx.session._connection]
    text = " ".join(str(root.uri) for root in roots.roots)
    if legacy(ctx):
        known_roots[ctx.session._connection] = text
    return text


async def forget_roots(ctx: Any, params: object) -> None:
    """Take note that a client's roots have changed."""
    known_roots.pop(ctx.session._connection, None)


# Resources, prompts, completion


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
def test_prompt_with_image() -> list[UserMessage]:
    """Return a prompt with an image in it."""
    return [UserMessage(types.ImageContent(type="image", data=PNG, mime_type="image/png"))]


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803
    """Return a prompt with a resource in it."""
    resource = types.TextResourceContents(uri=resourceUri, text="embedded", mime_type="text/plain")
    return [UserMessage(types.EmbeddedResource(type="resource", resource=resource))]


@server.completion()
async def complete(
    ref: types.PromptReference | types.ResourceTemplateReference,
    argument: types.CompletionArgument,
    context: types.CompletionContext | None,
) -> types.Completion:
    """Complete any argument."""
    known = context.arguments if context else None
    return types.Completion(values=proposals(argument.name, argument.value, known)[:100])


# What MCPServer has no way to ask for


async def list_prompts(
    ctx: object, params: types.PaginatedRequestParams
) -> types.ListPromptsResult:
    """List the prompts in pages."""
    prompts = await server.list_prompts()
    starts = {None: 0, **{f"after-{start}": start for start in range(PAGE, len(prompts), PAGE)}}
    if params.cursor not in starts:
        raise MCPError(code=types.INVALID_PARAMS, message="no such cursor")
    end = starts[params.cursor] + PAGE
    more = f"after-{end}" if end < len(prompts) else None
    return types.ListPromptsResult(prompts=prompts[starts[params.cursor] : end], next_cursor=more)


async def set_level(ctx: Any, params: types.SetLevelRequestParams) -> types.EmptyResult:
    """Remember the connection's level."""
    levels[ctx.session._connection] = LEVELS.index(params.level)
    return types.EmptyResult()


async def subscribe(ctx: Any, params: types.SubscribeRequestParams) -> types.EmptyResult:
    """Report the resource from now on."""
    subscribed.setdefault(ctx.session._connection, set()).add(str(params.uri))
    return types.EmptyResult()


async def unsubscribe(ctx: Any, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    """Report it no more."""
    subscribed.setdefault(ctx.session._connection, set()).discard(str(params.uri))
    return types.EmptyResult()


low.create_initialization_options = functools.partial(
    low.create_initialization_options, NotificationOptions(True, True, True)
)
low.add_request_handler("prompts/list", types.PaginatedRequestParams, list_prompts)
low.add_request_handler("resources/subscribe", types.SubscribeRequestParams, subscribe)
low.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, unsubscribe)
low.add_request_handler("logging/setLevel", types.SetLevelRequestParams, set_level)
low.add_notification_handler(
    "notifications/roots/list_changed", types.NotificationParams, forget_roots
)


def app(stateless: bool) -> Any:
    """Make what serves HTTP."""
    return server.streamable_http_app(
        host="127.0.0.1", stateless_http=stateless, json_response=stateless
    )


if __name__ == "__main__":
    sys.exit(main(server.run_stdio_async, app, server.sse_app))
