"""Tools made of other functions: one after the other, side by side, or one of several.

Each of :func:`pipeline`, :func:`parallel` and :func:`branch` returns a coroutine function that can
be declared as a tool, or be part of another composition.  The functions that they take may be
coroutine functions or not, and may take the context.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Union

import anyio
from msgspec import Struct

from mcpcore.errors import ToolError
from mcpcore.service.handlers import Handler, is_masked, shown
from mcpcore.spec.errors import McpError
from mcpcore_transports.running.functions import is_awaitable
from mcpcore_transports.server.context import Context

logger = logging.getLogger("mcpcore.application")

Function = Callable[..., Any]
Composed = Callable[..., Awaitable[Any]]
_CONTEXT = "mcp_context"
"""Parameter of a composed function that takes the context."""


class Outcomes(Struct, frozen=True):
    """Results of functions that ran side by side, and the errors of those that failed, by name."""

    results: dict[str, Any]
    errors: dict[str, str]


def pipeline(first: Function, *others: Function) -> Composed:
    """Run functions one after the other: each takes the value that the one before has returned.

    The parameters are those of the first function, the type of the result is that of the last one.
    The value becomes the first parameter of the next function; its other parameters need defaults.
    An exception of one ends the pipeline.  Raises TypeError for functions that do not fit.
    """
    head = _Member(first)
    rest = [_Member(each) for each in others]
    for part in rest:
        if not part.names:
            raise TypeError(f"{part.name}: it has no parameter for the value before it")
        part.check(part.names[:1])

    async def run(context: Any, given: Mapping[str, Any]) -> Any:
        value = await head.run(context, given)
        for part in rest:
            value = await part.run(context, {part.names[0]: value})
        return value

    parts = [head, *rest]
    return _composed(run, parts, parts[-1].handler.returns)


def parallel(first: Function, *others: Function) -> Composed:
    """Run functions at once with the same arguments; return their :class:`Outcomes`.

    The parameters are those of the first function; the others take those of these that they name.
    The names in the result are those of the functions.  A function that fails does not disturb the
    others; if all fail, the call does, with a :class:`~mcpcore.errors.ToolError`.  A protocol
    error (:class:`~mcpcore.McpError`) ends the call.  Raises TypeError for functions that do not
    fit, and for two of one name.
    """
    head, *rest = parts = [_Member(each) for each in (first, *others)]
    for part in rest:
        part.check(head.names)
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise TypeError("two functions have one name, which results are told apart by")

    async def run(context: Any, given: Mapping[str, Any]) -> Outcomes:
        results: dict[str, Any] = {}
        errors: dict[str, str] = {}

        async def attempt(part: _Member) -> None:
            try:
                results[part.name] = await part.run(context, given)
            except McpError:
                raise
            except Exception as error:
                if is_masked(error):
                    logger.error("%s failed beside others", part.name, exc_info=error)
                errors[part.name] = shown(error)

        async with anyio.create_task_group() as tasks:
            for part in parts:
                tasks.start_soon(attempt, part)
        # In the order of the functions: which of them ends first is chance.
        if not results:
            raise ToolError("; ".join(f"{name}: {errors[name]}" for name in names))
        return Outcomes(
            {name: results[name] for name in names if name in results},
            {name: errors[name] for name in names if name in errors},
        )

    return _composed(run, parts, Outcomes)


def branch(choose: Function, cases: Mapping[Any, Function], *, default: Function) -> Composed:
    """Run the function of ``cases`` whose key ``choose`` returns, or ``default`` without one.

    The parameters are those of ``choose``; the other functions take those of these that they name.
    The type of the result is the union of theirs.  Raises TypeError for functions that do not fit.
    """
    head, other = _Member(choose), _Member(default)
    parts = {key: _Member(each) for key, each in cases.items()}
    for part in (*parts.values(), other):
        part.check(head.names)

    async def run(context: Any, given: Mapping[str, Any]) -> Any:
        return await parts.get(await head.run(context, given), other).run(context, given)

    ends = [*parts.values(), other]
    types: Any = tuple(each.handler.returns for each in ends)
    return _composed(run, [head, *ends], Union[types])  # noqa: UP007  # a number of them


class _Member:
    """Function of a composition."""

    def __init__(self, function: Function) -> None:
        self.handler = Handler(function)
        self.name: str = getattr(function, "__name__", type(function).__name__)
        self.names = [parameter.name for parameter in self.handler.parameters]
        if self.handler.rest is not None:
            raise TypeError(f"{self.name}: **{self.handler.rest} cannot be filled")

    def check(self, given: list[str]) -> None:
        """Raise TypeError if a parameter without a default is not among the names ``given``."""
        for each in self.handler.parameters:
            if each.required and each.name not in given:
                raise TypeError(f"{self.name}: nothing fills the parameter {each.name!r}")

    async def run(self, context: Any, given: Mapping[str, Any]) -> Any:
        """Call the function with those of the values that it has parameters for."""
        values = tuple(
            given[each.name] if each.name in given else each.fill()
            for each in self.handler.parameters
        )
        value = self.handler.call(context, values)
        return await value if is_awaitable(value) else value


def _composed(
    run: Callable[[Any, Mapping[str, Any]], Awaitable[Any]], parts: list[_Member], returns: Any
) -> Composed:
    """Return ``run`` as a function with the parameters, name and text of the first of ``parts``."""
    head = parts[0]
    taken = [
        parameter
        for name, parameter in inspect.signature(head.handler.function).parameters.items()
        if name in head.names
    ]
    if any(part.handler.takes_context for part in parts):
        taken.append(inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY))
    signature = inspect.Signature(taken)

    async def composed(*positional: Any, **named: Any) -> Any:
        bound = signature.bind(*positional, **named)
        bound.apply_defaults()
        return await run(bound.arguments.pop(_CONTEXT, None), bound.arguments)

    hints = {each.name: each.type for each in head.handler.parameters}
    composed.__name__, composed.__doc__ = head.name, head.handler.doc
    composed.__annotations__ = {**hints, _CONTEXT: Context, "return": returns}
    composed.__signature__ = signature  # type: ignore[attr-defined]
    return composed
