"""A client of the official Python SDK 2.x for the conformance kit; runs inside .venv-sdk only."""

import asyncio
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp import Client, MCPError

sys.path[0] = str(Path(__file__).resolve().parents[3])

from conformance.interop.sdk.kit_scenarios import REVISION, defaults, play

warnings.simplefilter("ignore")  # the SDK deprecates parts of the protocol that are used here


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
    return types.ListRootsResult(roots=[types.Root(uri="file:///test")])


class Sdk2:
    """What the scenarios need."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def tools(self) -> list[dict[str, Any]]:
        """All tools."""
        found, cursor = [], None
        while True:
            page = await self.client.list_tools(cursor=cursor)
            found += [tool.model_dump(by_alias=True, exclude_none=True) for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def call(self, name: str, arguments: dict[str, Any]) -> None:
        """Call a tool; an error that the server answers with ends nothing."""
        with suppress(MCPError):
            await self.client.call_tool(name, arguments)

    async def rest(self) -> None:
        """List and read."""
        with suppress(MCPError):
            for resource in (await self.client.list_resources()).resources:
                await self.client.read_resource(str(resource.uri))
        with suppress(MCPError):
            for prompt in (await self.client.list_prompts()).prompts:
                await self.client.get_prompt(prompt.name)


async def main(url: str) -> None:
    """Connect, play, leave."""
    mode = "auto" if os.environ.get(REVISION, "") > "2026" else "legacy"
    async with Client(
        url,
        mode=mode,
        elicitation_callback=elicit,
        sampling_callback=sample,
        list_roots_callback=roots,
    ) as client:
        await play(Sdk2(client))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[-1]))
