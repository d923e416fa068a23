"""An HTTP server over TLS that is full: those beyond the limit are told, within bounds."""

import pytest

from mcpcore import HttpServerSettings, client_tls, server_tls
from tests.clock import HOUR, Clock, until
from tests.transports.certificates import papers
from tests.transports.http.test_http_server_limits import refused
from tests.transports.http_fixture import Client, Running, http, server, tool
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio


async def secure(running: Running) -> Client:
    return await running.connect(client_tls(ca=papers().trusted.file))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (HttpServerSettings(connections=1), "too many connections"),
        (HttpServerSettings(connections_per_client=1), "too many connections from your address"),
    ],
)
@pytest.mark.parametrize("body", [None, b"x", b"x" * 300_000], ids=["silent", "short", "long"])
async def test_connections_beyond_the_limit_are_told(
    settings: HttpServerSettings, message: str, body: bytes | None
) -> None:
    async with server(settings, ssl_context=server_tls(papers().server)) as running:
        first = await secure(running)
        assert (await first.call(tool("echo"))).status == 200
        for _ in range(2):
            client = await secure(running)
            if body is not None:
                await client.send(http(body))
            assert await refused(client, 503) == message
        assert (await first.call(tool("echo"))).status == 200
        assert running.link.connections == 1


async def test_who_shakes_no_hands_is_closed_in_time_and_harms_nobody(clock: Clock) -> None:
    settings = HttpServerSettings(connections=1, turned_away=1, head_time=HOUR, idle_time=9 * HOUR)
    async with server(settings, ssl_context=server_tls(papers().server)) as running:
        first = await secure(running)
        assert (await first.call(tool("echo"))).status == 200
        silent = await running.connect()
        await until(lambda: running.link.turned_away)
        # It holds the only place among those that are told.
        assert await (await running.connect()).closed()
        assert (await first.call(tool("echo"))).status == 200
        await clock.skip(HOUR)
        assert await silent.closed()
        garbage = await running.connect()
        await garbage.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: not running.link.turned_away)
        assert await refused(await secure(running), 503) == "too many connections"
