"""A call whose stream breaks is picked up by GET, after the time that the server names.

Over real sockets, against a scripted server, in every legacy revision.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from mcpcore.errors import CallFailed
from mcpcore.http.client.call import Recovery, StreamInterrupted
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.revisions import LEGACY as ROWS
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.link import clock
from tests.clock import patience
from tests.transports.http_client_fixture import Request, ServerSide

pytestmark = pytest.mark.anyio

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
RETRY = 40
"""In milliseconds."""


def answer(id: Any, **message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, **message}).encode()


class Flaky:
    """A legacy server whose call takes three connections: two streams break, the third answers."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.gets: list[Request] = []
        self.times: list[float] = []
        self.calls: list[Any] = []

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            side = ServerSide(stream)
            while True:
                try:
                    request = await side.request()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                if not await self._answer(side, request):
                    return

    async def _answer(self, side: ServerSide, request: Request) -> bool:
        if request.method == "GET":
            return await self._resume(side, request)
        if request.method != "POST":
            await side.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif "id" not in request.json:
            await side.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        elif request.json["method"] == "initialize":
            result = {
                "protocolVersion": self.revision,
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "s", "version": "1"},
            }
            body = answer(request.json["id"], result=result)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s1\r\n"
            await side.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        else:
            self.calls.append(request.json["id"])
            self.times.append(clock())
            await side.send(EVENTS + b"id: e1\nretry: %d\ndata:\n\n" % RETRY)
            return False
        return True

    async def _resume(self, side: ServerSide, request: Request) -> bool:
        if "last-event-id" not in request.headers:
            await side.send(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n")
            return True
        self.gets.append(request)
        self.times.append(clock())
        if len(self.gets) == 1:
            await side.send(EVENTS + b"id: e2\ndata:\n\n")
        else:
            result = {"content": [{"type": "text", "text": "at last"}]}
            data = answer(self.calls[0], result=result)
            await side.send(EVENTS + b"id: e3\ndata: " + data + b"\n\n")
        return False


@asynccontextmanager
async def flaky(revision: str) -> AsyncIterator[tuple[Flaky, str]]:
    server = Flaky(revision)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/mcp"
    with patience():
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, server.serve)
            yield server, url
            group.cancel_scope.cancel()


@pytest.mark.requirement("basic/transports/retry-respected")
@pytest.mark.parametrize("revision", [row.name for row in ROWS])
async def test_a_broken_call_is_picked_up(revision: str) -> None:
    async with flaky(revision) as (server, url), connect(url, revision=revision) as client:
        result = await client.call_tool("slow")
    assert result.text == "at last"
    assert len(server.calls) == 1, "the call itself is made once"
    assert [get.headers["last-event-id"] for get in server.gets] == ["e1", "e2"]
    versioned = BY_NAME[revision].version_header
    for get in server.gets:
        assert get.headers["accept"] == "text/event-stream"
        assert get.headers["mcp-session-id"] == "s1"
        assert get.headers.get("mcp-protocol-version") == (revision if versioned else None)
    called, first, second = server.times
    assert first - called >= RETRY / 1000
    assert second - first >= RETRY / 1000, "the time holds until the server names another"


@pytest.mark.parametrize("revision", [row.name for row in ROWS])
@pytest.mark.parametrize("plain", [True, False])
async def test_callbacks_are_told_what_is_done(revision: str, plain: bool) -> None:
    told: list[StreamInterrupted] = []

    async def tell(event: StreamInterrupted) -> None:
        told.append(event)

    callbacks = Callbacks(stream_interrupted=told.append if plain else tell)
    async with (
        flaky(revision) as (server, url),
        connect(url, revision=revision, callbacks=callbacks) as client,
    ):
        await client.call_tool("slow")
    assert [(each.request, each.recovery) for each in told] == [
        (server.calls[0], Recovery.RESUME)
    ] * 2
    assert [each.attempt for each in told] == [1, 1], "each time after an event"
    assert all(each.delay >= RETRY / 1000 for each in told)
    assert all(each.reason for each in told)


async def test_callbacks_are_told_of_the_end_of_that() -> None:
    told: list[StreamInterrupted] = []
    settings = ClientSettings(http=HttpClientSettings(max_resumes=0))
    revision = ROWS[-1].name
    async with (
        flaky(revision) as (server, url),
        connect(
            url,
            revision=revision,
            settings=settings,
            callbacks=Callbacks(stream_interrupted=told.append),
        ) as client,
    ):
        with pytest.raises(CallFailed):
            await client.call_tool("slow")
    assert [(each.request, each.recovery, each.delay) for each in told] == [
        (server.calls[0], Recovery.FAIL, 0.0)
    ]
