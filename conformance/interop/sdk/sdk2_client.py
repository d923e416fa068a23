"""The client of the official Python SDK 2.x, driven through the features of a given server.

Runs inside .venv-sdk only; see :mod:`conformance.interop.drivers.script` for its arguments.
"""

import sys
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from pydantic import BaseModel, RootModel

sys.path[0] = str(Path(__file__).resolve().parents[3])  # the drivers are shared by all libraries

from conformance.interop.drivers.caller import Caller, Late, Object, Progress, Refused
from conformance.interop.drivers.script import Target, main

warnings.simplefilter("ignore")  # the SDK deprecates parts of the protocol that are driven here

KINDS = {
    "ToolsListChanged": "tools",
    "PromptsListChanged": "prompts",
    "ResourcesListChanged": "resources",
    "ResourceUpdated": "resource",
}


class Anything(types.Request[dict[str, Any], str]):
    """A request of any method."""


class Plain(RootModel[dict[str, Any]]):
    """A result as it came."""


def plain(model: BaseModel) -> Object:
    """Return the wire form."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


@contextmanager
def translated():
    """Say in the drivers' words what the SDK raises."""
    try:
        yield
    except MCPError as error:
        if error.code == types.REQUEST_TIMEOUT:
            raise Late(error.error.message) from error
        raise Refused(error.code, error.error.message, error.error.data) from error


class Sdk2Caller(Caller):
    """One connection."""

    client: Client
    level: str | None = None
    http_session: str | None = None

    async def elicit(
        self, context: object, params: types.ElicitRequestParams
    ) -> types.ElicitResult:
        """Answer an elicitation."""
        return types.ElicitResult.model_validate(self.answers.elicit(plain(params)))

    async def sample(
        self, context: object, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.CreateMessageResultWithTools | types.ErrorData:
        """Answer as a model would."""
        try:
            answer = self.answers.sample(plain(params))
        except Refused as refused:
            return types.ErrorData(code=refused.code, message=refused.text)
        listed = isinstance(answer["content"], list)
        kind = types.CreateMessageResultWithTools if listed else types.CreateMessageResult
        return kind.model_validate(answer)

    async def list_roots(self, context: object) -> types.ListRootsResult:
        """Name the roots."""
        return types.ListRootsResult.model_validate(self.answers.list_roots())

    async def hear(self, message: object) -> None:
        """Keep a notification."""
        if isinstance(message, BaseModel):
            heard = plain(message)
            self.news.add(heard["method"], heard.get("params", {}))

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

    async def ping(self) -> None:
        """Send a ping."""
        await self.client.send_ping()

    async def page(self, method: str, cursor: str | None = None) -> Object:
        """Fetch a page."""
        fetch = {
            "tools/list": self.client.list_tools,
            "resources/list": self.client.list_resources,
            "resources/templates/list": self.client.list_resource_templates,
            "prompts/list": self.client.list_prompts,
        }[method]
        with translated():
            return plain(await fetch(cursor=cursor, cache_mode="bypass"))

    async def call(
        self,
        name: str,
        arguments: Object | None = None,
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Object:
        """Call a tool."""

        async def report(value: float, total: float | None, message: str | None) -> None:
            progress(value, total, message)

        with translated():
            result = await self.client.call_tool(
                name,
                arguments,
                read_timeout_seconds=timeout,
                progress_callback=None if progress is None else report,
                meta=None if self.level is None else {types.LOG_LEVEL_META_KEY: self.level},
            )
        return plain(result)

    async def read(self, uri: str) -> Object:
        """Read a resource."""
        with translated():
            return plain(await self.client.read_resource(uri, cache_mode="bypass"))

    async def prompt(self, name: str, arguments: dict[str, str] | None = None) -> Object:
        """Get a prompt."""
        with translated():
            return plain(await self.client.get_prompt(name, arguments))

    async def complete(
        self, ref: Object, argument: str, value: str, known: dict[str, str] | None = None
    ) -> Object:
        """Complete an argument."""
        kinds = {
            "ref/prompt": types.PromptReference,
            "ref/resource": types.ResourceTemplateReference,
        }
        reference = kinds[ref["type"]].model_validate(ref)
        with translated():
            return plain(
                await self.client.complete(reference, {"name": argument, "value": value}, known)
            )

    async def set_level(self, level: str) -> None:
        """Set the level, or remember it for the next calls."""
        if self.modern:
            self.level = level
        else:
            await self.client.set_logging_level(level)

    async def subscribe(self, uri: str) -> None:
        """Subscribe."""
        await self.client.subscribe_resource(uri)

    async def unsubscribe(self, uri: str) -> None:
        """Unsubscribe."""
        await self.client.unsubscribe_resource(uri)

    @asynccontextmanager
    async def listen(self, wanted: Object) -> AsyncIterator[AsyncIterator[Object]]:
        """Open a listen stream."""
        chosen = types.SubscriptionFilter.model_validate(wanted).model_dump(exclude_none=True)
        async with self.client.listen(**chosen) as subscription:
            yield (
                {"kind": KINDS[type(event).__name__], "uri": getattr(event, "uri", None)}
                async for event in subscription
            )

    async def roots_changed(self) -> None:
        """Announce new roots."""
        await self.client.send_roots_list_changed()

    async def request(self, method: str, params: Object) -> Object:
        """Send anything."""
        request = Anything(method=method, params=params)
        with translated():
            return (await self.client.session.send_request(request, Plain)).root

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
        callbacks = {
            "sampling_callback": caller.sample,
            "elicitation_callback": caller.elicit,
            "list_roots_callback": caller.list_roots,
            "message_handler": caller.hear,
            "sampling_capabilities": types.SamplingCapability(
                tools=types.SamplingToolsCapability()
            ),
        }
        mode = "auto" if automatic or facts["modern"] else "legacy"
        client = Client(server, mode=mode, **({} if bare else callbacks))
        caller.client = await stack.enter_async_context(client)
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_sdk2))
