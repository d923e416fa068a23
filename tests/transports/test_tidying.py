"""When memory is given back: at the end of each flood and just after it, and not otherwise."""

import asyncio
import gc
import weakref

import anyio
import pytest

from tests.transports.http_fixture import server, tool
from transports.http_settings import HttpServerSettings
from transports.tidying import Tidying, tidy


@pytest.mark.parametrize(
    ("many", "counts", "tidied"),
    [
        (100, [0, 99, 0, 99, 0], []),
        (100, [100, 26, 25, 0], [2]),
        (100, [100, 26, 25, 0, 0, 0], [2, 4]),
        (100, [100, 25, 3, 2, 5, 2, 2], [1, 4]),
        (100, [50, 100, 200, 51, 50, 10, 0], [4]),
        (100, [1000, 250, 100, 62, 0], [1, 3]),
        (100, [1000, 0, 1000, 0, 0, 0], [1, 2, 3, 4]),
        (None, [10_000, 0, 0], []),
    ],
)
def test_when(many: int | None, counts: list[int], tidied: list[int]) -> None:
    tidying = Tidying(many)
    assert [place for place, count in enumerate(counts) if tidying.look(count)] == tidied


def test_who_has_to_look() -> None:
    tidying = Tidying(100)
    waits = []
    for count in (99, 100, 26, 25, 25, 25):
        tidying.look(count)
        waits.append(tidying.waits)
    assert waits == [False, True, True, True, False, False]
    never = Tidying(None)
    never.look(1000)
    assert not never.waits


def test_garbage_is_collected() -> None:
    class Node:
        other: "Node"

    gc.disable()
    try:
        one = Node()
        one.other = one
        left = weakref.ref(one)
        del one
        assert left() is not None
        tidy()
        assert left() is None
    finally:
        gc.enable()


def test_other_iterators_are_set_aside() -> None:
    def some(future: "asyncio.Future[None]", count: int) -> set[int]:
        return {id(iterator) for iterator in [iter(future) for _ in range(count)]}

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        some(future, 300)  # so that there are as many as there can be
        of_the_flood = some(future, 250)
        assert some(future, 200) <= of_the_flood
        tidy()
        assert not some(future, 200) & of_the_flood

    asyncio.run(main())


@pytest.mark.anyio
async def test_a_server_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Tidying, "look", lambda self, clients: seen.append(clients))
    async with server(HttpServerSettings(idle_time=0.1)) as running:
        clients = [await running.connect() for _ in range(3)]
        for client in clients:
            assert (await client.call(tool("echo"))).status == 200
        for client in clients:
            assert await client.closed()
        with anyio.fail_after(5):
            while not seen or seen[-1]:
                await anyio.lowlevel.checkpoint()
    assert max(seen) == 3


@pytest.mark.anyio
async def test_calls_count(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Tidying, "look", lambda self, count: seen.append(count))
    async with server(HttpServerSettings(idle_time=0.1)) as running:
        client = await running.connect()
        async with anyio.create_task_group() as group:
            group.start_soon(client.call, tool("wait"))
            with anyio.fail_after(5):
                while not seen or seen[-1] != 2:  # the connection and its call
                    await anyio.lowlevel.checkpoint()
            running.app.finish(running.app.waiting.pop())


@pytest.mark.anyio
async def test_a_server_parts_with_what_it_keeps_for_later() -> None:
    async with server(HttpServerSettings(idle_time=0.1, tidy_after=2)) as running:
        clients = [await running.connect() for _ in range(4)]
        async with anyio.create_task_group() as group:
            for client in clients:
                group.start_soon(client.call, tool("wait"))
            await running.app.until(lambda: len(running.app.waiting) == 4)
            while running.app.waiting:
                running.app.finish(running.app.waiting.pop())
        assert running.link.parser._known
        assert running.link.writers._resting
        for client in clients:
            assert await client.closed()
        with anyio.fail_after(10):
            while running.link.parser._known or running.link.writers._resting:
                await anyio.lowlevel.checkpoint()
