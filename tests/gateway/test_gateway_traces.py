"""Traces of both sides of a gateway: what is of one request has one correlation."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
from msgspec import structs

from mcpcore import Callbacks, connect
from mcpcore.spec.revisions import parse_revisions
from mcpcore.trace.format import Record, decode_line
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.serve.serve import ServeSettings
from mcpcore_transports.server.settings import RuntimeSettings
from mcpcore_transports.targets import MemoryTarget, Target, parse_target
from mcpcore_transports.tracing import tracing
from mcpcore_transports.tracing.tracing import Trace
from tests.gateway.backend import backend
from tests.gateway.test_gateway import ERAS, answer, gateway
from tests.transports.served import ANY_PORT, served

pytestmark = pytest.mark.anyio


def correlated(lines: list[bytes], tool: str) -> dict[int, list[str]]:
    """Return what has the correlation of each call of a tool, in order."""
    records = [each for line in lines if isinstance(each := decode_line(line), Record)]
    found: dict[int, list[str]] = {}
    for each in records:
        called = each.kind == "request" and each.method == "tools/call"
        if called and each.correlation and f'"name":"{tool}"' in (each.text or ""):
            found[each.correlation] = []
    for each in records:
        if each.correlation in found:
            found[each.correlation].append(f"{each.kind} {each.direction}")
    return found


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("client", ERAS)
@pytest.mark.parametrize(("down", "up"), [("http", "http"), ("ws", "tcp"), ("tcp", "memory")])
async def test_traces_of_both_sides_have_one_correlation(
    client: str, server: str, down: str, up: str
) -> None:
    lines: list[list[bytes]] = [[], []]
    clients, servers = (Trace(each.append, correlated=True) for each in lines)
    settings = GatewaySettings(retry=None)
    own = structs.replace(settings.client, trace=servers)
    settings = structs.replace(settings, client=own)
    async with AsyncExitStack() as stack:
        revisions = parse_revisions([server])
        target: Target = MemoryTarget(backend(), RuntimeSettings(revisions=revisions))
        if up != "memory":
            there: dict[str, Any] = {up: ANY_PORT}
            behind = await stack.enter_async_context(served(backend(), revisions=[server], **there))
            target = parse_target(behind.url)
        here: dict[str, Any] = {down: ANY_PORT}
        front = await stack.enter_async_context(
            gateway({"only": target}, settings, settings_of=ServeSettings(trace=clients), **here)
        )
        one = await stack.enter_async_context(
            connect(front.url, revision=client, callbacks=Callbacks(elicitation=answer))
        )
        for _ in range(2):
            await one.call_tool("echo", {"text": "hi"})
        await one.call_tool("ask")
    told, sent = (correlated(each, "echo") for each in lines)
    assert told == sent
    assert [*told.values()] == [["request to-server", "result to-client"]] * 2
    rounds, asked = (correlated(each, "ask") for each in lines)
    assert rounds.keys() >= asked.keys() != set()


def test_correlations_of_requests_without_an_outcome_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "_OPEN", 2)
    lines: list[bytes] = []
    trace = Trace(lines.append, correlated=True)
    connection = trace.connection("server")
    for id in range(3):
        connection.message(b'{"jsonrpc":"2.0","id":%d,"method":"ping"}' % id, incoming=True)
    assert trace.numbers == {(1, 0, 1): 2, (1, 0, 2): 3}
    for id in (0, 2):
        connection.message(b'{"jsonrpc":"2.0","id":%d,"result":{}}' % id, incoming=False)
    assert [getattr(decode_line(line), "correlation", None) for line in lines[-2:]] == [None, 3]
    assert trace.numbers.keys() == {(1, 0, 1)}
