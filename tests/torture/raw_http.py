"""An act of plain bytes over HTTP: what our own client never does, right and wrong."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
from anyio.abc import SocketStream

from mcpcore_transports.targets import HttpTarget
from tests.faults.cutting import LOST
from tests.torture.acts import Act
from tests.torture.story import Story
from tests.transports.http_fixture import Client
from tests.transports.malformed import META

LARGE = 400_000
"""Characters of what no buffer takes at once."""
CONNECTIONS = 6
"""The most that a server of this act has."""
LONGEST = 2_000_000
"""The longest message that it takes."""


class Refused(Exception):
    """Another status than the right one."""


class Wire(Client):
    """One connection, and the bytes on it."""

    def __init__(self, stream: SocketStream, host: str) -> None:
        super().__init__(stream)
        self._host = host

    async def send(self, *parts: bytes) -> None:
        """Send parts one by one."""
        for part in parts:
            await self.stream.send(part)
            await anyio.lowlevel.checkpoint()

    async def heard(self) -> None:
        """Wait for anything to read."""
        await self.more()

    async def end(self) -> None:
        """Send no more."""
        await self.stream.send_eof()

    def request(self, *lines: str, method: str = "POST", path: str = "/mcp") -> bytes:
        """The head of a request of the modern era."""
        usual = (
            f"{method} {path} HTTP/1.1",
            f"Host: {self._host}",
            "Content-Type: application/json",
            "Accept: application/json, text/event-stream",
            "MCP-Protocol-Version: 2026-07-28",
        )
        return "\r\n".join((*usual, *lines, "", "")).encode()

    def calling(self, tool: str, **arguments: Any) -> tuple[bytes, bytes]:
        """Head and body of a call."""
        body = call_of(tool, arguments)
        return self.request(*of_call(tool), f"Content-Length: {len(body)}"), body

    async def answers(self, count: int = 1) -> str:
        """Wait for so many responses; their statuses, interim ones included."""
        seen: list[int] = []
        for _ in range(count):
            status = 0
            while status < 200:
                status = (await self.response()).status
                seen += [status] * (status != 102)  # it asks whether we are still there
        return " ".join(map(str, seen))


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
        head = wire.request(*of_call("echo"), "Transfer-Encoding: chunked")
        await wire.send(head[:20], head[20:], *chunks, b"0\r\n\r\n")
        return right(await wire.answers(), "200")


async def _continues(place: Place) -> str:
    async with place.wire() as wire:
        body = call_of("echo", {"text": "go on"})
        length = f"Content-Length: {len(body)}"
        await wire.send(wire.request(*of_call("echo"), length, "Expect: 100-continue"))
        with anyio.move_on_after(1.0):  # who hears nothing sends it all the same
            await wire.heard()
        await wire.send(body)
        return right(await wire.answers(), "100 200", "200").rpartition(" ")[2]


async def _half_closes(place: Place) -> str:
    """Send no more, while the answer is not ready."""
    async with place.wire() as wire:
        await wire.send(b"".join(wire.calling("later", text="x" * LARGE)))
        await wire.end()
        return right(await wire.answers(), "200")


async def _reads_late(place: Place) -> str:
    async with place.wire() as wire:
        head, body = wire.calling("echo", text="x" * LARGE)
        await wire.send(head, body)
        await anyio.sleep(0.02)
        return right(await wire.answers(), "200")


async def _follow_each_other(place: Place) -> str:
    """Send requests before the first one was answered, the last one in part."""
    async with place.wire() as wire:
        first = b"".join(wire.calling("later", text="1"))
        second = b"".join(wire.calling("echo", text="2"))
        await wire.send(first + second[:10], second[10:])
        return right(await wire.answers(2), "200 200")


async def _follow_at_length(place: Place) -> str:
    """The same, and more than is read ahead of it."""
    async with place.wire() as wire:
        first, second = (b"".join(wire.calling("later", text="x" * LARGE)) for _ in range(2))
        await wire.send(first + second)
        return right(await wire.answers(2), "200 200")


async def _is_malformed(place: Place) -> str:
    async with place.wire() as wire:
        await wire.send(b"NO HTTP AT ALL\r\n\r\n" + b"x" * 10_000)
        return right(await wire.answers(), "400")


async def _is_nowhere(place: Place) -> str:
    async with place.wire() as wire:
        body = b"x" * 10_000
        await wire.send(wire.request(f"Content-Length: {len(body)}", path="/nowhere"), body)
        return right(await wire.answers(), "404")


async def _is_too_long(place: Place) -> str:
    async with place.wire() as wire:
        await wire.send(wire.request(f"Content-Length: {LONGEST * 2}"), b"x" * 10_000)
        return right(await wire.answers(), "413")


async def _grows_too_long(place: Place) -> str:
    """Send a body whose length is not known before."""
    async with place.wire() as wire:
        await wire.send(wire.request(*of_call("echo"), "Transfer-Encoding: chunked"))
        with suppress(*LOST):
            for _ in range(5):
                await wire.send(b"%x\r\n%s\r\n" % (LONGEST // 4, b"x" * (LONGEST // 4)))
        return right(await wire.answers(), "413")


async def _stops_within_a_body(place: Place) -> str:
    async with place.wire() as wire:
        head, body = wire.calling("echo", text="never")
        await wire.send(head, body[:-5])
        await wire.end()
        return right(await wire.answers(), "400")


async def _stops_within_a_head(place: Place) -> str:
    async with place.wire() as wire:
        await wire.send(wire.request()[:-10])
        await wire.end()
        return right(await wire.answers(), "400")


async def _sends_bad_chunks(place: Place) -> str:
    async with place.wire() as wire:
        head = wire.request(*of_call("echo"), "Transfer-Encoding: chunked")
        await wire.send(head, b"no length\r\n")
        return right(await wire.answers(), "400")


async def _leaves(place: Place) -> str:
    """Leave while the answer is waited for."""
    async with place.wire() as wire:
        await wire.send(b"".join(wire.calling("wait")))
        await anyio.sleep(0.02)
    return "left"


async def _are_too_many(place: Place) -> str:
    """Open one connection more than there may be."""
    async with AsyncExitStack() as others:
        for _ in range(CONNECTIONS):
            await others.enter_async_context(place.wire())
        async with place.wire() as wire:
            await wire.send(b"".join(wire.calling("echo", text="one more")))
            return right(await wire.answers(), "503")


async def _last(place: Place) -> str:
    async with place.wire() as wire:
        await wire.send(b"".join(wire.calling("echo", text="last")))
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
    ends=(*LOST, Refused),
    one_by_one=True,
)
"""Requests of plain bytes."""
