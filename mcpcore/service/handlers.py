"""Functions of the application: handlers, with their parameters and calls, and the lifespan.

The runtime's context is injected into the parameter that is annotated with a context class: one
that has the attribute ``__mcp_context__ = True``.  The service never uses its members.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Raw, Struct

from mcpcore.service.custom_types import is_union, without_paths

if TYPE_CHECKING:  # the first is imported with pydantic, the second imports this module
    from mcpcore.service.pydantic_types import PydanticType
    from mcpcore.service.server import Server

CONTEXT_MARK = "__mcp_context__"
"""Name of the attribute that makes a class a context class."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


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


class Handler:
    """Function and its parameters; ``what`` names it in messages.

    ``thread``: True to run it in a worker thread, as it may block.  Raises TypeError if it is a
    coroutine function then, if the parameters cannot be filled from named values (``*args``, two
    contexts), or an annotation cannot be resolved.
    """

    __slots__ = (
        "call",
        "context",
        "doc",
        "function",
        "is_async",
        "parameters",
        "rest",
        "returns",
        "takes_context",
        "thread",
        "what",
    )

    def __init__(self, function: Any, what: str, *, thread: bool = False) -> None:
        if not callable(function) or inspect.isclass(function):
            raise TypeError(f"{what}: expected a function, got {type(function).__name__}")
        self.function: Callable[..., Any] = function
        self.what = what
        plain = _plain(function)
        self.is_async: bool = inspect.iscoroutinefunction(plain)
        """True if calling the function gives a coroutine."""
        self.thread = thread
        if thread and self.is_async:
            raise TypeError(f"{what}: a coroutine function does not run in a thread")
        self.doc: str | None = inspect.getdoc(plain)
        try:
            hints = get_type_hints(plain, include_extras=True)
        except Exception as error:
            raise TypeError(
                f"{what}: an annotation cannot be resolved ({error}); it must be importable at "
                "run time, not only under TYPE_CHECKING"
            ) from error
        self.returns: Any = without_paths(hints.get("return", Any))
        self.context: str | None = None
        """Name of the parameter that takes the context."""
        self.rest: str | None = None
        """Name of ``**kwargs``."""
        self.parameters: tuple[Parameter, ...] = tuple(self._read(hints))
        self.takes_context = self.context is not None
        self.call: Callable[[Any, tuple[Any, ...]], Any] = self._binder()
        """Function ``call(context, values)``, which calls the handler.

        ``values`` holds one value per parameter, in the order of ``parameters``, and with
        ``**kwargs`` a dict of its entries as the last one.
        """

    def _read(self, hints: dict[str, Any]) -> Iterator[Parameter]:
        for parameter in inspect.signature(self.function).parameters.values():
            name, kind = parameter.name, parameter.kind
            annotation = without_paths(hints.get(name, Any))
            if kind is parameter.VAR_POSITIONAL:
                raise TypeError(f"{self.what}: *{name} cannot be filled, as arguments have names")
            if kind is parameter.VAR_KEYWORD:
                self.rest = name
            elif is_context(annotation):
                if self.context is not None:
                    raise TypeError(f"{self.what}: {self.context} and {name} both take the context")
                self.context = name
            else:
                if name.startswith("__"):
                    raise TypeError(f"{self.what}: a parameter cannot be called {name}")
                default = NODEFAULT if parameter.default is parameter.empty else parameter.default
                yield self._parameter(name, annotation, default, kind not in _POSITIONAL)

    def _parameter(self, name: str, annotation: Any, default: Any, keyword: bool) -> Parameter:
        if "pydantic" not in sys.modules:
            return Parameter(name, annotation, default, keyword)
        from mcpcore.service.pydantic_types import parameter_of

        try:
            foreign, default, factory = parameter_of(annotation, default)
        except TypeError as error:
            raise TypeError(f"{self.what}: parameter {name!r}: {error}") from error
        return Parameter(name, annotation, default, keyword, foreign, factory)

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
        context_name: str | None = None
        if self.context is not None:
            if order[self.context].kind in _POSITIONAL:
                slot = list(order).index(self.context)
            else:
                context_name = self.context
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
        return frozenset(
            parameter.name
            for parameter in inspect.signature(self.function).parameters.values()
            if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.VAR_KEYWORD)
        )


def is_context(annotation: Any) -> bool:
    """Return True if the annotation is a context class, also with parameters, or in a union."""
    origin = get_origin(annotation)
    if origin is Annotated or is_union(origin):
        return any(is_context(inner) for inner in get_args(annotation))
    return getattr(origin or annotation, CONTEXT_MARK, False) is True


def values_type(
    parameters: tuple[Parameter, ...], *, strict: bool = True, text: bool = False
) -> type[Struct]:
    """Return a Struct type with a field for each parameter, in order.

    ``strict``: unknown members are refused.  Values that msgspec does not read stay as they are:
    Raw, or a string if all are ``text``.  A binder takes ``msgspec.structs.astuple`` of an
    instance.
    """
    fields: list[Any] = []
    for parameter in parameters:
        type: Any = parameter.type if parameter.foreign is None else str if text else Raw
        if parameter.required:
            fields.append((parameter.name, type))
        else:
            factory = parameter.factory or _constant(parameter.default)
            fields.append((parameter.name, type, msgspec.field(default_factory=factory)))
    return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=strict)


def _constant(value: Any) -> Callable[[], Any]:
    # As in Python, all calls share a mutable default.
    return lambda: value


def _plain(function: Any) -> Any:
    """Return the annotated function: that in a partial, or the method of a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


# Lifespan

OpenLifespan: TypeAlias = (
    Callable[[], AbstractAsyncContextManager[Any]]
    | Callable[["Server"], AbstractAsyncContextManager[Any]]
)
"""Function that returns an async context manager; takes the server, or nothing."""

_DECORATE = "decorate it with contextlib.asynccontextmanager"


class Lifespan:
    """Declared lifespan: the function that makes the context manager, and its name in messages.

    Raises TypeError, naming the function, if it cannot be a lifespan.
    """

    __slots__ = ("_function", "_takes_server", "name")

    def __init__(self, function: Any) -> None:
        if not callable(function) or isinstance(function, AbstractAsyncContextManager):
            kind = type(function).__name__
            raise TypeError(f"lifespan: expected a function, which is not called yet, got {kind}")
        plain = function.func if isinstance(function, functools.partial) else function
        self.name: str = getattr(plain, "__name__", type(plain).__name__)
        if inspect.isasyncgenfunction(function):
            raise TypeError(f"lifespan: {self.name} is an async generator function: {_DECORATE}")
        if inspect.iscoroutinefunction(function):
            raise TypeError(
                f"lifespan: {self.name} is a coroutine function: have it yield, and {_DECORATE}"
            )
        needed = [
            each
            for each in inspect.signature(function).parameters.values()
            if each.default is each.empty
            and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        if len(needed) > 1 or any(each.kind not in _POSITIONAL for each in needed):
            names = ", ".join(each.name for each in needed)
            raise TypeError(f"lifespan: {self.name} takes {names}; expected the server or nothing")
        self._function: Callable[..., Any] = function
        self._takes_server = bool(needed)

    def open(self, server: "Server") -> AbstractAsyncContextManager[Any]:
        """Make the context manager.

        Raises TypeError if it is not an async one, and the exceptions of the function.
        """
        made = self._function(server) if self._takes_server else self._function()
        if not isinstance(made, AbstractAsyncContextManager):
            raise TypeError(f"it returned a {type(made).__name__}, no async context manager")
        return made
