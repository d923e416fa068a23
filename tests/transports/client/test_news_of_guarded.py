"""Changes of resources that not everybody may read, on every binding: told to whoever may alone."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpcore import (
    Client,
    HttpServerSettings,
    Server,
    ServeSettings,
    asgi_app,
    bearer_token,
    connect,
)
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal
from tests.bindings.asgi_servers import serve_asgi
from tests.clock import PATIENCE, patience
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio

OPEN, SCOPED, HIDDEN = "open://a", "scoped://a", "hidden://a"


def who(request: HttpRequest) -> Principal | Refusal:
    """A token is the scopes of ann."""
    token = bearer_token(request)
    return Refusal() if token is None else Principal("ann", scopes=token.split("-"))


def sees(principal: str | None) -> bool:
    return isinstance(principal, Principal) and "all" in principal.scopes


def guarded() -> Server:
    made = Server("guarded")
    made.add_resource(OPEN, "x")
    made.add_resource(SCOPED, "x", scopes={"all"})
    made.add_resource(HIDDEN, "x", visible=sees)

    @made.tool
    def touch() -> None:
        for uri in (HIDDEN, SCOPED, OPEN):
            made.resource_updated(uri)

    return made


SETTINGS = ServeSettings(shared=True, http_link=HttpServerSettings(authenticate=who))
ROWS = [
    (binding, revision)
    for binding in ("http", "sse", "ws", "asgi-ws")
    for revision in ("2024-11-05", "2025-11-25", "2026-07-28")
    if (binding, revision) != ("sse", "2026-07-28")
]


@asynccontextmanager
async def offered(binding: str) -> AsyncIterator[str]:
    if binding != "asgi-ws":
        where: Any = {binding: ANY_PORT}
        settings = SETTINGS if binding == "http" else ServeSettings(http_link=SETTINGS.http_link)
        async with served(guarded(), settings=settings, **where) as site:
            yield site.url
        return
    stop = anyio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with anyio.create_task_group() as tasks:
            app = asgi_app(guarded(), settings=SETTINGS)
            tasks.start_soon(serve_asgi, app, listener, stop.wait, PATIENCE)
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}/mcp"
            stop.set()


async def told(client: Client, *uris: str) -> list[str]:
    """What a subscriber hears until it hears of the open resource, which changes last."""
    heard: list[str] = []
    async with client.listen(uris=[*uris, OPEN]) as changes:
        await client.call_tool("touch")
        async for change in changes:
            heard.append(str(change.uri))
            if change.uri == OPEN:
                break
    return heard


@pytest.mark.parametrize(("binding", "revision"), ROWS)
async def test_whoever_may_read_is_told(binding: str, revision: str) -> None:
    with patience():
        async with offered(binding) as url:
            async with connect(url, auth=lambda: "all", revision=revision) as client:
                assert await told(client, HIDDEN, SCOPED) == [HIDDEN, SCOPED, OPEN]
            async with connect(url, auth=lambda: "few", revision=revision) as client:
                assert await told(client, HIDDEN) == [OPEN]


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-11-25"])
async def test_whoever_might_read_before_is_not_told_over_sse(revision: str) -> None:
    tokens = ["all"]
    with patience():
        async with (
            offered("sse") as url,
            connect(url, auth=lambda: tokens[0], revision=revision) as client,
            client.listen(uris=[HIDDEN, SCOPED, OPEN]) as changes,
        ):
            tokens[0] = "few"
            await client.call_tool("touch")
            assert (await anext(aiter(changes))).uri == OPEN


@pytest.mark.parametrize(("binding", "revision"), ROWS)
async def test_whoever_may_read_from_now_on_is_told(binding: str, revision: str) -> None:
    tokens = ["few"]
    with patience():
        async with (
            offered(binding) as url,
            connect(url, auth=lambda: tokens[0], revision=revision) as client,
        ):
            assert await told(client) == [OPEN]
            tokens[0] = "all"
            await client.read_resource(SCOPED)
            assert await told(client, HIDDEN, SCOPED) == [HIDDEN, SCOPED, OPEN]
