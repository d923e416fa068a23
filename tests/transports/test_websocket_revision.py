"""A revision offered as a subprotocol is the only one spoken, however the WebSocket came."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpcore import Server, ServeSettings, asgi_app
from tests.transports.malformed import META, request
from tests.transports.served import ANY_PORT, served
from tests.transports.sites import TEXT, upgraded
from tests.transports.test_websocket_asgi_messages import Wire

pytestmark = pytest.mark.anyio

MODERN, OLD, NEW = "2026-07-28", "2024-11-05", "2025-11-25"
CLIENT: dict[str, Any] = {"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class Sockets:
    """A connection by hand."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def ask(self, data: bytes) -> Any:
        await self._client.frame(TEXT, data)
        return await self._client.message()


class Asgi:
    """A connection as an ASGI server brings it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def ask(self, data: bytes) -> Any:
        self._wire.text(data)
        return json.loads((await self._wire.hear())["text"])


@asynccontextmanager
async def opened(binding: str, offer: str) -> AsyncIterator[Sockets | Asgi]:
    server = Server("bound")

    @server.tool
    def echo() -> str:
        return "echo"

    settings = ServeSettings(shared=binding != "alone")
    if binding == "asgi":
        app = asgi_app(server, settings=settings)
        async with anyio.create_task_group() as tasks:
            wire = Wire(app, *offer.split(", "))
            tasks.start_soon(wire.run)
            assert (await wire.hear())["type"] == "websocket.accept"
            yield Asgi(wire)
            await app.aclose()
        return
    place: dict[str, Any] = {"http" if binding == "shared" else "ws": ANY_PORT}
    async with (
        served(server, settings=settings, **place) as site,
        upgraded(site.port, Sec_WebSocket_Protocol=offer) as client,
    ):
        yield Sockets(client)


def initialize(revision: str) -> bytes:
    return request("initialize", {"protocolVersion": revision, **CLIENT})


bindings = pytest.mark.parametrize("binding", ["alone", "shared", "asgi"])
offers = pytest.mark.parametrize("form", ["mcp.version.{}", "mcp, mcp.version.{}"])


@bindings
@offers
async def test_a_legacy_revision_binds(binding: str, form: str) -> None:
    async with opened(binding, form.format(OLD)) as client:
        refused = await client.ask(request("tools/list", {"_meta": META}))
        assert refused["error"]["code"] == -32022
        assert refused["error"]["data"] == {"supported": [OLD], "requested": MODERN}
        answer = await client.ask(initialize(NEW))
        assert answer["result"]["protocolVersion"] == OLD


@bindings
@offers
async def test_a_modern_revision_binds(binding: str, form: str) -> None:
    async with opened(binding, form.format(MODERN)) as client:
        refused = await client.ask(initialize(NEW))
        assert refused["error"]["code"] == -32022
        assert refused["error"]["data"] == {"supported": [MODERN], "requested": NEW}
        bare = await client.ask(request("tools/list", {}))
        assert bare["error"]["code"] == -32602
        answer = await client.ask(request("tools/list", {"_meta": META}))
        assert [tool["name"] for tool in answer["result"]["tools"]] == ["echo"]


@bindings
async def test_without_an_offer_all_revisions_are_spoken(binding: str) -> None:
    async with opened(binding, "mcp") as client:
        answer = await client.ask(request("tools/list", {"_meta": META}))
        assert answer["result"]["tools"]
        answer = await client.ask(initialize(NEW))
        assert answer["result"]["protocolVersion"] == NEW
