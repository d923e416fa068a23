"""The HTTP client over real sockets: its own server, and servers that misbehave in any way."""

import asyncio
import json
import math
import os
import socket
import sys
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from mcpcore import HttpClientLinkSettings, HttpClientSettings, Negotiation, clock
from mcpcore.engine.events import (
    ConnectionEnded,
    Event,
    NegotiationFailed,
    Ready,
    RequestEnded,
    ResultReceived,
)
from mcpcore_transports.http.client.client import HttpClientLink, Origin
from mcpcore_transports.http.client.protocol import HttpClientProtocol
from mcpcore_transports.http1.connection import Http1Client
from tests.clock import HOUR, Clock, arrived, until
from tests.faults.http_by_hand import Request
from tests.transports.http.http_client_fixture import (
    GOOD,
    Caller,
    ServerSide,
    caller,
    good,
    scripted,
)
from tests.transports.http_fixture import Running, server

pytestmark = pytest.mark.anyio


def url_of(running: Running, *, scheme: str = "http", host: str = "127.0.0.1") -> str:
    return f"{scheme}://{host}:{running.port}/mcp"


@pytest.mark.parametrize("negotiation", list(Negotiation))
async def test_calls_share_a_connection(negotiation: Negotiation) -> None:
    async with server() as running, caller(url_of(running), negotiation=negotiation) as client:
        for number in range(5):
            assert await client.call(n=number) == f'{{"n": {number}}}'
        # A legacy session has its own stream beside it.
        assert client.link.connections <= 2
        assert isinstance(client.events[0], Ready)


async def test_calls_beyond_the_limit_of_connections_wait() -> None:
    settings = HttpClientLinkSettings(connections=2)
    async with server() as running, caller(url_of(running), settings=settings) as client:
        requests = [client.request("wait") for _ in range(5)]
        for _ in requests:
            await running.app.until(lambda: running.app.waiting)
            assert len(running.app.waiting) <= 2
            assert client.link.connections <= 2
            running.app.finish(running.app.waiting.pop())
        for request in requests:
            assert isinstance(await client.outcome(request), ResultReceived)


async def test_waiting_call_can_be_cancelled() -> None:
    settings = HttpClientLinkSettings(connections=1)
    async with server() as running, caller(url_of(running), settings=settings) as client:
        first, second, third = [client.request("wait") for _ in range(3)]
        await running.app.until(lambda: running.app.waiting)
        client.machine.cancel(second, now=clock())
        client.link.flush_soon()
        running.app.finish(running.app.waiting.pop())
        assert isinstance(await client.outcome(first), ResultReceived)
        await running.app.until(lambda: running.app.waiting)
        running.app.finish(running.app.waiting.pop())
        assert isinstance(await client.outcome(third), ResultReceived)
        assert isinstance(await client.outcome(second), RequestEnded)


@pytest.mark.parametrize("most", [0, 1, 100])
async def test_a_system_that_takes_a_part_of_what_is_written(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, send, short = os.write, socket.socket.send, 0

    def part(data: bytes | memoryview) -> bytes | memoryview:
        """Return a part of every other piece: asyncio tries again until all is taken."""
        nonlocal short
        if len(data) == 1:  # asyncio wakes itself
            return data
        short += 1
        if short % 2 == 0:
            return data
        if most == 0:
            raise BlockingIOError
        return data[:most]

    monkeypatch.setattr(os, "write", lambda to, data: write(to, part(data)))
    monkeypatch.setattr(socket.socket, "send", lambda to, data: send(to, part(data)), raising=False)
    async with server() as running, caller(url_of(running)) as client:
        for size in (1, 1_000, 60_000, 200_000):
            text = "ab" * (size // 2 + 1)
            assert json.loads(await client.call(text=text)) == {"text": text}
        assert client.link.connections == 1
    assert short >= 3


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("size", [0, 10, 60, 61, 100_000, 1_000_000])
async def test_a_request_is_sent_whole_and_not_kept(size: int) -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    loop, body = asyncio.get_running_loop(), os.urandom(size)
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    with theirs:
        protocol = HttpClientProtocol(transport, QuietSide(), 64)
        held = sys.getrefcount(body)
        protocol.write(b"head", body)
        received = b""
        while len(received) < 4 + size:
            received += await loop.sock_recv(theirs, 1 << 20)
        await until(lambda: not protocol.sending)
        assert received == b"head" + body
        assert sys.getrefcount(body) == held
        protocol.abort()


class QuietSide:
    """A side of a connection that nothing needs to be told."""

    def proceed(self, data: bytes, lost: Exception | None = None) -> None: ...
    def held_up(self) -> None: ...
    def sent(self) -> None: ...


async def test_idle_connection_is_closed() -> None:
    settings = HttpClientLinkSettings(idle_time=0.05)
    async with server() as running, caller(url_of(running), settings=settings) as client:
        await client.call()
        await until(lambda: not client.link.connections)
        assert await client.call() == "{}"


async def test_connection_that_may_not_be_idle_is_closed_behind_its_response() -> None:
    settings = HttpClientLinkSettings(idle_time=0)
    async with server() as running, caller(url_of(running), settings=settings) as client:
        await client.call()
        await anyio.wait_all_tasks_blocked()
        assert client.link.connections == 0


async def test_nothing_looks_at_an_idle_connection_before_its_time() -> None:
    settings = HttpClientLinkSettings(idle_time=1000.0)
    async with server() as running, caller(url_of(running), settings=settings) as client:
        await client.call()
        pool: Any = client.link._exchanges
        [connection] = pool.open
        assert pool.expire(clock()) == connection.http.deadline > clock() + 900
        request = client.request("wait")
        assert pool.expire(clock()) == 0.0
        assert client.link._sweep_at <= clock() + client.link._sweep
        client.machine.cancel(request, now=clock())


async def test_a_cancellation_arrives_although_the_client_closes() -> None:
    http = HttpClientSettings(delete_session=False)  # whose end would cancel as well
    async with server() as running:
        async with caller(url_of(running), negotiation=Negotiation.LEGACY, http=http) as client:
            request = client.request("wait")
            await running.app.until(lambda: running.app.waiting)
            client.machine.cancel(request, now=clock())
            client.link.flush_soon()
        await running.app.until(lambda: running.app.cancelled)
        assert running.app.cancelled == running.app.waiting


@pytest.mark.parametrize("closes", [False, True], ids=["cancelled", "closed as well"])
async def test_cancelled_client_closes_at_once(closes: bool) -> None:
    async with server() as running, caller(url_of(running), start=False) as template:
        link = HttpClientLink(template.machine, template)
        template.machine.start(now=clock())
        link.flush_soon()  # before it runs: remembered
        request = template.machine.request("tools/call", {"name": "wait"}, now=clock())
        async with anyio.create_task_group() as tasks:
            await tasks.start(link.run)
            await running.app.until(lambda: running.app.waiting)
            tasks.cancel_scope.cancel()
            if closes:  # at the same moment: run() has not heard yet that it is cancelled
                with anyio.CancelScope(shield=True):
                    await link.aclose()
        assert isinstance(await template.outcome(request), RequestEnded)
        assert isinstance(template.events[-1], ConnectionEnded)
        assert link.connections == 0
        await running.app.until(lambda: running.app.cancelled)
        with pytest.raises(RuntimeError, match="once"):
            await link.run()


async def test_closed_before_it_runs() -> None:
    async with server() as running, caller(url_of(running), start=False) as template:
        link = HttpClientLink(template.machine, template)
        await link.aclose()
        await link.run()
        assert isinstance(template.events[-1], ConnectionEnded)


@pytest.mark.parametrize("url", ["ftp://a/", "http://", "localhost:80", "", "/mcp"])
def test_bad_url(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        Origin.of(url)


async def test_refused_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            async with caller(f"http://{host}:{port}/mcp") as client:
                assert f"connection refused: {host}:{port}" in await client.failure()


async def test_unknown_host() -> None:
    for host in ("nowhere.invalid", "a..b", "a" * 70):
        async with caller(f"http://{host}/mcp") as client:
            assert f"unknown host: {host}:80" in await client.failure()


async def test_a_mistake_of_ours_ends_one_exchange(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with server() as running, caller(url_of(running)) as client:
        await client.call()
        monkeypatch.setattr(Http1Client, "next_head", lambda: None)
        assert "TypeError" in await client.failure()
        monkeypatch.undo()
        assert await client.call() == "{}"
    assert "an exchange with 127.0.0.1" in caplog.text


async def test_server_that_never_accepts() -> None:
    settings = HttpClientLinkSettings(connect_time=0.05)
    with socket.socket() as deaf, socket.socket() as filler:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        filler.setblocking(False)
        filler.connect_ex(deaf.getsockname())  # the backlog is full now
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/mcp"
        async with caller(url, settings=settings) as client:
            assert "took more than 0.05 s" in await client.failure()


# With a server that misbehaves


@pytest.mark.parametrize("method", ["tools/list", "tools/call"])
async def test_what_may_reach_the_server_twice_is_sent_again(method: str) -> None:
    """The server closes a connection that was kept open just when the next request comes."""

    async def leaves(side: ServerSide) -> None:
        assert (await side.request()).json["method"] == method

    scripts = [leaves, good] if method == "tools/list" else [leaves]
    async with scripted(*scripts) as script, caller(script.url) as client:
        params = {"name": "echo"} if method == "tools/call" else None
        request = client.machine.request(method, params, now=clock())
        client.link.flush_soon()
        expected = ResultReceived if method == "tools/list" else RequestEnded
        assert isinstance(await client.outcome(request), expected)


@pytest.mark.parametrize(
    "form",
    [
        b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\nANSWER",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\nANSWER",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Content-Length: LENGTH\r\n\r\nANSWER",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ANSWER\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: identity\r\n\r\n"
        b"event: message\r\ndata: ANSWER\r\n\r\n",
    ],
)
async def test_response_after_which_the_connection_is_not_used_again(form: bytes) -> None:
    async def last(side: ServerSide) -> None:
        await side.reply(form)

    async with scripted(last, good) as script, caller(script.url) as client:
        assert await client.call() == "hello"
        assert await client.call() == "hello"


@pytest.mark.parametrize(
    "form",
    [
        GOOD.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"),
        GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        GOOD + b"HTTP/1.1 200 OK\r\n\r\nwhat nobody asked for",
    ],
)
async def test_client_closes_a_connection_that_cannot_be_used_again(form: bytes) -> None:
    async def last(side: ServerSide) -> None:
        await side.reply(form)
        assert await side.closed()

    async with scripted(last, good) as script, caller(script.url) as client:
        assert await client.call() == "hello"
        assert await client.call() == "hello"


async def test_idle_connection_on_which_the_server_spoke_is_not_used_again() -> None:
    spoken = anyio.Event()

    async def speaks(side: ServerSide) -> None:
        await side.good()
        await side.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        spoken.set()
        assert await side.closed()

    async with scripted(speaks, good) as script, caller(script.url) as client:
        assert await client.call() == "hello"
        await spoken.wait()
        assert await client.call() == "hello"


async def test_connection_that_expires_is_not_given_another_request() -> None:
    async with server() as running, caller(url_of(running)) as client:
        await client.call()
        client.link._expire(math.inf)
        assert await client.call() == "{}"


async def test_events_are_handled_in_the_context_of_the_link() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="the link's")
    seen: list[str] = []
    async with server() as running, caller(url_of(running)) as client:
        request = client.request("wait")
        await running.app.until(lambda: running.app.waiting)
        handle = client.handle

        def look(event: Event) -> None:
            seen.append(variable.get())
            handle(event)

        client.handle = look  # type: ignore[method-assign]
        variable.set("the caller's")
        client.machine.cancel(request, now=clock())
        client.link.flush_soon()
        assert seen == ["the link's"]


async def test_connection_that_the_server_closed_while_idle_is_replaced() -> None:
    closed = anyio.Event()

    async def leaves(side: ServerSide) -> None:
        await side.good()
        await side.stream.aclose()
        closed.set()

    async def stays(side: ServerSide) -> None:
        await side.good()
        assert await side.closed()

    async with scripted(leaves, stays) as script, caller(script.url) as client:
        assert await client.call() == "hello"
        await closed.wait()
        assert await client.call() == "hello"


async def test_fresh_connection_is_not_tried_again() -> None:
    async def leaves(side: ServerSide) -> None:
        await side.request()

    async with (
        scripted(leaves, discover=False) as script,
        caller(script.url) as client,
    ):
        await client.until(lambda: client.events)
        (event, *_) = client.events
        assert isinstance(event, NegotiationFailed)
        assert "closed the connection without a response" in event.message


@pytest.mark.parametrize("reads_on", [True, False])
async def test_server_that_answers_before_it_has_read_everything(reads_on: bool) -> None:
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge"

    async def refuse(side: ServerSide) -> None:
        await side.stream.receive()
        await side.send(early)
        if reads_on:
            await side.rest()
        else:
            await answered.wait()

    answered = anyio.Event()
    async with scripted(refuse, good) as script, caller(script.url) as client:
        assert "413" in await client.failure(text="x" * 30_000_000)
        answered.set()
        assert await client.call() == "hello"


async def test_server_that_does_not_take_the_request() -> None:
    settings = HttpClientLinkSettings(write_time=0.05)
    hold = anyio.Event()

    async def deaf(side: ServerSide) -> None:
        await hold.wait()

    async with scripted(deaf) as script, caller(script.url, settings=settings) as client:
        assert "does not take the request" in await client.failure(text="x" * 30_000_000)
        hold.set()


async def test_event_stream_may_last(clock: Clock) -> None:
    async def lasts(side: ServerSide) -> None:
        answer = (await side.request()).answer("at last")
        await side.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for _ in range(30):
            await side.send(b": still here\n\n")
            await arrived(side.stream)
            await clock.skip(HOUR / 4)
        await side.send(b"data: " + answer + b"\n\n")

    settings = HttpClientLinkSettings(body_time=HOUR, idle_time=HOUR, write_time=HOUR)
    async with scripted(lasts) as script, caller(script.url, settings=settings) as client:
        assert await client.call() == "at last"


async def legacy_session(side: ServerSide) -> Request:
    """Answer the handshake; return the first call."""
    while (request := await side.request()).json["method"] != "tools/call":
        if "id" not in request.json:
            await side.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            continue
        result = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "s", "version": "1"},
        }
        body = {"jsonrpc": "2.0", "id": request.json["id"], "result": result}
        answer = json.dumps(body).encode()
        await side.send(GOOD.replace(b"ANSWER", answer).replace(b"LENGTH", b"%d" % len(answer)))
    return request


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


async def interrupted(side: ServerSide, retry: int) -> Request:
    """A call whose stream ends early and is to be resumed after ``retry`` ms."""
    call = await legacy_session(side)
    event = b"id: e1\nretry: %d\ndata:\n\n" % retry
    await side.send(STREAM + b"Content-Length: %d\r\n\r\n" % len(event) + event)
    return call


def resuming(url: str) -> AbstractAsyncContextManager[Caller]:
    http = HttpClientSettings(get_stream=False)
    return caller(url, http=http, negotiation=Negotiation.LEGACY)


@pytest.mark.requirement("basic/transports/retry-respected")
@pytest.mark.parametrize("given_up", [False, True])
async def test_stream_is_not_resumed_before_the_time_that_the_server_names(given_up: bool) -> None:
    async def legacy(side: ServerSide) -> None:
        await interrupted(side, 600_000)
        while not await_cancel.is_set():
            request = await side.request()
            assert request.method == "POST"  # and not the GET that would resume it
            await side.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            await_cancel.set()

    await_cancel = anyio.Event()
    async with scripted(legacy, discover=False) as script, resuming(script.url) as client:
        request = client.request()
        await until(lambda: client.link._delayed)
        if given_up:
            client.machine.cancel(request, now=clock())
            client.link.flush_soon()
            assert not client.link._delayed
        else:
            client.machine.notify("notifications/acme")
            client.link.flush_soon()
        await await_cancel.wait()
        await client.link.aclose()
        assert isinstance(await client.outcome(request), RequestEnded)
