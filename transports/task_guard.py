"""Tasks that functions of the user's start themselves, on asyncio.

A task that ends with SystemExit ends the event loop there, whoever waits for it, and whoever awaits
one that has ended with GeneratorExit is closed.  In a handler either is the failure of the handler:
tasks that begin in one end with :class:`~mcpcore.service.HandlerExit` instead.  Elsewhere tasks are
what they were; trio needs nothing of the kind.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from mcpcore.service import HandlerExit

P = ParamSpec("P")
T = TypeVar("T")

_in_handler: ContextVar[bool] = ContextVar("mcpcore.in_handler", default=False)

_ENDS = (SystemExit, GeneratorExit)


def enter_handler() -> None:
    """What begins in this context from now on belongs to a function of the user's."""
    _in_handler.set(True)


async def called(function: Callable[P, T | Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of the user's, and wait for what it returns if that is to be awaited."""
    with in_handler():
        value = function(*args, **kwargs)
        if inspect.isawaitable(value):
            awaited: T = await value
            return awaited
        return value


@contextmanager
def in_handler() -> Iterator[None]:
    """The same for a block, in a task that does not end with it."""
    token = _in_handler.set(True)
    try:
        yield
    finally:
        _in_handler.reset(token)


def guard_tasks(loop: object) -> None:
    """Look after the tasks of handlers in an event loop from now on; others than asyncio's may be.

    A task factory that the loop has makes the tasks as before.
    """
    if isinstance(loop, asyncio.AbstractEventLoop):
        inner = loop.get_task_factory()
        if not isinstance(inner, _Factory):
            loop.set_task_factory(_Factory(inner))


class _Factory:
    """A task factory that guards tasks of handlers, in front of another one."""

    def __init__(self, inner: Any) -> None:
        self._make = inner or _make

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> "asyncio.Future[Any]":
        made: asyncio.Future[Any]
        made = self._make(loop, _Guarded(coro) if _in_handler.get() else coro, **options)
        return made


def _make(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> "asyncio.Task[Any]":
    return asyncio.Task(coro, loop=loop, **options)


class _Guarded(Coroutine[Any, Any, Any]):
    """A coroutine that ends with HandlerExit where it would end more than itself."""

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self._coro = coro

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coro, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coro.__await__()

    def send(self, value: Any) -> Any:
        """See :class:`collections.abc.Coroutine`."""
        try:
            return self._coro.send(value)
        except _ENDS as error:
            raise HandlerExit(error) from error

    def throw(self, typ: Any, val: object = None, tb: object = None) -> Any:
        """See :class:`collections.abc.Coroutine`; tasks throw exceptions that are made."""
        try:
            return self._coro.throw(typ)
        except _ENDS as error:
            raise HandlerExit(error) from error

    def close(self) -> None:
        """See :class:`collections.abc.Coroutine`."""
        self._coro.close()
