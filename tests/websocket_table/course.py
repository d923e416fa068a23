"""Trying a row: against our server, and against our client, over real sockets."""

import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.lowlevel import checkpoint

from mcpcore.engine.config import Limits
from mcpcore.engine.reconnecting import ReconnectSettings
from mcpcore.service import Server
from tests.transports.served import served
from tests.websocket_table.codec import Reader, Seen, Wrong, accept_token, close, text
from tests.websocket_table.rows import (
    PROBE,
    Course,
    End,
    Grade,
    Heard,
    Row,
    Shut,
    Side,
    grade,
    message,
)
from transports.client import connect
from transports.client_errors import CallFailed
from transports.client_open import ClientSettings
from transports.runtime_settings import RuntimeSettings
from transports.serve_settings import ServeSettings
from transports.targets import WebSocketTarget
from transports.websocket_settings import WebSocketSettings

PATIENCE = 10.0
"""Seconds that a row may take before it is given up."""
REVISION = "2025-06-18"
"""One in which either side may be asked for a ping."""
LOST = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def websocket_settings(row: Row) -> WebSocketSettings:
    """Those of the side under test; the time that a close may take is no matter of a row."""
    given: dict[str, Any] = {"fragments": row.fragments} if row.fragments else {}
    deflate = row.agreed.settings if row.agreed else None
    return WebSocketSettings(
        deflate=deflate, ping_interval=None, close_timeout=2 * PATIENCE, **given
    )


def limits(row: Row) -> Limits:
    """Those of the side under test."""
    return Limits(message_size=row.limit) if row.limit else Limits()


class Wire:
    """The hand that speaks and listens on one connection."""

    def __init__(self, stream: ByteStream, *, client: bool) -> None:
        self.stream = stream
        self.reader = Reader(client=not client)
        self.seen: list[Seen] = []
        self.call: Any = None
        """The id of the request that a client has made."""
        self.rest = b""
        self._client = client
        self._news = anyio.Event()
        self._said_goodbye = False
        self._ended = False
        self._by_hand = False  # the row itself says what follows upon a close
        self._sending = anyio.CancelScope()
        self._turn = anyio.Lock()

    async def head(self) -> tuple[str, dict[str, str]]:
        """Read a head of HTTP: its first line and its fields."""
        while b"\r\n\r\n" not in self.rest:
            self.rest += await self.stream.receive()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        return first, {name.lower(): value.strip() for name, value in pairs}

    async def send(self, row: Row, shut: Callable[[], None]) -> None:
        """Send a row, and what shows that the connection carries messages after it."""
        with suppress(*LOST), self._sending:
            pieces: list[bytes] = []
            for step in row.steps:
                if isinstance(step, Heard):
                    await self.until(step.kind, step.count)
                elif isinstance(step, Shut):
                    shut()
                elif isinstance(step, End):
                    self._said_goodbye = self._ended = True
                    await self.stream.send_eof()
                elif isinstance(step, bytes):
                    pieces.append(step)
                else:
                    self._said_goodbye |= step.opcode == 8
                    pieces.append(step.encode(client=self._client))
                if not row.joined:
                    await self._pieces(pieces, row.chop)
                    pieces.clear()
            if row.then.end == "open":
                pieces.append(text(message(PROBE)).encode(client=self._client))
                if self.call is not None:
                    result = {"content": [{"type": "text", "text": "done"}]}
                    answer = {"jsonrpc": "2.0", "id": self.call, "result": result}
                    pieces.append(text(json.dumps(answer)).encode(client=self._client))
                self._said_goodbye = True
                pieces.append(close(1000).encode(client=self._client))
            await self._pieces([b"".join(pieces)], row.chop)
            if self._by_hand and not self._client and not self._ended:
                await self.stream.send_eof()

    async def _pieces(self, pieces: list[bytes], chop: int) -> None:
        for piece in pieces:
            size = chop or len(piece) or 1
            for start in range(0, len(piece), size):
                async with self._turn:
                    await self.stream.send(piece[start : start + size])
                if chop:
                    await checkpoint()  # so that it is read by itself

    async def listen(self) -> None:
        """Read to the end; answer a close that has not been answered."""
        try:
            await self._take(self.rest)
            while True:
                await self._take(await self.stream.receive())
        except anyio.EndOfStream:
            cut = self.reader.inside
            self._add(Seen("wrong", b"it ended within a frame") if cut else Seen("end"))
        except LOST:
            self._add(Seen("reset"))
        except (Wrong, ValueError, zlib.error) as error:
            self._add(Seen("wrong", str(error).encode()))

    async def accepting(self) -> bytes:
        """As a server: read the request of a client; returns the head that accepts it."""
        _, fields = await self.head()
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept_token(fields['sec-websocket-key'])}",
            "Sec-WebSocket-Protocol: mcp",
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    async def greet(self, last: str) -> None:
        """As a server: hold the conversation up to the client's message of this method."""
        heard: list[Seen] = []
        method = ""
        while method != last:
            if not heard:
                heard = self.reader.feed(self.rest or await self.stream.receive())
                self.rest = b""
                continue
            seen = heard.pop(0)
            said = json.loads(seen.data)
            method = said.get("method", "")
            if not method:
                self._add(seen)
            elif method == "initialize":
                result = {
                    "protocolVersion": REVISION,
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "by-hand", "version": "1"},
                }
                answer = json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": result})
                await self.stream.send(text(answer).encode(client=False))
            elif method == "tools/call":
                self.call = said["id"]
        self.reader.marked = 0
        for seen in heard:  # it was quick
            self._add(seen)

    async def rest_of_stream(self) -> None:
        """Read to the end what is no WebSocket."""
        try:
            while True:
                self.rest += await self.stream.receive()
        except anyio.EndOfStream:
            self._add(Seen("end"))

    def lost(self) -> None:
        """Take note that the connection broke."""
        self._add(Seen("reset"))

    async def _take(self, data: bytes) -> None:
        for seen in self.reader.feed(data):
            self._add(seen)
            if seen.kind == "close":
                if self._by_hand:
                    continue
                with suppress(*LOST):
                    if not self._said_goodbye:
                        self._said_goodbye = True
                        self._sending.cancel()
                        await self._turn.acquire()
                        await self.stream.send(close(seen.code).encode(client=self._client))
                    if (
                        not self._client and not self._ended
                    ):  # it is for the server to end the connection
                        await self.stream.send_eof()

    def _add(self, seen: Seen) -> None:
        self.seen.append(seen)
        news, self._news = self._news, anyio.Event()
        news.set()

    async def until(self, kind: str, count: int = 1) -> None:
        """Wait until so many of a kind have been seen."""
        while sum(1 for seen in self.seen if seen.kind == kind) < count:
            await self._news.wait()

    async def converse(self, row: Row, shut: Callable[[], None]) -> None:
        """Send the row and read to the end."""
        self._by_hand = Heard("close") in row.steps
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.send, row, shut)
            await self.listen()
            tasks.cancel_scope.cancel()

    def course(self, side: Side) -> Course:
        """What has happened."""
        course = Course(self.seen, side, marked=self.reader.marked)
        for seen in self.seen:
            if seen.kind != "text":
                continue
            try:
                said = json.loads(seen.data)
                if "method" in said:
                    continue
                good = said.get("result") == {}
                course.answers.append(said["id"] if good else f"!{said['error']['code']}")
            except (ValueError, KeyError, AttributeError):
                course.notes.append(f"it said {seen.data[:60]!r}")
        keys = self.reader.keys
        if len(keys) > 3 and len(set(keys)) == 1:
            course.notes.append("all frames are masked alike")
        return course


@asynccontextmanager
async def given_up(wire: Wire) -> AsyncIterator[None]:
    """Note a row that takes too long."""
    with anyio.move_on_after(PATIENCE) as scope:
        yield
    if scope.cancelled_caught:
        wire.seen.append(Seen("wrong", b"nothing more happens"))


async def try_server(row: Row) -> Course:
    """Send a row to our server."""
    settings = ServeSettings(
        websocket=websocket_settings(row), runtime=RuntimeSettings(limits=limits(row))
    )
    async with (
        served(Server("table"), ws="127.0.0.1:0", settings=settings, seconds=60) as site,
        await anyio.connect_tcp("127.0.0.1", site.port) as stream,
    ):
        wire = Wire(stream, client=True)
        lines = [
            "GET /mcp HTTP/1.1",
            f"Host: 127.0.0.1:{site.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {KEY}",
            "Sec-WebSocket-Protocol: mcp",
        ]
        if row.agreed:
            lines.append(f"Sec-WebSocket-Extensions: {row.agreed.offer}")
        notes = []
        async with given_up(wire):
            await stream.send("\r\n".join([*lines, "", ""]).encode())
            first, fields = await wire.head()
            if not first.startswith("HTTP/1.1 101 "):
                notes.append(first)
            _agree(wire, row, "server")
            answer = fields.get("sec-websocket-extensions")
            if answer != (row.agreed.answer if row.agreed else None):
                notes.append(f"it answers {answer}")
            await wire.converse(row, site.stop.set)
        course = wire.course("server")
        course.notes += notes
        return course


def _agree(wire: Wire, row: Row, side: Side) -> None:
    if row.agreed is not None:
        wire.reader.agree(fresh=row.agreed.fresh(side), bits=row.agreed.bits(side))


class ByHand:
    """A server that accepts one client of ours and then sends it a row."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.wire: Wire | None = None
        self.leave = anyio.Event()
        self.done = anyio.Event()

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            self.wire = wire = Wire(stream, client=False)
            async with given_up(wire):
                head = await wire.accepting()
                if self.row.agreed:
                    answer = f"Sec-WebSocket-Extensions: {self.row.agreed.answer}"
                    head = head[:-2] + answer.encode() + b"\r\n\r\n"
                await stream.send(head)
                _agree(wire, self.row, "client")
                with suppress(*LOST):
                    await wire.greet("tools/call")
                    await wire.converse(self.row, self.leave.set)
        self.done.set()


async def try_client(row: Row) -> Course:
    """Have our client connect to a server that sends the row while a call is under way."""
    hand = ByHand(row)
    settings = ClientSettings(
        limits=limits(row),
        websocket=websocket_settings(row),
        reconnect=ReconnectSettings(attempts=0),
        look_up_tools=False,
    )
    outcome = ""

    async def call(url: str) -> None:
        nonlocal outcome
        try:
            async with (
                connect(WebSocketTarget(url), revision=REVISION, settings=settings) as client,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(_leave, hand, tasks.cancel_scope)
                outcome = "it left"
                outcome = await _settled(client)
                if outcome == "answered":
                    await hand.done.wait()
                tasks.cancel_scope.cancel()
        except CallFailed as error:
            outcome = f"{type(error).__name__}: {error}"

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, hand.serve)
        port = listener.extra(SocketAttribute.local_port)
        with anyio.move_on_after(3 * PATIENCE):
            await call(f"ws://127.0.0.1:{port}/mcp")
            await hand.done.wait()
        tasks.cancel_scope.cancel()
    if hand.wire is None:
        return Course([Seen("wrong", b"it does not connect")], "client", call=outcome)
    course = hand.wire.course("client")
    course.call = outcome
    return course


async def _settled(client: Any) -> str:
    """What becomes of a call of the client."""
    try:
        result = await client.call_tool("echo", {"text": "done"})
    except CallFailed as error:
        return f"{type(error).__name__}: {error}"
    return "answered" if result.content[0].text == "done" else "answered wrongly"


async def _leave(hand: ByHand, scope: anyio.CancelScope) -> None:
    await hand.leave.wait()
    scope.cancel()


TRY: dict[str, Callable[[Row], Awaitable[Course]]] = {"server": try_server, "client": try_client}


async def attempt(row: Row, side: Side) -> Grade:
    """Try a row against one side, and judge what happened."""
    if not row.memory:
        return grade(row, await TRY[side](row))
    tracemalloc.start()
    try:
        course = await TRY[side](row)
        course.memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return grade(row, course)
