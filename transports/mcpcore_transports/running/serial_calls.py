"""Calls of application functions one at a time, in the order of events; progress callbacks."""

import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from anyio.abc import TaskGroup

from mcpcore.engine.events import ProgressReceived
from mcpcore.wire.message import RequestId
from mcpcore_transports.running.cancellation import failure_of
from mcpcore_transports.running.task_guard import enter_handler

logger = logging.getLogger("mcpcore.application")

ProgressCallback = Callable[[float, float | None, str | None], Awaitable[None] | None]
"""Callback with progress, total (None: unknown) and message."""


class SerialCalls:
    """Caller of functions in order: plain ones at once, coroutine functions one after the other.

    Errors are passed to ``failed``.  At most ``limit`` calls wait; further ones are dropped, with a
    warning that names ``what``.
    """

    __slots__ = ("_failed", "_group", "_limit", "_waiting", "_what", "_working")

    def __init__(
        self,
        group: TaskGroup,
        what: str,
        *,
        limit: int,
        failed: Callable[[str, Exception], object],
    ) -> None:
        self._group = group
        self._what = what
        self._limit = limit
        self._failed = failed
        self._waiting: deque[Callable[[], Awaitable[object]]] = deque()
        self._working = False

    @property
    def idle(self) -> bool:
        """True if no call runs and none waits."""
        return not self._working

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function, now or after the calls before it."""
        if inspect.iscoroutinefunction(function):
            self.later(partial(function, *args))
            return
        try:
            answer = function(*args)
        except BaseException as error:
            self._failed(self._what, failure_of(error))
            return
        if inspect.isawaitable(answer):
            self.later(lambda: answer)

    def later(self, work: Callable[[], Awaitable[object]]) -> None:
        """Await ``work()`` after the calls before it."""
        if len(self._waiting) >= self._limit:
            logger.warning("%s is dropped: %d wait already", self._what, self._limit)
            return
        self._waiting.append(work)
        if not self._working:
            self._working = True
            self._group.start_soon(self._work)

    async def _work(self) -> None:
        enter_handler()
        while self._waiting:
            work = self._waiting.popleft()
            try:
                await work()
            except BaseException as error:
                self._failed(self._what, failure_of(error))
        self._working = False


class Progress:
    """Dispatcher of the progress of each request to the callback of its sender, in order.

    ``limit``: maximum number of reports on one request that wait; further ones are dropped.
    """

    def __init__(
        self, group: TaskGroup, *, limit: int, failed: Callable[[str, Exception], object]
    ) -> None:
        self._group = group
        self._limit = limit
        self._failed = failed
        self._callbacks: dict[RequestId, tuple[ProgressCallback, SerialCalls]] = {}

    def expect(self, request: RequestId, callback: ProgressCallback) -> None:
        """Register ``callback`` for the progress of ``request``."""
        what = "hearing of progress"
        calls = SerialCalls(self._group, what, limit=self._limit, failed=self._failed)
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
