"""Functions of the application: handlers and their parameters, their requests, the lifespan.

The runtime's context is injected into the parameter that is annotated with a context class: one
that has the attribute ``__mcp_context__ = True``.  The service never uses its members.

The message of a :class:`~mcpcore.errors.HandlerError` is shown to clients.  Any other exception is
masked, as its text may hold secrets.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from copy import copy, deepcopy
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Self,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import NODEFAULT, Raw, Struct
from msgspec.structs import replace

from mcpcore.errors import HandlerError, HandlerExit, MaskedError
from mcpcore.service.custom_types import is_union, without_paths
from mcpcore.service.task_settings import TaskSupport
from mcpcore.spec.errors import INTERNAL_ERROR, Forbidden, McpError
from mcpcore.spec.members import known_members
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.base import Result

if TYPE_CHECKING:  # the first is for few, the second comes with pydantic, the others import this
    from mcpcore.auth.scopes import Missing, Requirement
    from mcpcore.service.apps import ToolApp
    from mcpcore.service.interface import Service
    from mcpcore.service.mounting import Mount
    from mcpcore.service.pydantic_types import PydanticType
    from mcpcore.service.server import Server

R = TypeVar("R", bound=Result)

Visible = Callable[[str | None], bool]
"""Function that returns True if a principal (None: not authenticated) may see and use an item.

It must not depend on anything else, such as the connection, and must return at once.
"""

MASKED = "Internal error"
"""Text that the client gets for any exception that is masked."""

_encode = msgspec.json.Encoder().encode
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_RECEIVERS = ("self", "cls")
"""Names of a parameter without an annotation that a method has, until it is bound."""


class Parameter(Struct, frozen=True):
    """Parameter of a handler, filled from the request."""

    name: str
    type: Any
    default: Any = NODEFAULT
    keyword: bool = False
    """True if it is passed by name."""
    foreign: "PydanticType | None" = None
    """Reader of the value, if msgspec does not read it."""
    factory: Callable[[], Any] | None = None
    """Factory of the default, if that is not a constant."""

    @property
    def required(self) -> bool:
        """True if there is no default."""
        return self.default is NODEFAULT and self.factory is None

    def fill(self) -> Any:
        """Return the default for one call.

        A container is copied, or what a handler puts into it would come to other callers.
        """
        if self.factory is not None:
            return self.factory()
        default = self.default
        return deepcopy(default) if isinstance(default, list | dict | set) else default


class Handler:
    """Function and its parameters.

    ``thread``: True to run it in a worker thread, as it may block.  Raises TypeError if it is a
    coroutine function then, if it yields, if the parameters cannot be filled from named values
    (``*args``, two contexts, ``self``), or an annotation cannot be resolved.
    """

    def __init__(self, function: Any, *, thread: bool = False) -> None:
        if not callable(function) or inspect.isclass(function):
            raise TypeError(f"expected a function, got {type(function).__name__}")
        self.function: Callable[..., Any] = function
        plain = _plain(function)
        if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
            raise TypeError("a function that yields has no result; return a list")
        self.is_async: bool = inspect.iscoroutinefunction(plain)
        """True if calling the function gives a coroutine."""
        self.thread = thread
        if thread and self.is_async:
            raise TypeError("a coroutine function does not run in a thread")
        self.doc: str | None = inspect.getdoc(plain)
        try:
            hints = get_type_hints(plain, include_extras=True)
        except Exception as error:
            text = "it must be importable at run time, not only under TYPE_CHECKING"
            raise TypeError(f"an annotation cannot be resolved ({error}); {text}") from error
        self.returns: Any = without_paths(hints.get("return", Any))
        self.context: str | None = None  # name of the parameter that takes the context
        self.rest: str | None = None
        """Name of ``**kwargs``."""
        self.parameters: tuple[Parameter, ...] = tuple(self._read(hints))
        self.takes_context = self.context is not None
        self.call: Callable[[Any, tuple[Any, ...]], Any] = self._binder()
        """Function ``call(context, values)``; values are in the order of ``parameters``, and with
        ``**kwargs`` a dict of its entries is the last one."""

    def _read(self, hints: dict[str, Any]) -> Iterator[Parameter]:
        for parameter in inspect.signature(self.function).parameters.values():
            name, kind = parameter.name, parameter.kind
            annotation = without_paths(hints.get(name, Any))
            if name in _RECEIVERS and name not in hints and kind in _POSITIONAL:
                raise TypeError(
                    f"{name} would be an argument of clients: declare the bound method of an object"
                )
            if kind is parameter.VAR_POSITIONAL:
                raise TypeError(f"*{name} cannot be filled, as arguments have names")
            if kind is parameter.VAR_KEYWORD:
                self.rest = name
            elif is_context(annotation):
                if self.context is not None:
                    raise TypeError(f"{self.context} and {name} both take the context")
                self.context = name
            else:
                if name.startswith("__"):
                    raise TypeError(f"a parameter cannot be called {name}")
                default = NODEFAULT if parameter.default is parameter.empty else parameter.default
                yield _parameter(name, annotation, default, kind not in _POSITIONAL)

    def _binder(self) -> Callable[[Any, tuple[Any, ...]], Any]:
        function = self.function
        order = inspect.signature(function).parameters
        keywords = [(p.name, index) for index, p in enumerate(self.parameters) if p.keyword]
        if not keywords and self.rest is None:
            if self.context is None:
                return lambda context, values: function(*values)
            if next(iter(order)) == self.context:
                return lambda context, values: function(context, *values)

        # General case: insert the context among the positional values, pass the rest by name.
        first = len(self.parameters) - len(keywords)
        slot: int | None = None
        context_name = self.context
        if context_name is not None and order[context_name].kind in _POSITIONAL:
            slot, context_name = list(order).index(context_name), None
        has_rest = self.rest is not None

        def call(context: Any, values: tuple[Any, ...]) -> Any:
            positional = list(values[:first])
            if slot is not None:
                positional.insert(slot, context)
            named = dict(values[-1]) if has_rest else {}
            named.update((name, values[index]) for name, index in keywords)
            if context_name is not None:
                named[context_name] = context
            return function(*positional, **named)

        return call

    def taken(self) -> frozenset[str]:
        """Return the names that entries of ``**kwargs`` cannot have."""
        parameters = inspect.signature(self.function).parameters.values()
        free = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_KEYWORD)
        return frozenset(parameter.name for parameter in parameters if parameter.kind not in free)


def _parameter(name: str, annotation: Any, default: Any, keyword: bool) -> Parameter:
    if "pydantic" not in sys.modules:
        return Parameter(name, annotation, default, keyword)
    from mcpcore.service.pydantic_types import parameter_of  # late: few use pydantic

    try:
        foreign, default, factory = parameter_of(annotation, default)
    except TypeError as error:
        raise TypeError(f"parameter {name!r}: {error}") from error
    return Parameter(name, annotation, default, keyword, foreign, factory)


def is_context(annotation: Any) -> bool:
    """Return True if the annotation is a context class, also with parameters, or in a union."""
    origin = get_origin(annotation)
    if origin is Annotated or is_union(origin):
        return any(is_context(inner) for inner in get_args(annotation))
    return getattr(origin or annotation, "__mcp_context__", False) is True


def values_type(
    parameters: tuple[Parameter, ...], *, strict: bool = True, text: bool = False
) -> type[Struct]:
    """Return a Struct type with a field for each parameter, in order.

    ``strict``: unknown members are refused.  Values that msgspec does not read stay as they are:
    Raw, or a string if all are ``text``.
    """
    fields: list[Any] = []
    for parameter in parameters:
        type: Any = parameter.type if parameter.foreign is None else str if text else Raw
        if parameter.required:
            fields.append((parameter.name, type))
        else:
            fields.append((parameter.name, type, msgspec.field(default_factory=parameter.fill)))
    return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=strict)


def _plain(function: Any) -> Any:
    """Return the annotated function: that in a partial, or the method of a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


# Requests


def is_masked(error: BaseException) -> bool:
    """Return True if the client must not see this error, so that it should be logged."""
    return not isinstance(error, McpError | HandlerError)


def shown(error: Exception, error_id: str | None = None, *, reveal: bool = False) -> str:
    """Return the text of an exception for the client; ``error_id`` is added to masked text."""
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
    """Request, looked up and checked.

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
    timeout: float | None = None
    """Seconds after which the runtime gives the handler up; None: it waits for its end."""
    meta: dict[str, Any] | None = None
    """Value for the result's ``_meta``, after :meth:`finish`; it is not part of the body."""
    task: TaskSupport | None = None
    """Task options of the request; None if it cannot run as a task."""
    requirement: "Requirement | None" = None
    """Scopes and roles that those need who ask for its task."""
    tool: str | None = None
    """Name of the tool that those see who ask for its task; None: all see it."""
    uri: str = ""
    """URI of the resource that is read."""
    home: "Server | None" = None
    """Mounted server whose handler is called, None if it is not mounted."""
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
            self.result, self.bare = result, bare

    def call(self, context: Any) -> Any:
        """Call the handler; return its value, or a coroutine."""
        raise NotImplementedError

    def finish(self, value: Any) -> Raw:
        """Shape the return value of the handler into the result object; raise if it is invalid."""
        raise NotImplementedError

    def failure(self, error: Exception, told: str | None = None) -> Raw:
        """Return a result that reports the error with the text ``told``, or raise McpError."""
        if isinstance(error, McpError):
            raise error
        code = error.code if isinstance(error, HandlerError) else INTERNAL_ERROR
        raise McpError(code, told or shown(error)) from error

    def own(self, result: R) -> R:
        """Return a copy of a handler's result, without the members that belong to the engine."""
        self.meta = result.meta
        return replace(result, meta=None, result_type=None)


def demand(requirement: "Requirement | None", principal: str | None) -> None:
    """Raise Forbidden if ``principal`` lacks scopes or a role that are required, if any are."""
    missing = None if requirement is None else _missing(requirement, principal)
    if missing is not None:
        raise Forbidden(missing.needed, role=missing.role)


def permits(requirement: "Requirement | None", principal: str | None) -> bool:
    """Return True if ``principal`` has all that is required, if anything is."""
    return requirement is None or _missing(requirement, principal) is None


def _missing(requirement: "Requirement", principal: str | None) -> "Missing | None":
    scopes, roles = getattr(principal, "scopes", ()), getattr(principal, "roles", ())
    return requirement.missing(scopes, roles)


class Declaration:
    """Feature or method that a function stands for; the item of a list, if it is listed.

    ``visible``: function that decides who may see it; None: all may.  ``requirement``: scopes and
    roles that its users need; None: none.
    """

    declared: Struct
    """Item of a list, if it is one, with the members of all revisions."""
    number = 0
    """Position in the order of the list."""
    app: "ToolApp | None" = None
    """App of a tool, if it has one."""
    timeout: float | None = None
    """Seconds that a call of a tool may take; None: no limit."""

    def __init__(
        self,
        handler: Handler,
        visible: Visible | None = None,
        requirement: "Requirement | None" = None,
        *,
        bare: bool = False,
    ) -> None:
        if visible is not None and not callable(visible):
            raise TypeError(f"visible is a function of a principal, not {visible!r}")
        self.handler = handler
        self.visible = visible
        self.requirement = requirement
        self.bare = bare
        """Value for :attr:`Prepared.bare`."""
        self.mounts: tuple[Mount, ...] = ()
        """Mounts that it has come through, the innermost first."""
        self.origin: tuple[Server, str] | None = None
        """Server that has declared it, with its name or URI there, if it was mounted."""
        self.encoded: dict[tuple[Revision, bool], bytes] = {}
        """Listed forms, kept where each principal has its own pages."""

    def encode(self, revision: Revision, apps: bool = True) -> bytes:
        """Return the declaration in its listed form, for clients that show apps or for others."""
        return _encode(known_members(self.declared, revision))

    def renamed(self, key: str, uri: Callable[[str], str]) -> Self:
        """Return a copy with another name or URI; ``uri`` changes the URIs that it refers to."""
        made = copy(self)
        made.encoded = {}
        return made

    def listed(self, revision: Revision, apps: bool = True) -> bool:
        """Return True if it can be used in a revision, by a client that shows apps or another."""
        return True

    def finish(self, value: Any, request: Prepared) -> Raw:
        """Implement :meth:`Prepared.finish`."""
        raise NotImplementedError

    def failure(self, error: Exception, told: str | None, request: Prepared) -> Raw:
        """Implement :meth:`Prepared.failure`."""
        return Prepared.failure(request, error, told)


class Bound(Prepared):
    """Request with the declaration whose handler it calls, and the values for that."""

    # What is read of each request: the default of a class takes longer to find.
    __slots__ = ("_declaration", "_values", "bare", "meta", "result", "takes_context", "thread")

    def __init__(
        self, declaration: Declaration, values: tuple[Any, ...], revision: Revision
    ) -> None:
        handler = declaration.handler
        self.revision = revision
        self.result, self.meta = None, None
        self.is_async, self.thread = handler.is_async, handler.thread
        self.takes_context = handler.takes_context
        self.bare = declaration.bare
        if declaration.timeout is not None:
            self.timeout = declaration.timeout
        if declaration.origin is not None:
            self.home = declaration.origin[0]
        self._declaration = declaration
        self._values = values

    def call(self, context: Any) -> Any:
        """Call the handler."""
        return self._declaration.handler.call(context, self._values)

    def finish(self, value: Any) -> Raw:
        """Shape the return value as the declaration says."""
        body = self._declaration.finish(value, self)
        for mount in self._declaration.mounts:
            body = mount.outward(body)
        return body

    def failure(self, error: Exception, told: str | None = None) -> Raw:
        """Report the error as the declaration says."""
        return self._declaration.failure(error, told, self)


# Lifespan

OpenLifespan: TypeAlias = (
    Callable[[], AbstractAsyncContextManager[Any]]
    | Callable[["Server"], AbstractAsyncContextManager[Any]]
)
"""Function that returns an async context manager; takes the server, or nothing."""


class Lifespan:
    """Declared lifespan.  Raises TypeError, naming the function, if it cannot be one."""

    def __init__(self, function: Any) -> None:
        if not callable(function) or isinstance(function, AbstractAsyncContextManager):
            kind = type(function).__name__
            raise TypeError(f"lifespan: expected a function, which is not called yet, got {kind}")
        plain = function.func if isinstance(function, functools.partial) else function
        self.name: str = getattr(plain, "__name__", type(plain).__name__)
        decorate = "decorate it with contextlib.asynccontextmanager"
        if inspect.isasyncgenfunction(function):
            raise TypeError(f"lifespan: {self.name} is an async generator function: {decorate}")
        if inspect.iscoroutinefunction(function):
            text = f"{self.name} is a coroutine function: have it yield, and {decorate}"
            raise TypeError(f"lifespan: {text}")
        self._function: Callable[..., Any] = function
        self._takes_server = _takes_one(f"lifespan: {self.name}", function, "the server")

    def open(self, server: "Service") -> AbstractAsyncContextManager[Any]:
        """Make the context manager.  Raises TypeError if it is not an async one."""
        made = self._function(server) if self._takes_server else self._function()
        if not isinstance(made, AbstractAsyncContextManager):
            raise TypeError(f"it returned a {type(made).__name__}, no async context manager")
        return made


class HealthCheck:
    """Function that raises, or returns False, while ``server`` cannot do its work.

    It takes the value of the server's lifespan, or nothing.  Raises TypeError for others.
    """

    def __init__(self, function: Callable[..., Any], server: "Server") -> None:
        self.function = function
        self.server = server
        self.is_async: bool = inspect.iscoroutinefunction(_plain(function))
        """True if calling the function gives a coroutine; others run in a worker thread."""
        self.takes_lifespan = _takes_one("a health check", function, "the lifespan's value")


def _takes_one(who: str, function: Callable[..., Any], what: str) -> bool:
    """Return True if a function takes ``what``, False if nothing.  Raises TypeError."""
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    needed = [each for each in parameters if each.default is each.empty]
    needed = [each for each in needed if each.kind not in optional]
    if len(needed) > 1 or any(each.kind not in _POSITIONAL for each in needed):
        names = ", ".join(each.name for each in needed)
        raise TypeError(f"{who} takes {names}; expected {what} or nothing")
    return bool(needed)
