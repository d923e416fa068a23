"""A server written with the official Python SDK 2.x, offering what the drivers ask for.

Runs inside .venv-sdk only: ``sdk2_server.py --stdio | --http HOST:PORT``.  The tools carry the
names of our reference server.  MCPServer has no way to ask for some parts of the handshake era:
those are added to the low-level server below it.
"""

import functools
import sys
from pathlib import Path
from typing import Annotated, Any

import mcp_types as types
from mcp import MCPError
from mcp.server import NotificationOptions
from mcp.server.caching import CacheHint
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve, Sample
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

ROOT = Path(__file__).resolve().parents[3]
sys.path[:1] = [str(ROOT), str(ROOT / "conformance")]  # what all servers share

from conformance.interop.sdk.asking import offer_questions, offer_visits
from conformance.interop.sdk.rounds import keep, offer_rounds
from conformance.interop.sdk.serving import (
    WATCHED,
    Person,
    Ways,
    Word,
    main,
    offer,
    page_of,
    question,
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


def legacy(ctx: Context) -> bool:
    """Whether the request belongs to the handshake era."""
    return ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS


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
    session_of,
    own=frozenset({"test_elicitation", "test_input_required_result_multi_round", "test_sampling"}),
)
remembered = ways.remembered
offer(ways)
offer_visits(ways)
offer_rounds(ways)

# Tools that ask the client as users of MCPServer write them


def ask_person(message: str) -> Elicit[Person]:
    """Ask the user who they are."""
    return Elicit(message, Person)


@server.tool()
async def test_elicitation(
    message: str, person: Annotated[ElicitationResult[Person], Resolve(ask_person)]
) -> str:
    """Ask the user and repeat the answer."""
    return f"action={person.action}, content={getattr(person, 'data', None)}"


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


offer_questions(ways)

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


low.create_initialization_options = functools.partial(
    low.create_initialization_options, NotificationOptions(True, True, True)
)
low.add_request_handler("prompts/list", types.PaginatedRequestParams, list_prompts)
low.add_request_handler("logging/setLevel", types.SetLevelRequestParams, set_level)
keep(low, ways)


def app(stateless: bool) -> Any:
    """Make what serves HTTP."""
    return server.streamable_http_app(
        host="127.0.0.1", stateless_http=stateless, json_response=stateless
    )


if __name__ == "__main__":
    sys.exit(main(server.run_stdio_async, app, server.sse_app))
