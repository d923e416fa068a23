"""A server over HTTP that is spoken by hand: what a client of ours meets, and no server of ours
answers."""

import gzip
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from anyio.abc import SocketStream

from mcpcore.spec.errors import HEADER_MISMATCH, INVALID_PARAMS
from mcpcore_transports.client.client import Client
from tests.faults.cutting import LOST, listening
from tests.faults.http_by_hand import DISCOVERY, ServerSide, answer, response
from tests.torture.acts import Act, said
from tests.torture.points import unwatched_entry
from tests.torture.stages import Stage, over_http, served
from tests.torture.story import Story, connected

_LARGE = 3_000_000
"""Characters of a request that is answered as soon as its id is there."""
_ID = re.compile(rb'"id":(\d+)')
Message = dict[str, Any]


def _text(text: str) -> Message:
    return {"content": [{"type": "text", "text": text}]}


class Host:
    """Answers requests, one after the other on each connection."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        """What has been said that is said once."""

    async def serve(self, stream: SocketStream) -> None:
        """Have one connection."""
        with suppress(*LOST):
            async with stream:
                await self._serve(stream)

    async def _serve(self, stream: SocketStream) -> None:
        side = ServerSide(stream)
        while True:
            _, _, headers = await side.head()
            if headers.get("mcp-name") == "hasty":
                while not (found := _ID.search(side.buffer)):
                    side.buffer += await stream.receive()
                await stream.send(_closing(answer(int(found[1]), "hasty")))
                while True:  # the rest, until the client closes
                    await stream.receive()
            message = json.loads(await side.exactly(int(headers["content-length"])))
            name = message.get("params", {}).get("name", "")
            told = {"jsonrpc": "2.0", "id": message.get("id"), **self._answer(message)}
            await stream.send(_FORMS.get(name, response)(json.dumps(told).encode()))
            if name == "closing":
                return

    def _answer(self, message: Message) -> Message:
        params = message.get("params", {})
        name = params.get("name")
        result: Message
        if message["method"] == "server/discover":
            result = DISCOVERY
        elif message["method"] == "tools/list":
            if params.get("cursor") == "refused":
                return {"error": {"code": INVALID_PARAMS, "message": "no such cursor"}}
            result = {"tools": [], "ttlMs": 0, "cacheScope": "private"}
            if self._first("tools/list"):
                result["nextCursor"] = "refused"
        elif name == "outdated" and self._first(name):
            return {"error": {"code": HEADER_MISMATCH, "message": "it has other arguments"}}
        elif name == "waiting" and self._first(name):
            return {"result": {"resultType": "input_required", "requestState": "x"}}
        else:
            result = _text(str(name))
        return {"result": {"resultType": "complete", **result}}

    def _first(self, what: str) -> bool:
        first = what not in self._told
        self._told.add(what)
        return first


def _compressed(answer: bytes) -> bytes:
    return response(gzip.compress(answer), b"Content-Encoding: gzip")


def _and_more(answer: bytes) -> bytes:
    """Much follows that nobody wants any more who has the answer."""
    events = b"data: " + answer + b"\n\n" + b": more\n\n" * 40_000
    return response(gzip.compress(events), b"Content-Encoding: gzip", kind=b"text/event-stream")


def _closing(answer: bytes) -> bytes:
    return response(answer, b"Connection: close")


_FORMS: dict[str, Callable[[bytes], bytes]] = {
    "compressed": _compressed,
    "more": _and_more,
    "closing": _closing,
}
"""How tools answer."""


@asynccontextmanager
async def by_hand(stage: Stage) -> AsyncIterator[None]:
    """Be such a server."""

    async def serving() -> None:
        async with unwatched_entry(listening(Host().serve)) as port:
            stage.target = over_http(f"http://127.0.0.1:{port}/mcp")
            stage.up.set()
            await stage.stop.wait()

    async with served(stage, serving):
        yield


@asynccontextmanager
async def adapted_by_hand(stage: Stage) -> AsyncIterator[None]:
    """The same for an HTTP client that the user brings."""
    async with by_hand(stage), httpx.AsyncClient(trust_env=False) as client:
        stage.http_client = client
        yield


@asynccontextmanager
async def _meet(story: Story, target: Any, era: str) -> AsyncIterator[Client]:
    async with connected(story, target, era) as client:
        yield client


async def _compressed_answer(client: Client) -> str:
    return said(await client.call_tool("compressed"))


async def _more_than_the_answer(client: Client) -> str:
    return said(await client.call_tool("more"))


async def _last_answer(client: Client) -> str:
    return said(await client.call_tool("closing"))


async def _hasty(client: Client) -> str:
    """Be answered before all of the request is there."""
    return said(await client.call_tool("hasty", {"text": "x" * _LARGE}))


async def _outdated(client: Client) -> str:
    return said(await client.call_tool("outdated"))


async def _waiting(client: Client) -> str:
    return said(await client.call_tool("waiting"))


async def _pages(client: Client) -> str:
    return str(len(await client.tools()))


async def _once_more(client: Client) -> str:
    return said(await client.call_tool("again"))


BY_HAND = Act(
    meet=_meet,
    calls={
        _compressed_answer: "compressed",
        _more_than_the_answer: "more",
        _last_answer: "closing",
        _hasty: "hasty",
        _outdated: "outdated",
        _waiting: "waiting",
        _pages: "0",
    },
    last=(_once_more, "again"),
    serves=False,
    one_by_one=True,
)
"""Answers that are compressed, come early or late, or refuse what was right before."""
