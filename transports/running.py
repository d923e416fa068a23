"""What both runtimes keep about work in progress: handlers by key, requests of ours by id."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from mcpcore.engine.events import (
    ErrorReceived,
    InputRequired,
    Key,
    RequestEnded,
    ResultReceived,
)
from mcpcore.wire.message import RequestId

Outcome = ResultReceived | ErrorReceived | InputRequired | RequestEnded


_TASK = "handler"
"""Of each task: anyio would make a name for every one of them."""


class Told(Protocol):
    """Who is to know why a handler is stopped."""

    cancel_reason: str | None


class Run:
    """One handler at work: what remains to be said about it is that it is to stop."""

    __slots__ = ("_handle", "cancel_called", "told")

    def __init__(self, told: Told | None) -> None:
        self.told = told
        """Who learns why, if it is cancelled."""
        self.cancel_called = False
        """It was cancelled, whether it has ended or not."""
        self._handle: anyio.TaskHandle[None] | None = None

    def begun(self, handle: "anyio.TaskHandle[None]") -> None:
        """It has a task now, which has not begun to run."""
        self._handle = handle

    def cancel(self) -> None:
        """Have every ``await`` of the handler raise from now on."""
        self.cancel_called = True
        if self._handle is not None:
            self._handle.cancel()

    def ended(self) -> None:
        """It has ended: part with the task, which holds on to what it has raised."""
        self._handle = None


class Handlers:
    """The tasks that work on requests of the other side.

    ``release`` is called with a key when the handler of a cancelled request has ended.  A handler
    that waits is most of what a call in flight takes: so its task has no scope beside the one that
    anyio gives it, and nothing is kept of how it was begun.
    """

    def __init__(self, group: TaskGroup, release: Callable[[Key], object]) -> None:
        self._group = group
        self._release = release
        self._runs: dict[Key, Run] = {}
        self._idle: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, key: Key) -> bool:
        return key in self._runs

    def start(self, key: Key, work: Callable[[], Awaitable[None]], told: Told | None = None) -> Run:
        """Run ``work`` in a task of its own; it must not raise.

        ``told`` learns the reason if the request is cancelled.
        """
        run = self._runs[key] = Run(told)
        run.begun(self._group.start_soon(self._run, key, run, work, name=_TASK))
        return run

    def cancel(self, key: Key, reason: str | None = None) -> None:
        """The request was cancelled: stop its handler, or release it at once if it has none."""
        run = self._runs.get(key)
        if run is None:
            self._release(key)
            return
        if run.told is not None:
            run.told.cancel_reason = reason
        run.cancel()

    async def idle(self) -> None:
        """Wait until no handler runs."""
        while self._runs:
            if self._idle is None:
                self._idle = anyio.Event()
            await self._idle.wait()

    async def _run(self, key: Key, run: Run, work: Callable[[], Awaitable[None]]) -> None:
        try:
            running = work()
            del work
            await running
        finally:
            run.ended()
            del self._runs[key]
            if run.cancel_called:
                self._release(key)
            if not self._runs and self._idle is not None:
                self._idle.set()
                self._idle = None


class Waiting:
    """The callers that wait for the outcome of a request of ours; no task for any of them."""

    def __init__(self) -> None:
        self._waiters: dict[RequestId, _Waiter] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def expect(self, request: RequestId) -> None:
        """From now on the outcome of ``request`` is kept until it is waited for."""
        self._waiters[request] = _Waiter()

    def forget(self, request: RequestId) -> None:
        """The outcome of ``request`` is of no interest any more."""
        self._waiters.pop(request, None)

    def settle(self, outcome: Outcome) -> bool:
        """Hand over an outcome; False if nobody expects it."""
        waiter = self._waiters.get(outcome.request)
        if waiter is None:
            return False
        waiter.outcome = outcome
        if waiter.event is not None:
            waiter.event.set()
        return True

    async def outcome(self, request: RequestId) -> Outcome:
        """Wait for what became of an expected request, however long that takes."""
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


class _Waiter:
    __slots__ = ("event", "outcome")

    def __init__(self) -> None:
        self.event: anyio.Event | None = None
        self.outcome: Outcome | None = None
