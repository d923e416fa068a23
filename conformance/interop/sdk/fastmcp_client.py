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

from conformance.interop.drivers.caller import Caller, Object, Unavailable
from conformance.interop.drivers.script import Target, main
from conformance.interop.sdk.calling import LISTS, SdkCaller, plain
from conformance.interop.sdk.sdk2_client import Sdk2Caller

OWN = (*LISTS.values(), "call_tool", "read_resource", "get_prompt", "complete")
"""Calls that it has under names of its own; others it leaves to the SDK below it."""
BELOW = ("subscribe_resource", "unsubscribe_resource")


class FastmcpCaller(Sdk2Caller):
    """One connection."""

    client: Client
    watching = ("timeout", "progress_handler")
    names: Mapping[str, str] = {
        "send_ping": "ping",
        **{name: f"{name}_mcp" for name in OWN},
        **{name: f"session.{name}" for name in BELOW},
    }

    async def fill(self, message: str, kind: object, params: Any, context: object) -> ElicitResult:
        """Answer an elicitation."""
        return ElicitResult(**self.answers.elicit(plain(params)))

    async def think(self, messages: object, params: Any, context: object) -> Any:
        """Answer as a model would."""
        answer = await self.sample(context, params)
        if isinstance(answer, types.ErrorData):
            raise MCPError(answer.code, answer.message)
        return answer

    async def name_roots(self, context: object) -> list[types.Root]:
        """Name the roots."""
        return (await self.list_roots(context)).roots

    def callbacks(self) -> dict[str, Any]:
        """What the client is made with that serves the server."""
        return {
            "elicitation_handler": self.fill,
            "sampling_handler": self.think,
            "sampling_capabilities": super().callbacks()["sampling_capabilities"],
            "roots": self.name_roots,
            "message_handler": self.hear,
        }

    async def read(self, uri: str) -> Object:
        """Read a resource."""
        return await SdkCaller.read(self, uri)

    def listen(self, wanted: Object) -> Any:
        """It has no listen streams."""
        raise Unavailable("fastmcp's client has no subscriptions/listen")

    @property
    def session(self) -> str | None:
        """The session's id."""
        return self.client.transport.get_session_id()


@asynccontextmanager
async def open_fastmcp(
    target: Target, facts: Mapping[str, Any], *, automatic: bool, bare: bool
) -> AsyncIterator[Caller]:
    """Connect.

    By default it keeps a process for the next connection, and leaves it to asyncio to cancel that
    at the end of the program: there the SDK's shutdown waits for ever for a server that none ends.
    """
    url = target if isinstance(target, str) else None
    caller = FastmcpCaller(facts, url)
    program = StdioTransport(target[0], target[1:], keep_alive=False) if url is None else None
    where = program or url.removeprefix("sse+")  # it sees by the path which of the two it is
    mode = "auto" if automatic or facts["modern"] else "legacy"
    async with Client(where, mode=mode, **({} if bare else caller.callbacks())) as client:
        caller.client = client
        yield caller


if __name__ == "__main__":
    sys.exit(main(open_fastmcp))
