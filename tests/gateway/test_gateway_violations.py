"""Violations of clients: they are logged, and counted by caller, at servers and at gateways."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, bearer_token
from mcpcore.policy.suspicion import Suspicion, Suspicious
from mcpcore_transports.gateway.gateway import Gateway
from mcpcore_transports.http1.settings import HttpServerSettings
from mcpcore_transports.serve.assembling import Application
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.targets import MemoryTarget
from tests.clock import patience
from tests.gateway.backend import backend
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio

Made = Callable[[], Any]
SERVERS: list[Any] = [
    pytest.param(backend, id="server"),
    pytest.param(lambda: Gateway({"only": MemoryTarget(backend())}), id="gateway"),
]
NO_META = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}'
NO_MESSAGE = b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}'


async def post(port: int, token: str) -> None:
    """Send a request without the ``_meta`` of its revision, and read the refusal."""
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
        "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\n"
        f"Content-Length: {len(NO_META)}\r\n\r\n"
    )
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head.encode() + NO_META)
        assert (await stream.receive()).startswith(b"HTTP/1.1 400")


def who(request: HttpRequest) -> Principal:
    return Principal(bearer_token(request) or "nobody")


@pytest.mark.parametrize("make", SERVERS)
async def test_a_principal_that_breaks_many_rules(
    make: Made, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Suspicious] = []
    suspicion = Suspicion(violations=2.5, half_life=1e9, tell=told.append)
    settings = ServeSettings(
        runtime=RuntimeSettings(suspicion=suspicion),
        http_link=HttpServerSettings(authenticate=who),
    )
    async with served(make(), http=ANY_PORT, settings=settings) as front:
        with patience():
            for name in ("ann", "ben", "ann", "ben", "ann", "ann"):
                await post(front.port, name)
    assert [each.caller for each in told] == ["principal ann"]
    assert "_meta" in told[0].reason
    assert "principal ann breaks many rules" in caplog.text
    assert "principal ben" not in caplog.text


@pytest.mark.parametrize("make", SERVERS)
async def test_a_connection_without_a_principal(make: Made) -> None:
    told: list[Suspicious] = []
    suspicion = Suspicion(violations=1.5, half_life=1e9, tell=told.append)
    settings = ServeSettings(runtime=RuntimeSettings(suspicion=suspicion))
    server: Application = make()
    async with served(server, tcp=ANY_PORT, settings=settings) as front:
        with patience():
            for times in (1, 2):
                port = int(front.url.rpartition(":")[2])
                async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                    for _ in range(times):
                        await stream.send(NO_MESSAGE + b"\n")
                        assert "error" in json.loads(await stream.receive())
    [found] = told
    assert found.caller.startswith("connection ")
