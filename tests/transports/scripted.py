"""Servers that do what a test says, right or wrong: over HTTP, and as a child process."""

import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.abc import ByteStream

from tests.faults import http_by_hand
from tests.faults.cutting import listening
from tests.faults.http_by_hand import ServerSide, response

Reply = tuple[int, dict[str, Any] | None]
Responder = Callable[[dict[str, Any], Mapping[str, str]], Reply]
"""Takes a message and the headers it came with; returns status and body."""


@asynccontextmanager
async def http_server(respond: Responder) -> AsyncIterator[str]:
    """Answer each POST with what ``respond`` says, and everything else with 405; yields the URL."""

    async def serve(stream: ByteStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):  # it thought otherwise
                request = await ServerSide(stream).request()
                status, reply = 405, None
                if request.method == "POST":
                    status, reply = respond(request.json, request.headers)
                body = b"" if reply is None else json.dumps(reply).encode()
                await stream.send(response(body, b"Connection: close", status=b"%d X" % status))

    async with listening(serve) as port:
        yield f"http://127.0.0.1:{port}/mcp"


def modern(result: dict[str, Any]) -> dict[str, Any]:
    """Complete a result of the modern era."""
    return {"resultType": "complete", **result}


DISCOVERY: dict[str, Any] = {
    **http_by_hand.DISCOVERY,
    "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "logging": {}},
    "ttlMs": 0,
}


def greeting(revision: str, capabilities: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The reply of a legacy server, by default one with tools, to ``initialize``."""
    offers: Mapping[str, Any] = {"tools": {}} if capabilities is None else capabilities
    info = {"name": "scripted", "version": "1"}
    hello = {"protocolVersion": revision, "capabilities": offers, "serverInfo": info}
    return {"result": hello}


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
