"""Hundreds of stdio servers, well-behaved and not: started, used, ended; none is left behind."""

import sys
from itertools import cycle, islice

import anyio
import pytest

from mcpcore import ConnectionSettings, Negotiation, ProcessSettings
from mcpcore_transports.stdio.process import ProcessLink
from tests.shares import Some
from tests.transports.apps import Caller, make_client
from tests.transports.remains import held, holders, new_token
from tests.transports.stdio.test_process_ends import HABITS

SETTINGS = ProcessSettings(
    close_wait=0.3,
    term_wait=0.3,
    kill_wait=60.0,
    stderr="discard",
    # The machine is busy on purpose.
    connection=ConnectionSettings(drain=0.1),
)
FLEET = [
    [],
    ["lingers"],
    [],
    ["child"],
    ["lingers", "stubborn"],
    ["group", "child"],
    ["mute"],
    ["session", "daemon"],
    ["mute", "stubborn", "child"],
    ["flood", "stubborn"],
    ["lingers", "stubborn", "child", "group", "session", "daemon", "hidden"],
]
TOGETHER = 24


class Fleet:
    """Servers with all kinds of habits, some of them at a time."""

    def __init__(self, size: int) -> None:
        self.token = new_token()
        self.todo = islice(cycle(FLEET), size)
        self.started = 0
        self.answered = 0
        self.ended = 0
        self.half = anyio.Event()
        self._size = size

    async def sail(self, *, until_half: bool = False) -> None:
        """Start and end servers until there are none to start, or half of them are."""
        async with anyio.create_task_group() as tasks:
            for _ in range(TOGETHER):
                tasks.start_soon(self._work)
            if until_half:
                await self.half.wait()
                tasks.cancel_scope.cancel()

    async def _work(self) -> None:
        for habits in self.todo:
            await self._one(habits)

    async def _one(self, habits: list[str]) -> None:
        client = Caller(make_client(Negotiation.LEGACY))
        command = [sys.executable, "-S", "-E", HABITS, self.token, *habits]
        client.link = link = ProcessLink(client.peer, client, command, settings=SETTINGS)
        self.started += 1
        if self.started * 2 > self._size:
            self.half.set()
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(link.run)
                client.begin()
                if "mute" not in habits:
                    assert await client.echo(a=self.started)
                    self.answered += 1
                await link.aclose()
        finally:
            assert client.ended
            assert link.returncode is not None or link.pid is None
            self.ended += 1


async def put_to_sea(size: int, *, cancelled: bool) -> int:
    """Check that nothing is left of a fleet; give how many servers were started."""
    before = held()
    fleet = Fleet(size)
    await fleet.sail(until_half=cancelled)
    assert fleet.ended == fleet.started
    assert fleet.answered >= fleet.started * 2 // 3 - TOGETHER
    assert holders(fleet.token) == {}
    assert held() == before
    return fleet.started


@pytest.mark.anyio
@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_flotilla(cancelled: bool) -> None:
    started = await put_to_sea(len(FLEET), cancelled=cancelled)
    assert started > len(FLEET) // 2 if cancelled else started == len(FLEET)


@pytest.mark.long
@pytest.mark.anyio
@pytest.mark.timeout(240)
@pytest.mark.parametrize("cancelled", [False, True])
async def test_hundreds_of_servers(cancelled: bool, some: Some) -> None:
    """On two event loops to their end, and half of them until the parent task is cancelled.

    With ``--repetitions`` there are hundreds on both loops together.
    """
    size = 220 if some.share == 1 else 132
    started = await put_to_sea(size, cancelled=cancelled)
    assert started > size // 2 if cancelled else started == size
