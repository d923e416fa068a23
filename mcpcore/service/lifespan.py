"""Lifespan of a server: a context manager around its service, declared here, not entered."""

import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from mcpcore.service.service import Server

OpenLifespan: TypeAlias = (
    Callable[[], AbstractAsyncContextManager[Any]]
    | Callable[["Server"], AbstractAsyncContextManager[Any]]
)
"""Function that returns an async context manager; takes the server, or nothing."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
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
        plain = function.func if isinstance(function, partial) else function
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
