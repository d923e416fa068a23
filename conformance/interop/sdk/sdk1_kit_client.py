"""A client of the official Python SDK 1.x for the conformance kit; runs inside .venv-sdk1 only."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from mcp import ClientSession, StdioServerParameters, stdio_client, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from pydantic import AnyUrl, BaseModel, ValidationError

sys.path[0] = str(Path(__file__).resolve().parents[3])

from conformance.interop.sdk.kit_client import (
    Connection,
    Failed,
    Line,
    Serving,
    Step,
    Told,
    Wishes,
    plain,
)
from conformance.interop.sdk.kit_script import main


def address_of(uri: str) -> AnyUrl:
    """A URI as the SDK takes it."""
    try:
        return AnyUrl(uri)
    except ValidationError as error:
        raise Failed("refused", str(error)) from error


class Sdk1(Connection):
    """One connection."""

    async def call(
        self, tool: str, arguments: Any, timeout: float | None, told: Told | None
    ) -> dict[str, Any]:
        """Call a tool."""
        limit = None if timeout is None else timedelta(seconds=timeout)
        return plain(await self.client.call_tool(tool, arguments, limit, told))

    async def fetch(self, call: Callable[..., Any], cursor: str | None) -> BaseModel:
        """Fetch a page."""
        params = None if cursor is None else types.PaginatedRequestParams(cursor=cursor)
        return await call(params=params)

    async def read(self, uri: str) -> dict[str, Any]:
        """Read a resource."""
        return plain(await self.client.read_resource(address_of(uri)))

    async def subscribe(self, uri: str) -> None:
        """Subscribe."""
        await super().subscribe(address_of(uri))

    async def unsubscribe(self, uri: str) -> None:
        """Unsubscribe."""
        await super().unsubscribe(address_of(uri))


class Line1(Line):
    """The line."""

    name = "SDK 1.x"
    transports = (*Line.transports, "ws")
    closed = (httpx.HTTPError, OSError)

    def unable(self, step: Step) -> str:
        """Say for what there is no call."""
        if step.get("cancel_after"):
            return "SDK 1.x has no call that cancels a request, and does not tell its id"
        if step["do"] == "listen":
            return "SDK 1.x has no call for subscriptions/listen"
        return super().unable(step)

    def unsuited(self, wishes: Wishes) -> str:
        """Say where it cannot connect."""
        if wishes.transport == "ws" and wishes.headers is not None:
            return "SDK 1.x takes no headers for a WebSocket"
        return super().unsuited(wishes)

    @asynccontextmanager
    async def connect(self, wishes: Wishes) -> AsyncIterator[Sdk1]:
        """Connect; this line offers its newest revision and takes what the server chooses."""
        async with AsyncExitStack() as stack:
            if wishes.transport == "stdio":
                words = wishes.command
                command = StdioServerParameters(command=words[0], args=words[1:])
                read, write = await stack.enter_async_context(stdio_client(command))
            elif wishes.transport == "sse":
                streams = sse_client(wishes.address, wishes.headers)
                read, write = await stack.enter_async_context(streams)
            elif wishes.transport == "ws":
                from mcp.client.websocket import websocket_client  # of an extra of the SDK

                streams = websocket_client(wishes.address)
                read, write = await stack.enter_async_context(streams)
            else:
                http = None
                if wishes.headers is not None:
                    made = create_mcp_http_client(wishes.headers)
                    http = await stack.enter_async_context(made)
                streams = streamable_http_client(wishes.address, http_client=http)
                read, write, _ = await stack.enter_async_context(streams)
            limit = None if wishes.timeout is None else timedelta(seconds=wishes.timeout)
            options = Serving(wishes).options()
            made = ClientSession(read, write, read_timeout_seconds=limit, **options)
            connection = Sdk1(await stack.enter_async_context(made))
            connection.revision = str((await made.initialize()).protocolVersion)
            yield connection


if __name__ == "__main__":
    asyncio.run(main(Line1(), sys.argv[-1]))
