"""A call whose stream breaks is picked up by GET, after the time that the server names.

Over real sockets, against a scripted server, in every legacy revision.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from mcpcore.http.client.call import Recovery, StreamInterrupted
from mcpcore.spec.revisions import BY_NAME
from mcpcore.spec.revisions import LEGACY as ROWS
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import connect
from mcpcore_transports.link import clock
from tests.clock import patience
from tests.transports.villain import EVENTS, Side, villain

pytestmark = pytest.mark.anyio

RETRY = 40
"""In milliseconds."""


class Flaky:
    """A call that takes three connections: two streams break, the third answers."""

    def __init__(self) -> None:
        self.gets: list[Side] = []
        self.times: list[float] = []
        self.calls: list[Side] = []

    async def _begin(self, side: Side, event: bytes) -> bool:
        self.times.append(clock())
        await side.send(EVENTS, b"Connection: close\r\n\r\n", event)
        return False

    async def call(self, side: Side) -> bool:
        self.calls.append(side)
        return await self._begin(side, b"id: e1\nretry: %d\ndata:\n\n" % RETRY)

    async def resume(self, side: Side) -> bool:
        self.gets.append(side)
        if len(self.gets) == 1:
            return await self._begin(side, b"id: e2\ndata:\n\n")
        return await self._begin(side, side.event(self.calls[0].answer("at last"), id="e3"))


@asynccontextmanager
async def flaky(revision: str) -> AsyncIterator[tuple[Flaky, str]]:
    made = Flaky()
    with patience():
        async with villain(made.call, get=made.resume, revision=revision) as server:
            server.scripts["slow"] = made.call
            yield made, server.url


@pytest.mark.requirement("basic/transports/retry-respected")
@pytest.mark.parametrize("revision", [row.name for row in ROWS])
@pytest.mark.parametrize("carrier", ["own", "httpx"])
async def test_a_broken_call_is_picked_up(revision: str, carrier: str) -> None:
    async with flaky(revision) as (server, url), httpx.AsyncClient() as other:
        brought = other if carrier == "httpx" else None
        async with connect(url, revision=revision, http_client=brought) as client:
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
        (server.calls[0].id, Recovery.RESUME)
    ] * 2
    assert [each.attempt for each in told] == [1, 1], "each time after an event"
    assert all(each.delay >= RETRY / 1000 for each in told)
    assert all(each.reason for each in told)
