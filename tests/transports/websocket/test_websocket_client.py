"""The WebSocket client against our server, and against whatever else answers."""

import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from wsproto.utilities import generate_accept_token

from mcpcore import LinkError, Negotiation, WebSocketSettings
from mcpcore.engine.events import ConnectionEnded, EndReason
from mcpcore_transports.websocket.client import websocket_client_link
from mcpcore_transports.websocket.link import WebSocketLink
from tests.faults import cutting
from tests.transports.apps import Caller, make_client
from tests.transports.sites import raw, site

pytestmark = pytest.mark.anyio


def dialling(url: str, **options: Any) -> tuple[Caller, WebSocketLink]:
    """A client, and its link to a URL, which does not run yet."""
    client = Caller(make_client())
    client.link = link = websocket_client_link(client.peer, client, url, **options)
    return client, link


@asynccontextmanager
async def listening(respond: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """The URL of a server by hand."""
    async with cutting.listening(respond) as port:
        yield f"ws://127.0.0.1:{port}/mcp"


@asynccontextmanager
async def connected(
    port: int, negotiation: Negotiation = Negotiation.MODERN, scheme: str = "ws", **options: Any
) -> AsyncIterator[tuple[Caller, WebSocketLink]]:
    client = Caller(make_client(negotiation))
    url = f"{scheme}://127.0.0.1:{port}/mcp"
    client.link = link = websocket_client_link(client.peer, client, url, **options)
    async with anyio.create_task_group() as tasks:
        await tasks.start(link.run)
        client.begin()
        yield client, link
        await link.aclose()
    assert client.ended


async def test_headers_and_query_travel() -> None:
    async with site() as server:
        url = f"ws://127.0.0.1:{server.port}/mcp?tenant=1"
        _, link = dialling(url, headers={"Authorization": "Bearer s3cret"})
        async with anyio.create_task_group() as tasks:
            await tasks.start(link.run)
            await link.aclose()
        assert (b"authorization", b"Bearer s3cret") in server.handshakes[0].headers


async def refusal(url: str, **options: Any) -> str:
    """Connect in vain; returns what the client is told."""
    client, link = dialling(url, **options)
    client.begin()
    request = client.call("echo")
    with pytest.raises(LinkError) as caught:
        await link.run()
    assert "s3cret" not in str(caught.value)
    ended = await client.outcome(request)
    assert ended.reason is EndReason.CLOSED
    assert client.ended
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1/mcp", "no WebSocket URL"),
        ("ws:///mcp", "no WebSocket URL"),
        ("ws://127.0.0.1:99999/mcp", "no WebSocket URL"),
        ("ws://127.0.0.1/mcp\r\nX: y", "no WebSocket URL"),
        ("ws://127.0.0.1/a b", "no WebSocket URL"),
        ("ws://[::1/mcp", "no WebSocket URL"),
        ("ws://127.0.0.1/mcp#part", "no fragment"),
        ("ws://me:s3cret@127.0.0.1/mcp", "into a header"),
        ("ws://127.0.0.1:1/mcp?token=s3cret", "ws://127.0.0.1:1/mcp: cannot connect: "),
        ("ws://no-such-host.invalid/mcp", "cannot connect: "),
    ],
)
async def test_where_nothing_is_the_client_says_so(url: str, message: str) -> None:
    assert message in await refusal(url)


async def test_a_refusal_of_the_server_is_told() -> None:
    async with site(allowed_hosts=("other.example",)) as server:
        assert "status 403: the Host header is refused" in await refusal(
            f"ws://127.0.0.1:{server.port}/mcp"
        )
        assert "status 404: nothing is served" in await refusal(
            f"ws://127.0.0.1:{server.port}/nowhere"
        )


async def test_a_header_that_cannot_be_sent_is_told() -> None:
    async with site() as server:
        url = f"ws://127.0.0.1:{server.port}/mcp"
        assert "cannot be sent" in await refusal(url, headers={"X": "a\r\nY: b"})


ANSWERS: list[tuple[bytes, str]] = [
    (b"", "closed while connecting"),
    (b"SSH-2.0-OpenSSH\r\n\r\n", "no WebSocket server"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "status 200: hi"),
    (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "301, pointing to /x"),
    (
        b"HTTP/1.1 302 Found\r\nLocation: https://me:s3cret@x/y\x9b?code=s3cret\r\n"
        b"Content-Length: 2\r\n\r\nno",
        "302, pointing to https://x/y?: no",
    ),
    (b"HTTP/1.1 500 Oops\r\n\r\nsorry", "status 500: sorry"),
    (b"HTTP/1.1 500 Oops\r\n\r\n\x1b[2J sorry\x07", "status 500: ?[2J sorry?"),
    (
        b"HTTP/1.1 400 Bad\r\n\r\n"
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no session"}}',
        "status 400: 'no session'; it serves MCP over HTTP: try http://127.0.0.1:",
    ),
    (b'HTTP/1.1 400 Bad\r\n\r\n{"error":"none"}', 'status 400: {"error":"none"}'),
    (b"HTTP/1.1 500 Oops\r\n\r\n" + b"x" * 100_000, "status 500: xxx"),
    (
        b"HTTP/1.1 502 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n5\r\n gate\r\n0\r\n\r\n",
        "status 502: bad gate",
    ),
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "no WebSocket server"),
    (
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: wrong\r\n\r\n",
        "bad accept token",
    ),
]


@pytest.mark.parametrize(("answer", "message"), ANSWERS, ids=[message for _, message in ANSWERS])
async def test_whatever_answers_instead_is_told(answer: bytes, message: str) -> None:
    async def respond(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            if answer:
                await stream.send(answer)
            with suppress(OSError, anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.send_eof()
                await stream.receive()

    async with listening(respond) as url:
        assert message in await refusal(url)


def accepted(head: bytes) -> bytes:
    """The answer that accepts an upgrade."""
    [key] = [
        line.split(b": ")[1]
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    ]
    return (
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + generate_accept_token(key) + b"\r\n\r\n"
    )


async def test_a_connection_that_is_cut_is_told_in_words() -> None:
    async def respond(stream: SocketStream) -> None:
        async with stream:
            await stream.send(accepted(await stream.receive()))
            await stream.receive()
            raw = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with listening(respond) as url:
        client, link = dialling(url)
        client.begin()
        await link.run()
    [ended] = client.of(ConnectionEnded)
    assert ended.reason.startswith("connection lost: ")
    assert "Error" not in ended.reason


async def test_a_server_that_never_answers_is_given_up() -> None:
    async def silent(stream: SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with listening(silent) as url:
        settings = WebSocketSettings(handshake_timeout=0.05)
        assert "no WebSocket within 0.05 s" in await refusal(url, settings=settings)


async def test_nothing_is_left_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    async with site() as server:
        async with connected(server.port) as (client, _):
            await client.echo(a=1)
        async with raw(server.port) as stray:
            await stray.stream.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await stray.body()
    await anyio.wait_all_tasks_blocked()
    assert set(os.listdir("/proc/self/fd")) == before
