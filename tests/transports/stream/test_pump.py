"""The pump over byte streams: order, back-pressure, ends, and malformed input."""

import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketListener, SocketStream, UNIXSocketStream
from anyio.lowlevel import checkpoint

from mcpcore import ConnectionSettings, Negotiation, Peer, StreamConnection
from mcpcore.engine.events import (
    ConnectionEnded,
    EndReason,
    Event,
    RequestCancelled,
    RequestReceived,
    Violation,
)
from mcpcore_transports.link import clock, what_broke
from mcpcore_transports.sockets.server import SocketServerLink
from mcpcore_transports.stream.channels import StreamLink
from mcpcore_transports.stream.plain import PlainStream
from tests.clock import HOUR, patience
from tests.transports.apps import Caller, Recorder, ToolServer, make_client, make_server
from tests.transports.malformed import TABLE, good
from tests.transports.sites import call as call
from tests.transports.wire import Lines

pytestmark = pytest.mark.anyio


async def make_streams(*, small: bool = False) -> tuple[SocketStream, SocketStream]:
    """Two ends of a TCP connection; ``small``: the system's buffers hold little."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        ours = await anyio.connect_tcp("127.0.0.1", port)
        [accepting] = listener.listeners
        assert isinstance(accepting, SocketListener)
        theirs = await accepting.accept()
    if small:
        for stream in (ours, theirs):
            raw = stream.extra(SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
    return ours, theirs


class Served:
    def __init__(self, app: ToolServer, link: StreamLink, stream: SocketStream) -> None:
        self.app, self.link, self.stream = app, link, stream
        self.lines = Lines(stream)


@asynccontextmanager
async def serve(
    *, small: bool = False, limits: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Served]:
    ours, theirs = await make_streams(small=small)
    app = ToolServer(make_server(**(limits or {})))
    app.link = link = StreamLink(app.peer, app, theirs, settings=ConnectionSettings(**settings))
    async with anyio.create_task_group() as tasks, ours:
        await tasks.start(link.run)
        yield Served(app, link, ours)
        await link.aclose()


async def test_malformed_input_is_answered_and_the_next_request_works() -> None:
    async with serve() as served:
        for id, row in enumerate(TABLE, 1000):
            await served.lines.check(row, id)


async def test_any_split_of_the_stream_gives_the_same_answers() -> None:
    async with serve() as served:
        await served.stream.send(good(0) + b"\r\n\n" + call(1)[:10])
        for byte in call(1)[10:] + b"\n":
            await served.stream.send(bytes([byte]))
        assert [(await served.lines.message())["id"] for _ in range(2)] == [0, 1]


class Opening(StreamLink):
    """A link that opens when it is told to."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opening, self.go = anyio.Event(), anyio.Event()

    async def _open(self) -> None:
        self.opening.set()
        await self.go.wait()
        await super()._open()


async def test_a_flush_at_once_leaves_a_link_that_is_being_opened_to_its_first_turn() -> None:
    ours, theirs = await make_streams()
    peer = make_client(negotiation=Negotiation.MODERN)
    peer.start(now=clock())
    link = Opening(peer, Recorder(peer), theirs)
    async with anyio.create_task_group() as tasks, ours:
        tasks.start_soon(link.run)
        await link.opening.wait()
        link.flush_now()
        assert peer.output_size
        link.go.set()
        assert (await Lines(ours).message())["method"] == "server/discover"
        await link.aclose()


async def test_a_flush_at_once_writes_before_it_returns() -> None:
    ours, theirs = await make_streams()
    peer = make_server()
    app = Recorder(peer)
    link = StreamLink(peer, app, theirs)
    async with anyio.create_task_group() as tasks, ours:
        await tasks.start(link.run)
        await ours.send(call(1) + b"\n")
        await app.until(lambda: bool(app.of(RequestReceived)))
        peer.respond(app.of(RequestReceived)[0].key, {})
        assert peer.output_size
        link.flush_now()
        assert not peer.output_size
        assert (await Lines(ours).message())["id"] == 1
        await link.aclose()


class Observer(ToolServer):
    """Before it handles a call it looks what the other side has got by then.

    Time passes in its handlers alone.
    """

    def __init__(self, peer: Peer, other: socket.socket, delay: float) -> None:
        super().__init__(peer)
        self.other, self.delay = other, delay
        self.now = 0.0
        self.seen: list[int] = []

    def react(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self.seen.append(0)
            with suppress(BlockingIOError):
                self.seen[-1] = self.other.recv(1_000_000, socket.MSG_PEEK).count(b"\n")
            self.now += self.delay
        super().react(event)


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("direct", [False, True])
async def test_answers_are_gathered_once_handlers_are_quick(
    slow: bool, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then each is written before the next handler begins, which may be a slow one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        app = Observer(make_server(), ours, 0.002 if slow else 0.0)
        monkeypatch.setattr("mcpcore_transports.stream.connection.clock", lambda: app.now)
        async with anyio.create_task_group() as tasks:
            link: StreamConnection
            if direct:
                link = SocketServerLink(app.peer, app, PlainStream(theirs.dup()))
            else:
                stream = await UNIXSocketStream.from_socket(theirs.dup())
                link = StreamLink(app.peer, app, stream)
            app.link = link
            await tasks.start(link.run)
            messages = b"".join(call(id) + b"\n" for id in range(100))
            ours.sendall(messages)
            answers = 0
            with patience():
                while answers < 100:
                    await anyio.wait_readable(ours)
                    if len(app.seen) == 100:
                        answers = ours.recv(1_000_000, socket.MSG_PEEK).count(b"\n")
                    else:
                        await checkpoint()
            await link.aclose()
    in_time = sum(got == number for number, got in enumerate(app.seen))
    if slow:
        assert in_time == 100
    else:
        assert 16 <= in_time < 30


async def test_a_message_over_the_limit_is_refused_and_skipped() -> None:
    async with serve(limits={"message_size": 1000}) as served:
        await served.lines.send(call(1, text="x" * 200_000), good(2))
        refusal, answer = await served.lines.message(), await served.lines.message()
        assert "1000 bytes" in refusal["error"]["message"]
        assert answer["id"] == 2


async def test_the_last_line_needs_no_newline() -> None:
    async with serve() as served:
        await served.stream.send(good(1))
        await served.stream.send_eof()
        assert (await served.lines.message())["id"] == 1
        await served.lines.end()


async def test_end_of_input_leaves_time_for_answers() -> None:
    async with serve(drain=HOUR) as served:
        await served.lines.send(call(1, "hold"), call(2))
        await served.stream.send_eof()
        assert (await served.lines.message())["id"] == 2
        assert not served.app.of(ConnectionEnded)
        served.app.release("after the end of input")
        assert (await served.lines.message())["id"] == 1
        await served.lines.end()
    assert served.app.ended
    assert not served.app.of(RequestCancelled)


async def test_end_of_input_leaves_no_more_than_that_time() -> None:
    async with serve(drain=0.05) as served:
        await served.lines.send(call(1, "hold"))
        await served.stream.send_eof()
        await served.lines.end()
    assert len(served.app.of(RequestCancelled)) == 1
    assert served.app.ended


async def test_a_server_stops_reading_when_its_answers_are_not_read() -> None:
    async with serve(small=True, queued=500_000) as served:
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for id in range(200):
                await served.lines.send(call(id, size=100_000, padding="x" * 20_000))
                sent += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood)
            await anyio.wait_all_tasks_blocked()
            assert sent < 200
            assert len(served.app.events) < 60
            assert served.app.peer._endpoint.outbox.size < 700_000
            for id in range(200):
                assert (await served.lines.message())["id"] == id
        assert sent == 200


async def test_one_read_with_many_requests_does_not_pile_up_answers() -> None:
    async with serve(small=True, queued=500_000) as served:
        await served.lines.send(*(call(id, size=100_000) for id in range(100)))
        await anyio.wait_all_tasks_blocked()
        assert len(served.app.events) < 60
        for id in range(100):
            assert (await served.lines.message())["id"] == id


class Counting(Recorder):
    """Counts what it is told in each turn of the event loop."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer)
        self.turn = 0
        self.told: Counter[int] = Counter()

    async def tick(self) -> None:
        while True:
            await checkpoint()
            self.turn += 1

    def handle(self, event: Event) -> None:
        self.told[self.turn] += 1
        super().handle(event)


@pytest.mark.share(2)
@pytest.mark.parametrize("server", [True, False])
@pytest.mark.parametrize("left", [False, True])
async def test_a_flood_of_small_lines_leaves_others_their_turn(server: bool, left: bool) -> None:
    """Also where the other side leaves right after it; nothing of it is lost."""
    lines = 20_000
    ours, theirs = await make_streams()
    app = Counting(make_server() if server else make_client(Negotiation.LEGACY))
    link = StreamLink(app.peer, app, theirs, settings=ConnectionSettings(queued=10_000_000))
    async with anyio.create_task_group() as tasks, ours:
        await tasks.start(link.run)
        tasks.start_soon(app.tick)
        tasks.start_soon(ours.send, b"z\n" * lines)
        if left:
            await app.until(lambda: bool(app.events))
            await ours.send_eof()
            await app.until(lambda: bool(app.of(ConnectionEnded)))
        else:
            await app.until(lambda: len(app.of(Violation)) == lines)
        assert len(app.of(Violation)) == lines
        if not left:
            assert max(app.told.values()) <= 3000
        tasks.cancel_scope.cancel()


async def test_output_that_nobody_reads_ends_the_connection() -> None:
    async with serve(small=True, stall=0.05) as served:
        await served.lines.send(call(1, size=3_000_000))
        await served.app.until(lambda: bool(served.app.of(ConnectionEnded)))
    [ended] = served.app.of(ConnectionEnded)
    assert "read nothing for 0.05 s" in ended.reason


async def test_a_reset_connection_cancels_what_was_asked() -> None:
    async with serve() as served:
        await served.lines.send(call(1, "hold"))
        await served.app.until(lambda: bool(served.app.held))
        raw = served.stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await served.stream.aclose()
        await served.app.until(lambda: bool(served.app.of(ConnectionEnded)))
    assert len(served.app.of(RequestCancelled)) == 1
    assert served.app.ended
    assert served.app.of(ConnectionEnded)[0].reason.startswith("connection lost: ")


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (anyio.BrokenResourceError(), None, "the other side broke it off"),
        (anyio.ClosedResourceError(), None, "it was closed on this side"),
        (anyio.EndOfStream(), None, "the other side closed it"),
        (anyio.BrokenResourceError(), ConnectionResetError(104, "reset by peer"), "reset by peer"),
        (ExceptionGroup("", [OSError("no route")]), None, "no route"),
        (ValueError(), None, "ValueError"),
    ],
)
def test_what_broke_is_said_in_words(error: Exception, cause: Exception | None, words: str) -> None:
    error.__cause__ = cause
    assert what_broke(error) == words


async def test_close_tells_the_other_side() -> None:
    async with serve() as served:
        await served.lines.send(good(1))
        assert (await served.lines.message())["id"] == 1
        await served.link.aclose()
        await served.lines.end()
    assert served.app.of(ConnectionEnded)[0].reason == "closed by this side"


@pytest.mark.parametrize(
    ("tool", "exception", "cause"),
    [("fail", ZeroDivisionError, None), ("break", ConnectionResetError, "KeyError('its cause')")],
)
async def test_an_exception_of_the_application_comes_out_of_run(
    tool: str, exception: type[Exception], cause: str | None
) -> None:
    ours, theirs = await make_streams()
    app = ToolServer(make_server())
    link = StreamLink(app.peer, app, theirs)
    async with ours:
        await Lines(ours).send(call(1, tool))
        with pytest.raises(exception) as raised:
            await link.run()
        await Lines(ours).end()
    assert app.ended
    assert str(cause) == repr(raised.value.__cause__)


async def test_cancelling_run_closes_the_stream() -> None:
    ours, theirs = await make_streams()
    app = ToolServer(make_server())
    link = StreamLink(app.peer, app, theirs)
    async with anyio.create_task_group() as tasks, ours:
        await tasks.start(link.run)
        await Lines(ours).send(call(1, "hold"))
        await app.until(lambda: bool(app.held))
        tasks.cancel_scope.cancel()
    assert app.ended
    assert app.held == []
    with pytest.raises(anyio.ClosedResourceError):
        await theirs.send(b"x")


async def served_by_hand(client: Caller, lines: Lines) -> None:
    """Answer a client until it is ready."""
    discover = await lines.message()
    result = {
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {}},
        "ttlMs": 0,
        "cacheScope": "public",
    }
    await lines.send(
        json.dumps({"jsonrpc": "2.0", "id": discover["id"], "result": result}).encode()
    )
    await client.ready()


@pytest.mark.parametrize("negotiation", list(Negotiation))
async def test_both_ends_may_be_flooded_without_a_deadlock(negotiation: Negotiation) -> None:
    ours, theirs = await make_streams(small=True)
    client, server = Caller(make_client(negotiation)), ToolServer(make_server())
    settings = ConnectionSettings(queued=100_000)
    client.link = StreamLink(client.peer, client, ours, settings=settings)
    server.link = StreamLink(server.peer, server, theirs, settings=settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.link.run)
        tasks.start_soon(server.link.run)
        client.begin()
        asked = [client.call("echo", {"text": "x" * 20_000, "n": n}) for n in range(200)]
        for id in asked:
            outcome = await client.outcome(id)
            assert json.loads(bytes(outcome.result))["content"][0]["text"]
        await client.link.aclose()
    assert client.ended
    assert server.ended


async def test_what_waits_behind_a_write_that_is_held_up_has_its_deadline() -> None:
    ours, theirs = await make_streams(small=True)
    client = Caller(make_client())
    client.link = link = StreamLink(client.peer, client, ours)
    async with anyio.create_task_group() as tasks, theirs:
        await tasks.start(link.run)
        client.begin()
        await served_by_hand(client, Lines(theirs))
        first = client.call("echo", {"text": "x" * 8_000_000}, timeout=0.05)
        assert (await client.outcome(first)).reason is EndReason.TIMED_OUT
        second = client.call("echo", timeout=0.05)
        assert (await client.outcome(second)).reason is EndReason.TIMED_OUT
        tasks.cancel_scope.cancel()


async def test_a_client_hears_of_the_end_after_the_last_answer() -> None:
    ours, theirs = await make_streams()
    client = Caller(make_client())
    client.link = link = StreamLink(client.peer, client, ours)
    async with anyio.create_task_group() as tasks, theirs:
        await tasks.start(link.run)
        client.begin()
        lines = Lines(theirs)
        await served_by_hand(client, lines)
        first, second = client.call("echo"), client.call("echo")
        assert (await lines.message())["id"] == first
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": first, "result": {"content": []}}
        await lines.send(json.dumps(answer).encode())
        await theirs.aclose()
        assert (await client.outcome(second)).reason is EndReason.CLOSED
    assert client.ended
    assert type(await client.outcome(first)).__name__ == "ResultReceived"
