"""The hand that speaks and listens: one WebSocket connection, byte by byte if need be."""

import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from tests.clock import PATIENCE
from tests.websocket_table.codec import Reader, Seen, Wrong, accept_token, close, text
from tests.websocket_table.rows import (
    PROBE,
    Course,
    End,
    Heard,
    Row,
    Shut,
    Side,
    message,
)

REVISION = "2025-06-18"
"""One in which either side may be asked for a ping."""
LOST = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


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
        self._busy = False  # a row is being sent, or has been
        self._sent = anyio.Event()

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
        try:
            await self._send(row, shut)
        finally:
            self._sent.set()

    async def _send(self, row: Row, shut: Callable[[], None]) -> None:
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
            if seen.kind == "close" and not self._by_hand:
                await self._answer(seen.code)

    async def _answer(self, code: int | None) -> None:
        """Answer a close, once nothing else is being sent."""
        answered = self._said_goodbye
        if not answered:
            self._said_goodbye = True
            self._sending.cancel()
        if self._busy:
            await self._sent.wait()
        with suppress(*LOST):
            if not answered:
                await self.stream.send(close(code).encode(client=self._client))
            if not self._client and not self._ended:  # it is for the server to end the connection
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
        self._busy = True
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
