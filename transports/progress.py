"""Who hears of the progress of requests of ours."""

from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup

from mcpcore.engine.events import ProgressReceived
from mcpcore.wire.message import RequestId
from transports.in_order import InOrder

ProgressCallback = Callable[[float, float | None, str | None], Awaitable[None] | None]
"""Takes progress, total (None: unknown) and message."""


class Progress:
    """Hands the progress of each request to the function that its sender gave.

    Each hears in order; one that is slow keeps no other waiting.  ``limit``: so many reports on one
    request wait for the callback to take those before them; what is more is dropped.  ``failed`` is
    told what such a function raises.
    """

    def __init__(
        self, group: TaskGroup, *, limit: int, failed: Callable[[str, Exception], object]
    ) -> None:
        self._group = group
        self._limit = limit
        self._failed = failed
        self._callbacks: dict[RequestId, tuple[ProgressCallback, InOrder]] = {}

    def expect(self, request: RequestId, callback: ProgressCallback) -> None:
        """From now on ``callback`` hears of ``request``."""
        what = "hearing of progress"
        calls = InOrder(self._group, what, limit=self._limit, failed=self._failed)
        self._callbacks[request] = callback, calls

    def forget(self, request: RequestId) -> None:
        """Nothing more is to be heard of ``request``."""
        self._callbacks.pop(request, None)

    def hear(self, event: ProgressReceived) -> None:
        """The other side reports how far it is."""
        found = self._callbacks.get(event.request)
        if found is not None:
            callback, calls = found
            calls.call(callback, event.progress, event.total, event.message)
