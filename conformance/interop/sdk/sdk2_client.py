"""The client of the official Python SDK 2.x, driven through the features of a given server.

Runs inside .venv-sdk; that of fastmcp is made from it.  For its arguments see
:mod:`conformance.interop.drivers.script`.
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

sys.path[0] = str(Path(__file__).resolve().parents[3])  # the drivers are shared by all libraries

from conformance.interop.drivers.caller import Caller, Object, Progress
from conformance.interop.drivers.script import Target, main
from conformance.interop.sdk.calling import SdkCaller, plain, reporter

KINDS = {
    "ToolsListChanged": "tools",
    "PromptsListChanged": "prompts",
    "ResourcesListChanged": "resources",
    "ResourceUpdated": "resource",
}


class Sdk2Caller(SdkCaller):
    """One connection."""

    client: Client
    watching = ("read_timeout_seconds", "progress_callback")
    """Arguments of a call for its timeout and its progress."""
    level: str | None = None
    http_session: str | None = None

    async def note_session(self, response: httpx2.Response) -> None:
        """Keep the session's id, which the client does not show."""
        self.http_session = response.headers.get("mcp-session-id", self.http_session)

    async def opening(self) -> Object:
        """What came with the handshake or by discovery."""
        client = self.client
        return {
            "protocolVersion": client.protocol_version,
            "serverInfo": plain(client.server_info),
            "capabilities": plain(client.server_capabilities),
            "instructions": client.instructions,
        }

    def paging(self, cursor: str | None) -> dict[str, Any]:
        """Arguments of a call that fetches a page."""
        return {"cursor": cursor, "cache_mode": "bypass"}

    async def call(
        self,
        name: str,
        arguments: Object | None = None,
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Object:
        """Call a tool."""
        wait, hear = self.watching
        meta = None if self.level is None else {types.LOG_LEVEL_META_KEY: self.level}
        watched = {wait: timeout, hear: reporter(progress)}
        return await self.ask("call_tool", name, arguments or {}, meta=meta, **watched)

    async def read(self, uri: str) -> Object:
        """Read a resource."""
        return await self.ask("read_resource", uri, cache_mode="bypass")

    async def set_level(self, level: str) -> None:
        """Set the level, or remember it for the next calls."""
        if self.modern:
            self.level = level
        else:
            await super().set_level(level)

    @asynccontextmanager
    async def listen(self, wanted: Object) -> AsyncIterator[AsyncIterator[Object]]:
        """Open a listen stream."""
        chosen = types.SubscriptionFilter.model_validate(wanted).model_dump(exclude_none=True)
        async with self.client.listen(**chosen) as subscription:
            yield (
                {"kind": KINDS[type(event).__name__], "uri": getattr(event, "uri", None)}
                async for event in subscription
            )

    @property
    def session(self) -> str | None:
        """The session's id."""
        return self.http_session


@asynccontextmanager
async def open_sdk2(
    target: Target, facts: Mapping[str, Any], *, automatic: bool, bare: bool
) -> AsyncIterator[Caller]:
    """Connect."""
    url = target if isinstance(target, str) else None
    caller = Sdk2Caller(facts, url)
    async with AsyncExitStack() as stack:
        if url is None:
            server = StdioServerParameters(command=target[0], args=target[1:])
        elif url.startswith("sse+"):
            server = sse_client(url.removeprefix("sse+"))
        else:
            http = await stack.enter_async_context(create_mcp_http_client())
            http.event_hooks["response"].append(caller.note_session)
            server = streamable_http_client(url, http_client=http)
        mode = "auto" if automatic or facts["modern"] else "legacy"
        client = Client(server, mode=mode, **({} if bare else caller.callbacks()))
        caller.client = await stack.enter_async_context(client)
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_sdk2))
