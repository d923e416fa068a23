"""A server written with the official Python SDK 1.x, offering what the drivers ask for.

Runs inside .venv-sdk1 only: ``sdk1_server.py --stdio | --http HOST:PORT``.  The tools carry the
names of our reference server.  FastMCP has no way to ask for some parts of the protocol: those are
added to the low-level server below it.
"""

import sys
import warnings
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import anyio
from mcp import McpError, types
from mcp.server.fastmcp import Context, FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.server.fastmcp.prompts.base import UserMessage
from mcp.server.lowlevel import NotificationOptions
from mcp.shared.exceptions import UrlElicitationRequiredError
from pydantic import AnyUrl, BaseModel

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # what both lines share

from conformance.interop.sdk.serving import (
    ADD,
    CONFIRM_FORM,
    DEFAULTS_FORM,
    ENUMS_FORM,
    LEVELS,
    PAGE,
    PNG,
    WATCHED,
    WAV,
    WEATHER_ICON,
    main,
    proposals,
)

warnings.simplefilter("ignore")  # tasks are marked as deprecated

server = FastMCP("sdk1-everything", instructions="Offers what the drivers ask for.")
low = server._mcp_server
low.version = "1.0.0"
cancelled: list[str] = []
levels: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
known_roots: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
subscribed: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
visited: set[str] = set()


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
    annotations=types.ToolAnnotations(readOnlyHint=True),
    icons=[types.Icon(src=WEATHER_ICON)],
)
async def test_structured_output(city: str) -> Weather:
    """Return an object that follows an output schema."""
    return Weather(city=city, temperature=21.5)


@server.tool()
async def test_error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool()
async def test_image_content() -> types.ImageContent:
    """Return an image."""
    return types.ImageContent(type="image", data=PNG, mimeType="image/png")


@server.tool()
async def test_audio_content() -> types.AudioContent:
    """Return a sound."""
    return types.AudioContent(type="audio", data=WAV, mimeType="audio/wav")


@server.tool()
async def test_resource_link() -> types.ResourceLink:
    """Return a pointer to a resource."""
    return types.ResourceLink(
        type="resource_link", uri="test://static-text", name="static-text", mimeType="text/plain"
    )


@server.tool()
async def test_embedded_resource() -> types.EmbeddedResource:
    """Return a resource with its contents."""
    resource = types.TextResourceContents(
        uri="test://embedded-resource", text="embedded", mimeType="text/plain"
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
    """Send three log messages, if the session wants them."""
    if levels.get(ctx.session, 0) <= LEVELS.index("info"):
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


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    """Announce that the list of tools has changed."""
    await ctx.session.send_tool_list_changed()
    return "changed"


@server.tool()
async def test_trigger_prompt_change(ctx: Context) -> str:
    """Announce that the list of prompts has changed."""
    await ctx.session.send_prompt_list_changed()
    return "changed"


@server.tool()
async def test_trigger_resource_change(ctx: Context) -> str:
    """Announce that the list of resources, and the watched one, have changed."""
    if WATCHED in subscribed.get(ctx.session, ()):
        await ctx.session.send_resource_updated(AnyUrl(WATCHED))
    await ctx.session.send_resource_list_changed()
    return "changed"


# Tools that ask the client


@server.tool(structured_output=False)
async def test_ping_client(ctx: Context) -> str:
    """Ask whether the client is there."""
    await ctx.session.send_ping()
    return "the client is there"


@server.tool()
async def test_elicitation(ctx: Context, message: str) -> str:
    """Ask the user and repeat the answer."""
    answer = await ctx.elicit(message, Person)
    return f"action={answer.action}, content={getattr(answer, 'data', None)}"


async def fill_in(ctx: Context, form: dict[str, Any]) -> str:
    """Have a form filled in that no model describes."""
    answer = await ctx.session.elicit_form("Please review", form, ctx.request_id)
    return f"action={answer.action}, content={answer.content}"


@server.tool()
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask the user with a form full of defaults."""
    return await fill_in(ctx, DEFAULTS_FORM)


@server.tool()
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask the user to choose."""
    return await fill_in(ctx, ENUMS_FORM)


@server.tool()
async def test_elicitation_url(ctx: Context) -> str:
    """Ask the user to visit a page."""
    visit = f"visit-{ctx.request_id}"
    answer = await ctx.elicit_url("Please sign in", "https://example.com/sign-in", visit)
    if answer.action == "accept":
        await ctx.session.send_elicit_complete(visit, ctx.request_id)
    return f"action={answer.action}"


@server.tool(structured_output=False)
async def test_url_elicitation_required() -> str:
    """Refuse to work until the visit has ended."""
    if visited:
        visited.clear()
        return "signed in"
    wanted = types.ElicitRequestURLParams(
        mode="url",
        message="Please sign in first",
        url="https://example.com/sign-in",
        elicitationId="visit-first",
    )
    raise UrlElicitationRequiredError([wanted])


@server.tool(structured_output=False)
async def test_finish_visit(ctx: Context) -> str:
    """End the visit that test_url_elicitation_required waits for."""
    visited.add("visit-first")
    await ctx.session.send_elicit_complete("visit-first", ctx.request_id)
    return "the user has signed in"


@server.tool()
async def test_input_required_result_multi_round(ctx: Context) -> str:
    """Ask for one thing after the other."""
    first = await ctx.elicit("Step 1: who are you?", Person)
    second = await ctx.elicit("Step 2: what is your favourite insect?", Word)
    return f"step 1: {first.action}, step 2: {second.action}"


def question(prompt: str) -> list[types.SamplingMessage]:
    """Make a message for the model."""
    content = types.TextContent(type="text", text=prompt)
    return [types.SamplingMessage(role="user", content=content)]


@server.tool()
async def test_sampling(ctx: Context, prompt: str) -> str:
    """Ask the client's model and repeat the answer."""
    answer = await ctx.session.create_message(
        question(prompt), max_tokens=100, related_request_id=ctx.request_id
    )
    return f"LLM response: {answer.content.text}"


@server.tool(structured_output=False)
async def test_sampling_with_tools(ctx: Context) -> str:
    """Ask the client's model, and give it a tool that it must use."""
    answer = await ctx.session.create_message(
        question("Two and two?"),
        max_tokens=100,
        tools=[types.Tool(name="add", inputSchema=ADD)],
        tool_choice=types.ToolChoice(mode="required"),
        related_request_id=ctx.request_id,
    )
    (use,) = answer.content_as_list
    given = " ".join(f"{name}={value}" for name, value in use.input.items())
    return f"the model uses {use.name} with {given}"


@server.tool(structured_output=False)
async def test_list_roots(ctx: Context) -> str:
    """Name the client's roots, which are asked for again only after the client has said so."""
    if ctx.session not in known_roots:
        listed = await ctx.session.list_roots()
        known_roots[ctx.session] = " ".join(str(root.uri) for root in listed.roots)
    return known_roots[ctx.session]


async def forget_roots(notification: types.RootsListChangedNotification) -> None:
    """Take note that roots have changed."""
    known_roots.clear()


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
    return [UserMessage(types.ImageContent(type="image", data=PNG, mimeType="image/png"))]


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803
    """Return a prompt with a resource in it."""
    resource = types.TextResourceContents(uri=resourceUri, text="embedded", mimeType="text/plain")
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


# What FastMCP has no way to ask for


@low.list_prompts()
async def list_prompts(request: types.ListPromptsRequest) -> types.ListPromptsResult:
    """List the prompts in pages."""
    cursor = request.params.cursor if request.params else None
    prompts = await server.list_prompts()
    starts = {None: 0, **{f"after-{start}": start for start in range(PAGE, len(prompts), PAGE)}}
    if cursor not in starts:
        raise McpError(types.ErrorData(code=types.INVALID_PARAMS, message="no such cursor"))
    end = starts[cursor] + PAGE
    more = f"after-{end}" if end < len(prompts) else None
    return types.ListPromptsResult(prompts=prompts[starts[cursor] : end], nextCursor=more)


@low.set_logging_level()
async def set_level(level: types.LoggingLevel) -> None:
    """Remember the session's level."""
    levels[low.request_context.session] = LEVELS.index(level)


@low.subscribe_resource()
async def subscribe(uri: AnyUrl) -> None:
    """Report the resource from now on."""
    subscribed.setdefault(low.request_context.session, set()).add(str(uri))


@low.unsubscribe_resource()
async def unsubscribe(uri: AnyUrl) -> None:
    """Report it no more."""
    subscribed.setdefault(low.request_context.session, set()).discard(str(uri))


low.notification_handlers[types.RootsListChangedNotification] = forget_roots

# Tasks

TASKS = {
    "slow_compute": types.TASK_OPTIONAL,
    "confirm_delete": types.TASK_OPTIONAL,
    "failing_job": types.TASK_REQUIRED,
}


async def work(task: Any, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
    """Do what a tool does that runs as a task."""
    if name == "slow_compute":
        await anyio.sleep(arguments.get("seconds", 1))
        text = f"{arguments.get('label') or 'the computation'} took its time"
    elif name == "confirm_delete":
        answer = await task.elicit(f"Delete {arguments['filename']}?", CONFIRM_FORM)
        done = (answer.content or {}).get("confirm")
        text = f"{arguments['filename']} was {'deleted' if done else 'kept'}"
    else:
        raise ToolError("This job fails, always")
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


@low.list_tools()
async def list_tools() -> list[types.Tool]:
    """List FastMCP's tools and those that run as tasks."""
    tasks = [
        types.Tool(
            name=name,
            inputSchema={"type": "object"},
            execution=types.ToolExecution(taskSupport=mode),
        )
        for name, mode in TASKS.items()
    ]
    return [*await server.list_tools(), *tasks]


call_plainly = low.request_handlers[types.CallToolRequest]


async def call_tool(request: types.CallToolRequest) -> types.ServerResult:
    """Call a tool, as a task where that is asked for."""
    experimental = low.request_context.experimental
    name, arguments = request.params.name, request.params.arguments or {}
    experimental.validate_task_mode(TASKS.get(name))
    if not experimental.is_task:
        return await call_plainly(request)
    return types.ServerResult(await experimental.run_task(lambda task: work(task, name, arguments)))


low.request_handlers[types.CallToolRequest] = call_tool
low.experimental.enable_tasks()

make_options = low.create_initialization_options


def options(*given: Any, **more: Any) -> Any:
    """Declare what FastMCP declares, changes of the lists, and subscriptions."""
    made = make_options(NotificationOptions(True, True, True), *given[1:], **more)
    made.capabilities.resources.subscribe = True  # the SDK says False whatever there is
    return made


low.create_initialization_options = options


def app(stateless: bool) -> Any:
    """Make what serves HTTP."""
    server.settings.stateless_http = server.settings.json_response = stateless
    return server.streamable_http_app()


if __name__ == "__main__":
    sys.exit(main(server.run_stdio_async, app, server.sse_app))
