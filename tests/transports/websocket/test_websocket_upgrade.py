"""The upgrade to WebSocket: what is agreed, and who is refused."""

import anyio
import pytest

from mcpcore import LinkError, WebSocketSettings
from mcpcore_transports.websocket.server import (
    Token,
    UpgradeRefused,
    UpgradeRules,
    WebSocketServer,
    listen_websocket,
    read_offers,
)
from tests.transports.malformed import good
from tests.transports.sites import CLOSE, TEXT, raw, site, upgrade, upgraded

pytestmark = pytest.mark.anyio


async def test_pages_of_the_server_and_allowed_ones_may_connect() -> None:
    async with (
        site() as server,
        upgraded(server.port, Origin=f"http://127.0.0.1:{server.port}"),
        site(allowed_origins=("https://app.example",)) as open_server,
        upgraded(open_server.port, Origin="https://app.example") as client,
    ):
        await client.frame(TEXT, good(1))
        assert (await client.message())["id"] == 1


async def test_more_connections_than_allowed_are_refused() -> None:
    async with (
        site(max_connections=1) as server,
        upgraded(server.port),
        raw(server.port) as client,
    ):
        await client.stream.send(upgrade(server.port))
        status, headers = await client.head()
        assert (status, headers["retry-after"]) == (503, "1")


async def test_connections_that_have_ended_do_not_count() -> None:
    async with site(max_connections=1) as server:
        for _ in range(3):
            async with upgraded(server.port) as client:
                await client.frame(CLOSE)
                assert (await client.receive())[0] == CLOSE
                assert await client.body() == ""
            await anyio.wait_all_tasks_blocked()


async def test_an_address_in_use_is_said_in_words() -> None:
    async with site() as server:
        other = WebSocketServer(server.serve, UpgradeRules(WebSocketSettings()))
        with pytest.raises(LinkError, match=f"cannot listen on 127.0.0.1:{server.port}: "):
            await listen_websocket("127.0.0.1", server.port, other)


def test_offers_never_show_the_token() -> None:
    with pytest.raises(UpgradeRefused) as caught:
        read_offers(["mcp.auth.s3cret"])
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in f"{Token('s3cret')!r}"
