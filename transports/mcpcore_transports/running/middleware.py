"""Middleware of servers and clients: functions around the handling or sending of a request.

A middleware is a generator function.  The code before its ``yield`` runs before the request, the
code after it runs afterwards; ``yield`` gives the answer, or raises the error of the request::

    def stamped(request: Context) -> Steps[Answer]:
        answer = yield
        answer.meta["com.example/served-by"] = "node 7"

It may raise an exception, and ``return`` an answer (its type is :data:`AnsweringSteps` then): after
its ``yield`` to replace the one given, before it to answer without going on.  As it awaits nothing,
plain handlers go on running inline, without a task.  A middleware that must await is a coroutine
function and calls the rest itself; then every request has a task::

    async def admitted(request: Context, call_next: CallNext[Answer]) -> Answer:
        await policy.check(request.principal, request.method)
        return await call_next()

The first middleware is the outermost.  Without any, this module is not involved.  The types of
requests and answers are described in :mod:`mcpcore_transports.server.middleware` and
:mod:`mcpcore_transports.client.middleware`.
"""

import inspect
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from mcpcore_transports.running.functions import is_awaitable, settled

R = TypeVar("R")
A = TypeVar("A")

Steps = Generator[None, A, None]
"""Generator returned by a middleware for answers of type ``A``."""
AnsweringSteps = Generator[None, A, A | None]
"""Generator returned by a middleware that may answer itself."""
CallNext = Callable[[], Awaitable[A]]
"""Function that goes on with the request, once or, if that makes sense, more often."""
Around = Callable[[R], AnsweringSteps[A]] | Callable[[R, CallNext[A]], Awaitable[A]]
"""Middleware for requests of type ``R`` and answers of type ``A``."""


class Chain(Generic[R, A]):
    """Chain of some middleware.  Raises TypeError for an object that is no middleware."""

    def __init__(self, middleware: Sequence[Around[R, A]]) -> None:
        self._links: list[tuple[bool, Any]] = [(_is_coroutine(link), link) for link in middleware]
        self.is_async = any(waits for waits, _ in self._links)
        """True if some of the middleware awaits."""

    def run(
        self, request: R, handle: Callable[[R], A | Awaitable[A]], outer: int = 0
    ) -> A | Awaitable[A]:
        """Run ``handle`` inside all middleware; the result is awaitable if any part is.

        ``outer``: number of the middleware that it is inside of already.
        """
        waits, link = self._links[outer]
        inner = outer + 1
        last = inner == len(self._links)
        rest = handle if last else partial(self.run, handle=handle, outer=inner)
        if waits:
            awaited: Awaitable[A] = link(request, partial(_settled, rest, request))
            return awaited
        steps: AnsweringSteps[A] = link(request)
        try:
            next(steps)
        except StopIteration as stop:
            if stop.value is None:
                raise RuntimeError(f"{link!r} neither went on (yield) nor answered") from None
            early: A = stop.value
            return early
        try:
            answer = rest(request)
        except BaseException as error:
            return _raised(steps, error)
        return _finished(steps, answer) if is_awaitable(answer) else _sent(steps, answer)


async def _settled(rest: Callable[[R], A | Awaitable[A]], request: R) -> A:
    try:
        answer = rest(request)
        return await answer if is_awaitable(answer) else answer
    except BaseException as error:
        raise settled(error)  # noqa: B904 - the same one, or one that knows its cause


async def _finished(steps: AnsweringSteps[A], answer: Awaitable[A]) -> A:
    try:
        settled = await answer
    except BaseException as error:
        return _raised(steps, error)
    return _sent(steps, settled)


def _sent(steps: AnsweringSteps[A], answer: A) -> A:
    """Send the answer to a middleware; return its answer or the one given."""
    try:
        steps.send(answer)
    except StopIteration as stop:
        return answer if stop.value is None else stop.value
    raise _twice(steps)


def _raised(steps: AnsweringSteps[A], error: BaseException) -> A:
    """Throw an exception into a middleware; return the answer that it gives instead."""
    try:
        steps.throw(settled(error))
    except StopIteration as stop:
        if stop.value is None:
            raise RuntimeError(f"{steps!r} swallowed an exception and gave no answer") from error
        answer: A = stop.value
        return answer
    raise _twice(steps)


def _twice(steps: AnsweringSteps[Any]) -> RuntimeError:
    steps.close()
    return RuntimeError(f"{steps!r} yielded twice")


def _is_coroutine(link: Any) -> bool:
    for function in (link, getattr(type(link), "__call__", None)):  # noqa: B004 - of its class
        if inspect.iscoroutinefunction(function):
            return True
        if inspect.isgeneratorfunction(function):
            return False
    raise TypeError(f"a middleware is a generator function or a coroutine function, not {link!r}")
