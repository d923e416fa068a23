"""An act with worker processes that are supervised: they begin, one is killed, all are ended."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from msgspec import structs

from mcpcore.errors import WorkersFailed
from mcpcore_transports.serve.serve import ungrouped
from mcpcore_transports.serve.workers import LIFELINE, Supervisor, WorkersSettings
from tests.torture.acts import Act
from tests.torture.functions import fallible
from tests.torture.raw_http import Refused, right
from tests.torture.story import Story

_PROGRAM = f"""
import posix
end = int(posix.environ[b{LIFELINE!r}])
posix.write(end, b"http://worker/\\n\\n")
posix.read(end, 1)
"""
"""What a worker does: it says that it listens, and stays until nobody supervises it."""
_DEAF = f"import _signal; _signal.signal({signal.SIGTERM:d}, _signal.SIG_IGN)\n{_PROGRAM}"
"""... also when it is told to go."""


WANTED = 2
"""How many there are."""


class Workshop:
    """Workers, and what is known of them."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.ready = anyio.Event()
        self.urls: list[str] = []
        self.ended = anyio.Event()

    async def until(self, there: Callable[[], bool]) -> None:
        """Wait for something that nobody tells, or for the end."""
        while not there():
            if self.ended.is_set():
                raise Refused
            await anyio.sleep(0.005)

    def listen(self, urls: list[str]) -> None:
        self.urls = urls
        self.ready.set()


def _supervised(program: str, drain: float) -> Any:
    @asynccontextmanager
    async def meet(story: Story, target: Any, era: str) -> AsyncIterator[Workshop]:
        async with _supervise(story, program, drain) as workshop:
            yield workshop

    return meet


@asynccontextmanager
async def _supervise(story: Story, program: str, drain: float) -> AsyncIterator[Workshop]:
    command = [sys.executable, "-I", "-S", "-c", program]
    settings = WorkersSettings(drain=drain, backoff=0.01, start=story.heard)

    def report(text: str) -> None:
        pass

    supervisor = Supervisor(
        command, WANTED, settings=settings, report=fallible(report, "Supervisor.report")
    )
    workshop = Workshop(supervisor)

    async def run() -> None:
        try:
            with ungrouped():
                await supervisor.run(ready=fallible(workshop.listen, "Supervisor.ready"))
        except OSError as error:
            raise AssertionError("nothing that the system refuses ends a supervisor") from error
        finally:
            workshop.ended.set()
            workshop.ready.set()

    with ungrouped():
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            yield workshop
            group.cancel_scope.cancel()


async def _listen(workshop: Workshop) -> str:
    await workshop.ready.wait()
    return right(" ".join(workshop.urls), "http://worker/")


async def _start_again(workshop: Workshop) -> str:
    """Kill one, and wait for that which takes its place."""
    await workshop.ready.wait()
    there = workshop.supervisor.pids
    before = dict(there)
    with suppress(ProcessLookupError):
        for pid in list(before.values())[:1]:
            os.kill(pid, signal.SIGKILL)
    await workshop.until(lambda: there != before and len(there) == WANTED)
    return "again"


async def _are_there(workshop: Workshop) -> str:
    await workshop.ready.wait()
    await workshop.until(lambda: len(workshop.supervisor.pids) == WANTED)
    return "True"


WORKERS = Act(
    meet=_supervised(_PROGRAM, 2.0),
    calls={_listen: "http://worker/", _start_again: "again"},
    last=(_are_there, "True"),
    ends=(Refused, WorkersFailed, TimeoutError),
    hears=frozenset({"_listen", "_start_again"}),
    serves=False,
)
"""Workers."""
DEAF_WORKERS = structs.replace(WORKERS, meet=_supervised(_DEAF, 0.02))
"""The same, with such as do not go."""
