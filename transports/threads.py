"""Handlers that block: run in worker threads, and at home in the event loop where they touch it.

What anyio has for the way home is imported when a thread takes it: most servers have none.
"""

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import anyio.to_thread

from mcpcore.service import HandlerExit, Prepared

if TYPE_CHECKING:
    from transports.context_telling import Telling


class AtHome(Protocol):
    """What belongs to an event loop."""

    thread: int
    """The thread of the event loop, by its identifier."""


P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
F = TypeVar("F", bound=AtHome)

current = threading.get_ident


def begin(prepared: Prepared, context: Any) -> Any:
    """Call a handler: its value, or what is to be awaited for it.

    A thread cannot be stopped.  When its request is cancelled it runs on, and what it returns is
    dropped; it may look at ``context.cancelled``.  anyio's limit on threads holds until it ends.
    """
    if prepared.thread:
        return in_thread(prepared.call, context)
    return prepared.call(context)


async def in_thread(call: Callable[..., T], *args: Any) -> T:
    """Call a function of the user's in a worker thread, and leave it there when cancelled."""
    return await anyio.to_thread.run_sync(_called, call, *args, abandon_on_cancel=True)


def _called(call: Callable[..., T], *args: Any) -> T:
    try:
        return call(*args)
    except GeneratorExit as error:  # which would close whoever awaits it
        raise HandlerExit(error) from error


def with_room(
    method: "Callable[Concatenate[Telling, P], R]",
) -> "Callable[Concatenate[Telling, P], R]":
    """As :func:`in_loop`; a thread besides waits until there is room for what it sends.

    Whoever is in the event loop cannot be made to wait by a call.
    """

    @functools.wraps(method)
    def call(context: "Telling", /, *args: P.args, **kwargs: P.kwargs) -> R:
        if current() == context.thread:
            return method(context, *args, **kwargs)
        return when_there_is_room(context, functools.partial(method, context, *args, **kwargs))

    return call


def when_there_is_room(context: "Telling", send: Callable[[], R]) -> R:
    """What :func:`with_room` has a thread do."""

    async def wait_and_send() -> R:
        await context.room()
        return send()

    from anyio import from_thread

    return from_thread.run(wait_and_send)


def in_loop(
    method: "Callable[Concatenate[F, P], R]",
) -> "Callable[Concatenate[F, P], R]":
    """Have a method of a context run in the thread of the event loop, whoever calls it.

    Raises RuntimeError in a thread that anyio did not start.
    """

    @functools.wraps(method)
    def call(context: F, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if current() == context.thread:
            return method(context, *args, **kwargs)
        from anyio import from_thread

        return from_thread.run_sync(functools.partial(method, context, *args, **kwargs))

    return call
