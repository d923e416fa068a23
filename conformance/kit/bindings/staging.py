"""What the stages of real bindings share: tasks that read, and the clock of the event loop."""

import math
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from conformance.kit.log import Log
from conformance.kit.wire import Kept
from mcpcore.spec.revisions import Revision

PATIENCE = 5.0
"""Seconds for a connection, a write, and for each step of leaving."""
HURRY = 0.3
"""Seconds for leaving, when the run was interrupted."""


def leaving(patience: float) -> float:
    """How long a goodbye may take, in seconds: hardly any time once the run was interrupted."""
    return min(patience, HURRY) if anyio.current_effective_deadline() == -math.inf else patience


class Staging:
    """An asynchronous context in which connections are read."""

    def __init__(self) -> None:
        self.tasks: TaskGroup
        self.patience = PATIENCE
        """Seconds for a connection, and for each step of leaving."""

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

    async def kept(self, revision: Revision, said: str, log: Log, *, wait: bool) -> Kept | None:
        """See :class:`~conformance.kit.wire.Stage`."""
        return None

    def keep(self, revision: Revision, said: str, kept: Kept) -> None:
        """See :class:`~conformance.kit.wire.Stage`."""
        raise NotImplementedError

    def now(self) -> float:
        """Seconds of the event loop's clock."""
        return anyio.current_time()

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)
