"""State of a handler: the lifespan of a mounted server, and values for a session."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakSet

import anyio
import pytest

from mcpcore import Client, Context, MemoryTarget, RuntimeSettings, Server, Steps, connect
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore_transports.server.middleware import Answer, ServerMiddleware
from tests.clock import patience
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio


def idle(request: Context) -> Steps[Answer]:
    yield


async def text(client: Client, name: str) -> str:
    return (await client.call_tool(name)).text


@pytest.mark.parametrize("revision", [LATEST.name, LATEST_LEGACY.name])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("middleware", [(), (idle,)])
async def test_a_handler_has_the_lifespan_of_its_server(
    revision: str, own: bool, middleware: tuple[ServerMiddleware, ...]
) -> None:
    diary: list[str] = []

    def life(name: str) -> Any:
        @asynccontextmanager
        async def open() -> AsyncIterator[str]:
            diary.append(f"{name} begins")
            yield name
            diary.append(f"{name} ends")

        return open

    inner = Server("inner", lifespan=life("inner"))
    outer = Server("outer", lifespan=life("outer") if own else None)

    def which(context: Context[str]) -> str:
        return str(context.lifespan)

    inner.add_tool(which, "which")
    outer.add_tool(which, "which")
    outer.mount(inner, "x_")
    target = MemoryTarget(outer, RuntimeSettings(middleware=middleware))
    async with connect(target, revision=revision) as client:
        assert await text(client, "which") == ("outer" if own else "None")
        assert await text(client, "x_which") == "inner"
    names = ["outer", "inner"] if own else ["inner"]
    assert diary == [f"{n} begins" for n in names] + [f"{n} ends" for n in reversed(names)]


@pytest.mark.parametrize(("revision", "counted"), [(LATEST.name, "1"), (LATEST_LEGACY.name, "2")])
@pytest.mark.parametrize("http", [True, False])
async def test_values_are_kept_for_a_session(http: bool, revision: str, counted: str) -> None:
    server = Server("counter")
    kept: list[dict[str, Any]] = []

    @server.tool
    def count(context: Context) -> str:
        state = context.session_state
        kept.append(state)
        state["calls"] = state.get("calls", 0) + 1
        return str(state["calls"])

    async with served(
        server, http=ANY_PORT if http else (), ws=() if http else ANY_PORT
    ) as serving:
        for _ in range(2):
            async with connect(serving.url, revision=revision) as client:
                assert await text(client, "count") == "1"
                assert await text(client, "count") == counted
    assert len({id(state) for state in kept}) == (4 if counted == "1" else 2)


class Kept:
    """Value whose end can be seen."""


async def test_values_end_with_their_session() -> None:
    server = Server("keeper")
    alive: WeakSet[Kept] = WeakSet()

    @server.tool
    def keep(context: Context) -> str:
        context.session_state["kept"] = value = Kept()
        alive.add(value)
        return "kept"

    async with served(server) as serving:
        async with connect(serving.url, revision=LATEST_LEGACY.name) as client:
            assert await text(client, "keep") == "kept"
            assert len(alive) == 1
        with patience():
            while alive:
                gc.collect()
                await anyio.sleep(0.01)
