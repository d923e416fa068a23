"""The client over HTTP as its settings have it: headers made anew, deadlines, sessions, sizes."""

import itertools
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from mcpcore import Callbacks, ClientSettings, HttpClientLinkSettings, HttpSend
from mcpcore.engine.reconnection import ReconnectSettings
from mcpcore.errors import (
    CallFailed,
    ConnectionClosed,
    HeadersFailed,
    HttpStatusError,
    RequestTimeout,
    ResponseTooLarge,
)
from mcpcore.http.settings import HttpClientSettings
from mcpcore_transports.client.cache import ResultCache
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.client.managed import ServerOptions
from mcpcore_transports.client.servers import connect_all
from mcpcore_transports.http.client.proxies import ENVIRONMENT
from tests.clock import HOUR, UNHURRIED, Clock, patience, until
from tests.transports.villain import CHUNKED, EVENTS, JSON, Script, Side, Villain, villain

pytestmark = pytest.mark.anyio

MODERN = "2026-07-28"
LEGACY = ("2025-03-26", "2025-06-18", "2025-11-25")
MIB = 1024 * 1024


async def echo(side: Side) -> bool:
    """The tool "bad" gives back the authorization."""
    await side.send(side.json(side.answer(side.headers.get("authorization", "none"))))
    return True


@asynccontextmanager
async def talking(
    script: Script = echo, revision: str = MODERN, carrier: str = "own", **options: Any
) -> AsyncIterator[tuple[Villain, Client]]:
    """A server with a script, and a client of it; over httpx, if that is the carrier."""
    async with villain(script, revision=revision) as server, httpx.AsyncClient() as other:
        brought = other if carrier == "httpx" else None
        async with connect(server.url, revision=revision, http_client=brought, **options) as client:
            yield server, client


async def text_of(client: Client, **options: Any) -> str:
    return (await client.call_tool("bad", **options)).text


def test_the_defaults_are_those_that_are_promised() -> None:
    assert HttpClientLinkSettings().connect_time == 10.0
    assert ClientSettings().proxy == ENVIRONMENT


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
@pytest.mark.parametrize("carrier", ["own", "httpx"])
async def test_headers_are_made_for_each_request(kind: str, carrier: str) -> None:
    numbers = itertools.count(1)
    asked: list[HttpSend] = []

    def fresh(request: HttpSend) -> Mapping[str, str]:
        asked.append(request)
        return {"Authorization": f"Bearer {next(numbers)}"}

    async def later(request: HttpSend) -> Mapping[str, str]:
        await anyio.lowlevel.checkpoint()
        return fresh(request)

    headers: Any = fresh if kind == "function" else later
    async with talking(carrier=carrier, headers=headers) as (_, client):
        assert await text_of(client) == "Bearer 2"
        assert await text_of(client) == "Bearer 3"
    assert [request.method for request in asked] == ["POST"] * 3
    assert b"tools/call" in asked[1].body


async def test_they_take_the_place_of_fixed_ones() -> None:
    settings = ClientSettings(
        http=HttpClientSettings(headers=(("Authorization", "fixed"), ("X-Other", "stays")))
    )
    seen: list[dict[str, str]] = []

    async def look(side: Side) -> bool:
        seen.append(side.headers)
        return await echo(side)

    async with talking(
        look, settings=settings, headers=lambda request: {"AUTHORIZATION": "fresh"}
    ) as (_, client):
        assert await text_of(client) == "fresh"
    assert seen[0]["x-other"] == "stays"


def failing(request: HttpSend) -> dict[str, str]:
    raise LookupError("the vault is closed")


@pytest.mark.parametrize("carrier", ["own", "httpx"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (failing, "could not be made: LookupError$"),
        (lambda request: {"X": "a\r\nY: b"}, "cannot be sent"),
        (lambda request: {"X Y": "a"}, "no header name"),
        (lambda request: {"Host": "evil.example"}, "set by the engine"),
        (lambda request: {"Mcp-Session-Id": "x"}, "set by the engine"),
        (lambda request: 5, "AttributeError"),
        (lambda request: {"X": 5}, "AttributeError"),
    ],
)
async def test_headers_that_cannot_be_made_end_one_request(
    make: Any, words: str, carrier: str
) -> None:
    spoilt = False

    def headers(request: HttpSend) -> Any:
        return make(request) if spoilt else {}

    async with talking(carrier=carrier, headers=headers) as (server, client):
        spoilt = True
        with pytest.raises(HeadersFailed, match=words):
            await text_of(client)
        assert server.seen["bad"] == 0
        spoilt = False
        assert await text_of(client) == "none"


async def test_a_function_that_hangs_does_not_outlive_the_deadline() -> None:
    hanging = False

    async def headers(request: HttpSend) -> dict[str, str]:
        if hanging:
            await anyio.sleep_forever()
        return {}

    async with talking(headers=headers) as (_, client):
        hanging = True
        with patience(), pytest.raises(RequestTimeout):
            await text_of(client, timeout=0.2)
        hanging = False
        assert await text_of(client) == "none"


@pytest.mark.parametrize("by", ["fixed headers", "a function", "a certificate"])
async def test_private_results_are_not_shared_where_nobody_knows_who_asks(by: str) -> None:
    async def tools(side: Side) -> bool:
        result = {"resultType": "complete", "tools": [], "ttlMs": 60_000, "cacheScope": "private"}
        await side.send(side.json(side.answer(result=result)))
        return True

    tls = ssl.create_default_context() if by == "a certificate" else None
    settings = ClientSettings(cache=ResultCache(), ssl_context=tls)
    headers: Any = {"Authorization": "me"}
    if by == "a function":
        headers = lambda request: {"Authorization": "me"}  # noqa: E731
    async with villain(echo) as server:
        server.scripts["tools/list"] = tools
        for _ in range(2):
            async with connect(
                server.url, revision=MODERN, headers=headers, settings=settings
            ) as client:
                await client.list_tools()
        assert server.seen["tools/list"] == (1 if by == "fixed headers" else 2)


async def hang(side: Side) -> bool:
    await side.hold()
    return False


IMPATIENT = ClientSettings(
    limits=UNHURRIED, http=HttpClientSettings(notify_timeout=HOUR, retry_delay=0.1)
)
"""With notifications alone."""


@pytest.mark.parametrize("carrier", ["own", "httpx"])
async def test_a_notification_that_is_never_taken_holds_nothing_up(
    carrier: str, clock: Clock
) -> None:
    """Except ``notifications/initialized``, for which everything else waits: it is said again."""
    async with villain(echo, revision=LEGACY[-1]) as server, httpx.AsyncClient() as other:

        async def hang_once(side: Side) -> bool:
            del server.scripts["notifications/initialized"]
            await clock.skip(HOUR)
            return bool(await hang(side))

        server.scripts["notifications/initialized"] = hang_once
        server.scripts["notifications/roots/list_changed"] = hang
        async with connect(
            server.url,
            revision=LEGACY[-1],
            settings=IMPATIENT,
            callbacks=Callbacks(roots=["file:///a"]),
            http_client=other if carrier == "httpx" else None,
        ) as client:
            with patience():
                assert await text_of(client) == "none"
                assert server.seen["notifications/initialized"] == 2
                for _ in range(3):
                    client.notify("notifications/roots/list_changed")
                assert await text_of(client) == "none"
            link: Any = client._core.link
            await clock.skip_until(lambda: not link.machine.exchanges)


async def test_a_stream_in_answer_to_a_notification_does_not_stay(clock: Clock) -> None:
    async def stream(side: Side) -> bool:
        await side.send(EVENTS + b"\r\n")
        await side.hold()
        return False

    callbacks = Callbacks(roots=["file:///a"])
    async with talking(revision=LEGACY[-1], settings=IMPATIENT, callbacks=callbacks) as (
        server,
        client,
    ):
        server.scripts["notifications/roots/list_changed"] = stream
        client.notify("notifications/roots/list_changed")
        link: Any = client._core.link
        await until(lambda: server.seen["notifications/roots/list_changed"])
        await clock.skip_until(lambda: not link.machine.exchanges)
        assert await text_of(client) == "none"


async def forbidden(side: Side) -> bool:
    await side.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    return True


@pytest.mark.parametrize("carrier", ["own", "httpx"])
async def test_a_session_that_is_refused_in_place_of_a_lost_one_is_the_end(carrier: str) -> None:
    async with talking(revision=LEGACY[-1], carrier=carrier) as (server, client):
        assert await text_of(client) == "none"
        server.scripts["initialize"] = forbidden
        server.lost.add("s1")
        with pytest.raises(HttpStatusError, match="status 400"):
            await text_of(client)
        assert "status 400" in str(client.closed)
        with pytest.raises(ConnectionClosed, match="status 400"):
            await text_of(client)


async def test_one_of_several_servers_that_has_refused_a_session_is_connected_to_again() -> None:
    pace = ClientSettings(reconnect=ReconnectSettings(first_delay=0.001, max_delay=0.002))
    async with villain(echo, revision=LEGACY[-1]) as server:
        options = ServerOptions(targets=[server.url], revisions=[LEGACY[-1]], settings=pace)
        async with connect_all({"one": options}) as servers:
            await servers.call_tool("good")
            server.scripts["initialize"] = forbidden
            server.lost.add("s1")
            with pytest.raises(HttpStatusError):
                await servers.call_tool("good")
            del server.scripts["initialize"]
            with patience():
                while True:
                    with suppress(CallFailed):
                        await servers.call_tool("good")
                        break
                    await anyio.sleep(0.01)


PATIENT = ClientSettings(limits=UNHURRIED)


async def test_compression_can_be_asked_for() -> None:
    async def look(side: Side) -> bool:
        await side.send(side.json(side.answer(side.headers["accept-encoding"])))
        return True

    for compression, said in ((True, "gzip, deflate"), (False, "identity")):
        settings = ClientSettings(http_link=HttpClientLinkSettings(compression=compression))
        async with talking(look, settings=settings) as (_, client):
            assert await text_of(client) == said


def huge(head: bytes, begin: bytes, size: int, end: bytes) -> Script:
    """An answer with a text of ``size`` bytes, in chunks."""

    async def script(side: Side) -> bool:
        first, last = side.answer("%").split(b"%")
        piece = b"x" * 65536
        await side.send(head + CHUNKED)
        await side.send(_chunk(begin + first))
        await side.pour(_chunk(piece), size // len(piece))
        await side.send(_chunk(last + end), b"0\r\n\r\n")
        return True

    return script


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["JSON", "event"])
@pytest.mark.parametrize("mib", [63, 65])
async def test_the_largest_answer(kind: str, mib: int) -> None:
    shape = (JSON, b"", b"") if kind == "JSON" else (EVENTS, b"data: ", b"\n\n")
    script = huge(shape[0], shape[1], mib * MIB, shape[2])
    async with talking(script, settings=PATIENT) as (_, client):
        if mib < 64:
            assert len(await text_of(client)) == mib * MIB
        else:
            with pytest.raises(ResponseTooLarge, match="larger than 67108864 bytes"):
                await text_of(client)
        assert (await client.call_tool("good")).content


@pytest.mark.long
@pytest.mark.parametrize("revision", [MODERN, LEGACY[-1]])
async def test_a_hundred_thousand_notifications(revision: str) -> None:
    heard = 0

    def hear(method: str, params: Any) -> None:
        nonlocal heard
        heard += 1

    note = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":'
    note += b'{"level":"info","data":"' + b"x" * 100 + b'"}}\n\n'

    async def flood(side: Side) -> bool:
        await side.send(EVENTS + b"\r\n")
        await side.pour(note * 100, 1000)
        await side.send(side.event(side.answer()))
        return False

    callbacks = Callbacks(notification=hear)
    async with talking(flood, revision, callbacks=callbacks, settings=PATIENT) as (_, client):
        tracemalloc.start()
        try:
            assert await text_of(client) == "well"
            assert tracemalloc.get_traced_memory()[1] < 8 * MIB
        finally:
            tracemalloc.stop()
        assert heard == 100_000
        assert (await client.call_tool("good")).content
