"""Listen streams that break: opened anew, as patiently as allowed, and never in silence."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpcore.errors import ConnectionClosed, PeerError
from mcpcore.http.settings import HttpClientSettings
from mcpcore_transports.client import listen
from mcpcore_transports.client.callbacks import Callbacks
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.client.listen import Change, Listening
from mcpcore_transports.client.middleware import Outcome, OutgoingRequest
from mcpcore_transports.running.middleware import CallNext
from tests.clock import patience
from tests.transports.scripted import DISCOVERY, child, modern
from tests.transports.villain import EVENTS, Side, Villain, villain

pytestmark = pytest.mark.anyio

TOOLS = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"
QUICK = HttpClientSettings(max_resumes=3, retry_delay=0.001, max_retry_delay=0.002)
HEAD = EVENTS + b"Connection: close\r\n\r\n"


class Stream:
    """The server's end of a listen stream."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.id = side.id
        self.wanted = side.message["params"]["notifications"]
        self.meta = {"io.modelcontextprotocol/subscriptionId": self.id}
        self.over = anyio.Event()

    def told(self, method: str, **params: Any) -> dict[str, Any]:
        return {"method": method, "params": {**params, "_meta": self.meta}}

    def events(self, *messages: dict[str, Any]) -> bytes:
        said = ({"jsonrpc": "2.0", **message} for message in messages)
        return b"".join(self.side.event(json.dumps(each).encode()) for each in said)

    async def say(self, message: dict[str, Any]) -> None:
        await self.side.send(self.events(message))

    async def tell(self, method: str, **params: Any) -> None:
        await self.say(self.told(method, **params))

    async def acknowledge(self) -> None:
        await self.side.send(HEAD, self.events(self.acknowledgement))

    async def at_once(self, *messages: dict[str, Any]) -> None:
        """Acknowledge, say these, and end the response, in one packet."""
        body = self.events(self.acknowledgement, *messages)
        await self.side.send(EVENTS + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.drop()

    @property
    def acknowledgement(self) -> dict[str, Any]:
        method = "notifications/subscriptions/acknowledged"
        return self.told(method, notifications=self.wanted)

    @property
    def end(self) -> dict[str, Any]:
        """The graceful end of the stream."""
        return {"id": self.id, "result": modern({"_meta": self.meta})}

    def drop(self) -> None:
        self.over.set()


class Site:
    """A modern server that hands each request for a stream to the test."""

    def __init__(self, server: Villain) -> None:
        self.url = server.url
        self.seen = server.seen
        self._send, self.streams = anyio.create_memory_object_stream[Stream](100)
        server.capabilities = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
        server.scripts = {"subscriptions/listen": self._listen, "tools/list": self._list}

    async def _listen(self, side: Side) -> bool:
        listening = Stream(side)
        self._send.send_nowait(listening)
        await listening.over.wait()
        return False

    async def _list(self, side: Side) -> bool:
        page = modern({"tools": [], "ttlMs": 60_000, "cacheScope": "public"})
        await side.send(side.json(side.answer(result=page)))
        return True

    async def stream(self) -> Stream:
        with patience():
            return await self.streams.receive()

    async def opened(self) -> Stream:
        listening = await self.stream()
        await listening.acknowledge()
        return listening


async def nothing(side: Side) -> bool:
    raise AssertionError("no tool is called")


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    with patience():
        async with villain(nothing) as server:
            found = Site(server)
            async with found._send, found.streams:
                yield found


@asynccontextmanager
async def listening(
    place: Site,
    *,
    http: HttpClientSettings = QUICK,
    callbacks: Callbacks | None = None,
    middleware: Sequence[Any] = (),
) -> AsyncIterator[tuple[Client, Listening, Stream]]:
    settings = ClientSettings(http=http, cache=True)
    async with connect(
        place.url, settings=settings, callbacks=callbacks, middleware=middleware
    ) as client:
        changes = client.listen(tools=True, uris=["t:a"])
        first: list[Stream] = []

        async def open_first() -> None:
            first.append(await place.opened())

        async with anyio.create_task_group() as group:
            group.start_soon(open_first)
            await changes.__aenter__()
        try:
            yield client, changes, first[0]
        finally:
            await changes.__aexit__(None, None, None)


async def test_a_stream_that_breaks_is_opened_anew() -> None:
    async with site() as place, listening(place) as (_, changes, stream):
        await stream.tell(TOOLS)
        assert await anext(changes) == Change(TOOLS)
        assert changes.reopened == 0
        stream.drop()
        second = await place.opened()
        assert second.id != stream.id
        assert second.wanted == {"toolsListChanged": True, "resourceSubscriptions": ["t:a"]}
        # What happened in between nobody knows, so that everything may have changed.
        assert await anext(changes) == Change(TOOLS, missed=True)
        assert await anext(changes) == Change(UPDATED, uri="t:a", missed=True)
        assert changes.reopened == 1
        await second.tell(UPDATED, uri="t:a")
        assert await anext(changes) == Change(UPDATED, uri="t:a")


async def test_a_middleware_that_fails_when_a_stream_is_opened_anew_ends_that_stream() -> None:
    """It has no caller then: whoever listens hears of it, and nobody else."""
    streams: list[OutgoingRequest] = []

    async def unlucky(request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
        if request.method == "subscriptions/listen":
            streams.append(request)
            if len(streams) > 1:
                raise KeyError("unlucky")
        return await call_next()

    async with (
        site() as place,
        listening(place, middleware=[unlucky]) as (client, changes, stream),
    ):
        stream.drop()
        with pytest.raises(KeyError, match="unlucky"):
            await anext(changes)
        assert (await client.list_tools()).tools == []


async def test_what_may_have_changed_is_told_everywhere() -> None:
    told: list[Any] = []
    notified: list[str] = []
    callbacks = Callbacks(
        tools_changed=lambda: told.append("tools"),
        prompts_changed=lambda: told.append("prompts"),
        resource_updated=told.append,
        notification=lambda method, params: notified.append(method),
    )
    async with site() as place, listening(place, callbacks=callbacks) as (client, changes, stream):
        await client.tools()
        await client.tools()
        assert place.seen["tools/list"] == 1
        stream.drop()
        await place.opened()
        await anext(changes)
        await client.tools()
        assert place.seen["tools/list"] == 2, "what was kept is of before"
    assert told == ["tools", "t:a"]
    assert notified == [], "the server has said nothing of the kind"


@pytest.mark.parametrize("heard", [True, False])
async def test_attempts_are_bounded(heard: bool) -> None:
    async with site() as place, listening(place) as (_, changes, stream):
        # Word of a change proves that the stream works, a mere acknowledgement does not.
        for _ in range(5 if heard else QUICK.max_resumes):
            stream.drop()
            stream = await place.opened()
            assert (await anext(changes)).missed
            if heard:
                await stream.tell(UPDATED, uri="t:a/1")
                while await anext(changes) != Change(UPDATED, uri="t:a/1"):
                    pass
        stream.drop()
        if heard:
            await place.opened()
        else:
            with pytest.raises(ConnectionClosed, match="subscriptions/listen"):
                [change async for change in changes]
            with pytest.raises(ConnectionClosed):
                await anext(changes)


@pytest.mark.parametrize("steady", [10.0, 0.0])
async def test_a_server_that_stays_away(steady: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """... is given up, however long the last stream was open before."""
    monkeypatch.setattr(listen, "_STEADY", steady)
    async with site() as place, listening(place) as (_, changes, stream):
        stream.drop()
        for _ in range(QUICK.max_resumes):
            (await place.stream()).drop()
        with pytest.raises(ConnectionClosed):
            await anext(changes)


@pytest.mark.parametrize(("code", "again"), [(1001, True), (-32601, False)])
async def test_refusals_on_the_way(code: int, again: bool) -> None:
    async with site() as place, listening(place) as (_, changes, stream):
        stream.drop()
        refused = await place.stream()
        await refused.side.send(HEAD)
        await refused.say({"id": refused.id, "error": {"code": code, "message": "not now"}})
        refused.drop()
        if again:
            await place.opened()
            assert (await anext(changes)).missed
        else:
            with pytest.raises(PeerError, match="not now"):
                await anext(changes)


async def test_a_graceful_end_is_an_end() -> None:
    async with site() as place, listening(place) as (client, changes, stream):
        await stream.tell(TOOLS)
        await stream.say(stream.end)
        stream.drop()
        assert [change async for change in changes] == [Change(TOOLS)]
        await client.tools()
        assert changes.reopened == 0


async def test_a_stream_may_be_over_before_anybody_looks_at_it() -> None:
    async with site() as place, connect(place.url, settings=ClientSettings(http=QUICK)) as client:

        async def end_at_once() -> None:
            stream = await place.stream()
            await stream.at_once(stream.told(TOOLS), stream.end)

        async with anyio.create_task_group() as group:
            group.start_soon(end_at_once)
            async with client.listen(tools=True) as changes:
                assert [change async for change in changes] == [Change(TOOLS)]
                assert changes.filter.tools_list_changed is True
                assert changes.reopened == 0


async def test_a_stream_may_break_before_anybody_looks_at_it() -> None:
    async with site() as place, connect(place.url, settings=ClientSettings(http=QUICK)) as client:

        async def break_at_once() -> None:
            for _ in range(3):  # the second and third time while it is opened anew
                stream = await place.stream()
                await stream.at_once(stream.told(TOOLS))
            stream = await place.opened()
            await stream.tell(UPDATED, uri="t:a")

        async with anyio.create_task_group() as group:
            group.start_soon(break_at_once)
            async with client.listen(tools=True, uris=["t:a"]) as changes:
                assert await anext(changes) == Change(TOOLS)
                while await anext(changes) != Change(UPDATED, uri="t:a"):
                    pass
                while changes.reopened < 3:  # that something may have been missed is told last
                    await anext(changes)
        assert place.streams.statistics().current_buffer_used == 0


async def test_it_can_be_turned_off() -> None:
    http = HttpClientSettings(max_resumes=0)
    async with site() as place, listening(place, http=http) as (_, changes, stream):
        stream.drop()
        with pytest.raises(ConnectionClosed):
            await anext(changes)


async def test_there_may_be_very_many_attempts() -> None:
    """Their delay, doubled each time, would be larger than any float."""
    patient = HttpClientSettings(max_resumes=10**6, retry_delay=0.001, max_retry_delay=0.002)
    async with site() as place, listening(place, http=patient) as (_, changes, stream):
        changes._tries = 1100
        stream.drop()
        await place.opened()
        assert (await anext(changes)).missed


async def test_who_leaves_meanwhile_is_not_brought_back() -> None:
    slow = HttpClientSettings(max_resumes=3, retry_delay=60.0)
    async with site() as place:
        async with listening(place, http=slow) as (_, changes, stream):
            stream.drop()
            with anyio.move_on_after(0.05):
                await anext(changes)
        with pytest.raises(StopAsyncIteration):
            await anext(changes)
        async with listening(place) as (_, changes, stream):
            stream.drop()
            asked = await place.stream()  # the new stream has been asked for, not acknowledged
        with pytest.raises(StopAsyncIteration):
            await anext(changes)
        asked.drop()


async def test_who_leaves_while_middleware_waits_is_not_brought_back() -> None:
    opened: list[OutgoingRequest] = []
    held, done = anyio.Event(), anyio.Event()

    async def slow(request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
        if request.method == "subscriptions/listen":
            opened.append(request)
            if len(opened) > 1:
                held.set()
                await done.wait()
        return await call_next()

    async with site() as place, listening(place, middleware=[slow]) as (client, changes, stream):
        stream.drop()
        await held.wait()
        await changes.__aexit__(None, None, None)
        done.set()
        assert (await client.list_tools()).tools == []
        await anyio.wait_all_tasks_blocked()
        assert place.seen["subscriptions/listen"] == 1


async def test_the_end_of_the_client_is_no_reason_to_come_back() -> None:
    async with site() as place:
        settings = ClientSettings(http=QUICK)
        async with connect(place.url, settings=settings) as client, anyio.create_task_group() as g:
            g.start_soon(place.opened)
            changes = client.listen(tools=True)
            await changes.__aenter__()
        with pytest.raises(ConnectionClosed):
            await anext(changes)
        assert place.streams.statistics().current_buffer_used == 0


async def test_a_dead_process_is_not_asked_again() -> None:
    discovery = {**DISCOVERY, "capabilities": {"tools": {"listChanged": True}}}
    replies = {"server/discover": {"result": discovery}, "subscriptions/listen": "exit"}
    with patience():
        async with connect(child(replies)) as client:
            with pytest.raises(ConnectionClosed, match="code 7"):
                async with client.listen(tools=True):
                    pytest.fail("opened")
