"""On asyncio, the block of a connection may begin and end in different tasks."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from mcpcore import Server, connect, connect_all
from mcpcore_transports.client.servers import Servers
from mcpcore_transports.running.functions import DetachedGroup
from tests.clock import PATIENCE
from tests.transports.scripted import DISCOVERY, child, modern

LISTED = modern({"tools": [{"name": "where", "inputSchema": {"type": "object"}}], "ttlMs": 0})


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main(), PATIENCE)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(bounded())


def here() -> Server:
    server = Server("here")
    server.add_tool(lambda: "here", "where")
    return server


def program() -> Any:
    return child({"server/discover": {"result": DISCOVERY}, "tools/list": {"result": LISTED}})


async def names(client: Any) -> list[str]:
    if isinstance(client, Servers):
        return [tool.name for tool in (await client.tools()).items]
    return [tool.name for tool in (await client.list_tools()).tools]


@pytest.mark.parametrize("target", [here, program])
@pytest.mark.parametrize("several", [False, True])
def test_a_connection_ends_in_another_task(target: Callable[[], Any], several: bool) -> None:
    async def main() -> None:
        make = (lambda: connect_all({"s": target()})) if several else (lambda: connect(target()))
        first, second = make(), make()
        task: Callable[[Any], asyncio.Task[Any]] = asyncio.create_task
        clients = [await task(each.__aenter__()) for each in (first, second)]
        for each, client in zip((first, second), clients, strict=True):  # no order of a stack
            assert await task(names(client)) == ["where"]
            await task(each.__aexit__(None, None, None))

    run(main)


async def linger(ended: list[str], patience: float = 0.0) -> None:
    try:
        await anyio.sleep(patience)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.01)
        ended.append("cancelled")
        raise
    ended.append("done")


@pytest.mark.parametrize(
    ("error", "patience", "end"),
    [
        (None, 0.01, "done"),
        (asyncio.CancelledError(), 2 * PATIENCE, "cancelled"),
    ],
)
def test_the_end_of_a_group_waits_for_its_tasks(
    error: BaseException | None, patience: float, end: str
) -> None:
    async def main() -> None:
        ended = list[str]()
        tasks = DetachedGroup()
        group = await tasks.begin()
        group.start_soon(linger, ended, patience)
        await asyncio.sleep(0)
        assert not await tasks.end(error)
        assert ended == [end]

    run(main)


@pytest.mark.parametrize("times", [1, 2])
def test_an_end_that_is_cancelled_waits_for_its_tasks(times: int) -> None:
    async def main() -> None:
        ended = list[str]()
        tasks = DetachedGroup()
        group = await tasks.begin()
        group.start_soon(linger, ended, 2 * PATIENCE)
        ending = asyncio.create_task(tasks.end())
        for _ in range(times):
            await asyncio.sleep(0)
            ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert ended == ["cancelled"]

    run(main)


def test_what_its_tasks_raise_comes_out_in_the_end() -> None:
    async def fail() -> None:
        raise ValueError("x")

    async def main() -> None:
        ended = list[str]()
        tasks = DetachedGroup()
        group = await tasks.begin()
        group.start_soon(linger, ended, 2 * PATIENCE)
        group.start_soon(fail)
        with pytest.raises(ExceptionGroup) as caught:
            await tasks.end()
        assert caught.group_contains(ValueError, match="x")
        assert ended == ["cancelled"]

    run(main)


def test_what_a_task_raises_cancels_the_one_that_has_begun_the_group() -> None:
    async def fail() -> None:
        raise ValueError("x")

    async def main() -> None:
        tasks = DetachedGroup()
        group = await tasks.begin()
        group.start_soon(fail)
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await asyncio.sleep(2 * PATIENCE)
        with pytest.raises(ExceptionGroup) as caught:
            await tasks.end(cancelled.value)
        assert caught.group_contains(ValueError, match="x")
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main)


def test_a_beginning_that_is_cancelled_leaves_no_task() -> None:
    async def main() -> None:
        tasks = DetachedGroup()
        beginning = asyncio.create_task(tasks.begin())
        await asyncio.sleep(0)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        await asyncio.sleep(0)

    run(main)
