"""The stream on which a legacy server tells of changes breaks: what may be missed is told.

Over real sockets, against a scripted server whose streams have no event ids.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from mcpcore.errors import ConnectionClosed
from mcpcore.http.client.call import Recovery, StreamInterrupted
from mcpcore.http.settings import HttpClientSettings
from mcpcore.spec.revisions import LEGACY as ROWS
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.listen import Listening
from tests.clock import patience
from tests.transports.villain import EVENTS, NO_STREAM, Side, Villain, good, villain

pytestmark = pytest.mark.anyio

QUICK = HttpClientSettings(max_resumes=2, retry_delay=0.001, max_retry_delay=0.002)
TOLD = b'data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n'


class Streams:
    """What a server does with the streams that are asked for, in order."""

    def __init__(self, fates: list[str]) -> None:
        self.fates = fates
        self.drop = anyio.Event()

    async def __call__(self, side: Side) -> bool:
        fate = self.fates.pop(0)
        if fate == "refuse":
            await side.send(NO_STREAM)
            return True
        await side.send(EVENTS, b"Connection: close\r\n\r\n: hello\n\n")
        if fate == "break":
            await self.drop.wait()
        else:
            await side.send(TOLD)
            await side.hold()
        return False


@asynccontextmanager
async def listening(
    revision: str, fates: list[str], callbacks: Callbacks | None = None
) -> AsyncIterator[tuple[Villain, Streams, Client, Listening]]:
    settings, streams = ClientSettings(http=QUICK), Streams(fates)
    with patience():
        async with villain(good, revision=revision) as server:
            server.capabilities = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
            server.scripts["GET"] = streams
            async with (
                connect(
                    server.url, revision=revision, settings=settings, callbacks=callbacks
                ) as client,
                client.listen(tools=True, uris=["x:y"]) as changes,
            ):
                yield server, streams, client, changes


every_legacy = pytest.mark.parametrize("name", [row.name for row in ROWS])


@every_legacy
async def test_what_may_have_been_missed_is_told_once_the_stream_is_open_again(name: str) -> None:
    told: list[str] = []
    broken: list[StreamInterrupted] = []
    callbacks = Callbacks(
        tools_changed=lambda: told.append("tools"), stream_interrupted=broken.append
    )
    async with listening(name, ["break", "tell"], callbacks) as (_, streams, client, changes):
        streams.drop.set()
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
    async with listening(name, ["break", *after]) as (server, streams, client, changes):
        streams.drop.set()
        with pytest.raises(ConnectionClosed, match="subscriptions/listen: "):
            assert all([change.missed async for change in changes])
        with pytest.raises(ConnectionClosed):
            await anext(changes)
        with pytest.raises(ConnectionClosed):
            await client.listen(tools=True).__aenter__()
        assert client.closed is None
        await client.request("resources/list")
        assert server.seen["resources/list"] == 1
