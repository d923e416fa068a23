"""A server written with fastmcp, to be served by mcpcore; runs inside .venv-fastmcp only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import mcp_types as types
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.server.auth import require_scopes
from fastmcp.server.middleware import Middleware
from pydantic import BaseModel, Field


class Person(BaseModel):
    name: str


class Counting(Middleware):
    calls = 0

    async def on_call_tool(self, context, call_next):
        Counting.calls += 1
        return await call_next(context)


@asynccontextmanager
async def lifespan(server: FastMCP) -> AsyncIterator[dict[str, str]]:
    yield {"database": "open"}


mcp = FastMCP("fast", version="1.0", lifespan=lifespan, middleware=[Counting()])


@mcp.tool
def add(a: int, b: Annotated[int, Field(description="the second")] = 0) -> int:
    """Add two numbers."""
    return a + b


@mcp.tool
async def facts(ctx: Context) -> str:
    """Name what the lifespan yields, and count calls in middleware."""
    return f"{ctx.lifespan_context['database']} {Counting.calls}"


@mcp.tool
async def remember(ctx: Context, word: str = "") -> str:
    """Keep a word for the session."""
    before = await ctx.get_state("word") or ""
    await ctx.set_state("word", word)
    return before


@mcp.tool
async def work(ctx: Context) -> str:
    """Report and log."""
    await ctx.info("working")
    await ctx.report_progress(1, 2, "half")
    return "done"


@mcp.tool
async def ask(ctx: Context) -> str | types.InputRequiredResult:
    """Ask the user, in either era."""
    if ctx.request_context.protocol_version < "2026":
        answer = await ctx.elicit("Who?", Person)
        return f"legacy {answer.data.name}"
    if not ctx.input_responses:
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        params = types.ElicitRequestFormParams(message="Who?", requested_schema=schema)
        return types.InputRequiredResult(
            input_requests={"who": types.ElicitRequest(params=params)}, request_state="asked"
        )
    return f"modern {ctx.input_responses['who'].content['name']} {ctx.request_state}"


@mcp.tool
def fail() -> str:
    """Fail."""
    raise ToolError("it fails")


@mcp.tool(auth=require_scopes("admin"))
def secret() -> str:
    """Need a scope."""
    return "secret"


@mcp.resource("notes://{topic}")
def notes(topic: str) -> str:
    """Read a note."""
    return f"nothing about {topic}"


@mcp.prompt
def explain(topic: str) -> str:
    """Explain a topic."""
    return f"Explain {topic}."
