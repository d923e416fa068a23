"""Two Peers in one process: by hand and in an event loop."""

import anyio
import pytest

from mcpcore.engine.config import Negotiation
from mcpcore.engine.events import (
    ConnectionEnded,
    EndReason,
    Ready,
    RequestCancelled,
    RequestEnded,
    ResultReceived,
)
from tests.transports.apps import Caller, ToolServer, make_client, make_server
from transports.memory import MemoryPair, memory_links
from transports.pump import Connection, PumpSettings

pytestmark = pytest.mark.anyio

ERAS = [Negotiation.MODERN, Negotiation.LEGACY, Negotiation.AUTO]


def make_links(
    negotiation: Negotiation = Negotiation.MODERN, **settings: float
) -> tuple[Caller, ToolServer, Connection, Connection]:
    client, server = Caller(make_client(negotiation)), ToolServer(make_server())
    ours, theirs = memory_links(
        (client.peer, client),
        (server.peer, server),
        settings=PumpSettings(**settings),  # type: ignore[arg-type]
    )
    client.link, server.link = ours, theirs
    return client, server, ours, theirs


@pytest.mark.parametrize("negotiation", ERAS)
def test_pair_needs_no_event_loop(negotiation: Negotiation) -> None:
    client, server = Caller(make_client(negotiation)), ToolServer(make_server())
    pair = MemoryPair(client.peer, client, server.peer, server)
    client.peer.start(now=0.0)
    request = client.peer.request("tools/call", {"name": "echo", "arguments": {"a": 1}}, now=0.0)
    moved = pair.pump(0.0)
    [result] = client.of(ResultReceived)
    assert result.request == request
    assert moved > len(result.result)
    assert pair.pump(0.0) == 0


def test_pair_lets_time_pass() -> None:
    client, server = Caller(make_client()), ToolServer(make_server())
    pair = MemoryPair(client.peer, client, server.peer, server)
    client.peer.start(now=0.0)
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
    client, server = Caller(make_client()), ToolServer(make_server())
    pair = MemoryPair(client.peer, client, server.peer, server)
    client.peer.start(now=0.0)
    client.peer.request("tools/call", {"name": "hold"}, now=0.0)
    pair.pump(0.0)
    pair.close(0.0)
    assert client.ended
    assert server.ended
    assert [type(event) for event in client.events[-2:]] == [RequestEnded, ConnectionEnded]
    assert [type(event) for event in server.events[-2:]] == [RequestCancelled, ConnectionEnded]


@pytest.mark.parametrize("negotiation", ERAS)
async def test_links_carry_calls(negotiation: Negotiation) -> None:
    client, server, ours, theirs = make_links(negotiation)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(theirs.run)
        await tasks.start(ours.run)
        client.begin()
        for number in range(20):
            assert await client.echo(number=number) == {"number": number}
        await ours.aclose()
    assert len(client.of(Ready)) == 1
    assert client.ended
    assert server.ended


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
    client, server, ours, theirs = make_links()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.run)
        tasks.start_soon(theirs.run)
        client.begin()
        request = client.call("hold")
        await server.until(lambda: bool(server.held))
        server.release("late")
        assert isinstance(await client.outcome(request), ResultReceived)
        await ours.aclose()


async def test_timeouts_fire_without_traffic() -> None:
    client, server, ours, theirs = make_links()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.run)
        tasks.start_soon(theirs.run)
        client.begin()
        long = client.call("hold", timeout=30.0)
        await server.until(lambda: bool(server.held))
        # The later request has the earlier deadline: the sleeping timer must be set anew.
        short = client.call("hold", timeout=0.01)
        ended = await client.outcome(short)
        assert ended.reason is EndReason.TIMED_OUT
        await server.until(lambda: bool(server.of(RequestCancelled)))
        await ours.aclose()
        assert (await client.outcome(long)).reason is EndReason.CLOSED


async def test_close_gives_running_requests_time_and_no_more() -> None:
    client, server, ours, theirs = make_links(drain=0.05)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.run)
        tasks.start_soon(theirs.run)
        client.begin()
        client.call("hold")
        await server.until(lambda: bool(server.held))
        await theirs.aclose()
    assert server.ended
    assert len(server.of(RequestCancelled)) == 1
    [ended] = client.of(RequestEnded)
    assert ended.reason is EndReason.CLOSED


async def test_close_waits_for_the_answer_of_a_running_request() -> None:
    client, server, ours, theirs = make_links(drain=20.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.run)
        tasks.start_soon(theirs.run)
        client.begin()
        request = client.call("hold")
        await server.until(lambda: bool(server.held))
        tasks.start_soon(theirs.aclose)
        await anyio.wait_all_tasks_blocked()
        assert not client.of(ConnectionEnded)
        server.release("in time")
        assert isinstance(await client.outcome(request), ResultReceived)
    assert client.ended


async def test_close_works_from_any_task_and_more_than_once() -> None:
    client, server, ours, theirs = make_links()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ours.run)
        tasks.start_soon(theirs.run)
        client.begin()
        request = client.call("hold")
        await server.until(lambda: bool(server.held))
        async with anyio.create_task_group() as closers:
            for _ in range(3):
                closers.start_soon(ours.aclose)
    await ours.aclose()
    assert client.ended
    assert (await client.outcome(request)).message == "closed by this side"


async def test_cancelling_run_ends_everything() -> None:
    client, server, ours, theirs = make_links()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(theirs.run)
        async with anyio.create_task_group() as inner:
            await inner.start(ours.run)
            client.begin()
            client.call("hold")
            await server.until(lambda: bool(server.held))
            inner.cancel_scope.cancel()
        assert client.ended
        assert client.of(RequestEnded)[0].reason is EndReason.CLOSED
    assert server.ended


@pytest.mark.parametrize("runner", ["client", "server"])
async def test_a_failing_application_ends_its_own_link(runner: str) -> None:
    client, _, ours, theirs = make_links()
    caught: list[str] = []

    async def run(name: str, link: Connection) -> None:
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
