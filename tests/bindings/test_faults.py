"""Harm on the way between client and server: on every binding, at both ends, on both event loops.

Whatever happens, each call ends exactly once, with its own result or a typed error, in time; and
nothing is left of it: no task, thread, process or descriptor, at the client or at the server.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import anyio
import pytest

from mcpcore.errors import RequestTimeout
from mcpcore.spec.errors import LocalError
from mcpcore_transports.client.client import connect
from mcpcore_transports.client.core import ClientSettings
from tests.bindings.cells import cells
from tests.bindings.places import LEGACY, House
from tests.bindings.relay import DOWN, UP, Harm, Relay, relayed
from tests.bindings.stories import (
    LARGE,
    SETTINGS,
    Ledger,
    Story,
    hasty,
    nothing_left,
    returning,
)
from tests.clock import PATIENCE

pytestmark = pytest.mark.anyio

T = TypeVar("T")
JUNK = b"\x00\xff{junk]\r\n"
AT_ONCE = 8
"""So many stories are told at the same time, as some of them wait for a deadline."""


async def _length(house: House, binding: str, era: str) -> Relay:
    """How many bytes a whole story takes, both ways."""
    async with relayed(house, binding) as relay:
        story = Story()
        await story.live(relay.target, era)
        assert story.happy, (story.ends, story.refused)
    return relay


def _places(length: int, count: int) -> list[int]:
    """So many places on the way, the beginning and the end among them."""
    return sorted({length * number // count for number in range(count)} | {1, length})


async def _all(house: House, binding: str, stories: list[Callable[[], Awaitable[T]]]) -> list[T]:
    """Tell all of them; give what came of each, in whatever order."""
    room = anyio.CapacityLimiter(AT_ONCE)
    found: list[T] = []

    async def one(tell: Callable[[], Awaitable[T]]) -> None:
        async with room:
            found.append(await tell())

    async with nothing_left(house, binding), anyio.create_task_group() as group:
        for tell in stories:
            group.start_soon(one, tell)
    return found


async def _harmed(
    house: House, binding: str, era: str, settings: ClientSettings, harm: dict[str, Harm]
) -> Story:
    """Tell one story on a way with harm on it."""
    async with relayed(house, binding, harm) as relay:
        story = Story()
        await story.live(relay.target, era, settings)
        story.harmed = relay.cuts + relay.spoilt
    return story


# A side is killed


def _how(story: Story) -> object:
    """How it ended, for who reads of a failure."""
    return story.refused or story.ends


async def _everywhere(
    house: House,
    binding: str,
    era: str,
    count: int,
    harm: Callable[[int], Harm],
    settings: ClientSettings = SETTINGS,
) -> list[Story]:
    """Stories with harm at so many places of each way; the last places may not be reached."""
    whole = await _length(house, binding, era)
    return await _all(
        house,
        binding,
        [
            partial(_harmed, house, binding, era, settings, {way: harm(place)})
            for way in (UP, DOWN)
            for place in _places(whole.sent[way], count)
        ],
    )


def _cut(place: int) -> Harm:
    return Harm(cut=place)


@pytest.mark.share(3)
@cells()
async def test_killed_at_any_byte(binding: str, era: str, house: House, ledger: Ledger) -> None:
    stories = await _everywhere(house, binding, era, 6, _cut)
    assert sum(story.harmed > 0 for story in stories) >= 6
    assert [_how(story) for story in stories if not (story.harmed or story.happy)] == []


@pytest.mark.long
@pytest.mark.repeats
@pytest.mark.timeout(1800)  # hundreds of processes
@cells()
async def test_killed_at_each_of_sixty_places(
    binding: str, era: str, house: House, ledger: Ledger
) -> None:
    stories = await _everywhere(house, binding, era, 60, _cut)
    assert sum(story.harmed > 0 for story in stories) >= 60
    assert [_how(story) for story in stories if not (story.harmed or story.happy)] == []


WHERE = ("before", "within", "after")
STEPS = {
    "the handshake": (LEGACY, UP, b'"initialize"'),
    "its answer": (LEGACY, DOWN, b'"protocolVersion"'),
    "its confirmation": (LEGACY, UP, b"notifications/initialized"),
    "the list of tools": (None, UP, b'"tools/list"'),
    "a call": (None, UP, b"aaaaaaaa"),
    "progress": (None, DOWN, b"notifications/progress"),
    "the answer of a call": (None, DOWN, b"aaaaaaaa"),
    "a resource": (None, UP, b'"resources/read"'),
    "the answer of a resource": (None, DOWN, b"plain text"),
}


async def _wrong_at_step(house: House, binding: str, era: str, step: str, where: str) -> str | None:
    """Kill a side there; give what is wrong with what comes of it."""
    _, way, mark = STEPS[step]
    story = await _harmed(house, binding, era, SETTINGS, {way: Harm(step=(where, mark))})
    if not story.harmed:
        return f"{where} {step}: it does not come"
    # Without the list of tools results are not checked.
    if where != "after" and step != "the list of tools" and story.happy:
        return f"{where} {step}: nobody has noticed"
    if step in ("the handshake", "its answer") and where != "after" and story.refused is None:
        return f"{where} {step}: it is a session all the same"
    if (where, step) == ("after", "the answer of a call") and "a" * 300 not in story.ends:
        return f"{where} {step}: what was said before the end is not heard"
    return None


@pytest.mark.share(3)
@cells()
async def test_killed_at_every_step(binding: str, era: str, house: House, ledger: Ledger) -> None:
    await _length(house, binding, era)
    wrong = await _all(
        house,
        binding,
        [
            partial(_wrong_at_step, house, binding, era, step, where)
            for step, (only, _, _) in STEPS.items()
            for where in WHERE
            if only in (None, era)
        ],
    )
    assert list(filter(None, wrong)) == []


@cells()
async def test_killed_when_it_is_met(binding: str, era: str, house: House, ledger: Ledger) -> None:
    await _length(house, binding, era)
    async with nothing_left(house, binding), relayed(house, binding) as relay:
        relay.kill()
        story = Story()
        await story.live(relay.target, era)
        assert story.calls == 0 or not story.happy
        assert relay.connections


@cells()
async def test_it_comes_back(binding: str, era: str, house: House, ledger: Ledger) -> None:
    """With reconnecting, a call that is lost has its error, and the next one its answer."""
    await _length(house, binding, era)

    async def lost(way: str, where: str) -> None:
        harm = {way: Harm(step=(where, b"aaaaaaaa"))}
        async with relayed(house, binding, harm, lasting=False) as relay:
            story = Story()
            await story.live(relay.target, era, returning(), again=True)
            assert relay.cuts == 1
            assert relay.connections > 1
            assert story.refused is None
            assert story.again == "here again", "it has not come back"

    await _all(house, binding, [partial(lost, way, where) for way in (UP, DOWN) for where in WHERE])


# Garbage


def _garbage(place: int) -> Harm:
    return Harm(junk=(place, JUNK))


def _soon(binding: str) -> ClientSettings:
    """A client in a hurry: how far stories come in that time depends on the machine."""
    return hasty(3.0 if binding == "stdio" else 0.5)  # a process has to start first


@pytest.mark.share(3)
@cells()
async def test_garbage_at_any_byte(binding: str, era: str, house: House, ledger: Ledger) -> None:
    stories = await _everywhere(house, binding, era, 4, _garbage, _soon(binding))
    assert any(story.harmed for story in stories)
    await _other_lives(house, binding, era)


@pytest.mark.long
@pytest.mark.repeats
@pytest.mark.timeout(1800)  # hundreds of processes
@cells()
async def test_garbage_at_many_places(binding: str, era: str, house: House, ledger: Ledger) -> None:
    # Over stdio each has a process to start, and more time for that.
    count = 15 if binding == "stdio" else 60
    stories = await _everywhere(house, binding, era, count, _garbage, _soon(binding))
    assert any(story.harmed for story in stories)
    await _other_lives(house, binding, era)


# Bytes that come one by one, and messages in two parts


@pytest.mark.share(3)
@cells()
async def test_one_byte_at_a_time(binding: str, era: str, house: House, ledger: Ledger) -> None:
    await _length(house, binding, era)
    trickle = Harm(piece=1)
    async with (
        nothing_left(house, binding),
        relayed(house, binding, {UP: trickle, DOWN: trickle}) as relay,
    ):
        story = Story()
        await story.live(relay.target, era)
    assert story.happy, (story.ends, story.refused)


@pytest.mark.share(3)
@cells(quick=4)
async def test_parted_at_every_byte(binding: str, era: str, house: House, ledger: Ledger) -> None:
    await _length(house, binding, era)
    parted = Harm(split=True)
    async with (
        nothing_left(house, binding),
        relayed(house, binding, {UP: parted, DOWN: parted}) as relay,
        connect(relay.target, revision=era, settings=SETTINGS) as client,
    ):
        with anyio.fail_after(3 * PATIENCE):
            while not relay.split_everywhere:
                result = await client.read_resource("text://plain")
                assert len(result.contents) == 1


# Who stops reading


async def _other_lives(house: House, binding: str, era: str) -> None:
    await _length(house, binding, era)


@pytest.mark.share(3)
@cells((UP, DOWN))
async def test_it_reads_nothing_from_the_first(
    binding: str, era: str, arg0: str, house: House, ledger: Ledger
) -> None:
    await _length(house, binding, era)
    async with nothing_left(house, binding), relayed(house, binding) as relay:
        relay.stop(arg0)
        story = Story()
        await story.live(relay.target, era, hasty(0.2))
        assert not story.happy
        assert story.refused is not None or era != LEGACY
        await _other_lives(house, binding, era)


@pytest.mark.share(3)
@cells()
async def test_a_large_argument_for_who_stops_reading(
    binding: str, era: str, house: House, ledger: Ledger
) -> None:
    """The write of a large argument has a deadline like any other; so has what waits behind it."""
    await _length(house, binding, era)
    async with (
        nothing_left(house, binding),
        relayed(house, binding) as relay,
        connect(relay.target, revision=era, settings=SETTINGS) as client,
    ):
        await client.call_tool("echo", {"text": "first"})
        relay.stop(UP)
        with anyio.fail_after(PATIENCE), pytest.raises((RequestTimeout, ConnectionError)):
            await client.call_tool("size", {"text": "x" * LARGE}, timeout=0.3)
        with anyio.fail_after(PATIENCE), pytest.raises(LocalError):
            await client.call_tool("echo", {"text": "behind"}, timeout=0.2)
        await _other_lives(house, binding, era)


@pytest.mark.share(3)
@cells()
async def test_large_answers_for_who_stops_reading(
    binding: str, era: str, house: House, ledger: Ledger
) -> None:
    """The server keeps no more than its bound of what nobody reads, and serves others."""
    await _length(house, binding, era)
    errors: list[Exception] = []

    async def call(client: Any) -> None:
        with anyio.fail_after(PATIENCE), pytest.raises((RequestTimeout, ConnectionError)) as caught:
            await client.call_tool("big", {"size": LARGE // 4}, timeout=0.3)
        errors.append(caught.value)

    async with (
        nothing_left(house, binding),
        relayed(house, binding) as relay,
        connect(relay.target, revision=era, settings=SETTINGS) as client,
    ):
        await client.call_tool("echo", {"text": "first"})
        relay.stop(DOWN)
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(call, client)
        await _other_lives(house, binding, era)
    assert len(errors) == 8
