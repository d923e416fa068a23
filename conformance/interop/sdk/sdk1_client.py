"""The client of the official Python SDK 1.x, driven through the features of a given server.

Runs inside .venv-sdk1 only; see :mod:`conformance.interop.drivers.script` for its arguments.
"""

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters, stdio_client, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import BaseModel

sys.path[0] = str(Path(__file__).resolve().parents[3])  # the drivers are shared by all libraries

from conformance.interop.drivers.caller import Caller, Object, Progress, Unavailable
from conformance.interop.drivers.script import Target, main
from conformance.interop.sdk.calling import Anything, Plain, SdkCaller, plain, reporter, translated


class Sdk1Caller(SdkCaller):
    """One connection."""

    client: ClientSession
    opened: types.InitializeResult

    async def opening(self) -> Object:
        """What came with the handshake."""
        return plain(self.opened)

    async def fetch(self, call: Callable[..., Any], cursor: str | None) -> BaseModel:
        """Fetch a page."""
        params = None if cursor is None else types.PaginatedRequestParams(cursor=cursor)
        return await call(params=params)

    async def call(
        self,
        name: str,
        arguments: Object | None = None,
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Object:
        """Call a tool; this line leaves it to its user to say that a call was given up."""
        request = self.client._request_id
        try:
            with translated():
                result = await self.client.call_tool(
                    name,
                    arguments,
                    read_timeout_seconds=None if timeout is None else timedelta(seconds=timeout),
                    progress_callback=reporter(progress),
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
            return plain(await self.client.read_resource(uri))

    async def set_level(self, level: str) -> None:
        """Set the level."""
        await self.client.set_logging_level(level)

    def listen(self, wanted: Object) -> Any:
        """There are no listen streams before the modern era."""
        raise Unavailable("the line does not speak the modern revision")

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
        session = ClientSession(read, write, **({} if bare else caller.callbacks()))
        caller.client = await stack.enter_async_context(session)
        caller.opened = await caller.client.initialize()
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_sdk1))
