"""WebSocket beside Streamable HTTP under real ASGI servers, each a process of its own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus
from msgspec import structs

from mcpcore import Callbacks, Client, LinkError, WebSocketTarget, connect
from tests.clock import PATIENCE, patience
from tests.transports.asgi_fixture import KINDS, Kind, Site, running
from tests.transports.sites import TEXT, Raw, call, raw, upgrade
from tests.transports.websocket.asgi_websocket_site import TOKEN

pytestmark = pytest.mark.anyio

REVISIONS = ["2025-06-18", "2026-07-28"]


@pytest.fixture
def anyio_backend() -> str:
    """The loops under test are those of the servers."""
    return "asyncio"


def _kind(kind: Kind) -> Kind:
    name = "mounted" if kind.path != "/mcp" else "app"
    return structs.replace(kind, app=f"tests.transports.websocket.asgi_websocket_site:{name}")


SOME = ("uvicorn", "granian")
"""Tried every time; the others belong to the long tests."""


def _kinds(*names: str) -> list[Any]:
    return [pytest.param(name, marks=() if name in SOME else pytest.mark.long) for name in names]


@pytest.fixture(scope="module", params=_kinds(*KINDS))
def process(request: pytest.FixtureRequest) -> Iterator[Site]:
    with running(_kind(KINDS[request.param]), quiet=False) as site:
        yield site


@pytest.fixture
async def site(process: Site) -> AsyncIterator[Site]:
    with patience(2 * PATIENCE):
        yield process


def ws_url(site: Site) -> str:
    return site.url.replace("http:", "ws:")


@pytest.mark.parametrize("revision", REVISIONS)
async def test_calls_questions_and_cancellations(site: Site, revision: str) -> None:
    callbacks = Callbacks(elicitation=lambda params: {"name": "Ann"})
    for url in (ws_url(site), site.url):
        async with connect(url, revision=revision, callbacks=callbacks) as client:
            assert await text(client, "add", a=1, b=2) == "3"
            assert await text(client, "greet") == "Hello, Ann!"
            assert await text(client, "whoami") == "anybody"
            with anyio.CancelScope() as scope:  # once its handler has begun
                arguments = {"label": f"{url} {revision}"}
                await client.call_tool("hold", arguments, progress=lambda *_: scope.cancel())
            assert await text(client, "read", what=f"cancelled {url} {revision}") == "seen"


async def text(client: Client, name: str, **arguments: object) -> str:
    return (await client.call_tool(name, arguments)).text


async def test_the_principal_of_middleware_and_that_of_the_hook(site: Site) -> None:
    for headers, name in (
        ({"X-User": "bob"}, "bob"),
        ({"Authorization": f"Bearer {TOKEN}"}, "ann"),
    ):
        async with connect(WebSocketTarget(ws_url(site), headers)) as client:
            assert await text(client, "whoami") == name
    with pytest.raises(LinkError, match="status 403"):
        async with connect(WebSocketTarget(ws_url(site), {"X-Stranger": "1"})):
            pass


def opening(site: Site, **headers: str | None) -> bytes:
    return upgrade(site.port, site.path, method="GET", **headers)


async def hold(site: Site, *, task_status: TaskStatus[Raw]) -> None:
    async with raw(site.port) as client:
        await client.stream.send(opening(site))
        assert (await client.head())[0] == 101
        await client.frame(TEXT, call(1, "add", a=1, b=2))
        assert (await client.message())["id"] == 1
        task_status.started(client)
        await anyio.sleep_forever()


@pytest.mark.parametrize("kind", _kinds("uvicorn", "granian", "hypercorn on trio"))
async def test_a_server_ends_though_connections_are_open(kind: str) -> None:
    async with anyio.create_task_group() as tasks:
        with running(_kind(KINDS[kind]), quiet=False) as site:
            client = await tasks.start(hold, site)
        assert site.status is not None
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:  # some say goodbye first
                await client.more()
        tasks.cancel_scope.cancel()
