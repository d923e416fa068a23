"""The upgrade to WebSocket: what is agreed, and who is refused."""

from contextlib import suppress

import anyio
import pytest

from mcpcore.errors import LinkError
from mcpcore_transports.websocket.server import (
    Token,
    UpgradeRefused,
    UpgradeRules,
    WebSocketServer,
    listen_websocket,
    read_offers,
)
from mcpcore_transports.websocket.settings import WebSocketSettings
from tests.transports.malformed import good
from tests.transports.sites import CLOSE, TEXT, raw, site, upgrade, upgraded

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("offered", "selected", "revision", "token"),
    [
        (None, None, None, None),
        ("mcp", "mcp", None, None),
        ("chat, mcp", "mcp", None, None),
        ("mcp.version.2025-11-25", "mcp.version.2025-11-25", "2025-11-25", None),
        ("mcp, mcp.version.2026-07-28, mcp.auth.s3cret", "mcp", "2026-07-28", "s3cret"),
        ("mcp.auth.s3cret,mcp", "mcp", None, "s3cret"),
    ],
)
async def test_subprotocols(
    offered: str | None, selected: str | None, revision: str | None, token: str | None
) -> None:
    async with site() as server, raw(server.port) as client:
        await client.stream.send(upgrade(server.port, Sec_WebSocket_Protocol=offered))
        status, headers = await client.head()
        assert status == 101
        assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert headers.get("sec-websocket-protocol") == selected
        await client.frame(TEXT, good(1))
        assert (await client.message())["id"] == 1
        [shake] = server.handshakes
        assert (shake.path, shake.revision) == ("/mcp", revision)
        assert "s3cret" not in repr(shake)
        assert shake.peer is not None


REFUSED: list[tuple[str, str, dict[str, str | None], int, str]] = [
    ("GET", "/", {}, 404, "the endpoint is /mcp"),
    ("GET", "/mcp/", {}, 404, "nothing is served there"),
    ("GET", "/mcp", {"Upgrade": None}, 426, "speaks WebSocket only"),
    ("GET", "/mcp", {"Upgrade": "h2c"}, 426, "speaks WebSocket only"),
    ("GET", "/mcp", {"Connection": "close"}, 426, "speaks WebSocket only"),
    ("GET", "/mcp", {"Connection": None, "Upgrade": None}, 426, "speaks WebSocket only"),
    ("POST", "/mcp", {}, 405, "opened with GET"),
    ("GET", "/mcp", {"Sec_WebSocket_Version": "8"}, 426, "version 13"),
    ("GET", "/mcp", {"Sec_WebSocket_Version": None}, 426, "version 13"),
    ("GET", "/mcp", {"Sec_WebSocket_Key": None}, 400, "16 bytes in base64"),
    ("GET", "/mcp", {"Sec_WebSocket_Key": "c2hvcnQ="}, 400, "16 bytes in base64"),
    ("GET", "/mcp", {"Sec_WebSocket_Key": "not base64!"}, 400, "16 bytes in base64"),
    ("GET", "/mcp", {"Sec_WebSocket_Protocol": "graphql-ws"}, 400, "offer mcp"),
    ("GET", "/mcp", {"Sec_WebSocket_Protocol": "mcp.auth.s3cret"}, 400, "offer mcp"),
    ("GET", "/mcp", {"Sec_WebSocket_Protocol": "mcp.version.1999-01-01"}, 400, "is not spoken"),
    ("GET", "/mcp", {"Host": "evil.example"}, 403, "Host"),
    ("GET", "/mcp", {"Host": None}, 400, "Host"),
    ("GET", "/mcp", {"Origin": "http://evil.example"}, 403, "Origin"),
    ("GET", "/mcp", {"Origin": "null"}, 403, "Origin"),
    ("GET", "/mcp", {"Content_Length": "5"}, 400, "no body"),
    ("GET", "/mcp", {"Transfer_Encoding": "chunked"}, 400, "no body"),
    ("GET", "/mcp", {"X": "y" * 33_000}, 431, "larger than"),
]


@pytest.mark.parametrize(("method", "target", "headers", "status", "text"), REFUSED)
async def test_refused_before_the_upgrade(
    method: str, target: str, headers: dict[str, str | None], status: int, text: str
) -> None:
    async with site() as server:
        async with raw(server.port) as client:
            await client.stream.send(upgrade(server.port, target, method=method, **headers))
            found, fields = await client.head()
            body = await client.body()
        assert found == status
        assert text in body
        assert "s3cret" not in body
        assert int(fields["content-length"]) == len(body.encode())
        assert (fields.get("upgrade") == "websocket") == ("speaks" in text)
        assert (fields.get("sec-websocket-version") == "13") == ("version 13" in text)
        async with upgraded(server.port) as client:
            await client.frame(TEXT, good(1))
            assert (await client.message())["id"] == 1


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET /mcp HTTP/3.0\r\n\r\n", b"\x16\x03\x01"]
)
async def test_what_is_no_http_is_refused(data: bytes) -> None:
    async with site() as server, raw(server.port) as client:
        await client.stream.send(data)
        with suppress(OSError):  # it may have been closed by now
            await client.stream.send_eof()
        assert (await client.body()).startswith(("HTTP/1.1 400", "HTTP/1.1 505"))
    assert server.apps == []


async def test_duplicate_headers_that_decide_are_refused() -> None:
    async with site() as server, raw(server.port) as client:
        head = upgrade(server.port, Origin=f"http://127.0.0.1:{server.port}")
        await client.stream.send(head[:-2] + b"Origin: http://evil.example\r\n\r\n")
        assert (await client.head())[0] == 403


async def test_a_silent_client_is_let_go() -> None:
    async with site(handshake_timeout=0.05) as server, raw(server.port) as client:
        await client.stream.send(b"GET /mcp HTTP/1.1\r\n")
        assert (await client.body()).startswith("HTTP/1.1 408")


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
