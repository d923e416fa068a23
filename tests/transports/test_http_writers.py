"""Tasks that are lent: held up by nobody, made no more often than needed, and used again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from mcpcore_transports.http.server import writers as http_writers
from mcpcore_transports.http.server.host import Work
from mcpcore_transports.http.server.writers import Writers
from tests.clock import patience

pytestmark = pytest.mark.anyio


class Bureau:
    """Writers, and how many tasks they have asked for."""

    def __init__(self) -> None:
        self.started = 0
        self.running = 0
        self.writers: Writers
        self.done: list[int] = []

    def short(self, number: int) -> Work:
        async def work() -> None:
            await anyio.lowlevel.checkpoint()
            self.done.append(number)

        return work

    async def until(self, count: int) -> None:
        with patience():
            while len(self.done) < count:
                await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def bureau() -> AsyncIterator[Bureau]:
    made = Bureau()
    async with anyio.create_task_group() as group:

        def start(work: Work) -> None:
            made.started += 1
            group.start_soon(run, work)

        async def run(work: Work) -> None:
            made.running += 1
            try:
                await work()
            finally:
                made.running -= 1

        made.writers = Writers(start)
        yield made
        group.cancel_scope.cancel()


async def test_what_is_held_up_holds_up_nobody() -> None:
    async with bureau() as made:
        for number in range(200):
            made.writers.run(anyio.sleep_forever)
            made.writers.run(made.short(number))
        await made.until(200)
        assert sorted(made.done) == list(range(200))


async def test_many_short_pieces_do_not_become_many_tasks() -> None:
    async with bureau() as made:
        for number in range(2000):
            made.writers.run(made.short(number))
        await made.until(2000)
        assert made.started < 200


async def test_tasks_are_used_again() -> None:
    async with bureau() as made:
        for number in range(100):
            made.writers.run(made.short(number))
            await made.until(number + 1)
            await anyio.wait_all_tasks_blocked()
        assert made.started == 1


async def test_only_a_few_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_writers, "_KEPT", 2)
    async with bureau() as made:
        gate = anyio.Event()
        for _ in range(10):
            made.writers.run(gate.wait)
        await anyio.wait_all_tasks_blocked()
        assert made.started == 10
        gate.set()
        await anyio.wait_all_tasks_blocked()
        assert len(made.writers._resting) == 2
        made.writers.run(made.short(1))
        made.writers.run(made.short(2))
        await made.until(2)
        assert made.started == 10


async def test_what_need_not_wait_is_done_when_somebody_asks_for_it() -> None:
    async with bureau() as made:
        made.writers.run(made.short(1), lambda: True)
        made.writers.run(made.short(2), lambda: False)
        made.writers.run(made.short(3))
        made.writers.write_now()
        await made.until(2)
        await anyio.wait_all_tasks_blocked()
        assert sorted(made.done) == [2, 3]
        made.writers.run(made.short(4), lambda: True)
        await made.until(3)  # nobody has asked
        assert made.done[-1] == 4


async def test_a_task_that_cannot_be_had_is_asked_for_again() -> None:
    refusing = [True]
    async with anyio.create_task_group() as group:

        def start(work: Work) -> None:
            if refusing:
                raise RuntimeError("not here")
            group.start_soon(work)

        made = Bureau()
        made.writers = Writers(start)
        with pytest.raises(RuntimeError, match="not here"):
            made.writers.run(made.short(1))
        refusing.clear()
        made.writers.run(made.short(2))
        await made.until(2)
        assert made.done == [1, 2]
        group.cancel_scope.cancel()


async def test_a_piece_that_fails_takes_nothing_with_it(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise RuntimeError("the writer broke")

    async with bureau() as made:
        made.writers.run(broken)
        made.writers.run(made.short(1))
        await made.until(1)
    assert "the writer broke" in caplog.text
