"""Hostile and wrong requests: a gateway refuses all that the server behind it refuses, alike."""

import json
from typing import Any

import anyio
import pytest

from mcpcore_transports.targets import parse_target
from tests.gateway.backend import backend
from tests.gateway.test_gateway import gateway
from tests.http.server.test_origin import BAD_HOSTS, BAD_ORIGINS, HERE
from tests.transports.http.test_http_heads import BAD_REQUESTS, UNFINDABLE
from tests.transports.http_fixture import Client, http, initialize, legacy, tool
from tests.transports.malformed import TABLE
from tests.transports.served import served

pytestmark = pytest.mark.anyio

GOOD_HOSTS = ("localhost", "LOCALHOST:1", "[::1]:80", "[0:0:0:0:0:0:0:1]", HERE)
GOOD_ORIGINS = (f"http://{HERE}", f"HTTP://{HERE}")
LONE = {
    "a nested body": http(b"[" * 100_000),
    "a body that is too long": http(headers={"Content-Length": "999999999"}),
    "no media type": http(b"{}", headers={"Content-Type": None}),
    "a form": http(b"a=1", headers={"Content-Type": "application/x-www-form-urlencoded"}),
    "no stream is accepted": http(b"{}", headers={"Accept": "application/json"}),
    "a method of HTTP": http(method="PUT"),
    "a path": http(b"{}", target="/other"),
    "another method in the header": tool("echo", headers={"Mcp-Method": "tools/list"}),
    "another name in the header": tool("echo", headers={"Mcp-Name": "crash"}),
    "no name in the header": tool("echo", headers={"Mcp-Name": None}),
    "a revision that nobody speaks": tool("echo", headers={"MCP-Protocol-Version": "1999-01-01"}),
    "a revision that is none": tool("echo", headers={"MCP-Protocol-Version": "x" * 1000}),
    "a session that nobody has": legacy("tools/list", session="0" * 32),
    "a session id that is none": legacy("tools/list", session="a b"),
    "a request before the handshake": legacy("tools/list"),
    "a method that nobody has": legacy("nothing/at/all"),
    "_meta that lies": tool("echo", meta={"io.modelcontextprotocol/clientCapabilities": 7}),
}
"""Whole requests, each on a connection of its own."""
ROWS = {
    **{f"head: {name}": data for name, (data, _) in {**BAD_REQUESTS, **UNFINDABLE}.items()},
    **{f"host: {name}": tool("echo", headers={"Host": name}) for name in (*GOOD_HOSTS, *BAD_HOSTS)},
    **{
        f"origin: {name}": tool("echo", headers={"Host": HERE, "Origin": name})
        for name in (*GOOD_ORIGINS, *BAD_ORIGINS)
    },
    **{f"body: {row.name}": http(row.data) for row in TABLE},
    **LONE,
}


async def judged(port: int, data: bytes) -> tuple[int, Any]:
    """Send a request; return the status, and the code of an error."""
    client = Client(await anyio.connect_tcp("127.0.0.1", port))
    try:
        await client.send(data)
        response = await client.final()
    finally:
        await client.aclose()
    try:
        body = json.loads(response.body)
    except ValueError:
        return response.status, None
    return response.status, body.get("error", {}).get("code") if isinstance(body, dict) else None


async def test_nothing_gets_weaker() -> None:
    async with served(backend()) as behind, gateway({"a": parse_target(behind.url)}) as front:
        found = {name: await judged(front.port, data) for name, data in ROWS.items()}
        wanted = {name: await judged(behind.port, data) for name, data in ROWS.items()}
    assert {name: each for name, each in found.items() if each != wanted[name]} == {}
    assert sum(status >= 400 for status, _ in wanted.values()) > 200


async def test_a_session_that_has_ended_is_unknown() -> None:
    async with served(backend()) as behind, gateway({"a": parse_target(behind.url)}) as front:
        for port in (behind.port, front.port):
            client = Client(await anyio.connect_tcp("127.0.0.1", port))
            session = await initialize(client)
            ended = http(method="DELETE", headers={"Mcp-Session-Id": session})
            statuses = [(await client.call(each)).status for each in (ended, ended)]
            again = await client.call(legacy("tools/list", session=session))
            assert (statuses, again.status) == ([statuses[0], 404], 404)
            await client.aclose()
