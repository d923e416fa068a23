"""Servers whose lifespan tells a diary what becomes of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel

from mcpcore.service import Server
from mcpcore_transports.server.context import Context
from tests.clock import PATIENCE


class Diary:
    """What happened, in order."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self._more = anyio.Event()

    def add(self, entry: str) -> None:
        self.entries.append(entry)
        more, self._more = self._more, anyio.Event()
        more.set()

    async def until(self, *entries: str) -> None:
        """Wait until all of them have been made."""
        with anyio.fail_after(PATIENCE):
            while [each for each in entries if each not in self.entries]:
                await self._more.wait()


def declared(
    diary: Diary,
    *,
    start: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint,
    end: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint,
) -> Server:
    """A server whose lifespan keeps a diary, does something at its start and at its end, and yields
    how often it was entered.

    Its tool ``life`` tells that; ``wait`` waits to be cancelled, and is not quick about it then.
    """
    times = 0

    @asynccontextmanager
    async def life() -> AsyncIterator[int]:
        nonlocal times
        times += 1
        diary.add(f"start {times}")
        await start()
        diary.add(f"started {times}")
        yield times
        diary.add(f"end {times}")
        await end()
        diary.add(f"ended {times}")

    server = Server("lively", lifespan=life)

    @server.tool(name="life")
    async def tell(context: Context[int]) -> int:
        return context.lifespan

    @server.tool(task="optional", task_poll=0.01)
    async def wait(context: Context[int]) -> str:
        diary.add("call begins")
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
            diary.add(f"call ends in life {context.lifespan}")
        return "never"

    return server
