"""Callbacks for the progress of our requests."""

from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup

from mcpcore.engine.events import ProgressReceived
from mcpcore.wire.message import RequestId
from mcpcore_transports.running.serial_calls import InOrder

ProgressCallback = Callable[[float, float | None, str | None], Awaitable[None] | None]
"""Callback with progress, total (None: unknown) and message."""


class Progress:
    """Dispatcher of the progress of each request to the callback of its sender.

    Each callback gets its reports in order; a slow one does not delay others.  ``limit``: maximum
    number of reports on one request that wait for its callback; further ones are dropped.
    ``failed`` is called with the exceptions of callbacks.
    """

    def __init__(
        self, group: TaskGroup, *, limit: int, failed: Callable[[str, Exception], object]
    ) -> None:
        self._group = group
        self._limit = limit
        self._failed = failed
        self._callbacks: dict[RequestId, tuple[ProgressCallback, InOrder]] = {}

    def expect(self, request: RequestId, callback: ProgressCallback) -> None:
        """Register ``callback`` for the progress of ``request``."""
        what = "hearing of progress"
        calls = InOrder(self._group, what, limit=self._limit, failed=self._failed)
        self._callbacks[request] = callback, calls

    def forget(self, request: RequestId) -> None:
        """Remove the callback of ``request``."""
        self._callbacks.pop(request, None)

    def hear(self, event: ProgressReceived) -> None:
        """Pass a progress notification of the peer to its callback."""
        found = self._callbacks.get(event.request)
        if found is not None:
            callback, calls = found
            calls.call(callback, event.progress, event.total, event.message)
