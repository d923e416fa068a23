"""When memory is given back: at the end of each flood and just after it, and not otherwise."""

import asyncio
import gc
import sys
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from tests.clock import HOUR, Clock, patience
from tests.transports.http_fixture import server, tool
from tests.transports.ways import anyio_backend as anyio_backend
from transports.http_listening import ListeningHost
from transports.http_server import HttpServerLink
from transports.http_settings import HttpServerSettings
from transports.tidying import Tidying, shrink_tables, tidy


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
        (100, [100, 0, 0, 0, 0, 0, 0, 0], [1, 2, 5]),
        (100, [100, 25, 25, 25, 20, 20, 20, 20, 20], [1, 2, 6]),
        (None, [10_000, 0, 0], []),
    ],
)
def test_when(many: int | None, counts: list[int], tidied: list[int]) -> None:
    tidying = Tidying(many)
    assert [place for place, count in enumerate(counts) if tidying.look(count)] == tidied


def test_who_has_to_look() -> None:
    tidying = Tidying(100)
    waits = []
    for count in (99, 100, 26, 25, 25, 25, 25, 25, 25):
        tidying.look(count)
        waits.append(tidying.waits)
    assert waits == [False, True, True, True, True, True, True, False, False]
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


class Keeper:
    """As the drivers have them: an object with a table."""

    __module__ = "transports.somewhere"

    def __init__(self, table: Any) -> None:
        self.table = table


class Stranger:
    """Of an application."""

    def __init__(self, table: Any) -> None:
        self.table = table


MANY, LEFT = 10_000, 10


def emptied(kind: Callable[[Any], Any]) -> Any:
    """A table that had many members and has few."""
    table = kind({number: -number for number in range(MANY)})
    for number in range(MANY - LEFT):
        table.remove(number) if isinstance(table, set) else table.pop(number)
    assert sys.getsizeof(table) > 100_000
    return table


def _default(items: dict[int, int]) -> defaultdict[int, int]:
    return defaultdict(int, items)


TABLES = [set, dict, Counter, _default]


@pytest.mark.parametrize("kind", TABLES)
def test_tables_shrink(kind: Callable[[Any], Any]) -> None:
    keeper = Keeper(emptied(kind))
    table, members = keeper.table, list(keeper.table)
    shrink_tables()
    assert sys.getsizeof(table) < 4_000
    assert keeper.table is table
    assert members == list(table) if kind is not set else set(members) == table
    if kind is not set:
        assert all(table[number] == -number for number in members)


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_others_stay(kind: Callable[[Any], Any]) -> None:
    stranger = Stranger(emptied(kind))
    size = sys.getsizeof(stranger.table)
    shrink_tables()
    assert sys.getsizeof(stranger.table) == size


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(
    "through", [iter, lambda table: iter(getattr(table, "items", table.__iter__)())]
)
def test_who_goes_through_a_table_sees_all_of_it(
    kind: Callable[[Any], Any], through: Callable[[Any], Iterator[Any]]
) -> None:
    keeper = Keeper(emptied(kind))
    size = sys.getsizeof(keeper.table)
    members = through(keeper.table)
    seen = [next(members)]
    shrink_tables()
    seen += members
    assert len(set(seen)) == LEFT
    assert sys.getsizeof(keeper.table) == size
    del members
    shrink_tables()
    assert sys.getsizeof(keeper.table) < 4_000


def test_tables_in_a_dictionary_shrink() -> None:
    keeper = Keeper({"one": emptied(set)})
    shrink_tables()
    assert sys.getsizeof(keeper.table["one"]) < 4_000


def test_a_large_table_that_is_in_use_stays() -> None:
    keeper = Keeper(set())
    for number in range(20_000):  # just above where a set becomes four times as large
        keeper.table.add(number)
    size = sys.getsizeof(keeper.table)
    assert sys.getsizeof(set(range(20_000)).copy()) < size
    shrink_tables()
    assert sys.getsizeof(keeper.table) == size


@pytest.mark.anyio
async def test_no_table_of_the_event_loop_stays_large() -> None:
    def large() -> list[int]:
        sizes = (
            sys.getsizeof(table)
            for table in gc.get_objects()
            if type(table) in (set, dict, defaultdict) and len(table) <= 20
        )
        return [size for size in sizes if size > 60_000]

    gc.collect()
    before = len(large())
    left = 3_000
    release, done = anyio.Event(), anyio.Event()

    async def work() -> None:
        nonlocal left
        await release.wait()
        left -= 1
        if not left:
            done.set()

    async with anyio.create_task_group() as group:
        for _ in range(left):
            group.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        release.set()
        await done.wait()
        for _ in range(10):  # the last of them end
            await anyio.lowlevel.checkpoint()
        gc.collect()
        assert len(large()) >= before + 3
        tidy()
        assert len(large()) <= before


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
async def test_a_server_looks(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Tidying, "look", lambda self, clients: seen.append(clients))
    async with server(HttpServerSettings(idle_time=HOUR)) as running:
        clients = [await running.connect() for _ in range(3)]
        for client in clients:
            assert (await client.call(tool("echo"))).status == 200
        await clock.skip(1)  # it looks once in a second
        await clock.skip(HOUR)
        for client in clients:
            assert await client.closed()
        with patience():
            while not seen or seen[-1]:
                await anyio.lowlevel.checkpoint()
    assert max(seen) == 3


@pytest.mark.anyio
async def test_calls_count(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Tidying, "look", lambda self, count: seen.append(count))
    async with server() as running:
        client = await running.connect()
        async with anyio.create_task_group() as group:
            group.start_soon(client.call, tool("wait"))
            await running.app.until(lambda: running.app.waiting)
            await clock.skip(1)  # it looks once in a second
            assert seen[-1] == 2  # the connection and its call
            running.app.finish(running.app.waiting.pop())


def resting(link: ListeningHost) -> list[anyio.Event]:
    """The tasks that wait for something to write; only one driver has any."""
    return link.writers._resting if isinstance(link, HttpServerLink) else []


@pytest.mark.anyio
async def test_a_server_parts_with_what_it_keeps_for_later(clock: Clock) -> None:
    async with server(HttpServerSettings(idle_time=HOUR, tidy_after=2)) as running:
        clients = [await running.connect() for _ in range(4)]
        async with anyio.create_task_group() as group:
            for client in clients:
                group.start_soon(client.call, tool("wait"))
            await running.app.until(lambda: len(running.app.waiting) == 4)
            await clock.skip(1)  # it looks once in a second
            while running.app.waiting:
                running.app.finish(running.app.waiting.pop())
        assert running.link.parser._known
        assert bool(resting(running.link)) is isinstance(running.link, HttpServerLink)
        await clock.skip(HOUR)
        for client in clients:
            assert await client.closed()
        link = running.link
        await clock.skip_until(lambda: not link.parser._known and not resting(link), 1)
