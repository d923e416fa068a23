"""The one hook on each side: functions around the handling, or the sending, of a request.

A middleware is a generator function.  What stands before its ``yield`` happens before, what stands
behind it after; ``yield`` gives the answer, or raises what the request ended in::

    def stamped(request: Context) -> Steps[Answer]:
        answer = yield
        answer.meta["com.example/served-by"] = "node 7"

It may ``return`` another answer, also without any ``yield``, and raise an exception.  As it awaits
nothing, plain handlers go on running inline, without a task.  One that must await is a coroutine
function and calls the rest itself; then every request has a task::

    async def admitted(request: Context, call_next: CallNext[Answer]) -> Answer:
        await policy.check(request.principal, request.method)
        return await call_next()

The first middleware is the outermost.  Without any, nothing of this module is in the way.
"""

import inspect
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from msgspec import Raw, Struct, field

from mcpcore.service import Prepared
from mcpcore.spec.revisions import Revision
from transports.context import Context
from transports.failures import report, simplified

R = TypeVar("R")
A = TypeVar("A")

Steps = Generator[None, A, A | None]
"""What a generator function returns that is a middleware for answers of type ``A``."""
CallNext = Callable[[], Awaitable[A]]
"""Goes on with the request, once or, if that makes sense, more often."""
Around = Callable[[R], Steps[A]] | Callable[[R, CallNext[A]], Awaitable[A]]
"""A middleware for requests of type ``R`` and answers of type ``A``."""


class Answer(Struct):
    """What a server is going to answer; a middleware may change it."""

    result: Raw
    """The result object, without ``_meta``."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Members for the result's ``_meta``."""
    error: Exception | None = None
    """What the handler raised, where the result tells of it (a tool that failed)."""


ServerMiddleware = Around[Context, Answer]
"""Around every request that reaches the service, unknown tools and bad arguments included.

What the engine answers or refuses itself does not get here.  An error of the protocol is raised by
``yield`` as McpError; that the client has to be asked first (modern), as
:class:`~transports.context.InputNeeded`: no Exception, let it pass.
"""

Prepare = Callable[[str, Raw, Revision], Prepared]


class Chain(Generic[R, A]):
    """Middleware, put together.  Raises TypeError for what is none."""

    def __init__(self, middleware: Sequence[Around[R, A]]) -> None:
        self._links: list[tuple[bool, Any]] = [(_is_coroutine(link), link) for link in middleware]
        self.is_async = any(waits for waits, _ in self._links)
        """Some of it awaits."""

    def __call__(self, request: R, handle: Callable[[], A | Awaitable[A]]) -> A | Awaitable[A]:
        """Run ``handle`` inside of all; awaitable if that is, or if some middleware awaits."""
        return self._enter(0, request, handle)

    def _enter(
        self, index: int, request: R, handle: Callable[[], A | Awaitable[A]]
    ) -> A | Awaitable[A]:
        if index == len(self._links):
            return handle()
        waits, link = self._links[index]
        rest = partial(self._enter, index + 1, request, handle)
        if waits:
            awaited: Awaitable[A] = link(request, partial(_settled, rest))
            return awaited
        steps: Steps[A] = link(request)
        try:
            next(steps)
        except StopIteration as stop:
            if stop.value is None:
                raise RuntimeError(f"{link!r} neither went on (yield) nor answered") from None
            early: A = stop.value
            return early
        try:
            answer = rest()
        except BaseException as error:
            return _raised(steps, error)
        return _finished(steps, answer) if inspect.isawaitable(answer) else _sent(steps, answer)


async def _settled(rest: Callable[[], A | Awaitable[A]]) -> A:
    answer = rest()
    return await answer if inspect.isawaitable(answer) else answer


async def _finished(steps: Steps[A], answer: Awaitable[A]) -> A:
    try:
        settled = await answer
    except BaseException as error:
        return _raised(steps, error)
    return _sent(steps, settled)


def _sent(steps: Steps[A], answer: A) -> A:
    """Tell a middleware the answer; what it makes of that."""
    try:
        steps.send(answer)
    except StopIteration as stop:
        return answer if stop.value is None else stop.value
    raise _twice(steps)


def _raised(steps: Steps[A], error: BaseException) -> A:
    """Tell a middleware of an exception; it raises that, or another, or answers instead."""
    try:
        steps.throw(error)
    except StopIteration as stop:
        if stop.value is None:
            raise RuntimeError(f"{steps!r} swallowed an exception and gave no answer") from error
        answer: A = stop.value
        return answer
    raise _twice(steps)


def _twice(steps: Steps[Any]) -> RuntimeError:
    steps.close()
    return RuntimeError(f"{steps!r} yielded twice")


def _is_coroutine(link: Any) -> bool:
    for function in (link, getattr(type(link), "__call__", None)):  # noqa: B004 - of its class
        if inspect.iscoroutinefunction(function):
            return True
        if inspect.isgeneratorfunction(function):
            return False
    raise TypeError(f"a middleware is a generator function or a coroutine function, not {link!r}")


def guarded(prepare: Prepare, middleware: Sequence[ServerMiddleware]) -> Prepare:
    """Have what ``prepare`` returns run inside of middleware; ``prepare`` itself without any."""
    if not middleware:
        return prepare
    chain = Chain(middleware)

    def prepare_guarded(method: str, params: Raw, revision: Revision) -> Prepared:
        try:
            return _Guarded(chain, revision, prepare(method, params, revision))
        except Exception as error:
            return _Guarded(chain, revision, error)

    return prepare_guarded


class _Guarded(Prepared):
    """A prepared request, or the refusal of one, inside of middleware."""

    __slots__ = ("_chain", "_inner")

    def __init__(
        self, chain: Chain[Context, Answer], revision: Revision, inner: Prepared | Exception
    ) -> None:
        super().__init__(revision, is_async=chain.is_async)
        if isinstance(inner, Prepared):
            self.is_async = inner.is_async or chain.is_async
            self.task = inner.task
        self._chain = chain
        self._inner = inner

    def call(self, context: Any) -> Any:
        return self._chain(context, partial(self._handle, context))

    def finish(self, value: Any) -> Raw:
        if not isinstance(value, Answer):
            raise TypeError(f"a middleware answered with {type(value).__name__}, not an Answer")
        self.meta = value.meta or None
        return value.result

    def failure(self, error: Exception) -> Raw:
        if isinstance(self._inner, Prepared):
            return self._inner.failure(error)
        return super().failure(error)

    def _handle(self, context: Context) -> Answer | Awaitable[Answer]:
        inner = self._inner
        if isinstance(inner, Exception):
            raise inner
        if inner.result is not None:
            return Answer(inner.result)
        try:
            value = inner.call(context)
            if inspect.isawaitable(value):
                return self._later(context, inner, value)
            return self._answer(inner, value)
        except Exception as error:
            return self._failed(context, inner, error)

    async def _later(self, context: Context, inner: Prepared, value: Awaitable[Any]) -> Answer:
        try:
            return self._answer(inner, await value)
        except BaseException as error:
            only = simplified(error)
            if isinstance(only, Exception):
                return self._failed(context, inner, only)
            if only is error:
                raise
            raise only from error

    def _answer(self, inner: Prepared, value: Any) -> Answer:
        result = inner.finish(value)
        return Answer(result, dict(inner.meta or {}))

    def _failed(self, context: Context, inner: Prepared, error: Exception) -> Answer:
        report(context.method, context.params, error)
        return Answer(inner.failure(error), error=error)
