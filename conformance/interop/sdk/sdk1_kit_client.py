"""A client of the official Python SDK 1.x for the conformance kit; runs inside .venv-sdk1 only."""

import asyncio
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcp import ClientSession, McpError, types
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl

sys.path[0] = str(Path(__file__).resolve().parents[3])

from conformance.interop.sdk.kit_scenarios import defaults, play

warnings.simplefilter("ignore")


async def elicit(context: object, params: types.ElicitRequestParams) -> types.ElicitResult:
    """Accept, with the defaults."""
    schema = params.model_dump(by_alias=True).get("requestedSchema") or {}
    return types.ElicitResult(action="accept", content=defaults(schema))


async def sample(
    context: object, params: types.CreateMessageRequestParams
) -> types.CreateMessageResult:
    """Answer as a model would."""
    text = types.TextContent(type="text", text="said by the test")
    return types.CreateMessageResult(role="assistant", content=text, model="test")


async def roots(context: object) -> types.ListRootsResult:
    """Name a root."""
    return types.ListRootsResult(roots=[types.Root(uri=AnyUrl("file:///test"))])


class Sdk1:
    """What the scenarios need."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def tools(self) -> list[dict[str, Any]]:
        """All tools."""
        found, cursor = [], None
        while True:
            params = None if cursor is None else types.PaginatedRequestParams(cursor=cursor)
            page = await self.session.list_tools(params=params)
            found += [tool.model_dump(by_alias=True, exclude_none=True) for tool in page.tools]
            cursor = page.nextCursor
            if cursor is None:
                return found

    async def call(self, name: str, arguments: dict[str, Any]) -> None:
        """Call a tool; an error that the server answers with ends nothing."""
        with suppress(McpError):
            await self.session.call_tool(name, arguments)

    async def rest(self) -> None:
        """List and read."""
        with suppress(McpError):
            for resource in (await self.session.list_resources()).resources:
                await self.session.read_resource(resource.uri)
        with suppress(McpError):
            for prompt in (await self.session.list_prompts()).prompts:
                await self.session.get_prompt(prompt.name)


async def main(url: str) -> None:
    """Connect, play, leave."""
    async with (
        streamable_http_client(url) as (read, write, _),
        ClientSession(
            read,
            write,
            elicitation_callback=elicit,
            sampling_callback=sample,
            list_roots_callback=roots,
        ) as session,
    ):
        await session.initialize()
        await play(Sdk1(session))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[-1]))
