"""Tasks that handlers start on asyncio: what they end with ends the handler, and nothing else."""

import asyncio
import gc
import inspect
import sys
import warnings
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import CoroutineType
from typing import Any

import pytest
from anyio import from_thread

from mcpcore import Server, connect
from mcpcore.errors import HandlerExit
from mcpcore_transports.running.functions import called, enter_handler, guard_tasks, in_handler
from tests.error_ids import without_id
from tests.leaving import EXITED


async def leave() -> None:
    await asyncio.sleep(0)
    sys.exit("now")


async def grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leave())
        await asyncio.sleep(1000)


async def gathered() -> None:
    await asyncio.gather(leave(), asyncio.sleep(0))


async def limited() -> None:
    await asyncio.wait_for(leave(), 1000)


async def nested() -> None:
    await asyncio.create_task(gathered())


async def awaited() -> None:
    await asyncio.create_task(leave(), name="leaving", context=None)


async def stopped() -> None:
    async def leave_when_cancelled() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            sys.exit("now")

    task = asyncio.create_task(leave_when_cancelled())
    await asyncio.sleep(0)
    task.cancel()
    await task


def in_thread() -> None:
    from_thread.run(leave)


@pytest.mark.parametrize(
    "handler", [grouped, gathered, limited, nested, awaited, stopped, in_thread]
)
def test_a_tool_whose_tasks_exit(handler: Callable[[], Any]) -> None:
    server = Server("s")
    server.add_tool(handler, "go", thread=handler is in_thread)
    server.add_tool(lambda: "hello", "greet")

    async def main() -> list[str]:
        async with connect(server) as client:
            answers = [await client.call_tool(name) for name in ("go", "greet")]
            return [without_id(answer.text) for answer in answers]

    assert asyncio.run(main()) == [EXITED, "hello"]


def test_other_tasks_are_left_alone() -> None:
    """A program that serves may end as it likes."""
    seen: list[object] = []

    async def main() -> None:
        guard_tasks(asyncio.get_running_loop())
        task = asyncio.create_task(leave(), name="mine")
        seen.append((type(task), task.get_name(), type(task.get_coro())))
        await task

    with pytest.raises(SystemExit, match="now"):
        asyncio.run(main())
    assert seen == [(asyncio.Task, "mine", CoroutineType)]


def test_what_a_program_awaits_beside_its_handlers() -> None:
    handler: Callable[[], Any] = gathered

    async def main() -> list[str]:
        guard_tasks(asyncio.get_running_loop())
        kinds = []
        with in_handler():
            kinds.append(type(asyncio.create_task(asyncio.sleep(0)).get_coro()).__name__)
        kinds.append(type(asyncio.create_task(asyncio.sleep(0)).get_coro()).__name__)
        with pytest.raises(HandlerExit):
            await called(handler)
        kinds.append(type(asyncio.create_task(asyncio.sleep(0)).get_coro()).__name__)
        return kinds

    assert asyncio.run(main()) == ["_Guarded", "coroutine", "coroutine"]


@pytest.mark.parametrize("others", [0, 1, 2])
def test_a_factory_that_was_there_makes_the_tasks(others: int) -> None:
    made: list[str] = []

    class Mine(asyncio.Task[Any]):
        pass

    def factory(loop: Any, coro: Any, **options: Any) -> Any:
        made.append(type(coro).__name__)
        return Mine(coro, loop=loop, **options)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        for _ in range(1 + others):
            guard_tasks(loop)
        enter_handler()
        task = asyncio.create_task(leave(), name="x")
        assert isinstance(task, Mine)
        assert task.get_name() == "x"
        with pytest.raises(HandlerExit):
            await task

    asyncio.run(main())
    assert made.count("_Guarded") == 1  # others are of the end of the loop


def test_a_guarded_task_is_as_any_other() -> None:
    """Values, cancellation, exceptions, names, contexts and the frames of its coroutine."""
    word: ContextVar[str] = ContextVar("word")

    async def work(end: str) -> str:
        if end == "wait":
            await asyncio.Future()
        if end == "raise":
            raise LookupError(end)
        if end == "stop":
            raise asyncio.CancelledError
        return word.get("?")

    async def outcome(end: str, act: Callable[[Any], object] = lambda task: None) -> object:
        task = asyncio.create_task(work(end))
        await asyncio.sleep(0)
        act(task)
        try:
            return await task
        except BaseException as error:
            return type(error)

    async def main() -> list[object]:
        guard_tasks(asyncio.get_running_loop())
        enter_handler()
        word.set("said")
        waiting = asyncio.create_task(work("wait"))
        assert waiting.get_coro().__qualname__ == work.__qualname__  # type: ignore[union-attr]
        assert inspect.getcoroutinestate(waiting.get_coro()) == "CORO_CREATED"  # type: ignore[arg-type]
        assert "work" in repr(waiting)
        await asyncio.sleep(0)
        assert inspect.getcoroutinestate(waiting.get_coro()) == "CORO_SUSPENDED"  # type: ignore[arg-type]
        assert [frame.f_code.co_name for frame in waiting.get_stack()] == ["work"]
        waiting.cancel()
        return [
            await outcome("return"),
            await outcome("raise"),
            await outcome("stop"),
            await outcome("wait", lambda task: task.cancel()),
        ]

    cancelled = asyncio.CancelledError
    assert asyncio.run(main()) == ["said", LookupError, cancelled, cancelled]


def test_a_task_that_never_began() -> None:
    """It leaves no warning behind when it is cancelled before its time."""

    async def main() -> None:
        guard_tasks(asyncio.get_running_loop())
        enter_handler()
        task = asyncio.create_task(leave())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()


def test_who_awaits_a_task_that_ended_with_generator_exit() -> None:
    """It is not closed by that, and may go on."""

    async def ends() -> None:
        raise GeneratorExit

    async def main() -> str:
        guard_tasks(asyncio.get_running_loop())
        enter_handler()
        try:
            await asyncio.create_task(ends())
        except HandlerExit as error:
            await asyncio.sleep(0)
            return type(error.__cause__).__name__
        return "nothing"

    assert asyncio.run(main()) == "GeneratorExit"


def test_ctrl_c_in_a_task_ends_the_program() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        guard_tasks(asyncio.get_running_loop())
        enter_handler()
        await asyncio.gather(interrupted())

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


@pytest.mark.parametrize("function", [lambda: 7, None])
def test_functions_are_called_as_they_come(function: Callable[[], int] | None) -> None:
    async def later() -> int:
        return 7

    async def main() -> int:
        chosen: Callable[[], int | Awaitable[int]] = function or later
        return await called(chosen)

    assert asyncio.run(main()) == 7


def test_a_task_that_a_plain_function_leaves_behind() -> None:
    """It belongs to no call any more, and ends neither the server nor the connection."""
    server = Server("s")
    left: list[asyncio.Task[None]] = []
    server.add_tool(lambda: left.append(asyncio.create_task(leave())), "go")
    server.add_tool(lambda: "hello", "greet")

    async def main() -> str:
        async with connect(server) as client:
            await client.call_tool("go")
            await asyncio.wait(left)
            return (await client.call_tool("greet")).text

    assert asyncio.run(main()) == "hello"
    assert isinstance(left[0].exception(), HandlerExit)
