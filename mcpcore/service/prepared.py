"""Requests that were looked up and checked, ready to be run, and the errors that clients see.

The message of a :class:`~mcpcore.errors.HandlerError` is shown.  Any other exception is masked, as
its text may hold secrets.
"""

from typing import Any, Generic, Protocol, TypeVar

from msgspec import Raw
from msgspec.structs import replace

from mcpcore.errors import HandlerError, HandlerExit, MaskedError
from mcpcore.service.handlers import Handler
from mcpcore.service.task_settings import TaskSupport
from mcpcore.spec.errors import INTERNAL_ERROR, McpError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Result

MASKED = "Internal error"
"""Text that the client gets for any other exception."""


def is_masked(error: BaseException) -> bool:
    """Return True if the client must not see this error, so that it should be logged here."""
    return not isinstance(error, McpError | HandlerError)


def shown(error: Exception, error_id: str | None = None, *, reveal: bool = False) -> str:
    """Return the text of an exception for the client: its message, its rule, or neither.

    ``error_id`` is added to masked text, so that the error can be found in a log.  ``reveal``: True
    to mask nothing.
    """
    if not is_masked(error):
        return str(error)
    rule = _revealed(error) if reveal else error.rule if isinstance(error, MaskedError) else ""
    text = f"{MASKED}: {rule}" if rule else MASKED
    return text if error_id is None else f"{text} (error id {error_id})"


def _revealed(error: BaseException) -> str:
    """Return the types and messages of an exception, or of all exceptions in a group."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_revealed, error.exceptions))
    if isinstance(error, HandlerExit) and error.__cause__ is not None:
        return _revealed(error.__cause__)
    return f"{type(error).__name__}: {error}"


class Prepared:
    """Request, bound to its handler.

    If ``result`` is set, that is the answer.  Otherwise the runtime calls the handler and shapes
    its return value::

        prepared = server.prepare(method, params, revision)
        if (body := prepared.result) is None:
            try:
                value = prepared.call(context)
                if inspect.isawaitable(value):      # always, if prepared.is_async
                    value = await value
                body = prepared.finish(value)       # and prepared.meta
            except Exception as error:
                if is_masked(error):
                    log(error)
                body = prepared.failure(error)      # or raises McpError

    ``finish`` is inside the ``try``, as the return value of a handler may be invalid as well.
    """

    # Most requests have only defaults, which cost nothing here.
    __slots__ = ("__dict__", "is_async", "revision")

    bare = False
    """True if results are JSON without line breaks and have neither ``_meta`` nor
    ``resultType``."""
    result: Raw | None = None
    """Result object, if no handler is needed."""
    takes_context: bool = True
    """True if :meth:`call` uses its argument; if not, that may be None."""
    thread: bool = False
    """True if the handler may block: :meth:`call` it in a worker thread."""
    meta: dict[str, Any] | None = None
    """Value that the handler put into the result's ``_meta``, after :meth:`finish`.

    It is not part of the body, as ``_meta`` belongs to the engine.
    """
    task: TaskSupport | None = None
    """Task options of the request; None if it cannot run as a task."""
    refused: bool = False
    """True if the request is refused in any case."""
    error: Exception | None = None
    """Exception that ``result`` reports, if that is an error."""
    failed: bool = False
    """True if ``result``, or the value of :meth:`finish`, reports the failure of a tool."""

    def __init__(
        self,
        revision: Revision,
        *,
        result: Raw | None = None,
        is_async: bool = False,
        bare: bool = False,
    ) -> None:
        self.revision = revision
        self.is_async = is_async
        """True if the handler is a coroutine function."""
        if result is not None:
            self.result = result
        if bare:
            self.bare = True

    def call(self, context: Any) -> Any:
        """Call the handler; return its value, or a coroutine."""
        raise NotImplementedError

    def finish(self, value: Any) -> Raw:
        """Shape the return value of the handler into the result object.

        Raises an exception if the value is invalid; pass that to :meth:`failure`.
        """
        raise NotImplementedError

    def failure(self, error: Exception, told: str | None = None) -> Raw:
        """Return a result that reports the error, if results can.  Raises McpError otherwise.

        ``told``: text for the client, by default that of :func:`shown`.
        """
        if isinstance(error, McpError):
            raise error
        code = error.code if isinstance(error, HandlerError) else INTERNAL_ERROR
        raise McpError(code, told or shown(error)) from error


class Declaration(Protocol):
    """Interface of a declaration, as far as a call needs it."""

    @property
    def handler(self) -> Handler:
        """Function of the declaration."""


E = TypeVar("E", bound=Declaration)
R = TypeVar("R", bound=Result)


class Bound(Prepared, Generic[E]):
    """Request with the handler it was bound to."""

    __slots__ = ("_entry", "_values", "takes_context")

    def __init__(self, entry: E, values: tuple[Any, ...], revision: Revision) -> None:
        handler = entry.handler
        self.revision = revision
        self.is_async = handler.is_async
        self.takes_context = handler.takes_context
        if handler.thread:
            self.thread = True
        self._entry = entry
        self._values = values

    def call(self, context: Any) -> Any:
        """Call the handler."""
        return self._entry.handler.call(context, self._values)

    def own(self, result: R) -> R:
        """Return a copy of a handler's result, without the members that belong to the engine."""
        self.meta = result.meta
        return replace(result, meta=None, result_type=None)
