"""The client of the official Python SDK 1.x, driven through the features of a given server.

Runs inside .venv-sdk1 only; see :mod:`conformance.interop.drivers.script` for its arguments.
"""

import sys
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
from mcp import ClientSession, McpError, StdioServerParameters, stdio_client, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl, BaseModel, RootModel

sys.path[0] = str(Path(__file__).resolve().parents[3])  # the drivers are shared by all libraries

from conformance.interop.drivers.caller import Caller, Late, Object, Progress, Refused, Unavailable
from conformance.interop.drivers.script import Target, main

warnings.simplefilter("ignore")  # tasks are marked as deprecated

TIMED_OUT = 408


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
    except McpError as error:
        if error.error.code == TIMED_OUT:
            raise Late(error.error.message) from error
        raise Refused(error.error.code, error.error.message, error.error.data) from error


class Sdk1Caller(Caller):
    """One connection."""

    client: ClientSession
    opened: types.InitializeResult

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
        if isinstance(message, types.ServerNotification):
            heard = plain(message.root)
            self.news.add(heard["method"], heard.get("params", {}))

    async def opening(self) -> Object:
        """What came with the handshake."""
        return plain(self.opened)

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
        params = None if cursor is None else types.PaginatedRequestParams(cursor=cursor)
        with translated():
            return plain(await fetch(params=params))

    async def call(
        self,
        name: str,
        arguments: Object | None = None,
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Object:
        """Call a tool; this line leaves it to its user to say that a call was given up."""

        async def report(value: float, total: float | None, message: str | None) -> None:
            progress(value, total, message)

        request = self.client._request_id
        try:
            with translated():
                result = await self.client.call_tool(
                    name,
                    arguments,
                    read_timeout_seconds=None if timeout is None else timedelta(seconds=timeout),
                    progress_callback=None if progress is None else report,
                )
        except anyio.get_cancelled_exc_class():
            cancelled = types.CancelledNotificationParams(requestId=request)
            with anyio.CancelScope(shield=True):
                await self.client.send_notification(
                    types.ClientNotification(types.CancelledNotification(params=cancelled))
                )
            raise
        return plain(result)

    async def read(self, uri: str) -> Object:
        """Read a resource."""
        with translated():
            return plain(await self.client.read_resource(AnyUrl(uri)))

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
        """Set the level."""
        await self.client.set_logging_level(level)

    async def subscribe(self, uri: str) -> None:
        """Subscribe."""
        await self.client.subscribe_resource(AnyUrl(uri))

    async def unsubscribe(self, uri: str) -> None:
        """Unsubscribe."""
        await self.client.unsubscribe_resource(AnyUrl(uri))

    def listen(self, wanted: Object) -> Any:
        """There are no listen streams before the modern era."""
        raise Unavailable("the line does not speak the modern revision")

    async def roots_changed(self) -> None:
        """Announce new roots."""
        await self.client.send_roots_list_changed()

    async def request(self, method: str, params: Object) -> Object:
        """Send anything."""
        with translated():
            return (
                await self.client.send_request(Anything(method=method, params=params), Plain)
            ).root

    @property
    def session(self) -> str | None:
        """The session's id."""
        return self.get_session_id()

    async def start_task(self, name: str, arguments: Object) -> Object:
        """Call a tool as a task."""
        with translated():
            created = await self.client.experimental.call_tool_as_task(name, arguments)
        return plain(created.task)

    async def task(self, id: str) -> Object:
        """Ask after a task."""
        with translated():
            return plain(await self.client.experimental.get_task(id))

    async def task_result(self, id: str) -> Object:
        """Wait for the result."""
        with translated():
            result = await self.client.experimental.get_task_result(id, types.CallToolResult)
        return plain(result)

    async def tasks(self) -> list[Object]:
        """List the tasks."""
        with translated():
            listed = await self.client.experimental.list_tasks()
        return [plain(task) for task in listed.tasks]

    async def cancel_task(self, id: str) -> Object:
        """Cancel a task."""
        with translated():
            return plain(await self.client.experimental.cancel_task(id))


@asynccontextmanager
async def open_sdk1(
    target: Target, facts: Mapping[str, Any], *, automatic: bool, bare: bool
) -> AsyncIterator[Caller]:
    """Connect; this line always offers its newest revision and takes what the server chooses."""
    url = target if isinstance(target, str) else None
    caller = Sdk1Caller(facts, url)
    async with AsyncExitStack() as stack:
        if url is None:
            command = StdioServerParameters(command=target[0], args=target[1:])
            read, write = await stack.enter_async_context(stdio_client(command))
            caller.get_session_id = lambda: None
        elif url.startswith("sse+"):
            read, write = await stack.enter_async_context(sse_client(url.removeprefix("sse+")))
            caller.get_session_id = lambda: None
        else:
            streams = await stack.enter_async_context(streamable_http_client(url))
            read, write, caller.get_session_id = streams
        callbacks = {
            "sampling_callback": caller.sample,
            "elicitation_callback": caller.elicit,
            "list_roots_callback": caller.list_roots,
            "message_handler": caller.hear,
            "sampling_capabilities": types.SamplingCapability(
                tools=types.SamplingToolsCapability()
            ),
        }
        session = ClientSession(read, write, **({} if bare else callbacks))
        caller.client = await stack.enter_async_context(session)
        caller.opened = await caller.client.initialize()
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_sdk1))
