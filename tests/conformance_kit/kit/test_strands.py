"""Coroutines without an event loop: when they go on, and how they end."""

from collections.abc import Awaitable, Callable

import pytest

from mcpcore_conformance.subjects.strands import Bell, Cancelled, Strands

Work = Callable[[], Awaitable[None]]


class World:
    """Strands with a clock, and what they have done."""

    def __init__(self) -> None:
        self.time = 0.0
        self.done: list[str] = []
        self.strands = Strands(lambda: self.time)

    def begin(self, work: Work) -> None:
        async def done() -> None:
            await work()

        self.strands.start(done())

    def until(self, time: float) -> None:
        """Let time pass, from deadline to deadline."""
        self.strands.run()
        while (due := self.strands.deadline()) is not None and due <= time:
            self.time = due
            self.strands.pass_time()
            self.strands.run()
        self.time = time

    def say(self, what: str) -> None:
        self.done.append(f"{self.time:g} {what}")

    def saying(self, what: str, seconds: float) -> Work:
        """Sleep, then say so; say so as well if it is cancelled."""

        async def work() -> None:
            try:
                await self.strands.sleep(seconds)
                self.say(what)
            except Cancelled:
                self.say(f"no {what}")
                raise

        return work


@pytest.fixture
def world() -> World:
    return World()


def test_a_strand_runs_at_once_until_it_waits(world: World) -> None:
    bell = world.strands.event()

    async def work() -> None:
        await world.strands.sleep(0)
        world.say("began")
        await bell.wait()
        world.say("went on")
        await bell.wait()
        world.say("did not wait")

    world.begin(work)
    assert world.done == ["0 began"]
    assert not world.strands.run()
    bell.set()
    bell.set()
    assert world.done == ["0 began"]
    assert world.strands.run()
    assert world.done == ["0 began", "0 went on", "0 did not wait"]


def test_time_passes_in_order(world: World) -> None:
    for what, seconds in (("late", 3.0), ("soon", 1.0), ("late, too", 3.0)):
        world.begin(world.saying(what, seconds))
    assert world.strands.deadline() == 1.0
    world.until(2.0)
    assert world.done == ["1 soon"]
    world.until(9.0)
    assert world.done == ["1 soon", "3 late", "3 late, too"]
    assert world.strands.deadline() is None


@pytest.mark.parametrize(
    ("limit", "took", "said"),
    [
        (None, 5.0, ["5 work", "5 True"]),
        (6.0, 5.0, ["5 work", "5 True"]),
        (2.0, 2.0, ["2 no work", "2 False"]),
        (0.0, 0.0, ["0 no work", "0 False"]),
    ],
)
def test_within(world: World, limit: float | None, took: float, said: list[str]) -> None:
    async def work() -> None:
        world.say(str(await world.strands.within(limit, world.saying("work", 5.0))))

    world.begin(work)
    world.until(took)
    assert world.done == said
    world.until(20.0)
    assert world.done == said


def test_together_and_what_is_cancelled_with_it(world: World) -> None:
    async def both() -> None:
        works = [world.saying("a", 4.0), world.saying("b", 1.0), world.saying("c", 2.0)]
        await world.strands.together(works)
        world.say("never")

    async def work() -> None:
        world.say(str(await world.strands.within(3.0, both)))

    world.begin(work)
    world.until(20.0)
    assert world.done == ["1 b", "2 c", "3 no a", "3 False"]


def test_what_fails_fails_for_who_waits_and_the_rest_is_cancelled(world: World) -> None:
    async def fails() -> None:
        await world.strands.sleep(1.0)
        raise KeyError("why")

    async def work() -> None:
        try:
            await world.strands.together([fails, world.saying("rest", 5.0)])
        except KeyError as error:
            world.say(repr(error))

    world.begin(work)
    world.until(20.0)
    assert sorted(world.done) == ["1 KeyError('why')", "1 no rest"]


def test_a_strand_may_wait_while_it_is_cancelled(world: World) -> None:
    bell = Bell()

    async def clears_up() -> None:
        try:
            await bell
        finally:
            await world.strands.sleep(2.0)
            world.say("cleared up")

    async def work() -> None:
        world.say(str(await world.strands.within(1.0, clears_up)))

    world.begin(work)
    world.until(1.0)
    bell.set()
    world.until(2.5)
    assert world.done == []
    world.until(4.0)
    assert world.done == ["3 cleared up", "3 False"]


def test_who_is_woken_and_cancelled_at_once_is_cancelled_once(world: World) -> None:
    bell = Bell()

    async def twice() -> None:
        for _ in range(2):
            try:
                await bell
                await world.strands.sleep(9.0)
            except Cancelled:
                world.say("cancelled")
        world.say("ended")

    strand = world.strands.start(twice())
    bell.set()
    strand.cancel()
    strand.cancel()
    world.until(1.0)
    assert world.done == ["0 cancelled"]
    world.until(20.0)
    assert world.done == ["0 cancelled", "9 ended"]
    strand.cancel()
    assert not world.strands.run()


def test_all_can_be_ended_where_they_are(world: World) -> None:
    async def work() -> None:
        try:
            await world.strands.within(5.0, world.saying("work", 9.0))
        finally:
            world.say("left")

    world.begin(work)
    world.strands.close()
    assert world.done == ["0 left"]
    world.until(20.0)
    assert world.done == ["0 left"]
