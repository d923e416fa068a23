"""Middleware of the server: around every request but those that the engine answers alone.

See :mod:`mcpcore_transports.running.middleware` for the interface.  The engine answers or refuses
``ping``, discovery and unknown methods itself.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from msgspec import Raw, Struct, field

from mcpcore.errors import InputNeeded
from mcpcore.service import Prepared
from mcpcore.spec.revisions import Revision
from mcpcore_transports.running.functions import failure_of, is_awaitable
from mcpcore_transports.running.middleware import Around, Chain
from mcpcore_transports.server.context import Context
from mcpcore_transports.server.failures import Failures, about, simplified
from mcpcore_transports.server.runtime import begin


class Answer(Struct):
    """Answer of a server before it is sent; a middleware may change it."""

    result: Raw
    """Result object, without ``_meta``."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Members for the result's ``_meta``."""
    error: Exception | None = None
    """Exception of the handler, or for bad arguments, if the result reports it.

    None also for a result with ``isError`` that the handler made itself.
    """
    failed: bool = False
    """True if the result is that of a failed tool: it has ``isError``."""


ServerMiddleware = Around[Context, Answer]
"""Middleware that takes the context of the handler.  A protocol error is raised as McpError.

:class:`~mcpcore_transports.server.context.InputNeeded`, which is no Exception, is to be passed on.
"""

Guard = Callable[[Revision, Prepared | Exception], Prepared]
"""Function that puts a prepared request, or the error of a refused one, inside of middleware."""


def guard(middleware: Sequence[ServerMiddleware], failures: Failures) -> Guard:
    """Return the guard for some middleware."""
    return partial(_Wrapped, Chain(middleware), failures)


class _Wrapped(Prepared):
    __slots__ = ("_bare", "_chain", "_failures", "_inner", "bare", "reached")

    def __init__(
        self,
        chain: Chain[Context, Answer],
        failures: Failures,
        revision: Revision,
        inner: Prepared | Exception,
    ) -> None:
        self.revision, self.is_async = revision, chain.is_async
        if isinstance(inner, Prepared):
            self.is_async = chain.is_async or inner.is_async or inner.thread
            if inner.task is not None:
                self.task, self.requirement = inner.task, inner.requirement
                self.tool = inner.tool
            if inner.home is not None:
                self.home = inner.home
        else:
            self.error = inner
        self.bare = self.reached = False
        self._bare: Raw | None = None
        """Result of the handler, if it is bare: it still is if no middleware replaces it."""
        self._chain = chain
        self._failures = failures
        self._inner = inner

    def call(self, context: Any) -> Any:
        return self._chain.run(context, self._handle)

    def finish(self, value: Any) -> Raw:
        if not isinstance(value, Answer):
            raise TypeError(f"a middleware answered with {type(value).__name__}, not an Answer")
        if value.meta:
            self.meta = value.meta
        self.bare = value.result is self._bare
        return value.result

    def failure(self, error: Exception, told: str | None = None) -> Raw:
        if isinstance(self._inner, Prepared):
            return self._inner.failure(error, told)
        return super().failure(error, told)

    def _handle(self, context: Context) -> Answer | Awaitable[Answer]:
        self.reached, inner = True, self._inner
        if isinstance(inner, Exception):
            raise inner
        if inner.result is not None:
            if inner.bare:
                self._bare = inner.result
            return Answer(inner.result, error=inner.error, failed=inner.failed)
        try:
            value = begin(inner, context)
            if is_awaitable(value):
                return self._later(context, inner, value)
            return self._answer(context, inner, value)
        except InputNeeded:
            raise
        except BaseException as error:
            return self._failed(context, inner, failure_of(error))

    async def _later(self, context: Context, inner: Prepared, value: Awaitable[Any]) -> Answer:
        try:
            return self._answer(context, inner, await value)
        except BaseException as error:
            only = simplified(error)
            if isinstance(only, Exception):
                return self._failed(context, inner, only)
            raise only from (None if only is error else error)

    def _answer(self, context: Context, inner: Prepared, value: Any) -> Answer:
        result = inner.finish(value)
        if inner.bare:
            self._bare = result
        meta = context.take_result_meta(inner.meta)
        return Answer(result, dict(meta) if meta else {}, failed=inner.failed)

    def _failed(self, context: Context, inner: Prepared, error: Exception) -> Answer:
        told = self._failures.told(about(context.method, context.params), error)
        meta = context.take_result_meta(None)
        return Answer(inner.failure(error, told), meta or {}, error=error, failed=True)
