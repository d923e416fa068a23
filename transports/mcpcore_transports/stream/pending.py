"""Accepted connections whose tasks have not begun to run."""

from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import ByteStream, TaskGroup


class Unbegun:
    """Starter of a task for each connection, which at exit closes connections without a task.

    A task that is cancelled before it has begun does nothing at all: it closes nothing, either.
    Therefore leave this context after the task group.
    """

    def __init__(self) -> None:
        self._streams: set[ByteStream] = set()

    def begin(
        self, group: TaskGroup, stream: ByteStream, work: Callable[[], Awaitable[None]], name: str
    ) -> None:
        """Run ``work``, which closes ``stream`` in the end, in a task of ``group``."""
        self._streams.add(stream)
        group.start_soon(self._run, stream, work, name=name)

    async def _run(self, stream: ByteStream, work: Callable[[], Awaitable[None]]) -> None:
        self._streams.discard(stream)
        await work()

    async def __aenter__(self) -> "Unbegun":
        return self

    async def __aexit__(self, *error: object) -> None:
        with anyio.CancelScope(shield=True):
            while self._streams:
                await anyio.aclose_forcefully(self._streams.pop())
