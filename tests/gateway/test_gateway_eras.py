"""Servers of both eras behind a gateway, and such that come back in another one."""

import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpcore import Callbacks, Client, PeerError, connect
from mcpcore.engine.peer import Peer
from mcpcore.errors import LinkError
from mcpcore.spec.revisions import parse_revisions
from mcpcore_transports.gateway.settings import GatewaySettings
from mcpcore_transports.link import App
from mcpcore_transports.sockets.client import SocketClientLink
from mcpcore_transports.stream.connection import StreamConnection
from mcpcore_transports.targets import (
    CustomTarget,
    HttpTarget,
    MemoryTarget,
    StdioTarget,
    Target,
    TcpTarget,
    WebSocketTarget,
    parse_target,
)
from tests.clock import Clock, patience, until
from tests.gateway.backend import backend
from tests.gateway.test_gateway import (
    ERAS,
    LEGACY,
    MODERN,
    PROGRAM,
    ROOT,
    answer,
    gateway,
    talk,
    text,
    warnings,
)
from tests.transports.served import ANY_PORT, served
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]
QUICK = str(Path(__file__).with_name("quick_backend.py"))
OLD = "2025-06-18"
REVISIONS, ENVIRONMENT = (OLD, *ERAS), {"PYTHONPATH": ROOT}
CHANGES = [(LEGACY, MODERN), (MODERN, LEGACY)]


async def echoed(client: Client) -> str:
    return text(await client.call_tool("echo", {"text": "hi"}))


@pytest.mark.parametrize("up", ["http", "ws", "stdio", "memory"])
async def test_clients_of_a_server_of_both_eras_are_served_in_their_own(up: str) -> None:
    async with AsyncExitStack() as stack:
        target: Target
        if up == "stdio":
            target = StdioTarget((*PYTHON, PROGRAM, "backend", *REVISIONS), env=ENVIRONMENT)
        elif up == "memory":
            target = MemoryTarget(backend())
        else:
            binding: dict[str, Any] = {up: ANY_PORT}
            behind = await stack.enter_async_context(served(backend(), **binding))
            target = parse_target(behind.url)
        revisions = parse_revisions(REVISIONS)
        between = gateway({"only": target}, http=ANY_PORT, revisions=revisions)
        front = await stack.enter_async_context(between)
        used, processes = {}, {}
        for number, client in enumerate((LEGACY, LEGACY, OLD, MODERN, MODERN)):
            callbacks = Callbacks(elicitation=answer)
            connection = connect(front.url, revision=client, callbacks=callbacks)
            one = await stack.enter_async_context(connection)
            await talk(one)
            used[client] = text(await one.call_tool("revision"))
            processes[number] = text(await one.call_tool("process"))
        assert used == {client: client for client in used}
        own = {processes[each] for each in range(3)}
        assert len(own) == (3 if up == "stdio" else 1)
        assert processes[3] == processes[4]
        assert (processes[3] in own) is (up != "stdio")


async def test_a_server_that_lists_a_revision_whose_handshake_it_refuses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its legacy clients share what modern ones have, and the log tells that once."""
    words = *PYTHON, QUICK, " ".join(ERAS), os.devnull
    processes = set()
    async with gateway({"only": StdioTarget(words)}, http=ANY_PORT) as front:
        for client in (*ERAS, LEGACY):
            async with connect(front.url, revision=client) as one:
                processes.add(text(await one.call_tool("process")))
    assert len(processes) == 1
    told = [each for each in warnings(caplog) if "refuses the handshake" in each]
    assert told == [
        f"only: lists {LEGACY} but refuses the handshake: legacy clients are served in {MODERN}: "
        f"the server refused initialize: method not found (we speak {LEGACY})"
    ]


async def test_one_process_leaves_room_for_those_that_all_clients_share() -> None:
    target = StdioTarget((*PYTHON, PROGRAM, "backend", *ERAS), env=ENVIRONMENT)
    settings = GatewaySettings(processes_per_server=1, start_time=0.1)
    async with gateway({"only": target}, settings, http=ANY_PORT) as front:
        async with connect(front.url, revision=MODERN) as one:
            assert await echoed(one) == "backend: hi"
        async with connect(front.url, revision=LEGACY) as one:
            assert await echoed(one) == "backend: hi"
            async with connect(front.url, revision=LEGACY) as other:
                with pytest.raises(PeerError, match="busy: 1 processes run already"):
                    await echoed(other)
        async with connect(front.url, revision=MODERN) as one:
            assert await echoed(one) == "backend: hi"


async def test_a_handshake_for_which_there_is_no_room() -> None:
    target = StdioTarget((*PYTHON, PROGRAM, "backend", *ERAS), env=ENVIRONMENT)
    settings = GatewaySettings(processes=1, start_time=0.1)
    async with gateway({"only": target}, settings, http=ANY_PORT) as front:
        async with connect(front.url, revision=MODERN) as one:
            assert await echoed(one) == "backend: hi"
        async with connect(front.url, revision=LEGACY) as one:
            with pytest.raises(PeerError, match="busy: 1 processes run already"):
                await echoed(one)


async def test_sessions_that_share_a_process_of_a_server_of_both_eras() -> None:
    target = StdioTarget((*PYTHON, PROGRAM, "backend", *ERAS), env=ENVIRONMENT)
    settings = GatewaySettings(shared={"only": True})
    processes = []
    async with gateway({"only": target}, settings, http=ANY_PORT) as front:
        for client in (LEGACY, LEGACY, MODERN):
            async with connect(front.url, revision=client) as one:
                processes.append(text(await one.call_tool("process")))
    assert processes[0] == processes[1] != processes[2]


@pytest.mark.parametrize("client", ERAS)
@pytest.mark.parametrize(("before", "after"), CHANGES)
async def test_a_server_that_comes_back_at_its_url_in_another_era(
    client: str, before: str, after: str
) -> None:
    """Its refusal shows that it has not carried out the call, which is sent again."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(served(backend(), revisions=[before]))
        targets = {"only": parse_target(first.url)}
        front = await stack.enter_async_context(gateway(targets, http=ANY_PORT))
        one = await stack.enter_async_context(connect(front.url, revision=client))
        assert await echoed(one) == "backend: hi"
        first.stop.set()
        await first.ended.wait()
        address = first.url.removeprefix("http://").removesuffix("/mcp")
        await stack.enter_async_context(served(backend(), revisions=[after], http=address))
        assert await echoed(one) == "backend: hi"
        other = await stack.enter_async_context(connect(front.url, revision=client))
        assert await echoed(other) == "backend: hi"


@pytest.mark.parametrize("client", ERAS)
@pytest.mark.parametrize(("before", "after"), CHANGES)
async def test_a_command_that_starts_again_in_another_era(
    tmp_path: Path, client: str, before: str, after: str
) -> None:
    era = tmp_path / "era"
    era.write_text(before)
    words = ["sh", "-c", 'exec "$@" $(cat "$0")', str(era), *PYTHON, PROGRAM, "backend"]
    target = StdioTarget(tuple(words), env=ENVIRONMENT)
    async with (
        gateway({"only": target}, http=ANY_PORT) as front,
        connect(front.url, revision=client) as connected,
    ):
        assert await echoed(connected) == "backend: hi"
        era.write_text(after)
        with pytest.raises(PeerError, match="exited with code 3"):
            await connected.call_tool("crash")
        with patience():
            assert await echoed(connected) == "backend: hi"


@pytest.mark.parametrize("up", ["http", "ws"])
async def test_a_slow_token_does_not_make_a_legacy_server_of_a_modern_one(
    up: str, clock: Clock
) -> None:
    """It takes longer than the answer to the first request may, and than that of a client."""
    asked, go_on = anyio.Event(), anyio.Event()

    async def token() -> str:
        asked.set()
        await go_on.wait()
        return "token"

    binding: dict[str, Any] = {up: ANY_PORT}
    async with served(backend(), revisions=ERAS, **binding) as behind:
        kind = HttpTarget if up == "http" else WebSocketTarget
        targets = {"only": kind(behind.url, auth=token)}
        settings = GatewaySettings(start_time=0.1)
        async with (
            gateway(targets, settings, http=ANY_PORT) as front,
            connect(front.url, revision=MODERN) as client,
        ):
            used: list[str] = []

            async def call() -> None:
                used.append(text(await client.call_tool("revision")))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                await until(asked.is_set)
                await clock.skip(8)
                go_on.set()
    assert used == [MODERN]


class Opening(CustomTarget):
    """A server of both eras on a socket that does not listen at first."""

    name = "opening"

    def __init__(self, url: str) -> None:
        self._target = parse_target(url)
        self._tried = False

    def make_link(self, peer: Peer, app: App) -> StreamConnection:
        assert isinstance(self._target, TcpTarget)
        first, self._tried = not self._tried, True
        return Closed(peer, app) if first else SocketClientLink(peer, app, self._target)


class Closed(StreamConnection):
    """A connection that cannot be opened."""

    async def _open(self) -> None:
        raise LinkError("nobody is there")


async def test_a_server_that_is_not_there_at_first_is_no_legacy_one() -> None:
    async with (
        served(backend(), revisions=ERAS, tcp=ANY_PORT) as behind,
        gateway({"only": Opening(behind.url)}, http=ANY_PORT) as front,
        connect(front.url, revision=MODERN) as client,
    ):
        assert text(await client.call_tool("revision")) == MODERN
