"""A request that was looked up and checked, ready to be run by the runtime."""

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from msgspec import Raw
from msgspec.structs import replace

from mcpcore.service.errors import HandlerError, shown
from mcpcore.spec.errors import INTERNAL_ERROR, McpError
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Result

if TYPE_CHECKING:
    from mcpcore.service.task_views import TaskSupport


class Prepared:
    """One request, bound to its handler.

    If ``result`` is set, that is the answer.  Otherwise the runtime calls the handler and shapes
    what it returned::

        prepared = server.prepare(method, params, revision)
        if (body := prepared.result) is None:
            try:
                value = prepared.call(context)
                if inspect.isawaitable(value):      # if prepared.is_async it is, surely
                    value = await value
                body = prepared.finish(value)       # and prepared.meta
            except Exception as error:
                if is_masked(error):
                    log(error)
                body = prepared.failure(error)      # or raises McpError

    ``finish`` stands in the ``try``, as what a handler returned may be wrong as well.
    """

    # Most requests have nothing but defaults, which cost nothing here.
    __slots__ = ("__dict__", "is_async", "revision")

    bare = False
    """Results are JSON without line breaks and have neither ``_meta`` nor ``resultType``."""
    result: Raw | None = None
    """The answer, if no handler is needed."""
    takes_context: bool = True
    """:meth:`call` looks at its argument; if not, that may be None."""
    thread: bool = False
    """The handler may block: :meth:`call` it in a worker thread."""
    meta: dict[str, Any] | None = None
    """After :meth:`finish`: what the handler put into the result's ``_meta``.

    It is not part of the body, as ``_meta`` belongs to the engine.
    """
    task: "TaskSupport | None" = None
    """How the request may run as a task; None: it may not."""
    refused: bool = False
    """It will be refused, whatever becomes of it on the way."""
    error: Exception | None = None
    """What ``result`` tells of, where that is an error."""
    failed: bool = False
    """``result``, or what :meth:`finish` returned, says that a tool failed."""

    def __init__(
        self, revision: Revision, *, result: Raw | None = None, is_async: bool = False
    ) -> None:
        self.revision = revision
        self.is_async = is_async
        """The handler is a coroutine function."""
        if result is not None:
            self.result = result

    def call(self, context: Any) -> Any:
        """Call the handler: its value, or a coroutine."""
        raise NotImplementedError

    def finish(self, value: Any) -> Raw:
        """Shape what the handler returned into the result object.

        Raises whatever shows that the value is wrong; hand that to :meth:`failure`.
        """
        raise NotImplementedError

    def failure(self, error: Exception, told: str | None = None) -> Raw:
        """Return the result that says so, where results can.  Raises McpError otherwise.

        ``told``: what the client may read, by default what
        :func:`~mcpcore.service.errors.shown` says, which masks what :func:`is_masked`.
        """
        if isinstance(error, McpError):
            raise error
        code = error.code if isinstance(error, HandlerError) else INTERNAL_ERROR
        raise McpError(code, told or shown(error)) from error


class Listed(Prepared):
    """A request whose answer is there: a page of a list."""

    __slots__ = ()

    bare = True


class Entry(Protocol):
    """What was declared, as far as a call needs it."""

    @property
    def is_async(self) -> bool:
        """The handler is a coroutine function."""

    @property
    def thread(self) -> bool:
        """The handler wants a thread."""

    def call(self, context: Any, values: tuple[Any, ...], /) -> Any:
        """Call the handler with values bound before."""


E = TypeVar("E", bound=Entry)
R = TypeVar("R", bound=Result)


class Bound(Prepared, Generic[E]):
    """A request with the handler it was bound to."""

    __slots__ = ("_entry", "_values")

    def __init__(self, entry: E, values: tuple[Any, ...], revision: Revision) -> None:
        self.revision = revision
        self.is_async = entry.is_async
        if entry.thread:
            self.thread = True
        self._entry = entry
        self._values = values

    def call(self, context: Any) -> Any:
        """Call the handler."""
        return self._entry.call(context, self._values)

    def own(self, result: R) -> R:
        """Return a copy of a result that the handler made, without what belongs to the engine."""
        self.meta = result.meta
        return replace(result, meta=None, result_type=None)
