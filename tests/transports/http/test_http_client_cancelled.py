"""Connections of the HTTP client whose tasks are cancelled while others have something to send."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, TaskGroup

from mcpcore import HttpClientLinkSettings, clock
from mcpcore.engine.events import RequestEnded, ResultReceived
from mcpcore_transports.http.client.authorization import AuthorizedExchanges, GivenTokens
from tests.transports.http.http_client_fixture import Caller, caller
from tests.transports.http_fixture import Running, server

pytestmark = pytest.mark.anyio


class ScopedTasks:
    """Starts what a link runs, each in a scope of its own, to be cancelled from outside."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.cancel_scope = tasks.cancel_scope
        self.scopes: list[anyio.CancelScope] = []
        self._tasks = tasks

    def start_soon(self, run: Callable[[], Awaitable[None]]) -> None:
        scope = anyio.CancelScope()
        self.scopes.append(scope)

        async def scoped() -> None:
            with scope:
                await run()

        self._tasks.start_soon(scoped)


class SlowToClose(ByteStream):
    """A stream that takes its time to close, as one with TLS does."""

    def __init__(self, stream: ByteStream) -> None:
        self.closing, self.go = anyio.Event(), anyio.Event()
        self._stream = stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._stream.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        self.closing.set()
        await self.go.wait()
        await self._stream.aclose()


@asynccontextmanager
async def scoped_caller(
    settings: HttpClientLinkSettings | None = None,
) -> AsyncIterator[tuple[Running, Caller, list[anyio.CancelScope]]]:
    async with server() as running:
        url = f"http://127.0.0.1:{running.port}/mcp"
        async with caller(url, settings=settings, start=False) as client:
            link: Any = client.link
            link._tasks = tasks = ScopedTasks(link._tasks)
            client.machine.start(now=clock())
            client.link.flush_soon()
            yield running, client, tasks.scopes


async def test_an_idle_connection_that_closes_is_given_nothing() -> None:
    async with scoped_caller() as (_, client, scopes):
        assert await client.call(n=1) == '{"n": 1}'
        pool: Any = client.link._exchanges
        (connection,) = pool._idle
        assert connection._stream is not None
        connection._stream = stream = SlowToClose(connection._stream)
        connection._protocol = None  # a connection with TLS has none
        scopes[0].cancel()
        await stream.closing.wait()
        request = client.request(n=2)
        stream.go.set()
        assert isinstance(await client.outcome(request), ResultReceived)


async def test_what_waits_for_a_connection_that_is_cancelled_gets_another_one() -> None:
    settings = HttpClientLinkSettings(connections=1)
    async with scoped_caller(settings) as (running, client, scopes):
        assert await client.call(n=1) == '{"n": 1}'
        first, second = client.request("wait"), client.request(n=2)
        await running.app.until(lambda: running.app.waiting)
        scopes[0].cancel()
        assert isinstance(await client.outcome(first), RequestEnded)
        assert isinstance(await client.outcome(second), ResultReceived)
        assert len(scopes) == 2


@pytest.mark.parametrize("last", ["headers", "token", "connection"])
async def test_what_is_given_up_as_it_gets_the_last_that_it_needs_is_not_sent(
    last: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, made = anyio.Event(), anyio.Event()
    connect = anyio.connect_tcp

    async def wait(result: Any) -> Any:
        asked.set()
        await made.wait()
        return result

    async def connected(*place: Any) -> Any:
        return await wait(await connect(*place))

    settings = HttpClientLinkSettings(idle_time=0.0 if last == "connection" else 60.0)
    async with server() as running:
        url = f"http://127.0.0.1:{running.port}/mcp"
        async with caller(url, settings=settings) as client:
            assert await client.call(n=1) == '{"n": 1}'
            link: Any = client.link
            tokens = AuthorizedExchanges(
                client.machine, client, GivenTokens(url, lambda: wait("t")), link.flush_soon
            )
            if last == "headers":
                link._headers = lambda _: wait({})
            elif last == "token":
                link.authorized = tokens
            else:
                monkeypatch.setattr(anyio, "connect_tcp", connected)
            request = client.request("wait")
            await asked.wait()
            made.set()  # the task wakes for this, not for its cancellation
            client.machine.cancel(request, now=clock())
            client.link.flush_soon()
            assert isinstance(await client.outcome(request), RequestEnded)
            assert await client.call(n=2) == '{"n": 2}'
            assert not tokens._sent
            assert not running.app.cancelled
    assert not caplog.records
