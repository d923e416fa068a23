"""Clients that come back by themselves, over real sockets that break: both eras, both loops."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from msgspec import Struct

from mcpcore import Callbacks, CallNext, ClientSettings, Context, Server, TaskOptions
from mcpcore.engine.reconnection import (
    ConnectionEvent,
    ConnectionLost,
    Reconnected,
    Reconnecting,
    ReconnectingGivenUp,
    ReconnectSettings,
)
from mcpcore.errors import ConnectionClosed, LinkError
from mcpcore.spec.errors import BUSY, INVALID_PARAMS
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore.spec.types.lifecycle import LoggingMessageParams
from mcpcore.spec.types.tools import ToolAnnotations
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.middleware import Outcome, OutgoingRequest
from tests.clock import patience
from tests.faults.cutting import LOST, Road, listening, road
from tests.more_time import with_more_time
from tests.transports.served import Served, served

pytestmark = pytest.mark.anyio

UNIX = pytest.param("unix", marks=pytest.mark.long)
"""As TCP, but for how it is opened."""
BINDINGS = pytest.mark.parametrize("binding", ["ws", "tcp", UNIX])
ERAS = pytest.mark.parametrize("revision", [LATEST_LEGACY.name, LATEST.name])
PLACES = pytest.mark.parametrize(
    ("binding", "revision"),
    [
        pytest.param(binding, revision, marks=[pytest.mark.long] if binding == "unix" else [])
        for binding in ("ws", "tcp", "unix", "sse")
        for revision in (LATEST_LEGACY.name, LATEST.name)
        if binding != "sse" or revision == LATEST_LEGACY.name
    ],
)
QUICK = ReconnectSettings(first_delay=0.001, max_delay=0.002)
FDS = Path("/proc/self/fd")
NEVER = 100_000.0
"""Longer than any test may take."""


class At(Struct):
    """Where a server is, what is spoken with it, and a folder for its socket."""

    binding: str
    revision: str
    folder: Path


@pytest.fixture
def at(binding: str, revision: str, tmp_path: Path) -> At:
    return At(binding, revision, tmp_path)


class Workshop(Server):
    """Counts what it is asked to do, and can be made to take its time."""

    def __init__(self) -> None:
        super().__init__("workshop")
        self.calls: Counter[str] = Counter()
        self.busy = anyio.Event()
        """Something waits."""
        self.patient: set[str] = set()
        """What does not return."""
        self.waiting = 0
        self.awaited = 1
        """So many have to wait before ``busy`` is set."""
        hints = ToolAnnotations(read_only_hint=True)
        self.add_tool(self._make, "make")
        self.add_tool(self._look, "look", annotations=hints)
        self.add_tool(self._ask, "ask")
        self.add_tool(self._log, "log")
        self.add_tool(self._said, "tell")
        self.add_tool(self._grow, "grow")
        self.resource("shop:shelf", name="shelf")(self._read)

    async def _work(self, what: str) -> str:
        self.calls[what] += 1
        if what in self.patient:
            self.waiting += 1
            if self.waiting >= self.awaited:
                self.busy.set()
            await anyio.sleep_forever()
        return what

    async def _make(self, n: int = 0) -> str:
        return await self._work("make")

    async def _look(self) -> str:
        return await self._work("look")

    async def _read(self) -> str:
        return await self._work("read")

    async def _ask(self, context: Context) -> str:
        answer = await context.elicit("who?", {"type": "object", "properties": {}})
        return answer.action

    async def _log(self, context: Context) -> str:
        context.debug("fine detail")
        return "logged"

    async def _said(self) -> str:
        self.resource_updated("shop:shelf")
        return "told"

    async def _grow(self) -> str:
        self.add_tool(self._look, "more")
        return "grown"


class World:
    """A server, the road to it, and what the client heard of its connection."""

    def __init__(self, shop: Workshop, place: Served, way: Road) -> None:
        self.shop = shop
        self.place = place
        self.way = way
        self.events: list[ConnectionEvent] = []
        self._changed = anyio.Event()
        self.client: Client

    def hear(self, event: ConnectionEvent) -> None:
        self.events.append(event)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def told(self) -> list[type[Any]]:
        return [type(event) for event in self.events]

    async def until(self, kind: type[Any], count: int = 1) -> Any:
        """Wait until so many events of a kind were heard; the last of them."""
        while self.told().count(kind) < count:
            await self._changed.wait()
        return [event for event in self.events if type(event) is kind][count - 1]


def upstream(binding: str) -> dict[str, Any]:
    """The binding of the server behind the road; Unix sockets lead to one of TCP."""
    return {"tcp" if binding == "unix" else binding: "127.0.0.1:0"}


@asynccontextmanager
async def world(
    at: At,
    *,
    reconnect: ReconnectSettings = QUICK,
    callbacks: dict[str, Any] | None = None,
    middleware: Sequence[Any] = (),
    **settings: Any,
) -> AsyncIterator[World]:
    shop = Workshop()
    async with (
        served(shop, **upstream(at.binding)) as place,
        road(at.binding, place.port, at.folder) as way,
    ):
        made = World(shop, place, way)
        async with connect(
            way.url,
            revision=at.revision,
            callbacks=Callbacks(connection=made.hear, **(callbacks or {})),
            settings=ClientSettings(reconnect=reconnect, **settings),
            middleware=middleware,
        ) as made.client:
            yield made


class Calls:
    """Calls made at the same time, and what became of each."""

    def __init__(self) -> None:
        self.results: list[Any] = []
        self.errors: list[Exception] = []

    async def make(self, call: Any, *args: Any, **kwargs: Any) -> None:
        try:
            self.results.append(await call(*args, **kwargs))
        except Exception as error:
            self.errors.append(error)


@asynccontextmanager
async def coming_back(at: At, when: str) -> AsyncIterator[tuple[World, Calls, TaskGroup]]:
    """A client that has lost its connection, and is ``waiting`` or ``connecting``."""
    delay = NEVER if when == "waiting" else 0.001
    settings = ReconnectSettings(first_delay=delay, max_delay=delay, opening=NEVER)
    async with (
        anyio.create_task_group() as group,
        world(at, reconnect=settings) as made,
    ):
        await made.client.ping()  # so that nothing is on its way
        made.way.fates = ["hang"]
        before = made.way.taken
        made.way.cut()
        if when == "connecting":
            await made.way.until(before + 1)
        else:
            await made.until(Reconnecting)
        yield made, Calls(), group


# Coming back


@PLACES
async def test_it_comes_back_and_says_so(at: At) -> None:
    async with world(at) as made:
        made.way.cut()
        back = await made.until(Reconnected)
        assert made.told() == [ConnectionLost, Reconnecting, Reconnected]
        lost, again, _ = made.events
        assert isinstance(lost, ConnectionLost)
        assert isinstance(again, Reconnecting)
        assert lost.reason == again.reason
        assert (again.attempt, again.attempts) == (1, 5)
        assert (back.attempt, back.ready.revision.name) == (1, at.revision)
        assert made.client.closed is None
        assert not (await made.client.call_tool("make")).is_error
        assert at.binding == "sse" or made.way.taken == 2


@PLACES
async def test_thirty_requests_on_their_way(at: At) -> None:
    async with world(at) as made:
        shop, client = made.shop, made.client
        shop.patient, shop.awaited = {"make", "read"}, 30
        unsafe, safe = Calls(), Calls()
        async with anyio.create_task_group() as group:
            for number in range(15):
                group.start_soon(unsafe.make, client.call_tool, "make", {"n": number})
                group.start_soon(safe.make, client.read_resource, "shop:shelf")
            await shop.busy.wait()
            shop.patient = set()
            made.way.cut()
        assert len(unsafe.errors) == len(safe.results) + len(safe.errors) == 15
        assert unsafe.results == []
        # Over HTTP+SSE a POST may break off as well, and then that is what has failed.
        assert at.binding == "sse" or safe.errors == []
        assert {type(error) for error in unsafe.errors} == {ConnectionClosed}
        assert shop.calls["make"] == 15
        assert shop.calls["read"] == 15 + len(safe.results)
        assert made.told().count(Reconnected) == 1


# While there is no connection


@BINDINGS
@ERAS
async def test_requests_wait_for_the_next_connection(at: At) -> None:
    async with world(at) as made:
        made.way.fates = ["hang"]
        made.way.cut()
        await made.way.until(2)
        calls = Calls()
        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(calls.make, made.client.call_tool, "make", {"n": number})
            await checkpoint()
            assert not made.client.notify("notifications/roots/list_changed")
            made.way.cut()
        assert len(calls.results) == 10
        assert made.shop.calls == {"make": 10}
        assert made.told() == [ConnectionLost, Reconnecting, Reconnecting, Reconnected]


@PLACES
@pytest.mark.parametrize("when", ["waiting", "connecting"])
async def test_closing_while_it_comes_back_ends_at_once(at: At, when: str) -> None:
    async with coming_back(at, when) as (made, calls, group):
        group.start_soon(calls.make, made.client.call_tool, "make")
        await anyio.wait_all_tasks_blocked()
    assert made.client.closed == "closed by this side"
    assert [type(error) for error in calls.errors] == [ConnectionClosed]
    assert made.told() == [ConnectionLost, Reconnecting]
    assert made.shop.calls == {}


@ERAS
@pytest.mark.parametrize("when", ["waiting", "connecting"])
async def test_cancelling_while_it_comes_back_ends_at_once(
    revision: str, when: str, tmp_path: Path
) -> None:
    events: list[type[Any]] = []
    with anyio.CancelScope() as scope:
        async with coming_back(At("tcp", revision, tmp_path), when) as (made, _, _):
            scope.cancel()
            try:
                await made.client.call_tool("make")
            finally:
                events = made.told()
    assert scope.cancelled_caught
    assert events == [ConnectionLost, Reconnecting]
    assert made.told() == events


@ERAS
async def test_cancelling_an_open_connection_tells_of_no_loss(
    revision: str, tmp_path: Path
) -> None:
    with anyio.CancelScope() as scope:
        async with world(At("tcp", revision, tmp_path)) as made:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert made.told() == []
    assert made.client.closed is not None


# What may go wrong on the way


@PLACES
async def test_an_attempt_may_break_off_anywhere(at: At) -> None:
    settings = ReconnectSettings(attempts=20, first_delay=0.001, max_delay=0.002)
    async with world(at, reconnect=settings) as made:
        made.way.fates = ["drop", 1, 20, 60, 100, 150, 200, 300, "drop"]
        count = len(made.way.fates)
        calls = Calls()
        made.way.cut()
        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(calls.make, made.client.call_tool, "make", {"n": number})
        # A call that left just before a break is not repeated; all others were carried out.
        assert len(calls.results) + len(calls.errors) == 10
        assert made.shop.calls["make"] <= 10
        assert {type(error) for error in calls.errors} <= {ConnectionClosed}
        while made.way.taken <= count + 1:
            await made.client.ping()
            if not made.way.fates:
                break
            made.way.cut()
        assert made.client.closed is None


@BINDINGS
@ERAS
async def test_an_attempt_that_takes_too_long_is_followed_by_another(at: At) -> None:
    settings = ReconnectSettings(first_delay=0.001, max_delay=0.002, opening=0.1)
    async with world(at, reconnect=settings) as made:
        made.way.fates = ["hang", "hang"]
        made.way.cut()
        await made.until(Reconnected)
        reasons = [event.reason for event in made.events if isinstance(event, Reconnecting)]
        assert len(reasons) >= 3  # a slow machine may take too long as well
        assert all("within 0.1 s" in reason for reason in reasons[1:])


@PLACES
async def test_a_connection_may_last_longer_than_its_opening(at: At) -> None:
    settings = ReconnectSettings(first_delay=0.001, max_delay=0.002, opening=0.3)
    async with world(at, reconnect=settings) as made:
        made.way.cut()
        await made.until(Reconnected)
        await anyio.sleep(0.5)  # longer than that
        await made.client.ping()
        lost, first, *late, back = made.events
        assert [type(event) for event in (lost, first, back)] == [
            ConnectionLost,
            Reconnecting,
            Reconnected,
        ]
        for event in late:  # a machine that stands still may be late with an attempt
            assert isinstance(event, Reconnecting)
            assert "within 0.3 s" in event.reason


@PLACES
async def test_it_is_given_up_after_so_many_attempts(at: At) -> None:
    settings = ReconnectSettings(attempts=3, first_delay=0.001, max_delay=0.002)
    async with world(at, reconnect=settings) as made:
        client, calls = made.client, Calls()
        async with client.listen(tools=True, uris=["shop:shelf"]) as changes:
            made.way.upstream = None
            made.way.cut()
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(calls.make, client.call_tool, "make")
            over = await made.until(ReconnectingGivenUp)
            assert over.attempts == 3
            assert made.told() == [ConnectionLost, *[Reconnecting] * 3, ReconnectingGivenUp]
            assert {type(error) for error in calls.errors} == {ConnectionClosed}
            assert client.closed is not None
            assert client.closed.endswith("(given up after 3 attempts to come back)")
            assert client.closed.startswith(over.reason)
            with pytest.raises(ConnectionClosed, match="given up after 3 attempts"):
                await anext(changes)
            with pytest.raises(ConnectionClosed, match="given up after 3 attempts"):
                await client.call_tool("make")
        assert at.binding == "sse" or made.way.taken == 4


@BINDINGS
async def test_the_first_connection_does_not_come_back(binding: str, tmp_path: Path) -> None:
    """Where it ends when the era is asked for, it is tried once without that."""
    async with road(binding, 1, tmp_path) as way:
        way.upstream = None
        for era in (None, LATEST_LEGACY.name, LATEST.name):
            before = way.taken
            with pytest.raises(LinkError):
                async with connect(way.url, revision=era):
                    raise AssertionError
            probed = era is None and binding in ("tcp", "unix")
            assert way.taken - before == (2 if probed else 1)


# Ends that are final

UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"


def close_frame(code: int) -> bytes:
    return b"\x88\x02" + code.to_bytes(2)


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013])
async def test_a_server_that_restarts_is_waited_for(code: int, tmp_path: Path) -> None:
    async with world(At("ws", LATEST.name, tmp_path)) as made:
        made.way.cut(close_frame(code))
        await made.until(Reconnected)
        assert isinstance(made.events[0], ConnectionLost)
        assert f"closed by the other side with {code}" in made.events[0].reason


async def test_who_is_not_let_in_does_not_try_again(tmp_path: Path) -> None:
    async with world(At("ws", LATEST.name, tmp_path)) as made:
        made.way.fates = [UNAVAILABLE, UNAUTHORIZED]
        made.way.cut()
        over = await made.until(ReconnectingGivenUp)
        assert "401" in over.reason
        assert made.told() == [ConnectionLost, Reconnecting, Reconnecting, ReconnectingGivenUp]
        assert made.way.taken == 3


# What the next conversation is told


@PLACES
@pytest.mark.requirement("basic/patterns/subscriptions/listen-again")
async def test_changes_are_heard_of_again(at: At) -> None:
    async with world(at) as made:
        client = made.client
        async with client.listen(tools=True, uris=["shop:shelf"]) as changes:
            made.way.cut()
            missed = [await anext(changes) for _ in range(2)]
            assert [(each.kind, each.uri, each.missed) for each in missed] == [
                ("tools", None, True),
                ("resource", "shop:shelf", True),
            ]
            assert changes.reopened == 1
            await client.call_tool("tell")
            told = await anext(changes)
            assert (told.kind, told.uri, told.missed) == ("resource", "shop:shelf", False)


async def test_a_middleware_that_fails_meanwhile_ends_what_it_was_asked_about(
    tmp_path: Path,
) -> None:
    """What is asked in the background has no caller: who listens hears of it, and nobody else."""
    subscribed: list[OutgoingRequest] = []

    async def unlucky(request: OutgoingRequest, call_next: CallNext[Outcome]) -> Outcome:
        if request.method == "resources/subscribe":
            subscribed.append(request)
            if len(subscribed) > 1:
                raise KeyError("unlucky")
        return await call_next()

    async with world(At("tcp", LATEST_LEGACY.name, tmp_path), middleware=[unlucky]) as made:
        async with made.client.listen(uris=["shop:shelf"]) as changes:
            made.way.cut()
            assert (await anext(changes)).missed
            with pytest.raises(KeyError, match="unlucky"):
                await anext(changes)
        assert not (await made.client.call_tool("make")).is_error


async def test_subscriptions_by_hand_are_made_again(tmp_path: Path) -> None:
    heard: list[str] = []
    callbacks = {"resource_updated": heard.append}
    async with world(At("tcp", LATEST_LEGACY.name, tmp_path), callbacks=callbacks) as made:
        await made.client.subscribe("shop:shelf")
        made.way.cut()
        await made.until(Reconnected)
        await made.client.call_tool("tell")
        await made.client.ping()
        assert heard == ["shop:shelf"]
        await made.client.unsubscribe("shop:shelf")
        made.way.cut()
        await made.until(Reconnected, 2)
        await made.client.call_tool("tell")
        await made.client.ping()
        assert heard == ["shop:shelf"]


@ERAS
async def test_the_log_level_is_told_again(revision: str, tmp_path: Path) -> None:
    heard: list[LoggingMessageParams] = []
    async with world(At("tcp", revision, tmp_path), callbacks={"log": heard.append}) as made:
        await made.client.set_log_level("debug")
        await made.client.call_tool("log")
        made.way.cut()
        await made.until(Reconnected)
        await made.client.ping()  # behind the level that is told again
        await made.client.call_tool("log")
        assert [each.data for each in heard] == ["fine detail"] * 2


@ERAS
async def test_what_was_remembered_is_doubted(revision: str, tmp_path: Path) -> None:
    changed: list[str] = []
    callbacks = {
        "tools_changed": lambda: changed.append("tools"),
        "prompts_changed": lambda: changed.append("prompts"),
        "resources_changed": lambda: changed.append("resources"),
    }
    async with world(At("tcp", revision, tmp_path), callbacks=callbacks) as made:
        before = await made.client.tools()
        made.shop.add_tool(made.shop._look, "another")
        made.way.cut()
        await made.until(Reconnected)
        after = await made.client.tools()
        assert len(after) == len(before) + 1
        assert {"tools", "prompts", "resources"} <= set(changed)


async def test_tasks_are_followed_across_connections(tmp_path: Path) -> None:
    finish = anyio.Event()
    shop = Server("tasks")

    @shop.tool(task="required")
    async def build() -> str:
        await finish.wait()
        return "built"

    async with (
        served(shop, tcp="127.0.0.1:0") as place,
        road("tcp", place.port, tmp_path) as way,
    ):
        settings = ClientSettings(reconnect=QUICK, tasks=TaskOptions(poll=0.01))
        calls = Calls()
        async with (
            connect(way.url, settings=settings) as client,
            anyio.create_task_group() as group,
        ):
            task = await client.tasks.start("build")
            group.start_soon(calls.make, client.tasks.wait, task)
            for number in range(2, 5):
                way.cut()
                await way.until(number)
                await client.ping()
            finish.set()
        assert [result.content[0].text for result in calls.results] == ["built"]


# Streams that their server ends


@PLACES
async def test_who_listens_outlives_a_server_that_is_replaced(at: At) -> None:
    """It ends in good order, and with it the listen streams; the next one is found."""
    async with world(at) as made:
        client = made.client
        async with (
            client.listen(tools=True) as changes,
            served(Workshop(), **upstream(at.binding)) as other,
        ):
            made.way.upstream = other.port
            made.place.stop.set()
            missed = await anext(changes)
            assert (missed.kind, missed.missed) == ("tools", True)
            assert changes.reopened == 1
            await client.call_tool("grow")
            assert (await anext(changes)).kind == "tools"
            assert client.closed is None


RESULT = {"resultType": "complete"}
DISCOVERED = {
    **RESULT,
    "supportedVersions": [LATEST.name],
    "capabilities": {"tools": {"listChanged": True}},
    "ttlMs": 0,
    "cacheScope": "public",
}


class Scripted:
    """A server on a socket that answers ``subscriptions/listen`` as it is told to."""

    def __init__(self, answers: list[str]) -> None:
        self.answers = answers
        self.streams = 0
        self.lost = anyio.Event()
        """Set when the client has lost the connection."""

    def hear(self, event: ConnectionEvent) -> None:
        self.lost.set()

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            lines = b""
            with suppress(*LOST):
                while True:
                    *whole, lines = (lines + await stream.receive()).split(b"\n")
                    for line in whole:
                        for reply in self.reply(json.loads(line)):
                            await stream.send(json.dumps({"jsonrpc": "2.0", **reply}).encode())
                            await stream.send(b"\n")

    def reply(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        id = message.get("id")
        if message["method"] != "subscriptions/listen":
            return [] if id is None else [{"id": id, "result": DISCOVERED}]
        self.streams += 1
        answer = self.answers.pop(0) if self.answers else "open"
        if answer == "busy":
            return [{"id": id, "error": {"code": BUSY, "message": "later"}}]
        if answer == "never":
            return [{"id": id, "error": {"code": INVALID_PARAMS, "message": "not that"}}]
        params = {
            "notifications": {"toolsListChanged": True},
            "_meta": {"io.modelcontextprotocol/subscriptionId": id},
        }
        told = {"method": "notifications/subscriptions/acknowledged", "params": params}
        return [told, {"id": id, "result": RESULT}] if answer == "end" else [told]


@asynccontextmanager
async def scripted(
    folder: Path, *answers: str, settings: ReconnectSettings = QUICK
) -> AsyncIterator[tuple[Scripted, Road, Client]]:
    script = Scripted(list(answers))
    with patience():
        async with (
            listening(script.serve) as port,
            road("tcp", port, folder) as way,
            connect(
                way.url,
                revision=LATEST.name,
                settings=ClientSettings(reconnect=settings),
                callbacks=Callbacks(connection=script.hear),
            ) as client,
        ):
            yield script, way, client


async def test_a_stream_that_its_server_ends_and_stays_is_over(tmp_path: Path) -> None:
    settings = ReconnectSettings(parting=0.01)
    async with scripted(tmp_path, "end", settings=settings) as (script, way, client):
        async with client.listen(tools=True) as changes:
            assert [change async for change in changes] == []
        assert (script.streams, way.taken) == (1, 1)


async def test_a_server_without_room_is_asked_again(tmp_path: Path) -> None:
    async with (
        scripted(tmp_path, "open", "busy", "busy") as (script, way, client),
        client.listen(tools=True) as changes,
    ):
        way.cut()
        change = await anext(changes)
        assert change.missed
        assert script.streams == 4


async def test_leaving_while_there_is_no_connection_asks_for_nothing_more(tmp_path: Path) -> None:
    async def attempt(delay: float) -> None:
        slow = ReconnectSettings(first_delay=delay, max_delay=delay)
        async with scripted(tmp_path, settings=slow) as (script, way, client):
            async with client.listen(tools=True):
                way.cut()
                await script.lost.wait()
            await client.discover()
            assert (script.streams, way.taken) == (1, 2)

    await with_more_time(attempt, 0.2, 6.0)


# HTTP+SSE, whose connections are several


async def test_an_event_stream_that_does_not_come_is_asked_for_again(tmp_path: Path) -> None:
    async def attempt(opening: float) -> None:
        settings = ReconnectSettings(first_delay=0.001, max_delay=0.002, opening=opening)
        async with world(At("sse", LATEST_LEGACY.name, tmp_path), reconnect=settings) as made:
            await made.client.ping()  # so that nothing is on its way
            made.way.fates = ["hang", "drop"]
            made.way.cut()
            await made.until(Reconnected)
            reasons = [event.reason for event in made.events if isinstance(event, Reconnecting)]
            late = [f"within {opening} s" in reason for reason in reasons]
            # the stream was cut, hung, and broke off; then a slow machine may be late as well
            assert late[:3] == [False, True, False]
            assert all(late[3:])

    await with_more_time(attempt, 0.5, 6.5)


# What is left of it


def descriptors_open() -> int:
    return len(list(FDS.iterdir()))


@PLACES
@pytest.mark.skipif(not FDS.exists(), reason="the descriptors of a process are counted in /proc")
async def test_connections_that_are_gone_leave_nothing(at: At) -> None:
    """As many tasks and descriptors after twenty connections as after two."""
    settings = ReconnectSettings(first_delay=0.001, max_delay=0.002, lasting=0.0)
    async with world(at, reconnect=settings) as made:
        counted: list[tuple[int, int]] = []
        async with made.client.listen(tools=True):
            for number in range(1, 21):
                made.way.cut()
                await made.until(Reconnected, number)
                await made.client.ping()
                await anyio.wait_all_tasks_blocked()
                counted.append((len(anyio.get_running_tasks()), descriptors_open()))
        tasks, descriptors = zip(*counted, strict=True)
        assert max(tasks[10:]) <= max(tasks[:10])
        assert max(descriptors[10:]) <= max(descriptors[:10])
