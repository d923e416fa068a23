"""A gateway end to end: clients of both eras before servers of both eras, over their transports."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mcpcore import Callbacks, Client, PeerError, connect
from mcpcore.spec.revisions import parse_revisions
from mcpcore.spec.types.client_features import ElicitParams, ElicitResult
from mcpcore_transports.gateway.gateway import Gateway
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.targets import StdioTarget, Target, parse_target
from tests.gateway.backend import backend
from tests.transports.served import ANY_PORT, Served, served

LEGACY, MODERN = "2025-11-25", "2026-07-28"
ERAS = (LEGACY, MODERN)
PROGRAM = str(Path(__file__).with_name("backend.py"))
pytestmark = pytest.mark.anyio


def command(name: str, revision: str) -> StdioTarget:
    """The server as a program."""
    root = str(Path(__file__).parents[2])
    return StdioTarget((sys.executable, PROGRAM, name, revision), env={"PYTHONPATH": root})


async def answer(params: ElicitParams) -> ElicitResult:
    """Answer the question of the server."""
    return ElicitResult(action="accept", content={"name": "Ada"})


@asynccontextmanager
async def gateway(
    targets: Mapping[str, Target], settings: GatewaySettings | None = None, **more: Any
) -> AsyncIterator[Served]:
    """Serve a gateway before servers."""
    made = Gateway(
        targets, settings=settings, revisions=more.pop("revisions", parse_revisions(ERAS))
    )
    async with served(made, **more) as front:
        yield front


async def talk(client: Client) -> None:
    """Use what the server has."""
    assert {tool.name for tool in await client.tools()} >= {"echo", "ask", "count"}
    result = await client.call_tool("echo", {"text": "hi"})
    assert result.content[0].text == "backend: hi"
    steps: list[float] = []
    await client.call_tool("count", progress=lambda done, *_: steps.append(done))
    assert steps == [1, 2]
    result = await client.call_tool("ask")
    assert result.content[0].text == "Hello Ada"
    contents = (await client.read_resource("file:///backend")).contents
    assert contents[0].text == "contents"
    with pytest.raises(PeerError, match="nothing"):
        await client.call_tool("nothing")


@pytest.mark.parametrize("server", ERAS)
@pytest.mark.parametrize("client", ERAS)
@pytest.mark.parametrize("up", ["http", "ws", "tcp", "stdio"])
async def test_four_cells(client: str, server: str, up: str) -> None:
    async with AsyncExitStack() as stack:
        target: Target
        if up == "stdio":
            target = command("backend", server)
        else:
            behind = await stack.enter_async_context(
                served(backend(), revisions=[server], **{up: ANY_PORT})
            )
            target = parse_target(behind.url)
        front = await stack.enter_async_context(
            gateway({"only": target}, http=ANY_PORT, ws=ANY_PORT, tcp=ANY_PORT)
        )
        for url in front.urls:
            callbacks = Callbacks(elicitation=answer)
            async with connect(url, revision=client, callbacks=callbacks) as connected:
                await talk(connected)
