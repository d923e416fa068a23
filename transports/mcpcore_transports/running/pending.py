"""Work in progress of both runtimes: running handlers, calls in order, and our requests."""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from msgspec import Struct

from mcpcore.engine import events
from mcpcore.wire.message import RequestId
from mcpcore_transports.running.functions import enter_handler, failure_of, is_awaitable

logger = logging.getLogger("mcpcore.application")

Settled = events.ResultReceived | events.ErrorReceived | events.InputRequired | events.RequestEnded
"""Event that ends the wait for one of our requests."""

_TASK = "handler"
"""Name of every task: anyio and asyncio would make one for each."""


class Told(Protocol):
    """Object that is given the reason when a handler is stopped."""

    cancel_reason: str | None


class Run:
    """Running handler, which can be stopped."""

    __slots__ = ("cancel_called", "scope", "task", "told")

    def __init__(self, told: Told | None, scope: anyio.CancelScope) -> None:
        self.told = told
        """Object that is given the reason of a cancellation."""
        self.cancel_called = False
        """True if the handler was cancelled, also after its end."""
        self.scope = scope
        """Scope that the task enters before anything else."""
        self.task: asyncio.Task[None] | None = None
        """Task of the handler while it runs, unless it is one of the group's."""

    def cancel(self) -> None:
        """Make every ``await`` of the handler raise from now on."""
        self.cancel_called = True
        self.scope.cancel()


class Handlers:
    """Handler tasks for the requests of the peer.

    ``release`` is called with a key when the handler of a cancelled request has ended.
    ``loop``: that of asyncio, where the owner of ``group`` calls :meth:`stop` before the group
    ends. Handlers are then tasks of the loop, at half the cost of tasks of an anyio group.
    """

    def __init__(
        self, group: TaskGroup, release: Callable[[events.Key], object], loop: object = None
    ) -> None:
        self._group = group
        self._release = release
        self._loop = loop if isinstance(loop, asyncio.AbstractEventLoop) else None
        # For a new scope, anyio would look up the loop and make the scope twice.
        self._scope = type(group.cancel_scope)
        self._runs: dict[events.Key, Run] = {}
        self._idle: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, key: events.Key) -> bool:
        return key in self._runs

    def start(
        self, key: events.Key, work: Callable[[], Awaitable[None]], told: Told | None = None
    ) -> Run:
        """Run ``work``, which must not raise; ``told`` gets the reason of a cancellation."""
        run = self._runs[key] = Run(told, self._scope())
        if self._loop is None:
            self._group.start_soon(self._run, key, run, work, name=_TASK)
        else:
            # No task factory is used: an eager one would start it here, within App.handle().
            run.task = asyncio.Task(self._run(key, run, work), loop=self._loop, name=_TASK)
        return run

    def cancel(self, key: events.Key, reason: str | None = None) -> None:
        """Stop the handler of a cancelled request; release the request if it has none."""
        run = self._runs.get(key)
        if run is None:
            self._release(key)
            return
        if run.told is not None:
            run.told.cancel_reason = reason
        run.cancel()

    def stop(self) -> None:
        """Stop all handlers; the group does not end before they have."""
        self._loop = None  # handlers started from now on end with the group
        tasks = []
        for run in self._runs.values():
            if run.task is not None:
                run.scope.cancel()
                tasks.append(run.task)
        if tasks:
            self._group.start_soon(_ended, tasks)

    async def idle(self) -> None:
        """Wait until no handler runs."""
        while self._runs:
            if self._idle is None:
                self._idle = anyio.Event()
            await self._idle.wait()

    async def _run(self, key: events.Key, run: Run, work: Callable[[], Awaitable[None]]) -> None:
        enter_handler()
        grouped = run.task is None
        try:
            try:
                with run.scope:
                    running = work()
                    del work
                    await running
            finally:
                run.task = None  # the task refers to the exception that it raised
                if self._runs.get(key) is run:  # its work may have started another
                    del self._runs[key]
                if run.cancel_called:
                    self._release(key)
                if not self._runs and self._idle is not None:
                    self._idle.set()
                    self._idle = None
        except GeneratorExit:
            return  # raised by an awaited future: that closes coroutines, and ``work`` has answered
        except BaseException as error:
            if grouped:
                raise
            self._group.start_soon(_fail, error)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    with anyio.CancelScope(shield=True):
        await asyncio.wait(tasks)


async def _fail(error: BaseException) -> None:
    raise error


class _Waiter(Struct):
    event: anyio.Event | None = None
    outcome: Settled | None = None


class Waiting:
    """Outcomes of our requests, for callers that wait for them without a task each."""

    def __init__(self) -> None:
        self._waiters: dict[RequestId, _Waiter] = {}
        self._idle = anyio.Event()

    def __len__(self) -> int:
        return len(self._waiters)

    def expect(self, request: RequestId) -> None:
        """Keep the outcome of ``request`` from now on until a caller takes it."""
        self._waiters[request] = _Waiter()

    def forget(self, request: RequestId) -> None:
        """Drop the outcome of ``request``."""
        self._waiters.pop(request, None)
        if not self._waiters:
            self._idle.set()

    def settle(self, outcome: Settled) -> bool:
        """Deliver an outcome; return False if it is not expected."""
        waiter = self._waiters.get(outcome.request)
        if waiter is None:
            return False
        waiter.outcome = outcome
        if waiter.event is not None:
            waiter.event.set()
        return True

    async def outcome(self, request: RequestId) -> Settled:
        """Wait without limit for the outcome of an expected request."""
        waiter = self._waiters[request]
        try:
            if waiter.outcome is not None:
                await checkpoint()
            while waiter.outcome is None:
                waiter.event = anyio.Event()
                await waiter.event.wait()
            return waiter.outcome
        finally:
            self.forget(request)

    async def idle(self) -> None:
        """Wait without limit until nobody waits for an outcome."""
        while self._waiters:
            if self._idle.is_set():
                self._idle = anyio.Event()
            await self._idle.wait()


ProgressCallback = Callable[[float, float | None, str | None], Awaitable[None] | None]
"""Callback with progress, total (None: unknown) and message."""


class SerialCalls:
    """Caller of functions in order: plain ones at once, coroutine functions one after the other.

    Errors are passed to ``failed``.  At most ``limit`` calls wait; further ones are dropped, with a
    warning that names ``what``.
    """

    __slots__ = ("_failed", "_group", "_limit", "_waiting", "_what", "_working")

    def __init__(
        self, group: TaskGroup, what: str, *, limit: int, failed: Callable[[str, Exception], object]
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
        if is_awaitable(answer):
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

    def hear(self, event: events.ProgressReceived) -> None:
        """Pass a progress notification of the peer to its callback."""
        found = self._callbacks.get(event.request)
        if found is not None:
            callback, calls = found
            calls.call(callback, event.progress, event.total, event.message)
