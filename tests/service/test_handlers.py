"""Handlers: which parameters they have, and how they are called."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Generic, Optional, TypeVar

import msgspec
import pytest
from msgspec import NODEFAULT

from mcpcore.service import Server
from mcpcore.service.handlers import Handler, is_context, values_type

if TYPE_CHECKING:
    from decimal import Decimal

T = TypeVar("T")


class Context(Generic[T]):
    __mcp_context__ = True


class NoContext:
    __mcp_context__ = "yes"


CONTEXT: Any = Context()


def plain(a: int, b: str = "b") -> Any:
    return (a, b)


def keyword(a: int, *, b: str = "b", c: int) -> Any:
    return (a, b, c)


def first(context: Context[int], a: int, b: str) -> Any:
    return (context, a, b)


def middle(a: int, context: Context[int], b: str) -> Any:
    return (a, context, b)


def named(a: int, *, context: Context[int] | None = None, b: str) -> Any:
    return (a, context, b)


def positional(a: int, context: Context[int], /, b: str) -> Any:
    return (a, context, b)


def first_and_keyword(context: Context[int], a: int, *, b: str) -> Any:
    return (context, a, b)


def only_context(context: Annotated[Context[int], "the context"]) -> Any:
    return (context,)


def nothing() -> Any:
    return ()


class Callable_:  # noqa: N801 - it is called like what it tests
    def __call__(self, a: int, b: str) -> Any:
        return (a, b)

    def method(self, a: int, context: Context[int]) -> Any:
        return (a, context)


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        (plain, (1, "x"), (1, "x")),
        (keyword, (1, "x", 2), (1, "x", 2)),
        (first, (1, "x"), (CONTEXT, 1, "x")),
        (middle, (1, "x"), (1, CONTEXT, "x")),
        (named, (1, "x"), (1, CONTEXT, "x")),
        (positional, (1, "x"), (1, CONTEXT, "x")),
        (first_and_keyword, (1, "x"), (CONTEXT, 1, "x")),
        (only_context, (), (CONTEXT,)),
        (nothing, (), ()),
        (Callable_(), (1, "x"), (1, "x")),
        (Callable_().method, (1,), (1, CONTEXT)),
        (functools.partial(plain, b="y"), (1, "x"), (1, "x")),
        (functools.partial(middle, 7), ("x",), (7, CONTEXT, "x")),
        (lambda a, b: (b, a), (1, 2), (2, 1)),
    ],
)
def test_binding(
    function: Callable[..., Any], values: tuple[Any, ...], expected: tuple[Any, ...]
) -> None:
    handler = Handler(function)
    assert len(handler.parameters) == len(values)
    assert handler.call(CONTEXT, values) == expected


def test_rest() -> None:
    def function(context: Context[int], a: int, *, b: int, **rest: Any) -> Any:
        return (context, a, b, rest)

    handler = Handler(function)
    assert handler.rest == "rest"
    assert handler.taken() == {"context", "a", "b"}
    called = handler.call(CONTEXT, (1, 2, {"c": 3}))
    assert called == (CONTEXT, 1, 2, {"c": 3})


def test_what_is_known_of_a_handler() -> None:
    async def function(a: "int", context: Optional[Context[int]] = None, b=3) -> list[int]:  # type: ignore[no-untyped-def]  # noqa: UP045
        """Docs."""
        return [a, b]

    handler = Handler(function)
    assert handler.is_async
    assert handler.context == "context"
    assert handler.doc == "Docs."
    assert handler.returns == list[int]
    a, b = handler.parameters
    assert (a.name, a.type, a.default, a.required) == ("a", int, NODEFAULT, True)
    assert (b.name, b.type, b.default, b.required) == ("b", Any, 3, False)


@pytest.mark.parametrize(
    "function",
    [functools.partial(lambda a: a), lambda: None, Callable_(), Callable_().method],
)
def test_not_async(function: Any) -> None:
    assert not Handler(function).is_async


def test_async_objects() -> None:
    class Slow:
        async def __call__(self, a: int) -> int:
            return a

        async def method(self) -> None:
            return None

    assert Handler(Slow()).is_async
    assert Handler(Slow().method).is_async
    assert Handler(functools.partial(Slow().method)).is_async


def unresolved(a: "Decimal") -> None: ...


def stars(*a: int) -> None: ...


def two(a: Context[int], b: Context[int]) -> None: ...


def dunder(__a: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (unresolved, "an annotation cannot be resolved.*TYPE_CHECKING"),
        (stars, r"\*a cannot be filled"),
        (two, "a and b both take the context"),
        (dunder, "cannot be called __a"),
        (Callable_.method, "self would be an argument of clients: declare the bound method"),
        (int, "expected a function"),
        (5, "expected a function, got int"),
    ],
)
def test_refused(function: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Handler(function)


@pytest.mark.parametrize("decorator", ["resource", "method", "notification"])
def test_a_decorator_without_its_parentheses_is_refused(decorator: str) -> None:
    with pytest.raises(TypeError, match=rf"expected a text, as in @server\.{decorator}\(\""):
        getattr(Server("x"), decorator)(stars)


@pytest.mark.parametrize("decorator", ["tool", "prompt"])
def test_a_decorator_with_two_names_is_refused(decorator: str) -> None:
    with pytest.raises(TypeError, match="two names are given: 'a' and 'b'"):
        getattr(Server("x"), decorator)("a", name="b")


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Context, True),
        (Context[int], True),
        (Context[int] | None, True),
        (Optional[Context[int]], True),  # noqa: UP045
        (Annotated[Context[int], "x"], True),
        (NoContext, False),
        (int, False),
        (int | None, False),
        (Any, False),
        (None, False),
    ],
)
def test_context_classes(annotation: Any, expected: bool) -> None:
    assert is_context(annotation) is expected


def test_values_type() -> None:
    default = [1]

    def function(a: int = 1, b: list[int] = default, *, self: str, _c: int = 2) -> None: ...

    parameters = Handler(function).parameters
    strict, loose = values_type(parameters), values_type(parameters, strict=False)
    values = msgspec.structs.astuple(msgspec.json.decode(b'{"self":"x"}', type=strict))
    assert values == (1, [1], "x", 2)
    assert values[1] is not default
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(b'{"self":"x","z":1}', type=strict)
    assert msgspec.json.decode(b'{"self":"x","z":1}', type=loose) == loose(self="x")
