"""What the stages of real bindings share: tasks that read, and the clock of the event loop."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from mcpcore_conformance.kit.verdicts import Broken
from mcpcore_conformance.kit.wire import Stage

PATIENCE = 5.0
"""Seconds for a connection, and for each step of leaving, if nobody says others."""
UNREAD = 30.0
"""Seconds for a write, if nobody says others: only a server that does not read needs them."""
HURRY = 0.3
"""Seconds for all goodbyes, once the run is interrupted; one that begins later has a tenth."""


class Staging(Stage):
    """An asynchronous context in which connections are read.

    A run is interrupted by cancelling what this context is part of.
    """

    def __init__(self) -> None:
        self.tasks: TaskGroup
        self._goodbyes: set[anyio.CancelScope] = set()
        self._hurry = math.inf
        """When goodbyes have to be over, by the clock of the event loop."""
        self.patience = PATIENCE
        """Seconds for a connection, and for each step of leaving."""
        self.unread = UNREAD
        """Seconds for a write."""

    async def __aenter__(self) -> Self:
        """Get ready to connect."""
        self.tasks = await anyio.create_task_group().__aenter__()
        self.tasks.start_soon(self._watch)
        return self

    async def __aexit__(self, *raised: Any) -> bool | None:
        """Stop what still reads."""
        self.tasks.cancel_scope.cancel()
        return await self.tasks.__aexit__(*raised)

    @contextmanager
    def writing(self, data: bytes) -> Iterator[None]:
        """Give a server ``unread`` seconds to read; Broken if it does not."""
        try:
            with anyio.fail_after(self.unread):
                yield
        except TimeoutError as error:
            raise Broken(
                f"the server did not read {len(data)} bytes in {self.unread:g} s"
            ) from error

    @contextmanager
    def leaving(self, within: float | None = None) -> Iterator[None]:
        """Give a goodbye ``patience`` seconds, and hardly any once the run is interrupted.

        ``within``: so many seconds in their place.

        What is being done is not cancelled; it is left when the time is over.
        """
        now = anyio.current_time()
        seconds = self.patience if within is None else within
        until = min(now + seconds, max(self._hurry, now + HURRY / 10))
        with anyio.CancelScope(shield=True, deadline=until) as scope:
            self._goodbyes.add(scope)
            try:
                yield
            finally:
                self._goodbyes.remove(scope)

    async def _watch(self) -> None:
        """Let who is leaving hurry when the run is interrupted: they do not notice it."""
        try:
            await anyio.sleep_forever()
        finally:
            self._hurry = anyio.current_time() + HURRY
            for scope in self._goodbyes:
                scope.deadline = min(scope.deadline, self._hurry)

    def now(self) -> float:
        """Seconds of the event loop's clock."""
        return anyio.current_time()

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)
