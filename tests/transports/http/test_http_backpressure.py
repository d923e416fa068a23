"""A client that does not read holds back who produces for it, then loses its stream alone."""

import json
import threading
from typing import Any

import anyio
import pytest

from mcpcore import Context, HttpSettings, Limits, RuntimeSettings, Server, ServeSettings
from tests.transports.http_fixture import http, initialize, legacy, tool
from tests.transports.raw_site import served
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio

PART = "x" * 200_000
MANY = 100
LEVEL = {"io.modelcontextprotocol/logLevel": "debug"}


class Producer:
    """A server with a tool that sends 20 MB of log messages before it answers."""

    def __init__(self) -> None:
        self.sent = 0
        self.done = threading.Event()
        self.server = Server("producer")
        self.server.add_tool(self.in_thread, thread=True)
        self.server.add_tool(self.in_loop)
        self.server.add_tool(self.heedless)
        self.server.add_tool(lambda: "here", "quick", description="Answer.")

    def in_thread(self, context: Context) -> str:
        """Send, and wait where sending waits."""
        try:
            for _ in range(MANY):
                context.log("info", PART)
                self.sent += 1
            return "sent"
        finally:
            self.done.set()

    async def in_loop(self, context: Context) -> str:
        """Send, and wait by oneself."""
        for _ in range(MANY):
            context.log("info", PART)
            await context.drained()
            self.sent += 1
        return "sent"

    async def heedless(self, context: Context) -> str:
        """Send what nobody may drop, and never wait."""
        try:
            for _ in range(MANY):
                context.notify("notifications/heedless", {"text": PART})
                self.sent += 1
                await anyio.lowlevel.checkpoint()
            return "sent"
        finally:
            self.done.set()


def events(body: bytes) -> list[Any]:
    found = [block.partition(b"data: ")[2] for block in body.split(b"\n\n")]
    return [json.loads(data) for data in found if data]


@pytest.mark.parametrize("name", ["in_thread", "in_loop"])
async def test_a_producer_waits_for_its_client_and_nothing_is_lost(name: str) -> None:
    producer = Producer()
    async with served(producer.server) as site:
        client, other = await site.connect(), await site.connect()
        await client.send(tool(name, meta=LEVEL))
        while not producer.sent:
            await other.call(tool("quick"))
        before = -1
        while producer.sent != before:  # until it stands still
            before = producer.sent
            for _ in range(10):
                assert (await other.call(tool("quick"))).result == "here"
        assert producer.sent < MANY
        response = await client.response()
        messages = events(response.body)
        logged = [each for each in messages if each.get("method") == "notifications/message"]
        assert len(logged) == MANY
        assert messages[-1]["result"]["content"][0]["text"] == "sent"


async def test_a_stream_of_a_session_that_is_not_read_delays_no_other_call_of_it() -> None:
    producer = Producer()
    async with served(producer.server) as site:
        stuck, other = await site.connect(), await site.connect()
        session = await initialize(other)
        level = legacy("logging/setLevel", {"level": "debug"}, session=session)
        assert (await other.call(level)).status == 200
        call = {"name": "in_thread", "arguments": {}}
        await stuck.send(legacy("tools/call", call, id=7, session=session))
        get = await site.connect()
        headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
        await get.send(http(method="GET", headers=headers))
        while not producer.sent:
            await other.call(legacy("ping", id=9, session=session))
        before = -1
        while producer.sent != before:
            before = producer.sent
            for number in range(10):
                quick = legacy("tools/call", {"name": "quick"}, id=100 + number, session=session)
                assert (await other.call(quick)).result == "here"
        assert 0 < producer.sent < MANY
        cancel = legacy("notifications/cancelled", {"requestId": 7}, id=None, session=session)
        assert (await other.call(cancel)).status == 202
        assert await anyio.to_thread.run_sync(producer.done.wait, 10)
        assert (await other.call(legacy("ping", id=8, session=session))).status == 200


async def test_what_nobody_reads_is_closed_in_the_end_and_alone() -> None:
    producer = Producer()
    settings = ServeSettings(
        http=HttpSettings(max_queued=500_000),
        runtime=RuntimeSettings(limits=Limits(queued=500_000)),
    )
    async with served(producer.server, settings) as site:
        stuck, other = await site.connect(), await site.connect()
        await stuck.send(tool("heedless"))
        while not producer.done.is_set():
            assert (await other.call(tool("quick"))).result == "here"
        assert 0 < producer.sent < MANY  # it was cancelled with its stream
        rest = await stuck.rest()  # the connection ends, in the middle of what was to be said
        assert 0 < rest.count(b"notifications/heedless") < MANY
        assert b'"id"' not in rest
        assert (await other.call(tool("quick"))).result == "here"
