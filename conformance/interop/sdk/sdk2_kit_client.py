"""A client of the official Python SDK 2.x for the conformance kit; runs inside .venv-sdk only."""

import asyncio
import os
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared._httpx_utils import create_mcp_http_client
from pydantic import BaseModel, ValidationError

sys.path[0] = str(Path(__file__).resolve().parents[3])

from conformance.interop.sdk.kit_scenarios import SCENARIO, play
from conformance.interop.sdk.kit_script import Outcome, Step, Told, Wishes, play_script

warnings.simplefilter("ignore")  # the SDK deprecates parts of the protocol that are used here

MODERN = "2026"
CHANGES = {
    "ToolsListChanged": "notifications/tools/list_changed",
    "PromptsListChanged": "notifications/prompts/list_changed",
    "ResourcesListChanged": "notifications/resources/list_changed",
    "ResourceUpdated": "notifications/resources/updated",
}


def plain(model: BaseModel) -> dict[str, Any]:
    """What a model was made of: what came, and nothing else."""
    return model.model_dump(by_alias=True, mode="json", exclude_unset=True)


class Serving:
    """What the client does for a server."""

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes

    async def elicit(
        self, context: object, params: types.ElicitRequestParams
    ) -> types.ElicitResult:
        """Answer a form or a URL."""
        answer = await self.wishes.elicit(params.model_dump(by_alias=True))
        return types.ElicitResult.model_validate(answer)

    async def sample(
        self, context: object, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult:
        """Answer as a model would."""
        return types.CreateMessageResult.model_validate(await self.wishes.sample())

    async def roots(self, context: object) -> types.ListRootsResult:
        """Name the roots."""
        return types.ListRootsResult(roots=[types.Root(uri=uri) for uri in self.wishes.roots])

    async def hear(self, message: object) -> None:
        """Keep a notification."""
        if isinstance(message, BaseModel):
            heard = plain(message)
            self.wishes.hear(heard["method"], heard.get("params", {}))

    def options(self) -> dict[str, Any]:
        """What the client is made with."""
        declared = self.wishes.declared
        tools = types.SamplingToolsCapability() if "sampling.tools" in declared else None
        made = {
            "elicitation": {"elicitation_callback": self.elicit},
            "sampling": {
                "sampling_callback": self.sample,
                "sampling_capabilities": types.SamplingCapability(tools=tools),
            },
            "roots": {"list_roots_callback": self.roots},
        }
        chosen = [options for name, options in made.items() if name in declared]
        return {name: value for options in chosen for name, value in options.items()}


class Sdk2:
    """One connection."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.meta: dict[str, Any] | None = None

    @property
    def revision(self) -> str:
        """What is spoken."""
        return self.client.protocol_version

    @property
    def modern(self) -> bool:
        """Whether that is of the modern era."""
        return self.revision > MODERN

    async def call(
        self, tool: str, arguments: Any, timeout: float, told: Told | None
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

    async def page(self, what: str, cursor: str | None) -> tuple[list[Any], str | None]:
        """Fetch a page."""
        client = self.client
        fetch, name = {
            "tools": (client.list_tools, "tools"),
            "resources": (client.list_resources, "resources"),
            "templates": (client.list_resource_templates, "resource_templates"),
            "prompts": (client.list_prompts, "prompts"),
        }[what]
        found = await fetch(cursor=cursor, meta=self.meta)
        return [plain(entry) for entry in getattr(found, name)], found.next_cursor

    async def read(self, uri: str) -> dict[str, Any]:
        """Read a resource."""
        return plain(await self.client.read_resource(uri, meta=self.meta))

    async def prompt(self, name: str, arguments: dict[str, str] | None) -> dict[str, Any]:
        """Get a prompt."""
        return plain(await self.client.get_prompt(name, arguments, meta=self.meta))

    async def complete(self, step: Step) -> dict[str, Any]:
        """Ask for completions."""
        prompt = step["ref"]["type"] == "ref/prompt"
        kind = types.PromptReference if prompt else types.ResourceTemplateReference
        argument = {"name": step["argument"], "value": step["value"]}
        ref = kind.model_validate(step["ref"])
        return plain(await self.client.complete(ref, argument, step.get("known")))

    async def subscribe(self, uri: str) -> None:
        """Subscribe."""
        await self.client.subscribe_resource(uri)

    async def unsubscribe(self, uri: str) -> None:
        """Unsubscribe."""
        await self.client.unsubscribe_resource(uri)

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
            await self.client.set_logging_level(level)

    async def ping(self) -> None:
        """Send a ping."""
        await self.client.send_ping()

    async def roots_changed(self) -> None:
        """Announce new roots."""
        await self.client.send_roots_list_changed()


class Line2:
    """The line."""

    def unable(self, step: Step) -> str:
        """Only calls take a listener for progress."""
        if step.get("progress") and step["do"] != "call":
            return f"SDK 2.x takes no listener for the progress of {step['do']}"
        return ""

    def unsuited(self, wishes: Wishes) -> str:
        """Say what cannot be declared, and where it cannot connect."""
        declared = wishes.context.get("declare", ())
        if ("elicitation" in declared) is not ("elicitation.url" in declared):
            return "SDK 2.x declares forms and URLs, or neither"
        if wishes.transport not in ("http", "sse", "stdio"):
            return f"SDK 2.x has no client for {wishes.transport}"
        return ""

    @asynccontextmanager
    async def connect(self, wishes: Wishes) -> AsyncIterator[Sdk2]:
        """Connect."""
        serving = Serving(wishes)
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
                message_handler=serving.hear,
                **serving.options(),
            )
            yield Sdk2(await stack.enter_async_context(client))

    def outcome(self, error: BaseException) -> Outcome:
        """Sort what was raised; the SDK raises for itself what it raises for an error's code."""
        message = str(error) or type(error).__name__
        if isinstance(error, MCPError):
            kinds = {types.REQUEST_TIMEOUT: "timeout", types.CONNECTION_CLOSED: "closed"}
            if error.code in kinds:
                return {"failure": kinds[error.code], "message": message}
            told = {"code": error.code, "message": error.error.message}
            data = error.error.data
            return {"error": told if data is None else {**told, "data": data}}
        if isinstance(error, ValidationError):
            return {"failure": "invalid", "message": message}
        if isinstance(error, SubscriptionLost | httpx2.HTTPError | OSError):
            return {"failure": "closed", "message": message}
        if isinstance(error, RuntimeError):
            invalid = "structured content" in message or "Invalid schema" in message
            return {"failure": "invalid" if invalid else "refused", "message": message}
        return {"failure": "other", "message": message}


class Scenarios:
    """What the scenarios of the official suite need."""

    def __init__(self, connection: Sdk2) -> None:
        self.client = connection.client

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


async def main(address: str) -> None:
    """Connect, play, leave."""
    if os.environ.get(SCENARIO) == "script":
        await play_script(Line2(), address)
        return
    async with Line2().connect(Wishes(address, {})) as connection:
        await play(Scenarios(connection))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[-1]))
