"""Two Peers in one process: by hand and in an event loop, as they are and through bytes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from mcpcore import ConnectionSettings, FrameKind, Negotiation, StreamConnection, Transmit
from mcpcore.engine.events import (
    MAIN,
    ConnectionEnded,
    EndReason,
    RequestCancelled,
    RequestEnded,
    RequestReceived,
    ResultReceived,
)
from mcpcore_transports.memory import MemoryPair, memory_links
from tests.transports.apps import Caller, ToolServer, make_client, make_server
from tests.transports.malformed import META, request

pytestmark = pytest.mark.anyio

ERAS = [Negotiation.MODERN, Negotiation.LEGACY, Negotiation.AUTO]


@pytest.fixture(params=[False, True], ids=["as they are", "through bytes"], autouse=True)
def wire(request: pytest.FixtureRequest) -> None:
    """Have all these tests run in both modes."""
    global WIRE
    WIRE = request.param


WIRE = False


def make_links(
    negotiation: Negotiation = Negotiation.MODERN, **settings: Any
) -> tuple[Caller, ToolServer, StreamConnection, StreamConnection]:
    client, server = Caller(make_client(negotiation)), ToolServer(make_server())
    ours, theirs = memory_links(
        (client.peer, client),
        (server.peer, server),
        settings=ConnectionSettings(**settings),
        wire=WIRE,
    )
    client.link, server.link = ours, theirs
    return client, server, ours, theirs


@asynccontextmanager
async def conversation(
    **settings: Any,
) -> AsyncIterator[tuple[Caller, ToolServer, StreamConnection, StreamConnection, TaskGroup]]:
    """Both links run, and the client has begun."""
    client, server, ours, theirs = make_links(**settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.run)
        tasks.start_soon(theirs.run)
        client.begin()
        yield client, server, ours, theirs, tasks


def make_pair(
    negotiation: Negotiation = Negotiation.MODERN,
) -> tuple[Caller, ToolServer, MemoryPair]:
    client, server = Caller(make_client(negotiation)), ToolServer(make_server())
    client.peer.start(now=0.0)
    return client, server, MemoryPair(client.peer, client, server.peer, server, wire=WIRE)


@pytest.mark.parametrize("negotiation", ERAS)
def test_pair_needs_no_event_loop(negotiation: Negotiation) -> None:
    client, _, pair = make_pair(negotiation)
    request = client.peer.request("tools/call", {"name": "echo", "arguments": {"a": 1}}, now=0.0)
    moved = pair.pump(0.0)
    [result] = client.of(ResultReceived)
    assert result.request == request
    assert moved > len(result.result)
    assert pair.pump(0.0) == 0


def test_pair_lets_time_pass() -> None:
    client, server, pair = make_pair()
    client.peer.request("tools/call", {"name": "hold"}, now=0.0, timeout=5.0)
    pair.pump(0.0)
    assert len(server.held) == 1
    assert pair.deadline() == 5.0
    pair.handle_timeout(5.0)
    pair.pump(5.0)
    [ended] = client.of(RequestEnded)
    assert ended.reason is EndReason.TIMED_OUT
    assert server.held == []
    assert pair.deadline() is None


def test_pair_parts_with_terminal_events_on_both_sides() -> None:
    client, server, pair = make_pair()
    client.peer.request("tools/call", {"name": "hold"}, now=0.0)
    pair.pump(0.0)
    pair.close(0.0)
    assert client.ended
    assert server.ended
    assert [type(event) for event in client.events[-2:]] == [RequestEnded, ConnectionEnded]
    assert [type(event) for event in server.events[-2:]] == [RequestCancelled, ConnectionEnded]


async def test_what_was_asked_before_run_is_sent() -> None:
    client, _, ours, theirs = make_links()
    client.begin()
    request = client.call("echo")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.run)
        tasks.start_soon(theirs.run)
        assert isinstance(await client.outcome(request), ResultReceived)
        await theirs.aclose()


async def test_answers_made_in_other_tasks_are_flushed() -> None:
    async with conversation() as (client, server, ours, _, _):
        request = client.call("hold")
        await server.until(lambda: bool(server.held))
        server.release("late")
        assert isinstance(await client.outcome(request), ResultReceived)
        await ours.aclose()


async def test_timeouts_fire_without_traffic() -> None:
    async with conversation() as (client, server, ours, _, _):
        long = client.call("hold", timeout=1000.0)
        await server.until(lambda: bool(server.held))
        # The later request has the earlier deadline: the sleeping timer must be set anew.
        short = client.call("hold", timeout=0.01)
        ended = await client.outcome(short)
        assert ended.reason is EndReason.TIMED_OUT
        await server.until(lambda: bool(server.of(RequestCancelled)))
        await ours.aclose()
        assert (await client.outcome(long)).reason is EndReason.CLOSED


async def test_close_gives_running_requests_time_and_no_more() -> None:
    async with conversation(drain=0.05) as (client, server, _, theirs, _):
        client.call("hold")
        await server.until(lambda: bool(server.held))
        await theirs.aclose()
    assert server.ended
    assert len(server.of(RequestCancelled)) == 1
    [ended] = client.of(RequestEnded)
    assert ended.reason is EndReason.CLOSED


async def test_close_waits_for_the_answer_of_a_running_request() -> None:
    async with conversation(drain=20.0) as (client, server, _, theirs, tasks):
        request = client.call("hold")
        await server.until(lambda: bool(server.held))
        tasks.start_soon(theirs.aclose)
        await anyio.wait_all_tasks_blocked()
        assert not client.of(ConnectionEnded)
        server.release("in time")
        assert isinstance(await client.outcome(request), ResultReceived)
    assert client.ended


async def test_close_works_from_any_task_and_more_than_once() -> None:
    async with conversation() as (client, server, ours, _, _):
        request = client.call("hold")
        await server.until(lambda: bool(server.held))
        async with anyio.create_task_group() as closers:
            for _ in range(3):
                closers.start_soon(ours.aclose)
    await ours.aclose()
    assert client.ended
    assert (await client.outcome(request)).message == "closed by this side"


@pytest.mark.parametrize("runner", ["client", "server"])
async def test_a_failing_application_ends_its_own_link(runner: str) -> None:
    client, _, ours, theirs = make_links()
    caught: list[str] = []

    async def run(name: str, link: StreamConnection) -> None:
        try:
            await link.run()
        except ZeroDivisionError:
            caught.append(name)

    async with anyio.create_task_group() as tasks:
        links = [("client", ours), ("server", theirs)]
        for name, link in links if runner == "client" else reversed(links):
            tasks.start_soon(run, name, link)
        client.begin()
        request = client.call("fail")
        assert (await client.outcome(request)).reason is EndReason.CLOSED
    assert caught == ["server"]
    assert client.ended


async def test_a_link_runs_once() -> None:
    _, _, ours, _ = make_links()
    await ours.aclose()
    await ours.run()
    with pytest.raises(RuntimeError):
        await ours.run()


def unsent(link: StreamConnection) -> int:
    """Bytes that a link has not got rid of."""
    return link.peer.output_size + len(link._rest)


def send(client: Caller, count: int, size: int) -> None:
    """Have a client send so many calls, whatever was negotiated."""
    for number in range(count):
        body = {"name": "echo", "arguments": {"text": "x" * size}, "_meta": META}
        text = request("tools/call", body, id=1000 + number)
        frame = Transmit(
            peer=client.peer._state,
            route=MAIN,
            data=(text,),
            size=len(text),
            kind=FrameKind.REQUEST,
        )
        client.peer._endpoint.outbox.push(frame)
    client.flush()


async def test_what_the_other_end_does_not_take_waits_here() -> None:
    client, server, ours, theirs = make_links(read_size=4096)
    async with anyio.create_task_group() as tasks:
        await tasks.start(ours.run)
        send(client, 100, 1000)
        await anyio.wait_all_tasks_blocked()
        assert 95_000 < unsent(ours) < 130_000
        assert server.events == []
        tasks.start_soon(theirs.run)
        await server.until(lambda: len(server.of(RequestReceived)) == 100)
        assert unsent(ours) == 0
        await ours.aclose()


async def test_who_is_never_read_does_not_wait_for_ever() -> None:
    client, _, ours, _ = make_links(read_size=100, stall=0.05)
    async with anyio.create_task_group() as tasks:
        await tasks.start(ours.run)
        send(client, 2, 1000)
    [ended] = client.of(ConnectionEnded)
    assert ended.reason == "the other side read nothing for 0.05 s"


async def test_a_server_makes_no_more_than_is_taken() -> None:
    client, server, ours, theirs = make_links(queued=5000, read_size=1000)
    most = 0

    def watch() -> bool:
        nonlocal most
        most = max(most, unsent(theirs))
        return len(client.of(ResultReceived)) == 300

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.run)
        await tasks.start(theirs.run)
        client.begin()
        for _ in range(300):
            client.call("echo", {"size": 2000})
        await client.until(watch)
        await ours.aclose()
    assert most < 5000 + 2500
    assert server.ended


async def test_what_is_on_its_way_at_the_end_arrives() -> None:
    client, _, ours, theirs = make_links(read_size=1000)
    calls = []
    async with anyio.create_task_group() as tasks:
        client.begin()
        calls = [client.call("echo", {"size": 500}) for _ in range(20)]
        tasks.start_soon(theirs.run)
        tasks.start_soon(ours.run)
        await client.until(lambda: len(client.of(ResultReceived)) > 0)
        await theirs.aclose()
    outcomes = [await client.outcome(call) for call in calls]
    assert client.ended
    assert isinstance(outcomes[0], ResultReceived)
