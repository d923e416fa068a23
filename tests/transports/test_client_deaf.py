"""The stream on which a legacy server tells of changes breaks: what may be missed is told.

Over real sockets, against a scripted server whose streams have no event ids.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from mcpcore.errors import ConnectionClosed
from mcpcore.http.client.call import Recovery, StreamInterrupted
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.revisions import LEGACY as ROWS
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.listen import Listening
from tests.clock import patience
from tests.transports.http_client_fixture import Request, ServerSide

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hello\n\n"
REFUSED = b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n"
OFFER = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
QUICK = HttpClientSettings(max_resumes=2, retry_delay=0.001, max_retry_delay=0.002)
TOLD = b'data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n'


class Site:
    """A legacy server; ``gets`` says what it does with the streams that are asked for, in order."""

    def __init__(self, revision: str, gets: list[str]) -> None:
        self.revision = revision
        self.gets = gets
        self.asked: list[str] = []
        self.drop = anyio.Event()

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            side = ServerSide(stream)
            while True:
                try:
                    request = await side.request()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
                if request.method == "GET":
                    await self._stream(side)
                    return
                await self._post(side, request)

    async def _stream(self, side: ServerSide) -> None:
        what = self.gets.pop(0)
        if what == "refuse":
            await side.send(REFUSED)
            return
        await side.send(HEAD)
        if what == "break":
            await self.drop.wait()
        else:
            await side.send(TOLD if what == "tell" else b"")
            await anyio.sleep_forever()

    async def _post(self, side: ServerSide, request: Request) -> None:
        if request.method != "POST" or "id" not in request.json:
            await side.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            return
        self.asked.append(request.json["method"])
        result = {
            "protocolVersion": self.revision,
            "capabilities": OFFER,
            "serverInfo": {"name": "s", "version": "1"},
        }
        reply = {"jsonrpc": "2.0", "id": request.json["id"], "result": result}
        body = json.dumps(reply).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s1\r\n"
        await side.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


@asynccontextmanager
async def listening(
    revision: str, gets: list[str], callbacks: Callbacks | None = None
) -> AsyncIterator[tuple[Site, Client, Listening]]:
    place = Site(revision, gets)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/mcp"
    settings = ClientSettings(http=QUICK)
    with patience():
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, place.serve)
            async with (
                connect(url, revision=revision, settings=settings, callbacks=callbacks) as client,
                client.listen(tools=True, uris=["x:y"]) as changes,
            ):
                yield place, client, changes
            group.cancel_scope.cancel()


every_legacy = pytest.mark.parametrize("name", [row.name for row in ROWS])


@every_legacy
async def test_what_may_have_been_missed_is_told_once_the_stream_is_open_again(name: str) -> None:
    told: list[str] = []
    broken: list[StreamInterrupted] = []
    callbacks = Callbacks(
        tools_changed=lambda: told.append("tools"), stream_interrupted=broken.append
    )
    async with listening(name, ["break", "tell"], callbacks) as (place, client, changes):
        place.drop.set()
        found = [await anext(changes) for _ in range(3)]
        assert [(each.kind, each.missed) for each in found] == [
            ("tools", True),
            ("resource", True),
            ("tools", False),
        ]
        assert changes.reopened == 1
        assert client.closed is None
    assert told == ["tools", "tools"]
    assert [(each.request, each.recovery) for each in broken] == [(None, Recovery.REOPEN)]


@every_legacy
@pytest.mark.parametrize("after", [["refuse"], ["break", "break", "break"]])
async def test_a_stream_that_is_given_up_ends_the_iteration(name: str, after: list[str]) -> None:
    async with listening(name, ["break", *after]) as (place, client, changes):
        place.drop.set()
        with pytest.raises(ConnectionClosed, match="subscriptions/listen: "):
            assert all([change.missed async for change in changes])
        with pytest.raises(ConnectionClosed):
            await anext(changes)
        with pytest.raises(ConnectionClosed):
            await client.listen(tools=True).__aenter__()
        assert client.closed is None
        await client.request("resources/list")
        assert place.asked[-1] == "resources/list"
