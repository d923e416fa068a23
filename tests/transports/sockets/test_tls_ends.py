"""Over TLS an end is told from a connection that is cut, on both sides (RFC 8446 section 6.1)."""

import socket
import ssl
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream
from msgspec import structs

from mcpcore import ClientSettings, Context, HttpServerSettings, Server, ServeSettings, connect
from mcpcore.errors import NegotiationError
from mcpcore_transports.tls import client_tls, server_tls
from tests.clock import patience
from tests.faults.cutting import listening
from tests.transports.certificates import papers
from tests.transports.http_fixture import tool
from tests.transports.served import served
from tests.transports.sites import CLOSE, frame, upgrade
from tests.transports.tls_by_hand import ByHand, dial, read_on
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio

server = Server("at the end", version="1")


@server.tool
async def stay(context: Context) -> str:
    """Begin to reply, and never end."""
    context.progress(1, message="half of it")
    await anyio.sleep_forever()
    return "the other half"


LAST = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
BROKEN = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n"
HALF = tool("stay", meta={"progressToken": 1})
FIRST = b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n"


WAYS: dict[str, dict[str, Any]] = {
    "anyio": {"http": "127.0.0.1:0", "link": HttpServerSettings(driver="anyio")},
    "auto": {"http": "127.0.0.1:0", "link": HttpServerSettings()},
    "websocket": {"ws": "127.0.0.1:0", "link": HttpServerSettings()},
}
SHARED: dict[str, dict[str, Any]] = {
    way: {**WAYS[way], "shared": True} for way in ("anyio", "auto")
}


async def called(
    stack: AsyncExitStack,
    said: bytes,
    *,
    link: HttpServerSettings,
    shared: bool = False,
    **at: Any,
) -> tuple[ByHand, SocketStream]:
    """Serve, until the stack is closed, and send that."""
    context = server_tls(papers().server)
    settings = ServeSettings(ssl_context=context, http_link=link, shared=shared)
    running = await stack.enter_async_context(served(server, settings=settings, **at))
    port = int(running.urls[0].split(":")[2].split("/")[0])
    client, stream = await dial(port, str(papers().trusted.file))
    await stream.send(client.write(said))
    return client, stream


@pytest.mark.parametrize("said", [LAST, BROKEN], ids=["last", "broken"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_ends_a_connection(way: str, said: bytes) -> None:
    with patience():
        async with AsyncExitStack() as stack:
            client, stream = await called(stack, said, **WAYS[way])
            async with stream:
                text = await read_on(client, stream)
    assert text.startswith(b"HTTP/1.1 4")
    assert client.over


@pytest.mark.parametrize("way", ["anyio", "auto"])
async def test_a_server_that_goes_away(way: str) -> None:
    with patience():
        async with AsyncExitStack() as stack:
            client, stream = await called(stack, FIRST, **WAYS[way])
            text = await read_on(client, stream, b"\r\n\r\n")
            assert text.startswith(b"HTTP/1.1 404")
            assert not client.over
        async with stream:
            await read_on(client, stream)
    assert client.over


@pytest.mark.parametrize("way", ["anyio", "auto"])
async def test_a_reply_that_is_broken_off_has_no_end(way: str) -> None:
    """Nothing is being written when it is, so that only what was begun tells."""
    link = structs.replace(WAYS[way]["link"], drain_time=0.05)
    with patience():
        async with AsyncExitStack() as stack:
            client, stream = await called(stack, HALF, **{**WAYS[way], "link": link})
            text = await read_on(client, stream, b"half of it")
            assert text.startswith(b"HTTP/1.1 200")
        async with stream:
            assert not (await read_on(client, stream)).endswith(b"0\r\n\r\n")
    assert not client.over


@pytest.mark.parametrize("way", SHARED)
async def test_a_websocket_of_the_http_server_that_is_closed(way: str) -> None:
    with patience():
        async with AsyncExitStack() as stack:
            client, stream = await called(stack, upgrade(0), **SHARED[way])
            async with stream:
                assert (await read_on(client, stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
                await stream.send(client.write(frame(CLOSE, b"\x03\xe8")))
                await read_on(client, stream)
    assert client.over


@pytest.mark.parametrize("way", SHARED)
async def test_a_websocket_that_is_reset(way: str, caplog: pytest.LogCaptureFixture) -> None:
    with patience():
        async with AsyncExitStack() as stack:
            client, stream = await called(stack, upgrade(0), **SHARED[way])
            assert (await read_on(client, stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            raw = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            await stream.aclose()
    assert [each.getMessage() for each in caplog.records] == []


async def test_a_client_that_is_done() -> None:
    ends: list[str] = []
    over = anyio.Event()

    async def answer(stream: SocketStream) -> None:
        context = server_tls(papers().server)
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        secured = await TLSStream.wrap(stream, server_side=True, ssl_context=context)
        async with stream:
            try:
                while await secured.receive():
                    await secured.send(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            except (anyio.EndOfStream, anyio.BrokenResourceError) as end:
                ends.append(type(end).__name__)
        over.set()

    settings = ClientSettings(ssl_context=client_tls(ca=papers().trusted.file))
    with patience():
        async with listening(answer) as port:
            with pytest.raises(NegotiationError):
                async with connect(f"https://127.0.0.1:{port}/mcp", settings=settings):
                    raise AssertionError
            await over.wait()
    assert {*ends} == {"EndOfStream"}
