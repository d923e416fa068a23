"""What is not HTTP, and what is not JSON-RPC, over real sockets: answered, and survived."""

import json
from typing import Any

import pytest
from msgspec import structs

from tests.transports.http_fixture import Client, http, server, tool
from tests.transports.malformed import TABLE, Malformed, good
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio


def modern_headers(body: bytes) -> dict[str, str | None]:
    """The headers that a correct client would send with ``body``, as far as it can be read."""
    headers: dict[str, str | None] = {"MCP-Protocol-Version": "2026-07-28"}
    try:
        message: Any = json.loads(body)
    except (ValueError, RecursionError):
        return headers
    if not isinstance(message, dict):
        return headers
    if isinstance(message.get("method"), str) and message["method"]:
        headers["Mcp-Method"] = message["method"]
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    version = meta.get("io.modelcontextprotocol/protocolVersion") if isinstance(meta, dict) else 0
    if isinstance(version, str):
        headers["MCP-Protocol-Version"] = version
    return headers


HEADERS_FIRST: dict[str, int] = {
    # In the modern era there is no handshake to miss, but _meta is due.
    "a notification with an id": -32602,
    "a request before initialize": -32602,
    # There is no header for an empty method, so it cannot match.
    "an empty method": -32020,
    # The version of a modern header is that of no handshake.
    "initialize without params": -32022,
    "initialize with empty params": -32022,
    "initialize with a numeric version": -32022,
}
"""Rows that HTTP with the headers of the modern era answers with another code."""


async def answer(client: Client, row: Malformed, headers: dict[str, str | None]) -> None:
    response = await client.call(http(row.data, headers=headers))
    assert "connection" not in response.headers
    if row.code is None:
        assert response.status in (202, 400), row.name
        assert not response.body or "error" in response.json, row.name
        return
    assert response.status in (400, 404), (row.name, response)
    owed = structs.replace(row, code=HEADERS_FIRST.get(row.name, row.code))
    assert owed.answered_by({"id": None, **response.json}), (row.name, row.code, response.body)


async def test_malformed_json_rpc_on_one_connection() -> None:
    async with server() as running:
        client = await running.connect()
        for row in TABLE:
            await answer(client, row, modern_headers(row.data))
            body = good("good")
            fine = await client.call(http(body, headers=modern_headers(body)))
            assert fine.status == 200, row.name
            assert fine.json["id"] == "good"
        assert running.link.connections == 1
        assert not running.machine.sessions


async def test_malformed_json_rpc_without_any_mcp_header() -> None:
    """The same with nothing but the content type, as a legacy client would begin."""
    async with server() as running:
        client = await running.connect()
        for row in TABLE:
            response = await client.call(http(row.data))
            # A legacy client is answered in the body, whatever the answer.
            assert response.status in (200, 202, 400, 404), (row.name, response)
            assert not response.body or "error" in response.json, row.name
            if row.code in (-32700, -32600):
                answered = {"id": None, **response.json}
                assert row.answered_by(answered), (row.name, row.code, response.body)
            assert (await client.call(tool("echo"))).status == 200
        assert running.link.connections == 1
