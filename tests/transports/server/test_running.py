"""Handlers as tasks: those of a group of anyio, and those of asyncio's loop, behave alike."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from mcpcore.engine.events import Key
from mcpcore_transports.running.functions import current_loop
from mcpcore_transports.running.pending import Handlers
from tests.clock import patience

pytestmark = pytest.mark.anyio

Begin = Callable[[TaskGroup], Handlers]


WAYS = [("asyncio", "of the loop"), ("asyncio", "of the group"), ("trio", "of the group")]
ON_ASYNCIO = pytest.mark.parametrize("way", WAYS[:2])


@pytest.fixture(params=WAYS, ids=", ".join)
def way(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The event loop, and what the handlers' tasks belong to."""
    kind: tuple[str, str] = request.param
    return kind


@pytest.fixture
def anyio_backend(way: tuple[str, str]) -> str:
    return way[0]


@pytest.fixture
def released() -> list[int]:
    """The keys that were released."""
    return []


@pytest.fixture
def begin(way: tuple[str, str], released: list[int]) -> Begin:
    """Makes handlers."""

    def made(group: TaskGroup) -> Handlers:
        return Handlers(group, released.append, current_loop() if way == WAYS[0] else None)

    return made


class Told:
    """Learns why."""

    cancel_reason: str | None = None


async def until_the_group_ends() -> None:
    """What is to end it has it stop waiting."""
    with patience():
        await anyio.sleep_forever()


async def turns(count: int = 5) -> None:
    """Let others have theirs."""
    for _ in range(count):
        await checkpoint()


async def test_where_the_tasks_belong(begin: Begin, way: tuple[str, str]) -> None:
    async with anyio.create_task_group() as group:
        handlers = begin(group)
        known: list[tuple[str | None, bool]] = []

        async def work() -> None:
            task = anyio.get_current_task()
            known.append((task.name, task.parent_id is not None))

        handlers.start(1, work)
        await handlers.idle()
    assert known == [("handler", way[1] == "of the group")]


@pytest.mark.parametrize("way", [("trio", "of the group")])
async def test_on_trio_all_belong_to_the_group() -> None:
    known: list[int | None] = []
    async with anyio.create_task_group() as group:
        handlers = Handlers(group, lambda key: None, current_loop())

        async def work() -> None:
            known.append(anyio.get_current_task().parent_id)

        handlers.start(1, work)
        await handlers.idle()
    assert len(known) == 1
    assert known[0] is not None


async def test_every_await_raises_from_the_cancellation_on(
    begin: Begin, released: list[int]
) -> None:
    raised = 0
    told = Told()
    async with anyio.create_task_group() as group:
        handlers = begin(group)
        waits = anyio.Event()

        async def work() -> None:
            nonlocal raised
            for _ in range(3):
                try:
                    waits.set()
                    await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class():
                    raised += 1
                    last = raised == 3
                    if last:
                        raise

        run = handlers.start(1, work, told)
        await waits.wait()
        assert not run.cancel_called
        handlers.cancel(1, "because")
        assert (run.cancel_called, told.cancel_reason, released) == (True, "because", [])
        await handlers.idle()
    assert (raised, released, len(handlers)) == (3, [1], 0)


async def test_what_is_shielded_ends_first(begin: Begin, released: list[int]) -> None:
    steps: list[str] = []
    async with anyio.create_task_group() as group:
        handlers = begin(group)
        inside, go_on = anyio.Event(), anyio.Event()

        async def work() -> None:
            with anyio.CancelScope(shield=True):
                inside.set()
                await go_on.wait()
                steps.append("shielded")
            await checkpoint()
            steps.append("never")

        handlers.start(1, work)
        await inside.wait()
        handlers.cancel(1)
        await turns()
        assert (steps, 1 in handlers) == ([], True)
        go_on.set()
        await handlers.idle()
    assert (steps, released) == (["shielded"], [1])


async def test_one_that_is_cancelled_before_it_begins_ends_where_it_waits(
    begin: Begin, released: list[int]
) -> None:
    steps: list[str] = []
    async with anyio.create_task_group() as group:
        handlers = begin(group)

        async def work() -> None:
            steps.append("began")
            await checkpoint()
            steps.append("never")

        handlers.start(1, work).cancel()
        await handlers.idle()
    assert (steps, released) == (["began"], [1])


async def test_scopes_and_groups_of_anyio_work_inside(begin: Begin) -> None:
    said: list[Any] = []
    async with anyio.create_task_group() as group:
        handlers = begin(group)

        async def work() -> None:
            with anyio.move_on_after(0) as scope:
                await anyio.sleep_forever()
            said.append(scope.cancelled_caught)
            with pytest.raises(TimeoutError), anyio.fail_after(0):
                await anyio.sleep_forever()
            async with anyio.create_task_group() as inner:
                inner.start_soon(anyio.sleep_forever)
                said.append(await anyio.to_thread.run_sync(anyio.from_thread.run, soon))
                inner.cancel_scope.cancel()
            await checkpoint()
            said.append("end")

        async def soon() -> str:
            await checkpoint()
            return "from a thread"

        handlers.start(1, work)
        await handlers.idle()
    assert said == [True, "from a thread", "end"]


async def test_each_has_a_context_of_its_own(begin: Begin) -> None:
    variable = ContextVar("variable", default="nobody's")
    seen: list[str] = []
    async with anyio.create_task_group() as group:
        handlers = begin(group)

        async def work() -> None:
            seen.append(variable.get())
            variable.set("a handler's")
            await checkpoint()
            seen.append(variable.get())

        variable.set("the caller's")
        handlers.start(1, work)
        await handlers.idle()
        handlers.start(2, work)
        await handlers.idle()
        assert variable.get() == "the caller's"
    assert seen == ["the caller's", "a handler's"] * 2


async def test_the_group_does_not_end_before_those_that_are_stopped(
    begin: Begin, released: list[int]
) -> None:
    steps: list[str] = []
    async with anyio.create_task_group() as group:
        handlers = begin(group)

        def handler(name: str, slow: int) -> Callable[[], Awaitable[None]]:
            async def work() -> None:
                steps.append(f"{name} began")
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        await turns(slow)
                    steps.append(f"{name} tidied up")

            return work

        run = handlers.start(1, handler("a", 20))
        await turns()
        handlers.start(2, handler("b", 20))  # which has not begun when they are stopped
        handlers.stop()
        handlers.start(3, handler("c", 1))
        group.cancel_scope.cancel()
    assert sorted(steps) == sorted(
        f"{name} {what}" for name in "abc" for what in ("began", "tidied up")
    )
    # Nobody has cancelled their requests.
    assert (run.cancel_called, released, len(handlers)) == (False, [], 0)


class Broken(BaseException):
    """Nothing that a handler may raise."""


async def test_the_group_fails_with_what_escapes(begin: Begin) -> None:
    stopped: list[str] = []

    async def other() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append("other")

    async def work() -> None:
        await checkpoint()
        raise Broken

    async def serve() -> None:
        async with anyio.create_task_group() as group:
            handlers = begin(group)
            handlers.start(1, other)
            handlers.start(2, work)
            try:
                await until_the_group_ends()
            finally:
                handlers.stop()

    with pytest.raises(BaseExceptionGroup) as caught:
        await serve()
    assert [type(each) for each in caught.value.exceptions] == [Broken]
    assert stopped == ["other"]


async def test_the_group_fails_with_what_a_release_raises(way: tuple[str, str]) -> None:
    def release(key: Key) -> None:
        raise Broken(key)

    async def serve() -> None:
        async with anyio.create_task_group() as group:
            handlers = Handlers(group, release, current_loop() if way == WAYS[0] else None)
            handlers.start(1, anyio.sleep_forever).cancel()
            await until_the_group_ends()

    with pytest.raises(BaseExceptionGroup) as caught:
        await serve()
    assert [each.args for each in caught.value.exceptions] == [(1,)]


@ON_ASYNCIO
async def test_a_task_that_somebody_else_cancels_ends_the_group(begin: Begin) -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await checkpoint()

    async with anyio.create_task_group() as group:
        handlers = begin(group)
        handlers.start(1, work)
        await until_the_group_ends()
    assert len(handlers) == 0


@pytest.mark.parametrize("way", WAYS[:1])
async def test_no_handler_begins_within_the_call_that_starts_it() -> None:
    """An eager task factory would have it so."""
    loop = asyncio.get_running_loop()
    made: list[object] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any) -> Any:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **how)

    began: list[str] = []

    async def work() -> None:
        began.append("a")

    async with anyio.create_task_group() as group:
        handlers = Handlers(group, lambda key: None, loop)
        loop.set_task_factory(factory)
        try:
            handlers.start(1, work)
            assert (began, made) == ([], [])
        finally:
            loop.set_task_factory(None)
        await handlers.idle()
    assert began == ["a"]
