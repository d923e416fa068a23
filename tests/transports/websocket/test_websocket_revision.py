"""A revision offered as a subprotocol is the only one spoken, however the WebSocket came."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpcore import Server, ServeSettings, asgi_app
from tests.transports.malformed import META, request
from tests.transports.served import ANY_PORT, served
from tests.transports.sites import TEXT, upgraded
from tests.transports.websocket.test_websocket_asgi_messages import Wire

pytestmark = pytest.mark.anyio

MODERN, OLD, NEW = "2026-07-28", "2024-11-05", "2025-11-25"
CLIENT: dict[str, Any] = {"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


@asynccontextmanager
async def opened(binding: str, offer: str) -> AsyncIterator[Callable[[bytes], Awaitable[Any]]]:
    """Yield what sends a request and returns the answer."""
    server = Server("bound")
    server.add_tool(lambda: "echo", "echo")
    settings = ServeSettings(shared=binding != "alone")
    if binding == "asgi":
        app = asgi_app(server, settings=settings)
        async with anyio.create_task_group() as tasks:
            wire = Wire(app, *offer.split(", "))
            tasks.start_soon(wire.run)
            assert (await wire.hear())["type"] == "websocket.accept"

            async def through_asgi(data: bytes) -> Any:
                wire.text(data)
                return json.loads((await wire.hear())["text"])

            yield through_asgi
            await app.aclose()
        return
    place: dict[str, Any] = {"http" if binding == "shared" else "ws": ANY_PORT}
    async with (
        served(server, settings=settings, **place) as site,
        upgraded(site.port, Sec_WebSocket_Protocol=offer) as client,
    ):

        async def through_a_socket(data: bytes) -> Any:
            await client.frame(TEXT, data)
            return await client.message()

        yield through_a_socket


def initialize(revision: str) -> bytes:
    return request("initialize", {"protocolVersion": revision, **CLIENT})


bindings = pytest.mark.parametrize("binding", ["alone", "shared", "asgi"])
offers = pytest.mark.parametrize("form", ["mcp.version.{}", "mcp, mcp.version.{}"])


@bindings
@offers
async def test_a_legacy_revision_binds(binding: str, form: str) -> None:
    async with opened(binding, form.format(OLD)) as ask:
        refused = await ask(request("tools/list", {"_meta": META}))
        assert refused["error"]["code"] == -32022
        assert refused["error"]["data"] == {"supported": [OLD], "requested": MODERN}
        answer = await ask(initialize(NEW))
        assert answer["result"]["protocolVersion"] == OLD


@bindings
@offers
async def test_a_modern_revision_binds(binding: str, form: str) -> None:
    async with opened(binding, form.format(MODERN)) as ask:
        refused = await ask(initialize(NEW))
        assert refused["error"]["code"] == -32022
        assert refused["error"]["data"] == {"supported": [MODERN], "requested": NEW}
        bare = await ask(request("tools/list", {}))
        assert bare["error"]["code"] == -32602
        answer = await ask(request("tools/list", {"_meta": META}))
        assert [tool["name"] for tool in answer["result"]["tools"]] == ["echo"]


@bindings
async def test_without_an_offer_all_revisions_are_spoken(binding: str) -> None:
    async with opened(binding, "mcp") as ask:
        answer = await ask(request("tools/list", {"_meta": META}))
        assert answer["result"]["tools"]
        answer = await ask(initialize(NEW))
        assert answer["result"]["protocolVersion"] == NEW
