"""The HTTP server over real sockets: requests, replies, streams, leaving, and the end."""

import json
import os
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream

from mcpcore import HttpChunk, HttpEnd, HttpHead, HttpRequest, HttpServerSettings, HttpSettings
from mcpcore_transports.http.server.protocol import HttpProtocol
from mcpcore_transports.sockets.unix import listen_unix
from tests.clock import Clock, patience, until
from tests.error_ids import id_of, without_id
from tests.transports.http_fixture import (
    Client,
    Running,
    Tools,
    http,
    initialize,
    link_for,
    server,
    tool,
)
from tests.transports.ways import anyio_backend as anyio_backend

pytestmark = pytest.mark.anyio
LARGE = 16_000_000
"""Bytes of more than the system takes at once."""


# One request after the other


async def test_requests_share_a_connection() -> None:
    async with server() as running:
        client = await running.connect()
        for number in (1, 22, 22, 333):
            response = await client.call(tool("echo", id=number, n=number))
            assert response.status == 200
            assert "connection" not in response.headers
            assert response.json["id"] == number
            assert response.result == json.dumps({"n": number})
        assert running.link.connections == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with server() as running:
        client = await running.connect()
        await client.send(b"".join(tool("echo", id=i, n=i) for i in range(50)))
        assert [(await client.response()).json["id"] for _ in range(50)] == list(range(50))


async def test_requests_that_come_together_after_one_that_came_alone() -> None:
    # By then the head is known, and is looked for where a packet begins.
    async with server() as running:
        client = await running.connect()
        assert (await client.call(tool("echo", id=1))).status == 200
        for whole in (2, 5):
            await client.send(b"".join(tool("echo", id=i) for i in range(whole)))
            assert [(await client.response()).json["id"] for _ in range(whole)] == [*range(whole)]
        await client.send(tool("echo", id=8) + tool("echo", id=9)[:-7])
        assert (await client.response()).json["id"] == 8
        await client.send(tool("echo", id=9)[-7:])
        assert (await client.response()).json["id"] == 9


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_what_is_small_is_sent_at_once() -> None:
    # Nagle's algorithm (RFC 896) would hold an event back until the one before is acknowledged.
    async with server() as running:
        client = await running.connect()
        await client.call(tool("echo"))
        (accepted,) = connected_at(running.port)
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def connected_at(port: int) -> list[socket.socket]:
    """Our ends of the connections to a port of this process, to be closed."""
    own = [int(name) for name in os.listdir("/proc/self/fd")]
    found = []
    for sock in [socket.socket(fileno=os.dup(fd)) for fd in own if _is_socket(fd)]:
        with suppress(OSError):  # one that listens has no peer
            if sock.getsockname()[1:2] == (port,) and sock.getpeername():
                found.append(sock)
                continue
        sock.close()
    return found


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:  # that of the directory that was listed
        return False


async def test_pipelined_requests_wait_for_a_late_reply() -> None:
    async with server() as running:
        client = await running.connect()
        await client.send(tool("wait", id=1) + tool("echo", id=2) + tool("wait", id=3))
        await client.send(tool("echo", id=4))
        for number in (1, 3):
            await running.app.until(lambda: running.app.waiting)
            assert running.app.finish(running.app.waiting.pop())
            assert (await client.response()).json["id"] == number
            assert (await client.response()).json["id"] == number + 1


async def test_who_leaves_after_a_late_reply_is_let_go_at_once() -> None:
    async with server() as running:
        client = await running.connect()
        await client.send(tool("wait", id=1))
        await running.app.until(lambda: running.app.waiting)
        assert running.app.finish(running.app.waiting.pop(), "late")
        assert (await client.response()).result == "late"
        assert (await client.call(tool("echo", id=2))).status == 200
        await client.send(tool("wait", id=3))
        await running.app.until(lambda: running.app.waiting)
        assert running.app.finish(running.app.waiting.pop(), "late again")
        assert (await client.response()).result == "late again"
        await client.stream.send_eof()
        with patience(), pytest.raises(anyio.EndOfStream):
            await client.stream.receive()


async def test_reading_ahead_is_bounded() -> None:
    settings = HttpServerSettings(read_ahead=4096)
    async with server(settings) as running, anyio.create_task_group() as tasks:
        client = await running.connect()
        await client.send(tool("wait", id=0))
        await running.app.until(lambda: running.app.waiting)
        count = 3000
        tasks.start_soon(client.send, b"".join(tool("echo", id=i) for i in range(count)))
        (connection,) = running.link.carriers
        assert isinstance(connection, HttpProtocol)
        other = await running.connect()
        while len(connection._http.buffer) < 4096:
            await other.call(tool("echo"))
        for _ in range(20):
            await other.call(tool("echo"))
        assert len(connection._http.buffer) == 4096
        running.app.finish(running.app.waiting.pop())
        assert (await client.response()).json["id"] == 0
        for i in range(count):
            assert (await client.response()).json["id"] == i


async def test_refusal_reaches_a_client_that_is_still_sending() -> None:
    async with server() as running, anyio.create_task_group() as tasks:
        client = await running.connect()
        data = tool("echo", text="x" * 900_000, headers={"Origin": "http://evil.example"})
        tasks.start_soon(client.send, data[:-1])
        assert (await client.response()).status == 403
        assert await client.closed()  # no reset, which could overtake the reply
        await client.aclose()


async def test_an_answer_is_slow_in_time(clock: Clock) -> None:
    """Not only when the connections are looked at next, which is once in a second."""
    async with server(http=HttpSettings(json_delay=0.05)) as running:
        client = await running.connect()
        for _ in range(2):  # with a head that is not known yet, and with one that is
            await client.send(tool("wait"))
            await running.app.until(lambda: running.app.waiting)
            await clock.skip(0.06)
            running.app.finish(running.app.waiting.pop())
            response = await client.response()
            assert response.headers["content-type"] == "text/event-stream"


async def leave_by_close(client: Client) -> None:
    await client.aclose()


async def leave_by_reset(client: Client) -> None:
    raw = client.stream.extra(anyio.abc.SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    await client.aclose()


@pytest.mark.parametrize("name", ["echo", "wait"])
async def test_half_closed_client_is_answered(name: str) -> None:
    async with server() as running:
        client = await running.connect()
        await client.send(tool(name))
        await client.stream.send_eof()
        if name == "wait":
            await running.app.until(lambda: running.app.waiting)
            assert (await client.response()).status == 102  # nobody can know otherwise
            running.app.finish(running.app.waiting.pop())
        response = await client.final()
        assert response.status == 200
        assert response.headers.get("connection", "close") == "close"
        assert (await client.rest()).replace(b"HTTP/1.1 102 Processing\r\n\r\n", b"") == b""
        assert running.app.cancelled == []


async def test_half_closed_client_gets_a_stream() -> None:
    async with server() as running:
        client = await running.connect()
        await client.send(tool("wait", meta={"progressToken": 1}))
        await client.stream.send_eof()
        assert (await client.response()).status == 102
        running.machine.progress(running.app.waiting[0], 1)
        running.link.flush_soon()
        while (head := await client.head()).status == 102:
            pass
        assert head.headers["content-type"] == "text/event-stream"
        running.app.finish(running.app.waiting.pop())
        assert b'"late"' in await client.rest()


async def test_a_stream_goes_on_when_its_client_half_closes_within_it() -> None:
    async with server(http=HttpSettings(max_queued=LARGE)) as running:
        client = await running.connect()
        await client.send(tool("wait", meta={"progressToken": 1}))
        await running.app.until(lambda: running.app.waiting)
        running.machine.progress(running.app.waiting[0], 1)
        running.app.finish(running.app.waiting.pop(), "x" * LARGE)
        head = await client.head()
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
        await client.stream.send_eof()
        assert (await client.rest()).count(b"x") >= LARGE
        assert running.app.cancelled == []


async def test_application_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async with server() as running:
        client = await running.connect()
        await client.send(tool("crash"))
        other = await running.connect()
        while not caplog.records:
            assert (await other.call(tool("echo"))).status == 200
        assert "the application failed to handle RequestReceived" in caplog.text
        answer = await client.response()
        error = answer.json["error"]
        assert (error["code"], without_id(error["message"])) == (-32603, "Internal error")
        assert f"(error id {id_of(error['message'])})" in caplog.text
        assert running.machine.exchanges == 0
        assert (await client.call(tool("echo"))).status == 200


@pytest.mark.parametrize("late", [False, True])
async def test_machine_that_fails_ends_one_connection(
    late: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with server() as running:
        client, other = await running.connect(), await running.connect()
        assert (await other.call(tool("echo"))).status == 200
        if late:
            await client.send(tool("wait"))
            await running.app.until(lambda: running.app.waiting)

        def fail(*given: object) -> list[HttpHead | HttpChunk | HttpEnd]:
            raise RuntimeError("a mistake")

        with monkeypatch.context() as patch:
            patch.setattr(running.machine, "data_to_send", fail)
            patch.setattr(running.machine, "whole_reply", fail)
            if late:
                running.app.finish(running.app.waiting.pop())
            else:
                await client.send(tool("echo"))
            assert await client.rest() == b""
        while "a connection failed" not in caplog.text:
            assert (await other.call(tool("echo"))).status == 200


async def test_closing_drains_what_is_running() -> None:
    async with server() as running, anyio.create_task_group() as tasks:
        idle, busy, late = [await running.connect() for _ in range(3)]
        for client in (idle, busy, late):
            assert (await client.call(tool("echo"))).status == 200
        await busy.send(tool("wait"))
        await running.app.until(lambda: running.app.waiting)
        tasks.start_soon(running.link.aclose)
        tasks.start_soon(running.link.aclose)
        assert await idle.closed()
        with pytest.raises(OSError, match="connection attempts failed"):
            await running.connect()
        running.app.finish(running.app.waiting.pop())
        response = await busy.response()
        assert (response.status, response.result) == (200, "late")
        assert response.headers["connection"] == "close"
        assert await busy.closed()


async def test_closing_ends_streams_and_sessions() -> None:
    async with server() as running:
        client = await running.connect()
        session = await initialize(client)
        stream = await running.connect()
        accept = {"Accept": "text/event-stream", "Mcp-Session-Id": session}
        await stream.send(http(method="GET", headers=accept))
        assert (await stream.head()).status == 200
        await running.link.aclose()
        assert (await stream.rest()).endswith(b"\r\n0\r\n\r\n")
        assert await client.closed()
        assert running.machine.sessions == 0


async def test_closing_does_not_wait_for_ever() -> None:
    async with server(HttpServerSettings(drain_time=0.05)) as running:
        client = await running.connect()
        await client.send(tool("wait"))
        await running.app.until(lambda: running.app.waiting)
        await running.link.aclose()
        assert await client.closed()
        assert running.app.cancelled == running.app.waiting


async def test_cancelled_server_closes_at_once() -> None:
    async with server() as running:
        app = Tools()
        app.machine = machine = type(running.machine)(
            running.machine._modern.config, secret=b"s" * 32
        )
        app.link = link = link_for(machine, app)
        async with anyio.create_task_group() as tasks:
            addresses = await tasks.start(link.serve)
            client = await Running(app, link, machine, addresses[0][1]).connect()
            running.clients.append(client)
            await client.send(tool("wait"))
            await app.until(lambda: app.waiting)
            tasks.cancel_scope.cancel()
        assert await client.closed()
        assert app.cancelled == app.waiting
        assert (link.connections, machine.exchanges) == (0, 0)
        await link.aclose()


async def test_link_closed_before_it_serves() -> None:
    async with server() as running:
        link = link_for(running.machine, running.app)
        await link.aclose()
        await link.serve()
        assert len(link.addresses) == 1
        with pytest.raises(RuntimeError, match="once"):
            await link.serve()


async def test_several_addresses_share_a_port() -> None:
    async with server() as running, anyio.create_task_group() as tasks:
        link = link_for(running.machine, running.app)
        addresses = await tasks.start(link.serve, ["127.0.0.1", "127.0.0.2"], 0)
        assert [host for host, _ in addresses] == ["127.0.0.1", "127.0.0.2"]
        assert len({port for _, port in addresses}) == 1
        for host, port in addresses:
            client = Client(await anyio.connect_tcp(host, port))
            assert (await client.call(http(method="GET", target="/health"))).status == 200
            await client.aclose()
        await link.aclose()


async def test_listener_made_elsewhere(tmp_path: Path) -> None:
    async with server() as running, anyio.create_task_group() as tasks:
        link = link_for(running.machine, running.app)
        running.app.link = link
        file = await listen_unix(str(tmp_path / "http.sock"))
        addresses = await tasks.start(link.serve_listeners, [file.listener])
        assert addresses == [(str(tmp_path / "http.sock"), 0)]
        client = Client(await anyio.connect_unix(tmp_path / "http.sock"))
        assert (await client.call(tool("echo"))).status == 200
        await client.aclose()
        await link.aclose()


async def test_peer_address_reaches_the_machine() -> None:
    seen: list[HttpRequest] = []

    async def upgrade(stream: ByteStream, request: HttpRequest, rest: bytes) -> bool:
        seen.append(request)
        return False

    async with server(upgrade=upgrade) as running:
        client = await running.connect()
        port = client.stream.extra(anyio.abc.SocketAttribute.local_port)
        headers = {"Upgrade": "h2c", "Connection": "Upgrade"}
        assert (await client.call(tool("echo", headers=headers))).status == 200
        assert seen[0].peer == f"127.0.0.1:{port}"


async def test_upgrade_takes_the_connection() -> None:
    async def upgrade(stream: ByteStream, request: HttpRequest, rest: bytes) -> bool:
        if request.path != "/ws":
            return False
        await stream.send(b"switched " + rest)
        while rest := await stream.receive():
            await stream.send(rest)
        return True

    async with server(upgrade=upgrade) as running:
        client = await running.connect()
        headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
        assert (await client.call(tool("echo", headers=headers))).status == 200
        await client.send(http(method="GET", target="/ws", headers=headers) + b"behind")
        assert await client.exactly(15) == b"switched behind"
        await client.send(b"ping")
        assert await client.exactly(4) == b"ping"
        await client.stream.send_eof()
        assert await client.closed()


SWITCH = http(method="GET", target="/ws", headers={"Upgrade": "x", "Connection": "Upgrade"})


async def test_who_has_left_http_waits_for_a_client_that_does_not_read() -> None:
    sent: list[int] = []

    async def upgrade(stream: ByteStream, request: HttpRequest, rest: bytes) -> bool:
        if request.path != "/ws":
            return False
        for number in range(20):
            await stream.send(b"x" * 1_000_000)
            sent.append(number)
        await stream.send_eof()
        assert await stream.receive() == b"end"
        return True

    async with server(upgrade=upgrade) as running:
        client, other = await running.connect(), await running.connect()
        await client.send(SWITCH)
        while not sent:
            await other.call(tool("echo"))
        for _ in range(50):
            await other.call(tool("echo"))
        assert len(sent) < 20
        received = 0
        while received < 20_000_000:
            received += len(await client.stream.receive())
        assert await client.closed()  # for sending; it still reads
        assert len(sent) == 20
        await client.send(b"end")
        await until(lambda: running.link.connections <= 1)


async def test_who_has_left_http_reads_what_it_wants_to() -> None:
    go_on = anyio.Event()

    async def upgrade(stream: ByteStream, request: HttpRequest, rest: bytes) -> bool:
        if request.path != "/ws":
            return False
        await go_on.wait()
        count = len(rest)
        while count < 20_000_000:
            count += len(await stream.receive(1000 if count < 10_000 else 65536))
        await stream.send(b"%d" % count)
        return True

    async with server(upgrade=upgrade) as running, anyio.create_task_group() as tasks:
        client, other = await running.connect(), await running.connect()
        await client.send(SWITCH)
        done = anyio.Event()

        async def send() -> None:
            await client.send(b"x" * 20_000_000)
            done.set()

        tasks.start_soon(send)
        for _ in range(600):
            await other.call(tool("echo"))
        assert not done.is_set()
        go_on.set()
        assert await client.exactly(8) == b"20000000"


async def test_who_has_left_http_hears_of_a_client_that_is_gone() -> None:
    broken: list[Exception] = []

    async def upgrade(stream: ByteStream, request: HttpRequest, rest: bytes) -> bool:
        try:
            while True:
                await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
            broken.append(error)
        return True

    async with server(upgrade=upgrade) as running:
        for leave in (leave_by_close, leave_by_reset):
            client = await running.connect()
            await client.send(SWITCH + b"some")
            await until(lambda: running.link.connections)
            await leave(client)
            await until(lambda: not running.link.connections)
        assert len(broken) == 2


async def test_nothing_is_left_when_everybody_leaves() -> None:
    with patience():
        async with server() as running:
            for _ in range(20):
                client = await running.connect()
                await client.send(tool("wait"))
                await client.aclose()
            while running.machine.exchanges or running.link.connections > 1:
                await (client := await running.connect()).call(tool("echo"))
                await client.aclose()
