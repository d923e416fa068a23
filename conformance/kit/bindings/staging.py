"""What the stages of real bindings share: tasks that read, and the clock of the event loop."""

from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from conformance.kit.log import Log
from conformance.kit.wire import Wire
from mcpcore.spec.revisions import Revision


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

    @property
    def keeps(self) -> bool:
        """Whether conversations are kept; here, opening one costs little."""
        return False

    def kept(self, revision: Revision, said: str, log: Log) -> tuple[Wire, int] | None:
        """See :class:`~conformance.kit.wire.Stage`."""
        return None

    def keep(self, revision: Revision, said: str, wire: Wire, next_id: int) -> None:
        """See :class:`~conformance.kit.wire.Stage`."""
        raise NotImplementedError

    def now(self) -> float:
        """Seconds of the event loop's clock."""
        return anyio.current_time()

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)
