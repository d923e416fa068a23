"""Blocking handlers in worker threads, and their calls back into the event loop.

anyio's code for the way back is imported when a thread needs it: most servers have no threads.
"""

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import anyio.to_thread

from mcpcore.errors import HandlerExit
from mcpcore.service import Prepared

if TYPE_CHECKING:
    from mcpcore_transports.server.context import Context


class AtHome(Protocol):
    """Object that belongs to an event loop."""

    thread: int
    """Identifier of the event loop's thread."""


P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
F = TypeVar("F", bound=AtHome)

current = threading.get_ident


def begin(prepared: Prepared, context: Any) -> Any:
    """Call a handler; return its value or an awaitable for it.

    A thread cannot be stopped.  When its request is cancelled it runs on, and its result is
    dropped; it may check ``context.cancelled``.  anyio's limit on threads applies until it ends.
    """
    if prepared.thread:
        return in_thread(prepared.call, context)
    return prepared.call(context)


async def in_thread(call: Callable[..., T], *args: Any) -> T:
    """Call an application function in a worker thread, and leave it there when cancelled."""
    return await anyio.to_thread.run_sync(_called, call, *args, abandon_on_cancel=True)


def _called(call: Callable[..., T], *args: Any) -> T:
    try:
        return call(*args)
    except GeneratorExit as error:  # which would close the awaiting coroutine
        raise HandlerExit(error) from error


def with_room(
    method: "Callable[Concatenate[Context[Any], P], R]",
) -> "Callable[Concatenate[Context[Any], P], R]":
    """Decorate a method as :func:`in_loop` does; a thread also waits for room for its output.

    In the event loop itself a call cannot wait.
    """

    @functools.wraps(method)
    def call(context: "Context[Any]", /, *args: P.args, **kwargs: P.kwargs) -> R:
        if current() == context.thread:
            return method(context, *args, **kwargs)

        async def wait_and_send() -> R:
            await context.room()
            return method(context, *args, **kwargs)

        from anyio import from_thread

        return from_thread.run(wait_and_send)

    return call


def in_loop(method: Callable[Concatenate[F, P], R]) -> Callable[Concatenate[F, P], R]:
    """Decorate a method of a context so that it always runs in the event loop's thread.

    Raises RuntimeError in a thread that anyio did not start.
    """

    @functools.wraps(method)
    def call(context: F, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if current() == context.thread:
            return method(context, *args, **kwargs)
        from anyio import from_thread

        return from_thread.run_sync(functools.partial(method, context, *args, **kwargs))

    return call
