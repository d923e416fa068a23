"""When memory is given back: once after each flood, and not otherwise."""

import gc
import weakref

import anyio
import pytest

from tests.transports.http_fixture import server, tool
from transports.http_settings import HttpServerSettings
from transports.tidying import Tidying


@pytest.mark.parametrize(
    ("many", "counts", "tidied"),
    [
        (100, [0, 99, 0, 99, 0], []),
        (100, [100, 26, 25, 0], [2]),
        (100, [50, 100, 200, 51, 50, 10, 0], [4]),
        (100, [1000, 250, 100, 62, 0], [1, 3]),
        (100, [1000, 0, 1000, 0], [1, 3]),
        (None, [10_000, 0], []),
    ],
)
def test_when(many: int | None, counts: list[int], tidied: list[int]) -> None:
    tidying = Tidying(many)
    assert [place for place, count in enumerate(counts) if tidying.look(count)] == tidied


def test_garbage_is_collected() -> None:
    class Node:
        other: "Node"

    gc.disable()
    try:
        one = Node()
        one.other = one
        left = weakref.ref(one)
        del one
        tidying = Tidying(1)
        tidying.look(4)
        assert left() is not None
        assert tidying.look(0)
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.anyio
async def test_a_server_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Tidying, "look", lambda self, clients: seen.append(clients))
    async with server(HttpServerSettings(idle_time=0.1)) as running:
        clients = [await running.connect() for _ in range(3)]
        for client in clients:
            assert (await client.call(tool("echo"))).status == 200
        for client in clients:
            assert await client.closed()
        with anyio.fail_after(5):
            while not seen or seen[-1]:
                await anyio.lowlevel.checkpoint()
    assert max(seen) == 3
