"""Lifespan of a server: entered before its first connection, left after its last one.

In each event loop, to which its resources belong, it is entered for the first holder and left with
the last (:func:`within`).  One task of its own does both, as cancel scopes within it require.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar, copy_context
from typing import Any

import anyio

from mcpcore.errors import HandlerExit, LifespanError
from mcpcore.service import Service
from mcpcore_transports.link import clock
from mcpcore_transports.running import functions
from mcpcore_transports.server.settings import RuntimeSettings

logger = logging.getLogger("mcpcore.lifespan")

_GRACE = 1.0
"""Seconds of grace for tasks that were cancelled at a limit."""


async def within(
    server: Service,
    settings: RuntimeSettings,
    work: Callable[[Any], Awaitable[None]],
    *,
    stop: anyio.Event | None = None,
) -> None:
    """Enter the lifespan of ``server`` and call ``work`` with the value that it yields.

    ``work`` is cancelled if the lifespan ends by itself.  ``stop`` ends the wait for the start, and
    then ``work`` is not called.  Raises LifespanError if the lifespan does not start, ends by
    itself, or does not end well; that is logged instead if ``work`` has raised an exception.
    """
    life = _lives.get((server, functions.current_loop()))
    if life is not None and life in _around.get() and not life.over:  # held already
        await work(life.value)
        return
    holder = anyio.CancelScope()
    life = await _hold(server, settings, holder)
    try:
        async with anyio.create_task_group() as group:

            async def wait(event: anyio.Event) -> None:
                await event.wait()
                group.cancel_scope.cancel()

            for event in filter(None, (life.begun, stop)):
                group.start_soon(wait, event)
        if life.entered:
            token = _around.set((*_around.get(), life))
            try:
                with holder:
                    await work(life.value)
            finally:
                _around.reset(token)
    except BaseException as error:
        if (failure := await life.let_go(holder)) is not None:
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise failure from None
            logger.error("%s", failure)
        raise
    if (failure := await life.let_go(holder)) is not None:
        raise failure


def mounted_values(server: Service) -> Mapping[Service, Any]:
    """Return what the lifespans of mounted servers yield, within that of ``server``."""
    return _lives[server, functions.current_loop()].mounted


def seconds_left() -> float:
    """Return the seconds that lifespans being left may still take; safe from any thread."""
    return max((life.until - clock() for life in _lives.copy().values()), default=0.0)


class _LifespanRun:
    """Lifespan in one event loop, from its start to its end."""

    def __init__(self, server: Service, settings: RuntimeSettings) -> None:
        assert server.lifespan is not None  # noqa: S101 - see within
        self._server = server
        self._declared = server.lifespan
        self._settings = settings
        self.holders: set[anyio.CancelScope] = set()
        """Scopes of the holders, which are cancelled if the lifespan ends by itself."""
        self.begun = anyio.Event()
        """Event that is set when the lifespan is entered, or never will be."""
        self.entered = False
        self.value: Any = None
        self.mounted: dict[Service, Any] = {}
        """Values of mounted servers."""
        self.over = False
        """True while it is being left: new holders wait for its end and enter it anew."""
        self.ended = anyio.Event()
        self.until = 0.0
        """Time at which it must have been left, on the clock of the drivers."""
        self._scope = anyio.CancelScope()
        self._unheld = anyio.Event()
        self._given_up = False
        self._broken = False
        self._raised: BaseException | None = None

    async def run(self) -> None:
        """Enter the lifespan, wait for the last holder, leave it."""
        scope = self._scope
        functions.guard_tasks(functions.current_loop())
        functions.enter_handler()
        try:
            # One scope from start to end: those that are entered within end before it.
            with scope:
                scope.deadline = anyio.current_time() + self._settings.lifespan_start
                async with AsyncExitStack() as stack:
                    opened = self._declared.open(self._server)
                    self.value = await stack.enter_async_context(opened)
                    for each in self._server.mounted:
                        if each.lifespan is not None:
                            entered = each.lifespan.open(each)
                            self.mounted[each] = await stack.enter_async_context(entered)
                    if not scope.cancel_called:
                        scope.deadline = math.inf
                        await self._stay()
                    scope.deadline = anyio.current_time() + self._settings.lifespan_end
                    scope.shield = True
        except BaseException as error:
            logger.debug("the lifespan %s failed", self._declared.name, exc_info=error)
            self._raised = error
        self._broken = self._broken and not _is_cancelled()
        self._end()

    async def _stay(self) -> None:
        """Wait until there is no holder."""
        self.entered = True
        self.begun.set()
        try:
            await self._unheld.wait()
        except anyio.get_cancelled_exc_class():
            # Cancelled by a task group that was opened within, or by the end of the event loop: the
            # lifespan ends as usual, after its holders.
            self._broken = True
            self._begin_end()
            for holder in self.holders:
                holder.cancel()
            with anyio.move_on_after(self._settings.lifespan_end, shield=True):
                await self._unheld.wait()

    async def let_go(self, holder: anyio.CancelScope) -> LifespanError | None:
        """Remove a holder; if the lifespan is being left, await its end and return its failure."""
        self.holders.discard(holder)
        if not self.holders:
            self._begin_end()
            self._unheld.set()
            if not self.begun.is_set():
                self._given_up = True
                self._scope.cancel()
        if not self.over:
            return None
        with anyio.move_on_after(2 * self._settings.lifespan_end + _GRACE, shield=True):
            await self.ended.wait()
        self._end()
        if isinstance(self._raised, KeyboardInterrupt):
            raise self._raised
        if (problem := self._problem()) is None:
            return None
        return LifespanError(f"the lifespan {self._declared.name} {problem}")

    def _begin_end(self) -> None:
        self.over = True
        self.until = clock() + self._settings.lifespan_end + _GRACE

    def _end(self) -> None:
        for key, life in _lives.copy().items():
            if life is self:
                del _lives[key]
        self.over = True
        self.begun.set()
        self.ended.set()

    def _problem(self) -> str | None:
        settings, late = self._settings, self._scope.cancel_called
        raised = "" if self._raised is None else f": {_described(self._raised)}"
        if not self.entered:
            if self._given_up:
                return None
            if late:
                return f"did not start within {settings.lifespan_start:g} seconds"
            return f"failed at its start{raised}"
        if self._broken:
            return f"failed while the server was running{raised}" if raised else "ended too early"
        if late:
            return f"did not end within {settings.lifespan_end:g} seconds"
        return f"failed at its end{raised}" if raised else None


_lives: dict[tuple[Service, object], _LifespanRun] = {}
"""Entered lifespans by server and event loop."""

_around: ContextVar[tuple[_LifespanRun, ...]] = ContextVar("mcpcore.lifespans", default=())
"""Lifespans that are held around the running code."""


async def _hold(
    server: Service, settings: RuntimeSettings, holder: anyio.CancelScope
) -> _LifespanRun:
    key = server, functions.current_loop()
    while (life := _lives.get(key)) is not None and life.over:
        await life.ended.wait()
    if life is not None:
        life.holders.add(holder)
        return life
    for other in _lives.copy():
        if functions.is_over(other[1]):
            _lives.pop(other, None)
    life = _lives[key] = _LifespanRun(server, settings)
    life.holders.add(holder)
    functions.start_background(life.run, copy_context())
    return life


def _is_cancelled() -> bool:
    """Return True if this task is cancelled from outside, as at the end of the event loop."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # trio
        task = None
    cancels = 0 if task is None else task.cancelling()
    return cancels > 0 or anyio.current_effective_deadline() == -math.inf


def _described(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, HandlerExit):
        error = error.__cause__ or error
    text, kind = str(error), type(error).__name__
    return f"{kind}: {text}" if text else kind
