"""What the stages of real bindings share: tasks that read, and the clock of the event loop."""

from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup


class Staging:
    """An asynchronous context in which connections are read."""

    def __init__(self) -> None:
        self.tasks: TaskGroup

    async def __aenter__(self) -> Self:
        """Get ready to connect."""
        self.tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Stop what still reads."""
        self.tasks.cancel_scope.cancel()
        return await self.tasks.__aexit__(kind, value, trace)

    def now(self) -> float:
        """Seconds of the event loop's clock."""
        return anyio.current_time()

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)
