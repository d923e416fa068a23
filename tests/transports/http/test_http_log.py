"""The log of an HTTP endpoint: off unless asked for, structured, and without secrets."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mcpcore import HttpServerSettings, Principal
from mcpcore_transports.http.server.log import LOGGER
from mcpcore_transports.running.audit import AUDIT_LOGGER, session_label
from tests.clock import until
from tests.transports.http_fixture import Running, http, initialize, legacy, server, tool
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def logged(caplog: pytest.LogCaptureFixture, **settings: Any) -> AsyncIterator[Running]:
    caplog.set_level(logging.INFO, LOGGER)
    async with server(HttpServerSettings(log=True, **settings)) as running:
        yield running


def records(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name == LOGGER]


async def test_nothing_is_logged_unless_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    async with server() as running:
        client = await running.connect()
        assert (await client.call(tool("echo"))).status == 200
        await initialize(client)
    assert records(caplog) == []


async def test_a_request_has_a_record(caplog: pytest.LogCaptureFixture) -> None:
    async with logged(caplog, authenticate=lambda head: Principal("ann")) as running:
        client = await running.connect()
        response = await client.call(tool("echo", id=7, secret="hidden"))
        (record,) = records(caplog)
    assert record.getMessage().startswith("POST /mcp tools/call 200 in ")
    assert (record.mcp_http_method, record.mcp_path, record.mcp_status) == ("POST", "/mcp", 200)
    assert (record.mcp_method, record.mcp_request_id) == ("tools/call", "7")
    assert (record.mcp_session, record.mcp_stream) == (None, None)
    assert (record.mcp_principal, type(record.mcp_principal)) == ("ann", str)
    assert record.mcp_revision == "2026-07-28"
    assert record.mcp_sent == len(response.body)
    assert record.mcp_complete
    assert record.mcp_peer.startswith("127.0.0.1:")
    assert record.mcp_duration >= 0
    assert "hidden" not in str(vars(record))


async def test_sessions_and_streams_are_told_apart_but_not_given_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with logged(caplog) as running:
        client, listening = await running.connect(), await running.connect()
        session = await initialize(client)
        headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
        await listening.send(http(method="GET", headers=headers))
        assert (await listening.head()).status == 200
        call = {"name": "progress", "arguments": {"steps": 1}, "_meta": {"progressToken": 1}}
        await client.send(legacy("tools/call", call, id=3, session=session))
        await client.head()
        await listening.aclose()
        await running.app.until(lambda: running.app.waiting)
        running.app.finish(running.app.waiting.pop())
        await client.chunk()
        delete = await running.connect()
        assert (await delete.call(http(method="DELETE", headers=headers))).status == 204
        await until(lambda: not running.machine.exchanges)
        running.link.flush_soon()
    label = session_label(session)
    found = records(caplog)
    opened, *exchanges = found
    assert (opened.getMessage(), opened.mcp_session) == (f"session {label} opened", label)
    closed = next(record for record in exchanges if record.getMessage().startswith("session"))
    assert (closed.mcp_session, closed.mcp_reason) == (label, "ended by the client")
    by_method = {record.mcp_http_method: record for record in exchanges if record is not closed}
    get, post = by_method["GET"], by_method["POST"]
    assert (get.mcp_session, get.mcp_complete, get.mcp_status) == (label, False, 200)
    assert "cut off" in get.getMessage()
    assert (post.mcp_session, post.mcp_method, post.mcp_request_id) == (label, "tools/call", "3")
    assert {get.mcp_stream, post.mcp_stream} == {1, 2}
    delete_record = by_method["DELETE"]
    assert (delete_record.mcp_session, delete_record.mcp_status) == (label, 204)
    for record in found:
        assert session not in str(vars(record))


async def test_what_clients_write_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    async with logged(caplog) as running:
        client = await running.connect()
        method = "tools/call\nPOST /mcp 200\x1b[2J" + "x" * 500
        await client.call(legacy(method))
        await client.call(http(method="GET", target="/" + "y" * 500))
    messages = [record.getMessage() for record in records(caplog)]
    assert len(messages) == 2
    for message in messages:
        assert message.isprintable()
        assert len(message) < 450


async def test_a_client_that_leaves_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with logged(caplog) as running:
        client = await running.connect()
        await client.send(tool("wait"))
        await running.app.until(lambda: running.app.waiting)
        await client.aclose()
        await running.app.until(lambda: running.app.cancelled)
    (record,) = records(caplog)
    assert (record.mcp_status, record.mcp_complete) == (None, False)
    assert "no answer, cut off" in record.getMessage()


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Host": "evil.example"}, 'Host header is refused: "evil.example" is not served here'),
        ({"Origin": "http://evil.example"}, "Origin"),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, "Host"),
        ({}, None),
    ],
)
async def test_a_wrong_host_or_origin_is_in_the_audit_log_once(
    caplog: pytest.LogCaptureFixture, headers: dict[str, str], reason: str | None
) -> None:
    caplog.set_level(logging.INFO, AUDIT_LOGGER)
    async with server() as running:
        client = await running.connect()
        await client.call(http(method="GET", target="/" + "y" * 500, headers=headers))
    found: list[Any] = [each for each in caplog.records if each.name == AUDIT_LOGGER]
    assert len(found) == (reason is not None)
    for record in found:
        assert record.mcp_who.startswith("peer 127.0.0.1:")
        assert record.mcp_what.startswith("GET /yyy")
        assert len(record.mcp_what) == 200
        assert reason is not None
        assert reason in record.mcp_reason
        assert not record.mcp_admitted
