"""Servers that are started again after they have failed, and real ones that are killed."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpcore import Callbacks, ClientSettings, ConnectionClosed, ProcessSettings, StdioTarget
from mcpcore.engine.reconnection import (
    ConnectionEvent,
    ConnectionLost,
    Reconnected,
    Reconnecting,
    ReconnectingGivenUp,
    ReconnectSettings,
)
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore_transports.client.client import Client, connect
from tests.clock import patience
from tests.transports.serving import gone, serving

pytestmark = pytest.mark.anyio

ERAS = pytest.mark.parametrize("revision", [LATEST_LEGACY.name, LATEST.name])
FRAGILE = str(Path(__file__).parents[1] / "fragile.py")


class Story:
    """What the client heard of its connection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[ConnectionEvent] = []
        self.client: Client
        self.lines: list[str] = []
        """Of the standard error of its processes."""
        self._changed = anyio.Event()

    def hear(self, event: ConnectionEvent) -> None:
        self.events.append(event)
        self.wake()

    def read(self, line: str) -> None:
        self.lines.append(line)
        self.wake()

    def wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def told(self) -> list[type[Any]]:
        return [type(event) for event in self.events]

    async def until(self, kind: type[Any], count: int = 1) -> Any:
        while self.told().count(kind) < count:
            await self._changed.wait()
        return [event for event in self.events if type(event) is kind][count - 1]

    async def said(self, line: str) -> None:
        while line not in self.lines:
            await self._changed.wait()

    def pids(self) -> list[int]:
        """The processes that were started, in order."""
        starts = sorted(self.folder.glob("start-*"), key=lambda path: int(path.name[6:]))
        return [int(path.read_text()) for path in starts]


@asynccontextmanager
async def fragile(
    folder: Path, revision: str, *fates: str, restarts: int = 3, delay: float = 0.01, **more: Any
) -> AsyncIterator[Story]:
    """A client of a server that breaks; afterwards none of its processes is left."""
    story = Story(folder)
    settings = ClientSettings(
        reconnect=ReconnectSettings(
            max_restarts=restarts, first_delay=delay, max_delay=delay, **more
        ),
        process=ProcessSettings(stderr=story.read, close_wait=0.5, term_wait=0.5),
    )
    target = StdioTarget([sys.executable, FRAGILE, str(folder), *fates])
    try:
        with patience():
            async with connect(
                target,
                revision=revision,
                settings=settings,
                callbacks=Callbacks(connection=story.hear),
            ) as story.client:
                yield story
    finally:
        with anyio.CancelScope(shield=True):
            for pid in story.pids():
                await gone(pid)


@pytest.mark.parametrize("revision", [LATEST.name])
async def test_a_server_that_fails_is_not_started_again_by_itself(
    revision: str, tmp_path: Path
) -> None:
    async with fragile(tmp_path, revision, restarts=0) as story:
        with pytest.raises(ConnectionClosed) as caught:
            await story.client.call_tool("die")
        assert "exited with code 7" in str(caught.value)
        assert "cannot go on: 7" in str(caught.value)
        assert story.told() == [ReconnectingGivenUp]
        with pytest.raises(ConnectionClosed, match="exited with code 7"):
            await story.client.ping()
    assert ReconnectSettings().max_restarts == 0
    assert len(story.pids()) == 1


@pytest.mark.share(4)
@ERAS
@pytest.mark.parametrize("code", [0, 7])
@pytest.mark.requirement("basic/patterns/subscriptions/listen-again")
async def test_a_server_is_started_again_with_its_subscriptions(
    revision: str, code: int, tmp_path: Path
) -> None:
    async with fragile(tmp_path, revision) as story:
        client = story.client
        async with client.listen(uris=["a:b"]) as changes:
            with pytest.raises(ConnectionClosed, match=f"exited with code {code}"):
                await client.call_tool("die", {"code": code})
            missed = await anext(changes)
            assert (missed.uri, missed.missed) == ("a:b", True)
            result = await client.call_tool("touch")
            told = await anext(changes)
            assert (told.uri, told.missed) == ("a:b", False)
        assert story.told() == [ConnectionLost, Reconnecting, Reconnected]
        assert f"code {code}" in story.events[0].reason  # type: ignore[union-attr]
        first, second = story.pids()
        assert result.content[0].text == str(second) != str(first)  # type: ignore[union-attr]


@pytest.mark.long
@ERAS
async def test_a_restart_may_fail_at_any_step(revision: str, tmp_path: Path) -> None:
    fates = ("well", "crash", "half", "crash")
    async with fragile(tmp_path, revision, *fates, restarts=4) as story:
        with pytest.raises(ConnectionClosed):
            await story.client.call_tool("die")
        await story.client.call_tool("touch")
        assert [type(event) for event in story.events] == [
            ConnectionLost,
            *[Reconnecting] * 4,
            Reconnected,
        ]
        reasons = [event.reason for event in story.events if isinstance(event, Reconnecting)]
        codes = [7, 3, 4, 3]
        for reason, code in zip(reasons, codes, strict=True):
            assert f"exited with code {code}" in reason
        assert "no configuration" in reasons[1]
        assert len(story.pids()) == 5


@pytest.mark.long
async def test_a_restarted_server_that_does_not_answer_is_ended(tmp_path: Path) -> None:
    async with fragile(tmp_path, LATEST.name, "well", "mute", opening=2.0) as story:
        with pytest.raises(ConnectionClosed):
            await story.client.call_tool("die")
        await story.client.call_tool("touch")
        reasons = [event.reason for event in story.events if isinstance(event, Reconnecting)]
        assert "within 2 s" in reasons[1]


@pytest.mark.long
@pytest.mark.parametrize("when", ["waiting", "opening"])
@pytest.mark.parametrize("how", ["closing", "cancelling"])
async def test_ending_it_meanwhile_leaves_nothing_behind(
    when: str, how: str, tmp_path: Path
) -> None:
    delay = 1000.0 if when == "waiting" else 0.01
    with anyio.CancelScope() as scope:
        async with fragile(tmp_path, LATEST.name, "well", "mute", delay=delay) as story:
            with pytest.raises(ConnectionClosed):
                await story.client.call_tool("die")
            await story.until(Reconnecting)
            if when == "opening":
                await story.said("start 1")
            if how == "cancelling":
                scope.cancel()
                await anyio.sleep_forever()
    assert scope.cancelled_caught is (how == "cancelling")
    assert story.told() == [ConnectionLost, Reconnecting]


# A server that runs by itself, killed and started again


@pytest.mark.long
@ERAS
@pytest.mark.parametrize("binding", ["ws", "tcp"])
async def test_a_killed_server_is_found_again(binding: str, revision: str) -> None:
    story = Story(Path())
    patient = ReconnectSettings(attempts=500, first_delay=0.02, max_delay=0.05)
    async with serving(f"--{binding}", "127.0.0.1:0") as first:
        port = first.port
        async with connect(
            first.url,
            revision=revision,
            settings=ClientSettings(reconnect=patient),
            callbacks=Callbacks(connection=story.hear),
        ) as client:
            await client.ping()
            os.kill(first.process.pid, signal.SIGKILL)
            await story.until(Reconnecting, 2)
            async with serving(f"--{binding}", f"127.0.0.1:{port}") as second:
                await client.ping()
                assert story.told()[-1] is Reconnected
                # A server that is asked to go says so, and is waited for as well.
                second.process.terminate()
                await story.until(ConnectionLost, 2)
            async with serving(f"--{binding}", f"127.0.0.1:{port}"):
                await client.ping()
                assert story.told().count(Reconnected) == 2
