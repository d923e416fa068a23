"""The client of fastmcp, driven through the features of a given server.

Runs inside .venv-fastmcp only; see :mod:`conformance.interop.drivers.script` for its arguments.
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport
from mcp import MCPError

sys.path[0] = str(Path(__file__).resolve().parents[3])  # the drivers are shared by all libraries

from conformance.interop.drivers.caller import Caller, Object, Progress, Refused, Unavailable
from conformance.interop.drivers.script import Target, main
from conformance.interop.sdk.calling import Anything, Plain, SdkCaller, plain, reporter, translated


class FastmcpCaller(SdkCaller):
    """One connection."""

    client: Client
    level: str | None = None

    async def fill(self, message: str, kind: object, params: Any, context: object) -> ElicitResult:
        """Answer an elicitation."""
        return ElicitResult(**self.answers.elicit(plain(params)))

    async def think(self, messages: object, params: Any, context: object) -> Any:
        """Answer as a model would."""
        try:
            answer = self.answers.sample(plain(params))
        except Refused as refused:
            raise MCPError(refused.code, refused.text) from None
        listed = isinstance(answer["content"], list)
        kind = types.CreateMessageResultWithTools if listed else types.CreateMessageResult
        return kind.model_validate(answer)

    async def name_roots(self, context: object) -> list[types.Root]:
        """Name the roots."""
        return [types.Root.model_validate(each) for each in self.answers.list_roots()["roots"]]

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
        await self.client.ping()

    async def page(self, method: str, cursor: str | None = None) -> Object:
        """Fetch a page."""
        call = {
            "tools/list": self.client.list_tools_mcp,
            "resources/list": self.client.list_resources_mcp,
            "resources/templates/list": self.client.list_resource_templates_mcp,
            "prompts/list": self.client.list_prompts_mcp,
        }[method]
        with translated():
            return plain(await call(cursor=cursor, cache_mode="bypass"))

    async def call(
        self,
        name: str,
        arguments: Object | None = None,
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Object:
        """Call a tool."""
        with translated():
            result = await self.client.call_tool_mcp(
                name,
                arguments or {},
                progress_handler=reporter(progress),
                timeout=timeout,
                meta=None if self.level is None else {types.LOG_LEVEL_META_KEY: self.level},
            )
        return plain(result)

    async def read(self, uri: str) -> Object:
        """Read a resource."""
        with translated():
            return plain(await self.client.read_resource_mcp(uri))

    async def prompt(self, name: str, arguments: dict[str, str] | None = None) -> Object:
        """Get a prompt."""
        with translated():
            return plain(await self.client.get_prompt_mcp(name, arguments))

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
            given = {"name": argument, "value": value}
            return plain(await self.client.complete_mcp(reference, given, known))

    async def set_level(self, level: str) -> None:
        """Set the level, or remember it for the next calls."""
        if self.modern:
            self.level = level
        else:
            await self.client.set_logging_level(level)

    async def subscribe(self, uri: str) -> None:
        """Subscribe; it leaves that to the SDK below it."""
        await self.client.session.subscribe_resource(uri)

    async def unsubscribe(self, uri: str) -> None:
        """Unsubscribe."""
        await self.client.session.unsubscribe_resource(uri)

    def listen(self, wanted: Object) -> Any:
        """It has no listen streams."""
        raise Unavailable("fastmcp's client has no subscriptions/listen")

    async def request(self, method: str, params: Object) -> Object:
        """Send anything."""
        request = Anything(method=method, params=params)
        with translated():
            return (await self.client.session.send_request(request, Plain)).root

    @property
    def session(self) -> str | None:
        """The session's id."""
        return self.client.transport.get_session_id()


@asynccontextmanager
async def open_fastmcp(
    target: Target, facts: Mapping[str, Any], *, automatic: bool, bare: bool
) -> AsyncIterator[Caller]:
    """Connect."""
    url = target if isinstance(target, str) else None
    caller = FastmcpCaller(facts, url)
    answers = {
        "elicitation_handler": caller.fill,
        "sampling_handler": caller.think,
        "sampling_capabilities": types.SamplingCapability(tools=types.SamplingToolsCapability()),
        "roots": caller.name_roots,
    }
    where = url or StdioTransport(target[0], list(target[1:]))
    mode = "auto" if automatic or facts["modern"] else "legacy"
    handler = {"message_handler": caller.hear}
    async with Client(where, mode=mode, **({} if bare else {**answers, **handler})) as client:
        caller.client = client
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_fastmcp))
