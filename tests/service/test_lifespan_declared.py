"""What may be declared as the lifespan of a server, and what is refused by its name."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest

from mcpcore.service import Server
from mcpcore.service.handlers import Lifespan


@asynccontextmanager
async def of_nothing() -> AsyncIterator[str]:
    yield "of nothing"


@asynccontextmanager
async def of_the_server(server: Server) -> AsyncIterator[str]:
    yield f"of {server.info.name}"


@asynccontextmanager
async def with_options(url: str = "sqlite:", *, pool: int = 1, **more: Any) -> AsyncIterator[str]:
    yield f"{url} {pool} {more}"


class Opened:
    """A context manager of its own."""

    def __init__(self) -> None:
        self.left = False

    async def __aenter__(self) -> str:
        return "opened"

    async def __aexit__(self, *error: object) -> None:
        self.left = True


class Opener:
    """Makes context managers."""

    @asynccontextmanager
    async def opened(self, server: Server) -> AsyncIterator[str]:
        yield f"method of {server.info.name}"

    def __call__(self, server: Server) -> AbstractAsyncContextManager[str]:
        return self.opened(server)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        (of_nothing, "of_nothing", "of nothing"),
        (of_the_server, "of_the_server", "of x"),
        (with_options, "with_options", "sqlite: 1 {}"),
        (partial(with_options, "pg:", pool=2), "with_options", "pg: 2 {}"),
        (Opened, "Opened", "opened"),
        (Opener().opened, "opened", "method of x"),
        (Opener(), "Opener", "method of x"),
        (lambda server: of_the_server(server), "<lambda>", "of x"),
    ],
)
async def test_what_can_be_declared(function: Any, name: str, value: str) -> None:
    server = Server("x", lifespan=function)
    assert server.lifespan is not None
    assert server.lifespan.name == name
    for _ in range(2):  # each time another one
        async with server.lifespan.open(server) as yielded:
            assert yielded == value


async def bare() -> AsyncIterator[str]:
    yield "bare"


async def coroutine() -> str:
    return "one"


def pair(server: Server, database: str) -> None: ...


def keyword(*, server: Server) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (bare, "bare is an async generator function: decorate it with contextlib.asynccontext"),
        (coroutine, "coroutine is a coroutine function: have it yield, and decorate it with"),
        (Opened(), "expected a function, which is not called yet, got Opened"),
        (of_nothing(), "expected a function, which is not called yet, got _AsyncGeneratorContext"),
        (pair, "pair takes server, database; expected the server or nothing"),
        (keyword, "keyword takes server; expected the server or nothing"),
    ],
)
def test_what_cannot_is_refused_where_it_is_declared(function: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^lifespan: {message}"):
        Server("x", lifespan=function)


def test_what_is_no_context_manager_is_refused_when_it_is_opened() -> None:
    @contextmanager
    def plain() -> Any:
        yield "plain"

    opened: Callable[[], Any] = plain
    with pytest.raises(TypeError, match="returned a _GeneratorContextManager, no async context"):
        Lifespan(opened).open(Server("x"))


def test_a_server_has_none_unless_it_says_so() -> None:
    assert Server("x").lifespan is None
