"""The kit's wires over real pipes and sockets: what goes out, what is heard of odd servers."""

import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute, TaskStatus

from mcpcore.spec.revisions import BY_NAME
from mcpcore_conformance.kit.bindings.http import HttpStage
from mcpcore_conformance.kit.bindings.sockets import SocketStage
from mcpcore_conformance.kit.bindings.sse import SseStage
from mcpcore_conformance.kit.bindings.stdio import StdioStage
from mcpcore_conformance.kit.bindings.websocket import BINARY, CLOSE, TEXT, WebSocketStage, encoded
from mcpcore_conformance.kit.heard import Done, Event, Gone, Head, Heard, Noise, Text
from mcpcore_conformance.kit.log import Log
from mcpcore_conformance.kit.verdicts import END_OF_INPUT, TERMINATED, Broken
from mcpcore_conformance.kit.wire import Kept, Refused, Stage, Wire
from mcpcore_conformance.subjects.core import CoreStage, at_once
from tests.clock import PATIENCE, patience

pytestmark = pytest.mark.anyio
LEGACY = BY_NAME["2025-11-25"]
MODERN = BY_NAME["2026-07-28"]


async def connected(stage: Stage, log: Log | None = None) -> Wire:
    return await stage.connect(LEGACY, log=log or Log(stage.now))


async def heard(wire: Wire, kind: type[Heard]) -> Heard:
    """The next thing of a kind."""
    while (found := await wire.hear(PATIENCE)) is not None:
        if isinstance(found, kind):
            return found
    raise AssertionError(f"no {kind}")


@asynccontextmanager
async def tcp(serve: Callable[[ByteStream], Awaitable[None]]) -> AsyncIterator[int]:
    """A server on a free port; each connection is given to ``serve`` and closed after it."""

    async def handle(stream: ByteStream) -> None:
        async with stream:
            try:
                await serve(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", family=socket.AF_INET) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handle)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def until(stream: ByteStream, mark: bytes) -> bytes:
    """Read until a mark has come."""
    found = b""
    while mark not in found:
        found += await stream.receive()
    return found


# Lines


async def echo(stream: ByteStream) -> None:
    while True:
        await stream.send(await stream.receive())


async def test_lines_over_tcp_are_whole_lines() -> None:
    async with tcp(echo) as port, SocketStage(f"tcp://127.0.0.1:{port}") as stage:
        wire = await connected(stage)
        assert await wire.say(b'{"a":1}') == 0
        found = await wire.hear(PATIENCE)
        assert isinstance(found, Text)
        assert found.data == b'{"a":1}'
        assert await wire.hear(0) is None
        await wire.close()


async def test_the_end_of_a_connection_is_heard_behind_its_last_line() -> None:
    async def serve(stream: ByteStream) -> None:
        await stream.send(b"one\r\n\n\ntw")
        await stream.send(b"o\nrest")

    async with tcp(serve) as port, SocketStage(f"tcp://127.0.0.1:{port}") as stage:
        wire = await connected(stage)
        texts = [await wire.hear(PATIENCE) for _ in range(3)]
        assert [text.data for text in texts if isinstance(text, Text)] == [
            b"one\r",
            b"two",
            b"rest",
        ]
        assert isinstance(await wire.hear(PATIENCE), Gone)
        await wire.close()


async def test_a_server_that_does_not_read_is_broken() -> None:
    async def serve(stream: ByteStream) -> None:
        await stream.receive(1)  # until the first call anyio reads on its own on asyncio
        await anyio.sleep_forever()

    async with tcp(serve) as port, SocketStage(f"tcp://127.0.0.1:{port}") as stage:
        stage.unread = 0.1
        wire = await connected(stage)
        await wire.say(b"{}")

        async def pour() -> None:
            # how much the system takes on the way is its own affair
            for _ in range(50):
                await wire.say(b"x" * 20_000_000)

        with pytest.raises(Broken, match=r"did not read \d+ bytes in 0.1 s"):
            await pour()
        await wire.cut()


async def test_nobody_there_is_refused(free_tcp_port: int) -> None:
    address = f"127.0.0.1:{free_tcp_port}"
    for stage in (
        SocketStage(f"tcp://{address}"),
        SseStage(f"http://{address}/sse"),
        WebSocketStage(f"ws://{address}/mcp"),
    ):
        async with stage:
            with pytest.raises(Refused):
                await connected(stage)


# Processes

PROGRAM = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
sys.stderr.write("hello")
sys.stderr.flush()
for line in sys.stdin:
    sys.stdout.write(line)
    sys.stdout.flush()
sys.exit(3)
"""


async def test_a_process_says_how_it_ended() -> None:
    async with StdioStage([sys.executable, "-c", PROGRAM]) as stage:
        wire = await stage.connect(LEGACY, log=Log(stage.now))
        await wire.say(b"one")
        assert isinstance(await wire.hear(PATIENCE), Text)
        await wire.finish()
        gone = await heard(wire, Gone)
        assert isinstance(gone, Gone)
        assert gone.code == 3
        assert wire.stderr() == b"hello"
        await wire.close()


async def test_a_signal_reaches_a_process() -> None:
    async with StdioStage([sys.executable, "-c", PROGRAM]) as stage:
        wire = await stage.connect(LEGACY, log=Log(stage.now))
        await wire.say(b"one")
        assert isinstance(await wire.hear(PATIENCE), Text)
        await wire.signal(signal.SIGTERM)
        assert await wire.exited(PATIENCE) == 7
        await wire.close()


async def test_a_kept_process_serves_the_next_case() -> None:
    async with StdioStage([sys.executable, "-c", PROGRAM]) as stage:
        first, second = Log(stage.now), Log(stage.now)
        wire = await stage.connect(LEGACY, log=first)
        entry = Kept(wire, 5, {"a": 1})
        stage.keep(LEGACY, "{}", entry)
        assert await stage.kept(MODERN, "{}", second, wait=True) is None
        assert await stage.kept(LEGACY, '{"roots":{}}', second, wait=True) is None
        assert await stage.kept(LEGACY, "{}", second, wait=True) is entry
        assert await stage.kept(LEGACY, "{}", second, wait=False) is None
        await wire.say(b"two")
        assert isinstance(await wire.hear(PATIENCE), Text)
        assert [line.data for line in second.lines()] == [b"two\n", b"two\n"]
        assert first.lines() == []
        await wire.close()


async def test_what_is_kept_ends_with_its_stage() -> None:
    async with StdioStage([sys.executable, "-c", PROGRAM]) as stage:
        wire = await stage.connect(LEGACY, log=Log(stage.now))
        stage.keep(LEGACY, "{}", Kept(wire, 1, {}))
    assert await wire.exited(0) is not None


async def test_what_opened_a_kept_conversation_is_in_the_record_of_the_next_case() -> None:
    async with StdioStage([sys.executable, "-c", PROGRAM]) as stage:
        first = Log(stage.now)
        wire = await stage.connect(LEGACY, log=first)
        await wire.say(b"hello")
        assert isinstance(await wire.hear(PATIENCE), Text)
        first.opened(wire.number)
        await wire.say(b"what the first case is about")
        assert isinstance(await wire.hear(PATIENCE), Text)
        said = [b"hello\n", b"hello\n"]
        for own in (b"two", b"three"):
            stage.keep(LEGACY, "{}", Kept(wire, 5, {}))
            log = Log(stage.now)
            other = await stage.connect(LEGACY, log=log)
            assert await stage.kept(LEGACY, "{}", log, wait=False) is not None
            assert wire.number == 2
            await wire.say(own)
            lines = [(each.wire, each.data) for each in log.lines()]
            assert lines == [*((2, each) for each in said), (2, own + b"\n")]
            assert [each.at < 0 for each in log.lines()] == [True, True, False]
            assert isinstance(await wire.hear(PATIENCE), Text)
            await other.close()
        await wire.close()


async def test_a_case_waits_for_a_conversation_that_another_one_has() -> None:
    async with StdioStage([sys.executable, "-c", PROGRAM]) as stage:
        log = Log(stage.now)
        wire = await stage.connect(LEGACY, log=log, said="{}")
        await wire.say(b"one")
        assert isinstance(await wire.hear(PATIENCE), Text)  # what a start takes is known by now
        stage.start = PATIENCE
        found: list[Kept | None] = []

        async def take() -> None:
            found.append(await stage.kept(LEGACY, "{}", Log(stage.now), wait=True))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            assert found == []
            stage.keep(LEGACY, "{}", Kept(wire, 2, {}))
        assert [each.wire for each in found if each is not None] == [wire]
        # one that will not come back is not waited for any longer
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await anyio.wait_all_tasks_blocked()
            await wire.close()
        assert found[1:] == [None]


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_when_the_run_is_interrupted_nobody_waits_for_a_stubborn_program(when: str) -> None:
    status: list[int | None] = []
    leaves, closed = anyio.Event(), anyio.Event()
    pids: list[int] = []

    async def run(*, task_status: TaskStatus[anyio.CancelScope]) -> None:
        with anyio.CancelScope() as scope:
            async with StdioStage([sys.executable, "-c", STUBBORN]) as stage:
                stage.patience = 1000.0
                wire = await stage.connect(LEGACY, log=Log(stage.now))
                text = await wire.hear(PATIENCE)
                assert isinstance(text, Text)
                pids.append(int(text.data))
                task_status.started(scope)
                try:
                    if when == "before":
                        await anyio.sleep_forever()
                finally:
                    leaves.set()
                    await wire.close()
                    with anyio.CancelScope(shield=True):
                        status.append(await wire.exited(0))
                    closed.set()

    async with anyio.create_task_group() as tasks:
        scope = await tasks.start(run)
        if when == "meanwhile":
            await leaves.wait()
            await anyio.wait_all_tasks_blocked()
        scope.cancel()
        with anyio.move_on_after(PATIENCE):
            await closed.wait()
        in_time = closed.is_set()
        if not in_time:
            os.kill(pids[0], signal.SIGKILL)
    assert in_time
    assert status == [-signal.SIGKILL]


LEAVES_IF = """
import os, signal, sys, time
stays = [each for each in sys.argv[1:] if os.path.exists(each)]
signal.signal(signal.SIGTERM, signal.SIG_IGN if stays else signal.SIG_DFL)
print("here", flush=True)
sys.stdin.read()
while stays:
    time.sleep(60)
"""


@pytest.mark.long
async def test_how_a_program_had_to_be_killed_is_remembered_as_long_as_it_is_so(
    tmp_path: Path,
) -> None:
    stays = tmp_path / "stays"
    stays.touch()
    async with StdioStage([sys.executable, "-c", LEAVES_IF, str(stays)]) as stage:

        async def status() -> int | None:
            wire = await stage.connect(LEGACY, log=Log(stage.now))
            assert isinstance(await wire.hear(PATIENCE), Text)
            with patience():
                await wire.close()
            return await wire.exited(0)

        stage.unread = 0.1
        assert await status() == -signal.SIGKILL
        assert stage.ignored == {END_OF_INPUT, TERMINATED}
        # the next ones are not waited for
        stage.patience = 1000.0
        assert await status() == -signal.SIGKILL
        # one that ends when its input does takes it back; a slow machine may need several
        stays.unlink()
        with patience(6 * PATIENCE):
            while END_OF_INPUT in stage.ignored:
                await status()


async def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    async with StdioStage([str(tmp_path / "nothing")]) as stage:
        with pytest.raises(Refused, match="cannot be started"):
            await connected(stage)


# WebSocket

ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Protocol: mcp\r\nX-Own: 1\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)


async def upgrade(stream: ByteStream) -> bytes:
    """Take an upgrade; returns its head."""
    from wsproto.utilities import generate_accept_token

    head = await until(stream, b"\r\n\r\n")
    key = next(
        line.partition(b":")[2].strip()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key")
    )
    await stream.send(ACCEPT % generate_accept_token(key))
    return head


async def test_a_websocket_offers_mcp_and_hears_every_kind_of_frame() -> None:
    heads: list[bytes] = []

    async def serve(stream: ByteStream) -> None:
        heads.append(await upgrade(stream))
        await stream.send(encoded(TEXT, b"hal", fin=False, masked=False))
        await stream.send(encoded(0, b"ves", masked=False))
        await stream.send(encoded(BINARY, b"\x01", masked=False))
        await stream.send(encoded(9, b"are you there", masked=False))
        pong = await stream.receive()
        assert pong[0] == 0x8A
        await stream.send(encoded(CLOSE, struct.pack("!H", 1008) + b"no", masked=False))
        await stream.receive()

    async with tcp(serve) as port, WebSocketStage(f"ws://127.0.0.1:{port}/mcp") as stage:
        wire = await stage.connect(LEGACY, log=Log(stage.now), headers=[("x-mine", "2")])
        assert ("x-own", "1") in wire.accepted
        assert wire.subprotocol == "mcp"
        found = await wire.hear(PATIENCE)
        assert isinstance(found, Text)
        assert found.data == b"halves"
        assert isinstance(await wire.hear(PATIENCE), Noise)
        gone = await wire.hear(PATIENCE)
        assert isinstance(gone, Gone)
        assert gone.code == 1008
        await wire.close()
    assert b"Sec-WebSocket-Protocol: mcp\r\n" in heads[0]
    assert b"x-mine: 2" in heads[0]


async def test_an_upgrade_that_is_refused_says_its_status() -> None:
    async def serve(stream: ByteStream) -> None:
        await until(stream, b"\r\n\r\n")
        await stream.send(b"HTTP/1.1 403 Forbidden\r\nX-Why: origin\r\nContent-Length: 0\r\n\r\n")

    async with tcp(serve) as port, WebSocketStage(f"ws://127.0.0.1:{port}/mcp") as stage:
        with pytest.raises(Refused) as refused:
            await connected(stage)
    assert refused.value.status == 403
    assert ("x-why", "origin") in refused.value.headers


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_are_masked_as_rfc_6455_has_it(size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    frame = encoded(TEXT, payload)
    start = 2 + (0 if size < 126 else 2 if size < 65536 else 8)
    assert frame[1] & 0x80
    key, masked = frame[start : start + 4], frame[start + 4 :]
    assert bytes(each ^ key[at % 4] for at, each in enumerate(masked)) == payload


# HTTP


async def test_a_message_is_posted_with_what_the_revision_wants() -> None:
    heads: list[bytes] = []

    async def serve(stream: ByteStream) -> None:
        heads.append(await until(stream, b"}"))
        body = b'{"jsonrpc":"2.0","id":1,"result":{}}'
        await stream.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: s1\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        heads.append(await until(stream, b"}"))
        await stream.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        await until(stream, b"\r\n\r\n")

    async with tcp(serve) as port, HttpStage(f"http://127.0.0.1:{port}/mcp") as stage:
        wire = await stage.connect(LEGACY, log=Log(stage.now))
        exchange = await wire.say(b'{"jsonrpc":"2.0","id":1,"method":"initialize"}')
        head, text, done = [await wire.hear(PATIENCE) for _ in range(3)]
        assert isinstance(head, Head)
        assert (head.exchange, head.status) == (exchange, 200)
        assert isinstance(text, Text)
        assert isinstance(done, Done)
        assert done.clean
        assert wire.session == "s1"
        await wire.say(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        assert isinstance(await heard(wire, Done), Done)
        await wire.cut()
    first, second = (head.lower() for head in heads)
    assert b"accept: application/json, text/event-stream" in first
    assert b"mcp-session-id" not in first
    assert b"mcp-protocol-version" not in first
    assert b"mcp-session-id: s1" in second
    assert b"mcp-protocol-version: 2025-11-25" in second


async def test_events_are_heard_as_they_come_and_a_cut_is_not_clean() -> None:
    async def serve(stream: ByteStream) -> None:
        await until(stream, b"}")
        await stream.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for piece in (
            b"id: 1\nretry: 5\n\n",
            b": hi\n",
            b"id: 2\r\ndata: {}\r\n\r\n",
            b"data: cut",
        ):
            await stream.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    async with tcp(serve) as port, HttpStage(f"http://127.0.0.1:{port}/mcp") as stage:
        wire = await stage.connect(MODERN, log=Log(stage.now))
        await wire.say(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
        assert isinstance(await wire.hear(PATIENCE), Head)
        priming, comment, text, done = [await wire.hear(PATIENCE) for _ in range(4)]
        assert isinstance(priming, Event)
        assert (priming.event_id, priming.retry, priming.data) == ("1", 5, b"")
        assert isinstance(comment, Event)
        assert comment.comment
        assert isinstance(text, Text)
        assert (text.data, text.event_id) == (b"{}", "2")
        assert isinstance(done, Done)
        assert not done.clean
        await wire.close()


async def test_over_http_a_message_goes_out_again_if_an_idle_connection_was_closed() -> None:
    posted: list[bytes] = []

    async def serve(stream: ByteStream) -> None:
        while True:
            head, _, rest = (await until(stream, b"\r\n\r\n")).partition(b"\r\n\r\n")
            assert head.startswith(b"POST")
            posted.append(rest or await until(stream, b"}"))
            if len(posted) == 2:
                return
            await stream.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

    async with tcp(serve) as port, HttpStage(f"http://127.0.0.1:{port}/mcp") as stage:
        wire = await connected(stage)
        for body in (b'{"first":1}', b'{"second":1}'):
            exchange = await wire.say(body)
            done = await heard(wire, Done)
            assert isinstance(done, Done)
            assert (done.exchange, done.clean) == (exchange, True)
        await wire.close()
    assert posted == [b'{"first":1}', b'{"second":1}', b'{"second":1}']


async def test_over_http_a_request_is_in_the_record_before_what_it_brings_about() -> None:
    kinds: list[list[str]] = []

    async def serve(stream: ByteStream) -> None:
        await stream.receive()
        # far more is to be sent than has come
        kinds.append([line.kind for line in log.lines()])

    async with tcp(serve) as port, HttpStage(f"http://127.0.0.1:{port}/mcp") as stage:
        log = Log(stage.now)
        wire = await connected(stage, log)
        await wire.say(b'{"jsonrpc":"2.0","method":"' + b"x" * 2**24 + b'"}')
        await wire.close()
    assert kinds[0] == ["head"]


async def test_sse_posts_where_the_endpoint_event_says() -> None:
    posted: list[bytes] = []
    stream_of: list[ByteStream] = []

    async def serve(stream: ByteStream) -> None:
        head = await until(stream, b"\r\n\r\n")
        if head.startswith(b"GET"):
            stream_of.append(stream)
            await stream.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            await stream.send(b"1e\r\nevent: endpoint\ndata: /m?s=1\n\n\r\n")
            await until(stream, b"never")
        posted.append(head)
        await stream.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        await stream_of[0].send(b"a\r\ndata: {}\n\n\r\n")

    async with tcp(serve) as port, SseStage(f"http://127.0.0.1:{port}/sse") as stage:
        wire = await stage.connect(LEGACY, log=Log(stage.now))
        exchange = await wire.say(b"{}")
        assert wire.endpoint == "/m?s=1"
        found: dict[type[Heard], Heard] = {}
        while not {Head, Text} <= found.keys():
            one = await wire.hear(PATIENCE)
            assert one is not None
            found[type(one)] = one
        head, text = found[Head], found[Text]
        assert isinstance(head, Head)
        assert (head.exchange, head.status) == (exchange, 202)
        assert isinstance(text, Text)
        assert (text.data, text.exchange) == (b"{}", 0)
        await wire.close()
    assert posted[0].startswith(b"POST /m?s=1 HTTP/1.1\r\n")


async def test_over_sse_a_message_is_posted_once_whatever_becomes_of_its_connection() -> None:
    posted: list[bytes] = []
    streams: list[ByteStream] = []
    both = anyio.Event()

    async def serve(stream: ByteStream) -> None:
        # two messages are taken in good order, so that two connections stay open; any other is read
        # and answered on the newest stream, and its connection is dropped
        while True:
            head, _, rest = (await until(stream, b"\r\n\r\n")).partition(b"\r\n\r\n")
            if head.startswith(b"GET"):
                streams.append(stream)
                await stream.send(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                    b"1e\r\nevent: endpoint\ndata: /m?s=1\n\n\r\n"
                )
                continue
            posted.append(rest or await until(stream, b"}"))
            if both.is_set():
                await streams[-1].send(b"a\r\ndata: {}\n\n\r\n")
                return
            if len(posted) > 1:
                both.set()
            await both.wait()
            await stream.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

    async with tcp(serve) as port, SseStage(f"http://127.0.0.1:{port}/sse") as stage:
        first = await connected(stage)
        for number in (1, 2):
            await first.say(b'{"first":%d}' % number)
        for _ in range(2):
            taken = await heard(first, Done)
            assert isinstance(taken, Done)
            assert taken.clean
        await first.cut()
        second = await connected(stage)
        exchange = await second.say(b'{"second":1}')
        kinds: dict[type[Heard], Heard] = {}
        while not {Done, Text} <= kinds.keys():
            one = await second.hear(PATIENCE)
            assert one is not None
            kinds[type(one)] = one
        done = kinds[Done]
        assert isinstance(done, Done)
        assert (done.exchange, done.clean) == (exchange, False)
        await second.close()
    assert sorted(posted[:2]) == [b'{"first":1}', b'{"first":2}']
    assert posted[2:] == [b'{"second":1}']


# The core


def test_the_core_needs_no_event_loop() -> None:
    async def dialogue() -> tuple[float, bytes]:
        async with CoreStage() as stage:
            wire = await stage.connect(MODERN, log=Log(stage.now))
            await wire.say(
                b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"test_wait",'
                b'"arguments":{"seconds":3600},"_meta":{'
                b'"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
                b'"io.modelcontextprotocol/clientCapabilities":{}}}}'
            )
            assert await wire.hear(3599) is None
            found = await wire.hear(10)
            assert isinstance(found, Text)
            return stage.now(), found.data

    now, answer = at_once(dialogue())
    assert now == 3600
    assert b"waited" in answer


def test_what_waits_for_real_is_told_apart() -> None:
    with pytest.raises(RuntimeError, match="not virtual"):
        at_once(_waits())


async def _waits() -> None:
    class Forever:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield

    await Forever()
