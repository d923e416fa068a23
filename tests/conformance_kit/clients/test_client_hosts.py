"""The kit's hosts over real sockets and pipes: what clients say is heard, what cases do arrives."""

import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import ByteStream, Process, SocketAttribute
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)

from mcpcore_conformance.kit.client_wire import Arrival, Asked, Came, HostSettings, HostWire, Signal
from mcpcore_conformance.kit.heard import Done, Gone, Noise, Text, header
from mcpcore_conformance.kit.hosts.door import Door
from mcpcore_conformance.kit.hosts.http import HttpHost, HttpWire
from mcpcore_conformance.kit.hosts.lines import TcpHost, UnixHost
from mcpcore_conformance.kit.hosts.listener import ListeningHost
from mcpcore_conformance.kit.hosts.sse import SseHost
from mcpcore_conformance.kit.hosts.stdio import StdioHost, StdioWire
from mcpcore_conformance.kit.hosts.ws import WsHost, WsWire
from tests.clock import PATIENCE, patience

pytestmark = pytest.mark.anyio


async def heard(host: ListeningHost, kind: type[Any]) -> tuple[Any, Any]:
    """The next thing of a kind, and its wire."""
    while (found := await host.hear(PATIENCE)) is not None:
        if isinstance(found[1], kind):
            return found
    raise AssertionError(f"no {kind.__name__}")


async def test_what_a_host_writes_in_pieces_waits_for_no_acknowledgement() -> None:
    door = Door(await anyio.create_tcp_listener(local_host="127.0.0.1"))
    options: list[int] = []

    async def look(stream: ByteStream) -> None:
        async with stream:
            raw: socket.socket = stream.extra(SocketAttribute.raw_socket)
            options.append(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        tasks.cancel_scope.cancel()

    async with door, anyio.create_task_group() as tasks:
        tasks.start_soon(door.serve, look)
        port = door.extra(SocketAttribute.local_port)
        async with await anyio.connect_tcp("127.0.0.1", port):
            await anyio.sleep_forever()
    assert options != [0]
    assert len(options) == 1


@pytest.mark.parametrize("made", [TcpHost, UnixHost])
async def test_a_connection_that_comes_as_a_host_ends_is_closed(made: type[TcpHost]) -> None:
    families = {TcpHost: socket.AF_INET, UnixHost: socket.AF_UNIX}
    gc.disable()  # which closes what was forgotten
    try:
        with socket.socket(families[made]) as client:
            client.settimeout(PATIENCE)
            async with made() as host:
                ended = anyio.Event()

                async def end() -> None:
                    host.tasks.cancel_scope.cancel()
                    ended.set()

                await anyio.wait_all_tasks_blocked()
                parts = urlsplit(host.address)
                client.connect(parts.path or (parts.hostname, parts.port))
                # runs in the very round in which the event loop sees the connection
                host.tasks.start_soon(end)
                await ended.wait()
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
    finally:
        gc.enable()


async def until(stream: ByteStream, mark: bytes, found: bytes = b"") -> bytes:
    with patience():
        while mark not in found:
            found += await stream.receive()
    return found


async def rest(stream: ByteStream) -> bytes:
    found = b""
    with patience():
        try:
            while True:
                found += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return found


async def dial(host: ListeningHost) -> ByteStream:
    return await anyio.connect_tcp("127.0.0.1", host.port)


# HTTP


def post(body: bytes, target: str = "/mcp", extra: bytes = b"") -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: here\r\nX-Odd: A b\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + extra + b"\r\n" + body


async def test_requests_are_heard_in_order_with_their_heads() -> None:
    async with HttpHost() as host, await dial(host) as stream:
        assert host.address == f"http://127.0.0.1:{host.port}/mcp"
        await stream.send(post(b'{"a":1}') + b"GET /x?y HTTP/1.1\r\nHost: here\r\n\r\n")
        wire, _ = await heard(host, Came)
        assert host.wire is wire
        assert wire is not None
        asked = (await host.hear(PATIENCE) or (None, None))[1]
        assert isinstance(asked, Asked)
        assert (asked.method, asked.target, asked.exchange) == ("POST", "/mcp", 1)
        assert header(asked.headers, "x-odd") == "A b"
        text = (await heard(host, Text))[1]
        assert (text.data, text.exchange) == (b'{"a":1}', 1)
        assert await wire.reply(1, 200, [("content-type", "application/json")], b"{}")
        assert (await until(stream, b"{}")).startswith(b"HTTP/1.1 200")
        asked = (await heard(host, Asked))[1]
        assert (asked.method, asked.target, asked.exchange) == ("GET", "/x?y", 2)
        assert asked.connection == 1
        assert await wire.reply(2, 405, [("allow", "POST")])
        assert b"405" in await until(stream, b"\r\n\r\n")
        assert not await wire.reply(2, 200), "it has been answered"


async def test_streams_of_events() -> None:
    async with HttpHost() as host, await dial(host) as stream:
        await stream.send(post(b"{}"))
        wire, text = await heard(host, Text)
        http = cast("HttpWire", wire)
        number = text.exchange
        assert not http.streaming(number)
        assert await http.stream(number, [("x-kit", "1")])
        assert http.streaming(number)
        await http.event(number, b"a\nb", id="7", name="odd", retry=5, comment=" hi")
        await wire.say(b"{}", number)
        await http.write(number, b"data: raw\n\n")
        assert await http.end(number)
        assert not http.open(number)
        found = await until(stream, b"0\r\n\r\n")
        assert b"content-type: text/event-stream" in found.lower()
        assert b": hi\nevent: odd\nid: 7\nretry: 5\ndata: a\ndata: b\n\n" in found
        assert b"data: {}\n\n" in found
        assert b"data: raw\n\n" in found


async def test_heads_made_by_hand_and_cut_exchanges() -> None:
    async with HttpHost() as host:
        async with await dial(host) as stream:
            await stream.send(post(b"{}"))
            wire, text = await heard(host, Text)
            await wire.raw(text.exchange, b"HTTP/1.1 299 Odd\r\n\r\nto the end")
            assert await rest(stream) == b"HTTP/1.1 299 Odd\r\n\r\nto the end"
        async with await dial(host) as stream:
            await stream.send(post(b"{}"))
            wire, text = await heard(host, Text)
            await wire.stream(text.exchange)
            await wire.cut(text.exchange)
            assert b"0\r\n\r\n" not in await rest(stream)


async def test_a_client_that_drops_an_exchange_is_heard() -> None:
    async with HttpHost() as host:
        stream = await dial(host)
        await stream.send(post(b"{}"))
        wire, text = await heard(host, Text)
        await wire.stream(text.exchange)
        await stream.aclose()
        done = (await heard(host, Done))[1]
        assert done.exchange == text.exchange
        assert not done.clean
        assert not await wire.event(text.exchange, b"late")
        await host.drained(PATIENCE)


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on() -> None:
    async with HttpHost() as host, await dial(host) as stream:
        whole = post(b"{}", extra=b"Expect: 100-continue\r\n")
        await stream.send(whole.removesuffix(b"{}"))
        assert b"100" in await until(stream, b"\r\n\r\n")
        await stream.send(b"{}")
        assert (await heard(host, Text))[1].data == b"{}"


async def test_what_is_not_http_is_no_message() -> None:
    async with HttpHost() as host, await dial(host) as stream:
        await stream.send(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert await rest(stream) == b""
        assert host.wire is None


# HTTP+SSE


async def test_a_stream_names_where_to_post() -> None:
    async with SseHost() as host, await dial(host) as down, await dial(host) as up:
        await up.send(post(b"{}", "/sse"))
        assert b" 405 " in await until(up, b"\r\n\r\n")
        assert [each.method for each in host.refused] == ["POST"]
        await down.send(b"GET /sse HTTP/1.1\r\nHost: here\r\n\r\n")
        said = await until(down, b"\n\n")
        assert b"event: endpoint\ndata: /messages?of=1\n" in said
        wire, _ = await heard(host, Came)
        await up.send(post(b'{"b":2}', "/messages?of=1"))
        assert b" 202 " in await until(up, b"\r\n\r\n")
        assert (await heard(host, Text))[1].data == b'{"b":2}'
        await up.send(post(b"{}", "/messages?of=9"))
        assert b" 404 " in await until(up, b"\r\n\r\n")
        await wire.say(b'{"c":3}')
        assert b'event: message\ndata: {"c":3}\n\n' in await until(down, b"}\n\n")
        await down.aclose()
        assert await heard(host, Gone)


async def test_a_case_may_keep_the_endpoint_to_itself() -> None:
    settings = HostSettings(endpoint=None, refuse=1)
    async with SseHost(settings) as host:
        async with await dial(host) as down:
            await down.send(b"GET /sse HTTP/1.1\r\nHost: here\r\n\r\n")
            assert b" 503 " in await until(down, b"\r\n\r\n")
        async with await dial(host) as down:
            await down.send(b"GET /sse HTTP/1.1\r\nHost: here\r\n\r\n")
            wire, _ = await heard(host, Came)
            await wire.finish()
            assert b"endpoint" not in await until(down, b"0\r\n\r\n")


# Lines


@pytest.mark.parametrize("kind", [TcpHost, UnixHost])
async def test_lines_are_messages(kind: type[TcpHost]) -> None:
    async with kind() as host:
        if isinstance(host, UnixHost):
            stream: ByteStream = await anyio.connect_unix(host.address.removeprefix("unix://"))
        else:
            assert host.address == f"tcp://127.0.0.1:{host.port}"
            stream = await dial(host)
        async with stream:
            await stream.send(b'{"a"')
            wire, _ = await heard(host, Came)
            await stream.send(b':1}\n\r\n{"b":2}\r\n{"c"')
            assert (await heard(host, Text))[1].data == b'{"a":1}'
            assert (await heard(host, Text))[1].data == b'{"b":2}\r'
            await wire.say(b"{}")
            assert await until(stream, b"\n") == b"{}\n"
            await wire.cut()
            assert await rest(stream) == b""
        await heard(host, Gone)


async def test_a_socket_leaves_nothing_behind() -> None:
    async with UnixHost() as host:
        path = anyio.Path(host.address.removeprefix("unix://"))
        assert await path.exists()
    assert not await path.parent.exists()


# stdio


@asynccontextmanager
async def relay(host: StdioHost) -> AsyncIterator[tuple[Process, StdioWire]]:
    process = await anyio.open_process(host.command, stderr=subprocess.PIPE)
    try:
        wire, _ = await heard(host, Came)
        yield process, wire
    finally:
        if process.returncode is None:
            process.kill()
        await process.aclose()


def pipes(process: Process) -> tuple[Any, Any, Any]:
    return process.stdin, process.stdout, process.stderr


async def test_a_relay_passes_bytes_on_both_ways() -> None:
    async with StdioHost() as host, relay(host) as (process, wire):
        assert wire.pid == process.pid
        into, out, errors = pipes(process)
        big = b"x" * 300_000
        await into.send(b'{"a":1}\n' + big + b"\n")
        assert (await heard(host, Text))[1].data == b'{"a":1}'
        assert (await heard(host, Text))[1].data == big
        await wire.write(b"\xff\x00\r\n" + big + b"\n")
        found = await until(out, b"x\n")
        assert found == b"\xff\x00\r\n" + big + b"\n"
        await wire.stderr(b"loud\n")
        assert await until(errors, b"\n") == b"loud\n"
        assert wire.alive()


async def test_the_end_of_input_ends_a_relay() -> None:
    async with StdioHost() as host, relay(host) as (process, wire):
        await wire.say(b'{"last":1}')
        into, out, _ = pipes(process)
        await into.aclose()
        assert (await heard(host, Signal))[1].name == "EOF"
        assert await rest(out) == b'{"last":1}\n'
        assert await process.wait() == 0
        await heard(host, Gone)
        assert not wire.alive()


async def test_a_signal_ends_a_relay() -> None:
    async with StdioHost() as host, relay(host) as (process, _):
        process.terminate()
        assert (await heard(host, Signal))[1].name == "SIGTERM"
        assert await process.wait() == -signal.SIGTERM


async def test_a_stubborn_relay_has_to_be_killed() -> None:
    async with StdioHost() as host, relay(host) as (process, wire):
        await wire.stubborn()
        await pipes(process)[0].aclose()
        assert (await heard(host, Signal))[1].name == "EOF"
        process.terminate()
        assert (await heard(host, Signal))[1].name == "SIGTERM"
        assert process.returncode is None
        await wire.say(b"{}")
        assert await until(pipes(process)[1], b"\n") == b"{}\n"
        process.kill()
        await heard(host, Gone)


async def test_a_deaf_relay_leaves_its_input_unread_and_writes_on() -> None:
    async with StdioHost() as host, relay(host) as (process, wire):
        source, sink, _ = pipes(process)
        await wire.deaf(True)
        await wire.say(b"{}")
        assert await until(sink, b"\n") == b"{}\n"
        with anyio.move_on_after(0.2) as scope:
            await source.send(b"x" * 1_000_000)
        assert scope.cancelled_caught, "somebody reads it"
        await wire.deaf(False)
        await source.send(b"\n{}\n")
        _, found = await heard(host, Text)
        assert found.data.strip(b"x") == b""


@pytest.mark.parametrize("status", [0, 3, -signal.SIGKILL, -signal.SIGTERM])
async def test_a_relay_ends_as_it_is_told(status: int) -> None:
    async with StdioHost() as host, relay(host) as (process, wire):
        await wire.say(b'{"before":1}')
        await wire.exit(status)
        assert await rest(pipes(process)[1]) == b'{"before":1}\n'
        assert await process.wait() == status


async def test_a_relay_does_not_outlive_the_kit() -> None:
    async with StdioHost() as host:
        process = await anyio.open_process(host.command)
        wire, _ = await heard(host, Came)
        await wire.stubborn()
    with patience():
        assert await process.wait() == 0
    await process.aclose()


async def test_a_relay_needs_the_token() -> None:
    async with StdioHost() as host:
        command = [*host.command[:-1], "another"]
        process = await anyio.open_process(command, stderr=subprocess.DEVNULL)
        with patience():
            await process.wait()
        await process.aclose()
        assert await host.hear(0) is None


async def test_a_server_may_refuse_to_start() -> None:
    async with StdioHost(HostSettings(refuse=1)) as host:
        process = await anyio.open_process(host.command)
        with patience():
            assert await process.wait() == 1
        await process.aclose()


async def test_how_a_client_is_told_of_a_relay() -> None:
    async with StdioHost() as host:
        server = host.context()["server"]
        assert [server["command"], *server["args"]] == host.command
        assert host.address.startswith("stdio:")
        assert host.command[0] == sys.executable
        assert os.path.isabs(host.command[2]), "wherever the client runs"


# WebSocket


class Browser:
    """The other end of a WebSocket."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.ws = WSConnection(ConnectionType.CLIENT)

    async def say(self, event: Any) -> None:
        await self.stream.send(self.ws.send(event))

    async def hear(self) -> Any:
        with patience():
            while True:
                for event in self.ws.events():
                    return event
                self.ws.receive_data(await self.stream.receive())


@asynccontextmanager
async def browser(
    settings: HostSettings | None = None, offers: tuple[str, ...] = ("chat", "mcp")
) -> AsyncIterator[tuple[WsHost, Browser, Any]]:
    async with WsHost(settings) as host, await dial(host) as stream:
        found = Browser(stream)
        await found.say(Request(host="here", target="/mcp", subprotocols=[*offers]))
        yield host, found, await found.hear()


async def test_a_websocket_is_opened_and_its_head_is_heard() -> None:
    async with browser() as (host, _, opened):
        assert isinstance(opened, AcceptConnection)
        assert opened.subprotocol == "mcp"
        asked = (await heard(host, Asked))[1]
        assert header(asked.headers, "sec-websocket-protocol") == "chat, mcp"
        assert host.address == f"ws://127.0.0.1:{host.port}/mcp"


@pytest.mark.parametrize(
    ("settings", "offers", "selected"),
    [(HostSettings(subprotocol=None), ("mcp",), None), (HostSettings(), ("chat",), None)],
)
async def test_which_subprotocol_is_selected(
    settings: HostSettings, offers: tuple[str, ...], selected: str | None
) -> None:
    async with browser(settings, offers) as (_, _, opened):
        assert opened.subprotocol == selected


async def test_a_subprotocol_may_be_selected_that_was_not_offered() -> None:
    settings = HostSettings(subprotocol="odd", select_anyway=True)
    async with WsHost(settings) as host, await dial(host) as stream:
        await stream.send(Browser(stream).ws.send(Request(host="here", target="/mcp")))
        assert b"Sec-WebSocket-Protocol: odd\r\n" in await until(stream, b"\r\n\r\n")


async def test_an_upgrade_may_be_refused() -> None:
    async with browser(HostSettings(upgrade_status=418)) as (_, _, opened):
        assert isinstance(opened, RejectConnection)
        assert opened.status_code == 418


async def test_frames_both_ways() -> None:
    async with browser() as (host, other, _):
        wire, _ = await heard(host, Came)
        await other.say(TextMessage(data='{"a"', message_finished=False))
        await other.say(TextMessage(data=":1}"))
        assert (await heard(host, Text))[1].data == b'{"a":1}'
        await wire.say("ø".encode() * 40_000)
        said = ""
        while len(said) < 40_000:
            said += (await other.hear()).data
        assert said == "ø" * 40_000
        await wire.frame(9, b"there?")
        assert isinstance(await other.hear(), Ping)
        await other.say(Pong(payload=b"there?"))
        assert (await heard(host, Noise))[1].data == b"there?"
        await other.say(Ping(payload=b"and you?"))
        answer = await other.hear()
        assert isinstance(answer, Pong)
        assert answer.payload == b"and you?"
        await other.say(BytesMessage(data=b"binary"))
        assert (await heard(host, Noise))[1].detail == "a binary frame"


async def test_how_a_websocket_ends() -> None:
    async with browser() as (host, other, _):
        wire, _ = await heard(host, Came)
        await cast("WsWire", wire).shut(1008, "enough")
        event = await other.hear()
        assert isinstance(event, CloseConnection)
        assert (event.code, event.reason) == (1008, "enough")
        await other.say(event.response())
        assert (await heard(host, Gone))[1].code == 1008
    async with browser() as (host, other, _):
        await other.say(CloseConnection(code=1000))
        assert (await heard(host, Gone))[1].code == 1000
    async with browser() as (host, other, _):
        await heard(host, Came)
        await other.stream.send(b"\xff\xff")
        assert "broken frame" in (await heard(host, Noise))[1].detail
    async with browser() as (host, other, _):
        await heard(host, Came)
        await other.stream.aclose()
        assert (await heard(host, Gone))[1].code is None


# All of them


async def test_hosts_say_when_nothing_is_open_any_more() -> None:
    async with TcpHost() as host:
        stream = await dial(host)
        await heard(host, Came)
        before = host.now()
        await host.drained(0.05)
        assert host.now() - before >= 0.05, "it was open"
        await stream.aclose()
        await host.drained(60.0)
        assert host.now() - before < 30.0


def wire_of(found: tuple[HostWire | None, Arrival] | None) -> HostWire | None:
    return None if found is None else found[0]


async def test_what_belongs_to_no_connection_comes_without_a_wire() -> None:
    async with TcpHost() as host:
        host.put(None, Came())
        assert wire_of(await host.hear(PATIENCE)) is None
