"""The client of the official Python SDK 1.x, driven through the features of a given server.

Runs inside .venv-sdk1 only; see :mod:`conformance.interop.drivers.script` for its arguments.
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters, stdio_client, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

sys.path[0] = str(Path(__file__).resolve().parents[3])  # the drivers are shared by all libraries

from conformance.interop.drivers.caller import Caller, Object, Progress, Unavailable
from conformance.interop.drivers.script import Target, main
from conformance.interop.sdk.calling import SdkCaller, plain, reporter


class Sdk1Caller(SdkCaller):
    """One connection."""

    client: ClientSession
    opened: types.InitializeResult
    names: Mapping[str, str] = {"session.send_request": "send_request"}

    async def opening(self) -> Object:
        """What came with the handshake."""
        return plain(self.opened)

    def paging(self, cursor: str | None) -> dict[str, Any]:
        """Arguments of a call that fetches a page."""
        return {"params": None if cursor is None else types.PaginatedRequestParams(cursor=cursor)}

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
            return await self.ask(
                "call_tool",
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

    def listen(self, wanted: Object) -> Any:
        """There are no listen streams before the modern era."""
        raise Unavailable("the line does not speak the modern revision")

    @property
    def session(self) -> str | None:
        """The session's id."""
        return self.get_session_id()

    async def start_task(self, name: str, arguments: Object) -> Object:
        """Call a tool as a task."""
        created = await self.ask("experimental.call_tool_as_task", name, arguments)
        return dict(created["task"])

    async def task(self, id: str) -> Object:
        """Ask after a task."""
        return await self.ask("experimental.get_task", id)

    async def task_result(self, id: str) -> Object:
        """Wait for the result."""
        return await self.ask("experimental.get_task_result", id, types.CallToolResult)

    async def tasks(self) -> list[Object]:
        """List the tasks."""
        return list((await self.ask("experimental.list_tasks"))["tasks"])

    async def cancel_task(self, id: str) -> Object:
        """Cancel a task."""
        return await self.ask("experimental.cancel_task", id)


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
