"""Servers that do what a test says, right or wrong: over HTTP, and as a child process."""

import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream

Reply = tuple[int, dict[str, Any] | None]
Responder = Callable[[dict[str, Any], Mapping[str, str]], Reply]
"""Takes a message and the headers it came with; returns status and body."""


@asynccontextmanager
async def http_server(respond: Responder) -> AsyncIterator[str]:
    """Answer each POST with what ``respond`` says, and everything else with 405; yields the URL."""

    async def serve(stream: SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):  # the client thought otherwise
            await answer(stream)

    async def answer(stream: SocketStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive()
            head, _, body = data.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)
            }
            while len(body) < int(headers.get("content-length", 0)):
                body += await stream.receive()
            status, reply = 405, None
            if first.startswith("POST"):
                status, reply = respond(json.loads(body), headers)
            out = b"" if reply is None else json.dumps(reply).encode()
            await stream.send(
                f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
                f"content-length: {len(out)}\r\nconnection: close\r\n\r\n".encode()
                + out
            )

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/mcp"
        group.cancel_scope.cancel()


def modern(result: dict[str, Any]) -> dict[str, Any]:
    """Complete a result of the modern era."""
    return {"resultType": "complete", **result}


DISCOVERY = modern(
    {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "logging": {}},
        "ttlMs": 0,
        "cacheScope": "public",
    }
)

_CHILD = """
import json, sys
replies = json.loads(sys.argv[1])
for line in sys.stdin:
    message = json.loads(line)
    method, id = message["method"], message.get("id")
    reply = replies.get(method, {"error": {"code": -32601, "message": "no such method"}})
    if id is None:
        continue
    if isinstance(reply, list):
        reply = reply.pop(0) if len(reply) > 1 else reply[0]
    if reply == "silence":
        continue
    if reply == "exit":
        print("last words", file=sys.stderr, flush=True)
        sys.exit(7)
    print(json.dumps({"jsonrpc": "2.0", "id": id, **reply}), flush=True)
"""


def child(replies: Mapping[str, Any]) -> list[str]:
    """The command of a modern stdio server with fixed replies.

    Method to ``{"result": ...}``, ``{"error": ...}``, ``"silence"``, ``"exit"``, or a list of
    replies to be given one after the other.
    """
    known = {"server/discover": {"result": DISCOVERY}, **replies}
    return [sys.executable, "-c", _CHILD, json.dumps(known)]
