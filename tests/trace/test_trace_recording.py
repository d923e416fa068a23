"""Every driver records what goes over it: the same on both sides, and no secret."""

import gzip
import json
import logging
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketStream

from mcpcore.engine.config import Role
from mcpcore.engine.peer import Peer
from mcpcore.errors import NegotiationError
from mcpcore.trace.format import TO_CLIENT, TO_SERVER
from mcpcore_conformance.launch import serving
from mcpcore_conformance.trace.check import check
from mcpcore_transports.client.client import connect
from mcpcore_transports.memory import MemoryPair
from mcpcore_transports.serve.serve import serve
from mcpcore_transports.targets import HttpTarget, MemoryTarget, WebSocketTarget
from mcpcore_transports.tracing.tracing import Trace, TraceSettings
from tests.faults.cutting import listening
from tests.trace.recorded import (
    ERAS,
    SECRET,
    answering,
    converse,
    counted,
    loaded,
    messages,
    records,
    said,
    server,
)
from tests.transports.served import served
from tests.warm import PYTHON

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("warm_programs")]

ROOT = Path(__file__).parents[2]
HEADERS = {"Authorization": f"Bearer {SECRET}", "X-Api-Key": SECRET, "Cookie": f"sid={SECRET}"}


def bindings(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        "http": {"http": "127.0.0.1:0"},
        "websocket": {"ws": "127.0.0.1:0"},
        "sse": {"sse": "127.0.0.1:0"},
        "tcp": {"tcp": "127.0.0.1:0"},
        "unix": {"unix": str(folder / "s")},
    }


def reached(url: str) -> Any:
    if url.startswith("http"):
        return HttpTarget(f"{url}?key={SECRET}", HEADERS)
    if url.startswith("ws"):
        return WebSocketTarget(f"{url}?key={SECRET}", HEADERS)
    return url


@pytest.mark.parametrize("revision", ERAS)
@pytest.mark.parametrize("binding", ["http", "websocket", "sse", "tcp", "unix"])
async def test_over_sockets(binding: str, revision: str, tmp_path: Path) -> None:
    if binding == "sse" and revision == ERAS[1]:
        pytest.skip("HTTP+SSE has no modern era")
    theirs, ours = tmp_path / "server.jsonl", tmp_path / "client.jsonl"
    async with (
        served(server, trace=theirs, **bindings(tmp_path)[binding]) as state,
        connect(reached(state.url), revision=revision, trace=ours, callbacks=answering()) as client,
    ):
        await converse(client)
    await state.ended.wait()
    client_side, server_side = loaded(ours), loaded(theirs)
    assert (client_side.header.side, server_side.header.side) == ("client", "server")
    assert counted(client_side) == counted(server_side)
    assert len(messages(client_side)) > 8
    opened = {"sse": "http"}.get(binding, binding)
    for trace in (client_side, server_side):
        assert opened in [record.binding for record in records(trace, "opened")]
        assert check(trace) == []
        echoed = next(r for r in messages(trace) if r.text and "api_key" in r.text)
        assert "params.arguments.api_key" in echoed.redactions
        assert "täglich" in str(echoed.text)
    if binding in ("http", "websocket"):
        for trace in (client_side, server_side):
            head = records(trace, "http-request")[0]
            assert {"header authorization", "header x-api-key", "header cookie", "query key"} <= {
                *head.redactions
            }


@pytest.mark.parametrize("revision", ERAS)
async def test_over_stdio(revision: str, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "server.jsonl", tmp_path / "client.jsonl"
    words = ["-m", "mcpcore_transports.commands.main", "serve", "tests.trace.recorded", "--stdio"]
    command = [sys.executable, *words, "--trace", str(theirs)]
    async with connect(command, revision=revision, trace=ours, callbacks=answering()) as client:
        await converse(client)
    client_side, server_side = loaded(ours), loaded(theirs)
    assert said(client_side) == said(server_side)
    for trace in (client_side, server_side):
        assert [record.binding for record in records(trace, "opened")] == ["stdio"]
        assert len(records(trace, "closed")) == 1
        assert check(trace) == []


@pytest.mark.parametrize("wire", [False, True])
@pytest.mark.parametrize("revision", ERAS)
async def test_in_memory(revision: str, wire: bool, tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    target = MemoryTarget(server, wire=wire)
    async with connect(target, revision=revision, trace=file, callbacks=answering()) as client:
        await converse(client)
    trace = loaded(file)
    assert [record.binding for record in records(trace, "opened")] == ["memory"]
    assert {*said(trace)} == {TO_SERVER, TO_CLIENT}
    assert check(trace) == []


@pytest.mark.parametrize("wire", [False, True])
def test_a_pair_without_an_event_loop(
    wire: bool, tmp_path: Path, pair: Callable[[], tuple[Peer, Peer]]
) -> None:
    class Deaf:
        def handle(self, event: object) -> None:
            pass

    client, other = pair()
    with Trace(tmp_path / "pair.jsonl") as trace:
        recorder = trace.connection("client")
        both = MemoryPair(client, Deaf(), other, Deaf(), wire=wire, trace=recorder)
        client.start(now=0.0)
        both.pump(0.0)
        client.request("ping", now=0.0)
        both.pump(0.0)
    kinds = [(r.kind, r.direction) for r in messages(loaded(tmp_path / "pair.jsonl"))]
    assert kinds == [
        ("request", TO_SERVER),
        ("result", TO_CLIENT),
        ("notification", TO_SERVER),
        ("request", TO_SERVER),
        ("result", TO_CLIENT),
    ]


@pytest.fixture
def pair() -> Callable[[], tuple[Peer, Peer]]:
    from mcpcore.engine.config import Config, Negotiation
    from mcpcore.spec.types.base import Implementation
    from mcpcore.spec.types.capabilities import ClientCapabilities, ServerCapabilities

    def make() -> tuple[Peer, Peer]:
        info = Implementation(name="x", version="1")
        ours = Config(info=info, capabilities=ClientCapabilities(), negotiation=Negotiation.LEGACY)
        theirs = Config(info=info, capabilities=ServerCapabilities())
        return Peer(Role.CLIENT, ours), Peer(Role.SERVER, theirs)

    return make


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("revision", ERAS)
@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_under_asgi(revision: str, scheme: str, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "server.jsonl", tmp_path / "client.jsonl"
    command = [*PYTHON, "-m", "tests.trace.asgi_recorded", str(theirs)]
    with serving(command) as urls:
        url = urls[0].replace("http:", f"{scheme}:", 1)
        target = reached(url)
        async with connect(target, revision=revision, trace=ours, callbacks=answering()) as client:
            await converse(client)
    client_side, server_side = loaded(ours), loaded(theirs)
    assert counted(client_side) == counted(server_side)
    assert "header authorization" in records(server_side, "http-request")[0].redactions
    for trace in (client_side, server_side):
        assert check(trace) == []


@pytest.mark.parametrize("revision", ERAS)
async def test_over_a_client_of_the_users_own(revision: str, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "server.jsonl", tmp_path / "client.jsonl"
    async with (
        served(server, trace=theirs) as state,
        httpx.AsyncClient() as http,
        connect(
            HttpTarget(state.url, HEADERS),
            revision=revision,
            trace=ours,
            callbacks=answering(),
            http_client=http,
        ) as client,
    ):
        await converse(client)
    client_side, server_side = loaded(ours), loaded(theirs)
    assert counted(client_side) == counted(server_side)
    for trace in (client_side, server_side):
        assert "header authorization" in records(trace, "http-request")[0].redactions
        assert check(trace) == []


@pytest.mark.parametrize("own_client", [False, True])
async def test_what_was_compressed_is_recorded_as_it_was_meant(
    own_client: bool, tmp_path: Path
) -> None:
    answer = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "ei, ei"}}
    body = gzip.compress(json.dumps(answer).encode())
    head = (
        "HTTP/1.1 400 Bad\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )

    async def respond(stream: SocketStream) -> None:
        async with stream:
            came = b""
            while b"server/discover" not in came.partition(b"\r\n\r\n")[2]:
                came += await stream.receive()
            await stream.send(head.encode() + body)

    file = tmp_path / "client.jsonl"
    async with listening(respond) as port, httpx.AsyncClient() as http:
        with pytest.raises(NegotiationError):
            async with connect(
                f"http://127.0.0.1:{port}/mcp",
                revision="2026-07-28",
                trace=file,
                http_client=http if own_client else None,
            ):
                pytest.fail("it was opened")
    told = [record for record in messages(loaded(file)) if record.direction == TO_CLIENT]
    assert [json.loads(str(record.text)) for record in told] == [answer]
    assert told[0].kind == "error"


# What is no message


def exchanged(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while part := sock.recv(4096):
            answer += part
        return answer


async def test_what_is_no_request_is_recorded_as_it_came(tmp_path: Path) -> None:
    file = tmp_path / "server.jsonl"
    async with served(server, trace=file) as state:
        head = (
            f"NONSENSE /mcp?k={SECRET}\r\nauthorization: Bearer {SECRET}\r\n"
            f"Cookie: a=b; sid={SECRET}\r\nX-Api-Key:{SECRET}\r\nhost\r\n\r\n"
        )
        answer = await anyio.to_thread.run_sync(exchanged, state.port, head.encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    trace = loaded(file)
    (found,) = records(trace, "invalid")
    assert str(found.text).startswith("NONSENSE /mcp?k=<hidden-1>\r\nauthorization:")
    assert len(found.redactions) == 4
    assert [r.status for r in records(trace, "http-response")] == [400]
    assert records(trace, "http-body")[0].text


async def test_a_body_that_is_no_json_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "server.jsonl"
    async with served(server, trace=file) as state, httpx.AsyncClient() as http:
        headers = {"accept": "application/json, text/event-stream"}
        answer = await http.post(
            state.url, content=b'{"a":\xff', headers={**headers, "content-type": "application/json"}
        )
    assert answer.status_code == 400
    trace = loaded(file)
    (found,) = [r for r in records(trace, "invalid") if r.direction == TO_SERVER]
    assert found.data == b'{"a":\xff'
    assert [r.kind for r in messages(trace)] == ["invalid", "error"]


async def test_lines_that_are_no_messages_are_recorded(tmp_path: Path) -> None:
    file = tmp_path / "server.jsonl"
    async with served(server, trace=file, tcp="127.0.0.1:0") as state:
        port = int(state.url.rpartition(":")[2])
        await anyio.to_thread.run_sync(exchanged, port, b'{"a":1}\nhello\n\xff\xfe\n{"half')
    trace = loaded(file)
    came = [record.payload for record in messages(trace) if record.direction == TO_SERVER]
    assert came == [b'{"a":1}', b"hello", b"\xff\xfe", b'{"half']


async def test_frames_of_a_websocket_are_recorded(tmp_path: Path) -> None:
    import wsproto.connection
    from wsproto.events import BytesMessage, CloseConnection, Ping, Request

    file = tmp_path / "server.jsonl"

    def talk(port: int) -> None:
        ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        protocols = ["mcp", f"mcp.auth.{SECRET}"]
        with socket.create_connection(("127.0.0.1", port)) as sock:
            request = Request(host="127.0.0.1", target="/mcp", subprotocols=protocols)
            sock.sendall(ws.send(request))
            ws.receive_data(sock.recv(4096))
            [*ws.events()]
            sock.sendall(ws.send(Ping(b"p1")) + ws.send(BytesMessage(b"\x00\xff")))
            while part := sock.recv(4096):
                ws.receive_data(part)
                for event in ws.events():
                    if isinstance(event, CloseConnection):
                        sock.sendall(ws.send(event.response()))

    async with served(server, trace=file, ws="127.0.0.1:0") as state:
        await anyio.to_thread.run_sync(talk, state.port)
    trace = loaded(file)
    kinds = [(r.kind, r.direction, r.payload) for r in records(trace, "ping", "pong", "binary")]
    assert ("ping", TO_SERVER, b"p1") in kinds
    (refused,) = records(trace, "binary")  # it is masked: secrets could not be found in it
    assert refused.direction == TO_SERVER
    assert refused.data is None
    assert str(refused.text).endswith(" bytes: messages are text frames")
    closes = {(r.direction, r.status) for r in records(trace, "close")}
    assert (TO_CLIENT, 1003) in closes
    head, answer = records(trace, "http-request")[0], records(trace, "http-response")[0]
    assert "header sec-websocket-protocol" in head.redactions
    assert answer.status == 101


async def test_a_refused_websocket_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "server.jsonl"
    async with served(server, trace=file, ws="127.0.0.1:0") as state, httpx.AsyncClient() as http:
        url = state.url.replace("ws:", "http:")
        upgrade = {
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            "origin": "https://evil.example",
        }
        answer = await http.get(url, headers=upgrade)
    assert answer.status_code == 403
    trace = loaded(file)
    assert [r.status for r in records(trace, "http-response")] == [403]


# Bounds, and what goes wrong


async def test_secrets_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    with Trace(file, settings=TraceSettings(secrets=True)) as trace:
        async with (
            served(server) as state,
            connect(HttpTarget(state.url, HEADERS), trace=trace) as client,
        ):
            await client.call_tool("echo", {"text": "x", "api_key": SECRET})
    raw = file.read_text()
    assert raw.count(SECRET) > 3
    assert '"redacted":false' in raw.splitlines()[0]


async def test_long_messages_are_cut_and_say_so(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    with Trace(file, settings=TraceSettings(record_size=1000, held_size=5000)) as trace:
        async with connect(MemoryTarget(server, wire=True), trace=trace) as client:
            await client.call_tool("echo", {"text": "x" * 3000})
            await client.call_tool("echo", {"text": "y " * 5000})
    read = loaded(file)
    cut = [record for record in messages(read) if record.cut]
    assert len(cut) == 4
    assert all(len(record.payload) <= 1000 for record in messages(read))
    assert [record.method for record in cut if record.direction == TO_SERVER] == [
        "tools/call",
        None,
    ]
    assert check(read) == []


async def test_a_full_trace_says_so_and_ends(tmp_path: Path) -> None:
    file = tmp_path / "client.jsonl"
    with Trace(file, settings=TraceSettings(file_size=4000)) as trace:
        async with connect(MemoryTarget(server), trace=trace) as client:
            for _ in range(50):
                await client.call_tool("echo", {"text": "x" * 100})
    assert file.stat().st_size < 4300
    read = loaded(file)
    assert read.entries[-1].record.kind == "full"
    assert len(records(read, "full")) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
async def test_a_disk_that_is_full_ends_the_trace_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with connect(MemoryTarget(server), trace="/dev/full") as client:
            result = await client.call_tool("echo", {"text": "x"})
            assert not result.is_error
    said = [record.message for record in caplog.records if "trace ends here" in record.message]
    assert len(said) == 1


async def test_a_recorder_that_fails_ends_the_trace_alone(caplog: pytest.LogCaptureFixture) -> None:
    def broken(line: bytes) -> None:
        raise RuntimeError("no")

    async with connect(MemoryTarget(server), trace=Trace(broken)) as client:
        assert not (await client.call_tool("echo", {"text": "x"})).is_error
    assert "a trace ends here" in caplog.text


async def test_a_file_that_cannot_be_made_is_an_error_at_once(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "trace.jsonl"
    with pytest.raises(FileNotFoundError):
        async with connect(MemoryTarget(server), trace=missing):
            pytest.fail("it was opened")
    with pytest.raises(FileNotFoundError):
        await serve(server, http="127.0.0.1:0", trace=missing)


async def test_a_trace_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    async with connect(MemoryTarget(server), trace=file):
        pass
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_connections_of_one_trace_have_numbers(tmp_path: Path) -> None:
    lines: list[bytes] = []
    trace = Trace(lines.append)
    for _ in range(2):
        async with connect(MemoryTarget(server), trace=trace) as client:
            await client.ping()
    from mcpcore_conformance.trace.reading import parse

    read = parse(lines)
    assert {record.connection for record in messages(read)} == {1, 2}
    times = [entry.record.time for entry in read.entries]
    assert times == sorted(times)


async def test_what_is_not_traced_has_no_recorder() -> None:
    async with served(server) as state, connect(state.url) as client:
        await client.ping()
        link = client._core.link
        assert link is not None
        assert link.trace is None  # type: ignore[union-attr]
