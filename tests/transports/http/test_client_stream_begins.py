"""An event stream that a client asks for and that never begins: given up in time, and told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from mcpcore.errors import ConnectionClosed
from mcpcore.http.client.call import Recovery, StreamInterrupted
from mcpcore.http.settings import HttpClientSettings
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from tests.clock import HOUR, UNHURRIED, Clock, arrived, patience, until
from tests.transports.villain import CHUNKED, EVENTS, Script, Side, Villain, good, villain

pytestmark = pytest.mark.anyio

LEGACY = "2025-11-25"
SETTINGS = ClientSettings(
    limits=UNHURRIED,
    http=HttpClientSettings(
        stream_timeout=HOUR, max_resumes=2, retry_delay=0.01, min_retry_delay=0.0, jitter=0.0
    ),
    http_link=HttpClientLinkSettings(write_time=9 * HOUR),
)


class Told:
    """What was done about streams."""

    def __init__(self) -> None:
        self.interruptions: list[StreamInterrupted] = []

    def __call__(self, event: StreamInterrupted) -> None:
        self.interruptions.append(event)

    @property
    def given_up(self) -> bool:
        return self.interruptions[-1:] != [] and self.interruptions[-1].recovery is Recovery.FAIL


async def silent(side: Side) -> bool:
    await side.hold()
    return False


async def dripping(side: Side) -> bool:
    """A head without end, a line at a time."""
    await side.send(b"HTTP/1.1 200 OK\r\n")
    for _ in range(10_000):
        await side.send(b"X: y\r\n")
        await anyio.sleep(HOUR / 10)
    return False


async def interim(side: Side) -> bool:
    """Only that there will be a response."""
    for _ in range(50):
        await side.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await anyio.sleep(HOUR / 10)
    await side.hold()
    return False


@asynccontextmanager
async def connected(
    server: Villain, told: Told, carrier: str = "own", **callbacks: Any
) -> AsyncIterator[Client]:
    async with (
        httpx.AsyncClient() as other,
        connect(
            server.url,
            revision=LEGACY,
            settings=SETTINGS,
            callbacks=Callbacks(stream_interrupted=told, **callbacks),
            http_client=other if carrier == "httpx" else None,
        ) as client,
    ):
        yield client


async def text_of(client: Client) -> str:
    return (await client.call_tool("bad")).text


@pytest.mark.parametrize(
    ("carrier", "get"),
    [("own", silent), ("own", dripping), ("own", interim), ("httpx", silent), ("httpx", dripping)],
)
async def test_a_standalone_stream_that_never_begins(
    carrier: str, get: Script, clock: Clock
) -> None:
    told = Told()
    async with villain(good, revision=LEGACY) as server:
        server.scripts["GET"] = get
        async with connected(server, told, carrier) as client:
            assert await text_of(client) == "well"
            await clock.skip_until(lambda: told.given_up)
            interruptions = told.interruptions
            assert [each.recovery for each in interruptions] == [
                Recovery.REOPEN,
                Recovery.REOPEN,
                Recovery.FAIL,
            ]
            expected = "did not begin its response" if carrier == "own" else "too long"
            assert all(expected in each.reason for each in interruptions)
            assert all(each.request is None for each in interruptions)
            # A connection that takes long is given up before its request is read.
            await until(lambda: server.seen["GET"])
            assert server.seen["GET"] <= 3
            # The rest of the session goes on.
            assert await text_of(client) == "well"


async def test_a_call_whose_stream_cannot_be_picked_up_ends_before_its_own_deadline(
    clock: Clock,
) -> None:
    async def cut(side: Side) -> bool:
        await side.send(EVENTS, CHUNKED)
        event = side.event(b"", id="e1")
        await side.send(b"%x\r\n%b\r\n" % (len(event), event))
        return False

    told = Told()
    async with (
        villain(cut, get=silent, revision=LEGACY) as server,
        connected(server, told) as client,
    ):

        async def call() -> None:
            with pytest.raises(ConnectionClosed, match="did not begin"):
                await client.call_tool("bad", timeout=1000 * HOUR)

        async with anyio.create_task_group() as calls:
            calls.start_soon(call)
            await clock.skip_until(lambda: told.given_up, HOUR / 10)
        assert [each.recovery for each in told.interruptions] == [
            Recovery.RESUME,
            Recovery.RESUME,
            Recovery.FAIL,
        ]


@pytest.mark.parametrize("carrier", ["own", "httpx"])
async def test_a_stream_that_has_begun_may_be_silent_for_longer(carrier: str, clock: Clock) -> None:
    told = Told()
    opened, later = anyio.Event(), anyio.Event()

    async def begun(side: Side) -> bool:
        await side.send(EVENTS, CHUNKED)
        await arrived(side.stream)
        opened.set()
        await later.wait()
        event = side.event(b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}')
        await side.send(b"%x\r\n%b\r\n" % (len(event), event))
        await side.hold()
        return False

    changed = anyio.Event()
    async with villain(good, revision=LEGACY) as server:
        server.scripts["GET"] = begun
        heard = {"notification": lambda method, params: changed.set()}
        async with connected(server, told, carrier, **heard) as client:
            assert await text_of(client) == "well"
            with patience():
                await opened.wait()
                await clock.skip(3 * HOUR)
                later.set()
                await changed.wait()
            assert (told.interruptions, server.seen["GET"]) == ([], 1)
