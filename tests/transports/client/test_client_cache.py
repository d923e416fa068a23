"""What the cache of a client spares it: equal requests, waiting for what ages, and failures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from msgspec import structs

from mcpcore import (
    Callbacks,
    CallFailed,
    Client,
    ClientSettings,
    Context,
    Limits,
    Outcome,
    OutgoingRequest,
    PeerError,
    ResultCache,
    Server,
    Steps,
    connect,
)
from mcpcore.errors import RequestRefused
from mcpcore.types import ElicitParams
from tests.clock import HOUR, UNHURRIED, Clock, turns, until
from tests.transports.served import served

pytestmark = pytest.mark.anyio
TTL = 10 * HOUR


class Library:
    """A server with a book that is read while it is open, and then may be gone."""

    def __init__(self, ttl: float = TTL) -> None:
        self.reads = 0
        self.cancelled = False
        self.gone = False
        self.open = anyio.Event()
        self.open.set()
        self.server = server = Server("library", version="1")

        @server.resource("book://one", ttl_ms=int(ttl * 1000))
        async def one() -> str:
            self.reads += 1
            number = self.reads
            try:
                await self.open.wait()
            except anyio.get_cancelled_exc_class():
                self.cancelled = True
                raise
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


async def test_what_a_person_has_answered_for_is_not_kept() -> None:
    server, asked = Server("library", version="1"), list[str]()

    @server.resource("book://one", ttl_ms=int(TTL * 1000))
    async def one(context: Context) -> str:
        return (await context.elicit("Which page?", str)).content or ""

    def answer(form: ElicitParams) -> dict[str, Any]:
        asked.append(form.message)
        return {"value": str(len(asked))}

    settings = ClientSettings(cache=ResultCache(longest=TTL))
    callbacks = Callbacks(elicitation=answer)
    async with connect(server, callbacks=callbacks, settings=settings) as client:
        assert [(await read(client))[0] for _ in range(2)] == ["1", "2"]


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


@dataclass
class Visit:
    """Reading the book, until that is done or left."""

    result: str | Exception | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def read(self, client: Client) -> None:
        with self.scope:
            try:
                self.result, _ = await read(client)
            except (PeerError, CallFailed) as error:
                self.result = error


@asynccontextmanager
async def visited_by(
    count: int, library: Library, limits: Limits = UNHURRIED, **options: Any
) -> AsyncIterator[list[Visit]]:
    """Let visits wait for the closed book: the first on a connection that only it has."""
    library.open = anyio.Event()
    settings = ClientSettings(cache=ResultCache(one_flight=True), limits=UNHURRIED)
    own = structs.replace(settings, limits=limits)
    visits = [Visit() for _ in range(count)]
    async with (
        served(library.server) as site,
        connect(site.url, settings=settings) as client,
        anyio.create_task_group() as group,
    ):

        async def alone() -> None:
            async with connect(site.url, settings=own, **options) as other:
                await visits[0].read(other)

        group.start_soon(alone)
        await until(lambda: library.reads == 1)
        for visit in visits[1:]:
            group.start_soon(visit.read, client)
        await turns()
        yield visits


@pytest.mark.parametrize(
    ("limits", "reads"), [(UNHURRIED, 1), (Limits(request_timeout=TTL, max_timeout=TTL), 2)]
)
async def test_equal_requests_of_several_connections_are_one(limits: Limits, reads: int) -> None:
    """... but for those that have another timeout."""
    library = Library()
    async with visited_by(3, library, limits) as visits:
        library.open.set()
    assert library.reads == reads
    assert {visit.result for visit in visits} <= {"1", str(reads)}


def refuse(request: OutgoingRequest) -> Steps[Outcome]:
    yield
    if request.method == "resources/read":
        raise RequestRefused(request.method, "not on this connection")


@pytest.mark.parametrize(
    ("gone", "middleware", "reads", "errors"), [(True, [], 1, 3), (False, [refuse], 2, 1)]
)
async def test_an_error_is_that_of_all_if_it_is_the_server_s(
    gone: bool, middleware: list[Any], reads: int, errors: int
) -> None:
    library = Library()
    library.gone = gone
    async with visited_by(3, library, middleware=middleware) as visits:
        library.open.set()
    failures = [visit.result for visit in visits if isinstance(visit.result, Exception)]
    assert (library.reads, len(failures)) == (reads, errors)
    assert len(set(map(str, failures))) == 1
    assert len(set(map(id, failures))) == errors, "each may add to its own"


async def test_one_whose_connection_ends_leaves_the_others_a_single_request() -> None:
    library = Library()
    async with visited_by(4, library) as visits:
        visits[0].scope.cancel()
        await until(lambda: library.reads == 2)
        await turns()
        library.open.set()
    assert library.reads == 2
    assert [visit.result for visit in visits] == [None, "2", "2", "2"]


@pytest.mark.parametrize("leaving", [2, 3])
async def test_the_request_goes_on_while_anybody_waits(leaving: int) -> None:
    library = Library()
    library.open = anyio.Event()
    visits = [Visit() for _ in range(3)]
    async with library.visitor(one_flight=True) as (client, group):
        for visit in visits:
            group.start_soon(visit.read, client)
        await turns()
        for visit in visits[:leaving]:
            visit.scope.cancel()
        await turns()
        assert library.cancelled == (leaving == 3)
        library.open.set()
    assert library.reads == 1
    assert visits[-1].result == (None if leaving == 3 else "1")


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


async def test_what_is_fetched_beside_has_no_options_of_who_asked(clock: Clock) -> None:
    """Whoever waits for it later has the usual timeout."""
    library = Library()
    async with library.visitor(one_flight=True, refresh_ahead=0.5) as (client, group):
        await read(client)
        await clock.skip(0.6 * TTL)
        library.open = anyio.Event()
        assert await read(client, timeout=0.5 * TTL) == ("1", None)
        await turns()
        await clock.skip(0.41 * TTL)
        visit = Visit()
        group.start_soon(visit.read, client)
        await turns()
        await clock.skip(0.2 * TTL)
        library.open.set()
        await until(lambda: visit.result is not None)
        assert visit.result == "2"


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
