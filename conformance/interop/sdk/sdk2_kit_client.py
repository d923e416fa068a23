"""A client of the official Python SDK 2.x for the conformance kit; runs inside .venv-sdk only."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared._httpx_utils import create_mcp_http_client
from pydantic import BaseModel

sys.path[0] = str(Path(__file__).resolve().parents[3])

from conformance.interop.sdk.kit_client import Connection, Line, Serving, Step, Told, Wishes, plain
from conformance.interop.sdk.kit_script import main

MODERN = "2026"
CHANGES = {
    "ToolsListChanged": "notifications/tools/list_changed",
    "PromptsListChanged": "notifications/prompts/list_changed",
    "ResourcesListChanged": "notifications/resources/list_changed",
    "ResourceUpdated": "notifications/resources/updated",
}


class Sdk2(Connection):
    """One connection."""

    client: Client
    meta: dict[str, Any] | None = None

    @property
    def revision(self) -> str:
        """What is spoken."""
        return self.client.protocol_version

    @property
    def modern(self) -> bool:
        """Whether that is of the modern era."""
        return self.revision > MODERN

    async def call(
        self, tool: str, arguments: Any, timeout: float | None, told: Told | None
    ) -> dict[str, Any]:
        """Call a tool."""
        result = await self.client.call_tool(
            tool,
            arguments,
            read_timeout_seconds=timeout,
            progress_callback=told,
            meta=self.meta,
        )
        return plain(result)

    async def fetch(self, call: Callable[..., Any], cursor: str | None) -> BaseModel:
        """Fetch a page."""
        return await call(cursor=cursor, meta=self.meta)

    async def read(self, uri: str) -> dict[str, Any]:
        """Read a resource."""
        return plain(await self.client.read_resource(uri, meta=self.meta))

    async def prompt(self, name: str, arguments: dict[str, str] | None) -> dict[str, Any]:
        """Get a prompt."""
        return plain(await self.client.get_prompt(name, arguments, meta=self.meta))

    async def listen(self, step: Step, seen: dict[str, Any]) -> None:
        """Listen; a stream that breaks off has ended, too."""
        changes = seen["changes"]
        async with self.client.listen(
            tools_list_changed=step.get("tools", False),
            prompts_list_changed=step.get("prompts", False),
            resources_list_changed=step.get("resources", False),
            resource_subscriptions=step.get("uris", []),
        ) as stream:
            seen["honoured"] = plain(stream.honored)
            try:
                while not seen["ended"] and len(changes) < step.get("changes", 1):
                    event = await anext(stream, None)
                    seen["ended"] = event is None
                    if event is not None:
                        method = CHANGES[type(event).__name__]
                        changes.append({"method": method, "uri": getattr(event, "uri", None)})
            except SubscriptionLost:
                seen["ended"] = True

    async def level(self, level: Any) -> None:
        """Set the level, or name it in all that follows."""
        if self.modern:
            self.meta = {types.LOG_LEVEL_META_KEY: level}
        else:
            await super().level(level)


class Line2(Line):
    """The line."""

    name = "SDK 2.x"
    closed = (SubscriptionLost, httpx2.HTTPError, OSError)

    @asynccontextmanager
    async def connect(self, wishes: Wishes) -> AsyncIterator[Sdk2]:
        """Connect."""
        async with AsyncExitStack() as stack:
            if wishes.transport == "stdio":
                words = wishes.command
                server: Any = StdioServerParameters(command=words[0], args=words[1:])
            elif wishes.transport == "sse":
                server = sse_client(wishes.address, wishes.headers)
            elif wishes.headers is None:
                server = wishes.address
            else:
                made = create_mcp_http_client(wishes.headers)
                http = await stack.enter_async_context(made)
                server = streamable_http_client(wishes.address, http_client=http)
            modern = wishes.revision > MODERN or wishes.context.get("negotiate")
            client = Client(
                server,
                mode="auto" if modern else "legacy",
                read_timeout_seconds=wishes.timeout,
                **Serving(wishes).options(),
            )
            yield Sdk2(await stack.enter_async_context(client))


if __name__ == "__main__":
    asyncio.run(main(Line2(), sys.argv[-1]))
