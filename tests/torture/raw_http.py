"""An act of plain bytes over HTTP: what our own client never does, right and wrong."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import h11
from anyio.abc import SocketStream

from mcpcore_transports.targets import HttpTarget
from tests.torture.acts import Act
from tests.torture.story import Story
from tests.transports.malformed import META

LARGE = 400_000
"""Characters of what no buffer takes at once."""
CONNECTIONS = 6
"""The most that a server of this act has."""
LONGEST = 2_000_000
"""The longest message that it takes."""
_GONE = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Refused(Exception):
    """Another status than the right one."""


class Wire:
    """One connection, and the bytes on it."""

    def __init__(self, stream: SocketStream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._read = b""

    async def send(self, *parts: bytes) -> None:
        """Send bytes; the parts one by one."""
        for part in parts:
            await self._stream.send(part)
            await anyio.lowlevel.checkpoint()

    async def heard(self) -> None:
        """Wait for anything to read."""
        self._read += await self._stream.receive()

    async def end(self) -> None:
        """Send no more."""
        await self._stream.send_eof()

    def head(self, *lines: str, method: str = "POST", path: str = "/mcp") -> bytes:
        """The head of a request of the modern era."""
        usual = (
            f"{method} {path} HTTP/1.1",
            f"Host: {self._host}",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            "MCP-Protocol-Version: 2026-07-28",
        )
        return "\r\n".join((*usual, *lines, "", "")).encode()

    def call(self, tool: str, **arguments: Any) -> tuple[bytes, bytes]:
        """Head and body of a call."""
        body = call_of(tool, arguments)
        return self.head(*of_call(tool), f"Content-Length: {len(body)}"), body

    async def answers(self, count: int = 1) -> str:
        """Wait for so many responses; their statuses, the interim ones too.

        Raises Refused if the last is none of success.
        """
        seen: list[int] = []
        reader, closed = _reader(), False
        if self._read:
            reader.receive_data(self._read)
            self._read = b""
        while count:
            try:
                event = reader.next_event()
            except h11.RemoteProtocolError:
                if not closed:
                    raise
                raise OSError("closed within a response") from None
            if event is h11.NEED_DATA:
                data = b""
                with suppress(anyio.EndOfStream):
                    data = await self._stream.receive()
                closed = not data
                reader.receive_data(data)
                continue
            if isinstance(event, h11.InformationalResponse | h11.Response):
                if event.status_code != 102:  # it asks whether we are still there
                    seen.append(event.status_code)
            elif isinstance(event, h11.EndOfMessage):
                count -= 1
                if count:
                    rest = reader.trailing_data[0]
                    reader = _reader()
                    if rest:
                        reader.receive_data(rest)
            elif isinstance(event, h11.ConnectionClosed):
                raise OSError("closed before a response")
        return " ".join(map(str, seen))


def _reader() -> h11.Connection:
    """What reads one response."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="POST", target="/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())
    return reader


def call_of(tool: str, arguments: dict[str, Any], **meta: Any) -> bytes:
    """The body of a call."""
    params = {"name": tool, "arguments": arguments, "_meta": {**META, **meta}}
    return json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    ).encode()


def of_call(tool: str) -> tuple[str, str]:
    """The headers that go with it."""
    return "Mcp-Method: tools/call", f"Mcp-Name: {tool}"


def right(status: str, *expected: str) -> str:
    """The status, which has to be one of those expected."""
    if status not in expected:
        raise Refused(status)
    return status


class Place:
    """A server, and how it is reached."""

    def __init__(self, target: HttpTarget) -> None:
        parts = urlsplit(target.url)
        self._address = (str(parts.hostname), parts.port or 0)
        self._host = parts.netloc

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[Wire]:
        """Connect."""
        stream = await anyio.connect_tcp(*self._address)
        async with stream:
            yield Wire(stream, self._host)


@asynccontextmanager
async def _reach(story: Story, target: Any, era: str) -> AsyncIterator[Place]:
    yield Place(target)


async def _in_parts(place: Place) -> str:
    async with place.wire() as wire:
        body = call_of("echo", {"text": "in parts"})
        chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])]
        head = wire.head(*of_call("echo"), "Transfer-Encoding: chunked")
        await wire.send(head[:20], head[20:], *chunks, b"0\r\n\r\n")
        return right(await wire.answers(), "200")


async def _continues(place: Place) -> str:
    async with place.wire() as wire:
        body = call_of("echo", {"text": "go on"})
        length = f"Content-Length: {len(body)}"
        await wire.send(wire.head(*of_call("echo"), length, "Expect: 100-continue"))
        with anyio.move_on_after(1.0):  # who hears nothing sends it all the same
            await wire.heard()
        await wire.send(body)
        return right(await wire.answers(), "100 200", "200").rpartition(" ")[2]


async def _half_closes(place: Place) -> str:
    """Send no more, while the answer is not ready."""
    async with place.wire() as wire:
        await wire.send(b"".join(wire.call("later", text="x" * LARGE)))
        await wire.end()
        return right(await wire.answers(), "200")


async def _reads_late(place: Place) -> str:
    async with place.wire() as wire:
        head, body = wire.call("echo", text="x" * LARGE)
        await wire.send(head, body)
        await anyio.sleep(0.02)
        return right(await wire.answers(), "200")


async def _follow_each_other(place: Place) -> str:
    """Send requests before the first one was answered, the last one in part."""
    async with place.wire() as wire:
        first = b"".join(wire.call("later", text="1"))
        second = b"".join(wire.call("echo", text="2"))
        await wire.send(first + second[:10], second[10:])
        return right(await wire.answers(2), "200 200")


async def _follow_at_length(place: Place) -> str:
    """The same, and more than is read ahead of it."""
    async with place.wire() as wire:
        first, second = (b"".join(wire.call("later", text="x" * LARGE)) for _ in range(2))
        await wire.send(first + second)
        return right(await wire.answers(2), "200 200")


async def _is_malformed(place: Place) -> str:
    async with place.wire() as wire:
        await wire.send(b"NO HTTP AT ALL\r\n\r\n" + b"x" * 10_000)
        return right(await wire.answers(), "400")


async def _is_nowhere(place: Place) -> str:
    async with place.wire() as wire:
        body = b"x" * 10_000
        await wire.send(wire.head(f"Content-Length: {len(body)}", path="/nowhere"), body)
        return right(await wire.answers(), "404")


async def _is_too_long(place: Place) -> str:
    async with place.wire() as wire:
        await wire.send(wire.head(f"Content-Length: {LONGEST * 2}"), b"x" * 10_000)
        return right(await wire.answers(), "413")


async def _grows_too_long(place: Place) -> str:
    """Send a body whose length is not known before."""
    async with place.wire() as wire:
        await wire.send(wire.head(*of_call("echo"), "Transfer-Encoding: chunked"))
        with suppress(*_GONE):
            for _ in range(5):
                await wire.send(b"%x\r\n%s\r\n" % (LONGEST // 4, b"x" * (LONGEST // 4)))
        return right(await wire.answers(), "413")


async def _stops_within_a_body(place: Place) -> str:
    async with place.wire() as wire:
        head, body = wire.call("echo", text="never")
        await wire.send(head, body[:-5])
        await wire.end()
        return right(await wire.answers(), "400")


async def _stops_within_a_head(place: Place) -> str:
    async with place.wire() as wire:
        await wire.send(wire.head()[:-10])
        await wire.end()
        return right(await wire.answers(), "400")


async def _sends_bad_chunks(place: Place) -> str:
    async with place.wire() as wire:
        head = wire.head(*of_call("echo"), "Transfer-Encoding: chunked")
        await wire.send(head, b"no length\r\n")
        return right(await wire.answers(), "400")


async def _leaves(place: Place) -> str:
    """Leave while the answer is waited for."""
    async with place.wire() as wire:
        await wire.send(b"".join(wire.call("wait")))
        await anyio.sleep(0.02)
    return "left"


async def _are_too_many(place: Place) -> str:
    """Open one connection more than there may be."""
    async with AsyncExitStack() as others:
        for _ in range(CONNECTIONS):
            await others.enter_async_context(place.wire())
        async with place.wire() as wire:
            await wire.send(b"".join(wire.call("echo", text="one more")))
            return right(await wire.answers(), "503")


async def _last(place: Place) -> str:
    async with place.wire() as wire:
        await wire.send(b"".join(wire.call("echo", text="last")))
        return right(await wire.answers(), "200")


RAW = Act(
    meet=_reach,
    calls={
        _in_parts: "200",
        _continues: "200",
        _half_closes: "200",
        _reads_late: "200",
        _follow_each_other: "200 200",
        _is_malformed: "400",
        _follow_at_length: "200 200",
        _is_nowhere: "404",
        _is_too_long: "413",
        _grows_too_long: "413",
        _stops_within_a_body: "400",
        _stops_within_a_head: "400",
        # Of who has left the server hears late: until then one less can be let in.
        _sends_bad_chunks: "400",
        _are_too_many: "503",
        _leaves: "left",
    },
    last=(_last, "200"),
    ends=(*_GONE, Refused),
    one_by_one=True,
)
"""Requests of plain bytes."""
