"""Rate limits in Redis: one count for all workers, few round trips, and a Redis that is gone."""

import inspect
import socket
from collections.abc import Awaitable, Iterator
from contextlib import ExitStack, closing
from functools import partial

import anyio
import anyio.to_thread
import pytest
import redis

from mcpcore import MemoryTarget, RedisRateLimits, RuntimeSettings, Server, clock, connect
from mcpcore.errors import PeerError, StoreUnavailableError
from mcpcore.policy.rates import Activity, Rate, RateKey
from tests.clock import HOUR
from tests.transports.redis_server import PROGRAMS, RedisServer, redis_server

pytestmark = pytest.mark.anyio

SELDOM = 1e-9
"""A rate at which nothing comes back while a test runs, so that only the burst counts."""


@pytest.fixture(params=PROGRAMS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with redis_server(request.param) as made:
        yield made


def made(server: RedisServer, burst: int, tools: dict[str, int] | None = None) -> RedisRateLimits:
    rates = {Activity.TOOLS: Rate(SELDOM, burst=burst), Activity.PROGRESS: Rate(SELDOM, burst=1)}
    own = {name: Rate(SELDOM, burst=each) for name, each in (tools or {}).items()}
    return RedisRateLimits(server.url, rates, per_tool=own)


async def admitted(
    limits: RedisRateLimits, caller: str = "ada", tool: str = "add", *, now: float | None = None
) -> bool:
    answer = limits.admit(Activity.TOOLS, caller, now=clock() if now is None else now, tool=tool)
    return (await answer if isinstance(answer, Awaitable) else answer) == 0


async def test_all_workers_count_together(server: RedisServer) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(closing(made(server, 6))) for _ in range(3)]
        admissions = [await admitted(worker) for _ in range(4) for worker in workers]
        assert admissions == [True] * 6 + [False] * 6
        assert [await admitted(worker, "bob") for worker in workers] == [True] * 3
        assert sum(worker.refused[Activity.TOOLS] for worker in workers) == 6


@pytest.mark.parametrize("burst", [64, 640, 1000])
async def test_no_burst_is_exceeded_by_requests_at_once(server: RedisServer, burst: int) -> None:
    admissions: list[bool] = []

    async def call(limits: RedisRateLimits) -> None:
        admissions.append(await admitted(limits))

    with ExitStack() as stack:
        workers = [stack.enter_context(closing(made(server, burst))) for _ in range(2)]
        async with anyio.create_task_group() as group:
            for _ in range(burst):
                for worker in workers:
                    group.start_soon(call, worker)
    unused = 2 * (burst // 64) * burst  # no more than a block for each call at once
    assert burst - unused <= sum(admissions) <= burst


@pytest.mark.parametrize("tools", [{}, {"add": 1000}])
async def test_calls_at_once_use_what_others_have_left(
    server: RedisServer, tools: dict[str, int]
) -> None:
    """Each has taken a whole block, so that they have used up the burst in Redis."""
    rates = {Activity.TOOLS: Rate(SELDOM, burst=640)}
    own = {name: Rate(SELDOM, burst=each) for name, each in tools.items()}
    admissions: list[bool] = []

    async def call() -> None:
        admissions.append(await admitted(limits))

    with closing(RedisRateLimits(server.url, rates, per_tool=own, lease=HOUR)) as limits:
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(call)
        assert admissions == [True] * 100
        assert [await admitted(limits) for _ in range(541)] == [True] * 540 + [False]


async def test_the_last_block_of_a_burst_is_smaller(server: RedisServer) -> None:
    with closing(made(server, 200)) as limits:  # blocks of three
        assert [await admitted(limits) for _ in range(205)] == [True] * 200 + [False] * 5


async def test_callers_are_remembered_up_to_a_limit(server: RedisServer) -> None:
    limits = RedisRateLimits(server.url, {Activity.TOOLS: Rate(SELDOM, burst=640)}, callers=2)
    with closing(limits):
        now = clock()
        for caller in ("ada", "bob", "ada", "eve"):
            assert await admitted(limits, caller, now=now)
        asks = [
            isinstance(limits.admit(Activity.TOOLS, caller, now=now), Awaitable)
            for caller in ("ada", "eve")
        ]
        assert asks == [False, False]
        assert len(limits._leases) == 2


async def test_a_refused_call_gives_back_what_it_took_here(server: RedisServer) -> None:
    with closing(made(server, 640, {"add": 1})) as limits:  # blocks of ten, and of one
        now = clock()
        assert [await admitted(limits, now=now) for _ in range(2)] == [True, False]
        for _ in range(9):
            assert limits.admit(Activity.TOOLS, "ada", now=now, tool="sub") == 0.0
        asked = limits.admit(Activity.TOOLS, "ada", now=now, tool="sub")
        assert isinstance(asked, Awaitable)
        await asked


async def test_a_call_that_fails_gives_back_what_it_took_here(server: RedisServer) -> None:
    with closing(made(server, 640, {"add": 1})) as limits:
        now = clock()
        assert await admitted(limits, now=now)
        server.kill()
        with pytest.raises(StoreUnavailableError):
            await admitted(limits, tool="add", now=now)
        for _ in range(9):
            assert limits.admit(Activity.TOOLS, "ada", now=now, tool="sub") == 0.0


async def test_a_block_of_requests_costs_one_round_trip(server: RedisServer) -> None:
    with closing(made(server, 640)) as limits:
        now = clock()
        assert await admitted(limits, now=now)
        for _ in range(9):
            assert limits.admit(Activity.TOOLS, "ada", now=now, tool="add") == 0.0
        asked = limits.admit(Activity.TOOLS, "ada", now=now, tool="add")
        assert inspect.iscoroutine(asked)
        assert await asked == 0.0


async def test_an_unused_block_is_given_up_in_time(server: RedisServer) -> None:
    with closing(made(server, 640)) as limits:
        assert await admitted(limits)
        answer = limits.admit(Activity.TOOLS, "ada", now=clock() + 2)
        assert isinstance(answer, Awaitable)
        await answer


async def test_a_refusal_is_remembered(server: RedisServer) -> None:
    with closing(made(server, 1)) as limits:
        assert [await admitted(limits) for _ in range(2)] == [True, False]
        server.kill()
        assert not await admitted(limits)  # nobody was asked
        assert limits.refused[Activity.TOOLS] == 2


@pytest.mark.parametrize(
    ("tools", "calls", "expected", "refused"),
    [
        ({"add": 1}, ["add", "add", "sub", "sub"], [1, 0, 1, 1], {"add": 1}),
        ({"add": 9}, ["add", "add", "sub", "add"], [1, 1, 1, 0], {Activity.TOOLS: 1}),
    ],
)
async def test_a_refused_call_uses_nothing_up(
    server: RedisServer,
    tools: dict[str, int],
    calls: list[str],
    expected: list[int],
    refused: dict[RateKey, int],
) -> None:
    with closing(made(server, 3, tools)) as limits:
        assert [await admitted(limits, tool=tool) for tool in calls] == list(map(bool, expected))
        assert limits.refused == refused


async def test_time_gives_units_back(server: RedisServer) -> None:
    with closing(RedisRateLimits(server.url, {Activity.TOOLS: Rate(20, burst=1)})) as limits:
        assert await admitted(limits)
        wait = limits.admit(Activity.TOOLS, "ada", now=clock())
        assert isinstance(wait, Awaitable)
        seconds = await wait
        assert 0 <= seconds <= 0.05
        await anyio.sleep(seconds + 0.01)
        assert await admitted(limits)


async def test_no_caller_waits_for_a_clock_that_was_set_back(server: RedisServer) -> None:
    rates = {Activity.TOOLS: Rate(10, burst=2)}
    with closing(redis.Redis.from_url(server.url)) as client:
        with closing(RedisRateLimits(server.url, rates)) as limits:
            assert await admitted(limits)
        [key] = client.keys()
        client.incrbyfloat(key, 3600)
        with closing(RedisRateLimits(server.url, rates)) as limits:
            answer = limits.admit(Activity.TOOLS, "ada", now=clock())
            assert isinstance(answer, Awaitable)
            assert 0 < await answer < 0.11


async def test_notifications_are_counted_here(server: RedisServer) -> None:
    with closing(made(server, 1)) as limits:
        server.kill()
        waits = [limits.admit(Activity.PROGRESS, "ada", now=0.0) for _ in range(2)]
        assert waits[0] == 0.0 < waits[1]  # type: ignore[operator]
        assert limits.admit(Activity.READS, "ada", now=0.0) == 0.0  # it has no rate


async def test_a_redis_that_is_gone_is_a_failure_of_the_limiter(server: RedisServer) -> None:
    with closing(made(server, 1)) as limits:
        server.kill()
        with pytest.raises(StoreUnavailableError):
            await admitted(limits)
        server.start()
        assert await admitted(limits)


async def test_calls_do_not_wait_for_a_silent_redis_one_after_the_other() -> None:
    threads = anyio.to_thread.current_default_thread_limiter()
    rates = {Activity.TOOLS: Rate(1.0)}
    failures: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = "redis://{}:{}".format(*silent.getsockname())
        with closing(RedisRateLimits(url, rates, timeout=0.2)) as limits:

            async def ask() -> None:
                with pytest.raises(StoreUnavailableError) as raised:
                    await admitted(limits)
                failures.append(str(raised.value))

            held = int(threads.total_tokens)  # handlers keep all of theirs busy
            for owner in range(held):
                threads.acquire_on_behalf_of_nowait(owner)
            try:
                async with anyio.create_task_group() as group:
                    for _ in range(30):
                        group.start_soon(ask)
            finally:
                for owner in range(held):
                    threads.release_on_behalf_of(owner)
    assert "Redis: it answers too slowly" in failures


async def test_keys_end_and_name_nobody(server: RedisServer) -> None:
    limits = RedisRateLimits(server.url, {Activity.TOOLS: Rate(10, burst=5)}, prefix="p")
    with closing(limits), closing(redis.Redis.from_url(server.url)) as client:
        assert await admitted(limits, "principal ada@example.com")
        [key] = client.keys("*")
        assert str(key).startswith("b'p:{")
        assert "ada" not in str(key)
        assert 0 < client.pttl(key) <= 5100 + 100


@pytest.mark.parametrize("fate", ["refuse", "admit"])
async def test_a_server_uses_them(server: RedisServer, fate: str) -> None:
    service = Server("counting")

    @service.tool
    def add() -> str:
        return "done"

    with closing(made(server, 1)) as limits:
        settings = RuntimeSettings(limiter=limits, limiter_failure=fate)  # type: ignore[arg-type]
        async with connect(MemoryTarget(service, settings)) as client:
            call = partial(client.call_tool, "add")
            assert (await call()).text == "done"
            with pytest.raises(PeerError, match="busy: too many tool calls"):
                await call()
        server.kill()
        async with connect(MemoryTarget(service, settings)) as client:  # another caller
            if fate == "admit":
                assert (await client.call_tool("add")).text == "done"
            else:
                with pytest.raises(PeerError, match="the rate of tool calls is unknown"):
                    await client.call_tool("add")


@pytest.mark.parametrize("wrong", [{"callers": 0}, {"lease": 0.0}])
def test_numbers_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="callers must be at least 1, and lease above 0"):
        RedisRateLimits("redis://localhost", {}, **wrong)  # type: ignore[arg-type]
