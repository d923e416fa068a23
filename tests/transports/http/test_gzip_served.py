"""Large JSON replies over every way of serving HTTP: compressed for who asks, and whole again."""

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from mcpcore.service import Server
from mcpcore.spec.revisions import LATEST, LATEST_LEGACY
from mcpcore_conformance.trace.check import check
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.core import ClientSettings
from mcpcore_transports.http1.settings import HttpClientLinkSettings
from mcpcore_transports.serve.asgi import asgi_app
from mcpcore_transports.serve.endpoint import HttpEndpoint
from mcpcore_transports.server.context import Context
from tests.trace.recorded import loaded, messages, records
from tests.transports.http_fixture import tool
from tests.transports.serve.test_handle import collected, taken_apart
from tests.transports.served import Served, served
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio

AT_ONCE, IN_PIECES = 100_000, 2_000_000
SIZES = pytest.mark.parametrize("size", [AT_ONCE, IN_PIECES])
ERAS = pytest.mark.parametrize("revision", [LATEST_LEGACY.name, LATEST.name])
ASKING = ClientSettings(http_link=HttpClientLinkSettings(compression=True))


@cache
def numbers(size: int) -> str:
    return "".join(map(str, range(size // 4)))[:size]


def books() -> Server:
    server = Server("books", version="1")

    @server.tool
    def book(size: int) -> str:
        return numbers(size)

    @server.tool
    async def slow_book(size: int, context: Context) -> str:
        context.progress(1)
        return numbers(size)

    return server


def asked(size: int, name: str = "book", said: str = "gzip, br", **more: Any) -> bytes:
    """A call of the modern era as bytes."""
    return tool(name, size=size, headers={"Accept-Encoding": said}, **more)


def text_in(body: bytes) -> str:
    return str(json.loads(body)["result"]["content"][0]["text"])


async def book_of(client: Client, size: int) -> str:
    return (await client.call_tool("book", {"size": size})).text


@asynccontextmanager
async def browser(state: Served | None = None, **way: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of HTTP that is not ours."""
    url = "http://localhost" if state is None else f"http://127.0.0.1:{state.port}"
    async with httpx.AsyncClient(base_url=url, timeout=30, **way) as client:
        yield client


async def post(client: httpx.AsyncClient, raw: bytes) -> httpx.Response:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    own = ("host", "content-length")
    headers = {name: value for name, value in lines if name.lower() not in own}
    return await client.post("/mcp", content=body, headers=headers)


@SIZES
async def test_who_asks_is_sent_less(size: int) -> None:
    async with served(books()) as state, browser(state) as client:
        for _ in range(3):  # the head is known from then on
            reply = await post(client, asked(size))
            assert reply.headers["content-encoding"] == "gzip"
            assert reply.headers["vary"] == "accept-encoding"
            assert ("content-length" in reply.headers) is (size == AT_ONCE)
            assert reply.num_bytes_downloaded < size / 2
            assert text_in(reply.content) == numbers(size)
        plain = await post(client, asked(size, said="identity"))
        assert "content-encoding" not in plain.headers
        assert plain.num_bytes_downloaded > size
        assert text_in(plain.content) == numbers(size)
        stream = await post(client, asked(size, "slow_book", meta={"progressToken": 1}))
        assert stream.headers["content-type"] == "text/event-stream"
        assert "content-encoding" not in stream.headers
        assert numbers(size) in stream.text


async def test_who_cannot_have_pieces_has_them_until_the_end() -> None:
    async with served(books()) as state:
        stream = await anyio.connect_tcp("127.0.0.1", state.port)
        async with stream:
            await stream.send(asked(IN_PIECES, version="1.0"))
            answer = b"".join([part async for part in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head
    assert b"chunked" not in head
    assert text_in(gzip.decompress(body)) == numbers(IN_PIECES)


@SIZES
async def test_under_asgi(size: int) -> None:
    app = asgi_app(books())
    async with browser(transport=httpx.ASGITransport(app)) as client:
        reply = await post(client, asked(size))
        assert reply.headers["content-encoding"] == "gzip"
        assert text_in(reply.content) == numbers(size)
        plain = await post(client, asked(size, said="identity"))
        assert "content-encoding" not in plain.headers
        assert text_in(plain.content) == numbers(size)
    await app.aclose()


@SIZES
async def test_as_a_plain_function(size: int) -> None:
    endpoint = HttpEndpoint(books())
    with endpoint.handle(*taken_apart(asked(size))) as call:
        reply = await collected(call)
    assert reply.headers[b"content-encoding"] == b"gzip"
    assert reply.complete
    assert text_in(gzip.decompress(reply.body)) == numbers(size)
    await endpoint.aclose()


# Our own client, and what is recorded


@ERAS
@pytest.mark.parametrize("compression", [True, False])
async def test_our_client_asks_if_it_is_told_to(
    compression: bool, revision: str, tmp_path: Path
) -> None:
    theirs, ours = tmp_path / "server.jsonl", tmp_path / "client.jsonl"
    settings = ASKING if compression else None
    async with (
        served(books(), trace=theirs) as state,
        connect(state.url, revision=revision, settings=settings, trace=ours) as client,
    ):
        for size in (AT_ONCE, IN_PIECES):
            assert await book_of(client, size) == numbers(size)
    await state.ended.wait()
    for trace in (loaded(ours), loaded(theirs)):
        assert check(trace) == []
        heads = [head.text or "" for head in records(trace, "http-response")]
        assert sum("content-encoding: gzip" in head for head in heads) == (2 if compression else 0)
        told = [record.text for record in messages(trace) if record.text]
        assert any(numbers(AT_ONCE) in text for text in told)  # as it was before and is again


@pytest.mark.parametrize("compression", [True, False])
async def test_our_client_on_the_http_client_of_another(compression: bool) -> None:
    settings = ASKING if compression else None
    async with (
        served(books()) as state,
        httpx.AsyncClient() as carrier,
        connect(state.url, http_client=carrier, settings=settings) as client,
    ):
        for size in (AT_ONCE, IN_PIECES):
            assert await book_of(client, size) == numbers(size)
