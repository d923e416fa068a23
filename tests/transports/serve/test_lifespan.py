"""A lifespan in one event loop: who enters it, who leaves it, and all that can go wrong."""

import logging
import math
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore import LifespanError, RuntimeSettings, Server
from mcpcore_transports.running.functions import start_background
from mcpcore_transports.server.lifespan import seconds_left, within
from tests.clock import PATIENCE, until
from tests.transports.serve.lives import Diary, declared

pytestmark = pytest.mark.anyio

SHORT_START = RuntimeSettings(lifespan_start=0.05)
SHORT_END = RuntimeSettings(lifespan_end=0.05)
"""For what never happens: however slow the machine is, it is waited for in vain."""
PATIENT = RuntimeSettings()


class Work:
    """What is done within a lifespan, until it is told to stop."""

    def __init__(self, diary: Diary, name: str = "work") -> None:
        self._diary, self._name = diary, name
        self.value: Any = None
        self.stop = anyio.Event()

    async def __call__(self, value: Any) -> None:
        self.value = value
        self._diary.add(f"{self._name} begins")
        try:
            await self.stop.wait()
        finally:
            self._diary.add(f"{self._name} ends")


async def fail(error: BaseException) -> None:
    raise error


async def nothing(value: Any) -> None:
    """Do no work."""


# Who enters it, who leaves it


async def test_it_is_entered_with_the_first_and_left_with_the_last() -> None:
    diary = Diary()
    server = declared(diary)
    first, second = Work(diary, "first"), Work(diary, "second")
    async with anyio.create_task_group() as group:
        group.start_soon(within, server, PATIENT, first)
        await diary.until("first begins")
        group.start_soon(within, server, PATIENT, second)
        await diary.until("second begins")
        first.stop.set()
        await diary.until("first ends")
        await anyio.wait_all_tasks_blocked()
        assert diary.entries[-1] == "first ends"
        second.stop.set()
    assert (first.value, second.value) == (1, 1)
    assert diary.entries == [
        *("start 1", "started 1", "first begins", "second begins"),
        *("first ends", "second ends", "end 1", "ended 1"),
    ]


async def test_those_who_come_at_once_wait_for_one_start() -> None:
    diary, go = Diary(), anyio.Event()
    server = declared(diary, start=go.wait)
    works = [Work(diary, f"work {number}") for number in range(5)]
    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(within, server, PATIENT, work)
        await anyio.wait_all_tasks_blocked()
        assert diary.entries == ["start 1"]
        go.set()
        await diary.until(*(f"work {number} begins" for number in range(5)))
        for work in works:
            work.stop.set()
    assert [work.value for work in works] == [1] * 5
    assert diary.entries.count("start 1") == diary.entries.count("ended 1") == 1


async def test_who_comes_while_it_is_left_enters_it_anew_behind_that() -> None:
    diary, go = Diary(), anyio.Event()
    server = declared(diary, end=go.wait)
    first, second = Work(diary, "first"), Work(diary, "second")
    first.stop.set()
    second.stop.set()
    async with anyio.create_task_group() as group:
        group.start_soon(within, server, PATIENT, first)
        await diary.until("end 1")
        group.start_soon(within, server, PATIENT, second)
        await anyio.wait_all_tasks_blocked()
        assert "start 2" not in diary.entries
        go.set()
    assert second.value == 2
    assert diary.entries.index("ended 1") < diary.entries.index("start 2")


async def test_each_server_has_its_own() -> None:
    diary = Diary()
    one, other = declared(diary), declared(diary)
    works = [Work(diary), Work(diary)]
    async with anyio.create_task_group() as group:
        for server, work in zip((one, other), works, strict=True):
            group.start_soon(within, server, PATIENT, work)
        with anyio.fail_after(PATIENCE):
            await until(lambda: diary.entries.count("work begins") >= 2)
        for work in works:
            work.stop.set()
    assert diary.entries.count("start 1") == 2


async def test_it_is_entered_and_left_in_one_task_that_is_nobody_elses() -> None:
    tasks: list[anyio.TaskInfo] = []
    ticks = anyio.Event()

    async def tick() -> None:
        ticks.set()
        await anyio.sleep_forever()

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        tasks.append(anyio.get_current_task())
        async with anyio.create_task_group() as group:
            with anyio.CancelScope():  # both must be left by the task that has entered them
                group.start_soon(tick)
                yield
            group.cancel_scope.cancel()
        tasks.append(anyio.get_current_task())

    server = Server("x", lifespan=life)
    started, stop = anyio.Event(), anyio.Event()

    async def other(value: None) -> None:
        started.set()
        await stop.wait()

    async def work(value: None) -> None:
        await ticks.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(within, server, PATIENT, work)
        group.start_soon(within, server, PATIENT, other)
        await started.wait()
        await anyio.wait_all_tasks_blocked()
        stop.set()  # another one leaves it than the one who has entered it
    assert tasks[0] == tasks[1]
    assert tasks[0] != anyio.get_current_task()


async def test_it_is_left_under_cancellation_all_the_same() -> None:
    diary, go = Diary(), anyio.Event()
    server = declared(diary, end=go.wait)
    async with anyio.create_task_group() as group:
        group.start_soon(within, server, PATIENT, Work(diary))
        await diary.until("work begins")
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await diary.until("end 1")
            assert 0 < seconds_left() <= PATIENT.lifespan_end + 1
            go.set()
    assert diary.entries[-1] == "ended 1"
    assert seconds_left() == 0


def test_two_event_loops_have_one_each() -> None:
    values: list[int] = []
    both = threading.Barrier(2, timeout=PATIENCE)
    times = iter((1, 2))

    @asynccontextmanager
    async def life() -> AsyncIterator[int]:
        yield next(times)

    server = Server("x", lifespan=life)

    async def work(value: int) -> None:
        values.append(value)
        await anyio.to_thread.run_sync(both.wait)

    threads = [
        threading.Thread(target=anyio.run, args=(within, server, PATIENT, work)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(values) == [1, 2]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_end_of_the_event_loop_leaves_it_behind_those_who_hold_it(backend: str) -> None:
    diaries: list[Diary] = []

    async def main() -> None:
        diary = Diary()
        diaries.append(diary)

        async def end() -> None:
            for _ in range(5):
                await anyio.lowlevel.checkpoint()

        server = declared(diary, end=end)

        async def work(value: int) -> None:
            diary.add("work begins")
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):  # it relies on what is open, yet
                    await end()
                diary.add("work ends")

        async def hold() -> None:
            with anyio.CancelScope():  # what is cancelled ends here: trio has nobody else for it
                await within(server, PATIENT, work)

        start_background(hold, copy_context())
        await diary.until("work begins")

    anyio.run(main, backend=backend)
    assert diaries[0].entries[2:] == ["work begins", "work ends", "end 1", "ended 1"]


# What goes wrong at the start


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError("no database"), "ConnectionRefusedError: no database"),
        (LookupError(), "LookupError"),
        (SystemExit(3), "SystemExit: 3"),
        (ExceptionGroup("two", [ExceptionGroup("one", [OSError("deep")])]), "OSError: deep"),
        (GeneratorExit(), "GeneratorExit"),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_a_failing_start_is_one_sentence_for_all_who_wait(
    error: BaseException, said: str
) -> None:
    diary, go = Diary(), anyio.Event()

    async def start() -> None:
        await go.wait()
        raise error

    server = declared(diary, start=start)
    messages: list[str] = []

    async def hold() -> None:
        with pytest.raises(LifespanError) as failed:
            await within(server, PATIENT, Work(diary))
        messages.append(str(failed.value))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(hold)
        await diary.until("start 1")
        await anyio.wait_all_tasks_blocked()
        go.set()
    assert messages == [f"the lifespan life failed at its start: {said}"] * 3
    assert diary.entries == ["start 1"]


async def test_what_has_failed_is_tried_again_by_who_comes_later() -> None:
    diary = Diary()
    attempts = iter((OSError("not yet"), OSError("nor now"), None))

    async def start() -> None:
        if (error := next(attempts)) is not None:
            raise error

    server = declared(diary, start=start)
    for words in ("not yet", "nor now"):
        with pytest.raises(LifespanError, match=words):
            await within(server, PATIENT, nothing)
    await within(server, PATIENT, nothing)
    assert diary.entries[-4:] == ["start 3", "started 3", "end 3", "ended 3"]


async def test_what_is_no_context_manager_fails_at_the_start() -> None:
    def life() -> Any:
        return "a string"

    with pytest.raises(LifespanError, match="TypeError: it returned a str, no async context"):
        await within(Server("x", lifespan=life), PATIENT, nothing)


async def test_a_start_that_takes_too_long_is_given_up() -> None:
    diary = Diary()
    server = declared(diary, start=anyio.sleep_forever)
    with pytest.raises(LifespanError, match=r"^the lifespan life did not start within 0.05 secon"):
        await within(server, SHORT_START, Work(diary))
    assert diary.entries == ["start 1"]


async def test_the_limit_of_the_start_is_none_of_the_life() -> None:
    ask, answer = anyio.Event(), anyio.Event()
    deadlines: list[float] = []

    async def look() -> None:
        await ask.wait()
        deadlines.append(anyio.current_effective_deadline())
        answer.set()

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        deadlines.append(anyio.current_effective_deadline())
        async with anyio.create_task_group() as group:
            group.start_soon(look)
            yield
            deadlines.append(anyio.current_effective_deadline())

    async def work(value: None) -> None:
        ask.set()
        await answer.wait()

    await within(Server("x", lifespan=life), PATIENT, work)
    start, between, end = deadlines
    assert start < math.inf
    assert between == math.inf
    assert end < start  # 30 seconds from now, and 60 from then


async def test_a_start_that_goes_on_though_it_is_given_up_is_none() -> None:
    diary = Diary()

    async def start() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)  # beyond the limit, whatever is told

    with pytest.raises(LifespanError, match=r"did not start within 0\.05 seconds"):
        await within(declared(diary, start=start), SHORT_START, Work(diary))
    assert diary.entries == ["start 1", "started 1", "end 1"]


async def test_a_start_that_nobody_waits_for_any_more_is_cancelled() -> None:
    diary = Diary()

    async def start() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            diary.add("stopped")

    server = declared(diary, start=start)
    async with anyio.create_task_group() as group:
        group.start_soon(within, server, PATIENT, Work(diary))
        group.start_soon(within, server, PATIENT, Work(diary))
        await diary.until("start 1")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert diary.entries == ["start 1", "stopped"]


async def test_a_start_goes_on_as_long_as_anybody_waits_for_it() -> None:
    diary, go = Diary(), anyio.Event()
    server = declared(diary, start=go.wait)
    work = Work(diary)
    work.stop.set()
    async with anyio.create_task_group() as group:
        group.start_soon(within, server, PATIENT, work)
        await diary.until("start 1")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await within(server, PATIENT, nothing)
        assert scope.cancelled_caught
        await anyio.wait_all_tasks_blocked()
        go.set()
    assert work.value == 1


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_stop_gives_up_the_start(when: str) -> None:
    diary, stop = Diary(), anyio.Event()
    if when == "before":
        stop.set()

    async def start() -> None:
        stop.set()
        await anyio.sleep_forever()

    work = Work(diary)
    with anyio.fail_after(PATIENCE):
        await within(declared(diary, start=start), PATIENT, work, stop=stop)
    assert "work begins" not in diary.entries
    assert "started 1" not in diary.entries


async def test_a_keyboard_interrupt_is_not_the_failure_of_a_lifespan() -> None:
    server = declared(Diary(), start=lambda: fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        await within(server, PATIENT, nothing)


# What goes wrong in between


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (ConnectionError("the pool is gone"), "ConnectionError: the pool is gone"),
        (SystemExit(7), "SystemExit: 7"),
    ],
)
async def test_it_may_end_by_itself_and_takes_along_who_relies_on_it(
    error: BaseException, described: str
) -> None:
    diary, crash = Diary(), anyio.Event()

    async def crashing() -> None:
        await crash.wait()
        raise error

    @asynccontextmanager
    async def pool() -> AsyncIterator[str]:
        async with anyio.create_task_group() as group:
            group.start_soon(crashing)
            yield "pool"
        diary.add("left")

    server = Server("x", lifespan=pool)
    messages: list[str] = []

    async def hold(name: str) -> None:
        with pytest.raises(LifespanError) as failed:
            await within(server, PATIENT, Work(diary, name))
        messages.append(str(failed.value))

    async with anyio.create_task_group() as group:
        group.start_soon(hold, "first")
        group.start_soon(hold, "second")
        await diary.until("first begins", "second begins")
        crash.set()
    said = f"the lifespan pool failed while the server was running: {described}"
    assert messages == [said] * 2
    assert sorted(diary.entries[2:]) == ["first ends", "second ends"]


async def test_it_may_end_by_itself_without_an_error() -> None:
    diary, enough = Diary(), anyio.Event()

    @asynccontextmanager
    async def life() -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                await enough.wait()
                group.cancel_scope.cancel()

            group.start_soon(stop)
            yield
        diary.add("left")

    async def work(value: None) -> None:
        enough.set()
        await anyio.sleep_forever()

    with pytest.raises(LifespanError, match=r"^the lifespan life ended too early$"):
        await within(Server("x", lifespan=life), PATIENT, work)
    assert diary.entries == ["left"]


async def test_what_the_work_raises_comes_out_and_the_lifespan_is_left() -> None:
    diary = Diary()

    async def work(value: int) -> None:
        raise LookupError("the work")

    with pytest.raises(LookupError, match="the work"):
        await within(declared(diary), PATIENT, work)
    assert diary.entries == ["start 1", "started 1", "end 1", "ended 1"]


# What goes wrong at the end


async def test_a_failing_end_is_raised() -> None:
    server = declared(Diary(), end=lambda: fail(OSError("cannot flush")))
    said = "^the lifespan life failed at its end: OSError: cannot flush$"
    with pytest.raises(LifespanError, match=said):
        await within(server, PATIENT, nothing)


async def test_a_failing_end_is_raised_where_the_work_was_cancelled() -> None:
    diary, messages = Diary(), list[str]()
    server = declared(diary, end=lambda: fail(OSError("cannot flush")))

    async def hold() -> None:
        with pytest.raises(LifespanError) as failed:
            await within(server, PATIENT, Work(diary))
        messages.append(str(failed.value))

    async with anyio.create_task_group() as group:
        group.start_soon(hold)
        await diary.until("work begins")
        group.cancel_scope.cancel()
    assert messages == ["the lifespan life failed at its end: OSError: cannot flush"]


async def test_a_failing_end_is_logged_where_something_else_is_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(value: int) -> None:
        raise LookupError("the work")

    server = declared(Diary(), end=lambda: fail(OSError("cannot flush")))
    with caplog.at_level(logging.WARNING), pytest.raises(LookupError):
        await within(server, PATIENT, work)
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("ERROR", "the lifespan life failed at its end: OSError: cannot flush")
    ]


async def test_an_end_that_takes_too_long_is_cut_off() -> None:
    diary = Diary()
    server = declared(diary, end=anyio.sleep_forever)
    said = r"^the lifespan life did not end within 0\.05 seconds$"
    with pytest.raises(LifespanError, match=said):
        await within(server, SHORT_END, nothing)
    assert diary.entries == ["start 1", "started 1", "end 1"]


async def test_an_end_that_does_not_heed_that_is_left_alone() -> None:
    diary, go = Diary(), anyio.Event()

    async def end() -> None:
        with anyio.CancelScope(shield=True):
            await go.wait()

    server = declared(diary, end=end)
    said = r"did not end within 0\.05 seconds"
    with anyio.fail_after(PATIENCE), pytest.raises(LifespanError, match=said):
        await within(server, SHORT_END, nothing)
    assert diary.entries[-1] == "end 1"
    go.set()
    await diary.until("ended 1")
    await anyio.wait_all_tasks_blocked()
