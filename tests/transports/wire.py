"""The other end of a connection, spoken by hand."""

import json
from typing import Any, Protocol

import anyio

from tests.clock import patience
from tests.transports.malformed import Malformed, good


class ByteEnd(Protocol):
    """What the tests need of a stream."""

    async def send(self, item: bytes) -> None:
        """Send all of it."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receive some bytes; EndOfStream at the end."""


class Lines:
    """Sends and receives lines over a stream."""

    def __init__(self, stream: ByteEnd) -> None:
        self.stream = stream
        self._rest = b""

    async def send(self, *messages: bytes) -> None:
        """Send messages, one a line."""
        await self.stream.send(b"".join(message + b"\n" for message in messages))

    async def line(self) -> bytes:
        """The next line, without its end."""
        with patience():
            while b"\n" not in self._rest:
                self._rest += await self.stream.receive(65536)
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    async def message(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(await self.line())
        return message

    async def end(self) -> None:
        """Expect the end of the stream, and nothing before it."""
        with patience():
            try:
                more = await self.stream.receive(65536)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                more = b""
        assert self._rest + more == b""

    async def check(self, row: Malformed, id: int) -> None:
        """Send a malformed row and a good request: the right answers, in order, no more."""
        await self.send(row.data, good(id))
        first = await self.message()
        if row.code is not None:
            assert row.answered_by(first), (row.name, first)
            first = await self.message()
        assert first["id"] == id, (row.name, first)
        assert "result" in first
