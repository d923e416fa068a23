"""A client of the official Python SDK 1.x for the conformance kit; runs inside .venv-sdk1 only."""

import asyncio
import os
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from mcp import ClientSession, McpError, StdioServerParameters, stdio_client, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from pydantic import AnyUrl, BaseModel, ValidationError

sys.path[0] = str(Path(__file__).resolve().parents[3])

from conformance.interop.sdk.kit_scenarios import SCENARIO, play
from conformance.interop.sdk.kit_script import Failed, Outcome, Step, Told, Wishes, play_script

warnings.simplefilter("ignore")  # tasks and WebSocket are marked as deprecated

TIMED_OUT = 408
NO_CALL = {
    "listen": "SDK 1.x has no call for subscriptions/listen",
}


def plain(model: BaseModel) -> dict[str, Any]:
    """What a model was made of: what came, and nothing else."""
    return model.model_dump(by_alias=True, mode="json", exclude_unset=True)


def address_of(uri: str) -> AnyUrl:
    """A URI as the SDK takes it."""
    try:
        return AnyUrl(uri)
    except ValidationError as error:
        raise Failed("refused", str(error)) from error


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
        roots = [types.Root.model_validate({"uri": uri}) for uri in self.wishes.roots]
        return types.ListRootsResult(roots=roots)

    async def hear(self, message: object) -> None:
        """Keep a notification."""
        if isinstance(message, types.ServerNotification):
            heard = plain(message.root)
            self.wishes.hear(heard["method"], heard.get("params", {}))

    def options(self) -> dict[str, Any]:
        """What the session is made with."""
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


class Sdk1:
    """One connection."""

    def __init__(self, session: ClientSession, revision: str) -> None:
        self.session = session
        self.revision = revision

    async def call(
        self, tool: str, arguments: Any, timeout: float, told: Told | None
    ) -> dict[str, Any]:
        """Call a tool."""
        limit = timedelta(seconds=timeout)
        return plain(await self.session.call_tool(tool, arguments, limit, told))

    async def page(self, what: str, cursor: str | None) -> tuple[list[Any], str | None]:
        """Fetch a page."""
        session = self.session
        fetch, name = {
            "tools": (session.list_tools, "tools"),
            "resources": (session.list_resources, "resources"),
            "templates": (session.list_resource_templates, "resourceTemplates"),
            "prompts": (session.list_prompts, "prompts"),
        }[what]
        params = None if cursor is None else types.PaginatedRequestParams(cursor=cursor)
        found = await fetch(params=params)
        return [plain(entry) for entry in getattr(found, name)], found.nextCursor

    async def read(self, uri: str) -> dict[str, Any]:
        """Read a resource."""
        return plain(await self.session.read_resource(address_of(uri)))

    async def prompt(self, name: str, arguments: dict[str, str] | None) -> dict[str, Any]:
        """Get a prompt."""
        return plain(await self.session.get_prompt(name, arguments))

    async def complete(self, step: Step) -> dict[str, Any]:
        """Ask for completions."""
        prompt = step["ref"]["type"] == "ref/prompt"
        kind = types.PromptReference if prompt else types.ResourceTemplateReference
        argument = {"name": step["argument"], "value": step["value"]}
        ref = kind.model_validate(step["ref"])
        return plain(await self.session.complete(ref, argument, step.get("known")))

    async def subscribe(self, uri: str) -> None:
        """Subscribe."""
        await self.session.subscribe_resource(address_of(uri))

    async def unsubscribe(self, uri: str) -> None:
        """Unsubscribe."""
        await self.session.unsubscribe_resource(address_of(uri))

    async def listen(self, step: Step, seen: dict[str, Any]) -> None:
        """Refuse: a script with this step is declined before."""
        raise Failed("refused", NO_CALL["listen"])

    async def level(self, level: Any) -> None:
        """Set the level."""
        await self.session.set_logging_level(level)

    async def ping(self) -> None:
        """Send a ping."""
        await self.session.send_ping()

    async def roots_changed(self) -> None:
        """Announce new roots."""
        await self.session.send_roots_list_changed()


class Line1:
    """The line."""

    def unable(self, step: Step) -> str:
        """Say for what there is no call."""
        if step.get("cancel_after"):
            return "SDK 1.x has no call that cancels a request, and does not tell its id"
        if step.get("progress") and step["do"] != "call":
            return f"SDK 1.x takes no listener for the progress of {step['do']}"
        return NO_CALL.get(step["do"], "")

    def unsuited(self, wishes: Wishes) -> str:
        """Say what cannot be declared, and where it cannot connect."""
        declared = wishes.context.get("declare", ())
        if ("elicitation" in declared) is not ("elicitation.url" in declared):
            return "SDK 1.x declares forms and URLs, or neither"
        if wishes.transport not in ("http", "sse", "stdio", "ws"):
            return f"SDK 1.x has no client for {wishes.transport}"
        if wishes.transport == "ws" and wishes.headers is not None:
            return "SDK 1.x takes no headers for a WebSocket"
        return ""

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
            serving = Serving(wishes)
            made = ClientSession(
                read,
                write,
                read_timeout_seconds=limit,
                message_handler=serving.hear,
                **serving.options(),
            )
            session = await stack.enter_async_context(made)
            opened = await session.initialize()
            yield Sdk1(session, str(opened.protocolVersion))

    def outcome(self, error: BaseException) -> Outcome:
        """Sort what was raised; the SDK raises for itself what it raises for an error's code."""
        message = str(error) or type(error).__name__
        if isinstance(error, McpError):
            kinds = {TIMED_OUT: "timeout", types.CONNECTION_CLOSED: "closed"}
            if error.error.code in kinds:
                return {"failure": kinds[error.error.code], "message": message}
            told = {"code": error.error.code, "message": error.error.message}
            data = error.error.data
            return {"error": told if data is None else {**told, "data": data}}
        if isinstance(error, ValidationError):
            return {"failure": "invalid", "message": message}
        if isinstance(error, httpx.HTTPError | OSError):
            return {"failure": "closed", "message": message}
        if isinstance(error, RuntimeError):
            invalid = "structured content" in message or "Invalid schema" in message
            return {"failure": "invalid" if invalid else "refused", "message": message}
        return {"failure": "other", "message": message}


class Scenarios:
    """What the scenarios of the official suite need."""

    def __init__(self, connection: Sdk1) -> None:
        self.session = connection.session

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


async def main(address: str) -> None:
    """Connect, play, leave."""
    if os.environ.get(SCENARIO) == "script":
        await play_script(Line1(), address)
        return
    async with Line1().connect(Wishes(address, {})) as connection:
        await play(Scenarios(connection))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[-1]))
