"""A server written with the official Python SDK 2.x, offering what the drivers ask for.

Runs inside .venv-sdk only: ``sdk2_server.py --stdio | --http HOST:PORT``.  The tools carry the
names of our reference server.  MCPServer has no way to ask for some parts of the handshake era:
those are added to the low-level server below it.
"""

import functools
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import mcp_types as types
from mcp import MCPError
from mcp.server import NotificationOptions
from mcp.server.caching import CacheHint
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, Elicit, ListRoots, MCPServer, Resolve, Sample
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import BaseModel, Field

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # what all servers share

from conformance.interop.sdk.serving import (
    ADD,
    SIGN_IN,
    WATCHED,
    Person,
    Remembered,
    Ways,
    Word,
    main,
    offer,
    offer_visits,
    page_of,
    question,
    visit,
)

HINT = CacheHint(ttl_ms=60_000, scope="public")
server = MCPServer(
    "sdk2-everything",
    version="1.0.0",
    instructions="Offers what the drivers ask for.",
    log_level="CRITICAL",
    cache_hints={"tools/list": HINT, "resources/read": HINT},
)
low = server._lowlevel_server
remembered = Remembered()


def legacy(ctx: Context) -> bool:
    """Whether the request belongs to the handshake era."""
    return ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS


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


def session_of(ctx: Any) -> Any:
    """What lasts from one request of a client to the next."""
    return ctx.session._connection


async def announce(ctx: Context, kind: str) -> None:
    """Tell the clients what has changed, on either era's way."""
    if kind == "resource":
        await ctx.notify_resource_updated(WATCHED)
        if legacy(ctx) and remembered.watches(session_of(ctx)):
            await ctx.session.send_resource_updated(WATCHED)
    await getattr(ctx, f"notify_{kind}s_changed")()
    if legacy(ctx):
        await getattr(ctx.session, f"send_{kind}_list_changed")()


ways = Ways(
    server,
    Context,
    {"structured_output": False},
    ToolError,
    announce,
    UserMessage,
    lambda ctx: remembered.wants_info(session_of(ctx)),
)
offer(ways)
offer_visits(ways)


@server.tool(structured_output=False)
async def test_x_mcp_header(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
) -> str:
    """Take an argument that is mirrored into a header, which the SDK compares."""
    return f"region: {region}"


# Tools that ask the client


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


@server.tool(structured_output=False)
async def test_elicitation_url(ctx: Context) -> str | types.InputRequiredResult:
    """Ask the user to visit a page."""
    if legacy(ctx):
        return await visit(ctx)
    if not ctx.input_responses:
        params = types.ElicitRequestURLParams(message="Please sign in", url=SIGN_IN)
        return types.InputRequiredResult(
            input_requests={"visit": types.ElicitRequest(params=params)}, request_state="visiting"
        )
    return f"action={ctx.input_responses['visit'].action}"


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
    return None if legacy(ctx) and session_of(ctx) in remembered.roots else ListRoots()


@server.tool(structured_output=False)
async def test_list_roots(
    ctx: Context, roots: Annotated[types.ListRootsResult | None, Resolve(ask_roots)]
) -> str:
    """Name the client's roots."""
    if roots is None:
        return remembered.roots[session_of(ctx)]
    text = " ".join(str(root.uri) for root in roots.roots)
    if legacy(ctx):
        remembered.roots[session_of(ctx)] = text
    return text


async def forget_roots(ctx: Any, params: object) -> None:
    """Take note that a client's roots have changed."""
    remembered.roots.pop(session_of(ctx), None)


# What MCPServer has no way to ask for


async def list_prompts(
    ctx: object, params: types.PaginatedRequestParams
) -> types.ListPromptsResult:
    """List the prompts in pages."""
    refusal = MCPError(code=types.INVALID_PARAMS, message="no such cursor")
    prompts, more = page_of(await server.list_prompts(), params.cursor, refusal)
    return types.ListPromptsResult(prompts=prompts, next_cursor=more)


async def set_level(ctx: Any, params: types.SetLevelRequestParams) -> types.EmptyResult:
    """Remember the connection's level."""
    remembered.levels[session_of(ctx)] = params.level
    return types.EmptyResult()


async def subscribe(ctx: Any, params: types.SubscribeRequestParams) -> types.EmptyResult:
    """Report the resource from now on."""
    remembered.subscribe(session_of(ctx), params.uri)
    return types.EmptyResult()


async def unsubscribe(ctx: Any, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    """Report it no more."""
    remembered.unsubscribe(session_of(ctx), params.uri)
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
