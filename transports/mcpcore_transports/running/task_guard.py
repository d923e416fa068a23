"""Guard for tasks that application functions start themselves, on asyncio.

A task that ends with SystemExit ends the event loop there, whether it is awaited or not, and a
coroutine that awaits one ended with GeneratorExit is closed.  In a handler both are failures of the
handler: tasks started in one end with :class:`~mcpcore.service.HandlerExit` instead.  Other tasks
are unchanged; trio needs no guard.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from mcpcore.errors import HandlerExit

P = ParamSpec("P")
T = TypeVar("T")

_in_handler: ContextVar[bool] = ContextVar("mcpcore.in_handler", default=False)

_ENDS = (SystemExit, GeneratorExit)


def enter_handler() -> None:
    """Mark this context as that of an application function: tasks started in it are guarded."""
    _in_handler.set(True)


async def called(function: Callable[P, T | Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call an application function, and await its result if that is awaitable."""
    with in_handler():
        value = function(*args, **kwargs)
        if inspect.isawaitable(value):
            awaited: T = await value
            return awaited
        return value


def guarded_call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a plain function of the application, whose tasks are tasks of a handler."""
    token = _in_handler.set(True)
    try:
        return function(*args, **kwargs)
    finally:
        _in_handler.reset(token)


@contextmanager
def in_handler() -> Iterator[None]:
    """Mark a block as that of an application function, in a task that goes on afterwards."""
    token = _in_handler.set(True)
    try:
        yield
    finally:
        _in_handler.reset(token)


def guard_tasks(loop: object) -> None:
    """Guard the tasks of handlers in an event loop of asyncio from now on, by its task factory."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        inner = loop.get_task_factory()
        if not isinstance(inner, _Factory):
            loop.set_task_factory(_Factory(inner))


class _Factory:
    """Task factory that guards tasks of handlers, in front of another one."""

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
    """Coroutine that ends with HandlerExit instead of exceptions that end more than itself."""

    def __init__(self, coro: Coroutine[Any, Any, Any]) -> None:
        self._coro = coro

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coro, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coro.__await__()

    def send(self, value: Any) -> Any:
        """Implement :meth:`collections.abc.Coroutine.send`."""
        try:
            return self._coro.send(value)
        except _ENDS as error:
            raise HandlerExit(error) from error

    def throw(self, typ: Any, val: object = None, tb: object = None) -> Any:
        """Implement :meth:`collections.abc.Coroutine.throw`; tasks throw exception instances."""
        try:
            return self._coro.throw(typ)
        except _ENDS as error:
            raise HandlerExit(error) from error

    def close(self) -> None:
        """Implement :meth:`collections.abc.Coroutine.close`."""
        self._coro.close()
