"""An HTTP client of the user's own: both eras, streams, resumption, auth and hooks, its ends."""

import json
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from mcpcore import Callbacks, ClientSettings, Context, HttpClientLinkSettings, Server, clock
from mcpcore.engine.events import ConnectionEnded, RequestEnded
from mcpcore.errors import (
    CallFailed,
    ConnectFailed,
    ConnectionClosed,
    ConnectTimeout,
    NegotiationError,
    RequestTimeout,
    ServerStalled,
)
from mcpcore_transports.client.client import Client, connect
from mcpcore_transports.http.client.adapter import AdaptedClient, HttpClientLike
from mcpcore_transports.http.client.client import HttpClientLink
from tests.clock import HOUR, UNHURRIED, Clock, arrived, patience, until
from tests.transports.http.http_client_fixture import ServerSide, caller, scripted
from tests.transports.served import served
from tests.transports.villain import EVENTS, Side, villain

pytestmark = pytest.mark.anyio

ERAS = ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")

server = Server("brought", version="1")


@server.tool
async def steps(count: int, context: Context) -> str:
    for number in range(count):
        context.progress(number + 1, count)
    return "done"


@server.tool
async def greet(context: Context) -> str:
    form = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    answer = await context.elicit("Who?", form)
    return f"Hello, {answer.content['name'] if answer.content else 'nobody'}!"


@server.tool
async def forever(context: Context) -> str:
    await anyio.sleep_forever()
    return "never"


@server.tool
def big(size: int) -> str:
    return "x" * size


@asynccontextmanager
async def brought(**options: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(**options) as client:
        yield client


def is_like(client: httpx.AsyncClient) -> HttpClientLike:
    """What the type checker is asked: whether httpx has what is needed."""
    return client


@pytest.mark.parametrize("revision", ERAS)
async def test_a_whole_conversation(revision: str) -> None:
    heard: list[float] = []
    callbacks = Callbacks(elicitation=lambda form: {"name": "Ada"})
    async with served(server, http="127.0.0.1:0") as running, brought() as client:
        async with connect(
            running.urls[0], revision=revision, callbacks=callbacks, http_client=client
        ) as session:
            assert session.revision.name == revision
            assert {tool.name for tool in await session.tools()} >= {"steps", "greet"}
            result = await session.call_tool(
                "steps", {"count": 3}, progress=lambda value, total, message: heard.append(value)
            )
            assert result.text == "done"
            assert heard[-1] == 3
            if revision >= "2025-06-18":
                assert (await session.call_tool("greet")).text == "Hello, Ada!"
            assert len((await session.call_tool("big", {"size": 3_000_000})).text) == 3_000_000
        assert not client.is_closed, "it is the user's"


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_many_calls_at_once(revision: str) -> None:
    link = HttpClientLinkSettings(connections=5)
    settings = ClientSettings(http_link=link)
    async with (
        served(server, http="127.0.0.1:0") as running,
        brought() as client,
        connect(
            running.urls[0], revision=revision, http_client=client, settings=settings
        ) as session,
        anyio.create_task_group() as group,
    ):
        answered: list[int] = []

        async def call(size: int) -> None:
            answered.append(len((await session.call_tool("big", {"size": size})).text))

        for size in range(1, 31):
            group.start_soon(call, size)
    assert sorted(answered) == list(range(1, 31))


class Token(httpx.Auth):
    """An authentication flow: asks again with a token when it is refused."""

    def __init__(self) -> None:
        self.asked = 0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        response = yield request
        if response.status_code == 401:
            self.asked += 1
            request.headers["authorization"] = f"Bearer {self.asked}"
            yield request


async def test_its_auth_and_hooks_and_headers_work() -> None:
    seen: list[httpx.Request] = []

    async def bad(side: Side) -> bool:
        if "authorization" not in side.headers:
            await side.send(b"HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n")
        else:
            await side.send(side.json(side.answer(side.headers["authorization"])))
        return True

    async def look(request: httpx.Request) -> None:
        seen.append(request)

    token = Token()
    hooks = {"request": [look]}
    async with (
        villain(bad) as state,
        brought(auth=token, event_hooks=hooks, headers={"X-Mine": "1", "Accept": "x"}) as client,
        connect(
            state.url,
            revision="2026-07-28",
            http_client=client,
            headers=lambda request: {"X-Target": request.target},
        ) as session,
    ):
        assert (await session.call_tool("bad")).text == "Bearer 1"
    request = next(each for each in seen if each.headers.get("mcp-name") == "bad")
    assert request.headers["x-mine"] == "1"
    assert request.headers["x-target"] == "/mcp"
    assert request.headers["accept"] == "application/json, text/event-stream"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["mcp-protocol-version"] == "2026-07-28"
    assert json.loads(request.content)["params"]["name"] == "bad"


async def test_its_redirects_are_not_used() -> None:
    async def bad(side: Side) -> bool:
        await side.send(b"HTTP/1.1 302 F\r\nLocation: /mcp\r\nContent-Length: 0\r\n\r\n")
        return True

    async with (
        villain(bad) as state,
        brought(follow_redirects=True) as client,
        connect(state.url, revision="2026-07-28", http_client=client) as session,
    ):
        with pytest.raises(CallFailed, match="a POST follows 307 and 308 alone"):
            await session.call_tool("bad")
        assert state.seen["bad"] == 1


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_a_cancelled_call_ends_its_exchange(revision: str) -> None:
    async with (
        served(server, http="127.0.0.1:0") as running,
        brought() as client,
        connect(running.urls[0], revision=revision, http_client=client) as session,
    ):
        with anyio.move_on_after(0.2) as scope:
            await session.call_tool("forever")
        assert scope.cancelled_caught
        with pytest.raises(RequestTimeout):
            await session.call_tool("forever", timeout=0.1)
        assert (await session.call_tool("big", {"size": 1})).text == "x"
        # The stream of a legacy session is left; what tells of the cancellations may end later.
        await until(lambda: len(running_exchanges(session)) <= 1)


def running_exchanges(session: Client) -> Any:
    link = session._core.link
    assert isinstance(link, HttpClientLink)
    return link._exchanges.running


async def test_closing_ends_what_is_running() -> None:
    async with (
        served(server, http="127.0.0.1:0") as running,
        brought() as client,
        anyio.create_task_group() as group,
    ):
        failed = anyio.Event()
        async with connect(running.urls[0], http_client=client) as session:

            async def call() -> None:
                with pytest.raises(ConnectionClosed):
                    await session.call_tool("forever")
                failed.set()

            group.start_soon(call)
            await until(lambda: running_exchanges(session))
        await failed.wait()
        link = session._core.link
        assert isinstance(link, HttpClientLink)
        assert link.connections == 0


async def test_a_link_that_is_cancelled_ends_everything() -> None:
    async with (
        served(server, http="127.0.0.1:0") as running,
        brought() as client,
        caller(running.urls[0], start=False) as app,
    ):
        link = HttpClientLink(app.machine, app, exchanges=partial(AdaptedClient, client=client))
        app.link = link
        async with anyio.create_task_group() as tasks:
            app.machine.start(now=clock())
            link.flush_soon()  # before it runs: remembered
            request = app.request("forever")
            await tasks.start(link.run)
            with patience():
                while app.machine.exchanges != 1 or not link.connections:
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert isinstance(await app.outcome(request), RequestEnded)
        assert isinstance(app.events[-1], ConnectionEnded)
        assert link.connections == 0


async def test_nobody_there() -> None:
    async with served(server, http="127.0.0.1:0") as running:
        url = running.urls[0]
    async with brought() as client:
        with pytest.raises(NegotiationError) as caught:
            async with connect(url, http_client=client):
                raise AssertionError
        assert type(caught.value.__cause__) is ConnectFailed


async def test_what_it_raises_is_an_outcome() -> None:
    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if json.loads(request.content)["method"] == "server/discover":
                raise RuntimeError("a hook broke")
            raise httpx.ConnectTimeout("slow", request=request)

    async with brought(transport=Broken()) as client:
        with pytest.raises(NegotiationError, match="a hook broke"):
            async with connect("http://a.example/mcp", http_client=client, revision="2026-07-28"):
                raise AssertionError
        with pytest.raises(NegotiationError) as caught:
            async with connect("http://a.example/mcp", http_client=client, revision="2025-11-25"):
                raise AssertionError
        assert type(caught.value.__cause__) is ConnectTimeout


@pytest.mark.parametrize("length", [b"Content-Length: 9\r\n", b""])
async def test_a_body_that_never_ends(length: bytes, clock: Clock) -> None:
    async def bad(side: Side) -> bool:
        await side.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + length)
        await side.send(b"\r\n{")
        await arrived(side.stream)
        await clock.skip(HOUR)
        await side.hold()
        return False

    settings = ClientSettings(limits=UNHURRIED, http_link=HttpClientLinkSettings(body_time=HOUR))
    async with (
        villain(bad) as state,
        brought() as client,
        connect(state.url, revision="2026-07-28", http_client=client, settings=settings) as session,
    ):
        with patience(), pytest.raises(ServerStalled):
            await session.call_tool("bad")


async def test_a_stream_may_last(clock: Clock) -> None:
    async def bad(side: Side) -> bool:
        await side.send(EVENTS + b"\r\n")
        await arrived(side.stream)
        await clock.skip(2 * HOUR)
        await side.send(side.event(side.answer()))
        return False

    settings = ClientSettings(
        limits=UNHURRIED,
        http_link=HttpClientLinkSettings(body_time=HOUR, idle_time=HOUR, write_time=HOUR),
    )
    async with (
        villain(bad) as state,
        brought(timeout=HOUR) as client,
        connect(state.url, revision="2026-07-28", http_client=client, settings=settings) as session,
    ):
        assert (await session.call_tool("bad")).text == "well"


async def test_too_many_headers() -> None:
    async def many(side: ServerSide) -> None:
        answer = (await side.request()).answer()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + b"X: y\r\n" * 50
        await side.send(head + b"Content-Length: %d\r\n\r\n" % len(answer) + answer)

    settings = ClientSettings(http_link=HttpClientLinkSettings(header_count=40))
    async with scripted(many, discover=False) as script, brought() as client:
        with pytest.raises(NegotiationError, match="too many headers"):
            async with connect(
                script.url, revision="2026-07-28", http_client=client, settings=settings
            ):
                raise AssertionError
