"""Headers and ``_meta`` of requests at a gateway, over every binding: what passes, what ends there.

Sources: the ``_meta`` page of the specification; RFC 9110 section 7.6.1 (hop-by-hop headers).
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from mcpcore import Context, connect
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal
from mcpcore.service import Server
from mcpcore.spec.revisions import parse_revisions
from mcpcore.spec.types.base import META_CLIENT_INFO, full_meta
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.targets import MemoryTarget, Target, parse_target
from tests.gateway.backend import backend
from tests.gateway.test_gateway import ERAS, LEGACY, gateway, text
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio

CLIENTS = "of-the-client"
ENDING = {
    "authorization": f"Bearer {CLIENTS}",
    "cookie": f"a={CLIENTS}",
    "proxy-authorization": f"Basic {CLIENTS}",
    "x-forwarded-for": CLIENTS,
    "x-forwarded-host": CLIENTS,
    "forwarded": f"for={CLIENTS}",
    "via": CLIENTS,
    "keep-alive": CLIENTS,
    "trailer": CLIENTS,
    "te": CLIENTS,
    "x-custom": CLIENTS,
}
"""Headers of a client that end at the gateway."""
OWN = {"x-own": "of-the-gateway"}
"""Headers of the gateway's own."""
PASSING: dict[str, Any] = {
    "com.example/a": {"b": [1, None]},
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b",
    "baggage": "k=v",
}
"""Members of ``_meta`` that pass."""
DOWN = ("http", "sse", "ws", "tcp", "unix")
UP = (*DOWN, "memory")
WITH_HEADERS = ("http", "sse", "ws")
CASES = [
    (client, server, down, up)
    for client in ERAS
    for server in ERAS
    for down, up in [*((each, "http") for each in DOWN), *(("http", each) for each in UP[1:])]
    if not (down == "sse" and client != LEGACY) and not (up == "sse" and server != LEGACY)
]


class Behind:
    """A server that notes the headers and the ``_meta`` of the requests to it."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.meta: dict[str, Any] = {}
        self.server: Server = backend()

        @self.server.tool
        def look(context: Context) -> str:
            self.meta = full_meta(context.params)
            context.result_meta["com.example/back"] = [1]
            return "seen"

    def _look(self, request: HttpRequest) -> Principal:
        self.headers.extend(request.headers)
        return Principal("gateway")

    @asynccontextmanager
    async def at(self, binding: str, revision: str, folder: str) -> AsyncIterator[Target]:
        """Serve it; its target."""
        if binding == "memory":
            yield MemoryTarget(self.server, RuntimeSettings(revisions=parse_revisions([revision])))
            return
        settings = ServeSettings(http_link=HttpServerSettings(authenticate=self._look))
        place: dict[str, Any] = {binding: address(binding, folder, "behind")}
        if binding not in WITH_HEADERS:
            settings = ServeSettings()
        async with served(self.server, revisions=[revision], settings=settings, **place) as behind:
            headers = OWN if binding in WITH_HEADERS else None
            yield parse_target(behind.url, headers=headers)


def address(binding: str, folder: str, name: str) -> str:
    return str(Path(folder) / name) if binding == "unix" else ANY_PORT


@pytest.mark.parametrize(("client", "server", "down", "up"), CASES)
async def test_what_passes_and_what_ends(client: str, server: str, down: str, up: str) -> None:
    behind = Behind()
    inbound: list[tuple[bytes, bytes]] = []

    def look(request: HttpRequest) -> Principal:
        inbound.extend(request.headers)
        return Principal("ann")

    front_settings = ServeSettings()
    if down in WITH_HEADERS:
        front_settings = ServeSettings(http_link=HttpServerSettings(authenticate=look))
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        target = await stack.enter_async_context(behind.at(up, server, folder))
        place: dict[str, Any] = {down: address(down, folder, "front")}
        front = await stack.enter_async_context(
            gateway({"only": target}, settings_of=front_settings, **place)
        )
        headers = ENDING if down in WITH_HEADERS else None
        connected = await stack.enter_async_context(
            connect(parse_target(front.url, headers=headers), revision=client)
        )
        result = await connected.call_tool("look", meta=PASSING)
        assert text(result) == "seen"
        assert result.meta is not None
        assert result.meta["com.example/back"] == [1]
    assert {name: behind.meta.get(name) for name in PASSING} == PASSING
    info = behind.meta.get(META_CLIENT_INFO)
    assert (info is None) is (server == LEGACY)
    assert info is None or info["name"] == "mcpcore-gateway"
    if down in WITH_HEADERS:
        assert {name for name, value in inbound if CLIENTS.encode() in value} == {
            name.encode() for name in ENDING
        }
    if up in WITH_HEADERS:
        seen = [value for _, value in behind.headers]
        assert b"of-the-gateway" in seen
        assert not [value for value in seen if CLIENTS.encode() in value]
        shared = {(n, v) for n, v in inbound if n == b"mcp-session-id"} & set(behind.headers)
        assert not shared
    assert CLIENTS not in json.dumps(behind.meta)
