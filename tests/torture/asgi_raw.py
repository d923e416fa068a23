"""An act of plain ASGI messages: what ASGI servers bring that no client of ours sends."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel

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


class Caller:
    """Calls an application as an ASGI server does."""

    def __init__(self, app: Any) -> None:
        self._app = app

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

        await self._app(scope, receive, send)
        return " ".join(seen)


def _part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@asynccontextmanager
async def _reach(story: Story, target: Any, era: str) -> AsyncIterator[Caller]:
    yield Caller(story.http_client.app)


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


async def _last(caller: Caller) -> str:
    body = call_of("echo", {"text": "last"})
    return right(await caller.http(_part(body), length=len(body)), "200")


ASGI = Act(
    meet=_reach,
    calls=(_in_parts, _is_nowhere, _leaves_within_a_body, _leaves, _is_no_place_for_sockets),
    last=_last,
    right={
        "_in_parts": "200",
        "_is_nowhere": "404",
        "_leaves_within_a_body": "499",
        "_leaves": "left",
        "_is_no_place_for_sockets": "1008",
        "_last": "200",
    },
    ends=(OSError, Refused),
)
"""ASGI messages."""
