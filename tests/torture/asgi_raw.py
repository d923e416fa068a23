"""An act of plain ASGI messages: what ASGI servers bring that no client of ours sends."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from mcpcore.errors import StoreUnavailableError
from mcpcore.service import Server
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.settings import ServeSettings
from mcpcore_transports.server.context import Context
from mcpcore_transports.stores.sqlite import MemoryStore
from tests.torture.acts import Act
from tests.torture.asgi_sockets import fails
from tests.torture.raw_http import Refused, call_of, of_call, right
from tests.torture.story import Story

_TYPES = [
    (b"host", b"localhost"),
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
    (b"mcp-protocol-version", b"2026-07-28"),
]
_LEFT = {"type": "http.disconnect"}
_SOCKET = {"type": "websocket", "path": "/mcp", "headers": _TYPES[:1], "subprotocols": ["mcp"]}


class _NoStore(MemoryStore):
    """A store that cannot be reached."""

    def secret(self) -> bytes:
        raise StoreUnavailableError("nobody answers")


class Caller:
    """Calls an application as an ASGI server does."""

    def __init__(self, app: Any, group: TaskGroup) -> None:
        self._app = app
        self._group = group
        self.begun: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint
        """Called when a response has begun, or a WebSocket is accepted."""

    @asynccontextmanager
    async def another(self, **settings: Any) -> AsyncIterator["Caller"]:
        """Have an application of one's own, with a tool that waits for ever."""
        server = Server("another", version="1")

        @server.tool
        async def wait(context: Context) -> str:
            context.progress(1)
            await anyio.sleep_forever()
            return "never"

        made = asgi_app(server, settings=ServeSettings(**settings))
        try:
            yield Caller(made, self._group)
        finally:
            with anyio.CancelScope(shield=True):
                await made.aclose()

    async def end(self) -> None:
        """Let the application end."""
        await self._app.aclose()

    async def end_soon(self) -> None:
        """Do so meanwhile."""
        self._group.start_soon(self.end)

    async def http(
        self, *messages: dict[str, Any], length: int = 0, tool: str = "echo", **more: Any
    ) -> str:
        """Make a request of these messages; the status of the response."""
        extra = [tuple(each.encode() for each in line.split(": ")) for line in of_call(tool)]
        headers = [*_TYPES, (b"content-length", b"%d" % length), *extra]
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/mcp",
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 5000),
            **more,
        }
        return await self.call(scope, *messages)

    async def call(self, scope: dict[str, Any], *messages: dict[str, Any]) -> str:
        """Have a scope served; the status of the response, or how it is closed."""
        to_come = deque(messages)
        seen: list[str] = []

        async def receive() -> dict[str, Any]:
            if fails("ASGI receive"):
                raise OSError("the client has left")
            await anyio.lowlevel.checkpoint()
            if not to_come:
                await anyio.sleep_forever()
            return to_come.popleft()

        async def send(message: dict[str, Any]) -> None:
            if fails("ASGI send"):
                raise OSError("the client has left")
            await anyio.lowlevel.checkpoint()
            if message["type"].endswith(("start", "close")):
                seen.append(str(message.get("status", message.get("code"))))
            if message["type"].endswith(("start", "accept")):
                await self.begun()

        await self._app(scope, receive, send)
        return " ".join(seen)


def _part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@asynccontextmanager
async def _reach(story: Story, target: Any, era: str) -> AsyncIterator[Caller]:
    async with anyio.create_task_group() as group:
        yield Caller(story.http_client.app, group)


async def _in_parts(caller: Caller) -> str:
    body = call_of("echo", {"text": "in parts"})
    parts = _part(body[:9], more=True), _part(b"", more=True), _part(body[9:])
    return right(await caller.http(*parts, length=len(body)), "200")


async def _is_nowhere(caller: Caller) -> str:
    parts = _part(b"x" * 10, more=True), _part(b"x" * 10)
    return right(await caller.http(*parts, length=20, path="/nowhere"), "404")


async def _leaves_within_a_body(caller: Caller) -> str:
    return right(await caller.http(_part(b"{", more=True), _LEFT, length=100), "499")


async def _leaves(caller: Caller) -> str:
    """Leave while the answer is waited for."""
    body = call_of("wait", {})
    status = await caller.http(_part(body), _LEFT, length=len(body), tool="wait")
    return "left" if status in ("", "200", "499") else right(status, "left")


async def _is_no_place_for_sockets(caller: Caller) -> str:
    scope = {"type": "websocket", "path": "/mcp", "headers": _TYPES}
    return right(await caller.call(scope, {"type": "websocket.connect"}), "1008")


async def _finds_no_store(caller: Caller) -> str:
    async with caller.another(store=_NoStore()) as other:
        body = call_of("wait", {})
        status = await other.http(_part(body), length=len(body), tool="wait")
        return right(status, "503")


async def _finds_a_store(caller: Caller) -> str:
    async with caller.another(store=MemoryStore()) as other:
        body = call_of("nothing", {})
        return right(await other.http(_part(body), length=len(body), tool="nothing"), "200")


async def _is_there_at_the_end(caller: Caller) -> str:
    """Wait for an answer while the application ends."""
    link = HttpServerSettings(drain_time=0.01, notice_time=0.001)
    async with caller.another(http_link=link) as other:
        other.begun = other.end_soon
        body = call_of("wait", {}, progressToken="p")
        status = await other.http(_part(body), length=len(body), tool="wait")
        return right(status, "200")


async def _comes_at_the_end(caller: Caller) -> str:
    """Be accepted, while the application ends, and not be served any more."""
    async with caller.another(shared=True) as other:
        other.begun = other.end
        return right(await other.call(_SOCKET, {"type": "websocket.connect"}), "1001")


async def _stays_to_the_end(caller: Caller) -> str:
    """Be served when the application ends."""
    async with caller.another(shared=True) as other:
        other.begun = other.end_soon
        return right(await other.call(_SOCKET, {"type": "websocket.connect"}), "1001")


async def _last(caller: Caller) -> str:
    body = call_of("echo", {"text": "last"})
    return right(await caller.http(_part(body), length=len(body)), "200")


ASGI = Act(
    meet=_reach,
    calls={
        _in_parts: "200",
        _is_nowhere: "404",
        _leaves_within_a_body: "499",
        _leaves: "left",
        _is_no_place_for_sockets: "1008",
        _finds_no_store: "503",
        _finds_a_store: "200",
        _is_there_at_the_end: "200",
        _comes_at_the_end: "1001",
        _stays_to_the_end: "1001",
    },
    last=(_last, "200"),
    ends=(OSError, Refused),
)
"""ASGI messages."""
