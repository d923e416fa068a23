"""What the cache of a client spares it: equal requests, waiting for what ages, and failures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from mcpcore import Client, ClientSettings, PeerError, ResultCache, Server, connect
from tests.clock import HOUR, UNHURRIED, Clock, turns, until

pytestmark = pytest.mark.anyio
TTL = 10 * HOUR


class Library:
    """A server with a book that is read while it is open, and then may be gone."""

    def __init__(self, ttl: float = TTL) -> None:
        self.reads = 0
        self.gone = False
        self.open = anyio.Event()
        self.open.set()
        self.server = server = Server("library", version="1")

        @server.resource("book://one", ttl_ms=int(ttl * 1000))
        async def one() -> str:
            self.reads += 1
            number = self.reads
            await self.open.wait()
            if self.gone:
                raise OSError("the book is gone")
            return str(number)

    @asynccontextmanager
    async def visitor(self, **options: Any) -> AsyncIterator[tuple[Client, TaskGroup]]:
        settings = ClientSettings(cache=ResultCache(**options, longest=TTL), limits=UNHURRIED)
        async with (
            connect(self.server, settings=settings) as client,
            anyio.create_task_group() as group,
        ):
            yield client, group


async def read(client: Client, **options: Any) -> tuple[str, Any]:
    """Read the book; return its text, and the age that a stale one has."""
    result = await client.read_resource("book://one", **options)
    return str(result.contents[0].text), (result.meta or {}).get("mcpcore/stale")


@pytest.mark.parametrize(
    ("one_flight", "options", "reads"),
    [
        (True, {}, 1),
        (True, {"timeout": 10 * HOUR}, 3),
        (True, {"meta": {"com.example/a": 1}}, 3),
        (False, {}, 3),
    ],
)
async def test_equal_requests_are_one(
    one_flight: bool, options: dict[str, Any], reads: int
) -> None:
    """... if that is wanted, but for those that have options of their own."""
    library = Library()
    library.open = anyio.Event()
    async with library.visitor(one_flight=one_flight) as (client, group):
        found = list[str]()

        async def one() -> None:
            found.append((await read(client, **options))[0])

        for _ in range(3):
            group.start_soon(one)
        await turns()
        assert library.reads == reads
        library.open.set()
        await until(lambda: len(found) == 3)
        assert len(set(found)) == reads


async def test_nobody_waits_a_second_time_for_what_is_not_kept() -> None:
    library = Library(ttl=0)
    async with library.visitor(one_flight=True) as (client, group):
        for begun, done in ((1, 3), (6, 6)):
            library.open = anyio.Event()
            for _ in range(3):
                group.start_soon(read, client)
            await turns()
            assert library.reads == begun
            library.open.set()
            await turns()
            assert library.reads == done


async def test_one_that_is_cancelled_leaves_the_others_their_request() -> None:
    library = Library()
    library.open = anyio.Event()
    async with library.visitor(one_flight=True) as (client, group):
        scope = anyio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await read(client)

        group.start_soon(cancelled)
        await turns()
        group.start_soon(read, client)
        await turns()
        assert library.reads == 1
        scope.cancel()
        await turns()
        assert library.reads == 2
        library.open.set()
        await turns()
        assert await read(client) == ("2", None)


@pytest.mark.parametrize(("part", "reads"), [(0.0, 1), (0.5, 2)])
async def test_what_ages_is_fetched_again_beside(part: float, reads: int, clock: Clock) -> None:
    library = Library()
    async with library.visitor(refresh_ahead=part) as (client, _):
        await read(client)
        await clock.skip(0.4 * TTL)
        assert await read(client) == ("1", None)
        await clock.skip(0.2 * TTL)
        library.open = anyio.Event()
        for _ in range(3):
            assert await read(client) == ("1", None)
        await turns()
        assert library.reads == reads
        library.open.set()
        await turns()
        assert await read(client) == (str(reads), None)
        await clock.skip(0.41 * TTL)
        assert (await read(client))[0] == "2"


async def test_what_cannot_be_fetched_again_is_what_it_was(clock: Clock) -> None:
    library = Library()
    async with library.visitor(refresh_ahead=0.5) as (client, _):
        await read(client)
        library.gone = True
        await clock.skip(0.6 * TTL)
        for reads in (2, 3):
            assert await read(client) == ("1", None)
            await turns()
            assert library.reads == reads


@pytest.mark.parametrize("announced", [False, True])
async def test_a_stale_result_stands_in_for_one_that_fails(announced: bool, clock: Clock) -> None:
    """... unless it is known to have changed."""
    library = Library()
    async with (
        library.visitor(stale_if_error=2 * HOUR) as (client, _),
        client.listen(uris=["book://one"]),
    ):
        await read(client)
        library.gone = True
        if announced:
            library.server.resource_updated("book://one")
        await clock.skip(TTL + HOUR)
        if announced:
            with pytest.raises(PeerError):
                await read(client)
            return
        text, age = await read(client)
        assert text == "1"
        assert HOUR <= age < 2 * HOUR
        with pytest.raises(PeerError):
            await read(client, meta={"com.example/a": 1})
        await clock.skip(HOUR)
        with pytest.raises(PeerError):
            await read(client)


async def test_a_wrong_request_is_an_error_whatever_was_kept(clock: Clock) -> None:
    library = Library()
    async with library.visitor(stale_if_error=2 * HOUR) as (client, _):
        await read(client)
        library.server.remove_resource("book://one")
        await clock.skip(TTL + HOUR)
        with pytest.raises(PeerError, match="not found"):
            await read(client)


@pytest.mark.parametrize("options", [{"refresh_ahead": 1.5}, {"stale_if_error": -1.0}])
async def test_settings_that_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="time"):
        ResultCache(**options)  # type: ignore[arg-type]
