"""TCP, TLS and Unix sockets: what a server does about whoever connects, spoken by hand."""

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute

from mcpcore import BadTarget, ConnectionSettings, Context, HttpServerSettings, Server
from mcpcore.http.messages import HttpRequest
from mcpcore.http.principals import Principal, Refusal
from mcpcore_transports.http.client.protocol import transport_of
from mcpcore_transports.link import STREAM_ERRORS
from mcpcore_transports.serve.serve import ServeSettings, serve
from mcpcore_transports.stream.plain import keep_alive, socket_of
from mcpcore_transports.stream.settings import Caller, SocketSettings
from mcpcore_transports.tls import client_tls, server_tls
from tests.clock import PATIENCE, patience
from tests.more_time import with_more_time
from tests.transports.certificates import papers
from tests.transports.malformed import META, good, request
from tests.transports.served import ANY_PORT, Served, served
from tests.transports.wire import Lines

pytestmark = pytest.mark.anyio

BINDINGS = ["tcp", "tls", "unix"]


class Counting(Server):
    """``count`` counts its calls, ``wait`` waits for ``go``, ``large`` gives much text."""

    def __init__(self) -> None:
        super().__init__("counting")
        self.calls = 0
        self.running = 0
        self.go, self.started = anyio.Event(), anyio.Event()
        self.add_tool(self._count, "count")
        self.add_tool(self._wait, "wait")
        self.add_tool(self._large, "large")
        self.add_tool(self._who, "who")

    def _count(self) -> str:
        self.calls += 1
        return str(self.calls)

    async def _wait(self) -> str:
        self.started.set()
        self.running += 1
        try:
            await self.go.wait()
        finally:
            self.running -= 1
        return "went"

    def _large(self, size: int) -> str:
        self.calls += 1
        return "x" * size

    def _who(self, context: Context) -> str:
        return str(context.principal)


def call(name: str, id: Any = 7, /, **arguments: Any) -> bytes:
    return request("tools/call", {"name": name, "arguments": arguments, "_meta": META}, id=id)


def text_of(message: dict[str, Any]) -> str:
    return str(message["result"]["content"][0]["text"])


class Place:
    """A server on one binding, and the way to it."""

    def __init__(self, binding: str, state: Served, server: Counting) -> None:
        self.binding, self.state, self.server = binding, state, server

    async def connect(self) -> Any:
        """A stream to it."""
        if self.binding == "unix":
            return await anyio.connect_unix(self.state.url.removeprefix("unix://"))
        if self.binding == "tcp":
            return await anyio.connect_tcp("127.0.0.1", self.state.port)
        context = client_tls(ca=papers().trusted.file, cert=papers().client)
        return await anyio.connect_tcp(
            "127.0.0.1", self.state.port, ssl_context=context, tls_hostname="localhost"
        )


@asynccontextmanager
async def place(binding: str, folder: Path, **settings: Any) -> AsyncIterator[Place]:
    server = Counting()
    options: dict[str, Any] = (
        {"unix": str(folder / "s")} if binding == "unix" else {"tcp": ANY_PORT}
    )
    context = server_tls(papers().server, client_ca=papers().trusted.file)
    made = ServeSettings(
        socket=SocketSettings(**settings), ssl_context=context if binding == "tls" else None
    )
    async with served(server, settings=made, **options) as state:
        assert state.url.startswith(f"{binding}://")
        yield Place(binding, state, server)


@asynccontextmanager
async def talking(
    binding: str, folder: Path, **settings: Any
) -> AsyncIterator[tuple[Place, Any, Lines]]:
    """A server, a stream to it, and the same by lines."""
    async with place(binding, folder, **settings) as site, await site.connect() as stream:
        yield site, stream, Lines(stream)


async def rest(stream: Any) -> bytes:
    """What comes until the end."""
    data = b""
    with patience():
        try:
            while True:
                data += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return data


@pytest.mark.parametrize(
    "first", [b"not json\n", b"GETTING\n", b"\n \n\t\n", b"[]\n", b'"GET /"\n']
)
async def test_what_is_no_message_but_no_other_protocol_either(
    first: bytes, tmp_path: Path
) -> None:
    async with talking("tcp", tmp_path) as (_, stream, lines):
        await stream.send(first)
        if first.strip():
            assert (await lines.message())["error"]["code"] in (-32700, -32600)
        await lines.send(good(1))
        assert (await lines.message())["id"] == 1


@pytest.mark.parametrize("binding", ["tcp", "tls"])
async def test_who_is_gone_before_being_accepted_is_no_failure(
    binding: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with place(binding, tmp_path) as site:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", site.state.port)) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        async with await site.connect() as stream:
            await Lines(stream).send(good(1))
            assert (await Lines(stream).message())["id"] == 1
    assert caplog.records == []


@pytest.mark.parametrize("binding", ["tcp", "unix"])
async def test_a_client_that_does_not_read_is_not_read_from(binding: str, tmp_path: Path) -> None:
    pump = ConnectionSettings(queued=64 * 1024, stall=0.5, read_size=4096)
    line = call("large", size=100_000) + b"\n"
    async with place(binding, tmp_path, connection=pump) as site:
        family = socket.AF_UNIX if binding == "unix" else socket.AF_INET
        path = site.state.url.removeprefix("unix://")
        with socket.socket(family) as sock:
            sock.connect(path if binding == "unix" else ("127.0.0.1", site.state.port))
            sock.setblocking(False)
            sent = 0
            with patience(), suppress(ConnectionError):
                while True:
                    await anyio.wait_writable(sock)
                    sent += sock.send(line * 100)
        # Buffers of the system are some MB at most, and requests are small beside their answers.
        assert site.server.calls < 150 < sent / len(line)


ATTACK = b"\n".join(call("count", number) for number in range(9))
FOREIGN = {
    "post": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\r\n" + ATTACK,
        b"HTTP/1.1 400",
    ),
    "get": (b"GET /%0A HTTP/1.1\r\n\r\n", b"HTTP/1.1 400"),
    "blank first": (b"\r\n \nPOST / HTTP/1.1\r\n\r\n" + ATTACK, b"HTTP/1.1 400"),
    "http2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + ATTACK, b"HTTP/1.1 400"),
    "short": (b"GET /\n" + ATTACK, b"HTTP/1.1 400"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\n" + ATTACK, b""),
    "stun": (b"\x00\x01\x00\x08\x21\x12\xa4\x42" + b"\n" * 12 + ATTACK, b""),
}


@pytest.mark.parametrize("pieces", ["at once", "byte by byte"])
@pytest.mark.parametrize("name", FOREIGN)
async def test_other_protocols_are_refused_before_anything_is_done(
    name: str, pieces: str, tmp_path: Path
) -> None:
    data, answer = FOREIGN[name]
    cut = 1 if pieces == "byte by byte" else len(data)
    async with place("tcp", tmp_path) as site, await site.connect() as stream:
        with suppress(anyio.BrokenResourceError):  # it is closed already
            for start in range(0, 60, cut):
                await stream.send(data[start : start + cut])
            await stream.send(data[60:] + b"\n" + ATTACK + b"\n")
        said = await rest(stream)
        assert said.startswith(answer)
        assert b"jsonrpc" not in said
        assert site.server.calls == 0


@pytest.mark.parametrize("binding", ["tls", "unix"])
async def test_http_is_refused_on_every_binding(binding: str, tmp_path: Path) -> None:
    async with place(binding, tmp_path) as site, await site.connect() as stream:
        await stream.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + ATTACK)
        assert (await rest(stream)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert site.server.calls == 0


async def test_what_began_like_http_and_ended_is_refused_too(tmp_path: Path) -> None:
    async with place("tcp", tmp_path) as site, await site.connect() as stream:
        await stream.send(b"GET /")
        await stream.send_eof()
        assert (await rest(stream)).startswith(b"HTTP/1.1 400")


async def test_http_in_a_later_line_is_a_malformed_line(tmp_path: Path) -> None:
    async with talking("tcp", tmp_path) as (_, _, lines):
        await lines.send(good(1), b"GET / HTTP/1.1", good(2))
        seen = [await lines.message() for _ in range(3)]
        assert [each.get("id") for each in seen] == [1, None, 2]


TRUNCATED = (
    b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error: the text is truncated"}}\n'
)


@pytest.mark.parametrize("binding", ["tcp", "unix"])
@pytest.mark.parametrize("limit", ["connections", "connections_per_client"])
async def test_too_many_connections(limit: str, binding: str, tmp_path: Path) -> None:
    async with place(binding, tmp_path, **{limit: 2}) as site:
        first, second = [await site.connect() for _ in range(2)]
        for stream in (first, second):
            await Lines(stream).send(good(1))
            await Lines(stream).message()
        for _ in range(3):
            async with await site.connect() as third:
                refused = json.loads(await rest(third))
                assert refused["error"]["code"] == -32000
                assert "too many connections" in refused["error"]["message"]
        lines = Lines(second)
        await lines.send(good(2))
        assert (await lines.message())["id"] == 2
        await first.aclose()
        with patience():
            while True:
                async with await site.connect() as fourth:
                    await Lines(fourth).send(good(3))
                    if (await Lines(fourth).message()).get("id") == 3:
                        break
        await second.aclose()


async def test_too_many_connections_over_tls(tmp_path: Path) -> None:
    async with talking("tls", tmp_path, connections=1) as (site, _, lines):
        await lines.send(good(1))
        await lines.message()
        with pytest.raises((OSError, *STREAM_ERRORS)):
            await site.connect()
        await lines.send(good(2))
        assert (await lines.message())["id"] == 2


async def _says_no_tls(port: int) -> None:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(good(1) + b"\n")
        await rest(stream)


async def _goes_within_the_handshake(port: int) -> None:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(b"\x16\x03\x01\x00\xff\x01")


async def _does_not_trust_the_server(port: int) -> None:
    with pytest.raises(ssl.SSLError):
        await anyio.connect_tcp(
            "127.0.0.1", port, ssl_context=client_tls(), tls_hostname="localhost"
        )


@pytest.mark.parametrize(
    "fail", [_says_no_tls, _goes_within_the_handshake, _does_not_trust_the_server]
)
async def test_a_handshake_that_fails_leaves_its_room_to_others(
    fail: Callable[[int], Awaitable[None]], tmp_path: Path
) -> None:
    """... who may come while it is still being taken leave of, and then come again."""
    async with place("tls", tmp_path, connections_per_client=1) as site:
        await fail(site.state.port)
        with patience():
            while True:
                with suppress(OSError, *STREAM_ERRORS):
                    async with await site.connect() as other:
                        await Lines(other).send(good(2))
                        assert (await Lines(other).message())["id"] == 2
                        return


@pytest.mark.parametrize(
    ("said", "setting"),
    [(b"", "first_time"), (b" \n", "first_time"), (b'{"jsonrpc"', "message_time")],
)
async def test_who_says_nothing_is_not_waited_for(
    said: bytes, setting: str, tmp_path: Path
) -> None:
    async with place("tcp", tmp_path, **{setting: 0.05}) as site, await site.connect() as stream:
        if said:
            await stream.send(said)
        assert await rest(stream) == (TRUNCATED if said.strip() else b"")


async def test_half_a_message_after_whole_ones_is_not_waited_for(tmp_path: Path) -> None:
    async with place("tcp", tmp_path, message_time=0.1) as site, await site.connect() as stream:
        await stream.send(good(1) + b"\n" + good(2)[:10])
        first, second = (await rest(stream)).splitlines(keepends=True)
        assert (json.loads(first)["id"], second) == (1, TRUNCATED)


@pytest.mark.parametrize("binding", BINDINGS)
async def test_an_idle_connection_ends_and_a_busy_one_does_not(
    binding: str, tmp_path: Path
) -> None:
    pump = ConnectionSettings(drain=0.01)  # so that an end leaves the call no time

    async def attempt(seconds: float) -> None:
        folder = tmp_path / str(seconds)
        folder.mkdir()
        async with talking(binding, folder, idle_time=seconds, connection=pump) as (site, _, lines):
            await lines.send(call("wait"))
            async with await site.connect() as other:
                await Lines(other).send(good(1))
                assert len((await rest(other)).splitlines()) == 1  # it has been idle, and ended
            site.server.go.set()
            assert text_of(await lines.message()) == "went"
            await lines.end()

    await with_more_time(attempt, 0.1, 6.0)  # what is sent has to arrive in it


async def test_a_handshake_that_does_not_come(tmp_path: Path) -> None:
    async with (
        place("tls", tmp_path, handshake_time=0.05) as site,
        await anyio.connect_tcp("127.0.0.1", site.state.port) as stream,
    ):
        assert await rest(stream) == b""


def test_silent_peers_are_looked_after() -> None:
    with socket.socket() as sock:
        keep_alive(sock, 77.0)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    with socket.socket() as sock:
        keep_alive(sock, None)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
async def test_other_machines_need_tls(address: str) -> None:
    with pytest.raises(BadTarget, match="insecure"):
        await serve(Counting(), tcp=address)
    for settings in (
        ServeSettings(socket=SocketSettings(insecure=True)),
        ServeSettings(ssl_context=server_tls(papers().server)),
    ):
        async with served(Counting(), tcp=address, settings=settings) as state:
            assert state.url.startswith("tls" if settings.ssl_context else "tcp")


async def test_every_address_of_a_host() -> None:
    async with (
        served(Counting(), tcp="localhost:0") as state,
        await anyio.connect_tcp("127.0.0.1", state.port) as stream,
    ):
        await Lines(stream).send(good(1))
        assert (await Lines(stream).message())["id"] == 1


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("binding", BINDINGS)
async def test_who_connects_is_known_to_handlers(binding: str, wait: bool, tmp_path: Path) -> None:
    seen: list[Caller] = []

    def look(caller: Caller) -> Principal | Refusal:
        seen.append(caller)
        return Principal(f"{caller.scheme} {caller.uid} {caller.certificate is not None}")

    async def look_later(caller: Caller) -> Principal | Refusal:
        await anyio.lowlevel.checkpoint()
        return look(caller)

    hook = look_later if wait else look
    async with talking(binding, tmp_path, authenticate=hook) as (_, _, lines):
        await lines.send(call("who"), call("who")[:-1])
        uid = os.getuid() if binding == "unix" else None
        assert text_of(await lines.message()) == f"{binding} {uid} {binding == 'tls'}"
        assert "error" in await lines.message()  # of the line that was cut
        [caller] = seen
        if binding == "unix":
            assert (caller.gid, caller.pid) == (os.getgid(), os.getpid())
        else:
            assert (caller.peer or "").startswith("127.0.0.1:")
        if caller.certificate is not None:
            assert ("email", "client@example.com") in caller.certificate.names


@pytest.mark.parametrize("binding", BINDINGS)
async def test_who_connects_without_a_hook(binding: str, tmp_path: Path) -> None:
    async with talking(binding, tmp_path) as (_, _, lines):
        await lines.send(call("who"))
        expected = f"uid:{os.getuid()}" if binding == "unix" else "None"
        assert text_of(await lines.message()) == expected


@pytest.mark.parametrize("how", ["refuse", "raise", "late", "nonsense"])
@pytest.mark.parametrize("binding", BINDINGS)
async def test_who_is_refused_is_told(how: str, binding: str, tmp_path: Path) -> None:
    async def refuse(caller: Caller) -> Any:
        if how == "raise":
            raise RuntimeError("the directory is away")
        if how == "late":
            await anyio.sleep_forever()
        return Refusal(message="go away") if how == "refuse" else "ann"

    settings: dict[str, Any] = {"authenticate": refuse, "authenticate_time": 0.05}
    async with place(binding, tmp_path, **settings) as site, await site.connect() as stream:
        with suppress(anyio.BrokenResourceError):
            await stream.send(ATTACK + b"\n")
        said = await rest(stream)
        assert said.count(b"\n") == 1
        assert (json.loads(said)["error"]["message"] == "go away") == (how == "refuse")
        assert site.server.calls == 0


class Table(dict[str, Principal]):
    """A hook that is false, as nobody is in it."""

    def __call__(self, request: HttpRequest) -> Principal:
        return self[request.path]


@pytest.mark.parametrize("hook", [lambda request: Principal("ann"), Table()])
async def test_authentication_of_http_is_not_got_round_by_tcp(hook: Any) -> None:
    link = HttpServerSettings(authenticate=hook)
    with pytest.raises(BadTarget, match="authenticate"):
        await serve(Counting(), tcp=ANY_PORT, settings=ServeSettings(http_link=link))


@pytest.mark.parametrize("binding", BINDINGS)
async def test_stopping_answers_what_runs_and_takes_nothing_new(
    binding: str, tmp_path: Path
) -> None:
    pump = ConnectionSettings(drain=20.0)
    async with talking(binding, tmp_path, connection=pump) as (site, stream, lines):
        await lines.send(call("wait"))
        await site.server.started.wait()
        site.state.stop.set()
        with patience(), suppress(OSError, *STREAM_ERRORS):
            while True:
                async with await site.connect():
                    await anyio.lowlevel.checkpoint()
        site.server.go.set()
        assert text_of(await lines.message()) == "went"
        await lines.end()
        await stream.aclose()
        await site.state.ended.wait()


PROGRAM = """
import sys
from mcpcore.http.principals import Principal, Refusal
from mcpcore.service import Server
from mcpcore_transports.serve.serve import run

server = Server("program")

@server.tool
def hello() -> str:
    return "hello"

run(server, tcp="127.0.0.1:0", unix=sys.argv[1], backend=sys.argv[2],
    on_listening=lambda url: print(url, flush=True))
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_whole_program(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), backend], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        urls = [process.stdout.readline().strip() for _ in range(2)]
        assert urls[1] == f"unix://{path}"
        port = int(urls[0].rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock,
            socket.socket(socket.AF_UNIX) as other,
        ):
            other.connect(str(path))
            for each in (sock, other):
                each.sendall(call("hello") + b"\n")
                assert text_of(json.loads(each.makefile().readline())) == "hello"
            process.terminate()
            assert process.wait(PATIENCE) == 0
    assert not path.exists()


async def test_tls_says_that_it_ends(tmp_path: Path) -> None:
    """A connection that is cut must look different from one that was ended."""
    async with place("tls", tmp_path) as site:
        context = client_tls(ca=papers().trusted.file, cert=papers().client)

        def ask() -> bytes:
            with (
                socket.create_connection(("127.0.0.1", site.state.port), timeout=PATIENCE) as raw,
                context.wrap_socket(
                    raw, server_hostname="localhost", suppress_ragged_eofs=False
                ) as sock,
            ):
                sock.sendall(good(1) + b"\n")
                first = sock.recv(65536)
                anyio.from_thread.run_sync(site.state.stop.set)
                try:
                    while more := sock.recv(65536):
                        first += more
                except ssl.SSLError as error:  # pragma: no cover - the failure
                    return repr(error).encode()
                return first

        said = await anyio.to_thread.run_sync(ask)
        assert json.loads(said)["id"] == 1


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
def test_a_lost_connection_tells_nothing_of_its_socket_and_breaks_nothing(backend: str) -> None:
    """That of uvloop has no socket any more, of which anyio asks everything at once."""
    if backend == "uvloop":
        pytest.importorskip("uvloop")

    async def lost() -> None:
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, lambda stream: stream.aclose())
            port = listener.extra(SocketAttribute.local_port)
            stream = await anyio.connect_tcp("127.0.0.1", port)
            await stream.aclose()
            assert transport_of(stream) is None
            if backend == "uvloop":
                with pytest.raises(anyio.BrokenResourceError):
                    socket_of(stream)
            else:
                assert socket_of(stream).fileno() == -1
            group.cancel_scope.cancel()

    anyio.run(lost, backend_options={"use_uvloop": backend == "uvloop"})
