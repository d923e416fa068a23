"""What both runtimes keep about work in progress: handlers by key, requests of ours by id."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from mcpcore.engine.events import (
    ErrorReceived,
    InputRequired,
    Key,
    RequestEnded,
    ResultReceived,
)
from mcpcore.wire.message import RequestId

Outcome = ResultReceived | ErrorReceived | InputRequired | RequestEnded


class Told(Protocol):
    """Who is to know why a handler is stopped."""

    cancel_reason: str | None


class Handlers:
    """The tasks that work on requests of the other side.

    ``release`` is called with a key when the handler of a cancelled request has ended.
    """

    def __init__(self, group: TaskGroup, release: Callable[[Key], object]) -> None:
        self._group = group
        self._release = release
        self._scopes: dict[Key, anyio.CancelScope] = {}
        self._told: dict[Key, Told] = {}
        self._idle: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._scopes)

    def __contains__(self, key: Key) -> bool:
        return key in self._scopes

    def start(
        self, key: Key, work: Callable[[], Awaitable[None]], told: Told | None = None
    ) -> anyio.CancelScope:
        """Run ``work`` in a task of its own, in the scope returned; it must not raise.

        ``told`` learns the reason if the request is cancelled.
        """
        scope = self._scopes[key] = anyio.CancelScope()
        if told is not None:
            self._told[key] = told
        self._group.start_soon(self._run, key, scope, work)
        return scope

    def cancel(self, key: Key, reason: str | None = None) -> None:
        """The request was cancelled: stop its handler, or release it at once if it has none."""
        scope, told = self._scopes.get(key), self._told.get(key)
        if told is not None:
            told.cancel_reason = reason
        if scope is None:
            self._release(key)
        else:
            scope.cancel()

    async def idle(self) -> None:
        """Wait until no handler runs."""
        while self._scopes:
            if self._idle is None:
                self._idle = anyio.Event()
            await self._idle.wait()

    async def _run(
        self, key: Key, scope: anyio.CancelScope, work: Callable[[], Awaitable[None]]
    ) -> None:
        try:
            with scope:
                await work()
        finally:
            del self._scopes[key]
            self._told.pop(key, None)
            if scope.cancel_called:
                self._release(key)
            if not self._scopes and self._idle is not None:
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
